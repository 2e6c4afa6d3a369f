import Glibc
import Informer
import KubernetesAPI
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket
import NetworkTypes
import Synchronization

/// The server on port 10250 that the API server asks for logs and commands, as kubelet's.
///
/// Its client must be the API server, by a certificate of the cluster's authority. Logs are plain
/// HTTP; exec, attach and a connection to a pod's port are WebSockets with Kubernetes' channel
/// protocol (KEP-4006).
final class NodeServer: Sendable {
    private let context: NodeContext
    private let pods: PodManager
    private let watcher: DirectoryWatcher
    private let group: MultiThreadedEventLoopGroup
    private let listening = Mutex<(any Channel)?>(nil)
    /// The name in the certificate of the only client allowed; nil where there is no TLS.
    private let clientName = Mutex<String?>(nil)

    init(context: NodeContext, pods: PodManager, watcher: DirectoryWatcher) {
        self.context = context
        self.pods = pods
        self.watcher = watcher
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    }

    /// Listens on the node's address.
    /// - Throws: where a certificate cannot be read or the port is taken.
    func start(
        port: Int, certificatePath: String, keyPath: String, clientAuthorityPath: String,
        clientName: String
    ) async throws {
        let certificates = try NIOSSLCertificate.fromPEMFile(certificatePath)
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: certificates.map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: keyPath, format: .pem)))
        tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(clientAuthorityPath))
        // Clients have no name that could be looked up; the authority's signature counts.
        tls.certificateVerification = .noHostnameVerification
        tls.applicationProtocols = ["http/1.1"]
        tls.minimumTLSVersion = .tlsv12
        let tlsContext = try NIOSSLContext(configuration: tls)
        self.clientName.withLock { $0 = clientName }
        try await start(port: port) { channel in
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tlsContext))
        }
    }

    /// Listens with what `secure` puts first into a connection's pipeline.
    func start(
        port: Int, secure: @Sendable @escaping (any Channel) throws -> Void
    ) async throws {
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try secure(channel)
                    try self.addHTTP(to: channel)
                }
            }
        let address = context.configuration.lanAddress.description
        let host = context.configuration.networkNamespaceName == nil ? address : "127.0.0.1"
        let channel: any Channel
        do {
            channel = try await bootstrap.bind(host: host, port: port).get()
        } catch {
            throw RuntimeError(
                description: "the node's server cannot listen on \(host):\(port): \(error)")
        }
        listening.withLock { $0 = channel }
    }

    /// What `/metrics` answers.
    var metricsText: String { context.drain?.metrics.text ?? "" }

    /// The port it listens on.
    var port: Int? { listening.withLock({ $0 })?.localAddress?.port }

    /// Stops listening and ends every connection.
    func stop() async throws {
        try await listening.withLock({ $0 })?.close()
        try await group.shutdownGracefully()
    }

    private func addHTTP(to channel: any Channel) throws {
        let upgrader = NIOWebSocketServerUpgrader(
            maxFrameSize: WebSocketStreams.frameLimit, automaticErrorHandling: true,
            shouldUpgrade: { channel, head in self.shouldUpgrade(channel, head) },
            upgradePipelineHandler: { channel, head in self.upgrade(channel, head) })
        try channel.pipeline.syncOperations.configureHTTPServerPipeline(
            withPipeliningAssistance: true,
            withServerUpgrade: (
                upgraders: [upgrader],
                completionHandler: { context in
                    let pipeline = context.pipeline.syncOperations
                    if let requests = try? pipeline.handler(type: NodeRequestHandler.self) {
                        pipeline.removeHandler(requests, promise: nil)
                    }
                }
            ), withErrorHandling: true)
        try channel.pipeline.syncOperations.addHandler(NodeRequestHandler(server: self))
    }

    /// - Throws: 403 where the client is not the one allowed.
    func checkClient(_ channel: any Channel) async throws {
        guard let name = clientName.withLock({ $0 }) else { return }
        guard await NodeClientIdentity.isNamed(name, channel) else {
            throw NodeRequestError(
                403, "Forbidden: only the API server may call this port; use kubectl")
        }
    }

    // MARK: - Logs

    /// Where the log of a container is, and whether it may still grow.
    struct LogFile: Sendable {
        var path: String
        var worker: PodWorker
        var container: String
        var attempt: Int
        var options: LogOptions
    }

    /// Finds the log that a request asks for.
    /// - Throws: `NodeRequestError` with the status to answer.
    func logFile(_ request: NodeRequest) async throws -> LogFile {
        guard request.path.count == 4 else {
            throw NodeRequestError(404, "use /containerLogs/NAMESPACE/POD/CONTAINER")
        }
        let options = try request.logOptions()
        let worker = try await worker(request)
        let attempt = try await worker.logAttempt(
            request.path[3], isPrevious: options.isPrevious)
        return LogFile(
            path: context.logPath(worker.uid, request.path[3], attempt: attempt), worker: worker,
            container: request.path[3], attempt: attempt, options: options)
    }

    /// Sends a log, and what is appended to it where that is asked for. It ends when the container
    /// has ended, or the channel is closed.
    func sendLog(_ file: LogFile, to channel: any Channel) async throws {
        let (changes, input) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        channel.closeFuture.whenComplete { _ in input.finish() }
        var watch: DirectoryWatcher.Watch?
        if file.options.follows {
            watch = try? watcher.watch(file.path) { _ in input.yield() }
        }
        defer { if let watch { watcher.cancel(watch) } }
        var lines = LogLines(file.options)
        var offset = 0
        if let count = file.options.tailLines {
            offset = try await Blocking.run { try LogReader.tailOffset(count, path: file.path) }
        }
        // The end of a container is not seen in its log: it is looked for between changes.
        let ticks = Task {
            while !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(500))
                input.yield()
            }
        }
        defer { ticks.cancel() }
        while true {
            let isOver = await !file.worker.isRunning(file.container, attempt: file.attempt)
            while !lines.isFull {
                let (bytes, next) = try await Blocking.run { [offset] in
                    var next = offset
                    return (try LogReader.read(file.path, from: &next), next)
                }
                if bytes.isEmpty { break }
                offset = next
                let output = lines.read(bytes)
                if !output.isEmpty {
                    let part = HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(bytes: output)))
                    try await channel.writeAndFlush(part)
                }
            }
            if !file.options.follows || isOver || lines.isFull { return }
            var iterator = changes.makeAsyncIterator()
            guard await iterator.next() != nil else { return }
        }
    }

    func worker(_ request: NodeRequest) async throws -> PodWorker {
        let key = ObjectKey(namespace: request.path[1], name: request.path[2])
        guard let worker = await pods.worker(key) else {
            throw NodeRequestError(404, "pod \"\(key)\" is not on this node")
        }
        return worker
    }

    // MARK: - Commands

    /// Accepts a WebSocket where the container runs; otherwise the request is answered as HTTP.
    private func shouldUpgrade(
        _ channel: any Channel, _ head: HTTPRequestHead
    ) -> EventLoopFuture<HTTPHeaders?> {
        let offered = head.headers[canonicalForm: "Sec-WebSocket-Protocol"].map(String.init)
        guard let name = WebSocketStreams.protocols.first(where: offered.contains) else {
            return channel.eventLoop.makeSucceededFuture(nil)
        }
        return channel.eventLoop.makeFutureWithTask {
            guard let request = NodeRequest(head),
                (try? await self.checkClient(channel)) != nil,
                (try? await self.session(request)) != nil
            else { return nil }
            return ["Sec-WebSocket-Protocol": name]
        }
    }

    private func upgrade(
        _ channel: any Channel, _ head: HTTPRequestHead
    ) -> EventLoopFuture<Void> {
        let offered = head.headers[canonicalForm: "Sec-WebSocket-Protocol"].map(String.init)
        let name = WebSocketStreams.protocols.first(where: offered.contains)
        let streams = WebSocketStreams(
            channel: channel, knowsClose: name == WebSocketStreams.version5)
        return channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(WebSocketHandler(streams))
        }.map {
            Task {
                do {
                    guard let request = NodeRequest(head) else { return }
                    try await self.session(request).run(streams)
                } catch {
                    streams.finish(message: "\(error)")
                }
            }
        }
    }

    /// The session that a request asks for.
    /// - Throws: `NodeRequestError` with the status to answer.
    func session(_ request: NodeRequest) async throws -> any StreamSession {
        if request.path.first == "portForward" { return try await portForward(request) }
        guard request.path.count == 4, ["exec", "attach"].contains(request.path[0]) else {
            throw NodeRequestError(404, "use /exec or /attach with /NAMESPACE/POD/CONTAINER")
        }
        let worker = try await worker(request)
        let (id, directory) = try await worker.runningContainer(request.path[3])
        let usesTerminal = request.isSet("tty")
        if request.path[0] == "attach" {
            return ContainerSession(
                kind: .attach(directory: directory),
                hasInput: request.isSet("input") || request.isSet("stdin"),
                usesTerminal: usesTerminal)
        }
        let command = request.values("command")
        guard !command.isEmpty else { throw NodeRequestError(400, "the command is missing") }
        return ContainerSession(
            kind: .exec(
                context.runtime.sessionCommand(
                    id, command, usesTerminal: usesTerminal, directory: directory)),
            hasInput: request.isSet("input") || request.isSet("stdin"),
            usesTerminal: usesTerminal)
    }

    private func portForward(_ request: NodeRequest) async throws -> PortForwardSession {
        guard request.path.count == 3 else {
            throw NodeRequestError(404, "use /portForward/NAMESPACE/POD?port=NUMBER")
        }
        guard let port = request.values("port").first.flatMap(UInt16.init), port > 0 else {
            throw NodeRequestError(400, "port must be a number from 1 to 65535")
        }
        return PortForwardSession(
            namespace: try await worker(request).networkNamespace(), port: port)
    }
}

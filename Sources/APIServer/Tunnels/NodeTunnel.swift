import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// A node's server and the request to make there.
struct TunnelTarget: Sendable {
    var host: String
    var port: Int
    /// nil for plain HTTP.
    var tls: NIOSSLContext?
    /// Path and query.
    var uri: String
    /// The node that makes the connection to a pod's port, for the pods' network need not be
    /// reachable from here; nil to connect directly.
    var carrier: Carrier?

    /// A node's server, and its path for a connection to a pod's port.
    struct Carrier: Sendable {
        var host: String
        var port: Int
        var tls: NIOSSLContext?
        var uri: String
    }
}

/// A connection to a node that has agreed to an upgrade: from then on bytes pass both ways as they
/// come. Its channel shares the event loop of the client's.
final class NodeTunnel: ConnectionUpgrade {
    enum Outcome: Sendable {
        case tunnel(NodeTunnel)
        /// The node answered something else: to be passed on.
        case refused(APIReply)
    }

    let responseHeaders: HTTPHeaders
    private let channel: any Channel

    fileprivate init(channel: any Channel, responseHeaders: HTTPHeaders) {
        self.channel = channel
        self.responseHeaders = responseHeaders
    }

    /// Headers that concern the upgrade and are passed on as they came; all others, the client's
    /// credentials among them, stay here.
    private static func isForwarded(_ name: String) -> Bool {
        let name = name.lowercased()
        return name.hasPrefix("sec-websocket-") || name == "upgrade" || name == "connection"
            || name.hasPrefix("x-stream-protocol") || name == "user-agent" || name == "origin"
    }

    /// Connects to the node and asks it for the upgrade that the client asked for.
    /// - Throws: the connection's error.
    static func open(
        _ target: TunnelTarget, for request: APIRequest, on eventLoop: any EventLoop
    ) async throws -> Outcome {
        var headers = HTTPHeaders()
        for (name, value) in request.headers where isForwarded(name) {
            headers.add(name: name, value: value)
        }
        return try await open(target, method: request.method, headers: headers, on: eventLoop)
    }

    /// Connects to the node, or by way of one to a pod's port, and asks for an upgrade.
    /// - Throws: the connection's error; 503 where a pod's port takes none.
    static func open(
        _ target: TunnelTarget, method: HTTPMethod, headers: HTTPHeaders,
        on eventLoop: any EventLoop
    ) async throws -> Outcome {
        var headers = headers
        headers.replaceOrAdd(name: "Host", value: "\(target.host):\(target.port)")
        if method == .POST { headers.replaceOrAdd(name: "Content-Length", value: "0") }
        let head = HTTPRequestHead(
            version: .http1_1, method: method, uri: target.uri, headers: headers)
        let answer = eventLoop.makePromise(of: Outcome.self)
        let channel: any Channel
        do {
            if let carrier = target.carrier {
                let tunnel = try await NodeConnections.tunnel(by: carrier, on: eventLoop)
                channel = try await tunnel.overPort(tls: target.tls) { channel in
                    try addHTTP(to: channel, answer)
                    return channel
                }
            } else {
                channel = try await connect(target, answer, on: eventLoop)
            }
        } catch {
            answer.fail(error)
            throw error
        }
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
        return try await withTaskCancellationHandler {
            try await answer.futureResult.get()
        } onCancel: {
            channel.close(promise: nil)
        }
    }

    private static func connect(
        _ target: TunnelTarget, _ answer: EventLoopPromise<Outcome>, on eventLoop: any EventLoop
    ) async throws -> any Channel {
        try await ClientBootstrap(group: eventLoop)
            .connectTimeout(.seconds(10))
            .channelOption(ChannelOptions.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls = target.tls {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: tls, serverHostname: nil))
                    }
                    try addHTTP(to: channel, answer)
                }
            }
            .connect(host: target.host, port: target.port).get()
    }

    /// HTTP until the upgrade is answered. Called on the channel's event loop.
    private static func addHTTP(
        to channel: any Channel, _ answer: EventLoopPromise<Outcome>
    ) throws {
        let decoder = HTTPResponseDecoder(leftOverBytesStrategy: .forwardBytes)
        try channel.pipeline.syncOperations.addHandlers([
            HTTPRequestEncoder(), ByteToMessageHandler(decoder), UpgradeAnswerHandler(answer),
        ])
    }

    /// Joins both connections. Called on their event loop, after the client's 101 is written.
    ///
    /// What the client has sent already is let through last: the decoder of the node's answer sees
    /// what is written as well, and takes nothing but HTTP.
    func attach(client: any Channel, onEnd: @escaping () -> Void) {
        let (near, far) = RelayHandler.pair()
        client.closeFuture.assumeIsolated().whenComplete { _ in onEnd() }
        do {
            try UpgradedPipeline.beginLeavingHTTP(client, for: [near])
            try adopt([far]) { result in
                do {
                    try result.get()
                    try UpgradedPipeline.finishLeavingHTTP(client)
                } catch {
                    client.close(promise: nil)
                    self.close()
                }
            }
        } catch {
            client.close(promise: nil)
            close()
        }
    }

    /// Puts handlers in the place of HTTP's on the node's connection. Called on its event loop.
    /// What came with the answer reaches them at once; they may write after `completion`.
    func adopt(
        _ handlers: [any ChannelHandler],
        completion: @escaping (Result<Void, any Error>) -> Void
    ) throws {
        let back = channel.pipeline.syncOperations
        for handler in handlers { try back.addHandler(handler) }
        try UpgradedPipeline.remove(UpgradeAnswerHandler.self, from: back)
        try UpgradedPipeline.remove(HTTPRequestEncoder.self, from: back)
        let removal = channel.eventLoop.makePromise(of: Void.self)
        removal.futureResult.assumeIsolated().whenComplete(completion)
        do {
            let context = try back.context(
                handlerType: ByteToMessageHandler<HTTPResponseDecoder>.self)
            back.removeHandler(context: context, promise: removal)
        } catch {
            removal.fail(error)
        }
    }

    /// The connection to a pod's port that this tunnel carries, with HTTP on it.
    /// - Parameter tls: for a port that speaks HTTPS.
    func connection(tls: NIOSSLContext?) async throws -> NodeConnections.Connection {
        try await overPort(tls: tls) { channel in
            try channel.pipeline.syncOperations.addHTTPClientHandlers()
            return try .init(wrappingChannelSynchronously: channel)
        }
    }

    /// Makes the connection's bytes those of the pod's port that this tunnel carries.
    /// - Parameters:
    ///   - tls: what to put between the port and that.
    ///   - finish: what to put upon them; called on the channel's event loop.
    /// - Throws: 503 where the node could not connect to the pod.
    private func overPort<Value: Sendable>(
        tls: NIOSSLContext?, _ finish: @escaping @Sendable (any Channel) throws -> Value
    ) async throws -> Value {
        let channel = channel
        let ready = channel.eventLoop.makePromise(of: Value.self)
        channel.eventLoop.execute {
            let port = PodPort()
            do {
                try self.adopt(PodPort.framing() + [port]) { result in
                    ready.completeWith(
                        Result {
                            try result.get()
                            if let failure = port.failure { throw failure }
                            if let tls {
                                try channel.pipeline.syncOperations.addHandler(
                                    NIOSSLClientHandler(context: tls, serverHostname: nil))
                            }
                            return try finish(channel)
                        })
                }
            } catch {
                ready.fail(error)
            }
        }
        do {
            return try await ready.futureResult.get()
        } catch {
            close()
            throw error
        }
    }

    /// Ends the node's connection.
    func close() { channel.close(promise: nil) }
}

/// Waits for the answer to the upgrade; an answer other than 101 is collected, up to a bound.
private final class UpgradeAnswerHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPClientResponsePart

    private static let bodyLimit = 64 * 1024
    private var promise: EventLoopPromise<NodeTunnel.Outcome>?
    private var refusal: APIReply?
    private var body = ByteBuffer()

    init(_ promise: EventLoopPromise<NodeTunnel.Outcome>) { self.promise = promise }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head) where head.status == .switchingProtocols:
            finish(
                .success(
                    .tunnel(NodeTunnel(channel: context.channel, responseHeaders: head.headers))))
        case .head(let head):
            refusal = APIReply(
                status: head.status,
                contentType: head.headers.first(name: "content-type") ?? "text/plain", pieces: [])
        case .body(var part):
            if body.readableBytes < Self.bodyLimit { body.writeBuffer(&part) }
        case .end:
            guard var reply = refusal else { return }
            reply.pieces = [body]
            finish(.success(.refused(reply)))
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        finish(.failure(ChannelError.eof))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        finish(.failure(error))
        context.close(promise: nil)
    }

    private func finish(_ result: Result<NodeTunnel.Outcome, any Error>) {
        promise?.completeWith(result)
        promise = nil
    }
}

/// One end of a byte tunnel. It reads from its channel only while the other end can take more, so
/// that neither side's bytes pile up here.
private final class RelayHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var partner: RelayHandler?
    private var context: ChannelHandlerContext?
    private var hasPendingRead = false

    static func pair() -> (RelayHandler, RelayHandler) {
        let (first, second) = (RelayHandler(), RelayHandler())
        first.partner = second
        second.partner = first
        return (first, second)
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        partner = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // What the decoder had left over comes without a read completing: so flush each time.
        partner?.context?.writeAndFlush(data, promise: nil)
    }

    func read(context: ChannelHandlerContext) {
        if partner?.context?.channel.isWritable ?? true {
            context.read()
        } else {
            hasPendingRead = true
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable, let partner, partner.hasPendingRead {
            partner.hasPendingRead = false
            partner.context?.read()
        }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        partner?.finish()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    /// Closes once everything written so far is on its way.
    private func finish() {
        guard let context else { return }
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()))
            .whenComplete { _ in channel.close(promise: nil) }
    }
}

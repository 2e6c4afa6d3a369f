import CLinux
import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import Synchronization

/// Takes TLS connections (RFC 7858), and gives each, decrypted, to one of the answering threads,
/// which serves it like any TCP connection: pipelined, out of order, with the same bounds.
///
/// Safe to share: what changes is guarded by locks or atomics.
final class TLSListener: @unchecked Sendable {
    let service: TLSService
    private let identity: TLSIdentity
    private let workers: [Worker]
    private let limit: Int
    private let counters: TLSCounters
    private let channels = Mutex<[any Channel]>([])
    private let nextWorker = Atomic<Int>(0)

    /// How long a client has for its handshake.
    private static let handshakeLimit = TimeAmount.seconds(10)

    /// Opens the sockets.
    /// - Parameter limit: connections at one time; those beyond are closed at once and counted.
    /// - Throws: `TLSFileError` or `SocketError`.
    init(
        _ service: TLSService, workers: [Worker], limit: Int, counters: TLSCounters
    ) throws {
        identity = try TLSIdentity(service)
        self.workers = workers
        self.limit = limit
        self.counters = counters
        var bound = service
        var sockets: [OwnedDescriptor] = []
        for place in bound.listenAddresses.indices {
            let descriptor = try Sockets.streamListener(bound.listenAddresses[place])
            sockets.append(OwnedDescriptor(descriptor))
            if bound.listenAddresses[place].port == 0 {
                bound.listenAddresses[place].port = Sockets.localPort(descriptor)
            }
        }
        self.service = bound
        for socket in sockets {
            let channel = try bootstrap().withBoundSocket(socket.take()).wait()
            channels.withLock { $0.append(channel) }
        }
    }

    /// Takes no more connections; those that are open go on.
    func stop() {
        let open = channels.withLock { channels in
            defer { channels = [] }
            return channels
        }
        for channel in open { try? channel.close().wait() }
    }

    private func bootstrap() -> ServerBootstrap {
        ServerBootstrap(group: TLSThread.group)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { [self] channel in
                guard counters.open.value < limit else {
                    counters.refused.add()
                    return channel.close()
                }
                counters.open.add()
                channel.closeFuture.whenComplete { [counters] _ in
                    counters.open.add(-1)
                }
                return channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(NIOSSLServerHandler(context: identity.current()))
                    try pipeline.addHandler(HandshakeWatch(self))
                    try pipeline.addHandler(TLSRelayEnd())
                }
            }
    }

    /// Gives a connection whose handshake is done to a thread.
    fileprivate func handOver(_ channel: any Channel) {
        counters.handshakes.add()
        let index = nextWorker.add(1, ordering: .relaxed).oldValue
        let worker = workers[index % workers.count]
        guard let peer = channel.remoteAddress.flatMap(SocketAddress.init),
            let pair = try? SocketPair()
        else {
            channel.close(promise: nil)
            return
        }
        worker.perform { $0.adopt(connection: pair.near, peer: peer) }
        TLSRelayEnd.adopt(pair.far).whenComplete { result in
            do {
                try TLSRelayEnd.join(channel, result.get())
            } catch {
                channel.close(promise: nil)
            }
        }
    }

    /// Waits for the end of a handshake, and not longer than allowed.
    private final class HandshakeWatch: ChannelInboundHandler, RemovableChannelHandler {
        typealias InboundIn = ByteBuffer

        private let listener: TLSListener
        private var timer: Scheduled<Void>?

        init(_ listener: TLSListener) { self.listener = listener }

        func handlerAdded(context: ChannelHandlerContext) {
            let channel = context.channel
            timer = context.eventLoop.scheduleTask(in: handshakeLimit) {
                channel.close(promise: nil)
            }
        }

        func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case .handshakeCompleted? = event as? TLSUserEvent {
                timer?.cancel()
                timer = nil
                listener.handOver(context.channel)
            }
            context.fireUserInboundEventTriggered(event)
        }

        func channelInactive(context: ChannelHandlerContext) {
            if timer != nil { listener.counters.failures.add() }
            timer?.cancel()
            timer = nil
            context.fireChannelInactive()
        }
    }
}

/// Counts of a server's TLS connections.
final class TLSCounters: Sendable {
    let open = Counter()
    let handshakes = Counter()
    let failures = Counter()
    let refused = Counter()

    /// One number that several threads change.
    final class Counter: Sendable {
        private let cell = Atomic<Int>(0)
        var value: Int { cell.load(ordering: .relaxed) }
        func add(_ difference: Int = 1) { cell.add(difference, ordering: .relaxed) }
    }
}

/// A certificate with its key, read again when the files change.
final class TLSIdentity: Sendable {
    private struct State {
        var context: NIOSSLContext
        var stamps: [FileStamp?]
        var lastLookNanoseconds: UInt64
    }

    private let service: TLSService
    private let state: Mutex<State>

    init(_ service: TLSService) throws(TLSFileError) {
        self.service = service
        state = Mutex(
            State(
                context: try Self.load(service), stamps: Self.stamps(service),
                lastLookNanoseconds: SystemClock.monotonicNanoseconds()))
    }

    /// The certificate in force. Looks at the files at most once a second; one that cannot be
    /// used leaves the last good one.
    func current() -> NIOSSLContext {
        state.withLock { state in
            let now = SystemClock.monotonicNanoseconds()
            guard now &- state.lastLookNanoseconds > 1_000_000_000 else { return state.context }
            state.lastLookNanoseconds = now
            let stamps = Self.stamps(service)
            if stamps != state.stamps, let fresh = try? Self.load(service) {
                state.context = fresh
                state.stamps = stamps
            }
            return state.context
        }
    }

    private static func stamps(_ service: TLSService) -> [FileStamp?] {
        [service.certificatePath, service.keyPath, service.clientAuthorityPath ?? ""].map {
            FileStamp(path: $0)
        }
    }

    private static func load(_ service: TLSService) throws(TLSFileError) -> NIOSSLContext {
        let chain = try TLSFiles.certificates(service.certificatePath)
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) },
            privateKey: .privateKey(try TLSFiles.key(service.keyPath)))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["dot"]
        if let path = service.clientAuthorityPath {
            configuration.trustRoots = .certificates(try TLSFiles.certificates(path))
            configuration.certificateVerification = .noHostnameVerification
        }
        return try TLSFiles.context(configuration, service.certificatePath)
    }
}

/// Certificates and keys from PEM files, with errors that name the file.
enum TLSFiles {
    static func certificates(_ path: String) throws(TLSFileError) -> [NIOSSLCertificate] {
        do {
            return try NIOSSLCertificate.fromPEMFile(path)
        } catch {
            throw TLSFileError(
                description: "\(path) is no readable file of PEM certificates: \(error)")
        }
    }

    static func key(_ path: String) throws(TLSFileError) -> NIOSSLPrivateKey {
        do {
            return try NIOSSLPrivateKey(file: path, format: .pem)
        } catch {
            throw TLSFileError(description: "\(path) is no readable PEM private key: \(error)")
        }
    }

    static func context(
        _ configuration: TLSConfiguration, _ path: String
    ) throws(TLSFileError) -> NIOSSLContext {
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw TLSFileError(
                description: "the certificate \(path) and its key cannot be used together: "
                    + "\(error)")
        }
    }
}

extension SocketAddress {
    /// Takes an address of the event loop's library; nil for other families.
    init?(_ address: NIOCore.SocketAddress) {
        var storage = sockaddr_storage()
        let isCopied = address.withSockAddr { pointer, size in
            guard size <= MemoryLayout<sockaddr_storage>.size else { return false }
            memcpy(&storage, pointer, size)
            return true
        }
        guard isCopied else { return nil }
        self.init(&storage)
    }
}

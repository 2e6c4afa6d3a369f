import Logging
import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOPosix
import NIOSSL
import NIOTLS
import Synchronization

/// Answers requests. Called on an event loop: whatever waits belongs into the response's closure.
protocol RequestResponder: Sendable {
    func respond(to request: APIRequest) -> APIResponse
}

/// The HTTPS edge: accepts connections, negotiates HTTP/1.1 or HTTP/2, and hands requests to a
/// responder. It keeps every open connection, so that a stop can end them all.
final class HTTPListener: Sendable {
    private struct State {
        var listening: [any Channel] = []
        var connections: [ObjectIdentifier: any Channel] = [:]
        var isStopping = false
    }

    let counters = ServerCounters()
    private let group: any EventLoopGroup
    private let tls: NIOSSLContext
    private let limits: RequestLimits
    private let logger: Logger
    private let state = Mutex(State())

    init(group: any EventLoopGroup, tls: NIOSSLContext, limits: RequestLimits, logger: Logger) {
        self.group = group
        self.tls = tls
        self.limits = limits
        self.logger = logger
    }

    /// Listens on one address. Port 0 lets the kernel choose.
    /// - Returns: the address bound.
    func listen(
        host: String, port: Int, responder: any RequestResponder
    ) async throws -> SocketAddress? {
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(ChannelOptions.backlog, value: 1024)
            .serverChannelOption(ChannelOptions.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(ChannelOptions.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    try accept(channel, responder: responder)
                }
            }
            .bind(host: host, port: port).get()
        state.withLock { $0.listening.append(channel) }
        return channel.localAddress
    }

    /// Stops listening and closes every connection; what is being answered is cut after the
    /// requests under way have had `graceMilliseconds` to end.
    func stop(graceMilliseconds: Int = 500) async {
        let listening = state.withLock { state in
            state.isStopping = true
            return state.listening
        }
        for channel in listening { try? await channel.close().get() }
        for _ in 0..<(graceMilliseconds / 10) where counters.requests.value > 0 {
            try? await Task.sleep(for: .milliseconds(10))
        }
        let connections = state.withLock { Array($0.connections.values) }
        for channel in connections { try? await channel.close().get() }
    }

    var connectionCount: Int { state.withLock { $0.connections.count } }

    // MARK: - Pipelines

    private func accept(_ channel: any Channel, responder: any RequestResponder) throws {
        let id = ObjectIdentifier(channel)
        let isStopping = state.withLock { state in
            state.connections[id] = channel
            return state.isStopping
        }
        channel.closeFuture.whenComplete { [self] _ in
            _ = state.withLock { $0.connections.removeValue(forKey: id) }
        }
        if isStopping { throw ChannelError.ioOnClosedChannel }
        guard counters.connections.enter(limit: limits.connections) else {
            throw ChannelError.ioOnClosedChannel
        }
        channel.closeFuture.whenComplete { [counters] _ in counters.connections.leave() }
        let handshake = channel.eventLoop.scheduleTask(in: .seconds(limits.receiveSeconds)) {
            channel.close(promise: nil)
        }
        channel.closeFuture.whenComplete { _ in handshake.cancel() }
        try channel.pipeline.syncOperations.addHandlers([
            NIOSSLServerHandler(context: tls),
            ApplicationProtocolNegotiationHandler { [self] result, channel in
                handshake.cancel()
                return channel.eventLoop.makeCompletedFuture {
                    try negotiated(result, channel, responder: responder)
                }
            },
            HandshakeErrorHandler(logger: logger),
        ])
    }

    private func negotiated(
        _ result: ALPNResult, _ channel: any Channel, responder: any RequestResponder
    ) throws {
        let operations = channel.pipeline.syncOperations
        let certificate = try operations.nioSSL_peerCertificate()
        let user = certificate.flatMap { UserInfo(certificate: $0, logger: logger) }
        if case .negotiated("h2") = result {
            try configureHTTP2(channel, user: user, responder: responder)
        } else {
            try configureHTTP1(channel, user: user, responder: responder)
        }
    }

    func configureHTTP1(
        _ channel: any Channel, user: UserInfo?, responder: any RequestResponder
    ) throws {
        var bounds = NIOHTTPDecoderLimitConfiguration()
        bounds.maxHeaderFieldSize = limits.headerBytes
        bounds.maxHeaderListSize = limits.headerBytes
        bounds.maxHeaderFieldCount = limits.headerCount
        let decoder = HTTPRequestDecoder(
            leftOverBytesStrategy: .forwardBytes, limitConfiguration: bounds)
        try channel.pipeline.syncOperations.addHandlers([
            HTTPResponseEncoder(), ByteToMessageHandler(decoder), HTTPServerPipelineHandler(),
            HTTPStreamHandler(
                responder: responder, limits: limits, counters: counters, certificateUser: user,
                isHTTP2: false),
        ])
    }

    private func configureHTTP2(
        _ channel: any Channel, user: UserInfo?, responder: any RequestResponder
    ) throws {
        var connection = NIOHTTP2Handler.ConnectionConfiguration()
        connection.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: 1_000),
            HTTP2Setting(parameter: .maxHeaderListSize, value: limits.headerBytes),
            HTTP2Setting(parameter: .initialWindowSize, value: 1 << 20),
        ]
        var stream = NIOHTTP2Handler.StreamConfiguration()
        stream.targetWindowSize = 1 << 20
        stream.outboundBufferSizeHighWatermark = 1 << 17
        stream.outboundBufferSizeLowWatermark = 1 << 15
        let (limits, counters) = (limits, counters)
        _ = try channel.pipeline.syncOperations.configureHTTP2Pipeline(
            mode: .server, connectionConfiguration: connection, streamConfiguration: stream
        ) { child in
            child.eventLoop.makeCompletedFuture {
                try child.pipeline.syncOperations.addHandlers([
                    HTTP2FramePayloadToHTTP1ServerCodec(),
                    HTTPStreamHandler(
                        responder: responder, limits: limits, counters: counters,
                        certificateUser: user, isHTTP2: true),
                ])
            }
        }
    }
}

/// Closes a connection whose handshake or framing failed: the peer is told by TLS or HTTP/2 itself.
private final class HandshakeErrorHandler: ChannelInboundHandler {
    typealias InboundIn = NIOAny

    private let logger: Logger

    init(logger: Logger) { self.logger = logger }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        logger.debug("connection ended", metadata: ["error": "\(error)"])
        context.close(promise: nil)
    }
}

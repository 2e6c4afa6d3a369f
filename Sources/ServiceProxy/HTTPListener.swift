import NIOCore
import NIOHTTP1
import NIOPosix
import NetworkTypes
import Synchronization

/// A very small HTTP server for health checks and metrics: GET without a body, one answer a
/// connection, bounded in connections, in header bytes and in time.
final class HTTPListener: Sendable {
    struct Request: Sendable {
        var path: String
        var query: String
    }

    struct Response: Sendable {
        var code = 200
        var contentType = "text/plain; charset=utf-8"
        var headers: [(String, String)] = []
        var body: String
    }

    private let channel: any Channel

    /// Connections open at a time; more are closed at once.
    private static let connectionLimit = 128
    /// How long a connection may take.
    private static let timeoutSeconds: Int64 = 30

    /// The port it listens at.
    var port: UInt16 { UInt16(clamping: channel.localAddress?.port ?? 0) }

    private init(_ channel: any Channel) { self.channel = channel }

    /// Listens at an address.
    static func start(
        on group: any EventLoopGroup, at address: ProxyAgent.ListenAddress,
        _ respond: @Sendable @escaping (Request) async -> Response
    ) async throws -> HTTPListener {
        let open = ConnectionCount(limit: connectionLimit)
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard open.enter() else { throw ChannelError.ioOnClosedChannel }
                    channel.closeFuture.whenComplete { _ in open.leave() }
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(
                        IdleStateHandler(allTimeout: .seconds(timeoutSeconds)))
                    try pipeline.configureHTTPServerPipeline(withErrorHandling: true)
                    try pipeline.addHandler(RequestHandler(respond))
                }
            }
        do {
            let channel = try await bootstrap.bind(
                host: "\(address.address)", port: Int(address.port)
            ).get()
            return HTTPListener(channel)
        } catch {
            throw ProxyError(
                "cannot listen at \(address.address) port \(address.port): \(error); stop what "
                    + "listens there or configure another address")
        }
    }

    func stop() async { try? await channel.close() }

    private final class ConnectionCount: Sendable {
        private let count = Atomic<Int>(0)
        private let limit: Int

        init(limit: Int) { self.limit = limit }

        func enter() -> Bool {
            if count.add(1, ordering: .relaxed).newValue <= limit { return true }
            leave()
            return false
        }

        func leave() { count.subtract(1, ordering: .relaxed) }
    }

    /// Answers the first request of a connection, then closes it.
    private final class RequestHandler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let respond: @Sendable (Request) async -> Response
        private var head: HTTPRequestHead?
        private var isAnswered = false

        init(_ respond: @Sendable @escaping (Request) async -> Response) { self.respond = respond }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head): self.head = head
            case .body: break
            case .end:
                guard !isAnswered, let head else { return }
                isAnswered = true
                answer(head, on: context.channel)
            }
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if event is IdleStateHandler.IdleStateEvent { context.close(promise: nil) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            context.close(promise: nil)
        }

        private func answer(_ head: HTTPRequestHead, on channel: any Channel) {
            let parts = head.uri.split(separator: "?", maxSplits: 1)
            let request = Request(
                path: parts.first.map(String.init) ?? "/",
                query: parts.count > 1 ? String(parts[1]) : "")
            let isAllowed = head.method == .GET || head.method == .HEAD
            let respond = self.respond
            Task {
                let response =
                    isAllowed
                    ? await respond(request) : Response(code: 405, body: "method not allowed\n")
                var headers = HTTPHeaders(response.headers)
                headers.add(name: "Content-Type", value: response.contentType)
                headers.add(name: "Content-Length", value: "\(response.body.utf8.count)")
                headers.add(name: "Connection", value: "close")
                let head = HTTPResponseHead(
                    version: .http1_1, status: HTTPResponseStatus(statusCode: response.code),
                    headers: headers)
                let buffer = channel.allocator.buffer(string: response.body)
                channel.write(HTTPServerResponsePart.head(head), promise: nil)
                channel.write(HTTPServerResponsePart.body(.byteBuffer(buffer)), promise: nil)
                try? await channel.writeAndFlush(HTTPServerResponsePart.end(nil)).get()
                try? await channel.close()
            }
        }
    }
}

import JSON
import KubernetesAPI
import NIOCore
import NIOHTTP1

/// Bounds of what a client may send.
struct RequestLimits: Sendable {
    var bodyBytes = 3 * 1024 * 1024
    var headerBytes = 64 * 1024
    var headerCount = 256
    var requestsInFlight = 1_000
    var streams = 10_000
    var connections = 10_000
    /// How long a request may take to arrive, and a TLS handshake to complete.
    var receiveSeconds: Int64 = 60
}

/// One HTTP/1 connection or one HTTP/2 stream: collects a request, asks the responder, writes what
/// it answers. It lives on its channel's event loop; tasks reach it by writing `ResponsePart`s.
final class HTTPStreamHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = ResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private enum State {
        case idle
        case receiving(head: HTTPRequestHead, body: ByteBuffer)
        /// The answer is under way; `hasBegun` once its head is written.
        case answering(hasBegun: Bool)
        /// The request was refused before its end: what still comes is dropped.
        case discarding
        case closed
    }

    private let responder: any RequestResponder
    private let limits: RequestLimits
    private let counters: ServerCounters
    private let certificateUser: UserInfo?
    private let isHTTP2: Bool
    private var state = State.idle
    private var keepsAlive = true
    /// The answer to HEAD has the headers of GET and no body (RFC 9110, section 9.3.2).
    private var isHead = false
    private var deadline: Scheduled<Void>?
    private var task: Task<Void, Never>?
    private var release: (() -> Void)?

    init(
        responder: any RequestResponder, limits: RequestLimits, counters: ServerCounters,
        certificateUser: UserInfo?, isHTTP2: Bool
    ) {
        self.responder = responder
        self.limits = limits
        self.counters = counters
        self.certificateUser = certificateUser
        self.isHTTP2 = isHTTP2
    }

    // MARK: - Receiving

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (unwrapInboundIn(data), state) {
        case (.head(let head), .idle):
            // NIO's decoder reads nothing after a request that asks for an upgrade.
            keepsAlive = isHTTP2 || head.isKeepAlive && !head.headers.contains(name: "upgrade")
            if let length = head.headers.first(name: "content-length").flatMap({ Int($0) }),
                length > limits.bodyBytes
            {
                refuse(.bodyTooLarge(limit: limits.bodyBytes), context: context)
                return
            }
            if head.headers.first(name: "expect")?.lowercased() == "100-continue", !isHTTP2 {
                let go = HTTPResponseHead(version: .http1_1, status: .continue)
                context.writeAndFlush(wrapOutboundOut(.head(go)), promise: nil)
            }
            isHead = head.method == .HEAD
            state = .receiving(head: head, body: ByteBuffer())
            startDeadline(context: context)
        case (.body(var part), .receiving(let head, var body)):
            state = .closed  // keeps the buffer uniquely referenced while it grows
            if body.readableBytes + part.readableBytes > limits.bodyBytes {
                refuse(.bodyTooLarge(limit: limits.bodyBytes), context: context)
                return
            }
            if body.readableBytes == 0 { body = part } else { body.writeBuffer(&part) }
            state = .receiving(head: head, body: body)
        case (.end, .receiving(let head, let body)):
            state = .answering(hasBegun: false)
            deadline?.cancel()
            deadline = nil
            answer(head, body, context: context)
        case (.end, .discarding):
            if !isHTTP2 { context.close(promise: nil) }
        default: break
        }
    }

    /// A request that takes too long to arrive holds its place no longer.
    private func startDeadline(context: ChannelHandlerContext) {
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: .seconds(limits.receiveSeconds)) {
            channel.close(promise: nil)
        }
    }

    private func answer(
        _ head: HTTPRequestHead, _ body: ByteBuffer, context: ChannelHandlerContext
    ) {
        let request = APIRequest(
            head: head, body: body, certificateUser: certificateUser, isHTTP2: isHTTP2)
        let channel = context.channel
        switch responder.respond(to: request) {
        case .ready(let reply):
            write(reply, context: context)
        case .pending(let work):
            guard enter(counters.requests, limits.requestsInFlight, context: context) else {
                return
            }
            task = Task { channel.writeAndFlush(ResponsePart.whole(await work()), promise: nil) }
        case .brief(let work):
            guard enter(counters.requests, limits.requestsInFlight, context: context) else {
                return
            }
            task = Task(executorPreference: LoopExecutor(context.eventLoop)) {
                channel.writeAndFlush(ResponsePart.whole(await work()), promise: nil)
            }
        case .streaming(let produce):
            guard enter(counters.streams, limits.streams, context: context) else { return }
            task = Task {
                do {
                    try await produce(ResponseStream(channel: channel))
                    channel.writeAndFlush(ResponsePart.end(nil), promise: nil)
                } catch {
                    channel.writeAndFlush(ResponsePart.end(.wrapping(error)), promise: nil)
                }
            }
        case .upgrade(let open):
            guard enter(counters.streams, limits.streams, context: context) else { return }
            startUpgrade(request, open, channel: channel)
        }
    }

    private func startUpgrade(
        _ request: APIRequest,
        _ open: @Sendable @escaping (APIRequest, any EventLoop) async throws -> UpgradeOutcome,
        channel: any Channel
    ) {
        guard !isHTTP2 else {
            let error = StatusError.badRequest("Upgrade request required over HTTP/1.1")
            channel.writeAndFlush(ResponsePart.whole(APIReply(error)), promise: nil)
            return
        }
        task = Task {
            do {
                switch try await open(request, channel.eventLoop) {
                case .upgraded(let upgrade):
                    channel.writeAndFlush(ResponsePart.upgrade(upgrade), promise: nil)
                case .refused(let reply):
                    channel.writeAndFlush(ResponsePart.whole(reply), promise: nil)
                }
            } catch {
                channel.writeAndFlush(
                    ResponsePart.whole(APIReply(.wrapping(error))), promise: nil)
            }
        }
    }

    /// Counts the request in, or refuses it with 429 where too many are under way.
    private func enter(
        _ gauge: BoundedGauge, _ limit: Int, context: ChannelHandlerContext
    ) -> Bool {
        guard gauge.enter(limit: limit) else {
            write(APIReply(.tooManyRequests()), context: context)
            return false
        }
        release = { gauge.leave() }
        return true
    }

    /// Answers before the request is complete; the connection ends after it (RFC 9112, 9.6).
    private func refuse(_ error: StatusError, context: ChannelHandlerContext) {
        var reply = APIReply(error)
        if !isHTTP2 { reply.headers.add(name: "Connection", value: "close") }
        state = .answering(hasBegun: false)
        keepsAlive = true  // closed below, not when the answer is written
        write(reply, context: context)
        state = .discarding
        let channel = context.channel
        context.eventLoop.scheduleTask(in: .seconds(2)) { channel.close(promise: nil) }
    }

    // MARK: - Answering

    func write(
        context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?
    ) {
        guard case .answering(let hasBegun) = state else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        switch unwrapOutboundIn(data) {
        case .whole(let reply):
            write(reply, context: context)
            promise?.succeed()
        case .begin(let status, let headers):
            state = .answering(hasBegun: true)
            let head = HTTPResponseHead(
                version: .http1_1, status: status, headers: closing(headers))
            context.write(wrapOutboundOut(.head(head)), promise: promise)
        case .piece(let buffer):
            context.write(wrapOutboundOut(.body(.byteBuffer(buffer))), promise: promise)
        case .end(let error):
            if hasBegun, error == nil {
                finish(context: context)
            } else if hasBegun {
                // The peer must be able to tell a cut answer from a complete one.
                context.close(promise: nil)
            } else {
                write(APIReply(error ?? .internalError("no answer")), context: context)
            }
            promise?.succeed()
        case .upgrade(let upgrade):
            become(upgrade, context: context)
            promise?.succeed()
        }
    }

    private func write(_ reply: APIReply, context: ChannelHandlerContext) {
        var headers = closing(reply.headers)
        let length = reply.pieces.reduce(0) { $0 + $1.readableBytes }
        headers.add(name: "Content-Length", value: String(length))
        let head = HTTPResponseHead(version: .http1_1, status: reply.status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        for piece in reply.pieces where piece.readableBytes > 0 && !isHead {
            context.write(wrapOutboundOut(.body(.byteBuffer(piece))), promise: nil)
        }
        finish(context: context)
    }

    private func closing(_ headers: HTTPHeaders) -> HTTPHeaders {
        guard !keepsAlive else { return headers }
        var headers = headers
        headers.replaceOrAdd(name: "Connection", value: "close")
        return headers
    }

    private func finish(context: ChannelHandlerContext) {
        leave()
        state = .idle
        if keepsAlive {
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        } else {
            let channel = context.channel
            context.writeAndFlush(wrapOutboundOut(.end(nil)))
                .whenComplete { _ in channel.close(promise: nil) }
        }
    }

    private func leave() {
        release?()
        release = nil
        task = nil
    }

    // MARK: - Upgrade and end

    private func become(_ upgrade: any ConnectionUpgrade, context: ChannelHandlerContext) {
        let head = HTTPResponseHead(
            version: .http1_1, status: .switchingProtocols, headers: upgrade.responseHeaders)
        context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
        let release = self.release
        self.release = nil
        task = nil
        state = .closed
        upgrade.attach(client: context.channel) { release?() }
    }

    func channelInactive(context: ChannelHandlerContext) {
        task?.cancel()
        deadline?.cancel()
        leave()
        state = .closed
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch (error as? HTTPParserError, state) {
        case (let fault?, .idle), (let fault?, .receiving):
            refuse(.unreadable(fault), context: context)
        default: context.close(promise: nil)
        }
    }
}

extension StatusError {
    static func bodyTooLarge(limit: Int) -> StatusError {
        StatusError(
            code: 413, reason: "RequestEntityTooLarge",
            message: "Request entity too large: limit is \(limit)")
    }

    static func tooManyRequests() -> StatusError {
        StatusError(
            code: 429, reason: "TooManyRequests",
            message: "Too many requests, please try again later.",
            details: ["retryAfterSeconds": 1])
    }

    static func unreadable(_ error: HTTPParserError) -> StatusError {
        guard error == .headerOverflow else {
            return .badRequest("the request is no HTTP: \(error)")
        }
        return StatusError(
            code: 431, reason: "RequestHeaderFieldsTooLarge",
            message: "the request's header fields are too large")
    }

    /// The error itself where it is a Status, otherwise 500 with its description.
    static func wrapping(_ error: any Error) -> StatusError {
        error as? StatusError ?? .internalError("\(error)")
    }
}

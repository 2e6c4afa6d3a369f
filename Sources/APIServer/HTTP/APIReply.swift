import JSON
import KubernetesAPI
import NIOCore
import NIOHTTP1

/// What a request is answered with.
struct APIReply: Sendable {
    var status: HTTPResponseStatus
    var headers: HTTPHeaders
    /// The pieces of the body, in order.
    var pieces: [ByteBuffer]

    init(
        status: HTTPResponseStatus = .ok, contentType: String = "application/json",
        headers: [(String, String)] = [], pieces: [ByteBuffer]
    ) {
        self.status = status
        self.headers = HTTPHeaders([
            ("Content-Type", contentType), ("Cache-Control", "no-cache, private"),
        ])
        for (name, value) in headers { self.headers.add(name: name, value: value) }
        self.pieces = pieces
    }

    init(status: HTTPResponseStatus = .ok, bytes: [UInt8], contentType: String = "application/json")
    {
        self.init(
            status: status, contentType: contentType, pieces: [ByteBuffer(bytes: bytes)])
    }

    init(status: HTTPResponseStatus = .ok, json: JSONValue) {
        self.init(status: status, bytes: json.serializedBytes)
    }

    init(status: HTTPResponseStatus = .ok, text: String) {
        self.init(
            status: status, bytes: Array(text.utf8), contentType: "text/plain; charset=utf-8")
    }

    init(_ error: StatusError) {
        self.init(status: HTTPResponseStatus(statusCode: error.code), json: error.json)
        if let seconds = error.details?["retryAfterSeconds"]?.int {
            headers.add(name: "Retry-After", value: String(seconds))
        }
    }

    /// Adds a `Warning` header (RFC 7234, section 5.5, as KEP-1693 uses it) for each text.
    func warning(_ texts: [String]) -> APIReply {
        guard !texts.isEmpty else { return self }
        var reply = self
        for text in texts.prefix(16) {
            reply.headers.add(name: "Warning", value: Self.warningValue(text))
        }
        return reply
    }

    /// The value of a `Warning` header.
    static func warningValue(_ text: String) -> String {
        let quoted = String(text.prefix(1024)).map { character -> String in
            switch character {
            case "\"", "\\": "\\\(character)"
            case "\n", "\r": " "
            default: String(character)
            }
        }.joined()
        return "299 - \"\(quoted)\""
    }
}

/// How a request is answered: at once on its event loop, by a task, in pieces over time, or by
/// turning the connection into something else.
enum APIResponse: Sendable {
    case ready(APIReply)
    case pending(@Sendable () async -> APIReply)
    /// As `pending`, for work that is short but for its waiting: its task runs on the event loop.
    case brief(@Sendable () async -> APIReply)
    case streaming(@Sendable (ResponseStream) async throws -> Void)
    case upgrade(@Sendable (APIRequest, any EventLoop) async throws -> UpgradeOutcome)

    /// The same with a `Warning` header for each text; what comes in pieces warns by itself.
    func warning(_ texts: [String]) -> APIResponse {
        switch self {
        case .ready(let reply): .ready(reply.warning(texts))
        case .pending(let work): .pending { await work().warning(texts) }
        case .brief(let work): .brief { await work().warning(texts) }
        case .streaming, .upgrade: self
        }
    }
}

/// Where a response in pieces is written. Each write returns when the peer has taken the bytes, so
/// that a slow reader slows its writer and nobody else.
struct ResponseStream: Sendable {
    private let channel: any Channel

    init(channel: any Channel) { self.channel = channel }

    /// Runs tasks on the connection's event loop.
    var executor: LoopExecutor { LoopExecutor(channel.eventLoop) }

    func begin(
        status: HTTPResponseStatus = .ok, contentType: String, headers: [(String, String)] = []
    ) async throws {
        let reply = APIReply(
            status: status, contentType: contentType, headers: headers, pieces: [])
        try await channel.writeAndFlush(
            ResponsePart.begin(status: reply.status, headers: reply.headers)
        ).get()
    }

    func send(_ buffer: ByteBuffer) async throws {
        try await channel.writeAndFlush(ResponsePart.piece(buffer)).get()
    }

    /// Writes without waiting where the peer keeps up: false where it does not, and nothing was
    /// written. Every few pieces `send` must be used, which waits, so that what lies between here
    /// and the socket stays bounded.
    func post(_ buffer: ByteBuffer) -> Bool {
        guard channel.isWritable else { return false }
        channel.writeAndFlush(ResponsePart.piece(buffer), promise: nil)
        return true
    }
}

/// What tasks send down the channel to `HTTPStreamHandler`.
enum ResponsePart: Sendable {
    case whole(APIReply)
    case begin(status: HTTPResponseStatus, headers: HTTPHeaders)
    case piece(ByteBuffer)
    /// The end; carries the error of a producer that failed.
    case end(StatusError?)
    case upgrade(any ConnectionUpgrade)
}

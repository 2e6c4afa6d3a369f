import Informer
import KubernetesAPI
import NIOCore
import NIOHTTP1

/// A request to the node's server: the parts of its path, and its query.
struct NodeRequest: Sendable, Hashable {
    /// The decoded parts of the path, such as `containerLogs`, namespace, pod, container.
    let path: [String]
    private let query: [Parameter]

    private struct Parameter: Sendable, Hashable {
        var name: String
        var value: String
    }

    /// Reads the target of a request line; nil where an escape in it is broken.
    init?(target: String) {
        let halves = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var path: [String] = []
        for part in (halves.first ?? "").split(separator: "/") {
            guard let text = Self.decoded(part, isQuery: false), text != "..", text != ".",
                !text.contains("/")
            else { return nil }
            path.append(text)
        }
        var query: [Parameter] = []
        for pair in halves.count > 1 ? halves[1].split(separator: "&") : [] {
            let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = Self.decoded(sides[0], isQuery: true),
                let value = Self.decoded(sides.count > 1 ? sides[1] : "", isQuery: true)
            else { return nil }
            query.append(Parameter(name: name, value: value))
        }
        self.path = path
        self.query = query
    }

    /// Reads a request's head.
    init?(_ head: HTTPRequestHead) { self.init(target: head.uri) }

    /// All values of a parameter, in order.
    func values(_ name: String) -> [String] {
        query.filter { $0.name == name }.map(\.value)
    }

    /// True for `1` and `true`, as kubelet reads them.
    func isSet(_ name: String) -> Bool {
        values(name).first.map { $0 == "1" || $0 == "true" } ?? false
    }

    /// The part of a log that is asked for.
    /// - Throws: `NodeRequestError` naming the parameter that is no number or time.
    func logOptions(now: Timestamp = .now) throws -> LogOptions {
        func number(_ name: String) throws -> Int? {
            guard let text = values(name).first else { return nil }
            guard let number = Int(text), number >= 0 else {
                throw NodeRequestError(400, "\(name) is \"\(text)\": use a whole number")
            }
            return number
        }
        var options = LogOptions(
            follows: isSet("follow"), hasTimestamps: isSet("timestamps"),
            isPrevious: isSet("previous"), tailLines: try number("tailLines"),
            limitBytes: try number("limitBytes"))
        if let seconds = try number("sinceSeconds") {
            options.since = now.adding(seconds: -Double(seconds))
        }
        if let text = values("sinceTime").first {
            guard let time = Timestamp(text) else {
                throw NodeRequestError(400, "sinceTime is \"\(text)\": use RFC 3339")
            }
            options.since = time
        }
        return options
    }

    private static func decoded(_ text: Substring, isQuery: Bool) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "%"):
                guard rest.count >= 2,
                    let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
                else { return nil }
                bytes.append(value)
                rest = rest.dropFirst(2)
            case UInt8(ascii: "+") where isQuery: bytes.append(UInt8(ascii: " "))
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

/// A request that the node's server refuses.
struct NodeRequestError: Error, CustomStringConvertible {
    let status: Int
    let description: String

    init(_ status: Int, _ description: String) {
        self.status = status
        self.description = description
    }
}

/// Answers the plain HTTP requests of one connection.
final class NodeRequestHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let server: NodeServer
    private var head: HTTPRequestHead?

    init(server: NodeServer) { self.server = server }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body: break
        case .end:
            guard let head else { return }
            self.head = nil
            Self.begin(head, server, context.channel)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private static func begin(
        _ head: HTTPRequestHead, _ server: NodeServer, _ channel: any Channel
    ) {
        Task { await answer(head, server, channel) }
    }

    private static func answer(
        _ head: HTTPRequestHead, _ server: NodeServer, _ channel: any Channel
    ) async {
        do {
            try await server.checkClient(channel)
            guard let request = NodeRequest(head) else {
                throw NodeRequestError(400, "the path has a broken escape")
            }
            switch request.path.first {
            case "healthz", "livez", "readyz": try await send(200, "ok", channel)
            case "metrics": try await send(200, server.metricsText, channel)
            case "containerLogs": try await sendLog(request, server, channel)
            case "exec", "attach", "portForward":
                // What comes here was not upgraded: either it names nothing that runs, or the
                // client speaks something else than WebSocket.
                _ = try await server.session(request)
                throw NodeRequestError(400, "use a WebSocket with \(WebSocketStreams.version5)")
            default: throw NodeRequestError(404, "no such path")
            }
        } catch let error as NodeRequestError {
            try? await send(error.status, error.description, channel)
        } catch {
            try? await send(500, "\(error)", channel)
        }
        if !head.isKeepAlive { try? await channel.close() }
    }

    private static func sendLog(
        _ request: NodeRequest, _ server: NodeServer, _ channel: any Channel
    ) async throws {
        let file = try await server.logFile(request)
        var head = HTTPResponseHead(version: .http1_1, status: .ok)
        head.headers.add(name: "Content-Type", value: "text/plain")
        try await channel.writeAndFlush(HTTPServerResponsePart.head(head))
        do {
            try await server.sendLog(file, to: channel)
        } catch {
            // The head is sent: all that is left is to cut the answer short.
            try? await channel.close()
            return
        }
        try await channel.writeAndFlush(HTTPServerResponsePart.end(nil))
    }

    private static func send(_ status: Int, _ text: String, _ channel: any Channel) async throws {
        var head = HTTPResponseHead(
            version: .http1_1, status: HTTPResponseStatus(statusCode: status))
        head.headers.add(name: "Content-Type", value: "text/plain; charset=utf-8")
        head.headers.add(name: "Content-Length", value: String(text.utf8.count))
        let body = ByteBuffer(string: text)
        channel.write(HTTPServerResponsePart.head(head), promise: nil)
        channel.write(HTTPServerResponsePart.body(.byteBuffer(body)), promise: nil)
        try await channel.writeAndFlush(HTTPServerResponsePart.end(nil))
    }
}

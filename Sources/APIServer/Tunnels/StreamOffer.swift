import Crypto
import FoundationEssentials
import KubernetesAPI
import NIOHTTP1

/// What a client that wants streams to a pod can speak, and what is chosen of it.
struct StreamOffer: Sendable, Hashable {
    static let spdy = "SPDY/3.1"
    static let portForward = "portforward.k8s.io"
    /// SPDY inside WebSocket messages, as newer kubectl forwards ports (KEP-4006).
    static let tunnelledPortForward = "SPDY/3.1+portforward.k8s.io"
    /// Channels in WebSocket messages, as other clients forward ports.
    static let channels = "v4.channel.k8s.io"
    /// The protocols of commands over SPDY, best first, by their version.
    private static let execProtocols = [
        (4, "v4.channel.k8s.io"), (3, "v3.channel.k8s.io"), (2, "v2.channel.k8s.io"),
        (1, "channel.k8s.io"),
    ]

    let isSPDY: Bool
    /// The names of protocols, as the client prefers them.
    let protocols: [String]
    private let webSocketKey: String?

    /// - Throws: 400 for a request that asks for no upgrade to SPDY or WebSocket.
    init(_ headers: HTTPHeaders) throws {
        let upgrades = headers[canonicalForm: "upgrade"].map { $0.lowercased() }
        isSPDY = upgrades.contains("spdy/3.1")
        guard isSPDY || upgrades.contains("websocket") else {
            throw StatusError.badRequest("Upgrade request required")
        }
        let name = isSPDY ? "x-stream-protocol-version" : "sec-websocket-protocol"
        protocols = headers[canonicalForm: name].map(String.init)
        webSocketKey = headers.first(name: "sec-websocket-key")
    }

    /// The version of the protocol of a command's streams over SPDY.
    /// - Throws: 403, as kubelet answers, where there is none in common.
    func execVersion() throws -> Int {
        // A client that names none is older than the names.
        if protocols.isEmpty { return 1 }
        guard let best = Self.execProtocols.first(where: { protocols.contains($0.1) }) else {
            throw refusal(Self.execProtocols.map(\.1))
        }
        return best.0
    }

    static func execProtocol(_ version: Int) -> String {
        execProtocols.first { $0.0 == version }?.1 ?? ""
    }

    func refusal(_ known: [String]) -> StatusError {
        .forbidden(
            "unable to upgrade: unable to negotiate protocol: client supports "
                + "[\(protocols.joined(separator: " "))], server accepts "
                + "[\(known.joined(separator: " "))]")
    }

    static func spdyHeaders(_ chosen: String) -> HTTPHeaders {
        [
            "Connection": "Upgrade", "Upgrade": spdy, "X-Stream-Protocol-Version": chosen,
        ]
    }

    /// True for a WebSocket that carries ports as channels, which is also what no name means.
    var hasPortChannels: Bool {
        !isSPDY && (protocols.isEmpty || protocols.contains(Self.channels))
            && !protocols.contains(Self.tunnelledPortForward)
    }

    /// The headers that accept a WebSocket (RFC 6455, section 4.2.2).
    /// - Parameter chosen: the protocol; empty for a client that names none.
    /// - Throws: 400 where the client's key is missing.
    func webSocketHeaders(_ chosen: String) throws -> HTTPHeaders {
        guard let webSocketKey else {
            throw StatusError.badRequest("the header Sec-WebSocket-Key is missing")
        }
        let text = webSocketKey + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        let digest = Data(Insecure.SHA1.hash(data: Data(text.utf8)))
        var headers: HTTPHeaders = [
            "Connection": "Upgrade", "Upgrade": "websocket",
            "Sec-WebSocket-Accept": digest.base64EncodedString(),
        ]
        if !chosen.isEmpty { headers.add(name: "Sec-WebSocket-Protocol", value: chosen) }
        return headers
    }
}

/// The streams of a command, by the `streamType` header that opens them.
enum ExecStream: String, Sendable {
    case error, stdin, stdout, stderr, resize

    /// The number in the first byte of a node's WebSocket message.
    var number: UInt8 {
        switch self {
        case .stdin: 0
        case .stdout: 1
        case .stderr: 2
        case .error: 3
        case .resize: 4
        }
    }

    /// The streams that a client opens after the upgrade: those it asks for, always the one for
    /// errors, and from version 3 on the terminal's size.
    static func expected(_ query: QueryItems, version: Int) -> Set<ExecStream> {
        var streams: Set<ExecStream> = [.error]
        if query.flag("stdin") { streams.insert(.stdin) }
        if query.flag("stdout") { streams.insert(.stdout) }
        if query.flag("tty") {
            if version >= 3 { streams.insert(.resize) }
        } else if query.flag("stderr") {
            streams.insert(.stderr)
        }
        return streams
    }
}

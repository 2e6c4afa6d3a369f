import JSON
import KubernetesAPI
import NIOCore
import NIOHTTP1
import SPDY

/// exec and attach for clients that speak SPDY: the session ends here, and the node gets the same
/// streams over a WebSocket.
struct ExecUpgrade: ConnectionUpgrade {
    let node: NodeTunnel
    let version: Int
    let expected: Set<ExecStream>

    var responseHeaders: HTTPHeaders {
        StreamOffer.spdyHeaders(StreamOffer.execProtocol(version))
    }

    /// Asks the node first, so that what it refuses is still answered as HTTP.
    static func open(
        _ target: TunnelTarget, version: Int, _ expected: Set<ExecStream>,
        on eventLoop: any EventLoop
    ) async throws -> UpgradeOutcome {
        switch try await NodeStreams.open(target, on: eventLoop) {
        case .tunnel(let node):
            .upgraded(ExecUpgrade(node: node, version: version, expected: expected))
        case .refused(let reply): .refused(reply)
        }
    }

    func attach(client: any Channel, onEnd: @escaping () -> Void) {
        client.closeFuture.assumeIsolated().whenComplete { _ in onEnd() }
        let bridge = ExecBridge(version: version, expected: expected)
        do {
            let tunnel = try SPDYTunnel(bridge: bridge)
            try bridge.take(node)
            try UpgradedPipeline.leaveHTTP(client, for: [tunnel])
        } catch {
            bridge.end()
            client.close(promise: nil)
            node.close()
        }
    }
}

/// Joins the streams of a SPDY session to those of a node's WebSocket.
private final class ExecBridge: SPDYBridge, NodeStreamsReader {
    /// Seconds in which a client has to open its streams, as kubelet gives it.
    private static let openSeconds: Int64 = 30

    private let version: Int
    /// The streams that are still to be opened.
    private var awaited: Set<ExecStream>
    private var ids: [ExecStream: UInt32] = [:]
    private var kinds: [UInt32: ExecStream] = [:]
    private var node: NodeStreams?
    private var client: SPDYTunnel?
    /// What the node has said before the client had opened its streams: no more than came with its
    /// 101, for nothing is read meanwhile.
    private var early: [(stream: UInt8, bytes: [UInt8])] = []
    private var hasNodeEnded = false
    private var deadline: Scheduled<Void>?

    init(version: Int, expected: Set<ExecStream>) {
        self.version = version
        awaited = expected
    }

    func take(_ tunnel: NodeTunnel) throws {
        let node = NodeStreams(reader: self)
        self.node = node
        try node.take(tunnel)
    }

    // MARK: - The client

    var canReceive: Bool { node?.isWritable ?? true }

    func begin(_ client: SPDYTunnel) {
        self.client = client
        deadline = client.eventLoop?.assumeIsolated().scheduleTask(in: .seconds(Self.openSeconds)) {
            self.finish(message: "the client did not open its streams in time")
        }
    }

    func handle(_ event: ServerSession.Event) {
        switch event {
        case .opened(let id, let headers): open(id, headers)
        case .data(let id, let bytes):
            guard let kind = kinds[id], kind == .stdin || kind == .resize else { return }
            node?.send(kind.number, bytes)
        case .finished(let id), .reset(let id):
            if kinds[id] == .stdin { node?.send(NodeStreams.close, [ExecStream.stdin.number]) }
        case .goAway: break
        }
    }

    private func open(_ id: UInt32, _ headers: [SPDYHeader]) {
        let type = headers.first { $0.name == "streamtype" }?.value ?? ""
        guard let kind = ExecStream(rawValue: type), awaited.remove(kind) != nil else {
            client?.reset(id, .refusedStream)
            return
        }
        ids[kind] = id
        kinds[id] = kind
        guard awaited.isEmpty else { return }
        deadline?.cancel()
        let messages = early
        early = []
        for (stream, bytes) in messages { pass(stream, bytes) }
        if hasNodeEnded { finish(message: Self.lost) }
        node?.resume()
    }

    func clientBecameWritable() { node?.resume() }

    func end() {
        deadline?.cancel()
        client = nil
        // The node ends the command whose client is gone.
        node?.end()
        node = nil
    }

    // MARK: - The node

    var canTake: Bool { awaited.isEmpty && client?.isWritable ?? false }

    func received(_ streams: NodeStreams, stream: UInt8, _ bytes: [UInt8]) {
        if awaited.isEmpty { pass(stream, bytes) } else { early.append((stream, bytes)) }
    }

    private func pass(_ stream: UInt8, _ bytes: [UInt8]) {
        switch stream {
        case ExecStream.stdout.number: send(bytes, on: .stdout)
        case ExecStream.stderr.number: send(bytes, on: .stderr)
        case ExecStream.error.number: finish(status: bytes)
        default: break
        }
    }

    private func send(_ bytes: [UInt8], on kind: ExecStream) {
        guard let id = ids[kind], !bytes.isEmpty else { return }
        client?.send(bytes, on: id)
    }

    func becameWritable(_ streams: NodeStreams) { client?.resume() }

    func ended(_ streams: NodeStreams) {
        node = nil
        hasNodeEnded = true
        if awaited.isEmpty { finish(message: Self.lost) }
    }

    private static let lost = "the connection to the node was lost"

    private func finish(message: String) {
        let status: JSONValue = [
            "metadata": [:], "status": "Failure", "reason": "InternalError",
            "message": .string(message), "code": 500,
        ]
        finish(status: status.serializedBytes)
    }

    /// Tells how the command ended: a Status from version 4 on, before it the text of a failure.
    private func finish(status bytes: [UInt8]) {
        deadline?.cancel()
        guard let client else { return }
        self.client = nil
        var text = bytes
        if version < 4 {
            let status = try? JSONValue(parsing: bytes)
            let isSuccess = status?["status"]?.string == "Success"
            text = isSuccess ? [] : Array((status?["message"]?.string ?? "").utf8)
        }
        for kind in [ExecStream.stdout, .stderr, .resize] {
            if let id = ids[kind] { client.send([], on: id, isLast: true) }
        }
        if let id = ids[.error] { client.send(text, on: id, isLast: true) }
        if let id = ids[.stdin] { client.send([], on: id, isLast: true) }
        client.linger()
        node?.end()
        node = nil
    }
}

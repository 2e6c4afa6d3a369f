import JSON
import KubernetesAPI
import NIOCore

/// One connection to a port of a pod, made by its node, for a client that forwards ports. Lives on
/// the event loop of the client's connection.
final class ForwardedPort: NodeStreamsReader {
    /// What the client's side does. None is called after `ended` or `end`.
    struct Handlers {
        /// False while the client cannot take more.
        var canTake: () -> Bool
        var received: ([UInt8]) -> Void
        /// The pod takes data again, where it had stopped to.
        var becameWritable: () -> Void
        /// The connection is over: with the reason where it is a failure.
        var ended: (String?) -> Void
    }

    /// Bytes that may wait until the node has connected.
    private static let pendingLimit = 64 * 1024

    private var handlers: Handlers?
    private var node: NodeStreams?
    private var pending: [UInt8] = []
    private var isInputOver = false

    init(_ handlers: Handlers) { self.handlers = handlers }

    // MARK: - To the pod

    /// - Parameter target: the node's path, to which the port's number is appended.
    func connect(_ target: TunnelTarget, port: UInt16, on eventLoop: any EventLoop) {
        var target = target
        target.uri += String(port)
        let place = target
        eventLoop.makeFutureWithTask { try await NodeStreams.open(place, on: eventLoop) }
            .assumeIsolated()
            .whenComplete { result in
                switch result {
                case .success(.tunnel(let tunnel)): self.connected(tunnel)
                case .success(.refused(let reply)):
                    self.finish(String(buffer: reply.pieces.first ?? .init()))
                case .failure(let error):
                    self.finish(NodeConnections.unreachable(place, error).message)
                }
            }
    }

    private func connected(_ tunnel: NodeTunnel) {
        guard handlers != nil else {
            tunnel.close()
            return
        }
        let node = NodeStreams(reader: self)
        self.node = node
        do {
            // What came with the node's 101 is handled meanwhile: it may be over afterwards.
            try node.take(tunnel)
        } catch {
            tunnel.close()
            finish("\(error)")
            return
        }
        if !pending.isEmpty { self.node?.send(ExecStream.stdin.number, pending) }
        pending = []
        if isInputOver { endInput() }
        handlers?.becameWritable()
    }

    /// False while nothing more is to be sent.
    var canReceive: Bool { node?.isWritable ?? (pending.count < Self.pendingLimit) }

    func send(_ bytes: [UInt8]) {
        if let node { node.send(ExecStream.stdin.number, bytes) } else { pending += bytes }
    }

    /// The client says no more; the pod may go on.
    func endInput() {
        isInputOver = true
        node?.send(NodeStreams.close, [ExecStream.stdin.number])
    }

    /// Reads on, where reading was held back.
    func resume() { node?.resume() }

    /// Ends the connection without a word to the client's side.
    func end() {
        handlers = nil
        node?.end()
        node = nil
    }

    private func finish(_ message: String?) {
        let handlers = handlers
        end()
        handlers?.ended(message)
    }

    // MARK: - From the node

    var canTake: Bool { handlers?.canTake() ?? false }

    func received(_ streams: NodeStreams, stream: UInt8, _ bytes: [UInt8]) {
        switch stream {
        case ExecStream.stdout.number:
            if !bytes.isEmpty { handlers?.received(bytes) }
        case ExecStream.error.number:
            let status = try? JSONValue(parsing: bytes)
            let isSuccess = status?["status"]?.string == "Success"
            finish(isSuccess ? nil : status?["message"]?.string ?? "")
        default: break
        }
    }

    func becameWritable(_ streams: NodeStreams) { handlers?.becameWritable() }

    func ended(_ streams: NodeStreams) { finish("the connection to the node was lost") }
}

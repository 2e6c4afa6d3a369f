import JSON
import KubernetesAPI
import NIOCore
import NIOHTTP1
import SPDY

/// A pod's ports for a client that speaks SPDY, on the connection itself or inside a WebSocket.
struct PortForwardUpgrade: ConnectionUpgrade {
    /// The node's path, to which a port's number is appended.
    let target: TunnelTarget
    let responseHeaders: HTTPHeaders
    private let isTunnelled: Bool

    /// - Throws: 403 for a client that speaks none of the protocols.
    init(target: TunnelTarget, offer: StreamOffer) throws {
        self.target = target
        isTunnelled = !offer.isSPDY
        let known = isTunnelled ? StreamOffer.tunnelledPortForward : StreamOffer.portForward
        guard offer.protocols.contains(known) else { throw offer.refusal([known]) }
        responseHeaders =
            try isTunnelled ? offer.webSocketHeaders(known) : StreamOffer.spdyHeaders(known)
    }

    func attach(client: any Channel, onEnd: @escaping () -> Void) {
        client.closeFuture.assumeIsolated().whenComplete { _ in onEnd() }
        do {
            let tunnel = try SPDYTunnel(bridge: PortForwardBridge(target: target))
            let frames = isTunnelled ? WebSocketTunnel.handlers() : []
            try UpgradedPipeline.leaveHTTP(client, for: frames + [tunnel])
        } catch {
            client.close(promise: nil)
        }
    }
}

/// Joins each pair of a client's streams, one for data and one for errors, to a connection to a
/// port of the pod.
private final class PortForwardBridge: SPDYBridge, NodeStreamsReader {
    /// Bytes of a connection that may wait until the node has made it.
    private static let pendingLimit = 64 * 1024

    private struct Forward {
        var port = ""
        var dataID: UInt32?
        var errorID: UInt32?
        var node: NodeStreams?
        var pending: [UInt8] = []
        var isInputOver = false
        var isConnected = false
    }

    private let target: TunnelTarget
    /// By the `requestID` that both streams of a pair carry.
    private var forwards: [String: Forward] = [:]
    private var requests: [UInt32: String] = [:]
    private var nodes: [ObjectIdentifier: String] = [:]
    private var client: SPDYTunnel?

    init(target: TunnelTarget) { self.target = target }

    // MARK: - The client

    var canReceive: Bool {
        forwards.values.allSatisfy {
            $0.isConnected ? $0.node?.isWritable ?? true : $0.pending.count < Self.pendingLimit
        }
    }

    func begin(_ client: SPDYTunnel) { self.client = client }

    func handle(_ event: ServerSession.Event) {
        switch event {
        case .opened(let id, let headers): open(id, headers)
        case .data(let id, let bytes):
            guard let request = requests[id], forwards[request]?.dataID == id else { return }
            if forwards[request]?.isConnected ?? false {
                forwards[request]?.node?.send(ExecStream.stdin.number, bytes)
            } else {
                forwards[request]?.pending += bytes
            }
        case .finished(let id):
            guard let request = requests[id], forwards[request]?.dataID == id else { return }
            forwards[request]?.isInputOver = true
            if forwards[request]?.isConnected ?? false { endInput(request) }
        case .reset(let id):
            if let request = requests[id] { finish(request, message: nil) }
        case .goAway: break
        }
    }

    private func open(_ id: UInt32, _ headers: [SPDYHeader]) {
        func value(_ name: String) -> String? { headers.first { $0.name == name }?.value }
        let isData = value("streamtype") == "data"
        guard isData || value("streamtype") == "error", let port = value("port"),
            let number = Int(port), (1...65_535).contains(number)
        else {
            client?.reset(id, .refusedStream)
            return
        }
        // Clients from before the request's number open the stream for errors, then the other.
        let request = value("requestid") ?? "stream \(isData ? id &- 2 : id)"
        var forward = forwards[request] ?? Forward()
        guard isData ? forward.dataID == nil : forward.errorID == nil else {
            client?.reset(id, .refusedStream)
            return
        }
        if isData { forward.dataID = id } else { forward.errorID = id }
        forward.port = String(number)
        forwards[request] = forward
        requests[id] = request
        if forward.dataID != nil, forward.errorID != nil { connect(request, port: forward.port) }
    }

    private func connect(_ request: String, port: String) {
        guard let eventLoop = client?.eventLoop else { return }
        var target = target
        target.uri += port
        let place = target
        eventLoop.makeFutureWithTask { try await NodeStreams.open(place, on: eventLoop) }
            .assumeIsolated()
            .whenComplete { result in
                switch result {
                case .success(.tunnel(let tunnel)): self.connected(request, tunnel)
                case .success(.refused(let reply)):
                    self.finish(request, message: String(buffer: reply.pieces.first ?? .init()))
                case .failure(let error):
                    let failure = NodeConnections.unreachable(place, error)
                    self.finish(request, message: failure.message)
                }
                self.client?.resume()
            }
    }

    private func connected(_ request: String, _ tunnel: NodeTunnel) {
        guard let forward = forwards[request] else {
            tunnel.close()
            return
        }
        let node = NodeStreams(reader: self)
        nodes[ObjectIdentifier(node)] = request
        forwards[request]?.node = node
        forwards[request]?.isConnected = true
        forwards[request]?.pending = []
        do {
            // What came with the node's 101 is handled meanwhile: the pair may be over afterwards.
            try node.take(tunnel)
        } catch {
            tunnel.close()
            finish(request, message: "\(error)")
            return
        }
        if !forward.pending.isEmpty { node.send(ExecStream.stdin.number, forward.pending) }
        if forward.isInputOver { endInput(request) }
    }

    private func endInput(_ request: String) {
        forwards[request]?.node?.send(NodeStreams.close, [ExecStream.stdin.number])
    }

    func clientBecameWritable() {
        for forward in forwards.values { forward.node?.resume() }
    }

    func end() {
        client = nil
        for forward in forwards.values { forward.node?.end() }
        forwards = [:]
        nodes = [:]
        requests = [:]
    }

    // MARK: - The node

    var canTake: Bool { client?.isWritable ?? false }

    func received(_ streams: NodeStreams, stream: UInt8, _ bytes: [UInt8]) {
        guard let request = nodes[ObjectIdentifier(streams)] else { return }
        switch stream {
        case ExecStream.stdout.number:
            if let id = forwards[request]?.dataID, !bytes.isEmpty { client?.send(bytes, on: id) }
        case ExecStream.error.number:
            let status = try? JSONValue(parsing: bytes)
            let isSuccess = status?["status"]?.string == "Success"
            finish(request, message: isSuccess ? nil : status?["message"]?.string ?? "")
        default: break
        }
    }

    func becameWritable(_ streams: NodeStreams) { client?.resume() }

    func ended(_ streams: NodeStreams) {
        guard let request = nodes[ObjectIdentifier(streams)] else { return }
        finish(request, message: "the connection to the node was lost")
    }

    /// Ends a pair, with the reason where it is a failure.
    private func finish(_ request: String, message: String?) {
        guard let forward = forwards.removeValue(forKey: request) else { return }
        if let node = forward.node {
            nodes[ObjectIdentifier(node)] = nil
            node.end()
        }
        for id in [forward.dataID, forward.errorID].compactMap(\.self) { requests[id] = nil }
        if let id = forward.errorID {
            client?.send(Array((message ?? "").utf8), on: id, isLast: true)
        }
        if let id = forward.dataID { client?.send([], on: id, isLast: true) }
        client?.resume()
    }
}

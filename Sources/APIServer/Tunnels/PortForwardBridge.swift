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
        guard offer.protocols.contains(known) else {
            throw offer.refusal(isTunnelled ? [known, StreamOffer.channels] : [known])
        }
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
private final class PortForwardBridge: SPDYBridge {
    private struct Forward {
        let connection: ForwardedPort
        var dataID: UInt32?
        var errorID: UInt32?
    }

    private let target: TunnelTarget
    /// By the `requestID` that both streams of a pair carry.
    private var forwards: [String: Forward] = [:]
    private var requests: [UInt32: String] = [:]
    private var client: SPDYTunnel?

    init(target: TunnelTarget) { self.target = target }

    var canReceive: Bool { forwards.values.allSatisfy(\.connection.canReceive) }

    func begin(_ client: SPDYTunnel) { self.client = client }

    func handle(_ event: ServerSession.Event) {
        switch event {
        case .opened(let id, let headers): open(id, headers)
        case .data(let id, let bytes): forward(ofData: id)?.connection.send(bytes)
        case .finished(let id): forward(ofData: id)?.connection.endInput()
        case .reset(let id):
            if let request = requests[id] { finish(request, message: nil) }
        case .goAway: break
        }
    }

    /// The pair whose stream for data this is.
    private func forward(ofData id: UInt32) -> Forward? {
        guard let forward = requests[id].flatMap({ forwards[$0] }), forward.dataID == id else {
            return nil
        }
        return forward
    }

    private func open(_ id: UInt32, _ headers: [SPDYHeader]) {
        func value(_ name: String) -> String? { headers.first { $0.name == name }?.value }
        let isData = value("streamtype") == "data"
        guard isData || value("streamtype") == "error", let port = value("port"),
            let number = UInt16(port), number > 0
        else {
            client?.reset(id, .refusedStream)
            return
        }
        // Clients from before the request's number open the stream for errors, then the other.
        let request = value("requestid") ?? "stream \(isData ? id &- 2 : id)"
        var forward = forwards[request] ?? Forward(connection: connection(request))
        guard isData ? forward.dataID == nil : forward.errorID == nil else {
            client?.reset(id, .refusedStream)
            return
        }
        if isData { forward.dataID = id } else { forward.errorID = id }
        forwards[request] = forward
        requests[id] = request
        guard forward.dataID != nil, forward.errorID != nil, let eventLoop = client?.eventLoop
        else { return }
        forward.connection.connect(target, port: number, on: eventLoop)
    }

    private func connection(_ request: String) -> ForwardedPort {
        ForwardedPort(
            .init(
                canTake: { self.client?.isWritable ?? false },
                received: { bytes in
                    if let id = self.forwards[request]?.dataID {
                        self.client?.send(bytes, on: id)
                    }
                },
                becameWritable: { self.client?.resume() },
                ended: { self.finish(request, message: $0) }))
    }

    func clientBecameWritable() {
        for forward in forwards.values { forward.connection.resume() }
    }

    func end() {
        client = nil
        for forward in forwards.values { forward.connection.end() }
        forwards = [:]
        requests = [:]
    }

    /// Ends a pair, with the reason where it is a failure.
    private func finish(_ request: String, message: String?) {
        guard let forward = forwards.removeValue(forKey: request) else { return }
        forward.connection.end()
        for id in [forward.dataID, forward.errorID].compactMap(\.self) { requests[id] = nil }
        if let id = forward.errorID {
            client?.send(Array((message ?? "").utf8), on: id, isLast: true)
        }
        if let id = forward.dataID { client?.send([], on: id, isLast: true) }
        client?.resume()
    }
}

import KubernetesAPI
import NIOCore
import NIOHTTP1
import NIOWebSocket

/// A pod's ports for a client that speaks WebSocket alone, such as the Python package `kubernetes`:
/// port `i` of those it names has channel `2i` for data and `2i + 1` for errors, and each channel
/// begins with the port's number, low byte first (kubelet's `v4.channel.k8s.io` of port forwarding).
struct PortChannelsUpgrade: ConnectionUpgrade {
    /// The number of a channel is a byte.
    private static let portLimit = 128

    /// The node's path, to which a port's number is appended.
    let target: TunnelTarget
    let ports: [UInt16]
    let responseHeaders: HTTPHeaders

    /// - Throws: 400 where the query names no port, or something else than ports.
    init(target: TunnelTarget, offer: StreamOffer, query: QueryItems) throws {
        self.target = target
        let texts = query.values("ports").flatMap { $0.split(separator: ",") }
        guard !texts.isEmpty else {
            throw StatusError.badRequest("query parameter \"ports\" is required")
        }
        guard texts.count <= Self.portLimit else {
            throw StatusError.badRequest(
                "\(texts.count) ports are more than the \(Self.portLimit) of one connection")
        }
        ports = try texts.map { text in
            guard let port = UInt16(text), port > 0 else {
                throw StatusError.badRequest("unable to parse \"\(text)\" as a port")
            }
            return port
        }
        responseHeaders = try offer.webSocketHeaders(
            offer.protocols.contains(StreamOffer.channels) ? StreamOffer.channels : "")
    }

    func attach(client: any Channel, onEnd: @escaping () -> Void) {
        client.closeFuture.assumeIsolated().whenComplete { _ in onEnd() }
        do {
            let channels = PortChannels(target: target, ports: ports)
            try UpgradedPipeline.leaveHTTP(client, for: PodPort.framing() + [channels])
            channels.start()
        } catch {
            client.close(promise: nil)
        }
    }
}

/// The messages of such a client, and a connection to each port.
private final class PortChannels: ChannelDuplexHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let target: TunnelTarget
    private let ports: [UInt16]
    /// nil where a connection is over.
    private var connections: [ForwardedPort?] = []
    private var context: ChannelHandlerContext?
    private var hasPendingRead = false

    init(target: TunnelTarget, ports: [UInt16]) {
        self.target = target
        self.ports = ports
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    /// Names the ports and connects to them. Called when nothing of HTTP is left on the connection.
    func start() {
        guard let context else { return }
        for (index, port) in ports.enumerated() {
            let channel = UInt8(2 * index)
            let number = [UInt8(truncatingIfNeeded: port), UInt8(port >> 8)]
            send(number, on: channel)
            send(number, on: channel + 1)
            let connection = ForwardedPort(
                .init(
                    canTake: { self.context?.channel.isWritable ?? false },
                    received: { self.send($0, on: channel) },
                    becameWritable: { self.readOn() },
                    ended: { self.finish(index, message: $0) }))
            connections.append(connection)
            connection.connect(target, port: port, on: context.eventLoop)
        }
    }

    // MARK: - To the client

    private func send(_ bytes: [UInt8], on channel: UInt8) {
        guard let context else { return }
        var data = context.channel.allocator.buffer(capacity: bytes.count + 1)
        data.writeInteger(channel)
        data.writeBytes(bytes)
        let frame = WebSocketFrame(fin: true, opcode: .binary, data: data)
        context.writeAndFlush(wrapOutboundOut(frame), promise: nil)
    }

    /// One connection is over; with the last of them the client's ends, too.
    private func finish(_ index: Int, message: String?) {
        connections[index] = nil
        if let message { send(Array(message.utf8), on: UInt8(2 * index + 1)) }
        if connections.allSatisfy({ $0 == nil }) { close() } else { readOn() }
    }

    private func close() {
        guard let context else { return }
        var code = context.channel.allocator.buffer(capacity: 2)
        code.write(webSocketErrorCode: .normalClosure)
        let channel = context.channel
        let frame = WebSocketFrame(fin: true, opcode: .connectionClose, data: code)
        context.writeAndFlush(wrapOutboundOut(frame))
            .whenComplete { _ in channel.close(promise: nil) }
    }

    // MARK: - From the client

    private func readOn() {
        guard hasPendingRead, let context else { return }
        hasPendingRead = false
        read(context: context)
    }

    func read(context: ChannelHandlerContext) {
        if connections.allSatisfy({ $0?.canReceive ?? true }) {
            context.read()
        } else {
            hasPendingRead = true
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        var bytes = frame.unmaskedData
        switch frame.opcode {
        case .binary, .text:
            // Channels for errors are the server's to write.
            guard let channel = bytes.readInteger(as: UInt8.self), channel % 2 == 0,
                connections.indices.contains(Int(channel) / 2), bytes.readableBytes > 0
            else { return }
            connections[Int(channel) / 2]?.send(Array(bytes.readableBytesView))
        case .ping:
            let pong = WebSocketFrame(fin: true, opcode: .pong, data: bytes)
            context.writeAndFlush(wrapOutboundOut(pong), promise: nil)
        case .connectionClose: close()
        default: break
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            for connection in connections { connection?.resume() }
        }
        context.fireChannelWritabilityChanged()
    }

    func handlerRemoved(context: ChannelHandlerContext) { end() }

    func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func end() {
        context = nil
        for connection in connections { connection?.end() }
        connections = []
    }
}

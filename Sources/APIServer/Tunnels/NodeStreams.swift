import NIOCore
import NIOHTTP1
import NIOWebSocket

/// Who takes what a node sends. Called on the connection's event loop.
protocol NodeStreamsReader: AnyObject {
    /// False while the client cannot take more: nothing is read from the node then.
    var canTake: Bool { get }
    func received(_ streams: NodeStreams, stream: UInt8, _ bytes: [UInt8])
    /// The node takes data again.
    func becameWritable(_ streams: NodeStreams)
    /// The connection is over. Nothing follows.
    func ended(_ streams: NodeStreams)
}

/// The node's end of a command or a forwarded port: a WebSocket whose messages begin with the
/// number of a stream (`v5.channel.k8s.io`). Lives on its connection's event loop.
final class NodeStreams: ChannelDuplexHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    static let close: UInt8 = 255
    /// The longest message from a node, in bytes.
    private static let messageLimit = 1 << 20

    private var reader: (any NodeStreamsReader)?
    private var context: ChannelHandlerContext?
    private var hasPendingRead = false
    private var isAttached = false
    /// What is sent before the connection is taken over, which is within the same turn of the loop
    /// or the next.
    private var unsent: [(stream: UInt8, bytes: [UInt8])] = []

    init(reader: any NodeStreamsReader) { self.reader = reader }

    /// Asks a node for streams.
    static func open(
        _ target: TunnelTarget, on eventLoop: any EventLoop
    ) async throws -> NodeTunnel.Outcome {
        let headers: HTTPHeaders = [
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": "v5.channel.k8s.io",
            // Only proxies that know nothing of WebSocket need a key that differs (RFC 6455, 10.3).
            "Sec-WebSocket-Key": "cG9ydG9sYW4gc3RyZWFtcw==",
        ]
        return try await NodeTunnel.open(target, method: .GET, headers: headers, on: eventLoop)
    }

    /// Takes a node's connection over. Called on its event loop.
    /// - Parameter completion: called when messages can pass, or never can.
    func take(
        _ tunnel: NodeTunnel, completion: @escaping (Result<Void, any Error>) -> Void = { _ in }
    ) throws {
        let decoder = WebSocketFrameDecoder(maxFrameSize: Self.messageLimit)
        let handlers: [any ChannelHandler] = [
            WebSocketFrameEncoder(), ByteToMessageHandler(decoder),
            NIOWebSocketFrameAggregator(
                minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: 64,
                maxAccumulatedFrameSize: Self.messageLimit),
            self,
        ]
        try tunnel.adopt(handlers) { result in
            self.isAttached = true
            let messages = self.unsent
            self.unsent = []
            for (stream, bytes) in messages { self.send(stream, bytes) }
            if self.isWritable { self.reader?.becameWritable(self) }
            completion(result)
        }
    }

    // MARK: - To the node

    var isWritable: Bool { unsent.isEmpty && context?.channel.isWritable ?? true }

    func send(_ stream: UInt8, _ bytes: [UInt8]) {
        guard isAttached else {
            unsent.append((stream, bytes))
            return
        }
        guard let context else { return }
        var data = context.channel.allocator.buffer(capacity: bytes.count + 1)
        data.writeInteger(stream)
        data.writeBytes(bytes)
        let frame = WebSocketFrame(fin: true, opcode: .binary, maskKey: .random(), data: data)
        context.writeAndFlush(wrapOutboundOut(frame), promise: nil)
    }

    /// Ends the connection; the reader hears nothing more.
    func end() {
        reader = nil
        context?.close(promise: nil)
    }

    // MARK: - From the node

    /// Reads on, where reading was held back.
    func resume() {
        guard hasPendingRead, let context else { return }
        hasPendingRead = false
        read(context: context)
    }

    func read(context: ChannelHandlerContext) {
        if reader?.canTake ?? true { context.read() } else { hasPendingRead = true }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .binary, .text:
            var data = frame.unmaskedData
            guard let stream = data.readInteger(as: UInt8.self) else { return }
            reader?.received(self, stream: stream, Array(data.readableBytesView))
        case .ping where isAttached:
            let pong = WebSocketFrame(
                fin: true, opcode: .pong, maskKey: .random(), data: frame.unmaskedData)
            context.writeAndFlush(wrapOutboundOut(pong), promise: nil)
        case .connectionClose: context.close(promise: nil)
        default: break
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { reader?.becameWritable(self) }
        context.fireChannelWritabilityChanged()
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelInactive(context: ChannelHandlerContext) {
        let reader = reader
        self.reader = nil
        reader?.ended(self)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

import JSON
import KubernetesAPI
import NIOCore
import NIOWebSocket

/// The bytes of a connection to a pod's port inside a node's WebSocket, as if they came from a
/// socket: what is written goes out as stream 0, stream 1 comes in.
final class PodPort: ChannelDuplexHandler {
    typealias InboundIn = WebSocketFrame
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = WebSocketFrame

    /// Why the node could not connect, where it has said so.
    private(set) var failure: StatusError?

    /// The handlers between a connection and this one.
    static func framing() -> [any ChannelHandler] {
        let limit = 1 << 20
        return [
            WebSocketFrameEncoder(),
            ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: limit)),
            NIOWebSocketFrameAggregator(
                minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: 64,
                maxAccumulatedFrameSize: limit),
        ]
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .binary, .text:
            var data = frame.unmaskedData
            switch data.readInteger(as: UInt8.self) {
            case ExecStream.stdout.number where data.readableBytes > 0:
                context.fireChannelRead(wrapInboundOut(data))
            case ExecStream.error.number: end(Array(data.readableBytesView), context: context)
            default: break
            }
        case .connectionClose: context.close(promise: nil)
        default: break
        }
    }

    private func end(_ bytes: [UInt8], context: ChannelHandlerContext) {
        let status = try? JSONValue(parsing: bytes)
        if status?["status"]?.string != "Success" {
            let failure = StatusError(
                code: 503, reason: "ServiceUnavailable",
                message: status?["message"]?.string ?? "the node could not connect to the pod")
            self.failure = failure
            context.fireErrorCaught(failure)
        }
        context.close(promise: nil)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        var bytes = unwrapOutboundIn(data)
        var message = context.channel.allocator.buffer(capacity: bytes.readableBytes + 1)
        message.writeInteger(ExecStream.stdin.number)
        message.writeBuffer(&bytes)
        let frame = WebSocketFrame(fin: true, opcode: .binary, maskKey: .random(), data: message)
        context.write(wrapOutboundOut(frame), promise: promise)
    }
}

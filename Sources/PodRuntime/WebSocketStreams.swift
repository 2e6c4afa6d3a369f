import JSON
import NIOCore
import NIOWebSocket
import Synchronization

/// The streams of a command over one WebSocket: the first byte of each message says which
/// (`v5.channel.k8s.io`, KEP-4006; `v4.channel.k8s.io` lacks the closing of a single stream).
final class WebSocketStreams: Sendable {
    static let version5 = "v5.channel.k8s.io"
    /// The protocols that are understood, best first.
    static let protocols = [version5, "v4.channel.k8s.io"]
    /// The longest message, in bytes.
    static let frameLimit = 1 << 20
    /// Bytes of input that may wait; above that the socket is not read.
    static let inputLimit = 256 * 1024

    /// The streams by their number in a message.
    enum Stream: UInt8, Sendable {
        case input = 0
        case output = 1
        case errorOutput = 2
        case status = 3
        case resize = 4
        case close = 255
    }

    /// What a client says.
    enum Message: Sendable {
        case input([UInt8])
        case endOfInput
        case resize(rows: UInt16, columns: UInt16)
    }

    /// What the client says, in order; ends with the connection.
    let messages: AsyncStream<Message>
    private let messagesInput: AsyncStream<Message>.Continuation
    private let waitingByteCount = Mutex(0)
    private let channel: any Channel
    private let knowsClose: Bool

    /// - Parameter knowsClose: true for version 5, where one stream can be closed.
    init(channel: any Channel, knowsClose: Bool) {
        self.channel = channel
        self.knowsClose = knowsClose
        (messages, messagesInput) = AsyncStream.makeStream()
        channel.closeFuture.whenComplete { [messagesInput] _ in messagesInput.finish() }
    }

    /// True while the client is there.
    var isOpen: Bool { channel.isActive }

    // MARK: - From the client

    /// Takes a message in. A client that sends faster than the command reads is made to wait.
    func receive(_ payload: ByteBuffer) {
        var payload = payload
        guard let number = payload.readInteger(as: UInt8.self) else { return }
        let bytes = Array(payload.readableBytesView)
        switch Stream(rawValue: number) {
        case .input where !bytes.isEmpty:
            let isFull = waitingByteCount.withLock { count in
                count += bytes.count
                return count > Self.inputLimit
            }
            if isFull { setReading(false) }
            messagesInput.yield(.input(bytes))
        case .close where knowsClose && bytes.first == Stream.input.rawValue:
            messagesInput.yield(.endOfInput)
        case .resize:
            guard let size = try? JSONValue(parsing: bytes), let rows = size["Height"]?.int,
                let columns = size["Width"]?.int
            else { return }
            messagesInput.yield(
                .resize(rows: UInt16(clamping: rows), columns: UInt16(clamping: columns)))
        default: break
        }
    }

    /// The command has taken input.
    func consumed(_ byteCount: Int) {
        let isFree = waitingByteCount.withLock { count in
            let wasFull = count > Self.inputLimit
            count -= byteCount
            return wasFull && count <= Self.inputLimit
        }
        if isFree { setReading(true) }
    }

    private func setReading(_ isReading: Bool) {
        _ = channel.setOption(.autoRead, value: isReading)
    }

    // MARK: - To the client

    /// Sends bytes and waits until they are out. Only on a thread that may block.
    /// - Throws: where the client is gone.
    func sendBlocking(_ stream: Stream, _ bytes: some Collection<UInt8>) throws {
        try channel.writeAndFlush(frame(stream, bytes)).wait()
    }

    /// Tells the client that the connection stands, as kubelet does by an empty message.
    func open(_ stream: Stream) { channel.writeAndFlush(frame(stream, []), promise: nil) }

    /// Sends the status and ends the connection.
    /// - Parameter exitCode: the command's; 0 is a success.
    func finish(exitCode: Int32) {
        if exitCode == 0 {
            finish(["metadata": [:], "status": "Success"])
        } else {
            finish([
                "metadata": [:], "status": "Failure", "reason": "NonZeroExitCode",
                "message": .string(
                    "command terminated with non-zero exit code: exit status \(exitCode)"),
                "details": [
                    "causes": [["reason": "ExitCode", "message": .string(String(exitCode))]]
                ],
            ])
        }
    }

    /// Sends a failure that is not the command's and ends the connection.
    func finish(message: String) {
        finish([
            "metadata": [:], "status": "Failure", "reason": "InternalError",
            "message": .string(message), "code": 500,
        ])
    }

    private func finish(_ status: JSONValue) {
        channel.write(frame(.status, status.serializedBytes), promise: nil)
        var code = channel.allocator.buffer(capacity: 2)
        code.write(webSocketErrorCode: .normalClosure)
        let close = WebSocketFrame(fin: true, opcode: .connectionClose, data: code)
        let channel = channel
        channel.writeAndFlush(close).whenComplete { _ in
            // The client answers with a close of its own; one that does not is not waited for.
            channel.eventLoop.scheduleTask(in: .seconds(2)) { channel.close(promise: nil) }
        }
    }

    private func frame(_ stream: Stream, _ bytes: some Collection<UInt8>) -> WebSocketFrame {
        var data = channel.allocator.buffer(capacity: bytes.count + 1)
        data.writeInteger(stream.rawValue)
        data.writeBytes(bytes)
        return WebSocketFrame(fin: true, opcode: .binary, data: data)
    }
}

/// Hands the messages of a WebSocket to its streams and answers pings.
final class WebSocketHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let streams: WebSocketStreams
    /// The parts of a message so far.
    private var fragments: ByteBuffer?

    init(_ streams: WebSocketStreams) { self.streams = streams }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .ping:
            let pong = WebSocketFrame(fin: true, opcode: .pong, data: frame.unmaskedData)
            context.writeAndFlush(wrapOutboundOut(pong), promise: nil)
        case .connectionClose: context.close(promise: nil)
        case .binary, .text, .continuation:
            var message = frame.opcode == .continuation ? fragments ?? ByteBuffer() : ByteBuffer()
            message.writeImmutableBuffer(frame.unmaskedData)
            guard message.readableBytes <= WebSocketStreams.frameLimit else {
                context.close(promise: nil)
                return
            }
            fragments = frame.fin ? nil : message
            if frame.fin { streams.receive(message) }
        default: break
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

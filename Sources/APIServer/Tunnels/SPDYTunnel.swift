import NIOCore
import SPDY

/// What stands behind a client's SPDY session. Called on its event loop.
protocol SPDYBridge: AnyObject {
    /// False while what the client sends cannot be passed on: it is not read then.
    var canReceive: Bool { get }
    func begin(_ client: SPDYTunnel)
    func handle(_ event: ServerSession.Event)
    /// The client takes data again.
    func clientBecameWritable()
    /// The client is gone.
    func end()
}

/// A client's SPDY session on a connection that was upgraded to it. Reads only while what stands
/// behind can take more, and asks that to do the same, so that nothing piles up here.
final class SPDYTunnel: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Seconds that a client may leave a finished session open.
    private static let lingerSeconds: Int64 = 5

    private var session: ServerSession
    private var bridge: (any SPDYBridge)?
    private var context: ChannelHandlerContext?
    private var hasPendingRead = false

    init(bridge: any SPDYBridge) throws {
        session = try ServerSession()
        self.bridge = bridge
    }

    var isWritable: Bool { context?.channel.isWritable ?? false }

    /// The event loop, while the connection stands.
    var eventLoop: (any EventLoop)? { context?.eventLoop }

    // MARK: - To the client

    func send(_ bytes: [UInt8], on id: UInt32, isLast: Bool = false) {
        session.send(bytes, on: id, isLast: isLast)
        flush()
    }

    func reset(_ id: UInt32, _ status: SPDYFrame.ResetStatus) {
        session.reset(id, status)
        flush()
    }

    /// Closes the connection after the client has had time to read what is sent and to close it.
    func linger() {
        guard let channel = context?.channel else { return }
        channel.eventLoop.scheduleTask(in: .seconds(Self.lingerSeconds)) {
            channel.close(promise: nil)
        }
    }

    private func flush() {
        let bytes = session.takeOutput()
        guard !bytes.isEmpty, let context else { return }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }

    // MARK: - From the client

    /// Reads on, where reading was held back.
    func resume() {
        guard hasPendingRead, let context else { return }
        hasPendingRead = false
        read(context: context)
    }

    func read(context: ChannelHandlerContext) {
        if bridge?.canReceive ?? true { context.read() } else { hasPendingRead = true }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do {
            let events = try session.receive(unwrapInboundIn(data).readableBytesView)
            for event in events { bridge?.handle(event) }
            flush()
        } catch {
            session.goAway()
            flush()
            context.close(promise: nil)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { bridge?.clientBecameWritable() }
        context.fireChannelWritabilityChanged()
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        bridge?.begin(self)
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
        let bridge = bridge
        self.bridge = nil
        bridge?.end()
    }
}

import CLinux
import Glibc
import NIOCore
import NIOPosix

/// The thread that encrypts and decrypts. The answering threads know nothing of TLS: they read and
/// write plain messages at their end of a socket pair, and this thread carries the bytes between
/// the other end and the TLS connection. So a handshake, which takes a millisecond of computing,
/// never holds up an answer over UDP.
enum TLSThread {
    /// Made when it is first used; it lives as long as the process.
    static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    static var loop: any EventLoop { group.next() }
}

/// A connected pair of local stream sockets that do not block.
struct SocketPair {
    let near: OwnedDescriptor
    let far: OwnedDescriptor

    init() throws(SocketError) {
        var descriptors: (Int32, Int32) = (-1, -1)
        let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let result = withUnsafeMutableBytes(of: &descriptors) { bytes in
            socketpair(AF_UNIX, type, 0, bytes.assumingMemoryBound(to: Int32.self).baseAddress)
        }
        guard result == 0 else { throw SocketError("make a pair of sockets") }
        near = OwnedDescriptor(descriptors.0)
        far = OwnedDescriptor(descriptors.1)
    }
}

/// A descriptor that is closed unless somebody takes it.
///
/// Safe to share: it is handed on, never used by two at a time; whoever takes it is the only one
/// that holds it then.
final class OwnedDescriptor: @unchecked Sendable {
    private var descriptor: Int32

    init(_ descriptor: Int32) { self.descriptor = descriptor }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// The descriptor, which is the caller's from now on.
    func take() -> Int32 {
        defer { descriptor = -1 }
        return descriptor
    }
}

/// One end of a relay: what its channel reads, its partner's channel writes. A side whose partner
/// cannot write more reads no more, so nothing piles up here.
///
/// Both channels are of `TLSThread`, so that only that thread touches an end.
final class TLSRelayEnd: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var context: ChannelHandlerContext?
    private var partner: TLSRelayEnd?
    /// What was read before there was a partner: at most what one read gives.
    private var early: [ByteBuffer] = []
    private var holdsRead = false
    private var isClosing = false

    /// Makes each the other's partner.
    static func join(_ left: TLSRelayEnd, _ right: TLSRelayEnd) {
        left.partner = right
        right.partner = left
        for (end, other) in [(left, right), (right, left)] {
            for bytes in end.early { other.write(bytes) }
            if !end.early.isEmpty { other.context?.flush() }
            end.early = []
            end.readAgain()
            if end.isClosing { other.finish() }
        }
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        partner = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        if let partner { partner.write(bytes) } else { early.append(bytes) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        partner?.context?.flush()
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        isClosing = true
        partner?.finish()
        partner = nil
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A peer that breaks TLS or goes away ends its own connection only.
        context.close(promise: nil)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { partner?.readAgain() }
        context.fireChannelWritabilityChanged()
    }

    func read(context: ChannelHandlerContext) {
        // Reading goes on while there is no partner yet only until something was read: a
        // handshake needs it.
        let mayRead = partner.map(\.isWritable) ?? early.isEmpty
        if mayRead { context.read() } else { holdsRead = true }
    }

    private var isWritable: Bool { context?.channel.isWritable ?? false }

    private func readAgain() {
        guard holdsRead else { return }
        holdsRead = false
        context?.read()
    }

    private func write(_ bytes: ByteBuffer) {
        context?.write(wrapOutboundOut(bytes), promise: nil)
    }

    /// Closes this end once everything written is on its way.
    private func finish() {
        partner = nil
        guard let context else { return }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer())).whenComplete {
            [channel = context.channel] _ in
            channel.close(promise: nil)
        }
    }
}

extension TLSRelayEnd {
    /// Makes a channel of one end of a pair, with a relay's end in it.
    static func adopt(_ descriptor: OwnedDescriptor) -> EventLoopFuture<any Channel> {
        ClientBootstrap(group: TLSThread.group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(TLSRelayEnd())
                }
            }
            .withConnectedSocket(descriptor.take())
    }

    /// Joins the ends in two channels of the relay's thread.
    static func join(_ left: any Channel, _ right: any Channel) throws {
        join(
            try left.pipeline.syncOperations.handler(type: TLSRelayEnd.self),
            try right.pipeline.syncOperations.handler(type: TLSRelayEnd.self))
    }
}

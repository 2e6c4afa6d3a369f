import CLinux
import Glibc
import Synchronization

/// A netlink socket: requests in batches, their acknowledgements, dumps.
///
/// A socket stays in the network namespace it was made in, whichever thread uses it. Calls from
/// several threads are made one after another.
public final class NetlinkSocket: Sendable {
    /// Which part of the kernel the socket talks to.
    public enum Family: Int32, Sendable {
        /// Links, addresses, routes (NETLINK_ROUTE).
        case route = 0
        /// nftables and connection tracking (NETLINK_NETFILTER).
        case netfilter = 12
    }

    private struct State {
        var nextSequence: UInt32 = 1
        var receiveBuffer = [UInt8](repeating: 0, count: 1 << 17)
        var sendBufferByteCount = 0
    }

    /// How often a dump is begun anew that the kernel marks as interrupted by changes.
    public static let dumpAttemptLimit = 8

    /// The socket, for epoll. Do not read from it.
    public let descriptor: Int32
    private let state = Mutex(State())

    /// Opens a socket in the calling thread's network namespace.
    /// - Parameter groups: multicast groups to join, as bits (RTMGRP_*).
    public init(_ family: Family, groups: UInt32 = 0, isNonBlocking: Bool = false) throws {
        let type =
            Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            | (isNonBlocking ? Int32(SOCK_NONBLOCK.rawValue) : 0)
        descriptor = socket(AF_NETLINK, type, family.rawValue)
        guard descriptor >= 0 else {
            throw NetlinkError(currentErrorFor: "open a netlink socket (\(family))")
        }
        // Errors then carry the kernel's words, and not a copy of the request.
        set(PORTOLAN_SOL_NETLINK, Int32(NETLINK_EXT_ACK), 1)
        set(PORTOLAN_SOL_NETLINK, Int32(NETLINK_CAP_ACK), 1)
        set(SOL_SOCKET, PORTOLAN_SO_RCVBUFFORCE, 8 << 20)
        var address = sockaddr_nl()
        address.nl_family = sa_family_t(AF_NETLINK)
        address.nl_groups = groups
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_nl>.size))
            }
        }
        guard bound == 0 else {
            let error = NetlinkError(currentErrorFor: "bind a netlink socket (\(family))")
            close(descriptor)
            throw error
        }
        // The kernel answers within the send; this bounds the wait should that ever change.
        var timeout = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    // MARK: - Requests

    /// Sends all messages and waits until each is acknowledged; every one must have NLM_F_ACK.
    /// - Returns: the messages that were refused, in order.
    public func request(_ buffer: MessageBuffer) throws -> [MessageFailure] {
        try state.withLock { state in
            let first = try send(buffer, &state)
            let total = buffer.messageOffsets.count
            var failures: [MessageFailure] = []
            var answered = 0
            while answered < total {
                for reply in try receive(&state, "wait for an acknowledgement") {
                    let index = Int(reply.sequence &- first)
                    guard index < total, reply.type == UInt16(NLMSG_ERROR) else { continue }
                    answered += 1
                    if let failure = MessageFailure(reply, messageIndex: index) {
                        failures.append(failure)
                    }
                }
            }
            return failures
        }
    }

    /// Sends messages that are processed as one (nfnetlink's batch) and collects the errors. One
    /// message at least has NLM_F_ACK, so that there is an answer; the kernel has done all work and
    /// queued all errors when the send returns, so what is not there then does not come.
    /// - Returns: the messages that were refused, in order; the whole batch was then undone.
    public func requestBatch(_ buffer: MessageBuffer) throws -> [MessageFailure] {
        try state.withLock { state in
            let first = try send(buffer, &state)
            let total = buffer.messageOffsets.count
            var failures: [MessageFailure] = []
            var isAnswered = false
            while let replies = try receiveIfReady(&state) {
                for reply in replies {
                    let index = Int(reply.sequence &- first)
                    guard index < total, reply.type == UInt16(NLMSG_ERROR) else { continue }
                    isAnswered = true
                    if let failure = MessageFailure(reply, messageIndex: index) {
                        failures.append(failure)
                    }
                }
            }
            guard isAnswered else {
                throw NetlinkError(EPROTO, "wait for a batch's acknowledgement")
            }
            return failures
        }
    }

    /// Sends one dump request (NLM_F_DUMP is added) and collects the answers. A dump the kernel
    /// marks as interrupted is begun anew, a bounded number of times.
    public func dump(_ buffer: MessageBuffer, operation: String) throws -> [Message] {
        buffer.addFlags(UInt16(NLM_F_REQUEST) | UInt16(NLM_F_DUMP), toMessage: 0)
        return try state.withLock { state in
            for _ in 0..<Self.dumpAttemptLimit {
                if let messages = try dumpOnce(buffer, operation, &state) { return messages }
            }
            throw NetlinkError(
                EINTR, operation, message: "the tables changed during each of several readings")
        }
    }

    /// Sends one request that is answered by one message, and returns that.
    public func get(_ buffer: MessageBuffer, operation: String) throws -> Message {
        buffer.addFlags(UInt16(NLM_F_REQUEST), toMessage: 0)
        return try state.withLock { state in
            let first = try send(buffer, &state)
            while true {
                for reply in try receive(&state, operation) where reply.sequence == first {
                    guard reply.type == UInt16(NLMSG_ERROR) else { return reply }
                    guard let failure = MessageFailure(reply, messageIndex: 0) else { continue }
                    throw NetlinkError(failure.errorNumber, operation, message: failure.message)
                }
            }
        }
    }

    /// Waits for messages of the groups joined; nil where a non-blocking socket has none.
    /// - Throws: `NetlinkError` with ENOBUFS where messages were lost: read everything anew.
    public func receiveNotifications() throws -> [Message]? {
        try state.withLock { state in
            while true {
                let count = read(into: &state, flags: 0)
                if count >= 0 { return parse(count, state) }
                switch errno {
                case EINTR: continue
                case EAGAIN: return nil
                default: throw NetlinkError(currentErrorFor: "read notifications")
                }
            }
        }
    }

    // MARK: - The socket

    /// nil where the dump was interrupted.
    private func dumpOnce(
        _ buffer: MessageBuffer, _ operation: String, _ state: inout State
    ) throws -> [Message]? {
        let first = try send(buffer, &state)
        var messages: [Message] = []
        var isInterrupted = false
        while true {
            for reply in try receive(&state, operation) where reply.sequence == first {
                if Int(reply.flags) & Int(NLM_F_DUMP_INTR) != 0 { isInterrupted = true }
                switch reply.type {
                case UInt16(NLMSG_DONE):
                    let code = Int32(bitPattern: reply.payload.uint32())
                    if code == -EINTR || isInterrupted { return nil }
                    if code < 0 { throw NetlinkError(-code, operation) }
                    return messages
                case UInt16(NLMSG_ERROR):
                    guard let failure = MessageFailure(reply, messageIndex: 0) else { continue }
                    if failure.errorNumber == EINTR { return nil }
                    throw NetlinkError(failure.errorNumber, operation, message: failure.message)
                default: messages.append(reply)
                }
            }
        }
    }

    /// Numbers the messages and sends them in one datagram; returns the first's number.
    private func send(_ buffer: MessageBuffer, _ state: inout State) throws -> UInt32 {
        // What an earlier, failed exchange left must not be taken for this one's answers.
        while try receiveIfReady(&state) != nil {}
        let first = state.nextSequence
        state.nextSequence &+= UInt32(truncatingIfNeeded: buffer.messageOffsets.count)
        buffer.assignSequenceNumbers(from: first)
        if buffer.count + 4096 > state.sendBufferByteCount {
            // The kernel refuses a datagram larger than the send buffer; it doubles what is asked.
            let byteCount = max(1 << 18, buffer.count + 4096)
            set(SOL_SOCKET, PORTOLAN_SO_SNDBUFFORCE, Int32(clamping: byteCount))
            state.sendBufferByteCount = byteCount
        }
        try buffer.withUnsafeBytes { bytes throws(NetlinkError) in
            while Glibc.send(descriptor, bytes.baseAddress, bytes.count, 0) < 0 {
                guard errno == EINTR else {
                    throw NetlinkError(currentErrorFor: "send \(bytes.count) bytes by netlink")
                }
            }
        }
        return first
    }

    private func receive(_ state: inout State, _ operation: String) throws -> [Message] {
        while true {
            let count = read(into: &state, flags: 0)
            if count >= 0 { return parse(count, state) }
            if errno != EINTR { throw NetlinkError(currentErrorFor: operation) }
        }
    }

    private func receiveIfReady(_ state: inout State) throws -> [Message]? {
        while true {
            let count = read(into: &state, flags: Int32(MSG_DONTWAIT))
            if count >= 0 { return parse(count, state) }
            switch errno {
            case EINTR: continue
            case EAGAIN: return nil
            default: throw NetlinkError(currentErrorFor: "read from netlink")
            }
        }
    }

    private func read(into state: inout State, flags: Int32) -> Int {
        state.receiveBuffer.withUnsafeMutableBytes {
            recv(descriptor, $0.baseAddress, $0.count, flags)
        }
    }

    private func parse(_ count: Int, _ state: State) -> [Message] {
        Message.parse(ByteView(Array(state.receiveBuffer[..<count])))
    }

    /// Sets an option; those set here only widen limits or add detail, so failure is no error.
    private func set(_ level: Int32, _ option: Int32, _ value: Int32) {
        var value = value
        setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }
}

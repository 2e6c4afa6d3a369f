import CLinux
import Glibc

/// What a descriptor stands for, packed in the 64 bits that epoll gives back.
struct PollToken {
    enum Kind: UInt64 {
        case wake = 0
        case datagrams
        case listener
        case connection
        case exchange
        case upstream
    }

    /// Places are few: each is bounded by a limit of the configuration.
    private static let indexMask: UInt64 = 0xFF_FFFF

    let kind: Kind
    let index: Int
    /// Which of a place's tenants is meant: an event that was reported for an earlier one says
    /// nothing about this one.
    let generation: UInt32

    init(_ kind: Kind, _ index: Int, generation: UInt32 = 0) {
        self.kind = kind
        self.index = index
        self.generation = generation
    }

    init?(rawValue: UInt64) {
        guard let kind = Kind(rawValue: rawValue >> 56) else { return nil }
        self.kind = kind
        index = Int(rawValue & Self.indexMask)
        generation = UInt32(truncatingIfNeeded: rawValue >> 24)
    }

    var rawValue: UInt64 {
        kind.rawValue << 56 | UInt64(generation) << 24 | UInt64(index) & Self.indexMask
    }
}

/// An epoll descriptor with room for its events. Used by one thread.
final class Poller {
    static let capacity = 128
    private let descriptor: Int32
    private let events: UnsafeMutablePointer<epoll_event>

    init() throws(SocketError) {
        descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard descriptor >= 0 else { throw SocketError("create an epoll descriptor") }
        events = .allocate(capacity: Self.capacity)
        events.initialize(repeating: epoll_event(), count: Self.capacity)
    }

    deinit {
        _ = Glibc.close(descriptor)
        events.deallocate()
    }

    /// Watches `target` for `interest`, or changes what it is watched for.
    func watch(_ target: Int32, _ token: PollToken, _ interest: UInt32) {
        var event = epoll_event()
        event.events = interest
        event.data.u64 = token.rawValue
        if epoll_ctl(descriptor, EPOLL_CTL_MOD, target, &event) != 0 {
            _ = epoll_ctl(descriptor, EPOLL_CTL_ADD, target, &event)
        }
    }

    /// Ends the watch of `target` and closes it.
    ///
    /// Closing alone does not end the watch while a child that is being started still has a copy
    /// of the descriptor (epoll(7), "Will closing a file descriptor cause it to be removed"): its
    /// events would then be taken for those of the number's next owner.
    func close(_ target: Int32) {
        _ = epoll_ctl(descriptor, EPOLL_CTL_DEL, target, nil)
        _ = Glibc.close(target)
    }

    /// Waits for events, at most `timeoutMilliseconds` (-1 without end); how many there are.
    @inline(__always)
    func wait(timeoutMilliseconds: Int32) -> Int {
        max(0, Int(epoll_wait(descriptor, events, Int32(Self.capacity), timeoutMilliseconds)))
    }

    /// The event at `index` of the last wait.
    @inline(__always)
    func event(_ index: Int) -> (PollToken?, UInt32) {
        (PollToken(rawValue: events[index].data.u64), events[index].events)
    }
}

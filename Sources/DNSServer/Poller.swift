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

    let kind: Kind
    let index: Int

    init(_ kind: Kind, _ index: Int) {
        self.kind = kind
        self.index = index
    }

    init?(rawValue: UInt64) {
        guard let kind = Kind(rawValue: rawValue >> 56) else { return nil }
        self.kind = kind
        index = Int(rawValue & 0xFF_FFFF_FFFF_FFFF)
    }

    var rawValue: UInt64 { kind.rawValue << 56 | UInt64(index) }
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
        close(descriptor)
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

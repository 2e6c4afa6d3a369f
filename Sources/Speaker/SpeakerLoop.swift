import ARP
import AddressPools
import CLinux
import Glibc
import KubernetesAPI
import Netlink
import NetworkTypes
import Synchronization

/// Moves frames, datagrams and time between the kernel and a `SpeakerCore`, on a thread of its own:
/// heartbeats must go out on time however busy the tasks of the process are.
final class SpeakerLoop: Sendable {
    private let sockets: SpeakerSockets
    private let core: Mutex<SpeakerCore>
    private let wakeDescriptor: Int32
    private let isStopping = Atomic(false)
    private let sendFailures = Atomic<UInt64>(0)
    private let deliver: @Sendable (SpeakerCore.Action) -> Void

    /// Frames and datagrams taken at a time, so that a flood does not keep heartbeats waiting.
    private static let batchLimit = 64

    /// Makes a loop; `deliver` is handed the actions that are not for sockets.
    init(
        sockets: SpeakerSockets, core: consuming SpeakerCore,
        deliver: @escaping @Sendable (SpeakerCore.Action) -> Void
    ) throws {
        self.sockets = sockets
        self.core = Mutex(core)
        self.deliver = deliver
        wakeDescriptor = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
        guard wakeDescriptor >= 0 else { throw NetlinkError(errno, "make an eventfd") }
    }

    deinit { close(wakeDescriptor) }

    /// Frames and datagrams that the kernel refused to send.
    var sendFailureCount: UInt64 { sendFailures.load(ordering: .relaxed) }

    /// Reads from the core.
    func read<Result>(_ body: (borrowing SpeakerCore) -> Result) -> Result {
        core.withLock { body($0) }
    }

    /// Changes the core and carries out at once what follows from it.
    func change(_ body: (inout SpeakerCore, Int64) -> [SpeakerCore.Action]) {
        let isEmpty = core.withLock { core in
            let actions = body(&core, Self.nowMilliseconds())
            perform(actions)
            return actions.isEmpty
        }
        if !isEmpty { wake() }
    }

    /// Starts the thread. It holds this object until `stop`.
    func start() throws {
        var thread = pthread_t()
        let box = Unmanaged.passRetained(self)
        let code = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                // Balances passRetained above; the thread is the only taker.
                let loop = Unmanaged<SpeakerLoop>.fromOpaque(argument).takeRetainedValue()
                loop.run()
                return nil
            }, box.toOpaque())
        guard code == 0 else {
            box.release()
            throw NetlinkError(code, "start the speaker's thread")
        }
        pthread_detach(thread)
    }

    /// Ends the thread.
    func stop() {
        isStopping.store(true, ordering: .releasing)
        wake()
    }

    static func nowMilliseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    // MARK: - The thread

    private func run() {
        var descriptors = [sockets.arp, sockets.neighbors, sockets.heartbeats, wakeDescriptor]
            .map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        var buffer = [UInt8](repeating: 0, count: 2048)
        while !isStopping.load(ordering: .acquiring) {
            let next = core.withLock { $0.nextMilliseconds }
            let pause = min(max(next - Self.nowMilliseconds(), 0), 1_000)
            let count = poll(&descriptors, nfds_t(descriptors.count), Int32(pause))
            if count > 0 {
                for entry in descriptors where entry.revents != 0 {
                    drain(entry.fd, &buffer)
                }
            }
            core.withLock { core in
                let now = Self.nowMilliseconds()
                if now >= core.nextMilliseconds { perform(core.tick(nowMilliseconds: now)) }
            }
        }
    }

    private func drain(_ descriptor: Int32, _ buffer: inout [UInt8]) {
        if descriptor == wakeDescriptor {
            _ = Glibc.read(descriptor, &buffer, 8)
            return
        }
        for _ in 0..<Self.batchLimit {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            // An error is reported once and cleared: a link that went down comes up again.
            guard count > 0 else { return }
            let now = Self.nowMilliseconds()
            core.withLock { core in
                if descriptor == sockets.heartbeats {
                    perform(
                        core.receive(datagram: Array(buffer[..<count]), nowMilliseconds: now))
                } else {
                    let frame = buffer.span.extracting(first: count)
                    perform(core.receive(frame: frame, nowMilliseconds: now))
                }
            }
        }
    }

    /// Called with the core locked, which keeps the frames of two threads in order.
    private func perform(_ actions: [SpeakerCore.Action]) {
        for action in actions {
            var isSent = true
            switch action {
            case .frame(let bytes): isSent = sockets.send(frame: bytes)
            case .datagram(let bytes, let address):
                isSent = sockets.send(datagram: bytes, to: address)
            case .event, .announcementsChanged: deliver(action)
            }
            if !isSent { sendFailures.wrappingAdd(1, ordering: .relaxed) }
        }
    }

    private func wake() {
        var one: UInt64 = 1
        _ = write(wakeDescriptor, &one, 8)
    }
}

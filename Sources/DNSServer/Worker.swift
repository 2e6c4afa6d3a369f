import CLinux
import DNS
import Glibc
import NetworkTypes
import Synchronization

/// One answering thread: its own sockets, cache, connections and waiting questions, so that no
/// lock and no other thread is on a query's way.
///
/// Safe to hand to its thread: everything but `mailbox`, the metrics and the wake descriptor is
/// touched only by the thread that runs `run`, from the moment it starts.
final class Worker: @unchecked Sendable {
    /// What others may tell the thread.
    struct Mailbox {
        var configuration: ServerConfiguration?
        var sockets: [ListenerSockets] = []
        var isStopping = false
        var requests: [@Sendable (Worker) -> Void] = []
    }

    let number: Int
    let metrics = WorkerMetrics()
    let upstreamBoard = UpstreamBoard()
    let mailbox: Mutex<Mailbox>
    private let wakeDescriptor: Int32
    let poller: Poller

    var configuration: ServerConfiguration
    var listeners: [ListenerSockets] = []
    let batch = DatagramBatch()
    /// Room for one answer over TCP, with what is written past the limit before it is checked.
    let streamOutput = UnsafeMutablePointer<UInt8>.allocate(
        capacity: WireSize.largestMessage + 4096)
    /// The question's name in lower case.
    let lowercased = UnsafeMutablePointer<UInt8>.allocate(capacity: 264)
    var parser: QueryParser
    var reader: Int?
    var cookie: ServerCookie
    var rotation: UInt32 = 0
    var nowNanoseconds: UInt64 = 0
    var needsSlowPath = false
    /// Octets of the next answer that go out, where the rate limit cut it; otherwise 0.
    var truncatedLength = 0

    var connections: [StreamConnection?] = []
    var connectionCount = 0
    var generation: UInt32 = 0
    var cache = AnswerCache()
    var routes: [Route] = []
    var exchanges: [Exchange?] = []
    var freeExchanges: [Int] = []
    var exchangeIndex: [ExchangeKey: Int] = [:]
    var exchangeCount = 0
    var nextDeadlineNanoseconds = UInt64.max
    /// Connections to upstreams that many questions share.
    var upstreamStreams: [UpstreamStream?] = []
    var limiter: ResponseLimiter?
    var talkers: TopTalkers?
    /// When counting clients ends.
    var talkersEndNanoseconds: UInt64 = 0
    let loops: LoopDetector
    private let clock: ServerClock
    /// How many nested uses of the zone's table are under way.
    var tableDepth = 0
    /// Where queries are logged, if they are.
    var queryLog: ((DNSQuestion, IPAddress?) -> Void)?

    init(
        number: Int, configuration: ServerConfiguration, sockets: [ListenerSockets],
        cookie: ServerCookie, loops: LoopDetector, clock: ServerClock
    ) throws(SocketError) {
        self.loops = loops
        self.clock = clock
        self.number = number
        self.configuration = configuration
        self.cookie = cookie
        parser = QueryParser(nameHash: configuration.zone?.table.nameHash ?? .process)
        mailbox = Mutex(Mailbox(sockets: sockets))
        poller = try Poller()
        wakeDescriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        guard wakeDescriptor >= 0 else { throw SocketError("create an event descriptor") }
        poller.watch(wakeDescriptor, PollToken(.wake, 0), PORTOLAN_EPOLLIN)
    }

    deinit {
        close(wakeDescriptor)
        streamOutput.deallocate()
        lowercased.deallocate()
    }

    // MARK: - From other threads

    /// Puts a configuration in place, with sockets for its addresses, between two batches.
    func install(_ configuration: ServerConfiguration, sockets: [ListenerSockets]) {
        mailbox.withLock {
            $0.configuration = configuration
            $0.sockets = sockets
        }
        wake()
    }

    /// Runs `body` on the thread, between two batches.
    func perform(_ body: @escaping @Sendable (Worker) -> Void) {
        mailbox.withLock { $0.requests.append(body) }
        wake()
    }

    /// Ends the thread after its current batch.
    func stop() {
        mailbox.withLock { $0.isStopping = true }
        wake()
    }

    private func wake() {
        var one: UInt64 = 1
        // A full counter means that the thread is going to wake anyway.
        _ = write(wakeDescriptor, &one, 8)
    }

    // MARK: - The thread

    /// Answers until `stop`.
    func run() {
        _ = portolan_prctl(PR_SET_NAME, UInt(bitPattern: ThreadName.dns), 0)
        if let first = configuration.firstProcessor {
            _ = portolan_pin_thread(UInt32(clamping: first + number))
        }
        nowNanoseconds = currentNanoseconds()
        adopt(configuration, mailbox.withLock { $0.sockets })
        var isRunning = true
        while isRunning {
            let count = poller.wait(timeoutMilliseconds: timeoutMilliseconds())
            nowNanoseconds = currentNanoseconds()
            for index in 0..<count {
                let (token, events) = poller.event(index)
                guard let token else { continue }
                switch token.kind {
                case .wake: isRunning = readMailbox()
                case .datagrams: drainDatagrams(token.index)
                case .listener: acceptConnections(token.index)
                case .connection: serve(connectionAt: token, events)
                case .exchange: receive(exchangeAt: token.index, events)
                case .upstream: receive(streamAt: token.index, events)
                }
            }
            if nowNanoseconds >= nextDeadlineNanoseconds { checkDeadlines() }
        }
        finish()
    }

    /// The server's time: nanoseconds since boot, and what a test let pass.
    @inline(__always)
    func currentNanoseconds() -> UInt64 { clock.nanoseconds() }

    private func timeoutMilliseconds() -> Int32 {
        guard nextDeadlineNanoseconds != .max else { return -1 }
        guard nextDeadlineNanoseconds > nowNanoseconds else { return 0 }
        return Int32(clamping: (nextDeadlineNanoseconds - nowNanoseconds) / 1_000_000 + 1)
    }

    private func readMailbox() -> Bool {
        var count: UInt64 = 0
        _ = read(wakeDescriptor, &count, 8)
        let mail = mailbox.withLock { box in
            let copy = box
            box.configuration = nil
            box.requests = []
            return copy
        }
        if let fresh = mail.configuration { adopt(fresh, mail.sockets) }
        for request in mail.requests { request(self) }
        return !mail.isStopping
    }

    private func adopt(_ configured: ServerConfiguration, _ sockets: [ListenerSockets]) {
        var fresh = configured
        if configuration.zone !== fresh.zone || reader == nil {
            if let reader { configuration.zone?.table.epochs.unregister(reader) }
            reader = fresh.zone?.table.epochs.register()
        }
        // Without a reader's place the table may not be touched: its memory could be freed.
        if reader == nil { fresh.zone = nil }
        configuration = fresh
        let hash = fresh.zone?.table.nameHash ?? .process
        if hash.seed != parser.nameHash.seed { cache.removeAll() }
        parser = QueryParser(nameHash: hash)
        limiter = fresh.rateLimit.map(ResponseLimiter.init)
        for old in listeners where !sockets.contains(old) {
            poller.close(old.datagrams)
            poller.close(old.streams)
        }
        listeners = sockets
        adoptRoutes(fresh.routes)
        needsSlowPath = fresh.logsQueries || routes.contains { $0.changesNames }
        for (index, socket) in sockets.enumerated() {
            poller.watch(socket.datagrams, PollToken(.datagrams, index), PORTOLAN_EPOLLIN)
            poller.watch(socket.streams, PollToken(.listener, index), PORTOLAN_EPOLLIN)
        }
    }

    private func finish() {
        for socket in listeners {
            poller.close(socket.datagrams)
            poller.close(socket.streams)
        }
        listeners = []
        for index in connections.indices { closeConnection(index) }
        for index in exchanges.indices { abandon(exchangeAt: index) }
        for place in upstreamStreams.indices { closeStream(place, nowNanoseconds) }
        if let reader { configuration.zone?.table.epochs.unregister(reader) }
        reader = nil
    }

    /// Makes sure that deadlines are looked at by `time`.
    @inline(__always)
    func schedule(_ time: UInt64) {
        nextDeadlineNanoseconds = min(nextDeadlineNanoseconds, time)
    }

    private func checkDeadlines() {
        nextDeadlineNanoseconds = .max
        checkConnections()
        checkExchanges()
        checkUpstreams()
        checkStreams()
    }
}

/// A UDP and a TCP socket at one address, of one thread.
struct ListenerSockets: Hashable, Sendable {
    let address: SocketAddress
    let datagrams: Int32
    let streams: Int32
}

/// Names of threads, as the kernel shows them.
enum ThreadName {
    /// The text lives as long as the process.
    nonisolated(unsafe) static let dns: UnsafePointer<CChar> = {
        let text: StaticString = "portolan dns"
        return UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
    }()
}

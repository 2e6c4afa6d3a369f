public import DNS
import Dispatch
import Glibc
public import NetworkTypes
import Synchronization

/// A DNS server: threads of its own that answer over UDP and TCP from a zone, a cache and
/// upstreams.
///
/// ```swift
/// let server = DNSServer(configuration: configuration)
/// try server.start()
/// server.apply(ServiceKey(namespace: "default", name: "web"), input)
/// server.stop()
/// ```
public final class DNSServer: Sendable {
    private struct State {
        var configuration: ServerConfiguration
        var workers: [Worker] = []
        var threads: [pthread_t] = []
        /// For each worker, its sockets.
        var sockets: [[ListenerSockets]] = []
        var isRunning = false
        /// What was asked for and what listens; they differ where the kernel chose the port.
        var tls: (requested: TLSService, listener: TLSListener)?
    }

    private let state: Mutex<State>
    private let log: Mutex<QueryLog>
    let tlsCounters = TLSCounters()
    private let clock = ServerClock()

    private struct QueryLog: Sendable {
        var sink: (@Sendable (DNSQuestion, IPAddress?) -> Void)?
    }

    /// Makes a server; nothing listens before `start`.
    public init(configuration: ServerConfiguration) {
        state = Mutex(State(configuration: configuration))
        log = Mutex(QueryLog())
    }

    deinit { stop() }

    /// The most threads a server can have.
    public static let maximumThreads = 32

    /// Opens the sockets and starts the threads.
    /// - Throws: `SocketError` naming the address that could not be had, or `TLSFileError`;
    ///   nothing is left open.
    public func start() throws {
        do {
            try state.withLock { state in
                guard !state.isRunning else { return }
                try startThreads(&state)
                try startTLS(state.configuration, &state)
            }
        } catch {
            stop()
            throw error
        }
    }

    private func startThreads(_ state: inout State) throws {
        let count = min(max(1, state.configuration.threadCount), Self.maximumThreads)
        var opened: [[ListenerSockets]] = Array(repeating: [], count: count)
        do {
            try Self.open(&state.configuration.listenAddresses, &opened)
            let secret = ServerCookie(
                key0: .random(in: 0...UInt64.max), key1: .random(in: 0...UInt64.max))
            let loops = LoopDetector()
            let workers = try (0..<count).map { number in
                try Worker(
                    number: number, configuration: state.configuration,
                    sockets: opened[number], cookie: secret, loops: loops, clock: clock)
            }
            let sink = log.withLock { $0.sink }
            for worker in workers {
                worker.queryLog = sink
                state.threads.append(try Self.spawn(worker))
            }
            state.workers = workers
            state.sockets = opened
            state.isRunning = true
        } catch {
            for socket in opened.joined() {
                close(socket.datagrams)
                close(socket.streams)
            }
            throw error
        }
    }

    /// Takes TLS connections as the configuration says. Where that changes, the new listener is
    /// there before the old one ends, and connections that are open go on.
    private func startTLS(_ configuration: ServerConfiguration, _ state: inout State) throws {
        let current = state.tls
        if let current, let wanted = configuration.tls,
            wanted == current.requested || wanted == current.listener.service
        {
            state.configuration.tls = current.listener.service
            return
        }
        state.tls = try configuration.tls.map { service in
            let listener = try TLSListener(
                service, workers: state.workers, limit: configuration.limits.connections,
                counters: tlsCounters)
            return (service, listener)
        }
        state.configuration.tls = state.tls?.listener.service
        current?.listener.stop()
    }

    /// Ends the threads after their current batch and closes the sockets; returns when that is
    /// done.
    public func stop() {
        let (workers, threads, tls) = state.withLock { state in
            let result = (state.workers, state.threads, state.tls)
            state.tls = nil
            state.workers = []
            state.threads = []
            state.sockets = []
            state.isRunning = false
            return result
        }
        tls?.listener.stop()
        for worker in workers { worker.stop() }
        for thread in threads { pthread_join(thread, nil) }
    }

    /// Puts another configuration in place while queries go on: sockets of addresses that stay are
    /// kept, so no query is lost. The number of threads stays as it was at the start.
    /// - Throws: `SocketError` naming a new address that could not be had; the old configuration
    ///   stays.
    public func reconfigure(_ configuration: ServerConfiguration) throws {
        try state.withLock { state in
            var fresh = configuration
            guard state.isRunning else {
                state.configuration = fresh
                return
            }
            try startTLS(fresh, &state)
            fresh.tls = state.configuration.tls
            var added: [[ListenerSockets]] = Array(repeating: [], count: state.workers.count)
            let known = state.sockets.first?.map(\.address) ?? []
            var missing = fresh.listenAddresses.filter { !known.contains($0) }
            do {
                try Self.open(&missing, &added)
            } catch {
                for socket in added.joined() {
                    close(socket.datagrams)
                    close(socket.streams)
                }
                throw error
            }
            fresh.listenAddresses = fresh.listenAddresses.filter(known.contains) + missing
            for (index, worker) in state.workers.enumerated() {
                let kept = state.sockets[index].filter {
                    fresh.listenAddresses.contains($0.address)
                }
                state.sockets[index] = kept + added[index]
                worker.install(fresh, sockets: state.sockets[index])
            }
            state.configuration = fresh
        }
    }

    /// What the server does now; port 0 is replaced by the port the kernel gave.
    public var configuration: ServerConfiguration { state.withLock { $0.configuration } }

    /// Where queries are logged when the configuration asks for it; set before `start`. Called on
    /// the answering threads.
    public func setQueryLog(_ sink: @escaping @Sendable (DNSQuestion, IPAddress?) -> Void) {
        log.withLock { $0.sink = sink }
    }

    // MARK: - Feed

    /// Puts the records of a Service in place; nil takes them away. Without a zone nothing happens.
    public func apply(_ key: ServiceKey, _ input: ServiceRecordInput?) {
        configuration.zone?.apply(key, input)
    }

    /// Says whether a namespace exists.
    public func applyNamespace(_ name: String, exists: Bool) {
        configuration.zone?.applyNamespace(name, exists: exists)
    }

    // MARK: - Top talkers

    /// Begins to count clients for `seconds`, or goes on so long; 0 stops and forgets the counts.
    public func countClients(forSeconds seconds: UInt64) {
        for worker in state.withLock({ $0.workers }) {
            worker.perform { worker in
                worker.talkersEndNanoseconds = worker.nowNanoseconds + seconds * 1_000_000_000
                worker.talkers = seconds > 0 ? worker.talkers ?? TopTalkers() : nil
            }
        }
    }

    /// The same as `topTalkers` for threads that may wait; at most a second.
    func topTalkersNow() -> [TopTalkers.Entry] {
        let done = DispatchSemaphore(value: 0)
        let box = TalkerBox()
        let workers = state.withLock { $0.workers }
        for worker in workers {
            worker.perform { worker in
                box.entries.withLock { $0 += worker.talkers?.ranking ?? [] }
                done.signal()
            }
        }
        for _ in workers { _ = done.wait(timeout: .now() + 1) }
        return box.entries.withLock { $0 }.sorted { $0.count > $1.count }
    }

    /// The clients that asked most since counting began.
    public func topTalkers() async -> [TopTalkers.Entry] {
        var all: [TopTalkers.Entry] = []
        for worker in state.withLock({ $0.workers }) {
            all += await withCheckedContinuation { continuation in
                worker.perform { continuation.resume(returning: $0.talkers?.ranking ?? []) }
            }
        }
        return all.sorted { $0.count > $1.count }
    }

    /// Puts the server's time forward and returns when every thread has acted on it; for tests.
    func passTime(seconds: UInt64) async {
        clock.advance(seconds: seconds)
        // The second round begins after the deadlines of the first were looked at.
        for _ in 0..<2 {
            for worker in state.withLock({ $0.workers }) {
                await withCheckedContinuation { continuation in
                    worker.perform { _ in continuation.resume() }
                }
            }
        }
    }

    var workerMetrics: [WorkerMetrics] { state.withLock { $0.workers.map(\.metrics) } }
    var upstreamBoards: [UpstreamBoard] { state.withLock { $0.workers.map(\.upstreamBoard) } }

    // MARK: - Sockets and threads

    /// Opens one pair of sockets an address and thread. Where an address has port 0, the first
    /// thread's port is used for all and written back.
    private static func open(
        _ addresses: inout [SocketAddress], _ sockets: inout [[ListenerSockets]]
    ) throws(SocketError) {
        for place in addresses.indices {
            for thread in sockets.indices {
                let pair = try openPair(addresses[place])
                addresses[place] = pair.address
                sockets[thread].append(pair)
            }
        }
    }

    /// Opens one pair. A port that the kernel chose for UDP may be taken in TCP: it is asked for
    /// another one then, a bounded number of times.
    private static func openPair(_ address: SocketAddress) throws(SocketError) -> ListenerSockets {
        var attempts = address.port == 0 ? 32 : 1
        while true {
            attempts -= 1
            var chosen = address
            let datagrams = try Sockets.datagramListener(address)
            if address.port == 0 { chosen.port = Sockets.localPort(datagrams) }
            do {
                let streams = try Sockets.streamListener(chosen)
                return ListenerSockets(address: chosen, datagrams: datagrams, streams: streams)
            } catch {
                close(datagrams)
                if attempts == 0 { throw error }
            }
        }
    }

    private static func spawn(_ worker: Worker) throws(SocketError) -> pthread_t {
        var thread = pthread_t()
        let box = Unmanaged.passRetained(worker)
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument {
                    Unmanaged<Worker>.fromOpaque(argument).takeRetainedValue().run()
                }
                return nil
            }, box.toOpaque())
        guard result == 0 else {
            box.release()
            throw SocketError("start a thread")
        }
        return thread
    }
}

/// Where threads put what they counted.
private final class TalkerBox: Sendable {
    let entries = Mutex<[TopTalkers.Entry]>([])
}

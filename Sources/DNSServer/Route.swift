import DNS
import Glibc

/// A route of one thread: its configuration and the health of its upstreams.
final class Route {
    let configuration: ForwardRoute
    private(set) var upstreams: [UpstreamState]
    private var nextIndex = 0
    private var stamp: FileStamp?
    private var lastLookNanoseconds: UInt64 = 0
    private let board: UpstreamBoard

    /// Whether lookups here are more than table, cache and forwarding.
    var changesNames: Bool {
        !configuration.rewrites.isEmpty || !configuration.hosts.addresses.isEmpty
    }

    init(_ configuration: ForwardRoute, _ board: UpstreamBoard) {
        self.configuration = configuration
        self.board = board
        upstreams = configuration.upstreams.map { UpstreamState($0, board[$0]) }
        if let path = configuration.resolverFile { load(path) }
    }

    /// Reads the resolver file again where it has changed; looks at most once a second.
    func refresh(nowNanoseconds: UInt64) {
        guard let path = configuration.resolverFile,
            nowNanoseconds &- lastLookNanoseconds > 1_000_000_000
        else { return }
        lastLookNanoseconds = nowNanoseconds
        if FileStamp(path: path) != stamp { load(path) }
    }

    private func load(_ path: String) {
        stamp = FileStamp(path: path)
        // A file that is gone for a moment, while it is replaced, keeps the last servers.
        guard let file = ResolverFile.read(path: path) else { return }
        let known = Dictionary(
            upstreams.map { ($0.upstream, $0) }, uniquingKeysWith: { first, _ in first })
        upstreams = file.servers.prefix(Self.maximumUpstreams).map { server in
            let upstream = Upstream(server)
            return known[upstream] ?? UpstreamState(upstream, board[upstream])
        }
    }

    /// CoreDNS' bound.
    static let maximumUpstreams = 15

    /// The upstreams in the order to try them: healthy ones as the policy says, then the others.
    func candidates() -> [UpstreamState] {
        var order = upstreams.filter { !$0.isLooping }
        switch configuration.policy {
        case .sequential: break
        case .random: order.shuffle()
        case .roundRobin:
            guard !order.isEmpty else { return [] }
            nextIndex = (nextIndex + 1) % order.count
            order = Array(order[nextIndex...] + order[..<nextIndex])
        }
        return order.filter { !$0.isDown } + order.filter(\.isDown)
    }
}

/// What one thread knows of an upstream.
final class UpstreamState {
    let upstream: Upstream
    /// Failures since the last answer.
    var failures = 0
    /// Whether it is left for last, until a probe is answered.
    var isDown = false
    /// Whether questions sent there come back here.
    var isLooping = false
    /// Whether a probe is on its way.
    var isProbing = false
    var nextProbeNanoseconds: UInt64 = 0
    /// What is counted of it, by whichever route it is asked.
    let metrics: UpstreamMetrics

    /// The time between probes of an upstream that is down; CoreDNS' `health_check`.
    static let probeIntervalNanoseconds: UInt64 = 500_000_000

    init(_ upstream: Upstream, _ metrics: UpstreamMetrics) {
        self.upstream = upstream
        self.metrics = metrics
    }
}

/// Names a question among those that wait: equal ones are asked once.
struct ExchangeKey: Hashable {
    var question: DNSQuestion
    var dnssecOK: Bool
    var checkingDisabled: Bool
}

/// One question on its way upstream.
final class Exchange {
    /// Which step it is at.
    enum Step {
        case datagram
        case connecting
        case stream
        /// At a connection that others use, too.
        case shared
    }

    let key: ExchangeKey
    let route: Route
    var candidates: [UpstreamState]
    var attempt = 0
    var step = Step.datagram
    var descriptor: Int32 = -1
    var id: UInt16 = 0
    var deadlineNanoseconds: UInt64 = 0
    var sentNanoseconds: UInt64 = 0
    let startNanoseconds: UInt64
    /// Set while the next attempt is put off.
    var startNanosecondsOfPause: UInt64?
    var output: [UInt8] = []
    var input: [UInt8] = []
    /// The shared connection that it waits at.
    var stream: Int?
    /// Whether it was asked a second time because its connection ended under it.
    var wasAskedAgain = false
    /// An answer that says that the upstream could not, kept in case no other can either.
    var failure: DNSMessage?
    var waiters: [(DNSMessage?) -> Void] = []
    /// For probes: called in place of caching.
    var isProbe = false

    init(_ key: ExchangeKey, route: Route, now: UInt64) {
        self.key = key
        self.route = route
        startNanoseconds = now
        candidates = route.candidates()
    }

    /// How often one question is sent at most.
    static let maximumAttempts = 4
    /// After this no further upstream is asked; resolvers in pods wait 5 s.
    static let totalNanoseconds: UInt64 = 4_000_000_000

    /// The upstream of the current attempt.
    var current: UpstreamState? {
        candidates.isEmpty ? nil : candidates[attempt % candidates.count]
    }
}

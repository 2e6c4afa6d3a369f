import DNS
import Glibc
public import Informer
import JSON
import KubernetesAPI
public import Logging
public import NetworkTypes
import Synchronization

/// The DNS role of a node: informers, the zone, the server, its metrics and its snapshot.
public final class DNSAgent: Sendable {
    /// What the agent is told by whoever starts it.
    public struct Configuration: Sendable {
        /// Where it answers: the cluster DNS address and the node's own.
        public var listenAddresses: [SocketAddress]
        /// The cluster domain.
        public var clusterDomain: String
        /// The DNS Service's addresses, for `ns.dns.<zone>`.
        public var serviceAddresses: [IPAddress]
        /// Who is asked for names outside the cluster where the configuration says
        /// `/etc/resolv.conf`: in a virtual node, the machine's forwarder. Empty asks the servers
        /// of `resolverFile`.
        public var forwarders: [SocketAddress]
        /// The resolv.conf that stands behind `forward . /etc/resolv.conf`.
        public var resolverFile: String
        /// The node's name; only its pods' search paths are completed. Empty takes every pod.
        public var nodeName: String
        /// Where the zone is kept between runs; nil keeps it nowhere.
        public var snapshotPath: String?
        /// Where `/metrics` is served; nil serves none.
        public var metricsAddress: SocketAddress?
        /// Threads that answer.
        public var threadCount: Int
        /// Whether search paths of known pods are completed.
        public var completesSearchPaths: Bool
        /// Bounds UDP answers to public addresses; nil does not.
        public var rateLimit: RateLimit?
        /// How often everything is listed anew, in seconds.
        public var relistSeconds: Int

        /// Makes a configuration. Without addresses, the agent listens nowhere.
        public init(
            listenAddresses: [SocketAddress] = [], clusterDomain: String = "cluster.local",
            serviceAddresses: [IPAddress] = [], forwarders: [SocketAddress] = [],
            resolverFile: String = "/etc/resolv.conf", nodeName: String = "",
            snapshotPath: String? = nil, metricsAddress: SocketAddress? = nil,
            threadCount: Int = 1, completesSearchPaths: Bool = true,
            rateLimit: RateLimit? = RateLimit(),
            relistSeconds: Int = 1800
        ) {
            self.listenAddresses = listenAddresses
            self.clusterDomain = clusterDomain
            self.serviceAddresses = serviceAddresses
            self.forwarders = forwarders
            self.resolverFile = resolverFile
            self.nodeName = nodeName
            self.snapshotPath = snapshotPath
            self.metricsAddress = metricsAddress
            self.threadCount = threadCount
            self.completesSearchPaths = completesSearchPaths
            self.rateLimit = rateLimit
            self.relistSeconds = relistSeconds
        }
    }

    /// A configuration that cannot be used.
    public struct ConfigurationError: Error, Sendable, CustomStringConvertible {
        /// What is wrong and what to do.
        public let description: String
    }

    let client: RecordingClient
    let configuration: Configuration
    /// Services and slices, with whoever shares them.
    private let cache: ClusterCache
    private let ownsCache: Bool
    let logger: Logger
    /// The server; for metrics and tests.
    public let server: DNSServer
    /// Feeds the zone; for metrics and tests.
    public let controller: DNSController
    let settings: Mutex<ClusterSettings>
    /// TLS that the configuration asks for, and whose files cannot be used (yet). Held while the
    /// server's configuration is put in place.
    let missingTLS = Mutex<TLSService?>(nil)
    /// How pod records are to be answered, each time that changes; only the last matters.
    let podModes = AsyncStream<PodRecordMode>.makeStream(
        bufferingPolicy: .bufferingNewest(1))

    /// What the rules in force need besides the shared cache, and each new need of that kind.
    let detailsFeed = Mutex<DetailsFeed?>(nil)
    let detailsFeeds = AsyncStream<DetailsFeed>.makeStream(bufferingPolicy: .bufferingNewest(1))

    private let readiness = Mutex(Readiness())

    private struct Readiness {
        var isReady = false
        var isListening = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    /// Makes an agent; nothing happens before `run`.
    /// - Parameter cache: Services and slices as others read them too, kept by the caller; nil for
    ///   a cache of its own.
    public init(
        client: any KubernetesClient, configuration: Configuration, cache: ClusterCache? = nil,
        logger: Logger = Logger(label: "portolan.dns")
    ) {
        let domain = DNSName(configuration.clusterDomain) ?? .root
        let recording = RecordingClient(client)
        self.client = recording
        self.configuration = configuration
        self.cache = cache ?? ClusterCache(client: recording, nodes: .none, logger: logger)
        ownsCache = cache == nil
        self.logger = logger
        let initial = ClusterSettings(domain: domain)
        settings = Mutex(initial)
        let zone = Zone(configuration: Self.zoneConfiguration(initial, configuration))
        controller = DNSController(zone: zone)
        server = DNSServer(
            configuration: Self.serverConfiguration(initial, configuration, zone: zone))
    }

    /// Answers until the task is cancelled. With a snapshot it answers at once; without one, when
    /// the first lists are complete or 5 s have passed.
    /// - Throws: `ConfigurationError` where the cluster domain is no name, `SocketError` where an
    ///   address cannot be had.
    public func run() async throws {
        defer {
            markReady()
            server.stop()
        }
        try answerFromSnapshot()
        let endpoint = try configuration.metricsAddress.map { address in
            try MetricsEndpoint(address) { [weak self] path in self?.page(path) }
        }
        defer { endpoint?.stop() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await self.follow() }
            group.addTask { await self.keepSnapshots() }
            group.addTask { await self.retryTLS() }
            if !isListening {
                await waitUntilSynced(limit: .seconds(5))
                try listen()
            }
            try await group.waitForAll()
        }
        writeSnapshot()
    }

    /// Answers from the snapshot from now on, where there is one; `run` does that as well. Whoever
    /// starts other things calls it before them, so that they do not delay the first answer.
    /// - Throws: `ConfigurationError` where the cluster domain is no name, `SocketError` where an
    ///   address cannot be had.
    public func answerFromSnapshot() throws {
        guard !isListening else { return }
        guard let domain = DNSName(configuration.clusterDomain), domain != .root else {
            throw ConfigurationError(
                description: "cluster domain \"\(configuration.clusterDomain)\" is not a DNS "
                    + "name; use one such as cluster.local")
        }
        server.setQueryLog { [logger] question, address in
            logger.info("\(question.type) \(question.name) from \(address?.description ?? "?")")
        }
        restoreSettings()
        if restoreSnapshot() { try listen() }
    }

    private var isListening: Bool { readiness.withLock { $0.isListening } }

    /// Returns when queries are answered, or when `run` has ended.
    public func waitUntilReady() async {
        await withCheckedContinuation { continuation in
            let isReady = readiness.withLock { readiness in
                if !readiness.isReady { readiness.waiters.append(continuation) }
                return readiness.isReady
            }
            if isReady { continuation.resume() }
        }
    }

    private func listen() throws {
        do {
            try server.start()
        } catch let error as TLSFileError {
            try missingTLS.withLock { missing in
                missing = server.configuration.tls
                logger.error("DNS over TLS is not served until this is right: \(error)")
                var plain = server.configuration
                plain.tls = nil
                try server.reconfigure(plain)
            }
            try server.start()
        }
        readiness.withLock { $0.isListening = true }
        markReady()
    }

    private func markReady() {
        let waiters = readiness.withLock { readiness in
            defer { readiness.waiters = [] }
            readiness.isReady = true
            return readiness.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    /// The agent's metrics in Prometheus' text format.
    public func metricsText() -> String {
        var text = MetricsWriter()
        text.gauge(
            "portolan_dns_staleness_seconds",
            "Time since the API server was last in contact; 0 while watches are open.",
            client.stalenessSeconds)
        text.gauge(
            "portolan_dns_synced", "1 once the first lists are complete.",
            controller.isSynced ? 1 : 0)
        text.gauge(
            "portolan_dns_tls_missing",
            "1 while DNS over TLS is configured and its certificate cannot be used.",
            missingTLS.withLock { $0 == nil } ? 0 : 1)
        return server.metricsText(programming: controller.programmingDurations) + text.text
    }

    /// The clients that ask most. The first call begins to count; counting goes on for ten minutes
    /// after the last one.
    private func clientsText() -> String {
        let entries = server.topTalkersNow()
        server.countClients(forSeconds: 600)
        guard !entries.isEmpty else {
            return "Clients are counted from now on: ask again in a while.\n"
        }
        let names = controller.clientNames
        let rows = entries.prefix(64).map { entry in
            "\(entry.count)\t\(entry.address)\t\(names[entry.address].map(\.description) ?? "-")\n"
        }
        return "QUERIES\tCLIENT\tPOD\n" + rows.joined()
    }

    private func page(_ path: String) -> MetricsEndpoint.Page? {
        switch path {
        case "/clients": .init(status: 200, body: clientsText())
        case "/metrics": .init(status: 200, body: metricsText())
        case "/health", "/healthz", "/livez": .init(status: 200, body: "OK")
        case "/ready", "/readyz":
            controller.isSynced
                ? .init(status: 200, body: "OK") : .init(status: 503, body: "kubernetes")
        default: nil
        }
    }

    private func waitUntilSynced(limit: Duration) async {
        let clock = ContinuousClock()
        let end = clock.now + limit
        while !controller.isSynced, clock.now < end, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    // MARK: - Informers

    private func follow() async {
        let every = configuration.relistSeconds
        await withTaskGroup(of: Void.self) { group in
            if ownsCache { group.addTask { await self.cache.run() } }
            group.addTask { await self.followServices() }
            group.addTask { await self.followSlices() }
            group.addTask { await self.followNamespaces(every) }
            group.addTask { await self.followClients(every) }
            group.addTask { await self.followVerifiedPods(every) }
            group.addTask { await self.followDetails(every) }
            group.addTask { await self.followSettings(every) }
        }
    }

    private func followServices() async {
        await cache.services.follow { [controller] notice in
            switch notice {
            case .changes(let changes): controller.apply(changes)
            case .synced: controller.markSynced(.services)
            }
        }
    }

    private func followSlices() async {
        await cache.endpointSlices.follow { [controller] notice in
            switch notice {
            case .changes(let changes): controller.apply(changes)
            case .synced: controller.markSynced(.slices)
            }
        }
    }

    private func followNamespaces(_ every: Int) async {
        let informer = Informer<Object>(.namespaces, client: client, logger: logger)
        await relisting(every) {
            await informer.run { [controller = self.controller] notice in
                switch notice {
                case .changes(let changes): controller.apply(namespaces: changes)
                case .synced: controller.markSynced(.namespaces)
                }
            }
        }
    }

    /// This node's pods, for their search paths.
    private func followClients(_ every: Int) async {
        guard configuration.completesSearchPaths else { return }
        let node = configuration.nodeName
        let options = ListOptions(fieldSelector: node.isEmpty ? "" : "spec.nodeName=\(node)")
        let informer = Informer<Pod>(.pods, client: client, options: options, logger: logger)
        await relisting(every) {
            await informer.run { [controller = self.controller] notice in
                if case .changes(let changes) = notice { controller.apply(clients: changes) }
            }
        }
    }

    /// All pods, as long as the configuration verifies pod records.
    private func followVerifiedPods(_ every: Int) async {
        await runNewest(of: podModes.stream) { mode in
            guard mode == .verified else {
                controller.forgetVerifiedPods()
                return nil
            }
            controller.beginPodList()
            let informer = Informer<Pod>(.pods, client: client, logger: logger)
            return { [controller] in
                await self.relisting(every) {
                    await informer.run { notice in
                        switch notice {
                        case .changes(let changes): controller.apply(verified: changes)
                        case .synced: controller.markPodsListed()
                        }
                    }
                }
            }
        }
    }

    /// What only some configurations need to know, as long as the one in force does.
    private func followDetails(_ every: Int) async {
        await runNewest(of: detailsFeeds.stream) { feed in
            controller.apply { $0.forget(feed.need) }
            guard !feed.need.isNothing else { return nil }
            return { await self.relisting(every) { await feed.run(self.controller) } }
        }
    }

    /// For each value, ends what the one before asked for and then runs what `body` returns for
    /// this one, until the next comes.
    private func runNewest<Value: Sendable>(
        of values: AsyncStream<Value>, _ body: (Value) -> (@Sendable () async -> Void)?
    ) async {
        var current: Task<Void, Never>?
        for await value in values {
            current?.cancel()
            await current?.value
            let next = body(value)
            current = Task.isCancelled ? nil : next.map { next in Task { await next() } }
        }
        current?.cancel()
        await current?.value
    }

    private func followSettings(_ every: Int) async {
        let options = ListOptions(
            namespace: "kube-system", fieldSelector: "metadata.name=coredns")
        let informer = Informer<Object>(
            .configMaps, client: client, options: options, logger: logger)
        await relisting(every) {
            await informer.run { [weak self] notice in
                guard case .changes(let changes) = notice else { return }
                for change in changes where change.key.name == "coredns" {
                    let corefile = change.new?.json["data", "Corefile"]?.string
                    // The old configuration answers until what the new one needs is known.
                    await self?.feedDetails(for: corefile)?.waitUntilSynced()
                    self?.applySettings(corefile)
                }
            }
        }
    }

    /// Runs `body` again and again, each time for `seconds`: an informer that starts anew lists
    /// everything and reports what differs, whatever a watch may have missed.
    private func relisting(_ seconds: Int, _ body: @Sendable @escaping () async -> Void) async {
        while !Task.isCancelled {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await body() }
                group.addTask { try? await Task.sleep(for: .seconds(seconds)) }
                await group.next()
                group.cancelAll()
            }
        }
    }
}

public import Informer
import KubernetesAPI
public import Logging
import NFTables
import Netlink
public import NetworkTypes
import Synchronization

/// The service proxy of one node: watches Services, EndpointSlices and its Node, and keeps the
/// kernel of the namespace it runs in to what they say.
///
/// Rules outlive the agent: what it programmed goes on working when it ends, and the next agent
/// takes the tables over without a gap.
public final class ProxyAgent: Sendable {
    /// What the agent is told by whoever starts it.
    public struct Configuration: Sendable {
        /// The name of the tables `ip` and `ip6`.
        public var tableName = "portolan"
        /// The node's name, which tells local endpoints from others.
        public var nodeName = ""
        /// The families that get a table.
        public var families: [IPAddress.Family] = [.ipv4, .ipv6]
        /// The ranges of cluster IPs. Connections to addresses there that no Service holds are
        /// refused.
        public var serviceCIDRs: [Prefix] = []
        /// The ranges of all pods of the cluster. Sources outside are masqueraded on their way to
        /// a cluster IP.
        public var podCIDRs: [Prefix] = []
        /// Service addresses that something on this node answers itself: they are left alone.
        public var locallyServedAddresses: [IPAddress] = []
        /// Where `/healthz` and `/livez` answer; nil for nowhere.
        public var healthAddress: ListenAddress? = ListenAddress(.v4(0), 10256)
        /// Where `/metrics` answers; nil for nowhere.
        public var metricsAddress: ListenAddress? = ListenAddress(.v4(0), 10249)
        /// Whether the ConfigMap `kube-system/kube-proxy` is followed.
        public var followsConfigMap = true
        /// A KubeProxyConfiguration that holds where no ConfigMap is followed.
        public var kubeProxyConfiguration: KubeProxyConfiguration?
        /// Whether kernel parameters are set (strictARP, conntrack).
        public var setsSysctls = true
        /// Whether pods' connections to cluster IPs go past the rules, by BPF programs at the pods'
        /// links. No chain of any table sees the packets between two pods of the node then.
        public var usesFastPath = false
        /// How often the kernel is compared with memory, in seconds.
        public var auditPeriodSeconds = 60

        /// The configuration with its defaults.
        public init() {}
    }

    /// An address and port to listen at.
    public struct ListenAddress: Hashable, Sendable {
        /// The address; unspecified for all.
        public var address: IPAddress
        /// The port; 0 for any that is free.
        public var port: UInt16

        /// Names an address and port.
        public init(_ address: IPAddress, _ port: UInt16) {
            self.address = address
            self.port = port
        }

        /// Reads `10.0.0.1:10256` or `[::]:10256`; a bare address gets the port given.
        public init?(_ text: String, defaultPort: UInt16) {
            if let address = IPAddress(text) {
                self.init(address, defaultPort)
                return
            }
            guard let colon = text.lastIndex(of: ":"),
                let port = UInt16(text[text.index(after: colon)...]),
                let address = IPAddress(text[..<colon].filter { $0 != "[" && $0 != "]" })
            else { return nil }
            self.init(address, port)
        }
    }

    let client: any KubernetesClient
    let configuration: Configuration
    /// The node's shared cache; nil to keep one of its own.
    let cache: ClusterCache?
    let logger: Logger
    let status = ProxyStatus()
    private let ports = Mutex<(health: UInt16, metrics: UInt16)?>(nil)
    private let openKernel: @Sendable () throws -> (any NFTablesBackend, ConntrackSocket?)

    /// Makes an agent; nothing happens before `run`.
    /// - Parameter cache: Services, slices and Nodes as others read them too, kept by the caller;
    ///   nil for a cache of its own.
    public convenience init(
        client: any KubernetesClient, configuration: Configuration, cache: ClusterCache? = nil,
        logger: Logger
    ) {
        self.init(client: client, configuration: configuration, cache: cache, logger: logger) {
            (try NFTablesKernel(), try ConntrackSocket())
        }
    }

    /// Makes an agent of a kernel other than that of the namespace it is run in.
    init(
        client: any KubernetesClient, configuration: Configuration, cache: ClusterCache? = nil,
        logger: Logger,
        openKernel: @Sendable @escaping () throws -> (any NFTablesBackend, ConntrackSocket?)
    ) {
        self.client = client
        self.configuration = configuration
        self.cache = cache
        self.logger = logger
        self.openKernel = openKernel
    }

    /// Programs the kernel until the task is cancelled. Must be called in the network namespace of
    /// the node.
    /// - Throws: where the kernel's tables cannot be opened or a listener cannot be had.
    public func run() async throws {
        let engine = try makeEngine()
        let worker = try ProxyWorker(
            engine, status: status, auditPeriodSeconds: configuration.auditPeriodSeconds,
            logger: logger)
        let servers = try await ProxyServers(self, worker: worker)
        ports.withLock { $0 = servers.ports }
        worker.onHealthChecks = servers.healthChecks.update
        try worker.start()
        await withTaskGroup(of: Void.self) { group in
            let watcher = ProxyWatcher(agent: self, worker: worker, servers: servers)
            await watcher.run(in: &group)
            await group.waitForAll()
        }
        worker.stop()
        await servers.stop()
    }

    /// Returns when the kernel has rules for every Service that was there at the start, or when
    /// the task is cancelled.
    public func waitUntilReady() async { await status.waitUntilReady() }

    /// Up to which revisions Services and EndpointSlices are in force in the kernel.
    public var programmedRevisions: ProgrammedRevisions { status.programmedRevisions }

    /// Returns when `programmedRevisions` has reached `revisions`.
    /// - Returns: false where it has not within the time.
    public func waitUntilProgrammed(
        _ revisions: ProgrammedRevisions, timeoutMilliseconds: Int
    ) async -> Bool {
        await status.waitUntilProgrammed(revisions, timeoutMilliseconds: timeoutMilliseconds)
    }

    /// Takes the tables out of the kernel of the calling thread's network namespace. Connections
    /// that were translated live on; new ones find no Service.
    public static func removeTables(named tableName: String) throws {
        let kernel = try NFTablesKernel()
        try FastPath.retire(tableName: tableName)
        var transaction = Transaction()
        for family in [Family.ip, .ip6] { transaction.destroy(Table(family, tableName)) }
        try kernel.apply(transaction)
    }

    /// The ports that are listened at, once there are any.
    var listenerPorts: (health: UInt16, metrics: UInt16)? { ports.withLock { $0 } }

    private func makeEngine() throws -> ProxyEngine {
        let (kernel, flows): (any NFTablesBackend, ConntrackSocket?)
        do {
            (kernel, flows) = try openKernel()
            _ = try kernel.tables()
        } catch {
            throw ProxyError(
                "the kernel's nftables cannot be used (\(error)); they need Linux 5.13 or newer "
                    + "with nf_tables, and root")
        }
        let findsSockets = kernel.findsSockets(configuration.tableName + "-try")
        if !findsSockets, !configuration.locallyServedAddresses.isEmpty {
            logger.warning(
                "the kernel lacks nft_socket: while this node's DNS is down, none stands in for it")
        }
        return ProxyEngine(
            options: configuration.rulesetOptions(.init()), families: configuration.families,
            node: NodeContext(
                nodeName: configuration.nodeName, zone: nil,
                locallyServedAddresses: Set(configuration.locallyServedAddresses)),
            backend: kernel, flows: flows, findsSockets: findsSockets,
            fastPath: makeFastPath())
    }

    /// The fast path, where it is wanted and the kernel can; the rules do all that it does.
    private func makeFastPath() -> FastPath? {
        do {
            guard configuration.usesFastPath else {
                try FastPath.retire(tableName: configuration.tableName)
                return nil
            }
            return try FastPath(
                tableName: configuration.tableName, families: configuration.families,
                logger: logger)
        } catch {
            logger.warning(
                "pods' connections take no fast path: the kernel cannot",
                metadata: ["error": "\(error)"])
            return nil
        }
    }
}

/// The proxy cannot work.
public struct ProxyError: Error, Sendable, CustomStringConvertible {
    /// What is wrong and what to do.
    public let description: String

    init(_ description: String) { self.description = description }
}

extension ProxyAgent.Configuration {
    /// What shapes the rules, with what a KubeProxyConfiguration overrides.
    func rulesetOptions(
        _ overrides: KubeProxyConfiguration, nodeAddresses: [IPAddress] = []
    ) -> RulesetOptions {
        // kube-proxy's own default in nftables mode is the node's primary addresses; before the Node
        // says what those are, any address of the node must do.
        let nodePortPrefixes: [Prefix]? =
            switch overrides.nodePortAddresses {
            case nil: nodeAddresses.isEmpty ? nil : nodeAddresses.map(Prefix.init(host:))
            case .primary?: nodeAddresses.map(Prefix.init(host:))
            case .within(let prefixes)?: prefixes
            }
        return RulesetOptions(
            tableName: tableName, serviceCIDRs: serviceCIDRs,
            podCIDRs: overrides.clusterCIDRs.isEmpty ? podCIDRs : overrides.clusterCIDRs,
            locallyServedAddresses: Set(locallyServedAddresses),
            masqueradeBit: 1 << UInt32(overrides.masqueradeBit ?? 14),
            masqueradesAll: overrides.masqueradesAll, nodePortPrefixes: nodePortPrefixes,
            dropsInvalidPackets: overrides.isTCPLiberal == false)
    }
}

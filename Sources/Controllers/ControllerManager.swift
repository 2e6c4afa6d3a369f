public import Informer
public import KubernetesAPI
public import Logging
public import NetworkTypes

/// Runs every controller of the control plane over one set of caches: endpoints and slices,
/// workloads, the scheduler, nodes, namespaces and garbage. It works over any client; in standalone
/// mode that is the API server in the same process.
public final class ControllerManager: Sendable {
    /// What differs from one cluster to another.
    public struct Configuration: Sendable {
        /// The zone of the cluster's names, such as `cluster.local`.
        public var clusterDomain = "cluster.local"
        /// The cluster IP of `kube-system/kube-dns`; nil makes no such Service.
        public var dnsAddress: IPAddress?
        /// Ranges from which nodes without one get their pod CIDR, at most one a family; none
        /// leaves nodes as they are.
        public var podCIDRs: [Prefix] = []
        /// The lengths of a node's blocks (kube-controller-manager's `--node-cidr-mask-size-ipv4`
        /// and `-ipv6`).
        public var podCIDRBlockLengths: [IPAddress.Family: Int] = [.ipv4: 24, .ipv6: 64]
        /// The certificate of the cluster's authority, for the ConfigMap `kube-root-ca.crt` of each
        /// namespace; empty writes none.
        public var rootCertificatePEM = ""
        /// Signs the token of a Secret of type `kubernetes.io/service-account-token`, given the
        /// metadata of the Secret and of its account; nil leaves such Secrets as they are.
        public var signSecretToken:
            (@Sendable (_ secret: ObjectMeta, _ account: ObjectMeta) throws -> String)?
        /// The KubeProxyConfiguration in the ConfigMap `kube-system/kube-proxy`, as YAML: the
        /// proxy knows its defaults. Empty writes none.
        public var kubeProxyConfiguration = ""
        /// Everything that is served and kept: the garbage collector watches it, and a deleted
        /// namespace is emptied of it.
        public var resources: [Resource] = KindRegistry.builtIn.all.map(\.resource)

        /// Makes the defaults of a standalone cluster.
        public init() {}
    }

    private let cluster: Cluster
    private let client: any KubernetesClient
    private let configuration: Configuration
    private let controllers: [any Controller]

    /// Makes the controllers; nothing happens before `run`.
    public init(
        client: any KubernetesClient, configuration: Configuration = Configuration(),
        logger: Logger = Logger(label: "portolan.controllers")
    ) {
        let cluster = Cluster(client: client, logger: logger)
        self.cluster = cluster
        self.client = client
        self.configuration = configuration
        let collector = GarbageCollector(cluster, resources: configuration.resources)
        let tokens = configuration.signSecretToken.map {
            TokenSecretController(
                cluster, rootCertificatePEM: configuration.rootCertificatePEM, sign: $0)
        }
        controllers =
            [
                EndpointSliceController(cluster), EndpointsController(cluster),
                MirroringController(cluster), DeploymentController(cluster),
                ReplicaSetController(cluster), DaemonSetController(cluster), Scheduler(cluster),
                NodeLifecycleController(
                    cluster, podCIDRs: configuration.podCIDRs,
                    blockLengths: configuration.podCIDRBlockLengths),
                NamespaceController(
                    cluster, collector: collector, resources: configuration.resources,
                    rootCertificatePEM: configuration.rootCertificatePEM),
                ClusterDNSController(cluster), EventPruner(cluster), DisruptionController(cluster),
                collector,
            ] + [tokens].compactMap(\.self)
    }

    /// Creates the objects that a cluster starts with, fills the caches, then works until the task
    /// is cancelled.
    /// - Throws: `StatusError` where an object of the start is refused.
    public func run() async throws {
        try await Bootstrap(configuration: configuration).run(client)
        let sources = cluster.sources + controllers.flatMap(\.sources)
        await withDiscardingTaskGroup { group in
            for source in sources { group.addTask { await source.run() } }
            group.addTask { await self.cluster.runEvents() }
            for source in sources { await source.waitUntilSynced() }
            if Task.isCancelled { return }
            for controller in controllers { group.addTask { await controller.run() } }
        }
    }

    /// The counters of every controller's queue in Prometheus' text form, under the names that
    /// kube-controller-manager uses.
    public var metricsText: String {
        let rows: [(String, String, @Sendable (WorkQueueCounters) -> Int)] = [
            ("workqueue_adds_total", "counter", \.added),
            ("workqueue_depth", "gauge", \.waiting),
            ("workqueue_retries_total", "counter", \.retried),
            ("portolan_workqueue_processed_total", "counter", \.processed),
            ("portolan_workqueue_abandoned_total", "counter", \.abandoned),
        ]
        let counters = controllers.map { ($0.name, $0.counters) }
        return rows.map { name, type, value in
            "# TYPE \(name) \(type)\n"
                + counters.map { "\(name){name=\"\($0.0)\"} \(value($0.1))\n" }.joined()
        }.joined()
    }
}

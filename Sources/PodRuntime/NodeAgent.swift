import Glibc
public import Informer
import KubernetesAPI
public import Logging
import NFTables
import Netlink
public import NetworkTypes

/// The kubelet of one virtual node: registers the Node, keeps its Lease, runs the pods bound to it,
/// programs the routes to other nodes' pods, and serves logs and commands on port 10250.
///
/// The process is expected to run in the node's network namespace, with the machine's mounts.
/// Containers outlive it: an agent that starts anew takes them over.
public final class NodeAgent: Sendable {
    /// What a node is.
    public struct Configuration: Sendable {
        /// The name in the client certificate of the API server, the only one that may call a
        /// node's server.
        public static let apiServerClientName = "kube-apiserver-kubelet-client"

        /// The name of the Node object.
        public var nodeName: String
        /// The prefix of every namespace, table and cgroup, such as `portolan`.
        public var namePrefix: String
        /// Where the node keeps its pods: `/var/lib/portolan/nodes/NODE`.
        public var dataDirectory: String
        /// Where unpacked images are; may be shared by nodes.
        public var imageDirectory: String
        /// The node's address on the LAN.
        public var lanAddress: IPAddress
        /// The node's own pod CIDR; nil to take the one of `spec.podCIDR`.
        public var podCIDR: Prefix?
        /// The pods of the whole cluster.
        public var clusterPodCIDR: Prefix
        /// The address of the cluster's DNS.
        public var clusterDNS: IPAddress
        /// The cluster's domain, such as `cluster.local`.
        public var clusterDomain: String
        /// The certificate chain (PEM) of the server on port 10250; nil for no server.
        public var serverCertificatePath: String?
        /// The key (PEM) of the certificate.
        public var serverKeyPath: String?
        /// The authority (PEM) whose clients may ask for logs and commands.
        public var clientAuthorityPath: String?
        /// The port of that server.
        public var serverPort: Int
        /// The portolan executable, which the image `portolan/hostname` runs.
        public var executablePath: String
        /// The name of the node's network namespace, for a process that is not in it; nil for the
        /// process's own.
        public var networkNamespaceName: String?
        /// Labels of the Node besides the usual ones.
        public var labels: [String: String]

        /// Describes a node. Paths of certificates and labels are set afterwards.
        public init(
            nodeName: String, namePrefix: String, dataDirectory: String, lanAddress: IPAddress,
            podCIDR: Prefix?, clusterPodCIDR: Prefix, clusterDNS: IPAddress,
            clusterDomain: String = "cluster.local", executablePath: String
        ) {
            self.nodeName = nodeName
            self.namePrefix = namePrefix
            self.dataDirectory = dataDirectory
            imageDirectory = dataDirectory + "/images"
            self.lanAddress = lanAddress
            self.podCIDR = podCIDR
            self.clusterPodCIDR = clusterPodCIDR
            self.clusterDNS = clusterDNS
            self.clusterDomain = clusterDomain
            serverPort = 10250
            self.executablePath = executablePath
            labels = [:]
        }
    }

    private let configuration: Configuration
    private let client: any KubernetesClient
    private let cache: ClusterCache?
    private let logger: Logger

    /// Makes an agent; nothing happens before `run`.
    /// - Parameter cache: Services, slices and Nodes as the node's proxy reads them, kept by the
    ///   caller: a pod then ends only when all nodes' proxies have stopped sending to it. nil where
    ///   no proxy runs.
    public init(
        client: any KubernetesClient, configuration: Configuration, cache: ClusterCache? = nil,
        logger: Logger
    ) {
        self.client = client
        self.configuration = configuration
        self.cache = cache
        self.logger = logger
    }

    /// Runs the node until the task is cancelled. Containers go on running.
    /// - Throws: what makes it impossible to begin: a missing program, a directory that cannot be
    ///   made, a port that is taken, a kernel that refuses the table.
    public func run() async throws {
        try checkPrograms()
        let context = NodeContext(
            configuration: configuration, client: client, cache: cache, logger: logger)
        try await Blocking.run { [configuration] in
            for name in ["runc", "exits", "pods"] {
                try Files.makeDirectories(configuration.dataDirectory + "/" + name, mode: 0o711)
            }
            try Files.makeDirectories(configuration.imageDirectory)
            let rules = PodNetworkRules(
                namePrefix: configuration.namePrefix, clusterPodCIDR: configuration.clusterPodCIDR)
            try NodeNamespace(name: configuration.networkNamespaceName)
                .run { try rules.apply(NFTablesKernel()) }
        }
        let watcher = try DirectoryWatcher()
        defer { watcher.stop() }
        let manager = PodManager(context: context)
        let exits = try watcher.watch(context.runtime.exitDirectory) { name in
            Task { await manager.containerExited(id: name) }
        }
        defer { watcher.cancel(exits) }
        let server = try await startServer(context, manager, watcher)
        let registration = NodeRegistration(configuration, client: client, logger: logger)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await context.writeEvents() }
            group.addTask { await registration.run() }
            group.addTask {
                await NodeRoutes(self.configuration, client: self.client, logger: self.logger)
                    .run { context.learn(podCIDR: $0) }
            }
            group.addTask { await manager.run() }
            await group.waitForAll()
        }
        try? await server?.stop()
    }

    private func checkPrograms() throws {
        for (path, package) in [
            ("/usr/sbin/runc", "runc"), ("/usr/bin/conmon", "conmon"),
        ] where !Files.exists(path) {
            throw RuntimeError(
                description: "\(path) is missing: apt-get install \(package)")
        }
    }

    private func startServer(
        _ context: NodeContext, _ manager: PodManager, _ watcher: DirectoryWatcher
    ) async throws -> NodeServer? {
        guard let certificate = configuration.serverCertificatePath,
            let key = configuration.serverKeyPath,
            let authority = configuration.clientAuthorityPath
        else { return nil }
        let server = NodeServer(context: context, pods: manager, watcher: watcher)
        try await server.start(
            port: configuration.serverPort, certificatePath: certificate, keyPath: key,
            clientAuthorityPath: authority,
            clientName: Configuration.apiServerClientName)
        return server
    }
}

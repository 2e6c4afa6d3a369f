import AddressPools
import ArgumentParser
import Glibc
import Informer
import KubernetesAPI
import Logging
import NetworkTypes
import ServiceProxy

/// `portolan agent`: proxy, DNS and speaker of a node of any cluster, in place of kube-proxy,
/// CoreDNS and MetalLB: the same as in a virtual node, without pods. One of the agents gives
/// load balancers their addresses.
struct AgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent",
        abstract: "Serve a cluster's Services on this node, in place of kube-proxy and others.",
        discussion: "Needs root, and the network namespace of the node. What is not given is asked "
            + "of the API server: the node's address, the range of ClusterIPs, the address of the "
            + "cluster's DNS.")

    @Option(help: "The name of this node's Node object; NODE_NAME of the environment by default.")
    var nodeName: String?

    @Option(help: "How to reach the API server; the pod's service account by default.")
    var kubeconfig: String?

    @Option(help: "This node's address; the first InternalIP of its Node by default.")
    var address: IPAddress?

    @Option(help: "The link to announce addresses on; the one with the node's by default.")
    var interface: String?

    @Option(help: "The range of all pods; clusterCIDR of kube-proxy's ConfigMap by default.")
    var podCidr: [Prefix] = []

    @Option(help: "The range of ClusterIPs; those of the ServiceCIDR objects by default.")
    var serviceClusterIpRange: [Prefix] = []

    @Option(help: "The address of the cluster's DNS; that of the Service kube-dns by default.")
    var clusterDns: IPAddress?

    @Option(help: "The DNS domain of the cluster.")
    var clusterDomain = "cluster.local"

    @Option(help: "Where names outside the cluster are asked; /etc/resolv.conf by default.")
    var forwarder: IPAddress?

    @Option(help: "Where the agent keeps what it answers from before it reaches the API server.")
    var dataDir = "/var/lib/portolan-agent"

    @Option(help: "The name of the kernel's tables.")
    var tableName = "portolan"

    @Option(
        help: "A file with a KubeProxyConfiguration; the ConfigMap kube-proxy holds by default.")
    var proxyConfig: String?

    @Flag(
        help: """
            Take what an agent left on this node (tables, fast path, DNS address) out of the \
            kernel, and end. Connections that are there live on.
            """)
    var cleanup = false

    @Flag(inversion: .prefixedNo, help: "Program Services into the kernel.")
    var proxy = true

    @Flag(
        inversion: .prefixedNo,
        help: """
            Take pods' connections to cluster IPs from link to link, past all rules: faster, but \
            not where network policies are enforced by nftables or iptables.
            """)
    var fastPath = false

    @Flag(inversion: .prefixedNo, help: "Answer DNS.")
    var dns = true

    @Flag(inversion: .prefixedNo, help: "Announce load balancers' addresses.")
    var speaker = true

    @Flag(inversion: .prefixedNo, help: "Give load balancers their addresses, as the leader.")
    var loadBalancer = true

    func run() async throws {
        guard geteuid() == 0 else {
            throw CommandFailure("portolan agent must run as root, with CAP_NET_ADMIN")
        }
        if cleanup { return try cleanUp() }
        let logger = Logging.logger("portolan.agent")
        let name = try resolvedNodeName
        try FileSystem.makeDirectory(dataDir, mode: 0o700)
        let kubeProxy = try proxyConfig.map(Self.readProxyConfiguration)
        let configuration =
            try kubeconfig.map(ClientConfiguration.init(kubeconfigPath:))
            ?? ClientConfiguration.inCluster()
        let client = try RemoteClient(configuration, userAgent: "portolan-agent/\(name)")
        try await client.shutDownAfter {
            let kept = AgentFacts.kept(self)
            let facts: AgentFacts
            if let kept {
                facts = kept
            } else {
                facts = try await AgentFacts.gather(
                    self, nodeName: name, client: client, logger: logger)
            }
            try await serve(
                facts, isKept: kept != nil, nodeName: name, kubeProxy: kubeProxy, client: client,
                logger: logger)
        }
    }

    private func cleanUp() throws {
        do { try ProxyAgent.removeTables(named: tableName) } catch {
            throw CommandFailure("the tables \(tableName) cannot be taken away: \(error)")
        }
        if let address = AgentFacts.kept(self)?.clusterDNS {
            LocalAddresses.removeFromLoopback(address)
        }
        print("Portolan's tables \"\(tableName)\" are gone from this node's kernel.")
    }

    private var resolvedNodeName: String {
        get throws {
            if let nodeName { return nodeName }
            guard let text = getenv("NODE_NAME").map({ String(cString: $0) }), !text.isEmpty else {
                throw CommandFailure(
                    "which node is this? give --node-name, or set NODE_NAME (in a pod by "
                        + "fieldRef: spec.nodeName)")
            }
            return text
        }
    }

    private var roles: Set<NodeAgents.Role> {
        var roles: Set<NodeAgents.Role> = []
        if proxy { roles.insert(.proxy) }
        if dns { roles.insert(.dns) }
        if speaker { roles.insert(.speaker) }
        return roles
    }

    /// Reads the file at once, so that a slip in it ends the agent before it touches anything.
    private static func readProxyConfiguration(_ path: String) throws -> KubeProxyConfiguration {
        guard let bytes = FileSystem.read(path) else {
            throw CommandFailure("--proxy-config \(path) cannot be read")
        }
        do {
            return try KubeProxyConfiguration(yaml: String(decoding: bytes, as: UTF8.self))
        } catch {
            throw CommandFailure("--proxy-config \(path): \(error)")
        }
    }

    private func serve(
        _ facts: AgentFacts, isKept: Bool, nodeName: String, kubeProxy: KubeProxyConfiguration?,
        client: RemoteClient, logger: Logger
    ) async throws {
        let link = try interface ?? LocalAddresses.link(of: facts.address)
        let settings = NodeAgents.Settings(
            nodeName: nodeName, address: facts.address, interface: link,
            podCIDRs: podCidr, serviceCIDRs: facts.serviceCIDRs, clusterDNS: facts.clusterDNS,
            clusterDomain: clusterDomain, forwarder: forwarder, dataDirectory: dataDir,
            tableName: tableName, roles: roles, kubeProxyConfiguration: kubeProxy,
            usesFastPath: fastPath)
        // The server needs the address to listen at; without it nobody is to send here.
        if dns, let address = facts.clusterDNS { try LocalAddresses.addToLoopback(address) }
        defer {
            if dns, let address = facts.clusterDNS { LocalAddresses.removeFromLoopback(address) }
        }
        let cache = ClusterCache(client: client, logger: logger)
        let agents = try NodeAgents(settings, client: client, cache: cache, logger: logger)
        let controller = LoadBalancerController(client: client, logger: logger)
        let election = LeaderElection(
            client: client, lease: Self.lease, identity: "\(nodeName)_\(getpid())", logger: logger)
        let needsController = loadBalancer
        try await UntilSignal.run { group in
            agents.start(in: &group)
            if isKept {
                group.addTask {
                    try await facts.confirm(
                        self, nodeName: nodeName, client: client, logger: logger)
                }
            }
            if needsController {
                group.addTask { await election.run { await controller.run() } }
            }
            group.addTask {
                await agents.waitUntilReady()
                if !Task.isCancelled { logger.notice("serving node \(nodeName)") }
            }
        }
    }

    /// Whose holder gives load balancers their addresses.
    private static let lease = ObjectKey(namespace: "kube-system", name: "portolan-load-balancer")
}

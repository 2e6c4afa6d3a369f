public import ArgumentParser
import DNSServer
import Glibc
import Informer
import KubernetesAPI
import Logging
public import NetworkTypes
import PodRuntime

/// What the agents of one node need to know; `node` reads it from flags.
struct AgentOptions: ParsableArguments {
    @Option(help: "The name of the Node object.")
    var nodeName: String

    @Option(help: "How to reach the API server; the pod's service account by default.")
    var kubeconfig: String?

    @Option(help: "The node's address on the LAN.")
    var address: IPAddress

    @Option(help: "The link that leads to the LAN.")
    var interface = "eth0"

    @Option(help: "The range of all pods' addresses.")
    var podCidr: Prefix

    @Option(help: "The range of ClusterIPs.")
    var serviceClusterIpRange: [Prefix]

    @Option(help: "The address of the cluster's DNS.")
    var clusterDns: IPAddress

    @Option(help: "The DNS domain of the cluster.")
    var clusterDomain = "cluster.local"

    @Option(help: "Where names outside the cluster are asked; /etc/resolv.conf by default.")
    var forwarder: IPAddress?

    @Flag(inversion: .prefixedNo, help: "Take pods' connections to cluster IPs past all rules.")
    var fastPath = true

    @Option(help: "Where the node keeps its things.")
    var dataDir: String

    @Option(help: "A descriptor that gets a byte once the node is ready.")
    var readyDescriptor: Int32?
}

/// `portolan node`: the agents of one virtual node and its pods, inside its network namespace.
/// `portolan up` starts it; the namespace is entered before the first thread exists.
struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node", abstract: "Run one virtual node (started by portolan up).",
        shouldDisplay: false)

    @OptionGroup var agent: AgentOptions

    @Option(help: "The network namespace to enter.")
    var networkNamespace: String

    @Option(help: "The name of the cluster.")
    var clusterName: String

    @Option(help: "The range of this node's pods.")
    var nodePodCidr: Prefix

    @Option(help: "Where unpacked images are kept; nodes share it.")
    var imageDirectory: String

    @Option(help: "The certificate of the node's own server, as PEM.")
    var serverCertificate: String

    @Option(help: "The key of the node's own server, as PEM.")
    var serverKey: String

    @Option(help: "The authority whose clients the node's server accepts, as PEM.")
    var clientAuthority: String

    func run() async throws {
        let logger = Logging.logger("portolan.node")
        let client = try RemoteClient(
            try agent.clientConfiguration(), userAgent: "portolan-node/\(agent.nodeName)")
        let cache = ClusterCache(client: client, logger: logger)
        try await client.shutDownAfter {
            let agents = try NodeAgents(
                agent.settings(tableName: clusterName), client: client, cache: cache,
                logger: logger)
            let runtime = NodeAgent(
                client: client, configuration: runtimeConfiguration, cache: cache, logger: logger)
            try await UntilSignal.run { group in
                group.addTask { try await runtime.run() }
                agents.start(in: &group)
                group.addTask {
                    await agents.waitUntilReady()
                    agent.announceReady()
                    await UntilSignal.sleepUntilCancelled()
                }
            }
        }
    }

    private var runtimeConfiguration: NodeAgent.Configuration {
        var configuration = NodeAgent.Configuration(
            nodeName: agent.nodeName, namePrefix: clusterName, dataDirectory: agent.dataDir,
            lanAddress: agent.address, podCIDR: nodePodCidr, clusterPodCIDR: agent.podCidr,
            clusterDNS: agent.clusterDns, clusterDomain: agent.clusterDomain,
            executablePath: Executable.path)
        configuration.imageDirectory = imageDirectory
        configuration.serverCertificatePath = serverCertificate
        configuration.serverKeyPath = serverKey
        configuration.clientAuthorityPath = clientAuthority
        return configuration
    }
}

extension RemoteClient {
    /// Runs the body, then closes the client's connections, also after a failure.
    func shutDownAfter(_ body: () async throws -> Void) async throws {
        var failure: (any Error)?
        do { try await body() } catch { failure = error }
        try? await shutdown()
        if let failure { throw failure }
    }
}

extension IdentityOptions {
    /// A client of the cluster that these options name, or of the one in `kubeconfig`.
    /// - Throws: `CommandFailure` where none is running or the file cannot be used.
    func client(kubeconfig: String?) throws -> RemoteClient {
        let path = kubeconfig ?? DataDirectory(path: dataDir).adminKubeconfig
        if kubeconfig == nil, RunDirectory(name: name).supervisor() == nil {
            throw CommandFailure(
                "no Portolan named \"\(name)\" is running: start it with portolan up")
        }
        do {
            return try RemoteClient(ClientConfiguration(kubeconfigPath: path))
        } catch {
            throw CommandFailure("\(error)")
        }
    }
}

extension AgentOptions {
    func settings(tableName: String) -> NodeAgents.Settings {
        NodeAgents.Settings(
            nodeName: nodeName, address: address, interface: interface, podCIDRs: [podCidr],
            serviceCIDRs: serviceClusterIpRange, clusterDNS: clusterDns,
            clusterDomain: clusterDomain, forwarder: forwarder, dataDirectory: dataDir,
            tableName: tableName, usesFastPath: fastPath)
    }

    func clientConfiguration() throws -> ClientConfiguration {
        if let kubeconfig { return try ClientConfiguration(kubeconfigPath: kubeconfig) }
        return try ClientConfiguration.inCluster()
    }

    /// Tells the supervisor, once.
    func announceReady() {
        guard let readyDescriptor else { return }
        var byte: UInt8 = 1
        write(readyDescriptor, &byte, 1)
        close(readyDescriptor)
    }
}

extension IPAddress: ExpressibleByArgument {
    /// Reads an address given on the command line.
    public init?(argument: String) { self.init(argument) }
}

extension Prefix: ExpressibleByArgument {
    /// Reads a prefix given on the command line.
    public init?(argument: String) { self.init(argument) }
}

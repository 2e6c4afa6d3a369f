import APIServer
import AddressPools
import Controllers
import Crypto
import DNSServer
import Informer
import JSON
import KubernetesAPI
import Logging
import NFTables
import NetworkTypes
import PodRuntime
import ServiceProxy
import Store

/// The control plane of a standalone cluster: store, API server, controllers, address pools and
/// the forwarder for names outside the cluster, in one process in the machine's namespace.
struct ControlPlane: Sendable {
    let topology: Topology
    let data: DataDirectory
    let store: Store
    let authority: CertificateAuthority
    let server: APIServer
    let logger: Logger

    /// Opens the store, loads or makes the certificates and sets the API server up.
    /// - Throws: `CommandFailure` naming what cannot be opened and what to do.
    init(topology: Topology, data: DataDirectory, logger: Logger) throws {
        self.topology = topology
        self.data = data
        self.logger = logger
        do {
            store = try Store(path: data.store)
        } catch {
            throw CommandFailure("cannot open \(data.store): \(error)")
        }
        authority = try CertificateAuthority(directory: data.pki)
        let names = [
            "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
            "kubernetes.default.svc.\(topology.clusterDomain)",
        ]
        let identity = try authority.issueServer(
            commonName: "kube-apiserver", dnsNames: names,
            addresses: [.v4(0x7F00_0001), topology.machineAddress, topology.apiServiceAddress])
        let port = Int(topology.apiPort)
        var configuration = APIServer.Configuration(
            listen: [("127.0.0.1", port), ("\(topology.machineAddress)", port)],
            server: identity, clientAuthorityPEM: authority.certificatePEM,
            serviceAccountKeyPEM: try Self.serviceAccountKey(data),
            advertiseAddress: topology.machineAddress,
            nodeClient: try authority.issueClient(
                user: NodeAgent.Configuration.apiServerClientName, groups: ["system:masters"]))
        configuration.serviceCIDRs = topology.serviceRanges
        configuration.nodePortRange = topology.nodePorts
        configuration.clusterDomain = topology.clusterDomain
        configuration.advertisePort = topology.apiPort
        configuration.gitVersion = Version.kubernetes
        server = try APIServer(store: store, configuration: configuration, logger: logger)
    }

    /// The key that signs service accounts' tokens, made at the first start.
    private static func serviceAccountKey(_ data: DataDirectory) throws -> String {
        let path = "\(data.pki)/sa.key"
        if let bytes = FileSystem.read(path) { return String(decoding: bytes, as: UTF8.self) }
        let key = P256.Signing.PrivateKey().pemRepresentation
        try FileSystem.writePrivate(path, Array((key + "\n").utf8))
        return key
    }

    /// The client that components in this process use.
    var client: any KubernetesClient { server.client }

    /// Writes the kubeconfig of the administrator.
    func writeAdminKubeconfig(to path: String) throws {
        let identity = try authority.issueClient(
            user: "kubernetes-admin", groups: ["system:masters"])
        try Kubeconfig(
            name: topology.name, server: "https://127.0.0.1:\(topology.apiPort)",
            authorityPEM: authority.certificatePEM, identity: identity
        ).write(to: path)
    }

    /// Adds the tasks of the control plane.
    func start(in group: inout ThrowingTaskGroup<Void, any Error>, loadBalancer: Bool) {
        let (server, client, topology, logger) = (server, client, topology, logger)
        group.addTask { try await server.run() }
        // After the server listens: with many objects, controllers that read all of them at once
        // would hold up what clients wait for.
        group.addTask {
            _ = try await server.waitUntilListening()
            try await ControllerManager(
                client: client, configuration: controllerConfiguration, logger: logger
            ).run()
        }
        group.addTask { try await forwardNames() }
        guard loadBalancer else {
            // Speakers announce what another controller gives out, and still have to know each other.
            group.addTask {
                _ = try await server.waitUntilListening()
                await SpeakerSecret.ensureAtLast(client: client, logger: logger)
            }
            return
        }
        let controller = LoadBalancerController(client: client, logger: logger)
        group.addTask {
            _ = try await server.waitUntilListening()
            await controller.run()
        }
        group.addTask {
            let network = MachineNetwork(topology: topology, backend: try NFTablesKernel())
            for await pools in controller.pools {
                do {
                    for (pool, reason) in try network.setPoolRoutes(Set(pools)) {
                        logger.error("no route to pool \(pool): \(reason)")
                    }
                } catch {
                    logger.error("cannot set the routes to pools: \(error)")
                }
            }
        }
    }

    /// Answers the nodes' questions about names outside the cluster, on the LAN.
    private func forwardNames() async throws {
        let forwarder = DNSForwarder(listenAddresses: [
            SocketAddress(topology.machineAddress, port: 53)
        ])
        try forwarder.start()
        await UntilSignal.sleepUntilCancelled()
        forwarder.stop()
    }

    private var controllerConfiguration: ControllerManager.Configuration {
        var configuration = ControllerManager.Configuration()
        configuration.clusterDomain = topology.clusterDomain
        configuration.dnsAddress = topology.dnsAddress
        configuration.podCIDRs = [topology.pods]
        configuration.rootCertificatePEM = authority.certificatePEM
        configuration.signSecretToken = { [server] in
            try server.secretToken(secret: $0, account: $1)
        }
        configuration.kubeProxyConfiguration = KubeProxyConfiguration.defaultYAML(
            clusterCIDR: topology.pods)
        return configuration
    }

    // MARK: - Nodes

    /// Writes what a node's process needs and returns how it is started.
    func prepare(_ node: Topology.NodePlan, fastPath: Bool) throws -> NodeSupervisor.Node {
        let directory = data.node(node.name)
        let client = try authority.issueClient(
            user: "system:node:\(node.name)", groups: ["system:nodes"])
        try Kubeconfig(
            name: topology.name,
            server: "https://\(topology.machineAddress):\(topology.apiPort)",
            authorityPEM: authority.certificatePEM, identity: client
        ).write(to: data.nodeKubeconfig(node.name))
        let server = try authority.issueServer(
            commonName: "system:node:\(node.name)", dnsNames: [node.name], addresses: [node.address]
        )
        let paths = (
            certificate: "\(directory)/server.crt", key: "\(directory)/server.key",
            authority: "\(directory)/ca.crt"
        )
        try FileSystem.writePrivate(paths.certificate, Array(server.certificatePEM.utf8))
        try FileSystem.writePrivate(paths.key, Array(server.privateKeyPEM.utf8))
        try FileSystem.writePrivate(paths.authority, Array(authority.certificatePEM.utf8))
        try FileSystem.trimLog(data.nodeLog(node.name))
        let ranges = topology.serviceRanges.flatMap { ["--service-cluster-ip-range", "\($0)"] }
        let arguments =
            [
                "node", "--network-namespace", node.name, "--cluster-name", topology.name,
                "--node-name", node.name, "--kubeconfig", data.nodeKubeconfig(node.name),
                "--address", "\(node.address)", "--interface", VirtualNetwork.nodeLink,
                "--pod-cidr", "\(topology.pods)", "--node-pod-cidr", "\(node.podCIDR)",
                "--cluster-dns", "\(topology.dnsAddress)", "--cluster-domain",
                topology.clusterDomain,
                "--forwarder", "\(topology.machineAddress)", "--data-dir", directory,
                "--image-directory", data.images,
                "--server-certificate", paths.certificate, "--server-key", paths.key,
                "--client-authority", paths.authority, "--ready-descriptor", "3",
            ] + ranges + (fastPath ? [] : ["--no-fast-path"])
        return NodeSupervisor.Node(
            name: node.name, arguments: arguments, logPath: data.nodeLog(node.name))
    }
}

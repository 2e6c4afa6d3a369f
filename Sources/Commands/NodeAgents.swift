import DNSServer
import Informer
import KubernetesAPI
import Logging
import NetworkTypes
import ServiceProxy
import Speaker

/// The three roles of a node that are the same in a cluster and standalone: proxy, DNS, speaker.
struct NodeAgents: Sendable {
    private let cache: ClusterCache
    private let proxy: ProxyAgent
    private let dns: DNSAgent
    private let speaker: SpeakerAgent

    /// Makes the agents; the speaker's sockets are opened at once.
    init(
        options: AgentOptions, tableName: String, client: any KubernetesClient,
        cache: ClusterCache, logger: Logger
    ) throws {
        self.cache = cache
        proxy = ProxyAgent(
            client: client, configuration: Self.proxy(options, tableName), cache: cache,
            logger: logger)
        dns = DNSAgent(
            client: client, configuration: Self.dns(options), cache: cache, logger: logger)
        speaker = try SpeakerAgent(
            client: client,
            configuration: SpeakerAgent.Configuration(
                nodeName: options.nodeName, interface: options.interface,
                lanAddress: options.address),
            cache: cache, logger: logger)
    }

    private static func proxy(
        _ options: AgentOptions, _ tableName: String
    ) -> ProxyAgent.Configuration {
        var configuration = ProxyAgent.Configuration()
        configuration.tableName = tableName
        configuration.nodeName = options.nodeName
        configuration.serviceCIDRs = [options.serviceClusterIpRange]
        configuration.podCIDRs = [options.podCidr]
        configuration.locallyServedAddresses = [options.clusterDns]
        return configuration
    }

    private static func dns(_ options: AgentOptions) -> DNSAgent.Configuration {
        DNSAgent.Configuration(
            listenAddresses: [
                SocketAddress(options.clusterDns, port: 53),
                SocketAddress(options.address, port: 53),
            ],
            clusterDomain: options.clusterDomain, serviceAddresses: [options.clusterDns],
            forwarders: options.forwarder.map { [SocketAddress($0, port: 53)] } ?? [],
            nodeName: options.nodeName, snapshotPath: "\(options.dataDir)/dns.snapshot",
            metricsAddress: SocketAddress(options.address, port: 9153))
    }

    /// Adds a task for each role.
    func start(in group: inout ThrowingTaskGroup<Void, any Error>) {
        let (cache, proxy, dns, speaker) = (cache, proxy, dns, speaker)
        group.addTask { await cache.run() }
        group.addTask { try await proxy.run() }
        group.addTask { try await dns.run() }
        group.addTask { try await speaker.run() }
    }

    /// Returns when the kernel has rules for every Service and DNS answers.
    func waitUntilReady() async {
        await proxy.waitUntilReady()
        await dns.waitUntilReady()
    }
}

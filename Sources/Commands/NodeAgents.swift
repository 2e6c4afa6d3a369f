import DNSServer
import Informer
import KubernetesAPI
import Logging
import NetworkTypes
import ServiceProxy
import Speaker

/// The three roles of a node that are the same in a cluster and standalone: proxy, DNS, speaker.
/// They share one cache of Services, slices and Nodes.
struct NodeAgents: Sendable {
    /// What a node does.
    enum Role: Hashable, Sendable {
        case proxy
        case dns
        case speaker
    }

    /// What the roles need to know.
    struct Settings: Sendable {
        var nodeName: String
        /// The node's address on the LAN.
        var address: IPAddress
        /// The link that leads there.
        var interface: String
        var podCIDRs: [Prefix]
        var serviceCIDRs: [Prefix]
        /// nil where the node answers no DNS.
        var clusterDNS: IPAddress?
        var clusterDomain: String
        /// Where names outside the cluster are asked; nil for /etc/resolv.conf.
        var forwarder: IPAddress?
        var dataDirectory: String
        var tableName: String
        var roles: Set<Role> = [.proxy, .dns, .speaker]
        /// The proxy's configuration; nil to follow the ConfigMap kube-system/kube-proxy.
        var kubeProxyConfiguration: KubeProxyConfiguration?
        /// Whether pods' connections to cluster IPs go past the rules.
        var usesFastPath = false
    }

    private let cache: ClusterCache
    private let proxy: ProxyAgent?
    private let dns: DNSAgent?
    private let speaker: SpeakerAgent?

    /// Makes the agents. DNS answers at once where it has a snapshot, before anything else takes
    /// time; the speaker's sockets are opened, too.
    init(
        _ settings: Settings, client: any KubernetesClient, cache: ClusterCache, logger: Logger
    ) throws {
        self.cache = cache
        let roles = settings.roles
        dns =
            roles.contains(.dns)
            ? DNSAgent(
                client: client, configuration: Self.dns(settings), cache: cache, logger: logger)
            : nil
        try dns?.answerFromSnapshot()
        proxy =
            roles.contains(.proxy)
            ? ProxyAgent(
                client: client, configuration: Self.proxy(settings), cache: cache, logger: logger)
            : nil
        speaker =
            roles.contains(.speaker)
            ? try SpeakerAgent(
                client: client,
                configuration: SpeakerAgent.Configuration(
                    nodeName: settings.nodeName, interface: settings.interface,
                    lanAddress: settings.address),
                cache: cache, logger: logger)
            : nil
    }

    private static func proxy(_ settings: Settings) -> ProxyAgent.Configuration {
        var configuration = ProxyAgent.Configuration()
        configuration.tableName = settings.tableName
        configuration.nodeName = settings.nodeName
        configuration.serviceCIDRs = settings.serviceCIDRs
        configuration.podCIDRs = settings.podCIDRs
        configuration.kubeProxyConfiguration = settings.kubeProxyConfiguration
        configuration.usesFastPath = settings.usesFastPath
        configuration.followsConfigMap = settings.kubeProxyConfiguration == nil
        if settings.roles.contains(.dns), let address = settings.clusterDNS {
            configuration.locallyServedAddresses = [address]
        }
        return configuration
    }

    private static func dns(_ settings: Settings) -> DNSAgent.Configuration {
        let addresses = [settings.clusterDNS, settings.address].compactMap(\.self)
        return DNSAgent.Configuration(
            listenAddresses: addresses.map { SocketAddress($0, port: 53) },
            clusterDomain: settings.clusterDomain,
            serviceAddresses: [settings.clusterDNS].compactMap(\.self),
            forwarders: settings.forwarder.map { [SocketAddress($0, port: 53)] } ?? [],
            nodeName: settings.nodeName, snapshotPath: "\(settings.dataDirectory)/dns.snapshot",
            metricsAddress: SocketAddress(settings.address, port: 9153))
    }

    /// Adds a task for the cache and one for each role.
    func start(in group: inout ThrowingTaskGroup<Void, any Error>) {
        let (agents, cache) = (self, cache)
        group.addTask { await cache.run() }
        group.addTask {
            await agents.waitUntilReady()
            await MemoryKeeper.run()
        }
        if let proxy { group.addTask { try await proxy.run() } }
        if let dns { group.addTask { try await dns.run() } }
        if let speaker { group.addTask { try await speaker.run() } }
    }

    /// Returns when the kernel has rules for every Service and DNS answers.
    func waitUntilReady() async {
        await proxy?.waitUntilReady()
        await dns?.waitUntilReady()
    }
}

import Informer
import KubernetesAPI
import Logging
import Netlink
import NetworkTypes
import Synchronization

/// Keeps a route to each other node's pods, by way of its LAN address, in the node's namespace.
struct NodeRoutes: Sendable {
    private let configuration: NodeAgent.Configuration
    private let client: any KubernetesClient
    private let logger: Logger

    init(
        _ configuration: NodeAgent.Configuration, client: any KubernetesClient, logger: Logger
    ) {
        self.configuration = configuration
        self.client = client
        self.logger = logger
    }

    /// Metric of these routes; pods' own /32 routes have 0.
    static let metric: UInt32 = 50

    /// The routes that the nodes ask for. Pure.
    static func wanted(
        _ nodes: [Node], besides own: String, linkIndex: Int32
    ) -> [Prefix: Route] {
        var routes: [Prefix: Route] = [:]
        for node in nodes.sorted(by: { $0.key < $1.key }) where node.metadata.name != own {
            for prefix in node.podCIDRs {
                let gateway = node.internalAddresses.first { $0.family == prefix.family }
                guard let gateway else { continue }
                routes[prefix] = Route(
                    to: prefix, via: gateway, linkIndex: linkIndex, metric: metric, isOnLink: true)
            }
        }
        return routes
    }

    /// Follows the nodes until the task is cancelled; `learned` is told the node's own pod CIDR.
    func run(_ learned: @Sendable @escaping (Prefix) -> Void) async {
        let informer = Informer<Node>(.nodes, client: client, logger: logger)
        await informer.run { [weak informer] _ in
            guard let nodes = informer?.objects else { return }
            if let own = nodes.first(where: { $0.metadata.name == configuration.nodeName }),
                let prefix = own.podCIDRs.first
            {
                learned(prefix)
            }
            do {
                try await Blocking.run { try apply(nodes) }
            } catch {
                logger.error("routes to nodes not set", metadata: ["error": "\(error)"])
            }
        }
    }

    /// Makes the kernel agree with the nodes.
    private func apply(_ nodes: [Node]) throws {
        let socket = try NodeNamespace(name: configuration.networkNamespaceName)
            .run { try RouteSocket() }
        guard let link = try socket.link("eth0") else { return }
        let wanted = Self.wanted(
            nodes, besides: configuration.nodeName, linkIndex: link.index)
        let present = try socket.routes(.ipv4).filter {
            $0.protocolNumber == Route.portolanProtocol && $0.metric == Self.metric
                && $0.table == Route.mainTable && $0.linkIndex == link.index
        }
        var requests: [RouteRequest] = []
        for route in present where wanted[route.destination]?.gateway != route.gateway {
            requests.append(.deleteRoute(route))
        }
        for (prefix, route) in wanted
        where !present.contains(where: {
            $0.destination == prefix && $0.gateway == route.gateway
        }) {
            requests.append(.addRoute(route, isReplacing: true))
        }
        try socket.perform(requests)
    }
}

import Glibc
import Informer
import KubernetesAPI
import Logging
import Netlink
import NetworkTypes
import Synchronization

/// Keeps a route to each other node's pods, by way of its LAN address, in the node's namespace; also
/// when the link to the LAN has been down, which takes all routes over it away.
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

    /// Follows the nodes and the link until the task is cancelled; `learned` is told the node's own
    /// pod CIDR.
    func run(_ learned: @Sendable @escaping (Prefix) -> Void) async {
        let (wishes, wish) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let informer = Informer<Node>(.nodes, client: client, logger: logger)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                await informer.run { [weak informer] _ in
                    let own = informer?.get(ObjectKey(name: configuration.nodeName))
                    if let prefix = own?.podCIDRs.first { learned(prefix) }
                    wish.yield()
                }
            }
            group.addTask { await watchLinks { wish.yield() } }
            group.addTask {
                var defaultRoute: Route?
                for await _ in wishes {
                    defaultRoute = await settle(informer.objects, defaultRoute)
                }
            }
            await group.waitForAll()
        }
    }

    /// Calls `changed` whenever a link was changed, until the task is cancelled.
    private func watchLinks(_ changed: @Sendable @escaping () -> Void) async {
        let flag = OverFlag()
        await withTaskCancellationHandler {
            do {
                let monitor = try NodeNamespace(name: configuration.networkNamespaceName)
                    .run { try RouteMonitor(.links) }
                await withCheckedContinuation { continuation in
                    let status = Blocking.startThread {
                        Self.watch(monitor, flag, changed)
                        continuation.resume()
                    }
                    if status != 0 { continuation.resume() }
                }
            } catch {
                logger.error("links are not watched", metadata: ["error": "\(error)"])
            }
        } onCancel: {
            flag.set()
        }
    }

    private static func watch(
        _ monitor: RouteMonitor, _ flag: OverFlag, _ changed: () -> Void
    ) {
        // The flag is looked at between waits: the thread has nothing else to be woken by.
        let waitMilliseconds: Int32 = 500
        while !flag.isSet {
            var entry = pollfd(fd: monitor.descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&entry, 1, waitMilliseconds) > 0 else { continue }
            if (try? monitor.events())?.isEmpty == false { changed() }
        }
    }

    /// Makes the kernel agree with the nodes.
    /// - Parameter known: the default route, as it was before the link went down.
    /// - Returns: the default route as it is, or was.
    private func settle(_ nodes: [Node], _ known: Route?) async -> Route? {
        do {
            return try await Blocking.run { try apply(nodes, known) }
        } catch {
            logger.error("routes to nodes not set", metadata: ["error": "\(error)"])
            return known
        }
    }

    private func apply(_ nodes: [Node], _ known: Route?) throws -> Route? {
        let socket = try NodeNamespace(name: configuration.networkNamespaceName)
            .run { try RouteSocket() }
        // While the link is down the kernel takes no routes over it.
        guard let link = try socket.link("eth0"), link.isUp else { return known }
        let wanted = Self.wanted(
            nodes, besides: configuration.nodeName, linkIndex: link.index)
        let all = try socket.routes(.ipv4).filter {
            $0.table == Route.mainTable && $0.linkIndex == link.index
        }
        let present = all.filter {
            $0.protocolNumber == Route.portolanProtocol && $0.metric == Self.metric
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
        let current = all.first { $0.destination.length == 0 }
        if current == nil, let known { requests.append(.addRoute(known, isReplacing: true)) }
        try socket.perform(requests)
        return current ?? known
    }
}

/// Set once, when a thread is to end.
private final class OverFlag: Sendable {
    private let value = Atomic<Bool>(false)

    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
}

public import KubernetesAPI
public import Logging

/// The collections that proxy, DNS and speaker of one node all read: each is listed and watched
/// once, and kept once, without what none of them asks for.
public struct ClusterCache: Sendable {
    /// The Services.
    public let services: Informer<Service>
    /// The EndpointSlices.
    public let endpointSlices: Informer<EndpointSlice>
    /// The Nodes that `nodes` of the initializer asks for.
    public let nodes: Informer<Node>
    private let followsNodes: Bool

    /// Which Nodes are followed.
    public enum NodeScope: Hashable, Sendable {
        case all
        case named(String)
        case none
    }

    /// After this time everything is listed anew, whatever a watch may have missed.
    private static let relistPeriod = Duration.seconds(1800)

    /// Makes a cache; nothing happens before `run`.
    public init(client: any KubernetesClient, nodes scope: NodeScope = .all, logger: Logger) {
        let texts = SharedTexts()
        services = Informer(.services, client: client, logger: logger) { $0.strip(sharing: texts) }
        endpointSlices = Informer(.endpointSlices, client: client, logger: logger) {
            $0.strip(sharing: texts)
        }
        var options = ListOptions()
        if case .named(let name) = scope { options.fieldSelector = "metadata.name=\(name)" }
        nodes = Informer(.nodes, client: client, options: options, logger: logger) {
            $0.metadata.annotations = [:]
        }
        followsNodes = scope != .none
    }

    /// Fills and follows until the task is cancelled.
    public func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await Self.keepListing(services) }
            group.addTask { await Self.keepListing(endpointSlices) }
            if followsNodes { group.addTask { await Self.keepListing(nodes) } }
            await group.waitForAll()
        }
    }

    /// An informer that starts anew lists everything and reports what differs.
    private static func keepListing(_ informer: Informer<some KubernetesObject>) async {
        while !Task.isCancelled {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await informer.run() }
                group.addTask { try? await Task.sleep(for: relistPeriod) }
                await group.next()
                group.cancelAll()
            }
        }
    }
}

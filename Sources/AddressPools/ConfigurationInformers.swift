public import Informer
public import KubernetesAPI
public import Logging

/// Watches everything that configures load balancing: the ConfigMap of MetalLB up to 0.12 and the
/// kinds of metallb.io. A kind that the API server does not serve counts as empty and is asked for
/// again now and then, since a cluster may get it later.
public struct ConfigurationInformers: Sendable {
    /// What the handler is told.
    public enum Notice: Sendable {
        /// An object appeared, changed (new is not nil) or went.
        case change(kind: String, ObjectKey, Object?)
        /// The first list of one of the kinds is complete.
        case synced(kind: String)
    }

    /// What decides about announcing on layer 2.
    public static let layer2Kinds: [Resource] = [
        .configMaps, .ipAddressPools, .l2Advertisements,
    ]

    /// Every kind there is.
    public static let kinds: [Resource] =
        layer2Kinds + [
            metallb("bgpadvertisements", "BGPAdvertisement"),
            metallb("bgppeers", "BGPPeer", version: "v1beta2"),
            metallb("bfdprofiles", "BFDProfile"),
            metallb("communities", "Community"),
        ]

    private static func metallb(
        _ plural: String, _ kind: String, version: String = "v1beta1"
    ) -> Resource {
        Resource(group: "metallb.io", version: version, plural: plural, kind: kind)
    }

    private let client: any KubernetesClient
    private let kinds: [Resource]
    private let namespace: String
    private let logger: Logger
    private let retryPause: Duration

    /// Makes the informers for objects of `kinds` in `namespace`; each kind is reported as synced
    /// once.
    public init(
        client: any KubernetesClient, kinds: [Resource] = kinds,
        namespace: String = "metallb-system",
        retryPause: Duration = .seconds(10), logger: Logger
    ) {
        self.client = client
        self.kinds = kinds
        self.namespace = namespace
        self.retryPause = retryPause
        self.logger = logger
    }

    /// Watches until the task is cancelled.
    public func run(_ handler: @Sendable @escaping (Notice) async -> Void) async {
        await withDiscardingTaskGroup { group in
            for resource in kinds {
                group.addTask { await watch(resource, handler) }
            }
        }
    }

    private func watch(
        _ resource: Resource, _ handler: @Sendable @escaping (Notice) async -> Void
    ) async {
        let kind = resource.kind
        var options = ListOptions(namespace: namespace)
        if resource == .configMaps { options.fieldSelector = "metadata.name=config" }
        var isReported = false
        while resource != .configMaps, await !isServed(resource, options) {
            if !isReported { await handler(.synced(kind: kind)) }
            isReported = true
            try? await Task.sleep(for: retryPause)
            if Task.isCancelled { return }
        }
        let needsReport = !isReported
        let informer = Informer<Object>(resource, client: client, options: options, logger: logger)
        await informer.run { notice in
            switch notice {
            case .synced: if needsReport { await handler(.synced(kind: kind)) }
            case .changes(let changes):
                for change in changes {
                    await handler(.change(kind: kind, change.key, change.new))
                }
            }
        }
    }

    /// False only where the API server says that it does not know the kind.
    private func isServed(_ resource: Resource, _ options: ListOptions) async -> Bool {
        do {
            _ = try await client.list(resource, options)
            return true
        } catch let error as StatusError where error.isNotFound {
            return false
        } catch {
            return true  // the informer will try again and log why
        }
    }
}

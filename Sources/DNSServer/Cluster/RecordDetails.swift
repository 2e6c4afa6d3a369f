import DNS
import Informer
import KubernetesAPI
import Logging
import NetworkTypes

/// What `labels` and `endpoint_pod_names` must know of Services and slices. The cache that a node's
/// components share keeps neither labels nor pods' names, so it is asked for apart, and only where
/// one of these options is set.
struct RecordDetails: Sendable {
    /// The Services that a selector selects, by the selector's text, once they are listed.
    private var selections: [String: Set<ServiceKey>] = [:]
    /// The name of the pod at each address of a slice; nil before they are listed.
    private var podNames: [ObjectKey: [IPAddress: ObjectKey]]?

    /// Whether everything is known that `rules` ask for.
    func areKnown(for rules: RecordRules) -> Bool {
        if let labels = rules.labels, selections[labels.description] == nil { return false }
        return !rules.namesEndpointsAfterPods || podNames != nil
    }

    /// Whether a Service is selected by the labels that `rules` ask for.
    func selects(_ key: ServiceKey, _ rules: RecordRules) -> Bool {
        guard let labels = rules.labels else { return true }
        return selections[labels.description]?.contains(key) ?? false
    }

    /// Says which pods are behind the endpoints.
    func addPodNames(to slices: inout [EndpointSlice]) {
        for index in slices.indices {
            guard let names = podNames?[slices[index].key] else { continue }
            for place in slices[index].endpoints.indices {
                let address = slices[index].endpoints[place].addresses.first
                slices[index].endpoints[place].targetPod = address.flatMap { names[$0] }
            }
        }
    }

    /// Forgets what an earlier feed of that need brought.
    mutating func forget(_ need: DetailsFeed.Need) -> Set<ServiceKey> {
        if let selector = need.selector { selections = selections.filter { $0.key != selector } }
        if need.namesPods { podNames = nil }
        return []
    }

    /// Takes changes of the Services that `selector` selects; returns those concerned.
    mutating func apply(
        _ changes: [Informer<Service>.Change], selector: String
    ) -> Set<ServiceKey> {
        var selected = selections[selector] ?? []
        for change in changes {
            let key = ServiceKey(change.key)
            if change.new == nil { selected.remove(key) } else { selected.insert(key) }
        }
        selections[selector] = selected
        return Set(changes.map { ServiceKey($0.key) })
    }

    /// Takes changes of slices with their pods' names; returns the Services concerned.
    mutating func apply(_ changes: [Informer<EndpointSlice>.Change]) -> Set<ServiceKey> {
        var keys: Set<ServiceKey> = []
        for change in changes {
            var names: [IPAddress: ObjectKey] = [:]
            for endpoint in change.new?.endpoints ?? [] {
                if let address = endpoint.addresses.first { names[address] = endpoint.targetPod }
            }
            podNames = podNames ?? [:]
            podNames?[change.key] = names.isEmpty ? nil : names
            if let service = (change.new ?? change.old)?.serviceKey {
                keys.insert(ServiceKey(service))
            }
        }
        return keys
    }

    /// Says that there is nothing more to list: what was not seen is not there.
    mutating func markListed(selector: String) -> Set<ServiceKey> { apply([], selector: selector) }

    mutating func markPodNamesListed() -> Set<ServiceKey> {
        podNames = podNames ?? [:]
        return []
    }
}

/// The lists and watches behind `RecordDetails`, for one set of rules.
final class DetailsFeed: Sendable {
    /// What decides about the feed: two sets of rules with the same need share one.
    struct Need: Hashable, Sendable {
        var selector: String?
        var namesPods = false
        /// Whether the shared cache is enough.
        var isNothing: Bool { selector == nil && !namesPods }

        init(_ rules: RecordRules) {
            selector = rules.labels?.description
            namesPods = rules.namesEndpointsAfterPods
        }
    }

    let need: Need
    private let services: Informer<Service>?
    private let slices: Informer<EndpointSlice>?

    /// Makes a feed; nothing happens before `run`.
    init(_ need: Need, client: any KubernetesClient, logger: Logger) {
        self.need = need
        services = need.selector.map { selector in
            Informer(
                .services, client: client, options: ListOptions(labelSelector: selector),
                logger: logger)
        }
        slices =
            need.namesPods ? Informer(.endpointSlices, client: client, logger: logger) : nil
    }

    /// Feeds the controller until the task is cancelled.
    func run(_ controller: DNSController) async {
        await withTaskGroup(of: Void.self) { group in
            if let services, let selector = need.selector {
                group.addTask {
                    await services.run { notice in
                        controller.apply { details in
                            switch notice {
                            case .changes(let changes):
                                details.apply(changes, selector: selector)
                            case .synced: details.markListed(selector: selector)
                            }
                        }
                    }
                }
            }
            if let slices {
                group.addTask {
                    await slices.run { notice in
                        controller.apply { details in
                            switch notice {
                            case .changes(let changes): details.apply(changes)
                            case .synced: details.markPodNamesListed()
                            }
                        }
                    }
                }
            }
            await group.waitForAll()
        }
    }

    /// Returns when everything has been listed once, or when the task is cancelled.
    func waitUntilSynced() async {
        await services?.waitUntilSynced()
        await slices?.waitUntilSynced()
    }
}

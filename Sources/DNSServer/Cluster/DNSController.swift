public import DNS
public import Informer
public import KubernetesAPI
import NetworkTypes
import Synchronization

/// Feeds the zone from the API's objects: each change re-renders the names of the Services it
/// touches and nothing else.
///
/// Until the first lists of Services, slices and namespaces are complete, changes are only
/// remembered, so that names a snapshot brought do not vanish while half of the objects is known.
public final class DNSController: Sendable {
    private struct State {
        var services: [ServiceKey: Shared<Service>] = [:]
        var slices: [ServiceKey: [ObjectKey: Shared<EndpointSlice>]] = [:]
        /// Namespaces with their labels.
        var namespaces: [String: [String: String]] = [:]
        /// Which of all this has records.
        var rules = RecordRules()
        var details = RecordDetails()
        /// Addresses of this node's pods, for completing their search paths.
        var clients: [ObjectKey: [IPAddress]] = [:]
        /// Addresses of all pods, while the zone verifies pod records.
        var pods: [ObjectKey: [IPAddress]] = [:]
        /// Pods of an earlier list that the current one has not shown yet.
        var unlistedPods: Set<ObjectKey> = []
        var synced: Set<Source> = []
        var durations = ProgrammingDurations()
        var lastChangeNanoseconds: UInt64 = 0
        var changeCount: UInt64 = 0
    }

    /// The collections whose first list must be complete.
    public enum Source: Hashable, Sendable, CaseIterable {
        case services
        case slices
        case namespaces
    }

    private let zoneBox: Mutex<Zone>
    private let state = Mutex(State())

    /// Makes a controller that feeds `zone`.
    /// - Parameter rules: which objects have records.
    public init(zone: Zone, rules: RecordRules = RecordRules()) {
        zoneBox = Mutex(zone)
        state.withLock { $0.rules = rules }
    }

    /// The zone it feeds.
    public var zone: Zone { zoneBox.withLock { $0 } }

    /// Fills `zone` with what of all that is known has records by `rules`, and feeds it from now on,
    /// in place of the old one.
    public func adopt(_ zone: Zone, rules: RecordRules) {
        state.withLock { state in
            state.rules = rules
            zoneBox.withLock { $0 = zone }
            guard isSynced(state) else { return }
            renderAll(&state)
        }
    }

    /// True once every first list is in the zone.
    public var isSynced: Bool { state.withLock { isSynced($0) } }

    /// How long changes took, from the endpoint's change to the zone.
    public var programmingDurations: ProgrammingDurations { state.withLock { $0.durations } }

    /// The pods of this node by address, for naming clients.
    var clientNames: [IPAddress: ObjectKey] {
        state.withLock { state in
            var names: [IPAddress: ObjectKey] = [:]
            for (key, addresses) in state.clients {
                for address in addresses { names[address] = key }
            }
            return names
        }
    }

    /// How many changes have been taken; for whoever writes snapshots.
    public var changeCount: UInt64 { state.withLock { $0.changeCount } }

    // MARK: - Changes

    /// Takes changes of Services.
    public func apply(_ changes: [Informer<Service>.Change]) {
        state.withLock { state in
            var keys: Set<ServiceKey> = []
            for change in changes {
                let key = ServiceKey(change.key)
                state.services[key] = change.sharedNew
                keys.insert(key)
            }
            render(keys, &state)
        }
    }

    /// Takes changes of EndpointSlices.
    public func apply(_ changes: [Informer<EndpointSlice>.Change]) {
        state.withLock { state in
            var keys: Set<ServiceKey> = []
            var triggers: [(ServiceKey, String)] = []
            for change in changes {
                if let old = change.old?.serviceKey {
                    let key = ServiceKey(old)
                    state.slices[key]?[change.key] = nil
                    if state.slices[key]?.isEmpty == true { state.slices[key] = nil }
                    keys.insert(key)
                }
                guard let new = change.new, let service = new.serviceKey else { continue }
                let key = ServiceKey(service)
                state.slices[key, default: [:]][change.key] = change.sharedNew
                keys.insert(key)
                let name = "endpoints.kubernetes.io/last-change-trigger-time"
                if let text = new.metadata.annotations[name] { triggers.append((key, text)) }
            }
            render(keys, &state)
            if isSynced(state) { observe(triggers, &state) }
        }
    }

    /// Changes what the rules must know besides, and renders the Services concerned.
    func apply(details change: (inout RecordDetails) -> Set<ServiceKey>) {
        state.withLock { state in
            let wasSynced = isSynced(state)
            let keys = change(&state.details)
            if isSynced(state), !wasSynced { renderAll(&state) } else { render(keys, &state) }
        }
    }

    /// Takes changes of namespaces.
    public func apply(namespaces changes: [Informer<Object>.Change]) {
        state.withLock { state in
            for change in changes {
                let name = change.key.name
                let wasExposed = isExposed(name, state)
                state.namespaces[name] = change.new.map { ObjectMeta(json: $0.json).labels }
                guard isSynced(state) else { continue }
                zone.applyNamespace(name, exists: exists(name, state))
                if isExposed(name, state) != wasExposed { renderNamespace(name, &state) }
            }
            state.changeCount &+= 1
        }
    }

    /// Takes changes of the pods whose search paths are completed: this node's.
    public func apply(clients changes: [Informer<Pod>.Change]) {
        state.withLock { state in
            for change in changes {
                let fresh = change.new.map(Self.ownAddresses) ?? []
                for address in state.clients[change.key] ?? [] where !fresh.contains(address) {
                    zone.applyClient(address, namespace: nil)
                }
                for address in fresh {
                    zone.applyClient(address, namespace: change.key.namespace)
                }
                state.clients[change.key] = fresh.isEmpty ? nil : fresh
            }
        }
    }

    /// Takes changes of all pods, for verified pod records.
    public func apply(verified changes: [Informer<Pod>.Change]) {
        state.withLock { state in
            for change in changes {
                let isSelected = change.new.map { state.rules.selects($0.metadata.labels) } ?? false
                let addresses = isSelected ? change.new.map(Self.ownAddresses) ?? [] : []
                state.pods[change.key] = addresses.isEmpty ? nil : addresses
                state.unlistedPods.remove(change.key)
                applyPod(change.key, state)
            }
            state.changeCount &+= 1
        }
    }

    /// Says that all pods are going to be listed anew; what is known stays until then.
    public func beginPodList() { state.withLock { $0.unlistedPods = Set($0.pods.keys) } }

    /// Says that all pods are known: those that an earlier list or a snapshot had are gone.
    public func markPodsListed() {
        state.withLock { state in
            for key in state.unlistedPods { forget(key, &state) }
            state.unlistedPods = []
            zone.retainListedPods()
        }
    }

    /// Forgets all pods: nobody follows them any more.
    public func forgetVerifiedPods() {
        state.withLock { state in
            for key in state.pods.keys { forget(key, &state) }
            state.unlistedPods = []
        }
    }

    private func forget(_ pod: ObjectKey, _ state: inout State) {
        zone.applyPod(ServiceKey(pod), addresses: [])
        state.pods[pod] = nil
        state.changeCount &+= 1
    }

    private func applyPod(_ key: ObjectKey, _ state: borrowing State) {
        let isShown = isExposed(key.namespace, state)
        zone.applyPod(ServiceKey(key), addresses: isShown ? state.pods[key] ?? [] : [])
    }

    /// Says that the first list of `source` is complete.
    public func markSynced(_ source: Source) {
        state.withLock { state in
            guard state.synced.insert(source).inserted, isSynced(state) else { return }
            renderAll(&state)
        }
    }

    /// Addresses that are a pod's alone: not its node's, and not those of a pod that is done.
    private static func ownAddresses(_ pod: Pod) -> [IPAddress] {
        pod.usesHostNetwork || pod.isFinished ? [] : pod.podIPs
    }

    // MARK: - Rendering

    private func isSynced(_ state: borrowing State) -> Bool {
        state.synced.count == Source.allCases.count && state.details.areKnown(for: state.rules)
    }

    private func isExposed(_ namespace: String, _ state: borrowing State) -> Bool {
        state.rules.exposes(namespace, labels: state.namespaces[namespace])
    }

    private func exists(_ namespace: String, _ state: borrowing State) -> Bool {
        state.namespaces[namespace] != nil && isExposed(namespace, state)
    }

    private func renderAll(_ state: inout State) {
        let keys = Set(state.services.keys)
        let namespaces = Set(state.namespaces.keys.filter { exists($0, state) })
        zone.retain(services: keys, namespaces: namespaces)
        for name in namespaces { zone.applyNamespace(name, exists: true) }
        for (key, addresses) in state.clients {
            for address in addresses { zone.applyClient(address, namespace: key.namespace) }
        }
        for key in state.pods.keys { applyPod(key, state) }
        render(keys, &state)
    }

    private func renderNamespace(_ name: String, _ state: inout State) {
        render(Set(state.services.keys.filter { $0.namespace == name }), &state)
        for key in state.pods.keys where key.namespace == name { applyPod(key, state) }
    }

    private func render(_ keys: Set<ServiceKey>, _ state: inout State) {
        state.changeCount &+= 1
        guard isSynced(state) else { return }
        for key in keys {
            let input = state.services[key].flatMap { service -> ServiceRecordInput? in
                guard isExposed(key.namespace, state), state.details.selects(key, state.rules)
                else { return nil }
                var slices = (state.slices[key] ?? [:]).values.map(\.value)
                if state.rules.namesEndpointsAfterPods { state.details.addPodNames(to: &slices) }
                return state.rules.input(service.value, slices)
            }
            zone.apply(key, input)
        }
    }

    /// Measures from the time the endpoints controller saw a change to now (the SLI that CoreDNS
    /// calls dns_programming_duration).
    private func observe(_ triggers: [(ServiceKey, String)], _ state: inout State) {
        for (key, text) in triggers {
            guard let service = state.services[key]?.value, let start = Timestamp(text) else {
                continue
            }
            let kind: String
            if service.isHeadless {
                kind =
                    service.selector == nil ? "headless_without_selector" : "headless_with_selector"
            } else {
                kind = "cluster_ip"
            }
            let seconds = Timestamp.now.secondsSince(start)
            // A slice that is listed, not changed, says when it changed long ago.
            if seconds >= 0, seconds < 600 { state.durations.observe(seconds, kind: kind) }
        }
    }
}

extension ServiceKey {
    /// The same key in DNS' own type.
    public init(_ key: ObjectKey) { self.init(namespace: key.namespace, name: key.name) }
}

extension ServiceRecordInput {
    /// What DNS needs of a Service and its slices; slices of FQDNs have no addresses and so no
    /// records.
    /// - Parameter namesEndpointsAfterPods: gives an endpoint without a host name its pod's name,
    ///   where that is one label.
    public init(
        _ service: Service, slices: [EndpointSlice], namesEndpointsAfterPods: Bool = false
    ) {
        let endpoints = slices.sorted { $0.key < $1.key }.flatMap { slice in
            let ports = slice.ports.map {
                Port(name: $0.name, transport: $0.transport, port: $0.port)
            }
            return slice.endpoints.map {
                var hostname = $0.hostname
                if namesEndpointsAfterPods, hostname?.isEmpty ?? true,
                    let pod = $0.targetPod?.name, !pod.contains("."),
                    pod.utf8.count <= DNSName.maximumLabelLength
                {
                    hostname = pod
                }
                return Endpoint(
                    addresses: Array($0.addresses), hostname: hostname, isReady: $0.isReady,
                    ports: ports)
            }
        }
        self.init(
            namespace: service.metadata.namespace, name: service.metadata.name,
            clusterIPs: service.type == .externalName ? [] : service.clusterIPs,
            isHeadless: service.isHeadless,
            ports: service.ports.map {
                Port(name: $0.name, transport: $0.transport, port: $0.port)
            },
            externalName: service.type == .externalName ? service.externalName : nil,
            endpoints: endpoints, publishNotReadyAddresses: service.publishNotReadyAddresses)
    }
}

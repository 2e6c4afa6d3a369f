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
        var namespaces: Set<String> = []
        /// Addresses of this node's pods, for completing their search paths.
        var clients: [ObjectKey: [IPAddress]] = [:]
        /// Addresses of all pods, while the zone verifies pod records.
        var pods: [ObjectKey: [IPAddress]] = [:]
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
    public init(zone: Zone) { zoneBox = Mutex(zone) }

    /// The zone it feeds.
    public var zone: Zone { zoneBox.withLock { $0 } }

    /// Fills `zone` with all that is known and feeds it from now on, in place of the old one.
    public func adopt(_ zone: Zone) {
        state.withLock { state in
            zoneBox.withLock { $0 = zone }
            guard state.synced.count == Source.allCases.count else { return }
            renderAll(&state)
        }
    }

    /// True once every first list is in the zone.
    public var isSynced: Bool { state.withLock { $0.synced.count == Source.allCases.count } }

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

    /// Takes changes of namespaces.
    public func apply(namespaces changes: [Informer<Object>.Change]) {
        state.withLock { state in
            for change in changes {
                if change.new == nil {
                    state.namespaces.remove(change.key.name)
                } else {
                    state.namespaces.insert(change.key.name)
                }
                if isSynced(state) {
                    zone.applyNamespace(change.key.name, exists: change.new != nil)
                }
            }
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
                let addresses = change.new.map(Self.ownAddresses) ?? []
                zone.applyPod(ServiceKey(change.key), addresses: addresses)
                state.pods[change.key] = addresses.isEmpty ? nil : addresses
            }
        }
    }

    /// Forgets all pods: nobody follows them any more.
    public func forgetVerifiedPods() {
        state.withLock { state in
            for key in state.pods.keys { zone.applyPod(ServiceKey(key), addresses: []) }
            state.pods = [:]
        }
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
        state.synced.count == Source.allCases.count
    }

    private func renderAll(_ state: inout State) {
        let keys = Set(state.services.keys)
        zone.retain(services: keys, namespaces: state.namespaces)
        for name in state.namespaces { zone.applyNamespace(name, exists: true) }
        for (key, addresses) in state.clients {
            for address in addresses { zone.applyClient(address, namespace: key.namespace) }
        }
        for (key, addresses) in state.pods {
            zone.applyPod(ServiceKey(key), addresses: addresses)
        }
        render(keys, &state)
    }

    private func render(_ keys: Set<ServiceKey>, _ state: inout State) {
        state.changeCount &+= 1
        guard isSynced(state) else { return }
        for key in keys {
            let input = state.services[key].map {
                ServiceRecordInput(
                    $0.value, slices: (state.slices[key] ?? [:]).values.map(\.value))
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
    public init(_ service: Service, slices: [EndpointSlice]) {
        let endpoints = slices.sorted { $0.key < $1.key }.flatMap { slice in
            let ports = slice.ports.map {
                Port(name: $0.name, transport: $0.transport, port: $0.port)
            }
            return slice.endpoints.map {
                Endpoint(
                    addresses: Array($0.addresses), hostname: $0.hostname, isReady: $0.isReady,
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

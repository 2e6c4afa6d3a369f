import Informer
import JSON
import KubernetesAPI
import NetworkTypes

/// Keeps the v1 Endpoints of every Service that has a selector, for clients that do not know
/// EndpointSlices yet.
final class EndpointsController: Controller {
    let name = "endpoint"
    static let managedByLabel = "endpoints.kubernetes.io/managed-by"
    static let manager = "endpoint-controller"
    private let cluster: Cluster
    private let queue: WorkQueue<ObjectKey>

    init(_ cluster: Cluster) {
        self.cluster = cluster
        queue = WorkQueue("endpoint", logger: cluster.logger)
        cluster.services.onChange { [weak self] change in
            guard let self else { return }
            // Without a selector, Endpoints are somebody else's.
            if let service = change.new, service.selector == nil,
                service.metadata.deletionTimestamp == nil
            {
                return
            }
            let isByHand = cluster.endpoints.get(change.key).map { !Self.manages($0) } ?? false
            if change.new == nil, isByHand {
                queue.add(change.key, after: Self.byHandPause)
            } else {
                queue.add(change.key)
            }
        }
        cluster.pods.onChange { [weak self] change in
            guard let self, PodEndpointState(change.old) != PodEndpointState(change.new) else {
                return
            }
            for key in cluster.servicesSelecting(change.old, change.new) { queue.add(key) }
        }
        cluster.endpoints.onChange { [weak self] change in
            // Endpoints by hand may be there before their Service: those are nobody's yet.
            guard let self, let record = change.old ?? change.new,
                Self.manages(record) || cluster.services.get(change.key) != nil
            else { return }
            queue.add(change.key)
        }
    }

    /// Endpoints by hand outlive their Service for so long: the manifest that has both is deleted
    /// object by object, and kubectl calls the second one missing otherwise.
    private static let byHandPause: Duration = .seconds(5)

    private static func manages(_ record: EndpointsRecord) -> Bool {
        record.metadata.labels[managedByLabel] == manager
    }

    var counters: WorkQueueCounters { queue.counters }

    func run() async {
        await queue.run(workers: 2) { [self] key in try await reconcile(key) }
    }

    private func reconcile(_ key: ObjectKey) async throws {
        let present = cluster.endpoints.get(key)
        guard let service = cluster.services.get(key), service.metadata.deletionTimestamp == nil
        else {
            // As in Kubernetes, Endpoints go with their Service, whoever wrote them; but those of a
            // name that never was a Service's (leader election of old) are left alone.
            guard let present, EndpointsObject.belongsToService(present) else { return }
            return try await delete(key)
        }
        guard service.type != .externalName, service.selector != nil else { return }
        let computation = ServiceEndpoints(service: service) { [cluster] in
            cluster.nodes.get(ObjectKey(name: $0))?.node
        }
        let selector = LabelSelector(matchLabels: service.selector ?? [:])
        let pods = cluster.pods(inNamespace: key.namespace, matching: selector)
        guard let write = EndpointsObject.make(computation, pods: pods, present: present) else {
            return
        }
        let written =
            switch write {
            case .create(let object): try await cluster.client.create(.endpoints, object)
            case .patch(let patch):
                try await cluster.client.patch(
                    .endpoints, namespace: key.namespace, name: key.name, subresource: nil,
                    type: .merge, patch)
            }
        try await cluster.endpoints.waitUntilSeen(written["metadata", "resourceVersion"]?.string)
    }

    private func delete(_ key: ObjectKey) async throws {
        do {
            try await cluster.client.delete(
                .endpoints, namespace: key.namespace, name: key.name, options: nil)
        } catch let error as StatusError where error.isNotFound {}
        try await cluster.endpoints.wait(for: key) { $0 == nil }
    }
}

/// The v1 Endpoints of a Service.
enum EndpointsObject {
    /// Kubernetes cuts Endpoints at this many addresses.
    static let addressLimit = 1000
    private static let overCapacity = "endpoints.kubernetes.io/over-capacity"

    private struct Address {
        var text: String
        var isReady: Bool
        var json: JSONValue
    }

    /// What has to be written.
    enum Write: Equatable {
        case create(JSONValue)
        /// A merge patch.
        case patch(JSONValue)
    }

    /// True for Endpoints that a controller or a person wrote for a Service, as against locks of
    /// leader elections, which old clients kept in Endpoints.
    static func belongsToService(_ endpoints: EndpointsRecord) -> Bool {
        endpoints.metadata.annotations["control-plane.alpha.kubernetes.io/leader"] == nil
    }

    /// The write that brings the Endpoints up to date, or nil where `present` says the same.
    static func make(
        _ computation: ServiceEndpoints, pods: [PodSummary], present: EndpointsRecord?
    ) -> Write? {
        let service = computation.service
        let (subsets, isTruncated) = subsets(computation, pods)
        var labels = service.metadata.labels
        labels[EndpointsController.managedByLabel] = EndpointsController.manager
        labels[Service.headlessLabel] = service.isHeadless ? "" : nil
        var annotations = present?.metadata.annotations ?? [:]
        annotations[overCapacity] = isTruncated ? "truncated" : nil
        guard let present else {
            var object: JSONValue = [
                "apiVersion": "v1", "kind": "Endpoints",
                "metadata": [
                    "name": .string(service.metadata.name),
                    "namespace": .string(service.metadata.namespace), "labels": JSONValue(labels),
                ],
            ]
            if !annotations.isEmpty { object["metadata", "annotations"] = JSONValue(annotations) }
            if !subsets.isEmpty { object["subsets"] = .array(subsets) }
            return .create(object)
        }
        let isSame =
            present.metadata.labels == labels && present.metadata.annotations == annotations
            && present.digest == EndpointsRecord.digest(of: .array(subsets))
        if isSame { return nil }
        return .patch([
            "metadata": [
                "uid": .string(present.metadata.uid),
                "resourceVersion": .string(present.metadata.resourceVersion),
                "labels": changes(from: present.metadata.labels, to: labels),
                "annotations": changes(from: present.metadata.annotations, to: annotations),
            ],
            "subsets": subsets.isEmpty ? .null : .array(subsets),
        ])
    }

    /// A merge patch of a map: what is gone is null.
    private static func changes(from old: [String: String], to new: [String: String]) -> JSONValue {
        var patch = JSONValue(new)
        for key in old.keys.sorted() where new[key] == nil { patch[key] = .some(.null) }
        return patch
    }

    /// One subset for each set of ports, addresses of the primary family in order.
    private static func subsets(
        _ computation: ServiceEndpoints, _ pods: [PodSummary]
    ) -> (subsets: [JSONValue], isTruncated: Bool) {
        let family = computation.families.first ?? .ipv4
        var byPorts: [[SlicePort]: [(IPAddress, Address)]] = [:]
        for pod in pods where computation.isEligible(pod) && !pod.isTerminating {
            guard let address = pod.podIPs.first(where: { $0.family == family }) else { continue }
            let ports = computation.ports(of: pod)
            byPorts[ports, default: []].append((address, entry(computation, pod, address)))
        }
        var room = addressLimit
        let total = byPorts.values.reduce(0) { $0 + $1.count }
        var subsets: [JSONValue] = []
        let ordered = byPorts.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        for (ports, addresses) in ordered {
            // Ready addresses are the last to be cut.
            let sorted = addresses.sorted {
                ($0.1.isReady ? 0 : 1, $0.0) < ($1.1.isReady ? 0 : 1, $1.0)
            }
            let kept = sorted.prefix(room).map(\.1)
            room -= kept.count
            guard !kept.isEmpty else { continue }
            var subset: JSONValue = [:]
            let ready = kept.filter(\.isReady).map(\.json)
            let notReady = kept.filter { !$0.isReady }.map(\.json)
            if !ready.isEmpty { subset["addresses"] = .array(ready) }
            if !notReady.isEmpty { subset["notReadyAddresses"] = .array(notReady) }
            if !ports.isEmpty { subset["ports"] = .array(ports.map(port)) }
            subsets.append(subset)
        }
        return (subsets, total > addressLimit)
    }

    private static func entry(
        _ computation: ServiceEndpoints, _ pod: PodSummary, _ address: IPAddress
    ) -> Address {
        var json: JSONValue = ["ip": .string(address.description)]
        if let hostname = computation.hostname(of: pod) { json["hostname"] = .string(hostname) }
        if !pod.nodeName.isEmpty { json["nodeName"] = .string(pod.nodeName) }
        json["targetRef"] = [
            "kind": "Pod", "name": .string(pod.metadata.name),
            "namespace": .string(pod.metadata.namespace), "uid": .string(pod.metadata.uid),
        ]
        let isReady = computation.service.publishNotReadyAddresses || pod.isReady
        return Address(text: address.description, isReady: isReady, json: json)
    }

    private static func port(_ port: SlicePort) -> JSONValue {
        var json: JSONValue = [:]
        if !port.name.isEmpty { json["name"] = .string(port.name) }
        json["port"] = .integer(Int64(port.port))
        json["protocol"] = .string(port.transport.rawValue)
        if let appProtocol = port.appProtocol { json["appProtocol"] = .string(appProtocol) }
        return json
    }
}

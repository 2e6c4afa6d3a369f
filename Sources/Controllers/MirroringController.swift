import Informer
import JSON
import KubernetesAPI
import NetworkTypes

/// Mirrors Endpoints that were written by hand for a Service without a selector into slices, which
/// is what proxies and DNS read (KEP-752).
final class MirroringController: Controller {
    let name = "endpointslicemirroring"
    static let manager = "endpointslicemirroring-controller.k8s.io"
    private let cluster: Cluster
    private let queue: WorkQueue<ObjectKey>

    init(_ cluster: Cluster) {
        self.cluster = cluster
        queue = WorkQueue("endpointslicemirroring", logger: cluster.logger)
        cluster.services.onChange { [weak self] change in
            // Endpoints or slices that come later are told of below.
            if cluster.endpoints.isSynced, cluster.endpoints.get(change.key) == nil,
                cluster.hasNoSlices(change.key)
            {
                return
            }
            self?.queue.add(change.key)
        }
        cluster.endpoints.onChange { [weak self] change in self?.queue.add(change.key) }
        cluster.endpointSlices.onChange { [weak self] change in
            guard let slice = change.new ?? change.old,
                slice.metadata.labels[SliceRecord.managedByLabel] == Self.manager,
                let service = slice.metadata.labels[SliceRecord.serviceNameLabel]
            else { return }
            self?.queue.add(ObjectKey(namespace: slice.metadata.namespace, name: service))
        }
    }

    var counters: WorkQueueCounters { queue.counters }

    func run() async {
        await queue.run(workers: 2) { [self] key in
            let existing = cluster.endpointSlices.objects(SliceRecord.entry(key))
                .filter { $0.metadata.labels[SliceRecord.managedByLabel] == Self.manager }
            let plan = Self.plan(
                service: cluster.services.get(key), endpoints: cluster.endpoints.get(key),
                existing: existing)
            try await cluster.apply(plan, generateName: "\(key.name)-")
        }
    }

    /// The slices that mirror `endpoints`, against those that are there.
    static func plan(
        service: Service?, endpoints: EndpointsRecord?, existing: [SliceRecord]
    ) -> SlicePlan {
        guard let service, let endpoints, isMirrored(endpoints), service.selector == nil,
            service.type != .externalName, service.metadata.deletionTimestamp == nil
        else {
            return SlicePlan(deletes: existing.map(\.key))
        }
        var template = ObjectMeta(name: "", namespace: service.metadata.namespace)
        template.labels = endpoints.metadata.labels
        template.labels[SliceRecord.serviceNameLabel] = service.metadata.name
        template.labels[SliceRecord.managedByLabel] = manager
        template.annotations = endpoints.metadata.annotations
        template.annotations["kubectl.kubernetes.io/last-applied-configuration"] = nil
        let packer = SlicePacker(
            endpointLimit: 1000, template: template,
            owner: .controller(.endpoints, endpoints.metadata))
        return packer.plan(desired: groups(endpoints), existing: existing)
    }

    private static func isMirrored(_ endpoints: EndpointsRecord) -> Bool {
        let labels = endpoints.metadata.labels
        return labels["endpointslice.kubernetes.io/skip-mirror"] != "true"
            && labels[EndpointsController.managedByLabel] == nil
            && EndpointsObject.belongsToService(endpoints)
            && endpoints.metadata.deletionTimestamp == nil
    }

    private static func groups(_ endpoints: EndpointsRecord) -> [SlicePacker.Group: [SliceEndpoint]]
    {
        var groups: [SlicePacker.Group: [SliceEndpoint]] = [:]
        var seen: [SlicePacker.Group: Set<String>] = [:]
        for subset in endpoints.json?["subsets"]?.array ?? [] {
            let ports = (subset["ports"]?.array ?? []).map(SlicePort.init(json:)).sorted()
            for (member, isReady) in [("addresses", true), ("notReadyAddresses", false)] {
                for entry in subset[member]?.array ?? [] {
                    guard let address = entry["ip"]?.string.flatMap({ IPAddress($0) }) else {
                        continue
                    }
                    let group = SlicePacker.Group(
                        addressType: address.family.rawValue, ports: ports)
                    guard seen[group, default: []].insert(address.description).inserted else {
                        continue
                    }
                    groups[group, default: []].append(endpoint(entry, address, isReady: isReady))
                }
            }
        }
        return groups
    }

    private static func endpoint(
        _ entry: JSONValue, _ address: IPAddress, isReady: Bool
    ) -> SliceEndpoint {
        var endpoint = SliceEndpoint(address: address.description, isReady: isReady)
        endpoint.hostname = entry["hostname"]?.string.flatMap { $0.isEmpty ? nil : $0 }
        endpoint.nodeName = entry["nodeName"]?.string
        endpoint.target = SliceEndpoint(json: entry).target
        return endpoint
    }
}

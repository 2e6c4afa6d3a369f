import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import Synchronization

/// Keeps the EndpointSlices of every Service that has a selector (KEP-752).
final class EndpointSliceController: Controller {
    let name = "endpointslice"
    static let manager = "endpointslice-controller.k8s.io"
    /// Annotation from which proxies reckon their programming latency.
    static let triggerAnnotation = "endpoints.kubernetes.io/last-change-trigger-time"

    private let cluster: Cluster
    private let queue: WorkQueue<ObjectKey>
    /// When the oldest change came that a Service's slices do not reflect yet.
    private let triggers = Mutex<[ObjectKey: Timestamp]>([:])

    init(_ cluster: Cluster) {
        self.cluster = cluster
        queue = WorkQueue("endpointslice", logger: cluster.logger)
        cluster.services.onChange { [weak self] change in
            if change.old?.selector == nil, change.new?.selector == nil,
                cluster.hasNoSlices(change.key)
            {
                return
            }
            self?.add(change.key)
        }
        cluster.pods.onChange { [weak self] change in self?.podChanged(change.old, change.new) }
        cluster.nodes.onChange { [weak self] change in
            let isSame =
                change.old != nil && change.new != nil
                && change.old?.node.zone == change.new?.node.zone
            if !isSame { self?.nodeChanged(change.key.name) }
        }
        cluster.endpointSlices.onChange { [weak self] change in self?.sliceChanged(change) }
    }

    var counters: WorkQueueCounters { queue.counters }

    func run() async {
        await queue.run(workers: 4) { [self] key in try await reconcile(key) }
    }

    // MARK: - What a change concerns

    private func add(_ key: ObjectKey) {
        let now = cluster.now()
        triggers.withLock { $0[key] = min($0[key] ?? now, now) }
        queue.add(key)
    }

    private func podChanged(_ old: PodSummary?, _ new: PodSummary?) {
        guard PodEndpointState(old) != PodEndpointState(new) else { return }
        for key in cluster.servicesSelecting(old, new) { add(key) }
    }

    private func nodeChanged(_ name: String) {
        for pod in cluster.pods.objects("node:\(name)") {
            for key in cluster.servicesSelecting(pod, nil) { add(key) }
        }
    }

    /// A slice that somebody else changed or deleted is set right again.
    private func sliceChanged(_ change: Source<SliceRecord>.Change) {
        guard let slice = change.new ?? change.old,
            slice.metadata.labels[SliceRecord.managedByLabel] == Self.manager,
            let service = slice.metadata.labels[SliceRecord.serviceNameLabel]
        else { return }
        queue.add(ObjectKey(namespace: slice.metadata.namespace, name: service))
    }

    // MARK: - Reconciling

    private func reconcile(_ key: ObjectKey) async throws {
        let trigger = triggers.withLock { $0.removeValue(forKey: key) }
        do {
            try await cluster.apply(plan(key, trigger), generateName: "\(key.name)-")
        } catch {
            if let trigger {
                triggers.withLock { $0[key] = min($0[key] ?? trigger, trigger) }
            }
            throw error
        }
    }

    private func plan(_ key: ObjectKey, _ trigger: Timestamp?) -> SlicePlan {
        let existing = cluster.endpointSlices.objects(SliceRecord.entry(key))
            .filter { $0.metadata.labels[SliceRecord.managedByLabel] == Self.manager }
        guard let service = cluster.services.get(key),
            service.metadata.deletionTimestamp == nil,
            service.selector != nil, service.type != .externalName
        else {
            return SlicePlan(deletes: existing.map(\.key))
        }
        let computation = ServiceEndpoints(service: service) { [cluster] in
            cluster.nodes.get(ObjectKey(name: $0))?.node
        }
        let selector = LabelSelector(matchLabels: service.selector ?? [:])
        let pods = cluster.pods(inNamespace: key.namespace, matching: selector)
        var template = ObjectMeta(name: "", namespace: key.namespace)
        template.labels = service.sliceLabels(managedBy: Self.manager)
        if let trigger { template.annotations[Self.triggerAnnotation] = trigger.microTimeText }
        let packer = SlicePacker(
            template: template, owner: .controller(.services, service.metadata),
            placeholderTypes: computation.families.map(\.rawValue))
        return packer.plan(desired: computation.groups(pods: pods), existing: existing)
    }
}

/// What of a pod matters to Services' endpoints.
struct PodEndpointState: Hashable {
    var pod: PodSummary?

    init(_ pod: PodSummary?) {
        self.pod = pod
        self.pod?.metadata.resourceVersion = ""
        self.pod?.metadata.generation = 0
        self.pod?.conditions = [pod?.condition("Ready")].compactMap(\.self)
        self.pod?.restartCount = 0
    }
}

extension Cluster {
    /// True where a Service is known to have no slices: slices that come later are told of.
    func hasNoSlices(_ service: ObjectKey) -> Bool {
        endpointSlices.isSynced && endpointSlices.count(SliceRecord.entry(service)) == 0
    }

    /// The Services whose selector matches a pod as it was or as it is.
    func servicesSelecting(_ old: PodSummary?, _ new: PodSummary?) -> Set<ObjectKey> {
        var keys: Set<ObjectKey> = []
        var seen: [String: String]?
        for pod in [old, new].compactMap(\.self) {
            if seen == pod.metadata.labels { continue }
            seen = pod.metadata.labels
            for (key, value) in pod.metadata.labels {
                let entry = "selector:\(pod.metadata.namespace)/\(key)=\(value)"
                for service in services.objects(entry) where service.selects(pod.metadata.labels) {
                    keys.insert(service.key)
                }
            }
        }
        return keys
    }

    /// Writes a plan and waits until the cache shows it. The writes go out together, so that the
    /// store syncs them together.
    func apply(_ plan: SlicePlan, generateName: String) async throws {
        if plan.isEmpty { return }
        let client = client
        let revision = try await withThrowingTaskGroup(of: JSONValue.self) { group in
            for slice in plan.creates {
                group.addTask {
                    try await client.create(
                        .endpointSlices, slice.json(generateName: generateName))
                }
            }
            for slice in plan.updates {
                group.addTask {
                    try await client.update(
                        .endpointSlices, slice.json(generateName: generateName), subresource: nil)
                }
            }
            for key in plan.deletes {
                group.addTask {
                    do {
                        try await client.delete(
                            .endpointSlices, namespace: key.namespace, name: key.name, options: nil)
                    } catch let error as StatusError where error.isNotFound {}
                    return .null
                }
            }
            return try await group.reduce(into: Int64(0)) { revision, written in
                let version = written["metadata", "resourceVersion"]?.string
                revision = max(revision, version.flatMap { Int64($0) } ?? 0)
            }
        }
        try await endpointSlices.waitUntilSeen(String(revision))
        for key in plan.deletes {
            try await endpointSlices.wait(for: key) {
                $0 == nil || $0?.metadata.deletionTimestamp != nil
            }
        }
    }
}

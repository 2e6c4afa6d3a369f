import Informer
import JSON
import KubernetesAPI

/// Keeps the status of PodDisruptionBudgets, by which the API server allows or refuses evictions.
final class DisruptionController: Controller {
    let name = "disruption"
    private let cluster: Cluster
    private let budgets: Source<Object>
    private let queue: WorkQueue<ObjectKey>
    private let recorder: EventRecorder

    init(_ cluster: Cluster) {
        self.cluster = cluster
        queue = WorkQueue("disruption", logger: cluster.logger)
        budgets = Source(.podDisruptionBudgets, client: cluster.client, logger: cluster.logger)
        recorder = EventRecorder(
            client: cluster.client, component: "controllermanager", logger: cluster.logger,
            now: cluster.now)
        budgets.onChange { [weak self] change in self?.queue.add(change.key) }
        cluster.pods.onChange { [weak self] change in
            for pod in [change.old, change.new].compactMap(\.self) { self?.podChanged(pod) }
        }
        for source in [cluster.deployments, cluster.replicaSets] {
            source.onChange { [weak self] change in
                let (old, new) = (
                    change.old?["spec"]?["replicas"], change.new?["spec"]?["replicas"]
                )
                if old != new { self?.replicasChanged(change.key.namespace) }
            }
        }
    }

    var counters: WorkQueueCounters { queue.counters }
    var sources: [any AnySource] { [budgets] }

    private func podChanged(_ pod: PodSummary) {
        for budget in budgets.objects(inNamespace: pod.metadata.namespace)
        where DisruptionBudget.selects(budget.json, pod.metadata.labels) {
            queue.add(budget.key)
        }
    }

    private func replicasChanged(_ namespace: String) {
        for budget in budgets.objects(inNamespace: namespace) { queue.add(budget.key) }
    }

    func run() async {
        await queue.run(workers: 1) { [self] key in try await reconcile(key) }
    }

    private func reconcile(_ key: ObjectKey) async throws {
        guard let budget = budgets.get(key) else { return }
        let pods = cluster.pods.objects(inNamespace: key.namespace).filter {
            DisruptionBudget.selects(budget.json, $0.metadata.labels)
        }
        // Budgets that count need no controllers; for others theirs are read beforehand.
        let needsScale =
            budget["spec"]?["maxUnavailable"] != nil
            || budget["spec"]?["minAvailable"]?.string != nil
        let scale = needsScale ? try await expectation(pods) : (.count(0), unmanaged: [])
        let plan = DisruptionPlan(budget, pods: pods, expected: { scale.0 }, now: cluster.now())
        if let seconds = plan.recheckSeconds {
            queue.add(key, after: .milliseconds(Int(seconds * 1000) + 100))
        }
        guard plan.status != budget["status"] else { return }
        var object = budget.json
        object["status"] = plan.status
        let written = try await cluster.client.update(
            .podDisruptionBudgets, object, subresource: "status")
        tell(budget, plan, scale)
        try await budgets.waitUntilSeen(written["metadata", "resourceVersion"]?.string)
    }

    private func tell(
        _ budget: Object, _ plan: DisruptionPlan,
        _ scale: (DisruptionPlan.Expectation, unmanaged: [String])
    ) {
        let reference = ObjectReference(.podDisruptionBudgets, budget.metadata)
        if case .unknown(let message) = scale.0 {
            cluster.event(
                .warning, "CalculateExpectedPodCountFailed",
                "Failed to calculate the number of expected pods: \(message)", reference,
                by: recorder)
        }
        if !scale.unmanaged.isEmpty {
            cluster.event(
                .warning, "UnmanagedPods",
                "Pods selected by this PodDisruptionBudget (selector: "
                    + "\(budget["spec"]?["selector"]?.serializedText ?? "")) were found to be "
                    + "unmanaged. As a result, the status of the PDB cannot be calculated "
                    + "correctly, which may result in undefined behavior. To account for these "
                    + "pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
                reference, by: recorder)
        }
        for name in plan.overdue {
            cluster.event(
                .warning, "NotDeleted",
                "Pod was expected by PDB \(budget.key.namespace)/\(budget.key.name) to be deleted "
                    + "but it wasn't",
                ObjectReference(
                    .pods, ObjectKey(namespace: budget.key.namespace, name: name)), by: recorder)
        }
    }

    // MARK: - How many pods there should be

    /// The sum of the replicas of the pods' controllers, and the pods that have none.
    private func expectation(
        _ pods: [PodSummary]
    ) async throws -> (DisruptionPlan.Expectation, unmanaged: [String]) {
        var replicas: [String: Int64] = [:]
        var unmanaged: [String] = []
        for pod in pods {
            guard let owner = pod.controller else {
                unmanaged.append(pod.metadata.name)
                continue
            }
            if replicas[owner.uid] != nil { continue }
            do {
                let scale = try await scale(of: owner, in: pod.metadata.namespace)
                replicas[owner.uid] = 0
                replicas[scale.uid] = scale.replicas
            } catch let error as StatusError where error.isNotFound {
                return (
                    .unknown("found no controllers for pod \"\(pod.metadata.name)\""), unmanaged
                )
            }
        }
        return (.count(replicas.values.reduce(0, +)), unmanaged)
    }

    /// The uid and the replicas of whoever decides about an owner's pods: a ReplicaSet's Deployment,
    /// otherwise the owner itself.
    /// - Throws: 404 where it is gone or has no scale.
    private func scale(
        of owner: OwnerReference, in namespace: String
    ) async throws -> (uid: String, replicas: Int64) {
        func amount(_ object: JSONValue) -> Int64 { object["spec", "replicas"]?.integer ?? 1 }
        switch owner.kind {
        case "ReplicaSet":
            let key = ObjectKey(namespace: namespace, name: owner.name)
            guard let set = cluster.replicaSets.get(key), set.metadata.uid == owner.uid else {
                throw StatusError.notFound(.replicaSets, name: owner.name)
            }
            guard let parent = OwnerReference.list(of: set.json).first(where: \.isController),
                parent.kind == "Deployment"
            else { return (owner.uid, amount(set.json)) }
            let place = ObjectKey(namespace: namespace, name: parent.name)
            guard let deployment = cluster.deployments.get(place) else {
                throw StatusError.notFound(.deployments, name: parent.name)
            }
            return (parent.uid, amount(deployment.json))
        case "StatefulSet", "ReplicationController":
            let resource: Resource =
                owner.kind == "StatefulSet" ? .statefulSets : .replicationControllers
            let object = try await cluster.client.get(
                resource, namespace: namespace, name: owner.name)
            return (owner.uid, amount(object))
        default:
            throw StatusError.notFound(.deployments, name: owner.name)
        }
    }
}

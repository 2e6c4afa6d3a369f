import Informer
import JSON
import KubernetesAPI

/// Keeps as many pods as each ReplicaSet asks for.
final class ReplicaSetController: Controller {
    let name = "replicaset"
    private let cluster: Cluster
    private let queue: WorkQueue<ObjectKey>

    init(_ cluster: Cluster) {
        self.cluster = cluster
        queue = WorkQueue("replicaset", logger: cluster.logger)
        cluster.replicaSets.onChange { [weak self] change in self?.queue.add(change.key) }
        cluster.pods.onChange { [weak self] change in self?.podChanged(change.old, change.new) }
    }

    var counters: WorkQueueCounters { queue.counters }

    func run() async {
        await queue.run(workers: 4) { [self] key in try await reconcile(key) }
    }

    private func podChanged(_ old: PodSummary?, _ new: PodSummary?) {
        for pod in [old, new].compactMap(\.self) {
            let namespace = pod.metadata.namespace
            if let owner = pod.controller {
                guard owner.kind == "ReplicaSet" else { continue }
                queue.add(ObjectKey(namespace: namespace, name: owner.name))
            } else {
                // An orphan may be adopted by any set that matches it.
                for set in cluster.replicaSets.objects(inNamespace: namespace)
                where LabelSelector(json: set["spec"]?["selector"] ?? [:])
                    .matches(pod.metadata.labels)
                {
                    queue.add(set.key)
                }
            }
        }
    }

    private func reconcile(_ key: ObjectKey) async throws {
        guard let set = cluster.replicaSets.get(key) else { return }
        let selector = LabelSelector(json: set["spec"]?["selector"] ?? [:])
        let owned = cluster.pods.objects("owner:\(set.metadata.uid)")
            .filter { $0.controller?.uid == set.metadata.uid }
        var perNode: [String: Int] = [:]
        for pod in owned where pod.isActive { perNode[pod.nodeName, default: 0] += 1 }
        let plan = ReplicaSetPlan(
            set, owned: owned,
            matching: cluster.pods(inNamespace: key.namespace, matching: selector),
            podsOnNode: { perNode[$0] ?? 0 }, now: cluster.now())
        let owner = OwnerReference.controller(.replicaSets, set.metadata)
        for pod in plan.adopts { try await cluster.setOwners(pod.owners + [owner], of: pod) }
        for pod in plan.releases {
            try await cluster.setOwners(pod.owners.filter { $0.uid != owner.uid }, of: pod)
        }
        if plan.createCount > 0 || !plan.deletes.isEmpty {
            // The pods that come and go bring the key back, and the status is written then.
            do {
                try await cluster.createPods(
                    PodTemplate.pod(
                        set["spec"]?["template"] ?? [:], owner: owner, namespace: key.namespace),
                    count: plan.createCount, for: ObjectReference(.replicaSets, set.metadata))
                try await cluster.deletePods(
                    plan.deletes, for: ObjectReference(.replicaSets, set.metadata))
            } catch {
                try await updateStatus(set, plan.status)
                throw error
            }
        } else {
            try await updateStatus(set, plan.status)
        }
        if let seconds = plan.recheckSeconds {
            queue.add(key, after: .milliseconds(Int(max(0.01, seconds) * 1000)))
        }
    }

    private func updateStatus(_ set: Object, _ status: JSONValue) async throws {
        var wanted = status
        // A conditions list is somebody else's to write.
        wanted["conditions"] = set["status"]?["conditions"]
        guard set["status"] != wanted else { return }
        var object = set.json
        object["status"] = wanted
        let written = try await cluster.client.update(.replicaSets, object, subresource: "status")
        try await cluster.replicaSets.waitUntilSeen(
            written["metadata", "resourceVersion"]?.string)
    }
}

// MARK: - Writing pods

extension Cluster {
    /// Replaces the owner references of a pod, if it is still the same pod.
    func setOwners(_ owners: [OwnerReference], of pod: PodSummary) async throws {
        let written = try await client.patch(
            .pods, namespace: pod.metadata.namespace, name: pod.metadata.name, subresource: nil,
            type: .merge,
            [
                "metadata": [
                    "uid": .string(pod.metadata.uid),
                    "resourceVersion": .string(pod.metadata.resourceVersion),
                    "ownerReferences": owners.isEmpty ? .null : .array(owners.map(\.json)),
                ]
            ])
        try await pods.waitUntilSeen(written["metadata", "resourceVersion"]?.string)
    }

    /// Makes `count` pods and waits until the cache shows them. The first is made alone, so that
    /// a template that the server refuses costs one request, not hundreds.
    func createPods(
        _ pod: JSONValue, count: Int, for owner: ObjectReference
    ) async throws {
        guard count > 0 else { return }
        do {
            let first = try await createPod(pod, for: owner)
            let revision = try await withThrowingTaskGroup(of: Int64.self) { group in
                for _ in 1..<max(count, 1) {
                    group.addTask { try await self.createPod(pod, for: owner) }
                }
                return try await group.reduce(first) { max($0, $1) }
            }
            try await pods.waitUntilSeen(String(revision))
        } catch let error as StatusError {
            event(.warning, "FailedCreate", "Error creating: \(error.message)", owner)
            throw error
        }
    }

    private func createPod(_ pod: JSONValue, for owner: ObjectReference) async throws -> Int64 {
        let written = try await client.create(.pods, pod)
        let name = written["metadata", "name"]?.string ?? ""
        event(.normal, "SuccessfulCreate", "Created pod: \(name)", owner)
        let version = written["metadata", "resourceVersion"]?.string
        return version.flatMap { Int64($0) } ?? 0
    }

    /// Deletes pods and waits until the cache shows them terminating or gone.
    func deletePods(_ doomed: [PodSummary], for owner: ObjectReference) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for pod in doomed {
                group.addTask {
                    try await self.deletePod(pod)
                    self.event(
                        .normal, "SuccessfulDelete", "Deleted pod: \(pod.metadata.name)", owner)
                }
            }
            try await group.waitForAll()
        }
    }

    /// Deletes one pod, unless another has its name by now.
    /// - Parameter graceSeconds: nil for the pod's own.
    func deletePod(_ pod: PodSummary, graceSeconds: Int? = nil) async throws {
        var options: JSONValue = [
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": ["uid": .string(pod.metadata.uid)],
        ]
        if let graceSeconds { options["gracePeriodSeconds"] = .integer(Int64(graceSeconds)) }
        do {
            try await client.delete(
                .pods, namespace: pod.metadata.namespace, name: pod.metadata.name,
                options: options)
        } catch let error as StatusError where error.isNotFound || error.isConflict {
            return
        }
        try await pods.wait(for: pod.key) {
            $0 == nil || $0?.isTerminating == true || $0?.metadata.uid != pod.metadata.uid
        }
    }
}

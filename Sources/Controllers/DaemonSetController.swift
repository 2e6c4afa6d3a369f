import Informer
import JSON
import KubernetesAPI

/// Keeps one pod of each DaemonSet on every node that it selects.
final class DaemonSetController: Controller {
    let name = "daemonset"
    private let cluster: Cluster
    private let queue: WorkQueue<ObjectKey>
    private let revisions: Source<Object>

    init(_ cluster: Cluster) {
        self.cluster = cluster
        revisions = Source(
            .controllerRevisions, client: cluster.client, logger: cluster.logger,
            indexed: Cluster.ownerEntries)
        queue = WorkQueue("daemonset", logger: cluster.logger)
        cluster.daemonSets.onChange { [weak self] change in self?.queue.add(change.key) }
        cluster.nodes.onChange { [weak self] change in
            let isSame =
                change.old?.metadata.labels == change.new?.metadata.labels
                && change.old?.node.taints == change.new?.node.taints
                && change.old != nil && change.new != nil
            if isSame { return }
            for set in cluster.daemonSets.objects { self?.queue.add(set.key) }
        }
        cluster.pods.onChange { [weak self] change in
            for pod in [change.old, change.new].compactMap(\.self) {
                guard let owner = pod.controller, owner.kind == "DaemonSet" else { continue }
                self?.queue.add(ObjectKey(namespace: pod.metadata.namespace, name: owner.name))
            }
        }
    }

    var counters: WorkQueueCounters { queue.counters }
    var sources: [any AnySource] { [revisions] }

    func run() async {
        await queue.run(workers: 2) { [self] key in try await reconcile(key) }
    }

    private func reconcile(_ key: ObjectKey) async throws {
        guard let set = cluster.daemonSets.get(key), set.metadata.deletionTimestamp == nil else {
            return
        }
        let selector = LabelSelector(json: set["spec"]?["selector"] ?? [:])
        let owned = cluster.pods.objects("owner:\(set.metadata.uid)")
            .filter { $0.controller?.uid == set.metadata.uid }
        let plan = DaemonSetPlan(
            set, nodes: cluster.nodes.objects, owned: owned,
            matching: cluster.pods(inNamespace: key.namespace, matching: selector),
            now: cluster.now())
        try await keepHistory(set, hash: plan.hash, pods: owned)
        let owner = OwnerReference.controller(.daemonSets, set.metadata)
        let reference = ObjectReference(.daemonSets, set.metadata)
        for pod in plan.adopts { try await cluster.setOwners(pod.owners + [owner], of: pod) }
        try await cluster.deletePods(plan.deletes, for: reference)
        for node in plan.creates.sorted() {
            try await cluster.createPods(
                DaemonSetPlan.pod(set, node: node, hash: plan.hash), count: 1, for: reference)
        }
        guard plan.creates.isEmpty, plan.deletes.isEmpty else { return }
        let waits = plan.status["numberReady"] != (plan.status["numberAvailable"] ?? 0)
        if waits { queue.add(key, after: .seconds(1)) }
        var wanted = plan.status
        wanted["conditions"] = set["status"]?["conditions"]
        wanted["collisionCount"] = set["status"]?["collisionCount"]
        guard wanted != set["status"] else { return }
        var object = set.json
        object["status"] = wanted
        let written = try await cluster.client.update(.daemonSets, object, subresource: "status")
        try await cluster.daemonSets.waitUntilSeen(
            written["metadata", "resourceVersion"]?.string)
    }

    private func keepHistory(_ set: Object, hash: String, pods: [PodSummary]) async throws {
        let namespace = set.metadata.namespace
        let history = RevisionHistory(
            set, hash: hash, revisions: revisions.objects("owner:\(set.metadata.uid)"),
            living: Set(pods.compactMap { $0.metadata.labels[DaemonSetPlan.hashLabel] }))
        var written: JSONValue?
        if let revision = history.create {
            written = try await cluster.client.create(.controllerRevisions, revision)
        }
        if let (name, number) = history.renumber {
            written = try await cluster.client.patch(
                .controllerRevisions, namespace: namespace, name: name, subresource: nil,
                type: .merge, ["revision": .integer(number)])
        }
        try await revisions.waitUntilSeen(written?["metadata", "resourceVersion"]?.string)
        for name in history.deletes {
            do {
                try await cluster.client.delete(
                    .controllerRevisions, namespace: namespace, name: name, options: nil)
            } catch let error as StatusError where error.isNotFound {
                continue
            }
        }
    }
}

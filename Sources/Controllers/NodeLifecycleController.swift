import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import Synchronization

/// Watches nodes by their Leases (KEP-589): a silent node becomes Ready=Unknown and tainted, its
/// pods leave the endpoints at once and the node after their toleration; a node that comes back
/// gets all of it undone. Also gives nodes their pod CIDR and removes the pods of deleted nodes.
final class NodeLifecycleController: Controller {
    let name = "node-lifecycle"
    static let leaseNamespace = "kube-node-lease"
    /// Reason on the Ready condition of pods whose node fell silent.
    static let podReason = "NodeNotReady"

    private struct Observation {
        var renewTime = ""
        var seen: ContinuousClock.Instant
        var durationSeconds: Int?
    }

    private let cluster: Cluster
    private let podCIDRs: [Prefix]
    private let blockLengths: [IPAddress.Family: Int]
    private let queue: WorkQueue<String>
    private let leases: Source<Object>
    /// By the clock of this process: the node's own clock may be wrong.
    private let observations = Mutex<[String: Observation]>([:])
    /// Nodes that this process has seen deleted: their pods go at once.
    private let deleted = Mutex<Set<String>>([])

    init(_ cluster: Cluster, podCIDRs: [Prefix], blockLengths: [IPAddress.Family: Int]) {
        self.cluster = cluster
        self.podCIDRs = podCIDRs
        self.blockLengths = blockLengths
        queue = WorkQueue("node-lifecycle", logger: cluster.logger)
        leases = Source(
            .leases, client: cluster.client, options: ListOptions(namespace: Self.leaseNamespace),
            logger: cluster.logger)
        leases.onChange { [weak self] change in self?.leaseChanged(change) }
        cluster.nodes.onChange { [weak self] change in self?.nodeChanged(change) }
        cluster.pods.onChange { [weak self] change in
            guard let self, let pod = change.new, !pod.nodeName.isEmpty else { return }
            let node = cluster.nodes.get(ObjectKey(name: pod.nodeName))?.node
            if node?.isReady != true
                || node?.taints.contains(where: { $0.effect == "NoExecute" })
                    == true
            {
                queue.add(pod.nodeName)
            }
        }
    }

    var counters: WorkQueueCounters { queue.counters }
    var sources: [any AnySource] { [leases] }

    func run() async {
        for pod in cluster.pods.objects { queue.add(pod.nodeName) }
        // One worker: pod CIDRs are given out one after another.
        await queue.run(workers: 1) { [self] name in
            if !name.isEmpty { try await reconcile(name) }
        }
    }

    private func nodeChanged(_ change: Source<NodeRecord>.Change) {
        let name = change.key.name
        if change.new == nil {
            observations.withLock { _ = $0.removeValue(forKey: name) }
            deleted.withLock { _ = $0.insert(name) }
        } else if change.old == nil {
            deleted.withLock { _ = $0.remove(name) }
        }
        queue.add(name)
    }

    // MARK: - Leases

    private func leaseChanged(_ change: Source<Object>.Change) {
        let name = change.key.name
        guard let lease = change.new else { return queue.add(name) }
        let renewTime = lease["spec"]?["renewTime"]?.string ?? ""
        let isNew = observations.withLock { observations in
            let isNew = observations[name]?.renewTime != renewTime
            if isNew {
                observations[name] = Observation(
                    renewTime: renewTime, seen: .now,
                    durationSeconds: lease["spec"]?["leaseDurationSeconds"]?.int)
            }
            return isNew
        }
        // A healthy node's renewals change nothing; its timer looks again in due time.
        if isNew, cluster.nodes.get(ObjectKey(name: name))?.node.isReady != true {
            queue.add(name)
        }
    }

    /// What is left of the node's grace; negative when it has run out.
    private func remaining(_ name: String) -> Duration {
        observations.withLock { observations in
            let observation = observations[name] ?? Observation(seen: .now)
            observations[name] = observation
            let limit = observation.durationSeconds ?? NodeHealth.graceSeconds
            return .seconds(limit) - (ContinuousClock.now - observation.seen)
        }
    }

    // MARK: - Reconciling

    private func reconcile(_ name: String) async throws {
        guard let node = cluster.nodes.get(ObjectKey(name: name)) else {
            return try await removePods(of: name)
        }
        let remaining = remaining(name)
        let isSilent = remaining <= .zero
        if !isSilent { queue.add(name, after: remaining + .milliseconds(1)) }
        if let conditions = NodeHealth.conditions(
            node, isSilent: isSilent, now: cluster.now())
        {
            if isSilent {
                event(.normal, "NodeNotReady", "Node \(name) status is now: NodeNotReady", node)
            }
            var object = node.json
            object["status", "conditions"] = .array(conditions)
            try await write(object, subresource: "status")
            return queue.add(name)
        }
        var object = node.json
        if let taints = NodeHealth.taints(node, now: cluster.now()) {
            object["spec", "taints"] = taints.isEmpty ? nil : .array(taints)
        }
        assignPodCIDRs(node, &object)
        if object != node.json {
            try await write(object, subresource: nil)
            return queue.add(name)
        }
        try await treatPods(of: node)
    }

    private func write(_ object: JSONValue, subresource: String?) async throws {
        let written = try await cluster.client.update(.nodes, object, subresource: subresource)
        try await cluster.nodes.waitUntilSeen(written["metadata", "resourceVersion"]?.string)
    }

    private func assignPodCIDRs(_ node: NodeRecord, _ object: inout JSONValue) {
        guard node.node.podCIDRs.isEmpty, !podCIDRs.isEmpty else { return }
        let taken = cluster.nodes.objects.flatMap(\.node.podCIDRs)
        let blocks = podCIDRs.compactMap { range in
            blockLengths[range.family].flatMap { length in
                PodCIDRPlan.block(
                    of: range, length: length, node: node.metadata.name, taken: taken)
            }
        }
        guard let first = blocks.first, blocks.count == podCIDRs.count else {
            event(
                .warning, "CIDRNotAvailable",
                "Node \(node.metadata.name) status is now: CIDRNotAvailable", node)
            return
        }
        object["spec", "podCIDR"] = .string(first.description)
        object["spec", "podCIDRs"] = .array(blocks.map { .string($0.description) })
    }

    // MARK: - Pods

    /// Pods of a deleted node go at once; those of a name that no node has had yet wait for it
    /// as long as a node may be silent.
    private func removePods(of name: String) async throws {
        let pods = cluster.pods.objects("node:\(name)")
        if pods.isEmpty {
            deleted.withLock { _ = $0.remove(name) }
            observations.withLock { _ = $0.removeValue(forKey: name) }
            return
        }
        if !deleted.withLock({ $0.contains(name) }) {
            let remaining = remaining(name)
            if remaining > .zero { return queue.add(name, after: remaining + .milliseconds(1)) }
        }
        for pod in pods { try await cluster.deletePod(pod, graceSeconds: 0) }
    }

    private func treatPods(of node: NodeRecord) async throws {
        let taints = node.json["spec", "taints"]?.array ?? []
        let isReady = node.node.isReady
        let now = cluster.now()
        for pod in cluster.pods.objects("node:\(node.metadata.name)") where !pod.isFinished {
            try await setReady(pod, isNodeReady: isReady, now: now)
            guard !pod.isTerminating,
                let moment = NodeHealth.evictionTime(pod, taints: taints, now: now)
            else { continue }
            if moment <= now {
                cluster.event(
                    .normal, "TaintManagerEviction", "Marking for deletion Pod \(pod.key)",
                    ObjectReference(.pods, pod.metadata))
                try await cluster.deletePod(pod)
            } else {
                let wait = moment.secondsSince(now)
                queue.add(node.metadata.name, after: .milliseconds(Int(wait * 1000) + 1))
            }
        }
    }

    /// Takes a pod out of the endpoints when its node is not ready, and puts it back where its
    /// containers were ready all the time.
    private func setReady(_ pod: PodSummary, isNodeReady: Bool, now: Timestamp) async throws {
        guard let ready = pod.condition("Ready") else { return }
        let isMarked = ready.reason == Self.podReason
        let wanted: Bool
        if !isNodeReady, ready.isTrue {
            wanted = false
        } else if isNodeReady, isMarked, !ready.isTrue,
            pod.condition("ContainersReady")?.isTrue == true
        {
            wanted = true
        } else {
            return
        }
        do {
            let written = try await cluster.client.patch(
                .pods, namespace: pod.metadata.namespace, name: pod.metadata.name,
                subresource: "status", type: .strategicMerge,
                [
                    "metadata": ["uid": .string(pod.metadata.uid)],
                    "status": [
                        "conditions": [
                            [
                                "type": "Ready", "status": wanted ? "True" : "False",
                                "reason": wanted ? .null : .string(Self.podReason),
                                "lastTransitionTime": .string(now.description),
                            ]
                        ]
                    ],
                ])
            try await cluster.pods.waitUntilSeen(written["metadata", "resourceVersion"]?.string)
        } catch let error as StatusError where error.isNotFound {
            return
        }
    }

    private func event(
        _ type: EventRecorder.EventType, _ reason: String, _ message: String, _ node: NodeRecord
    ) {
        cluster.event(type, reason, message, ObjectReference(.nodes, node.metadata))
    }
}

import JSON
import KubernetesAPI

/// Where pods are and where the next one goes: a value that the scheduler updates with each change
/// and asks for decisions. It counts pods it has just placed before the API server shows them.
struct SchedulerState {
    /// What became of a pod.
    enum Decision: Equatable {
        case node(String)
        /// The message of the FailedScheduling event.
        case none(String)
    }

    /// Pods with the same one are spread: the controller that made them, or equal labels.
    private enum Group: Hashable {
        case owner(String)
        case labels(String, [String: String])
    }

    private struct Placement {
        var node: String
        var group: Group?
        var hostPorts: [PodSummary.ContainerPort]
    }

    private struct NodeUse {
        var pods = 0
        var groups: [Group: Int] = [:]
        var hostPorts: [PodSummary.ContainerPort] = []
    }

    private(set) var nodes: [String: NodeRecord] = [:]
    private var placements: [ObjectKey: Placement] = [:]
    private var use: [String: NodeUse] = [:]

    /// kubelet's default of `--max-pods`, for nodes that report no capacity.
    static let defaultPodLimit = 110

    mutating func set(_ node: NodeRecord?, named name: String) { nodes[name] = node }

    /// Counts a pod where it is. A pod that has left is no longer counted.
    mutating func set(_ pod: PodSummary?, _ key: ObjectKey) {
        guard let pod, !pod.isFinished else { return remove(key) }
        // A cached pod without a node may be older than our own binding of it.
        if pod.nodeName.isEmpty { return }
        place(pod, on: pod.nodeName)
    }

    /// Forgets a placement whose binding failed.
    mutating func remove(_ key: ObjectKey) {
        guard let placement = placements.removeValue(forKey: key),
            var entry = use.removeValue(forKey: placement.node)
        else { return }
        entry.pods -= 1
        if let group = placement.group {
            entry.groups[group, default: 1] -= 1
            if entry.groups[group] == 0 { entry.groups[group] = nil }
        }
        for port in placement.hostPorts {
            if let index = entry.hostPorts.firstIndex(of: port) {
                entry.hostPorts.remove(at: index)
            }
        }
        if entry.pods > 0 { use[placement.node] = entry }
    }

    /// Chooses a node and counts the pod there.
    mutating func decide(_ pod: PodSummary) -> Decision {
        if nodes.isEmpty { return .none("no nodes available to schedule pods") }
        var reasons: [String: Int] = [:]
        var best: (rank: (Int, Int, String), name: String)?
        let group = Self.group(of: pod)
        for (name, record) in nodes {
            let entry = use[name]
            if let reason = refusal(pod, record, entry) {
                reasons[reason, default: 0] += 1
                continue
            }
            let same = group.flatMap { entry?.groups[$0] } ?? 0
            let rank = (same, entry?.pods ?? 0, name)
            if best.map({ rank < $0.rank }) ?? true { best = (rank, name) }
        }
        guard let best else {
            let list = reasons.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
            return .none(
                "0/\(nodes.count) nodes are available: \(list.joined(separator: ", ")).")
        }
        place(pod, on: best.name)
        return .node(best.name)
    }

    private mutating func place(_ pod: PodSummary, on node: String) {
        if placements[pod.key]?.node == node { return }
        remove(pod.key)
        let placement = Placement(
            node: node, group: Self.group(of: pod), hostPorts: pod.ports.filter { $0.hostPort > 0 })
        placements[pod.key] = placement
        var entry = use.removeValue(forKey: node) ?? NodeUse()
        entry.pods += 1
        if let group = placement.group { entry.groups[group, default: 0] += 1 }
        entry.hostPorts += placement.hostPorts
        use[node] = entry
    }

    private static func group(of pod: PodSummary) -> Group? {
        if let owner = pod.controller { return .owner(owner.uid) }
        return pod.metadata.labels.isEmpty
            ? nil : .labels(pod.metadata.namespace, pod.metadata.labels)
    }

    /// Why the node cannot take the pod, in kube-scheduler's words; nil where it can.
    private func refusal(_ pod: PodSummary, _ record: NodeRecord, _ use: NodeUse?) -> String? {
        let node = record.node
        let constraints = pod.constraints
        if node.isUnschedulable, !constraints.tolerates("node.kubernetes.io/unschedulable") {
            return "node(s) were unschedulable"
        }
        if let taint = constraints.untoleratedTaint(of: node, effects: ["NoSchedule", "NoExecute"])
        {
            let text = taint.value.isEmpty ? taint.key : "\(taint.key): \(taint.value)"
            return "node(s) had untolerated taint {\(text)}"
        }
        if !constraints.selects(node) {
            return "node(s) didn't match Pod's node affinity/selector"
        }
        // Taints follow the condition within moments; a node that is not ready takes none but
        // those that tolerate it.
        if !node.isReady, !constraints.tolerates("node.kubernetes.io/not-ready") {
            return "node(s) were not ready"
        }
        let limit =
            record.json["status", "allocatable", "pods"]
            .flatMap { $0.int ?? $0.string.flatMap { Int($0) } } ?? Self.defaultPodLimit
        if (use?.pods ?? 0) >= limit { return "Too many pods" }
        let hasConflict = pod.ports.contains { port in
            port.hostPort > 0
                && use?.hostPorts.contains { Self.conflicts(port, $0) } ?? false
        }
        return hasConflict
            ? "node(s) didn't have free ports for the requested pod ports" : nil
    }

    private static func conflicts(
        _ left: PodSummary.ContainerPort, _ right: PodSummary.ContainerPort
    ) -> Bool {
        let wildcards: Set<String> = ["", "0.0.0.0", "::"]
        return left.hostPort == right.hostPort && left.transport == right.transport
            && (left.hostIP == right.hostIP || wildcards.contains(left.hostIP)
                || wildcards.contains(right.hostIP))
    }
}

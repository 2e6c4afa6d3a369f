import Informer
import JSON
import KubernetesAPI

/// What the state of its Lease means for a Node: pure functions.
enum NodeHealth {
    static let unreachable = "node.kubernetes.io/unreachable"
    static let notReady = "node.kubernetes.io/not-ready"
    static let unschedulable = "node.kubernetes.io/unschedulable"
    /// Reason of the conditions that this controller set because the node fell silent.
    static let silentReason = "NodeStatusUnknown"
    /// kube-controller-manager's `--node-monitor-grace-period`, for nodes that never had a Lease.
    static let graceSeconds = 40
    /// Tolerations that pods without their own are taken to have
    /// (the DefaultTolerationSeconds admission plugin).
    static let defaultTolerationSeconds = 300

    /// The conditions a Node should have, or nil where they are right.
    static func conditions(_ node: NodeRecord, isSilent: Bool, now: Timestamp) -> [JSONValue]? {
        let before = Conditions(of: node.json)
        var conditions = before
        for type in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
            guard let present = before[type] else { continue }
            let isMarked = present["reason"]?.string == silentReason
            if isSilent, !isMarked {
                conditions.set(
                    type, "Unknown", reason: silentReason,
                    message: "Kubelet stopped posting node status.", now: now)
            } else if !isSilent, isMarked {
                // The Lease is renewed again: the node will say more with its next status.
                conditions.set(
                    type, type == "Ready" ? "True" : "False", reason: "KubeletReady",
                    message: "The node renews its Lease again.", now: now)
            }
        }
        if isSilent, before["Ready"] == nil {
            conditions.set(
                "Ready", "Unknown", reason: "NodeStatusNeverUpdated",
                message: "Kubelet never posted node status.", now: now)
        }
        return conditions == before ? nil : conditions.list
    }

    /// The taints a Node should have, or nil where they are right. Taints of others stay.
    static func taints(_ node: NodeRecord, now: Timestamp) -> [JSONValue]? {
        let before = node.json["spec", "taints"]?.array ?? []
        var wanted: [(key: String, effect: String)] = []
        switch node.condition("Ready")?["status"]?.string {
        case "Unknown": wanted = [(unreachable, "NoSchedule"), (unreachable, "NoExecute")]
        case "False": wanted = [(notReady, "NoSchedule"), (notReady, "NoExecute")]
        default: break
        }
        if node.node.isUnschedulable { wanted.append((unschedulable, "NoSchedule")) }
        let own: Set<String> = [unreachable, notReady, unschedulable]
        var taints = before.filter { taint in
            guard let key = taint["key"]?.string, own.contains(key) else { return true }
            return wanted.contains { $0.key == key && $0.effect == taint["effect"]?.string }
        }
        for (key, effect) in wanted
        where !taints.contains(where: {
            $0["key"]?.string == key && $0["effect"]?.string == effect
        }) {
            taints.append([
                "key": .string(key), "effect": .string(effect),
                "timeAdded": .string(now.description),
            ])
        }
        return taints == before ? nil : taints
    }

    /// When the NoExecute taints of a node drive a pod away; nil for never.
    static func evictionTime(_ pod: PodSummary, taints: [JSONValue], now: Timestamp) -> Timestamp? {
        var earliest: Timestamp?
        for json in taints where json["effect"]?.string == "NoExecute" {
            let key = json["key"]?.string ?? ""
            let value = json["value"]?.string ?? ""
            let matching = pod.constraints.tolerations.filter {
                $0.tolerates(key: key, value: value, effect: "NoExecute")
            }
            let added = json["timeAdded"]?.string.flatMap { Timestamp($0) } ?? now
            let seconds: Int
            if matching.isEmpty {
                let isNodeState = key == unreachable || key == notReady
                seconds = isNodeState ? defaultTolerationSeconds : 0
            } else if matching.contains(where: { $0.tolerationSeconds == nil }) {
                continue
            } else {
                seconds = matching.compactMap(\.tolerationSeconds).min() ?? 0
            }
            let moment = added.adding(seconds: Double(max(0, seconds)))
            earliest = min(earliest ?? moment, moment)
        }
        return earliest
    }
}

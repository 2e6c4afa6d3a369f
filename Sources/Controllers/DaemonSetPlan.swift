import Informer
import JSON
import KubernetesAPI

/// What a DaemonSet needs done: a pure function of the set, the nodes and its pods.
struct DaemonSetPlan {
    /// Nodes that need a pod.
    var creates: [String] = []
    var deletes: [PodSummary] = []
    var adopts: [PodSummary] = []
    var status: JSONValue = [:]
    let hash: String

    /// Label that tells pods of different templates apart.
    static let hashLabel = "controller-revision-hash"

    init(
        _ set: Object, nodes: [NodeRecord], owned: [PodSummary], matching: [PodSummary],
        now: Timestamp
    ) {
        let template = set["spec"]?["template"] ?? [:]
        hash = PodTemplate.hash(template)
        guard set.metadata.deletionTimestamp == nil else { return }
        adopts = matching.filter { $0.controller == nil && $0.isActive }
        let constraints = Self.constraints(template)
        let minReadySeconds = set["spec"]?["minReadySeconds"]?.int ?? 0
        var byNode: [String: [PodSummary]] = [:]
        for pod in owned + adopts { byNode[Self.targetNode(of: pod), default: []].append(pod) }
        let eligible = nodes.filter { Self.shouldRun(constraints, on: $0) }
        let eligibleNames = Set(eligible.map(\.metadata.name))
        var counts = (current: 0, ready: 0, available: 0, updated: 0, misplaced: 0)
        var outdated: [PodSummary] = []
        for node in eligible {
            let pods = byNode[node.metadata.name] ?? []
            // Finished pods are made anew; they would hold the node's place for ever.
            deletes += pods.filter { $0.isFinished && !$0.isTerminating }
            let living = pods.filter { !$0.isFinished }
            let active = living.filter { !$0.isTerminating }.sorted(by: Self.isPreferred)
            deletes += active.dropFirst()
            guard let pod = active.first else {
                // The place is free when the old pod has ended.
                if living.isEmpty { creates.append(node.metadata.name) }
                continue
            }
            counts.current += 1
            if pod.isReady { counts.ready += 1 }
            if pod.isAvailable(minReadySeconds: minReadySeconds, now: now) {
                counts.available += 1
            }
            if pod.metadata.labels[Self.hashLabel] == hash {
                counts.updated += 1
            } else {
                outdated.append(pod)
            }
        }
        for (name, pods) in byNode where !eligibleNames.contains(name) {
            let active = pods.filter(\.isActive)
            // A pod that is not bound yet keeps its place in the scheduler's queue.
            counts.misplaced += active.isEmpty ? 0 : 1
            if Self.mustLeave(constraints, nodes.first { $0.metadata.name == name }) {
                deletes += active
            }
        }
        roll(set, outdated, eligible.count, unavailable: eligible.count - counts.available)
        fillStatus(set, eligible.count, counts)
    }

    /// RollingUpdate takes down as many old pods as `maxUnavailable` allows; pods that are not
    /// available anyway come first and cost nothing.
    private mutating func roll(
        _ set: Object, _ outdated: [PodSummary], _ total: Int, unavailable: Int
    ) {
        let strategy = set["spec"]?["updateStrategy"]
        guard strategy?["type"]?.string != "OnDelete" else { return }
        let limit =
            IntOrPercent.resolve(
                strategy?["rollingUpdate"]?["maxUnavailable"] ?? 1, of: total, roundsUp: true) ?? 1
        deletes += outdated.filter { !$0.isReady }
        var budget = max(1, limit) - unavailable
        for pod in outdated where pod.isReady && budget > 0 {
            deletes.append(pod)
            budget -= 1
        }
    }

    private mutating func fillStatus(
        _ set: Object, _ desired: Int,
        _ counts: (current: Int, ready: Int, available: Int, updated: Int, misplaced: Int)
    ) {
        status = [
            "currentNumberScheduled": .integer(Int64(counts.current)),
            "numberMisscheduled": .integer(Int64(counts.misplaced)),
            "desiredNumberScheduled": .integer(Int64(desired)),
            "numberReady": .integer(Int64(counts.ready)),
            "observedGeneration": .integer(set.metadata.generation),
        ]
        let optional = [
            ("updatedNumberScheduled", counts.updated), ("numberAvailable", counts.available),
            ("numberUnavailable", desired - counts.available),
        ]
        for (key, count) in optional where count > 0 { status[key] = .integer(Int64(count)) }
    }

    // MARK: - Nodes

    /// The tolerations that every daemon pod gets (as kube-controller-manager adds them).
    static let tolerations: [JSONValue] = [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ].map { key, effect in
        ["key": .string(key), "operator": "Exists", "effect": .string(effect)]
    }

    /// The pod for one node: bound by affinity to its name, so that the scheduler has the last
    /// word.
    static func pod(_ set: Object, node: String, hash: String) -> JSONValue {
        let template = set["spec"]?["template"] ?? [:]
        var pod = PodTemplate.pod(
            template, owner: .controller(.daemonSets, set.metadata),
            namespace: set.metadata.namespace, extraLabels: [hashLabel: hash])
        let present = template["spec", "tolerations"]?.array ?? []
        var added = tolerations
        if template["spec", "hostNetwork"]?.bool == true {
            added.append([
                "key": "node.kubernetes.io/network-unavailable", "operator": "Exists",
                "effect": "NoSchedule",
            ])
        }
        pod["spec", "tolerations"] = .array(present + added.filter { !present.contains($0) })
        let field: JSONValue = [
            "key": "metadata.name", "operator": "In", "values": [.string(node)],
        ]
        let path = [
            "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
            "nodeSelectorTerms",
        ]
        let terms = pod.value(at: path)?.array ?? [[:]]
        pod.set(
            .array(
                terms.map { term in
                    var term = term
                    term["matchFields"] = [field]
                    return term
                }), at: path)
        return pod
    }

    /// The node a pod is on or bound for.
    static func targetNode(of pod: PodSummary) -> String {
        if !pod.nodeName.isEmpty { return pod.nodeName }
        let requirement = pod.constraints.affinityTerms?.first?.fields.requirements.first {
            $0.key == "metadata.name"
        }
        return requirement?.values.first ?? ""
    }

    private static func constraints(_ template: JSONValue) -> SchedulingConstraints {
        var spec = template["spec"] ?? [:]
        spec["tolerations"] = .array((spec["tolerations"]?.array ?? []) + tolerations)
        return SchedulingConstraints(podSpec: spec)
    }

    private static func shouldRun(_ constraints: SchedulingConstraints, on node: NodeRecord)
        -> Bool
    {
        constraints.selects(node.node)
            && constraints.untoleratedTaint(of: node.node, effects: ["NoSchedule", "NoExecute"])
                .map { Self.isTransient($0.key) } ?? true
    }

    /// A node that is down for a while keeps its daemon pods.
    private static func isTransient(_ taint: String) -> Bool {
        taint == NodeHealth.notReady || taint == NodeHealth.unreachable
    }

    private static func mustLeave(_ constraints: SchedulingConstraints, _ node: NodeRecord?)
        -> Bool
    {
        guard let node else { return true }
        return !constraints.selects(node.node)
            || constraints.untoleratedTaint(of: node.node, effects: ["NoExecute"])
                .map { !Self.isTransient($0.key) } ?? false
    }

    private static func isPreferred(_ left: PodSummary, _ right: PodSummary) -> Bool {
        let ranks = [left, right].map { pod in
            (pod.nodeName.isEmpty ? 1 : 0, pod.isReady ? 0 : 1, pod.metadata.creationTimestamp)
        }
        return ranks[0] < ranks[1]
    }
}

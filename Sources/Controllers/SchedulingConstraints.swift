import JSON
import KubernetesAPI

/// What a pod spec says about the nodes it may run on: nodeSelector, required node affinity and
/// tolerations. Decoded once, so that placing a pod reads no JSON.
struct SchedulingConstraints: Hashable, Sendable {
    var nodeSelector: [String: String]
    /// Terms of `requiredDuringSchedulingIgnoredDuringExecution`: one of them must hold.
    /// nil where there is no such rule; an empty list matches no node, as in Kubernetes.
    var affinityTerms: [Term]?
    var tolerations: [Toleration]
    var usesHostNetwork: Bool

    struct Term: Hashable, Sendable {
        var labels: LabelSelector
        /// `matchFields`, of which Kubernetes knows `metadata.name` only.
        var fields: LabelSelector

        func matches(_ node: Node) -> Bool {
            // A term without any requirement matches nothing (core/v1 NodeSelectorTerm).
            guard !labels.requirements.isEmpty || !fields.requirements.isEmpty else {
                return false
            }
            return labels.matches(node.metadata.labels)
                && fields.matches(["metadata.name": node.metadata.name])
        }
    }

    struct Toleration: Hashable, Sendable {
        var key: String
        var isExists: Bool
        var value: String
        /// Empty for every effect.
        var effect: String
        var tolerationSeconds: Int?

        func tolerates(_ taint: Node.Taint) -> Bool {
            tolerates(key: taint.key, value: taint.value, effect: taint.effect)
        }

        func tolerates(key taint: String, value taintValue: String = "", effect: String) -> Bool {
            guard self.effect.isEmpty || self.effect == effect else { return false }
            guard key.isEmpty || key == taint else { return false }
            if key.isEmpty && !isExists { return false }
            return isExists || value == taintValue
        }
    }

    init(podSpec spec: JSONValue) {
        nodeSelector = spec["nodeSelector"]?.stringMap ?? [:]
        let required =
            spec["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"]
        affinityTerms = required.map { required in
            (required["nodeSelectorTerms"]?.array ?? []).map { term in
                Term(
                    labels: LabelSelector(json: ["matchExpressions": term["matchExpressions"] ?? []]
                    ),
                    fields: LabelSelector(json: ["matchExpressions": term["matchFields"] ?? []]))
            }
        }
        tolerations = (spec["tolerations"]?.array ?? []).map { value in
            Toleration(
                key: value["key"]?.string ?? "", isExists: value["operator"]?.string == "Exists",
                value: value["value"]?.string ?? "", effect: value["effect"]?.string ?? "",
                tolerationSeconds: value["tolerationSeconds"]?.int)
        }
        usesHostNetwork = spec["hostNetwork"]?.bool ?? false
    }

    /// True where labels and affinity allow the node.
    func selects(_ node: Node) -> Bool {
        guard nodeSelector.allSatisfy({ node.metadata.labels[$0.key] == $0.value }) else {
            return false
        }
        return affinityTerms.map { $0.contains { $0.matches(node) } } ?? true
    }

    /// True where a toleration covers a NoSchedule taint of `key`.
    func tolerates(_ key: String) -> Bool {
        tolerations.contains { $0.tolerates(key: key, effect: "NoSchedule") }
    }

    /// The first taint with one of `effects` that no toleration covers; nil if there is none.
    func untoleratedTaint(of node: Node, effects: Set<String>) -> Node.Taint? {
        node.taints.first { taint in
            effects.contains(taint.effect) && !tolerations.contains { $0.tolerates(taint) }
        }
    }
}

import JSON
import KubernetesAPI

/// What a node's own identity may do (system:node:NAME of group system:nodes): read what its
/// components follow and what its pods need, write what a node writes, and that for itself only.
/// The rules follow the node authorizer, widened by what proxy, DNS and speaker read.
struct NodeRules {
    private static let readable: [String: Set<String>] = [
        "": [
            "services", "endpoints", "nodes", "pods", "namespaces", "serviceaccounts", "events",
        ],
        "discovery.k8s.io": ["endpointslices"],
        "events.k8s.io": ["events"],
        "networking.k8s.io": ["servicecidrs", "ipaddresses", "networkpolicies"],
        "metallb.io": [
            "ipaddresspools", "l2advertisements", "bgpadvertisements", "bgppeers", "bfdprofiles",
            "communities", "servicel2statuses", "servicebgpstatuses",
        ],
        "coordination.k8s.io": ["leases"],
        "apps": ["daemonsets", "replicasets"],
    ]

    /// What the components of every node follow by name, whichever pods it has: the configurations
    /// of proxy, DNS and address pools, and the secrets that speakers sign with.
    private static let components: [String: Set<ObjectKey>] = [
        "configmaps": [
            ObjectKey(namespace: "kube-system", name: "coredns"),
            ObjectKey(namespace: "kube-system", name: "kube-proxy"),
            ObjectKey(namespace: "metallb-system", name: "config"),
        ],
        "secrets": [
            ObjectKey(namespace: "kube-system", name: "portolan-speaker"),
            ObjectKey(namespace: "metallb-system", name: "memberlist"),
        ],
    ]

    private static let leaseNamespace = "kube-node-lease"

    let node: String
    let pods: BoundPods

    func decide(_ question: AccessAttributes) -> AccessDecision {
        guard question.isResource else { return .noOpinion }
        let reason: String?
        if ["get", "list", "watch"].contains(question.verb) {
            reason = readReason(question)
        } else {
            reason = writeReason(question)
        }
        return reason.map { .allowed("node authorizer: \($0)") } ?? .noOpinion
    }

    private func readReason(_ question: AccessAttributes) -> String? {
        if question.group.isEmpty, question.subresource.isEmpty,
            ["secrets", "configmaps"].contains(question.resource)
        {
            return referenceReason(question)
        }
        return Self.readable[question.group]?.contains(question.resource) == true ? "read" : nil
    }

    /// Secrets and ConfigMaps are read one by one, by name: lists and watches select theirs by
    /// `metadata.name`.
    private func referenceReason(_ question: AccessAttributes) -> String? {
        guard let namespace = question.namespace, !question.name.isEmpty else { return nil }
        let key = ObjectKey(namespace: namespace, name: question.name)
        if Self.components[question.resource]?.contains(key) == true {
            return "what its components follow"
        }
        let isNeeded = pods.contains(node: node, namespace: namespace) { references in
            let names =
                question.resource == "secrets" ? references.secrets : references.configMaps
            return names.contains(question.name)
        }
        return isNeeded ? "what its pods need" : nil
    }

    private func writeReason(_ question: AccessAttributes) -> String? {
        let isChange = question.verb == "update" || question.verb == "patch"
        switch (question.group, question.resource, question.subresource) {
        case ("", "nodes", ""), ("", "nodes", "status"):
            // Which node is created, admission looks at: the path does not say.
            if question.verb == "create", question.subresource.isEmpty { return "its own node" }
            return isChange && question.name == node ? "its own node" : nil
        case ("", "pods", "status") where isChange,
            ("", "pods", "") where question.verb == "delete":
            return pods.node(namespace: question.namespace ?? "", name: question.name) == node
                ? "its own pod" : nil
        case ("", "events", ""), ("events.k8s.io", "events", ""):
            return isChange || question.verb == "create" ? "events" : nil
        case ("coordination.k8s.io", "leases", ""):
            guard question.namespace == Self.leaseNamespace else { return nil }
            if question.verb == "create" { return "its own lease" }
            return (isChange || question.verb == "delete") && question.name == node
                ? "its own lease" : nil
        case ("metallb.io", "servicel2statuses", _): return "what its speaker announces"
        case ("", "serviceaccounts", "token"):
            guard question.verb == "create" else { return nil }
            let isUsed = pods.contains(node: node, namespace: question.namespace ?? "") {
                $0.serviceAccount == question.name
            }
            return isUsed ? "a token of its pods" : nil
        case ("authentication.k8s.io", "tokenreviews", ""),
            ("authorization.k8s.io", "subjectaccessreviews", ""):
            return question.verb == "create" ? "delegated authentication" : nil
        default: return nil
        }
    }
}

/// What a node may write but not in any way it likes (the admission plugin NodeRestriction).
enum NodeRestriction {
    /// Labels that only administrators set, by which they keep pods off nodes.
    private static let labelPrefix = "node-restriction.kubernetes.io/"

    /// Why the node may not make this write; nil where it may.
    /// - Parameter old: nil on create.
    static func fault(
        _ resource: Resource, old: JSONValue?, new: JSONValue, subresource: String, node: String
    ) -> String? {
        let name = new["metadata", "name"]?.string ?? ""
        switch resource {
        case .nodes:
            if name != node { return "node \"\(node)\" is not allowed to modify node \"\(name)\"" }
            let (before, after) = (old?["metadata", "labels"], new["metadata", "labels"])
            let keys = [before, after].flatMap { $0?.object?.keys ?? [] }
            let changed = Set(keys).filter {
                $0.hasPrefix(labelPrefix) && before?[$0] != after?[$0]
            }.sorted()
            if !changed.isEmpty {
                return "node \"\(node)\" is not allowed to modify labels: "
                    + changed.joined(separator: ", ")
            }
            if let old, subresource.isEmpty, old["spec", "taints"] != new["spec", "taints"] {
                return "node \"\(node)\" is not allowed to modify taints"
            }
        case .pods where subresource == "status":
            if old?["metadata", "labels"] != new["metadata", "labels"] {
                return "node \"\(node)\" cannot update labels through pod status"
            }
        case .leases where name != node:
            return "can only access node lease with the same name as the requesting node"
        default: break
        }
        return nil
    }
}

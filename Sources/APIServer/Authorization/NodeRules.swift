import JSON

/// What a node's own identity may do (system:node:NAME of group system:nodes): read what its
/// components follow, write what a node writes, and that for itself only. The rules follow the node
/// authorizer and NodeRestriction, widened by what proxy, DNS and speaker read.
enum NodeRules {
    private static let readable: [String: Set<String>] = [
        "": [
            "services", "endpoints", "nodes", "pods", "namespaces", "configmaps", "secrets",
            "serviceaccounts", "events",
        ],
        "discovery.k8s.io": ["endpointslices"],
        "networking.k8s.io": ["servicecidrs", "ipaddresses", "networkpolicies"],
        "metallb.io": [
            "ipaddresspools", "l2advertisements", "bgpadvertisements", "bgppeers", "bfdprofiles",
            "communities", "servicel2statuses", "servicebgpstatuses",
        ],
        "coordination.k8s.io": ["leases"],
        "apps": ["daemonsets", "replicasets"],
    ]

    /// - Parameter podNode: the node a pod is bound to, by namespace and name; nil where there is
    ///   no such pod.
    static func decide(
        _ question: AccessAttributes, node: String,
        podNode: (_ namespace: String, _ name: String) -> String?
    ) -> AccessDecision {
        guard question.isResource else { return .noOpinion }
        let isRead = ["get", "list", "watch"].contains(question.verb)
        if isRead, readable[question.group]?.contains(question.resource) == true {
            return .allowed("node authorizer: read")
        }
        switch (question.group, question.resource, question.subresource, question.verb) {
        case ("", "nodes", "", "create"): return .allowed("node authorizer: its own node")
        case ("", "nodes", "", "update"), ("", "nodes", "", "patch"),
            ("", "nodes", "status", "update"), ("", "nodes", "status", "patch"):
            return question.name == node
                ? .allowed("node authorizer: its own node") : .noOpinion
        case ("", "pods", "status", "update"), ("", "pods", "status", "patch"),
            ("", "pods", "", "delete"):
            return podNode(question.namespace ?? "", question.name) == node
                ? .allowed("node authorizer: its own pod") : .noOpinion
        case ("", "events", "", "create"), ("", "events", "", "update"),
            ("", "events", "", "patch"),
            ("events.k8s.io", "events", "", "create"), ("events.k8s.io", "events", "", "patch"),
            ("events.k8s.io", "events", "", "update"):
            return .allowed("node authorizer: events")
        case ("coordination.k8s.io", "leases", "", "create"):
            return .allowed("node authorizer: leases")
        case ("coordination.k8s.io", "leases", "", "update"),
            ("coordination.k8s.io", "leases", "", "patch"),
            ("coordination.k8s.io", "leases", "", "delete"):
            let isOwn = question.namespace != "kube-node-lease" || question.name == node
            return isOwn ? .allowed("node authorizer: leases") : .noOpinion
        case ("metallb.io", "servicel2statuses", _, "create"),
            ("metallb.io", "servicel2statuses", _, "update"),
            ("metallb.io", "servicel2statuses", _, "patch"),
            ("metallb.io", "servicel2statuses", _, "delete"):
            return .allowed("node authorizer: what its speaker announces")
        case ("metallb.io", "servicel2statuses", _, _):
            return .allowed("node authorizer: what its speaker announces")
        case ("", "serviceaccounts", "token", "create"),
            ("authentication.k8s.io", "tokenreviews", "", "create"),
            ("authorization.k8s.io", "subjectaccessreviews", "", "create"):
            return .allowed("node authorizer: delegated authentication")
        default: return .noOpinion
        }
    }
}

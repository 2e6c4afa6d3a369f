import JSON
import KubernetesAPI

/// The roles and bindings that every Kubernetes cluster has (rbac bootstrap policy), as far as they
/// concern what is served here.
enum BootstrapRoles {
    static let clusterRoleResource = Resource(
        group: "rbac.authorization.k8s.io", plural: "clusterroles", kind: "ClusterRole",
        isNamespaced: false)
    static let clusterRoleBindingResource = Resource(
        group: "rbac.authorization.k8s.io", plural: "clusterrolebindings",
        kind: "ClusterRoleBinding", isNamespaced: false)

    private static let labels: JSONValue = ["kubernetes.io/bootstrapping": "rbac-defaults"]
    private static let read = ["get", "list", "watch"]
    private static let write = [
        "create", "delete", "deletecollection", "patch", "update",
    ]

    // MARK: - Rules

    private static func rule(
        _ groups: [String], _ resources: [String], _ verbs: [String]
    ) -> JSONValue {
        [
            "apiGroups": .array(groups.map(JSONValue.string)),
            "resources": .array(resources.map(JSONValue.string)),
            "verbs": .array(verbs.map(JSONValue.string)),
        ]
    }

    private static func paths(_ paths: [String]) -> JSONValue {
        ["nonResourceURLs": .array(paths.map(JSONValue.string)), "verbs": ["get"]]
    }

    private static func role(
        _ name: String, _ rules: [JSONValue], labels extra: [String: String] = [:],
        aggregating label: String? = nil
    ) -> JSONValue {
        var labels = Self.labels
        for (key, value) in extra { labels[key] = .string(value) }
        var role: JSONValue = [
            "metadata": ["name": .string(name), "labels": labels], "rules": .array(rules),
        ]
        if let label {
            role["aggregationRule"] = [
                "clusterRoleSelectors": [["matchLabels": [label: "true"]]]
            ]
        }
        return role
    }

    private static let corePublic = [
        "bindings", "configmaps", "endpoints", "events", "limitranges", "namespaces",
        "namespaces/status", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods",
        "pods/log", "pods/status", "replicationcontrollers", "replicationcontrollers/scale",
        "replicationcontrollers/status", "resourcequotas", "resourcequotas/status",
        "serviceaccounts", "services", "services/status",
    ]
    private static let workloads = [
        "controllerrevisions", "daemonsets", "daemonsets/status", "deployments",
        "deployments/scale", "deployments/status", "replicasets", "replicasets/scale",
        "replicasets/status", "statefulsets", "statefulsets/scale", "statefulsets/status",
    ]
    private static let viewRules = [
        rule([""], corePublic, read),
        rule(["discovery.k8s.io"], ["endpointslices"], read),
        rule(["apps"], workloads, read),
        rule(["batch"], ["cronjobs", "cronjobs/status", "jobs", "jobs/status"], read),
        rule(
            ["networking.k8s.io"], ["ingresses", "ingresses/status", "networkpolicies"], read),
        rule(["policy"], ["poddisruptionbudgets", "poddisruptionbudgets/status"], read),
    ]
    private static let editRules = [
        rule(
            [""],
            [
                "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets",
                "services/proxy",
            ], read),
        rule([""], ["serviceaccounts"], ["impersonate"]),
        rule(
            [""],
            [
                "configmaps", "endpoints", "events", "persistentvolumeclaims", "pods",
                "pods/attach", "pods/exec", "pods/portforward", "pods/proxy",
                "replicationcontrollers", "replicationcontrollers/scale", "secrets",
                "serviceaccounts", "services", "services/proxy",
            ], write),
        rule([""], ["pods/eviction", "serviceaccounts/token"], ["create"]),
        rule(
            ["apps"],
            [
                "daemonsets", "deployments", "deployments/rollback", "deployments/scale",
                "replicasets", "replicasets/scale", "statefulsets", "statefulsets/scale",
            ], write),
        rule(["batch"], ["cronjobs", "jobs"], write),
        rule(["networking.k8s.io"], ["ingresses", "networkpolicies"], write),
        rule(["policy"], ["poddisruptionbudgets"], write),
        rule(["coordination.k8s.io"], ["leases"], read + write),
        rule(["discovery.k8s.io"], ["endpointslices"], write),
    ]
    private static let adminRules = [
        rule(["authorization.k8s.io"], ["localsubjectaccessreviews"], ["create"]),
        rule(
            ["rbac.authorization.k8s.io"], ["rolebindings", "roles"], read + write),
    ]

    // MARK: - Objects

    static let clusterRoles: [JSONValue] = [
        role(
            "cluster-admin",
            [rule(["*"], ["*"], ["*"]), ["nonResourceURLs": ["*"], "verbs": ["*"]]]),
        role(
            "admin", [], aggregating: "rbac.authorization.k8s.io/aggregate-to-admin"),
        role("edit", [], aggregating: "rbac.authorization.k8s.io/aggregate-to-edit"),
        role("view", [], aggregating: "rbac.authorization.k8s.io/aggregate-to-view"),
        role(
            "system:aggregate-to-admin", adminRules,
            labels: ["rbac.authorization.k8s.io/aggregate-to-admin": "true"]),
        role(
            "system:aggregate-to-edit", editRules,
            labels: [
                "rbac.authorization.k8s.io/aggregate-to-edit": "true",
                "rbac.authorization.k8s.io/aggregate-to-admin": "true",
            ]),
        role(
            "system:aggregate-to-view", viewRules,
            labels: [
                "rbac.authorization.k8s.io/aggregate-to-view": "true",
                "rbac.authorization.k8s.io/aggregate-to-edit": "true",
                "rbac.authorization.k8s.io/aggregate-to-admin": "true",
            ]),
        role(
            "system:discovery",
            [
                paths([
                    "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi",
                    "/openapi/*", "/readyz", "/version", "/version/",
                ])
            ]),
        role(
            "system:public-info-viewer",
            [paths(["/healthz", "/livez", "/readyz", "/version", "/version/"])]),
        role(
            "system:basic-user",
            [
                rule(
                    ["authorization.k8s.io"],
                    ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
                rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"]),
            ]),
        role(
            "system:auth-delegator",
            [
                rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
                rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"]),
            ]),
        role("system:monitoring", [paths(["/metrics", "/healthz", "/livez", "/readyz"])]),
        role(
            "system:service-account-issuer-discovery",
            [paths(["/.well-known/openid-configuration", "/openid/v1/jwks"])]),
        role(
            "system:node-proxier",
            [
                rule([""], ["endpoints", "services"], ["list", "watch"]),
                rule([""], ["nodes"], read), rule(["", "events.k8s.io"], ["events"], write),
                rule(["discovery.k8s.io"], ["endpointslices"], ["list", "watch"]),
                rule(["networking.k8s.io"], ["servicecidrs"], ["list", "watch"]),
            ]),
    ]

    private static func binding(_ role: String, groups: [String], users: [String] = [])
        -> JSONValue
    {
        func subject(_ kind: String, _ name: String) -> JSONValue {
            [
                "kind": .string(kind), "apiGroup": "rbac.authorization.k8s.io",
                "name": .string(name),
            ]
        }
        return [
            "metadata": ["name": .string(role), "labels": labels],
            "roleRef": [
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": .string(role),
            ],
            "subjects": .array(
                groups.map { subject("Group", $0) } + users.map { subject("User", $0) }),
        ]
    }

    static let clusterRoleBindings: [JSONValue] = [
        binding("cluster-admin", groups: ["system:masters"]),
        binding("system:discovery", groups: ["system:authenticated"]),
        binding("system:basic-user", groups: ["system:authenticated"]),
        binding(
            "system:public-info-viewer",
            groups: ["system:authenticated", "system:unauthenticated"]),
        binding("system:monitoring", groups: ["system:monitoring"]),
        binding(
            "system:service-account-issuer-discovery", groups: ["system:serviceaccounts"]),
        binding("system:node-proxier", groups: [], users: ["system:kube-proxy"]),
    ]
}

import JSON
import KubernetesAPI

/// One rule of a role (`rbac.authorization.k8s.io/v1` PolicyRule).
struct RBACRule: Sendable, Hashable {
    var verbs: [String]
    var groups: [String] = []
    var resources: [String] = []
    var resourceNames: [String] = []
    var paths: [String] = []

    init(
        verbs: [String], groups: [String] = [], resources: [String] = [],
        resourceNames: [String] = [], paths: [String] = []
    ) {
        self.verbs = verbs
        self.groups = groups
        self.resources = resources
        self.resourceNames = resourceNames
        self.paths = paths
    }

    init(json: JSONValue) {
        func list(_ name: String) -> [String] { (json[name]?.array ?? []).compactMap(\.string) }
        verbs = list("verbs")
        groups = list("apiGroups")
        resources = list("resources")
        resourceNames = list("resourceNames")
        paths = list("nonResourceURLs")
    }

    var json: JSONValue {
        var value: JSONValue = [:]
        func set(_ name: String, _ list: [String]) {
            if !list.isEmpty { value[name] = .array(list.map(JSONValue.string)) }
        }
        set("verbs", verbs)
        set("apiGroups", groups)
        set("resources", resources)
        set("resourceNames", resourceNames)
        set("nonResourceURLs", paths)
        return value
    }

    func allows(_ question: AccessAttributes) -> Bool {
        guard verbs.contains("*") || verbs.contains(question.verb) else { return false }
        guard question.isResource else {
            return paths.contains { pattern in
                pattern == "*" || pattern == question.path
                    || pattern.hasSuffix("*") && question.path.hasPrefix(pattern.dropLast())
            }
        }
        guard groups.contains("*") || groups.contains(question.group) else { return false }
        guard resourceNames.isEmpty || resourceNames.contains(question.name) else { return false }
        let path = question.resourcePath
        return resources.contains { name in
            name == "*" || name == path
                || !question.subresource.isEmpty && name == "*/\(question.subresource)"
        }
    }
}

/// Every role and binding, ready to be asked. A value: rebuilt when one of them changes.
struct RBACIndex: Sendable {
    private struct Grant: Sendable {
        var rules: [RBACRule]
        /// nil for a ClusterRoleBinding.
        var namespace: String?
        var reason: String
    }

    private var byUser: [String: [Grant]] = [:]
    private var byGroup: [String: [Grant]] = [:]
    private var clusterRules: [String: [RBACRule]] = [:]
    private var namespacedRules: [ObjectKey: [RBACRule]] = [:]

    init() {}

    init(
        clusterRoles: [JSONValue], roles: [JSONValue], clusterRoleBindings: [JSONValue],
        roleBindings: [JSONValue]
    ) {
        clusterRules = Self.clusterRules(clusterRoles)
        for role in roles {
            namespacedRules[ObjectMeta(json: role).key] = Self.rules(of: role)
        }
        for binding in clusterRoleBindings { add(binding, namespace: nil) }
        for binding in roleBindings {
            add(binding, namespace: binding["metadata", "namespace"]?.string ?? "")
        }
    }

    /// The rules of the role that a `roleRef` names; nil where there is no such role.
    func rules(ofRole reference: JSONValue, namespace: String?) -> [RBACRule]? {
        let name = reference["name"]?.string ?? ""
        return reference["kind"]?.string == "Role"
            ? namespacedRules[ObjectKey(namespace: namespace ?? "", name: name)]
            : clusterRules[name]
    }

    /// The rule that allows the request, if any; a RoleBinding counts in its own namespace only.
    func decide(_ question: AccessAttributes) -> AccessDecision {
        for grant in grants(of: question.user) {
            if let namespace = grant.namespace {
                guard question.isResource, question.namespace == namespace else { continue }
            }
            if grant.rules.contains(where: { $0.allows(question) }) {
                return .allowed("RBAC: allowed by \(grant.reason)")
            }
        }
        return .noOpinion
    }

    /// The rules that hold for the user in `namespace`, for SelfSubjectRulesReview.
    func rules(for user: UserInfo, namespace: String) -> [RBACRule] {
        grants(of: user).filter { $0.namespace == nil || $0.namespace == namespace }
            .flatMap(\.rules)
    }

    private func grants(of user: UserInfo) -> [Grant] {
        (byUser[user.name] ?? []) + user.groups.flatMap { byGroup[$0] ?? [] }
    }

    private mutating func add(_ binding: JSONValue, namespace: String?) {
        let rules = rules(ofRole: binding["roleRef"] ?? [:], namespace: namespace) ?? []
        let name = binding["metadata", "name"]?.string ?? ""
        let role = binding["roleRef", "name"]?.string ?? ""
        let roleKind = binding["roleRef", "kind"]?.string ?? ""
        let label =
            namespace.map { "RoleBinding \"\(name)/\($0)\"" } ?? "ClusterRoleBinding \"\(name)\""
        let grant = Grant(
            rules: rules, namespace: namespace, reason: "\(label) of \(roleKind) \"\(role)\"")
        for subject in binding["subjects"]?.array ?? [] {
            let who = subject["name"]?.string ?? ""
            switch subject["kind"]?.string {
            case "User": byUser[who, default: []].append(grant)
            case "Group": byGroup[who, default: []].append(grant)
            case "ServiceAccount":
                let home = subject["namespace"]?.string ?? namespace ?? ""
                byUser["system:serviceaccount:\(home):\(who)", default: []].append(grant)
            default: break
            }
        }
    }

    private static func rules(of role: JSONValue) -> [RBACRule] {
        (role["rules"]?.array ?? []).map(RBACRule.init(json:))
    }

    /// Rules by name, those of aggregated roles with the rules of the roles they select.
    private static func clusterRules(_ roles: [JSONValue]) -> [String: [RBACRule]] {
        var result: [String: [RBACRule]] = [:]
        for role in roles {
            var own = rules(of: role)
            let selectors = (role["aggregationRule", "clusterRoleSelectors"]?.array ?? [])
                .map(LabelSelector.init(json:))
            if !selectors.isEmpty {
                for other in roles {
                    let labels = other["metadata", "labels"]?.stringMap ?? [:]
                    if selectors.contains(where: { $0.matches(labels) }) {
                        own += rules(of: other)
                    }
                }
            }
            result[role["metadata", "name"]?.string ?? ""] = own
        }
        return result
    }
}

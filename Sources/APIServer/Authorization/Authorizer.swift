import JSON
import Store
import Synchronization

/// Decides every request: system:masters may do anything, everybody who is known may do what the
/// bootstrap roles and the RBAC objects allow, a node what a node does, the rest nothing.
final class Authorizer: Sendable {
    static let resources = [
        "clusterroles.rbac.authorization.k8s.io", "roles.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io",
    ]
    /// What even a caller without credentials may ask.
    static let publicPaths: Set<String> = [
        "/livez", "/readyz", "/healthz", "/version", "/version/",
    ]

    private let store: Store
    private let index = Mutex(RBACIndex())
    let pods: BoundPods

    init(store: Store) {
        self.store = store
        pods = BoundPods(store: store)
        rebuild()
    }

    func decide(_ question: AccessAttributes) -> AccessDecision {
        if question.user.groups.contains("system:masters") { return .allowed("system:masters") }
        if !question.isResource, question.verb == "get",
            Self.publicPaths.contains(where: {
                question.path == $0 || question.path.hasPrefix($0 + "/")
            })
        {
            return .allowed("public")
        }
        if let node = question.user.nodeName {
            let decision = NodeRules(node: node, pods: pods).decide(question)
            if decision.isAllowed { return decision }
        }
        return index.withLock { $0 }.decide(question)
    }

    func rules(for user: UserInfo, namespace: String) -> [RBACRule] {
        if user.groups.contains("system:masters") {
            return [
                RBACRule(json: ["verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]]),
                RBACRule(json: ["verbs": ["*"], "nonResourceURLs": ["*"]]),
            ]
        }
        return index.withLock { $0 }.rules(for: user, namespace: namespace)
    }

    /// The rules of the role that a `roleRef` names; nil where there is no such role.
    func rules(ofRole reference: JSONValue, namespace: String?) -> [RBACRule]? {
        index.withLock { $0 }.rules(ofRole: reference, namespace: namespace)
    }

    /// Reads every role and binding anew.
    func rebuild() {
        func objects(_ resource: String) -> [JSONValue] {
            store.list(resource: resource, namespace: nil).objects
                .compactMap { try? $0.decoded() }
        }
        let fresh = RBACIndex(
            clusterRoles: objects(Self.resources[0]), roles: objects(Self.resources[1]),
            clusterRoleBindings: objects(Self.resources[2]),
            roleBindings: objects(Self.resources[3]))
        index.withLock { $0 = fresh }
    }
}

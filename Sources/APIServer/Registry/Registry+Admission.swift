import JSON
import KubernetesAPI
import Store

/// What somebody may write at all, but not in every way.
extension Registry {
    /// - Parameters:
    ///   - old: nil on create.
    ///   - new: the object as it would be stored.
    /// - Throws: 403 in Kubernetes' words.
    func admit(
        _ kind: Kind, old: JSONValue?, new: JSONValue, subresource: String, user: UserInfo
    ) throws {
        if user.groups.contains("system:masters") { return }
        let resource = kind.resource
        let name = new["metadata", "name"]?.string ?? ""
        if let node = user.nodeName,
            let fault = NodeRestriction.fault(
                resource, old: old, new: new, subresource: subresource, node: node)
        {
            throw Self.refusal(resource, name, fault)
        }
        guard resource.group == Resource.roles.group, subresource.isEmpty else { return }
        switch resource {
        case .roles, .clusterRoles: try checkRole(resource, name, old: old, new: new, user)
        case .roleBindings, .clusterRoleBindings:
            try checkBinding(resource, name, old: old, new: new, user)
        default: break
        }
    }

    private static func refusal(
        _ resource: Resource, _ name: String, _ text: String
    ) -> StatusError {
        var error = StatusError.forbidden(
            "\(resource.qualifiedName) \"\(name)\" is forbidden: \(text)")
        var details: JSONValue = ["name": .string(name)]
        if !resource.group.isEmpty { details["group"] = .string(resource.group) }
        details["kind"] = .string(resource.plural)
        error.details = details
        return error
    }

    // MARK: - Pods

    /// Gives a new pod its service account and the volume with its token. The account `default`
    /// is made where its namespace does not have it yet: every namespace is to have one, and whoever
    /// makes it a moment later must not be waited for.
    func identify(_ pod: inout JSONValue, isDryRun: Bool) async throws {
        guard let kind = kinds[.serviceAccounts],
            let namespace = pod["metadata", "namespace"]?.string
        else { return }
        let name = PodIdentity.accountName(pod)
        var account = try store.get(key(kind, namespace: namespace, name: name))?.decoded()
        if account == nil, name == "default" {
            account = ["metadata": ["name": "default", "namespace": .string(namespace)]]
            let object = SentObject(json: account ?? [:])
            do {
                if !isDryRun {
                    _ = try await create(
                        kind, namespace: namespace, object, options: .internalWrite)
                }
            } catch is StatusError {
                // Its controller was faster, or the namespace takes nothing: the pod's own write
                // says so.
            }
        }
        guard let account else {
            let place = pod["metadata", "name"]?.string ?? ""
            throw Self.refusal(
                .pods, place,
                "error looking up service account \(namespace)/\(name): serviceaccount "
                    + "\"\(name)\" not found")
        }
        PodIdentity.apply(account: account, to: &pod, suffix: Self.randomSuffix())
    }

    // MARK: - RBAC

    /// Whoever writes a role must hold what it grants, or be allowed to `escalate`.
    private func checkRole(
        _ resource: Resource, _ name: String, old: JSONValue?, new: JSONValue, _ user: UserInfo
    ) throws {
        let isSame =
            old != nil && old?["rules"] == new["rules"]
            && old?["aggregationRule"] == new["aggregationRule"]
        let namespace = new["metadata", "namespace"]?.string
        if isSame || may("escalate", resource, name, namespace, user) { return }
        var wanted = (new["rules"]?.array ?? []).map(RBACRule.init(json:))
        // An aggregated role may come to grant anything.
        if new["aggregationRule"] != nil, old?["aggregationRule"] != new["aggregationRule"] {
            wanted = [
                RBACRule(verbs: ["*"], groups: ["*"], resources: ["*"]),
                RBACRule(verbs: ["*"], paths: ["*"]),
            ]
        }
        try checkHeld(wanted, resource, name, namespace, user)
    }

    /// Whoever writes a binding must hold what its role grants, or be allowed to `bind` it.
    private func checkBinding(
        _ resource: Resource, _ name: String, old: JSONValue?, new: JSONValue, _ user: UserInfo
    ) throws {
        let isSame =
            old != nil && old?["roleRef"] == new["roleRef"] && old?["subjects"] == new["subjects"]
        let namespace = new["metadata", "namespace"]?.string
        let role = new["roleRef", "name"]?.string ?? ""
        let roleResource: Resource =
            new["roleRef", "kind"] == "Role" ? .roles : .clusterRoles
        if isSame || may("bind", roleResource, role, namespace, user) { return }
        guard let wanted = access.rules(ofRole: new["roleRef"] ?? [:], namespace: namespace) else {
            throw StatusError.notFound(roleResource, name: role)
        }
        try checkHeld(wanted, resource, name, namespace, user)
    }

    private func checkHeld(
        _ wanted: [RBACRule], _ resource: Resource, _ name: String, _ namespace: String?,
        _ user: UserInfo
    ) throws {
        let held = access.rules(for: user, namespace: namespace ?? "")
        let missing = RBACEscalation.uncovered(wanted, by: held)
        guard !missing.isEmpty else { return }
        throw Self.refusal(resource, name, RBACEscalation.refusal(user, missing))
    }

    private func may(
        _ verb: String, _ resource: Resource, _ name: String, _ namespace: String?,
        _ user: UserInfo
    ) -> Bool {
        let question = AccessAttributes(
            user: user, verb: verb, resource, namespace: namespace, name: name)
        return access.decide(question).isAllowed
    }
}

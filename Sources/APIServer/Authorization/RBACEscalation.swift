/// Nobody gives away by a role or a binding what he may not do himself (Kubernetes' rule
/// validation). Rules are broken down into single rights, each of which must be held.
enum RBACEscalation {
    /// What `wanted` grants and `held` does not, put together again as far as it goes.
    static func uncovered(_ wanted: [RBACRule], by held: [RBACRule]) -> [RBACRule] {
        var missing: [RBACRule] = []
        for right in wanted.flatMap(singleRights) where !held.contains(where: { $0.covers(right) })
        {
            let twin = missing.firstIndex { known in
                var known = known
                known.verbs = right.verbs
                return known == right
            }
            if let twin {
                if !missing[twin].verbs.contains(right.verbs[0]) {
                    missing[twin].verbs += right.verbs
                }
            } else {
                missing.append(right)
            }
        }
        return missing
    }

    /// What a refusal says after the resource and name, in Kubernetes' words.
    static func refusal(_ user: UserInfo, _ missing: [RBACRule]) -> String {
        "user \"\(user.name)\" (groups=\(quoted(user.groups))) is attempting to grant RBAC "
            + "permissions not currently held:\n"
            + missing.map(text).sorted().joined(separator: "\n")
    }

    private static func text(_ rule: RBACRule) -> String {
        let parts = [
            ("APIGroups", rule.groups), ("Resources", rule.resources),
            ("NonResourceURLs", rule.paths), ("ResourceNames", rule.resourceNames),
            ("Verbs", rule.verbs),
        ]
        return "{"
            + parts.filter { !$0.1.isEmpty }.map { "\($0.0):\(quoted($0.1))" }
            .joined(separator: ", ") + "}"
    }

    private static func quoted(_ texts: [String]) -> String {
        "[" + texts.map { "\"\($0)\"" }.joined(separator: " ") + "]"
    }

    private static func singleRights(_ rule: RBACRule) -> [RBACRule] {
        var rights: [RBACRule] = []
        for verb in rule.verbs {
            for path in rule.paths { rights.append(RBACRule(verbs: [verb], paths: [path])) }
            for group in rule.groups {
                for resource in rule.resources {
                    let names: [[String]] =
                        rule.resourceNames.isEmpty ? [[]] : rule.resourceNames.map { [$0] }
                    for name in names {
                        rights.append(
                            RBACRule(
                                verbs: [verb], groups: [group], resources: [resource],
                                resourceNames: name))
                    }
                }
            }
        }
        return rights
    }
}

extension RBACRule {
    /// True where whoever has this rule has every right of `other`.
    func covers(_ other: RBACRule) -> Bool {
        func covers(_ own: [String], _ wanted: [String]) -> Bool {
            own.contains("*") || wanted.allSatisfy(own.contains)
        }
        guard covers(verbs, other.verbs) else { return false }
        if !other.paths.isEmpty {
            return other.paths.allSatisfy { path in
                paths.contains { own in
                    own == "*" || own == path
                        || own.hasSuffix("*") && path.hasPrefix(own.dropLast())
                }
            }
        }
        let coversResources = other.resources.allSatisfy { resource in
            if resources.contains("*") || resources.contains(resource) { return true }
            guard let slash = resource.firstIndex(of: "/") else { return false }
            return resources.contains("*" + resource[slash...])
        }
        // No names means all names.
        let coversNames =
            resourceNames.isEmpty
            || !other.resourceNames.isEmpty
                && other.resourceNames.allSatisfy(resourceNames.contains)
        return coversResources && coversNames && covers(groups, other.groups)
    }
}

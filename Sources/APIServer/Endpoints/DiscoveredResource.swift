import JSON
import KubernetesAPI

/// One resource as discovery shows it.
struct DiscoveredResource: Sendable {
    var group: String
    var version: String
    var plural: String
    var singular: String
    var kind: String
    var isNamespaced: Bool
    var verbs: [String]
    var shortNames: [String] = []
    var categories: [String] = []
    var subresources: [Subresource] = []

    struct Subresource: Sendable {
        var name: String
        var verbs: [String]
        /// nil for the kind of the resource itself.
        var kind: (group: String, version: String, kind: String)?

        func legacyJSON(of resource: DiscoveredResource) -> JSONValue {
            var value: JSONValue = [
                "name": .string("\(resource.plural)/\(name)"), "singularName": "",
                "namespaced": .bool(resource.isNamespaced),
            ]
            if let kind {
                value["group"] = .string(kind.group)
                value["version"] = .string(kind.version)
            }
            value["kind"] = .string(kind?.kind ?? resource.kind)
            value["verbs"] = .array(verbs.map(JSONValue.string))
            return value
        }

        func aggregatedJSON(of resource: DiscoveredResource) -> JSONValue {
            [
                "subresource": .string(name),
                "responseKind": [
                    "group": .string(kind?.group ?? resource.group),
                    "version": .string(kind?.version ?? resource.version),
                    "kind": .string(kind?.kind ?? resource.kind),
                ], "verbs": .array(verbs.map(JSONValue.string)),
            ]
        }
    }

    var legacyJSON: JSONValue {
        var value: JSONValue = [
            "name": .string(plural), "singularName": .string(singular),
            "namespaced": .bool(isNamespaced), "kind": .string(kind),
            "verbs": .array(verbs.map(JSONValue.string)),
        ]
        if !shortNames.isEmpty { value["shortNames"] = .array(shortNames.map(JSONValue.string)) }
        if !categories.isEmpty { value["categories"] = .array(categories.map(JSONValue.string)) }
        return value
    }

    var aggregatedJSON: JSONValue {
        var value: JSONValue = [
            "resource": .string(plural),
            "responseKind": [
                "group": .string(group), "version": .string(version), "kind": .string(kind),
            ], "scope": isNamespaced ? "Namespaced" : "Cluster",
            "singularResource": .string(singular),
            "verbs": .array(verbs.map(JSONValue.string)),
        ]
        if !shortNames.isEmpty { value["shortNames"] = .array(shortNames.map(JSONValue.string)) }
        if !categories.isEmpty { value["categories"] = .array(categories.map(JSONValue.string)) }
        if !subresources.isEmpty {
            value["subresources"] = .array(subresources.map { $0.aggregatedJSON(of: self) })
        }
        return value
    }

    /// Everything of one group and version: stored kinds, then what is only asked.
    static func all(_ kinds: KindRegistry, group: String, version: String) -> [DiscoveredResource] {
        kinds.kinds(group: group, version: version).map(DiscoveredResource.init(kind:))
            + VirtualResource.all.filter { $0.group == group && $0.version == version }
            .map(\.discovered)
    }

    init(
        group: String, version: String, plural: String, singular: String, kind: String,
        isNamespaced: Bool, verbs: [String]
    ) {
        self.group = group
        self.version = version
        self.plural = plural
        self.singular = singular
        self.kind = kind
        self.isNamespaced = isNamespaced
        self.verbs = verbs
    }

    init(kind: Kind) {
        let resource = kind.resource
        self.init(
            group: resource.group, version: resource.version, plural: resource.plural,
            singular: kind.singular, kind: resource.kind, isNamespaced: resource.isNamespaced,
            verbs: kind.verbs)
        if resource == .namespaces { verbs.removeAll { $0 == "deletecollection" } }
        shortNames = kind.shortNames
        categories = kind.categories
        let writes = ["get", "patch", "update"]
        if kind.hasStatus { subresources.append(Subresource(name: "status", verbs: writes)) }
        if kind.scale != nil {
            subresources.append(
                Subresource(
                    name: "scale", verbs: writes, kind: ("autoscaling", "v1", "Scale")))
        }
        subresources += Self.own[resource.qualifiedName] ?? []
        subresources.sort { $0.name < $1.name }
    }

    private static let connect = ["create", "get"]
    private static let everyMethod = ["create", "delete", "get", "patch", "update"]
    private static let own: [String: [Subresource]] = [
        "pods": [
            Subresource(name: "attach", verbs: connect, kind: ("", "v1", "PodAttachOptions")),
            Subresource(name: "binding", verbs: ["create"], kind: ("", "v1", "Binding")),
            Subresource(name: EphemeralContainers.subresource, verbs: ["get", "patch", "update"]),
            Subresource(name: "eviction", verbs: ["create"], kind: ("policy", "v1", "Eviction")),
            Subresource(name: "exec", verbs: connect, kind: ("", "v1", "PodExecOptions")),
            Subresource(name: "log", verbs: ["get"]),
            Subresource(
                name: "portforward", verbs: connect, kind: ("", "v1", "PodPortForwardOptions")),
            Subresource(name: "proxy", verbs: everyMethod, kind: ("", "v1", "PodProxyOptions")),
        ],
        "services": [
            Subresource(
                name: "proxy", verbs: everyMethod, kind: ("", "v1", "ServiceProxyOptions"))
        ],
        "namespaces": [Subresource(name: "finalize", verbs: ["update"])],
        "serviceaccounts": [
            Subresource(
                name: "token", verbs: ["create"],
                kind: ("authentication.k8s.io", "v1", "TokenRequest"))
        ],
    ]
}

/// A resource that is asked, not stored.
struct VirtualResource: Sendable, Hashable {
    var group: String
    var version = "v1"
    var plural: String
    var kind: String
    var isNamespaced = false

    static let all = [
        VirtualResource(
            group: "authentication.k8s.io", plural: "selfsubjectreviews", kind: "SelfSubjectReview"),
        VirtualResource(
            group: "authentication.k8s.io", plural: "tokenreviews", kind: "TokenReview"),
        VirtualResource(
            group: "authorization.k8s.io", plural: "localsubjectaccessreviews",
            kind: "LocalSubjectAccessReview", isNamespaced: true),
        VirtualResource(
            group: "authorization.k8s.io", plural: "selfsubjectaccessreviews",
            kind: "SelfSubjectAccessReview"),
        VirtualResource(
            group: "authorization.k8s.io", plural: "selfsubjectrulesreviews",
            kind: "SelfSubjectRulesReview"),
        VirtualResource(
            group: "authorization.k8s.io", plural: "subjectaccessreviews",
            kind: "SubjectAccessReview"),
    ]

    var discovered: DiscoveredResource {
        DiscoveredResource(
            group: group, version: version, plural: plural, singular: kind.lowercased(),
            kind: kind, isNamespaced: isNamespaced, verbs: ["create"])
    }
}

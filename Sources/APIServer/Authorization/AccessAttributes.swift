import JSON
import KubernetesAPI

/// A question to the authorizer: may this user do this?
struct AccessAttributes: Sendable, Hashable {
    var user: UserInfo
    var verb: String
    var isResource = true
    var group = ""
    var version = ""
    var resource = ""
    var subresource = ""
    /// nil for cluster-scoped resources and for all namespaces.
    var namespace: String?
    var name = ""
    /// For questions that are not about resources.
    var path = ""

    /// - Parameter query: of the request: a list or watch that selects one object by
    ///   `metadata.name` is a question about that object, so that rules with resourceNames can
    ///   allow it.
    init(user: UserInfo, _ info: RequestInfo, query: QueryItems = QueryItems()) {
        self.user = user
        verb = info.verb
        isResource = info.isResource
        group = info.group
        version = info.version
        resource = info.resource
        subresource = info.subresource
        namespace = info.namespace
        name = info.name
        path = info.path
        guard name.isEmpty, ["list", "watch", "deletecollection"].contains(verb),
            let text = query["fieldSelector"], let selector = try? FieldSelector(parsing: text),
            let term = selector.terms.first(where: { $0.field == "metadata.name" && !$0.isNegated })
        else { return }
        name = term.value
    }

    /// A question about a resource that no request asks.
    init(
        user: UserInfo, verb: String, _ resource: Resource, namespace: String?, name: String
    ) {
        self.user = user
        self.verb = verb
        group = resource.group
        version = resource.version
        self.resource = resource.plural
        self.namespace = resource.isNamespaced ? namespace : nil
        self.name = name
    }

    /// Reads `resourceAttributes` or `nonResourceAttributes` of an access review's spec.
    init(user: UserInfo, reviewSpec spec: JSONValue) {
        self.user = user
        if let attributes = spec["resourceAttributes"] {
            verb = attributes["verb"]?.string ?? ""
            group = attributes["group"]?.string ?? ""
            version = attributes["version"]?.string ?? ""
            resource = attributes["resource"]?.string ?? ""
            subresource = attributes["subresource"]?.string ?? ""
            namespace = attributes["namespace"]?.string.flatMap { $0.isEmpty ? nil : $0 }
            name = attributes["name"]?.string ?? ""
        } else {
            isResource = false
            verb = spec["nonResourceAttributes", "verb"]?.string ?? ""
            path = spec["nonResourceAttributes", "path"]?.string ?? ""
        }
    }

    /// `resource` or `resource/subresource`, as rules name it.
    var resourcePath: String { subresource.isEmpty ? resource : "\(resource)/\(subresource)" }

    /// What the refusal says, in apiserver's words.
    var refusal: String {
        guard isResource else {
            return "forbidden: User \"\(user.name)\" cannot \(verb) path \"\(path)\""
        }
        let qualified = group.isEmpty ? resource : "\(resource).\(group)"
        let subject = name.isEmpty ? "" : " \"\(name)\""
        let place =
            namespace.map { "in the namespace \"\($0)\"" } ?? "at the cluster scope"
        return "\(qualified)\(subject) is forbidden: User \"\(user.name)\" cannot \(verb) resource "
            + "\"\(resourcePath)\" in API group \"\(group)\" \(place)"
    }
}

/// What the authorizer says, and why.
struct AccessDecision: Sendable, Hashable {
    var isAllowed: Bool
    var reason = ""

    static func allowed(_ reason: String) -> AccessDecision {
        AccessDecision(isAllowed: true, reason: reason)
    }
    static let noOpinion = AccessDecision(isAllowed: false)
}

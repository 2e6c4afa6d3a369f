import KubernetesAPI
import NIOHTTP1

/// What a request is about: read from method, path and query as apiserver's RequestInfo is.
struct RequestInfo: Sendable, Hashable {
    /// False for discovery, health and the like.
    var isResource = false
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for other
    /// paths the HTTP method in lower case.
    var verb: String
    var path: String
    var group = ""
    var version = ""
    /// nil outside any namespace.
    var namespace: String?
    var resource = ""
    var subresource = ""
    var name = ""
    /// What follows the subresource, as for `/proxy/some/path`, without a leading slash.
    var rest = ""

    init(method: HTTPMethod, path: String, query: QueryItems) {
        self.path = path
        verb = method.rawValue.lowercased()
        let raw = path.utf8.split(separator: UInt8(ascii: "/"))
        var parts = raw.map { PercentCoding.decode($0) }[...]
        switch parts.first {
        case "api" where parts.count >= 3:
            version = parts[1]
            parts = parts.dropFirst(2)
        case "apis" where parts.count >= 4:
            group = parts[1]
            version = parts[2]
            parts = parts.dropFirst(3)
        default: return
        }
        isResource = true
        // Deprecated prefix of watches, which kubectl 1.20 still knows.
        var isWatchPrefix = false
        if parts.first == "watch", parts.count > 1 {
            isWatchPrefix = true
            parts = parts.dropFirst()
        }
        readNames(&parts, raw: raw)
        verb = Self.verb(method, query: query, hasName: !name.isEmpty)
        if isWatchPrefix { verb = "watch" }
        // Who follows one object by a selector asks for no more than that object.
        if name.isEmpty, ["list", "watch", "deletecollection"].contains(verb) {
            name = Self.selectedName(query["fieldSelector"] ?? "")
        }
    }

    /// The name that a field selector asks for; empty where it asks for none.
    private static func selectedName(_ selector: String) -> String {
        guard !selector.isEmpty else { return "" }
        return (try? FieldSelector(parsing: selector))?.exactName ?? ""
    }

    private mutating func readNames(
        _ parts: inout ArraySlice<String>, raw: [String.UTF8View.SubSequence]
    ) {
        if parts.first == "namespaces", parts.count > 1 {
            let owner = parts[parts.startIndex + 1]
            let third = parts.count > 2 ? parts[parts.startIndex + 2] : ""
            if group.isEmpty, parts.count == 2 || third == "status" || third == "finalize" {
                resource = "namespaces"
                name = owner
                namespace = owner
                subresource = third
                return
            }
            namespace = owner
            parts = parts.dropFirst(2)
        }
        resource = parts.popFirst() ?? ""
        name = parts.popFirst() ?? ""
        subresource = parts.popFirst() ?? ""
        if !parts.isEmpty {
            rest = raw.suffix(parts.count).map { String($0) ?? "" }.joined(separator: "/")
            if path.hasSuffix("/") { rest += "/" }
        }
    }

    private static func verb(_ method: HTTPMethod, query: QueryItems, hasName: Bool) -> String {
        switch method {
        case .GET, .HEAD:
            if query.flag("watch") { return "watch" }
            return hasName ? "get" : "list"
        case .POST: return "create"
        case .PUT: return "update"
        case .PATCH: return "patch"
        case .DELETE: return hasName ? "delete" : "deletecollection"
        default: return method.rawValue.lowercased()
        }
    }
}

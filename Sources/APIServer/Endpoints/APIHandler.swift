import JSON
import KubernetesAPI
import Logging
import NIOCore
import NIOHTTP1
import Store
import Synchronization

/// Answers every request: who is it, may he, what does he want.
final class APIHandler: RequestResponder {
    let registry: Registry
    let authenticator: Authenticator
    let authorizer: Authorizer
    let nodes: NodeConnections
    let counters: ServerCounters
    let repairs: RepairCounters
    let version: ServerVersion
    let clock: WatchClock
    let isReady: @Sendable () -> Bool
    let documents = OpenAPIDocuments()
    let isBackingUp = Atomic(false)

    init(
        registry: Registry, authenticator: Authenticator, authorizer: Authorizer,
        nodes: NodeConnections, counters: ServerCounters, repairs: RepairCounters,
        version: ServerVersion, clock: WatchClock, isReady: @escaping @Sendable () -> Bool
    ) {
        self.registry = registry
        self.authenticator = authenticator
        self.authorizer = authorizer
        self.nodes = nodes
        self.counters = counters
        self.repairs = repairs
        self.version = version
        self.clock = clock
        self.isReady = isReady
    }

    func respond(to request: APIRequest) -> APIResponse {
        counters.requestsTotal.increment()
        do {
            let user = try impersonated(by: authenticator.authenticate(request), request)
            let info = RequestInfo(
                method: request.method, path: request.path, query: request.query)
            try authorize(AccessAttributes(user: user, info, query: request.query))
            return info.isResource
                ? try respondToResource(request, info, user) : try respondToPath(request, info)
        } catch let error as StatusError {
            if error.code == 401 { counters.unauthorizedTotal.increment() }
            if error.code == 403 { counters.forbiddenTotal.increment() }
            return .ready(APIReply(error))
        } catch {
            return .ready(APIReply(.wrapping(error)))
        }
    }

    func authorize(_ question: AccessAttributes) throws {
        let decision = authorizer.decide(question)
        guard !decision.isAllowed else { return }
        var error = StatusError.forbidden(question.refusal)
        if question.isResource {
            var details: JSONValue = ["kind": .string(question.resource)]
            if !question.name.isEmpty { details["name"] = .string(question.name) }
            if !question.group.isEmpty { details["group"] = .string(question.group) }
            error.details = details
        }
        throw error
    }

    /// `kubectl --as`: acting as another user is itself something that rules allow.
    private func impersonated(by user: UserInfo, _ request: APIRequest) throws -> UserInfo {
        guard let name = request.headers.first(name: "impersonate-user") else { return user }
        func check(_ resource: String, _ name: String) throws {
            var info = RequestInfo(method: .GET, path: "", query: QueryItems())
            info.isResource = true
            info.verb = "impersonate"
            info.resource = resource
            info.name = name
            try authorize(AccessAttributes(user: user, info))
        }
        let account = name.split(separator: ":")
        if name.hasPrefix("system:serviceaccount:"), account.count == 4 {
            try check("serviceaccounts", String(account[3]))
        } else {
            try check("users", name)
        }
        var groups = request.headers["impersonate-group"]
        for group in groups { try check("groups", group) }
        if groups.isEmpty, account.count == 4, name.hasPrefix("system:serviceaccount:") {
            groups = ["system:serviceaccounts", "system:serviceaccounts:\(account[2])"]
        }
        if name != UserInfo.anonymous.name, !groups.contains("system:authenticated") {
            groups.append("system:authenticated")
        }
        return UserInfo(name: name, groups: groups)
    }

    // MARK: - Paths that are no resources

    private func respondToPath(_ request: APIRequest, _ info: RequestInfo) throws -> APIResponse {
        guard request.method == .GET || request.method == .HEAD else {
            throw StatusError.methodNotAllowed
        }
        var path = info.path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        switch path {
        case "/livez", "/healthz", "/livez/ping", "/healthz/ping":
            return .ready(APIReply(text: "ok"))
        case "/readyz":
            return .ready(
                isReady()
                    ? APIReply(text: "ok")
                    : APIReply(status: .internalServerError, text: "not ready"))
        case "/version": return .ready(APIReply(json: version.json))
        case "/metrics":
            return .ready(
                APIReply(
                    bytes: Array(metricsText().utf8),
                    contentType: "text/plain; version=0.0.4; charset=utf-8"))
        case "/portolan/backup": return backup()
        case "/openid/v1/jwks": return .ready(APIReply(json: authenticator.tokens.keySet))
        default: break
        }
        let discovery = Discovery(kinds: registry.kinds)
        if let reply = discovery.reply(path: path, headers: request.headers) {
            return .ready(reply)
        }
        return try respondToOpenAPI(path, request.headers)
    }

}

extension StatusError {
    static let methodNotAllowed = StatusError(
        code: 405, reason: "MethodNotAllowed",
        message: "the server does not allow this method on the requested resource")

    static let pathNotFound = StatusError(
        code: 404, reason: "NotFound", message: "the server could not find the requested resource",
        // kubectl debug looks into them.
        details: [:])
}

/// What `/version` says.
struct ServerVersion: Sendable {
    var gitVersion: String

    var json: JSONValue {
        let parts = gitVersion.drop { $0 == "v" }.split(separator: ".")
        return [
            "major": .string(parts.first.map(String.init) ?? ""),
            "minor": .string(parts.count > 1 ? String(parts[1]) : ""),
            "gitVersion": .string(gitVersion), "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.25", "compiler": "swiftc",
            "platform": "linux/amd64",
        ]
    }
}

import JSON
import KubernetesAPI
import NIOHTTP1
import Store

extension APIHandler {
    /// The response for a resource that is asked, not stored; nil for any other.
    func respondToReview(
        _ request: APIRequest, _ info: RequestInfo, _ user: UserInfo
    ) throws -> APIResponse? {
        guard
            let virtual = VirtualResource.all.first(where: {
                $0.group == info.group && $0.version == info.version && $0.plural == info.resource
            })
        else { return nil }
        guard info.verb == "create", info.name.isEmpty else { throw StatusError.methodNotAllowed }
        let sent = try RequestBody.parse(request).json
        let spec = sent["spec"] ?? [:]
        let status: JSONValue
        switch virtual.plural {
        case "selfsubjectreviews": status = ["userInfo": user.json]
        case "tokenreviews": status = reviewToken(spec)
        case "selfsubjectaccessreviews":
            status = decide(AccessAttributes(user: user, reviewSpec: spec))
        case "selfsubjectrulesreviews":
            status = rules(user, namespace: spec["namespace"]?.string ?? "")
        default:
            let asked = UserInfo(
                name: spec["user"]?.string ?? "", uid: spec["uid"]?.string ?? "",
                groups: (spec["groups"]?.array ?? []).compactMap(\.string))
            status = decide(AccessAttributes(user: asked, reviewSpec: spec))
        }
        var reply: JSONValue = [
            "kind": .string(virtual.kind), "apiVersion": .string("\(info.group)/\(info.version)"),
            "metadata": sent["metadata"] ?? ["creationTimestamp": .null],
        ]
        if virtual.plural != "selfsubjectreviews" { reply["spec"] = spec }
        reply["status"] = status
        return .ready(APIReply(status: .created, json: reply))
    }

    private func decide(_ question: AccessAttributes) -> JSONValue {
        let decision = authorizer.decide(question)
        var status: JSONValue = ["allowed": .bool(decision.isAllowed)]
        if !decision.reason.isEmpty { status["reason"] = .string(decision.reason) }
        return status
    }

    private func reviewToken(_ spec: JSONValue) -> JSONValue {
        let asked = (spec["audiences"]?.array ?? []).compactMap(\.string)
        let audiences = asked.isEmpty ? Authenticator.audiences : asked
        guard
            let user = authenticator.user(
                ofToken: spec["token"]?.string ?? "", audiences: audiences)
        else { return ["user": [:], "error": "invalid bearer token"] }
        return [
            "authenticated": true, "user": user.json,
            "audiences": .array(audiences.map(JSONValue.string)),
        ]
    }

    private func rules(_ user: UserInfo, namespace: String) -> JSONValue {
        let rules = authorizer.rules(for: user, namespace: namespace)
        return [
            "resourceRules": .array(rules.filter { $0.paths.isEmpty }.map(\.json)),
            "nonResourceRules": .array(rules.filter { !$0.paths.isEmpty }.map(\.json)),
            "incomplete": false,
        ]
    }

    // MARK: - TokenRequest

    /// Seconds that a token holds unless the request says otherwise.
    private static let tokenSeconds: Int64 = 3600
    private static let tokenSecondsRange: ClosedRange<Int64> = 600...(1 << 32)

    func requestToken(_ call: ResourceRequest) throws -> APIResponse {
        let sent = try RequestBody.parse(call.request).json
        let account = try registry.get(
            call.kind, namespace: call.info.namespace, name: call.info.name
        ).decoded()
        let seconds = sent["spec", "expirationSeconds"]?.integer ?? Self.tokenSeconds
        guard Self.tokenSecondsRange.contains(seconds) else {
            throw StatusError(
                code: 422, reason: "Invalid",
                message: "TokenRequest.authentication.k8s.io \"\" is invalid: "
                    + "spec.expirationSeconds: Invalid value: \(seconds): may not specify a "
                    + "duration less than 10 minutes")
        }
        let asked = (sent["spec", "audiences"]?.array ?? []).compactMap(\.string)
        let now = ServiceAccountTokens.nowSeconds
        var claims = ServiceAccountTokens.Claims(
            namespace: call.info.namespace ?? "", serviceAccount: call.info.name,
            uid: account["metadata", "uid"]?.string ?? "",
            audiences: asked.isEmpty ? Authenticator.audiences : asked, issuedAtSeconds: now,
            expiresAtSeconds: now + seconds)
        try bind(&claims, to: sent["spec", "boundObjectRef"])
        try checkNode(call.user, claims)
        var spec = sent["spec"] ?? [:]
        spec["audiences"] = .array(claims.audiences.map(JSONValue.string))
        spec["expirationSeconds"] = .integer(seconds)
        return .ready(
            APIReply(
                status: .created,
                json: [
                    "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
                    "metadata": [
                        "name": .string(call.info.name),
                        "namespace": .string(call.info.namespace ?? ""),
                        "creationTimestamp": .string(WallClock.now()),
                    ], "spec": spec,
                    "status": [
                        "token": .string(try authenticator.tokens.sign(claims)),
                        "expirationTimestamp": .string(WallClock.text(seconds: now + seconds)),
                    ],
                ]))
    }

    /// A node gets tokens for pods that it runs, no others.
    private func checkNode(
        _ user: UserInfo, _ claims: ServiceAccountTokens.Claims
    ) throws {
        guard let node = user.nodeName, !user.groups.contains("system:masters") else { return }
        let place = "serviceaccounts \"\(claims.serviceAccount)\" is forbidden: "
        guard let pod = claims.pod else {
            throw StatusError.forbidden(place + "node requested token not bound to a pod")
        }
        guard authorizer.pods.node(namespace: claims.namespace, name: pod.name) == node else {
            throw StatusError.forbidden(
                place + "node requested token bound to a pod scheduled on a different node")
        }
    }

    /// A token bound to a pod or secret ends with it.
    private func bind(
        _ claims: inout ServiceAccountTokens.Claims, to reference: JSONValue?
    ) throws {
        guard let reference, let name = reference["name"]?.string, !name.isEmpty else { return }
        let resource: Resource
        switch reference["kind"]?.string {
        case "Pod": resource = .pods
        case "Secret": resource = .secrets
        default:
            throw StatusError.badRequest(
                "cannot bind token for serviceaccount \"\(claims.serviceAccount)\" to a "
                    + (reference["kind"]?.string ?? ""))
        }
        guard let kind = registry.kinds[resource] else { throw StatusError.pathNotFound }
        let object = try registry.get(kind, namespace: claims.namespace, name: name).decoded()
        let uid = object["metadata", "uid"]?.string ?? ""
        if let asked = reference["uid"]?.string, !asked.isEmpty, asked != uid {
            throw StatusError.conflict(
                resource, name: name,
                because: "the UID in the bound object reference (\(asked)) does not match the UID "
                    + "in record. The object might have been deleted and then recreated")
        }
        let bound = ServiceAccountTokens.Claims.BoundObject(name: name, uid: uid)
        if resource == .pods { claims.pod = bound } else { claims.secret = bound }
    }
}

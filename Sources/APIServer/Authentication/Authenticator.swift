import FoundationEssentials
import JSON
import KubernetesAPI
import NIOHTTP1
import Store
import Synchronization

/// Finds out who makes a request: the client certificate first, then a bearer token of a service
/// account; a request with neither is anonymous.
final class Authenticator: Sendable {
    static let audiences = [ServiceAccountTokens.issuer]
    private static let cacheLimit = 4_096

    let tokens: ServiceAccountTokens
    private let store: Store
    private let decoded = DecodedObjects()
    /// Signatures checked lately: checking one costs more than the rest of a read.
    private let verified = Mutex<[String: ServiceAccountTokens.Claims]>([:])

    init(tokens: ServiceAccountTokens, store: Store) {
        self.tokens = tokens
        self.store = store
    }

    /// - Throws: 401 for a token that nobody here signed or that no longer holds.
    func authenticate(_ request: APIRequest) throws -> UserInfo {
        if let user = request.certificateUser { return user }
        guard let header = request.headers.first(name: "authorization") else { return .anonymous }
        let parts = header.utf8.split(separator: UInt8(ascii: " "), maxSplits: 1)
        guard parts.count == 2, Substring(parts[0]).lowercased() == "bearer",
            let user = user(ofToken: String(Substring(parts[1])), audiences: Self.audiences)
        else { throw StatusError.unauthorized() }
        return user
    }

    /// The service account of a token whose audiences meet `audiences`; nil where it does not hold:
    /// wrong signature, expired, or its account, pod or secret is gone.
    func user(ofToken token: String, audiences: [String]) -> UserInfo? {
        guard let claims = claims(ofToken: token),
            claims.audiences.contains(where: audiences.contains),
            holds(claims, token)
        else { return nil }
        var extra: [String: [String]] = [:]
        if let pod = claims.pod {
            extra["authentication.kubernetes.io/pod-name"] = [pod.name]
            extra["authentication.kubernetes.io/pod-uid"] = [pod.uid]
        }
        return UserInfo(
            name: claims.subject, uid: claims.uid,
            groups: [
                "system:serviceaccounts", "system:serviceaccounts:\(claims.namespace)",
                "system:authenticated",
            ], extra: extra)
    }

    private func claims(ofToken token: String) -> ServiceAccountTokens.Claims? {
        if let known = verified.withLock({ $0[token] }),
            known.expiresAtSeconds > ServiceAccountTokens.nowSeconds
        {
            return known
        }
        guard let claims = tokens.verify(token) else { return nil }
        verified.withLock { cache in
            if cache.count >= Self.cacheLimit { cache = [:] }
            cache[token] = claims
        }
        return claims
    }

    private func holds(_ claims: ServiceAccountTokens.Claims, _ token: String) -> Bool {
        func object(_ resource: Resource, _ name: String) -> JSONValue? {
            let key = StoreKey(
                resource: resource.qualifiedName, namespace: claims.namespace, name: name)
            return try? store.get(key).map(decoded.json)
        }
        func uid(_ resource: Resource, _ name: String) -> String? {
            object(resource, name)?["metadata", "uid"]?.string
        }
        guard uid(.serviceAccounts, claims.serviceAccount) == claims.uid else { return false }
        if let pod = claims.pod, uid(.pods, pod.name) != pod.uid { return false }
        guard let secret = claims.secret else { return true }
        guard secret.uid.isEmpty else { return uid(.secrets, secret.name) == secret.uid }
        let held = object(.secrets, secret.name)
        return held?["metadata", "deletionTimestamp"] == nil
            && held?["data", "token"]?.string == Data(token.utf8).base64EncodedString()
    }
}

extension StatusError {
    static func unauthorized() -> StatusError {
        StatusError(code: 401, reason: "Unauthorized", message: "Unauthorized")
    }
}

import Crypto
import FoundationEssentials
import Glibc
import JSON

/// Signs and checks the tokens of service accounts: JWTs by ES256 (RFC 7515, RFC 7518), with the
/// claims of KEP-1205.
struct ServiceAccountTokens: Sendable {
    static let issuer = "https://kubernetes.default.svc.cluster.local"

    private let key: P256.Signing.PrivateKey
    private let keyID: String

    /// What a token says.
    struct Claims: Sendable, Hashable {
        var namespace: String
        var serviceAccount: String
        var uid: String
        var audiences: [String]
        var issuedAtSeconds: Int64
        var expiresAtSeconds: Int64
        /// The pod the token is bound to: name and uid.
        var pod: BoundObject?
        /// The Secret the token is bound to; without a uid for one that holds the token itself.
        var secret: BoundObject?

        struct BoundObject: Sendable, Hashable {
            var name: String
            var uid: String
        }

        var subject: String { "system:serviceaccount:\(namespace):\(serviceAccount)" }
    }

    init(privateKeyPEM: String) throws {
        key = try P256.Signing.PrivateKey(pemRepresentation: privateKeyPEM)
        let digest = SHA256.hash(data: key.publicKey.derRepresentation)
        keyID = Self.base64URL(Array(digest))
    }

    /// A JSON Web Key Set with the public key (RFC 7517), for `/openid/v1/jwks`.
    var keySet: JSONValue {
        let point = Array(key.publicKey.rawRepresentation)
        return [
            "keys": [
                [
                    "use": "sig", "kty": "EC", "kid": .string(keyID), "crv": "P-256",
                    "alg": "ES256", "x": .string(Self.base64URL(Array(point.prefix(32)))),
                    "y": .string(Self.base64URL(Array(point.suffix(32)))),
                ]
            ]
        ]
    }

    func sign(_ claims: Claims) throws -> String {
        let header: JSONValue = ["alg": "ES256", "kid": .string(keyID), "typ": "JWT"]
        var kubernetes: JSONValue = [
            "namespace": .string(claims.namespace),
            "serviceaccount": [
                "name": .string(claims.serviceAccount), "uid": .string(claims.uid),
            ],
        ]
        if let pod = claims.pod {
            kubernetes["pod"] = ["name": .string(pod.name), "uid": .string(pod.uid)]
        }
        if let secret = claims.secret {
            kubernetes["secret"] = ["name": .string(secret.name), "uid": .string(secret.uid)]
        }
        let payload: JSONValue = [
            "aud": .array(claims.audiences.map(JSONValue.string)),
            "exp": .integer(claims.expiresAtSeconds), "iat": .integer(claims.issuedAtSeconds),
            "iss": .string(Self.issuer), "jti": .string(UUID().uuidString.lowercased()),
            "kubernetes.io": kubernetes, "nbf": .integer(claims.issuedAtSeconds),
            "sub": .string(claims.subject),
        ]
        return try sign(header, payload)
    }

    /// The token that a Secret holds for a service account, as Kubernetes makes it: without an end.
    func signForSecret(
        _ secret: String, account: String, uid: String, namespace: String
    ) throws -> String {
        try sign(
            ["alg": "ES256", "kid": .string(keyID)],
            [
                "iss": .string(Self.secretIssuer),
                "\(Self.secretClaim)namespace": .string(namespace),
                "\(Self.secretClaim)secret.name": .string(secret),
                "\(Self.secretClaim)service-account.name": .string(account),
                "\(Self.secretClaim)service-account.uid": .string(uid),
                "sub": .string("system:serviceaccount:\(namespace):\(account)"),
            ])
    }

    private static let secretIssuer = "kubernetes/serviceaccount"
    private static let secretClaim = "kubernetes.io/serviceaccount/"

    private func sign(_ header: JSONValue, _ payload: JSONValue) throws -> String {
        let text =
            Self.base64URL(header.serializedBytes) + "." + Self.base64URL(payload.serializedBytes)
        let signature = try key.signature(for: Array(text.utf8))
        return text + "." + Self.base64URL(Array(signature.rawRepresentation))
    }

    /// The claims of a token that this key signed and that has not expired; nil for any other.
    func verify(_ token: String, nowSeconds: Int64 = Self.nowSeconds) -> Claims? {
        let parts = token.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3, token.utf8.count < 16384,
            let header = Self.decode(parts[0]).flatMap({ try? JSONValue(parsing: $0) }),
            header["alg"]?.string == "ES256",
            let bytes = Self.decode(parts[1]), let raw = Self.decode(parts[2]),
            let signature = try? P256.Signing.ECDSASignature(rawRepresentation: raw),
            key.publicKey.isValidSignature(
                signature, for: Array(parts[0]) + [UInt8(ascii: ".")] + Array(parts[1])),
            let payload = try? JSONValue(parsing: bytes)
        else { return nil }
        switch payload["iss"]?.string {
        case Self.issuer: return Self.claims(payload, nowSeconds)
        case Self.secretIssuer: return Self.secretClaims(payload)
        default: return nil
        }
    }

    /// Such a token is for this API, and for as long as its Secret says so.
    private static func secretClaims(_ payload: JSONValue) -> Claims? {
        func text(_ name: String) -> String? { payload["\(secretClaim)\(name)"]?.string }
        guard let namespace = text("namespace"), let account = text("service-account.name"),
            let uid = text("service-account.uid"), let secret = text("secret.name")
        else { return nil }
        return Claims(
            namespace: namespace, serviceAccount: account, uid: uid,
            audiences: Authenticator.audiences, issuedAtSeconds: 0, expiresAtSeconds: .max,
            secret: .init(name: secret, uid: ""))
    }

    private static func claims(_ payload: JSONValue, _ nowSeconds: Int64) -> Claims? {
        let kubernetes = payload["kubernetes.io"]
        func bound(_ name: String) -> Claims.BoundObject? {
            kubernetes?[name].flatMap { value in
                value["name"]?.string.map {
                    Claims.BoundObject(name: $0, uid: value["uid"]?.string ?? "")
                }
            }
        }
        guard let namespace = kubernetes?["namespace"]?.string,
            let account = bound("serviceaccount"),
            let expiry = payload["exp"]?.integer, expiry > nowSeconds,
            (payload["nbf"]?.integer ?? 0) <= nowSeconds + 60
        else { return nil }
        return Claims(
            namespace: namespace, serviceAccount: account.name, uid: account.uid,
            audiences: (payload["aud"]?.array ?? []).compactMap(\.string),
            issuedAtSeconds: payload["iat"]?.integer ?? 0, expiresAtSeconds: expiry,
            pod: bound("pod"), secret: bound("secret"))
    }

    static var nowSeconds: Int64 { Int64(time(nil)) }

    // MARK: - base64url without padding (RFC 7515, section 2)

    static func base64URL(_ bytes: [UInt8]) -> String {
        String(
            Data(bytes).base64EncodedString().compactMap { character -> Character? in
                switch character {
                case "+": "-"
                case "/": "_"
                case "=": nil
                default: character
                }
            })
    }

    static func decode(_ text: some Sequence<UInt8>) -> [UInt8]? {
        var bytes = text.map { byte -> UInt8 in
            switch byte {
            case UInt8(ascii: "-"): UInt8(ascii: "+")
            case UInt8(ascii: "_"): UInt8(ascii: "/")
            default: byte
            }
        }
        while bytes.count % 4 != 0 { bytes.append(UInt8(ascii: "=")) }
        return Data(base64Encoded: Data(bytes)).map(Array.init)
    }
}

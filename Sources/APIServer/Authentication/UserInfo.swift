import JSON
import Logging
import NIOSSL
import SwiftASN1
import X509

/// Who makes a request (`authentication.k8s.io/v1` UserInfo).
struct UserInfo: Sendable, Hashable {
    var name: String
    var uid = ""
    var groups: [String]
    var extra: [String: [String]] = [:]

    /// Who calls without credentials.
    static let anonymous = UserInfo(name: "system:anonymous", groups: ["system:unauthenticated"])

    /// The control plane itself.
    static let controlPlane = UserInfo(
        name: "system:apiserver", groups: ["system:masters", "system:authenticated"])

    /// The node whose agent this is (`system:node:NAME` of group `system:nodes`), or nil.
    var nodeName: String? {
        guard groups.contains("system:nodes"), name.hasPrefix("system:node:") else { return nil }
        return String(name.dropFirst("system:node:".count))
    }

    var isAnonymous: Bool { groups.contains("system:unauthenticated") }

    var json: JSONValue {
        var value: JSONValue = ["username": .string(name)]
        if !uid.isEmpty { value["uid"] = .string(uid) }
        if !groups.isEmpty { value["groups"] = .array(groups.map(JSONValue.string)) }
        if !extra.isEmpty {
            var map: JSONValue = [:]
            for key in extra.keys.sorted() {
                map[key] = .array((extra[key] ?? []).map(JSONValue.string))
            }
            value["extra"] = map
        }
        return value
    }
}

extension UserInfo {
    /// Common name and organizations of a certificate that TLS has verified against the client
    /// authority; nil where it cannot be read or names nobody.
    init?(certificate: NIOSSLCertificate, logger: Logger) {
        do {
            let parsed = try Certificate(derEncoded: certificate.toDERBytes())
            var user: String?
            var groups: [String] = []
            for name in parsed.subject {
                for attribute in name {
                    switch attribute.type {
                    case .RDNAttributeType.commonName: user = String(attribute.value)
                    case .RDNAttributeType.organizationName:
                        if let group = String(attribute.value) { groups.append(group) }
                    default: break
                    }
                }
            }
            guard let user, !user.isEmpty else { return nil }
            self.init(name: user, groups: groups + ["system:authenticated"])
        } catch {
            logger.debug("client certificate left out", metadata: ["error": "\(error)"])
            return nil
        }
    }
}

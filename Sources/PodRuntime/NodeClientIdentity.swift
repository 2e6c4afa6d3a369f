import NIOCore
import NIOSSL
import SwiftASN1
import X509

/// Who may call a node's server: the API server, known by the name in its client certificate. Other
/// certificates of the cluster's authority, such as those of nodes and users, open nothing: who may
/// read a pod's log or run commands in it is for the API server to decide.
enum NodeClientIdentity {
    /// True where the peer's certificate, which TLS has verified, has this common name.
    static func isNamed(_ name: String, _ channel: any Channel) async -> Bool {
        guard let peer = try? await channel.nioSSL_peerCertificate().get() else { return false }
        return commonName(of: peer) == name
    }

    /// The common name; nil where the certificate cannot be read or has none.
    static func commonName(of certificate: NIOSSLCertificate) -> String? {
        guard let bytes = try? certificate.toDERBytes(),
            let parsed = try? Certificate(derEncoded: bytes)
        else { return nil }
        for name in parsed.subject {
            for attribute in name where attribute.type == .RDNAttributeType.commonName {
                return String(attribute.value)
            }
        }
        return nil
    }
}

import Crypto
import FoundationEssentials
public import NetworkTypes
import SwiftASN1
import X509

/// The cluster's certificate authority (P-256). It signs the API server's certificate, the nodes'
/// and the users' ones; whoever holds its certificate can check any of them.
public struct CertificateAuthority: Sendable {
    /// The authority's own certificate, as PEM.
    public let certificatePEM: String
    private let certificate: Certificate
    private let key: Certificate.PrivateKey

    /// A certificate with its private key, both as PEM (PKCS #8 for the key).
    public struct Identity: Sendable {
        /// The certificate.
        public let certificatePEM: String
        /// Its private key: keep it in files of mode 0600 only.
        public let privateKeyPEM: String

        /// Makes an identity of PEM texts.
        public init(certificatePEM: String, privateKeyPEM: String) {
            self.certificatePEM = certificatePEM
            self.privateKeyPEM = privateKeyPEM
        }
    }

    /// Loads the authority kept in `directory` (`ca.crt`, `ca.key`), or makes one and keeps it there.
    /// - Throws: `PrivateFileError` where a file cannot be read or written, and the parser's error
    ///   where a file holds no certificate or key.
    public init(directory: String) throws {
        let certificatePath = "\(directory)/ca.crt"
        let keyPath = "\(directory)/ca.key"
        if let certificateText = try PrivateFile.read(certificatePath),
            let keyText = try PrivateFile.read(keyPath)
        {
            certificate = try Certificate(pemEncoded: certificateText)
            key = try Certificate.PrivateKey(pemEncoded: keyText)
            certificatePEM = certificateText
            return
        }
        let secret = P256.Signing.PrivateKey()
        let key = Certificate.PrivateKey(secret)
        self.key = key
        let name = try DistinguishedName([
            RelativeDistinguishedName.Attribute(
                type: .RDNAttributeType.commonName, utf8String: "portolan-ca")
        ])
        let now = Date()
        certificate = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: key.publicKey,
            notValidBefore: now - Validity.clockSkewSeconds,
            notValidAfter: now + Validity.authoritySeconds, issuer: name, subject: name,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                Critical(KeyUsage(digitalSignature: true, keyCertSign: true, cRLSign: true))
                SubjectKeyIdentifier(hash: key.publicKey)
            }, issuerPrivateKey: key)
        certificatePEM = try certificate.serializeAsPEM().pemString + "\n"
        try PrivateFile.write(secret.pemRepresentation + "\n", to: keyPath)
        try PrivateFile.write(certificatePEM, to: certificatePath)
    }

    /// Issues a certificate for a server that is reached by the names and addresses given. It may
    /// act as a client too, as a node's does.
    public func issueServer(
        commonName: String, dnsNames: [String], addresses: [IPAddress],
        organizations: [String] = []
    ) throws -> Identity {
        let names =
            dnsNames.map(GeneralName.dnsName)
            + addresses.map {
                GeneralName.ipAddress(ASN1OctetString(contentBytes: ArraySlice($0.networkBytes)))
            }
        return try issue(
            commonName: commonName, organizations: organizations,
            usages: [.serverAuth, .clientAuth], names: names)
    }

    /// Issues a client certificate: Kubernetes reads the common name as the user and the
    /// organizations as its groups.
    public func issueClient(user: String, groups: [String]) throws -> Identity {
        try issue(commonName: user, organizations: groups, usages: [.clientAuth], names: [])
    }

    private func issue(
        commonName: String, organizations: [String], usages: [ExtendedKeyUsage.Usage],
        names: [GeneralName]
    ) throws -> Identity {
        let secret = P256.Signing.PrivateKey()
        let publicKey = Certificate.PrivateKey(secret).publicKey
        var attributes = organizations.map {
            RelativeDistinguishedName.Attribute(
                type: .RDNAttributeType.organizationName, utf8String: $0)
        }
        attributes.append(
            RelativeDistinguishedName.Attribute(
                type: .RDNAttributeType.commonName, utf8String: commonName))
        let extensions = try Certificate.Extensions {
            Critical(BasicConstraints.notCertificateAuthority)
            Critical(KeyUsage(digitalSignature: true, keyEncipherment: true))
            try ExtendedKeyUsage(usages)
            AuthorityKeyIdentifier(
                keyIdentifier: SubjectKeyIdentifier(hash: key.publicKey).keyIdentifier)
            if !names.isEmpty { SubjectAlternativeNames(names) }
        }
        let now = Date()
        let issued = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: publicKey,
            notValidBefore: now - Validity.clockSkewSeconds,
            notValidAfter: now + Validity.leafSeconds, issuer: certificate.subject,
            subject: try DistinguishedName(attributes), signatureAlgorithm: .ecdsaWithSHA256,
            extensions: extensions, issuerPrivateKey: key)
        return Identity(
            certificatePEM: try issued.serializeAsPEM().pemString + "\n",
            privateKeyPEM: secret.pemRepresentation + "\n")
    }

    /// Lifetimes, in seconds. Leaves are issued anew at every start.
    private enum Validity {
        static let clockSkewSeconds: Double = 3600
        static let authoritySeconds: Double = 10 * 365 * 86400
        static let leafSeconds: Double = 2 * 365 * 86400
    }
}

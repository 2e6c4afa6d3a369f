import FoundationEssentials

/// A kubeconfig with one cluster, one user and one context, certificates within.
public struct Kubeconfig: Sendable {
    /// The name of cluster, user and context.
    public var name: String
    /// The server's URL.
    public var server: String
    /// The certificate of the authority that signed the server's.
    public var authorityPEM: String
    /// Who calls.
    public var identity: CertificateAuthority.Identity

    /// Makes a kubeconfig.
    public init(
        name: String, server: String, authorityPEM: String, identity: CertificateAuthority.Identity
    ) {
        self.name = name
        self.server = server
        self.authorityPEM = authorityPEM
        self.identity = identity
    }

    /// The YAML text.
    public var yaml: String {
        """
        apiVersion: v1
        kind: Config
        clusters:
        - name: \(name)
          cluster:
            server: \(server)
            certificate-authority-data: \(Self.base64(authorityPEM))
        users:
        - name: \(name)
          user:
            client-certificate-data: \(Self.base64(identity.certificatePEM))
            client-key-data: \(Self.base64(identity.privateKeyPEM))
        contexts:
        - name: \(name)
          context:
            cluster: \(name)
            user: \(name)
        current-context: \(name)

        """
    }

    /// Writes the file with mode 0600, replacing it at once.
    /// - Throws: `PrivateFileError`
    public func write(to path: String) throws {
        try PrivateFile.write(yaml, to: path)
    }

    private static func base64(_ text: String) -> String {
        Data(text.utf8).base64EncodedString()
    }
}

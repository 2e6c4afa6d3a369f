/// DNS over TLS (RFC 7858) for clients.
public struct TLSService: Equatable, Sendable {
    /// Where it listens; port 853 unless one is given.
    public var listenAddresses: [SocketAddress]
    /// The certificate with its chain, PEM. Read again when it changes.
    public var certificatePath: String
    /// Its key, PEM.
    public var keyPath: String
    /// The authority of clients' certificates, PEM; nil asks clients for none.
    public var clientAuthorityPath: String?

    /// DNS over TLS' port.
    public static let port: UInt16 = 853

    /// Makes a service.
    public init(
        listenAddresses: [SocketAddress], certificatePath: String, keyPath: String,
        clientAuthorityPath: String? = nil
    ) {
        self.listenAddresses = listenAddresses
        self.certificatePath = certificatePath
        self.keyPath = keyPath
        self.clientAuthorityPath = clientAuthorityPath
    }
}

/// How an upstream is asked over TLS.
public struct UpstreamTLS: Hashable, Sendable {
    /// The name that its certificate must have; one that names the address will do, too (RFC 8310,
    /// 8.1), and is what nil asks for.
    public var serverName: String?
    /// The authorities that are believed, PEM; nil for the system's.
    public var authorityPath: String?
    /// The certificate to show, PEM; nil shows none.
    public var certificatePath: String?
    /// Its key, PEM.
    public var keyPath: String?

    /// Makes a value; what is left out is nil.
    public init(
        serverName: String? = nil, authorityPath: String? = nil, certificatePath: String? = nil,
        keyPath: String? = nil
    ) {
        self.serverName = serverName
        self.authorityPath = authorityPath
        self.certificatePath = certificatePath
        self.keyPath = keyPath
    }
}

/// Certificates that cannot be used, with the file and the remedy.
public struct TLSFileError: Error, Sendable, CustomStringConvertible {
    /// One line for the log.
    public let description: String
}

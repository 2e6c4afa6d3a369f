import Glibc
import KubernetesAPI
import Yams

/// Where an API server is and how to speak to it: read from a kubeconfig or from the service
/// account that a pod has.
public struct ClientConfiguration: Sendable {
    /// The server, such as `https://172.30.0.1:6443`, without a trailing slash.
    public var server: String
    /// The certificates of the authority that signed the server's, as PEM; nil for the system's.
    public var certificateAuthorityPEM: [UInt8]?
    /// The client certificate chain, as PEM.
    public var clientCertificatePEM: [UInt8]?
    /// The key of the client certificate, as PEM.
    public var clientKeyPEM: [UInt8]?
    /// How to find the bearer token, if one is used.
    public var token: TokenSource?

    /// A token kept in the configuration, or a file that is read anew because kubelets rotate it.
    public enum TokenSource: Sendable {
        case literal(String)
        case file(String)
    }

    /// Why a configuration cannot be used.
    public struct Failure: Error, CustomStringConvertible {
        /// What is wrong and what to do.
        public let description: String
    }

    /// Makes a configuration by hand.
    public init(
        server: String, certificateAuthorityPEM: [UInt8]? = nil,
        clientCertificatePEM: [UInt8]? = nil,
        clientKeyPEM: [UInt8]? = nil, token: TokenSource? = nil
    ) {
        self.server = server
        self.certificateAuthorityPEM = certificateAuthorityPEM
        self.clientCertificatePEM = clientCertificatePEM
        self.clientKeyPEM = clientKeyPEM
        self.token = token
    }
}

// MARK: - Kubeconfig

extension ClientConfiguration {
    /// Reads the current context of a kubeconfig file.
    /// - Throws: `Failure` naming the file and the entry that is missing or unreadable.
    public init(kubeconfigPath path: String) throws {
        func fail(_ text: String) -> Failure { Failure(description: "kubeconfig \(path): \(text)") }
        let text = String(decoding: try Self.readFile(path), as: UTF8.self)
        guard let root = try Yams.compose(yaml: text) else { throw fail("it is empty") }
        func entry(_ list: String, _ name: String, _ member: String) throws -> Yams.Node {
            for item in root[list]?.sequence ?? [] where item["name"]?.string == name {
                if let found = item[member] { return found }
            }
            throw fail("no entry \"\(name)\" in \(list)")
        }
        guard let current = root["current-context"]?.string else {
            throw fail("no current-context")
        }
        let context = try entry("contexts", current, "context")
        guard let clusterName = context["cluster"]?.string, let userName = context["user"]?.string
        else { throw fail("context \"\(current)\" names no cluster or user") }
        let cluster = try entry("clusters", clusterName, "cluster")
        let user = try entry("users", userName, "user")
        guard let server = cluster["server"]?.string else {
            throw fail("cluster \"\(clusterName)\" has no server")
        }
        let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
            .joined(separator: "/")
        /// The bytes of `NAME-data` (base64) or of the file that `NAME` names.
        func material(_ node: Yams.Node, _ name: String) throws -> [UInt8]? {
            if let data = node[name + "-data"]?.string {
                guard let bytes = Base64.decode(data) else {
                    throw fail("\(name)-data is no base64")
                }
                return bytes
            }
            guard let file = node[name]?.string else { return nil }
            return try Self.readFile(file.hasPrefix("/") ? file : folder + "/" + file)
        }
        self.init(
            server: server.hasSuffix("/") ? String(server.dropLast()) : server,
            certificateAuthorityPEM: try material(cluster, "certificate-authority"),
            clientCertificatePEM: try material(user, "client-certificate"),
            clientKeyPEM: try material(user, "client-key"),
            token: user["token"]?.string.map(TokenSource.literal)
                ?? user["tokenFile"]?.string.map(TokenSource.file))
    }

    /// Reads the service account that Kubernetes mounts into every pod.
    /// - Throws: `Failure` where this process does not run in a pod.
    public static func inCluster() throws -> ClientConfiguration {
        let folder = "/var/run/secrets/kubernetes.io/serviceaccount"
        guard let host = getenv("KUBERNETES_SERVICE_HOST").map({ String(cString: $0) }),
            let port = getenv("KUBERNETES_SERVICE_PORT").map({ String(cString: $0) })
        else {
            throw Failure(
                description: "not in a pod (KUBERNETES_SERVICE_HOST is unset): give --kubeconfig")
        }
        return ClientConfiguration(
            server: "https://\(host.contains(":") ? "[\(host)]" : host):\(port)",
            certificateAuthorityPEM: try readFile(folder + "/ca.crt"),
            token: .file(folder + "/token"))
    }

    /// Reads a file of at most 1 MiB.
    static func readFile(_ path: String) throws -> [UInt8] {
        let limit = 1 << 20
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw Failure(description: "\(path): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            guard count >= 0 else {
                throw Failure(description: "\(path): \(String(cString: strerror(errno)))")
            }
            if count == 0 { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= limit else {
                throw Failure(description: "\(path): larger than 1 MiB")
            }
        }
    }
}

import Glibc
public import Informer
import JSON
public import KubernetesAPI
public import Logging
import NIOCore
import NIOPosix
import NIOSSL
public import NetworkTypes
public import Store
import Synchronization

/// The Kubernetes API over a store: HTTPS with HTTP/1.1 and HTTP/2 for everybody, and a client in
/// process for the control plane.
public final class APIServer: Sendable {
    /// Where it listens, who it is, what it hands out.
    public struct Configuration: Sendable {
        /// Addresses to listen on, with their ports; port 0 lets the kernel choose.
        public var listen: [(host: String, port: Int)]
        /// The server's certificate and key.
        public var server: CertificateAuthority.Identity
        /// The authority whose client certificates are believed.
        public var clientAuthorityPEM: String
        /// The certificate with which nodes' servers are called; nil where there are no nodes.
        public var nodeClient: CertificateAuthority.Identity?
        /// The authority that signed the nodes' server certificates.
        public var nodeAuthorityPEM: String
        /// A P-256 private key (PEM) that signs service accounts' tokens.
        public var serviceAccountKeyPEM: String
        /// Where cluster IPs come from, one range a family, that of the primary family first; its
        /// first usable address is the API's own.
        public var serviceCIDRs: [Prefix]
        /// Where node ports come from.
        public var nodePortRange: ClosedRange<UInt16>
        /// The cluster's DNS domain.
        public var clusterDomain: String
        /// The address at which pods and nodes reach this server: the endpoint of
        /// `default/kubernetes`.
        public var advertiseAddress: IPAddress
        /// The port of that endpoint.
        public var advertisePort: UInt16
        /// What `/version` reports.
        public var gitVersion: String
        /// Seconds between the bookmarks of a watch.
        public var bookmarkSeconds: Double
        /// How much clients may ask at a time.
        var limits = RequestLimits()

        /// Makes a configuration with the defaults of a standalone cluster.
        public init(
            listen: [(host: String, port: Int)], server: CertificateAuthority.Identity,
            clientAuthorityPEM: String, serviceAccountKeyPEM: String,
            advertiseAddress: IPAddress, nodeClient: CertificateAuthority.Identity? = nil
        ) {
            self.listen = listen
            self.server = server
            self.clientAuthorityPEM = clientAuthorityPEM
            self.nodeClient = nodeClient
            nodeAuthorityPEM = clientAuthorityPEM
            self.serviceAccountKeyPEM = serviceAccountKeyPEM
            let usual = IPAddress(family: .ipv4, numericValue: 0x0A60_0000)
            serviceCIDRs = [Prefix(usual, length: 16)].compactMap(\.self)
            nodePortRange = 30000...32767
            clusterDomain = "cluster.local"
            self.advertiseAddress = advertiseAddress
            advertisePort = 6443
            gitVersion = "v1.36.0+portolan"
            bookmarkSeconds = 30
        }
    }

    /// Why the server cannot run.
    public enum Failure: Error, Hashable, CustomStringConvertible {
        /// Another process listens there.
        case addressInUse(host: String, port: Int)

        /// One line with the remedy.
        public var description: String {
            switch self {
            case .addressInUse(let host, let port):
                "\(host):\(port) is in use by another process: stop it or choose another API port"
            }
        }
    }

    /// The reason of the event about the ServiceCIDR `kubernetes` where the server was started with
    /// other ranges than it has.
    public static let otherRangesReason = "KubernetesDefaultServiceCIDRInconsistent"

    /// The API for components in this process; works before and while the server listens.
    public let client: any KubernetesClient
    private let configuration: Configuration
    private let store: Store
    private let registry: Registry
    private let authorizer: Authorizer
    let handler: APIHandler
    let listener: HTTPListener
    private let logger: Logger
    private let listening = Listening()
    private let repairs = RepairCounters()

    /// Makes a server; nothing listens before `run`.
    /// - Throws: the TLS library's error for certificates or keys that cannot be read.
    public init(store: Store, configuration: Configuration, logger: Logger) throws {
        self.store = store
        self.configuration = configuration
        self.logger = logger
        let group = MultiThreadedEventLoopGroup.singleton
        let allocations = ServiceAllocations(
            serviceCIDRs: configuration.serviceCIDRs,
            nodePortRange: configuration.nodePortRange)
        authorizer = Authorizer(store: store)
        registry = Registry(
            store: store, kinds: .builtIn, allocations: allocations, access: authorizer,
            logger: logger)
        try registry.loadCustomKinds()
        client = InProcessClient(registry: registry)
        listener = HTTPListener(
            group: group, tls: try Self.serverTLS(configuration), limits: configuration.limits,
            logger: logger)
        let listening = self.listening
        handler = APIHandler(
            registry: registry,
            authenticator: Authenticator(
                tokens: try ServiceAccountTokens(
                    privateKeyPEM: configuration.serviceAccountKeyPEM), store: store),
            authorizer: authorizer,
            nodes: try NodeConnections(
                store: store, tls: try Self.nodeTLS(configuration), group: group),
            counters: listener.counters, repairs: repairs,
            version: ServerVersion(gitVersion: configuration.gitVersion),
            clock: WatchClock(bookmarkSeconds: configuration.bookmarkSeconds),
            isReady: { listening.isReady })
    }

    /// Serves until the task is cancelled, then lets requests under way end and closes.
    /// - Throws: `Failure`, and the socket's errors.
    public func run() async throws {
        do {
            try await Bootstrap(registry: registry, configuration: configuration).run()
            authorizer.rebuild()
            var ports: [Int] = []
            for (host, port) in configuration.listen {
                ports.append(try await listen(host: host, port: port))
            }
            listening.succeed(ports)
        } catch {
            listening.fail(error)
            await listener.stop()
            throw error
        }
        await withTaskGroup(of: Void.self) { group in
            for resource in Authorizer.resources {
                group.addTask { [self] in await followRules(resource) }
            }
            let repair = RepairLoop(
                registry: registry, client: client, counters: repairs, logger: logger)
            group.addTask { await repair.run() }
            await group.waitForAll()
        }
        await listener.stop()
    }

    /// Signs the token of a Secret of type `kubernetes.io/service-account-token`: it holds while the
    /// Secret has it.
    /// - Throws: the signature's error.
    public func secretToken(secret: ObjectMeta, account: ObjectMeta) throws -> String {
        try handler.authenticator.tokens.signForSecret(
            secret.name, account: account.name, uid: account.uid, namespace: account.namespace)
    }

    /// Returns the ports bound, in the order of `listen`, once the server answers.
    /// - Throws: what `run` failed with.
    public func waitUntilListening() async throws -> [Int] { try await listening.ports() }

    private func listen(host: String, port: Int) async throws -> Int {
        do {
            let address = try await listener.listen(host: host, port: port, responder: handler)
            return address?.port ?? port
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw Failure.addressInUse(host: host, port: port)
        }
    }

    /// Keeps the authorizer in step with one of the RBAC resources, until cancelled.
    private func followRules(_ resource: String) async {
        while !Task.isCancelled {
            do {
                let watch = try store.watch(
                    resource: resource, namespace: nil, from: store.revision)
                authorizer.rebuild()
                for try await _ in watch { authorizer.rebuild() }
                return  // the store was closed, or the task cancelled
            } catch {
                logger.debug("rules are read anew", metadata: ["error": "\(error)"])
            }
        }
    }

    // MARK: - TLS

    private static func serverTLS(_ configuration: Configuration) throws -> NIOSSLContext {
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(
                Array(configuration.server.certificatePEM.utf8)
            ).map { .certificate($0) },
            privateKey: .privateKey(
                try NIOSSLPrivateKey(
                    bytes: Array(configuration.server.privateKeyPEM.utf8), format: .pem)))
        tls.minimumTLSVersion = .tlsv12
        tls.applicationProtocols = ["h2", "http/1.1"]
        tls.certificateVerification = .optionalVerification
        tls.trustRoots = .certificates(
            try NIOSSLCertificate.fromPEMBytes(Array(configuration.clientAuthorityPEM.utf8)))
        return try NIOSSLContext(configuration: tls)
    }

    private static func nodeTLS(_ configuration: Configuration) throws -> NIOSSLContext? {
        guard let identity = configuration.nodeClient else { return nil }
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.certificateChain = try NIOSSLCertificate.fromPEMBytes(
            Array(identity.certificatePEM.utf8)
        ).map { .certificate($0) }
        tls.privateKey = .privateKey(
            try NIOSSLPrivateKey(bytes: Array(identity.privateKeyPEM.utf8), format: .pem))
        tls.trustRoots = .certificates(
            try NIOSSLCertificate.fromPEMBytes(Array(configuration.nodeAuthorityPEM.utf8)))
        return try NIOSSLContext(configuration: tls)
    }
}

/// Whether the server listens, and where.
private final class Listening: Sendable {
    private struct State {
        var result: Result<[Int], any Error>?
        var waiters: [CheckedContinuation<[Int], any Error>] = []
    }

    private let state = Mutex(State())

    var isReady: Bool {
        state.withLock { state in
            if case .success? = state.result { true } else { false }
        }
    }

    func succeed(_ ports: [Int]) { finish(.success(ports)) }

    func fail(_ error: any Error) { finish(.failure(error)) }

    func ports() async throws -> [Int] {
        try await withCheckedThrowingContinuation { continuation in
            let known = state.withLock { state in
                if state.result == nil { state.waiters.append(continuation) }
                return state.result
            }
            if let known { continuation.resume(with: known) }
        }
    }

    private func finish(_ result: Result<[Int], any Error>) {
        let waiters = state.withLock { state in
            state.result = result
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(with: result) }
    }
}

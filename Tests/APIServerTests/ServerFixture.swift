import APIServer
import Dispatch
import FoundationEssentials
import Glibc
import JSON
import Logging
import NetworkTypes
import Store
import TestSupport

/// A server on a free loopback port over a store in a folder of its own, with real kubectl to ask
/// it. Everything is gone when `run` returns.
struct ServerFixture: Sendable {
    let server: APIServer
    let store: Store
    let authority: CertificateAuthority
    let directory: String
    let port: Int

    var url: String { "https://127.0.0.1:\(port)" }

    /// - Parameter kept: a folder that outlives the fixture; one of its own by default.
    static func run(
        in kept: String? = nil, configure: (inout APIServer.Configuration) -> Void = { _ in },
        _ body: @Sendable (ServerFixture) async throws -> Void
    ) async throws {
        let directory = kept ?? "/tmp/api-test-\(UUID().uuidString.lowercased())"
        mkdir(directory, 0o700)
        defer { if kept == nil { _ = try? Command.run(["rm", "-rf", directory]) } }
        let authority = try CertificateAuthority(directory: "\(directory)/pki")
        let loopback = IPAddress(family: .ipv4, numericValue: 0x7F00_0001)
        let signer = try authority.issueClient(user: "signer", groups: [])
        var configuration = APIServer.Configuration(
            listen: [("127.0.0.1", 0)],
            server: try authority.issueServer(
                commonName: "portolan", dnsNames: ["localhost"], addresses: [loopback]),
            clientAuthorityPEM: authority.certificatePEM,
            serviceAccountKeyPEM: signer.privateKeyPEM,
            // An address of TEST-NET-1: endpoints may not be loopback.
            advertiseAddress: IPAddress(family: .ipv4, numericValue: 0xC000_0201),
            nodeClient: try authority.issueClient(
                user: "kube-apiserver-kubelet-client", groups: ["system:masters"]))
        configure(&configuration)
        let store = try Store(path: "\(directory)/store.db")
        defer { store.close() }
        var logger = Logger(label: "test")
        logger.logLevel = .error
        let server = try APIServer(store: store, configuration: configuration, logger: logger)
        let running = Task { try await server.run() }
        do {
            let ports = try await server.waitUntilListening()
            let fixture = ServerFixture(
                server: server, store: store, authority: authority, directory: directory,
                port: ports.first ?? 0)
            try fixture.kubeconfig(user: "admin", groups: ["system:masters"]).write(
                to: fixture.adminPath)
            try await body(fixture)
        } catch {
            running.cancel()
            _ = await running.result
            throw error
        }
        running.cancel()
        _ = await running.result
    }

    var adminPath: String { "\(directory)/admin.kubeconfig" }

    func kubeconfig(user: String, groups: [String]) throws -> Kubeconfig {
        Kubeconfig(
            name: user, server: url, authorityPEM: authority.certificatePEM,
            identity: try authority.issueClient(user: user, groups: groups))
    }

    // MARK: - kubectl

    /// The kubectls that tests try.
    static var kubectls: [String] { TestClients.kubectls }

    /// Runs kubectl off the cooperative threads, which the server needs.
    func kubectl(
        _ arguments: [String], input: String = "", program: String? = nil,
        environment: [String: String] = [:], kubeconfig: String? = nil
    ) async throws -> CommandResult {
        let command =
            [program ?? Self.kubectls.last ?? "kubectl", "--kubeconfig", kubeconfig ?? adminPath]
            + arguments
        // kubectl caches discovery by host and port; ports are reused by later tests.
        let home = ["HOME": directory, "KUBECACHEDIR": "\(directory)/cache"]
            .merging(environment) { $1 }
        return try await offPool {
            try Command.run(command, input: input, environment: home, timeoutSeconds: 60)
        }
    }

    /// As above; the command must succeed.
    @discardableResult
    func check(
        _ arguments: [String], input: String = "", program: String? = nil
    ) async throws -> String {
        let result = try await kubectl(arguments, input: input, program: program)
        guard result.exitCode == 0 else {
            throw TestFailure(
                "kubectl \(arguments.joined(separator: " ")) ended with \(result.exitCode): "
                    + result.errorOutput + result.output)
        }
        return result.output
    }

    /// Asks with curl and the admin's certificate.
    func curl(
        _ path: String, _ arguments: [String] = [], withCertificate: Bool = true
    ) async throws -> CommandResult {
        var command = ["curl", "-sS", "--cacert", "\(directory)/pki/ca.crt"]
        if withCertificate {
            let identity = try authority.issueClient(user: "admin", groups: ["system:masters"])
            let file = "\(directory)/curl-\(UUID().uuidString)"
            try write(identity.certificatePEM, to: "\(file).crt")
            try write(identity.privateKeyPEM, to: "\(file).key")
            command += ["--cert", "\(file).crt", "--key", "\(file).key"]
        }
        command += arguments + [url + path]
        let final = command
        return try await offPool { try Command.run(final, timeoutSeconds: 60) }
    }

    func write(_ text: String, to path: String) throws {
        try Data(text.utf8).write(to: URL(filePath: path))
    }
}

/// Runs blocking work on a thread that nothing else waits for.
func offPool<Value: Sendable>(
    _ work: @Sendable @escaping () throws -> Value
) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue.global().async { continuation.resume(with: Result { try work() }) }
    }
}

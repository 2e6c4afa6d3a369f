import DNS
import DNSServer
import Glibc
import NetworkTypes
import TestSupport
import Testing

/// A certificate of an authority of its own, for `dns.test` and 127.0.0.1, in a directory that is
/// removed when the test ends.
final class TestCertificates: Sendable {
    let directory: String
    var authority: String { "\(directory)/ca.crt" }
    var certificate: String { "\(directory)/tls.crt" }
    var key: String { "\(directory)/tls.key" }

    init() throws {
        directory = try Command.check(["mktemp", "-d"]).trimmedOutput
        try make()
    }

    deinit { _ = try? Command.run(["rm", "-rf", directory]) }

    /// Makes a fresh authority and certificate in place of those that are there.
    /// - Parameter subject: the names and addresses that it is for.
    func make(subject: String = "DNS:dns.test,IP:127.0.0.1") throws {
        let script = """
            cd \(directory)
            openssl ecparam -name prime256v1 -genkey -noout -out ca.key
            openssl req -x509 -new -key ca.key -days 2 -subj /CN=authority -out ca.crt
            openssl ecparam -name prime256v1 -genkey -noout -out new.key
            openssl req -new -key new.key -subj /CN=server -out tls.csr
            printf 'subjectAltName=\(subject)' >san
            openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
                -extfile san -out new.crt
            mv new.crt tls.crt && mv new.key tls.key
            """
        try Command.check(["sh", "-ec", script])
    }

    /// A service on a free port of loopback.
    var service: TLSService {
        TLSService(
            listenAddresses: [SocketAddress(.v4(0x7F00_0001), port: 0)],
            certificatePath: certificate, keyPath: key)
    }
}

/// DNS over TLS for clients: kdig against the real server.
@Suite(.offPool) struct TLSTests {
    private static func fixture(
        _ certificates: TestCertificates, change: (inout ServerConfiguration) -> Void = { _ in }
    ) throws -> (ServerFixture, SocketAddress) {
        let fixture = try ServerFixture {
            $0.tls = certificates.service
            change(&$0)
        }
        let address = try #require(fixture.server.configuration.tls?.listenAddresses.first)
        return (fixture, address)
    }

    private static func kdig(
        _ address: SocketAddress, _ certificates: TestCertificates, _ arguments: String...
    ) throws -> CommandResult {
        try Command.run(
            [
                "kdig", "@127.0.0.1", "-p", "\(address.port)", "+tls-ca=\(certificates.authority)",
                "+tls-hostname=dns.test", "+timeout=25", "+retry=0",
            ] + arguments)
    }

    @Test func kdigOverTLS() throws {
        let certificates = try TestCertificates()
        let (fixture, address) = try Self.fixture(certificates)
        let answer = try Self.kdig(
            address, certificates, "+short", "web.default.svc.cluster.local")
        #expect(answer.trimmedOutput == "10.96.1.1", "\(answer.errorOutput)")
        // Several questions over one connection, one of them with a large answer.
        let many = try Self.kdig(
            address, certificates, "+keepopen", "+noall", "+answer",
            "web.default.svc.cluster.local", "big.default.svc.cluster.local",
            "none.default.svc.cluster.local", "inner.default.svc.cluster.local")
        #expect(many.output.split(separator: "\n").count { $0.contains("10.244.0.") } == 200)
        #expect(many.output.contains("10.96.1.1"))
        let metrics = fixture.server.metricsText()
        #expect(metrics.contains("portolan_dns_tls_handshakes_total 2"))
    }

    @Test func answersArePaddedWhereTheQueryWas() throws {
        let certificates = try TestCertificates()
        let (fixture, address) = try Self.fixture(certificates)
        func received(_ output: String) -> Int? {
            let line = output.split(separator: "\n").first { $0.hasPrefix(";; Received ") }
            return line.flatMap { $0.split(separator: " ").dropFirst(2).first }.flatMap { Int($0) }
        }
        // kdig pads what it asks over TLS. The second answer does not fit one block.
        for (name, size) in [("web", 468), ("big", 3276)] {
            let answer = try Self.kdig(address, certificates, "\(name).default.svc.cluster.local")
            #expect(received(answer.output) == size, "\(answer.output)")
            #expect(answer.output.contains("PADDING"))
        }
        let bare = try Self.kdig(
            address, certificates, "+nopadding", "web.default.svc.cluster.local")
        #expect(try #require(received(bare.output)) < 128, "\(bare.output)")
        // In the clear nothing is hidden by it.
        let plain = try Command.check([
            "kdig", "@127.0.0.1", "-p", "\(fixture.address.port)", "+tcp", "+padding=128",
            "+timeout=25", "+retry=0", "web.default.svc.cluster.local",
        ]).output
        #expect(try #require(received(plain)) < 128, "\(plain)")
    }

    @Test func whatIsNoTLSIsClosedAndCounted() throws {
        let certificates = try TestCertificates()
        let (fixture, address) = try Self.fixture(certificates)
        let client = try RawClient(address, stream: true)
        client.sendFrame(try queryBytes("web.default.svc.cluster.local"))
        var bytes = client.receive()
        // An alert may come before the end.
        while !bytes.isEmpty { bytes = client.receive() }
        try eventually("the failure is counted") {
            fixture.server.metricsText().contains("portolan_dns_tls_failures_total 1")
        }
        #expect(
            try Self.kdig(address, certificates, "+short", "web.default.svc.cluster.local")
                .trimmedOutput == "10.96.1.1")
    }

    @Test func connectionsAreBounded() throws {
        let certificates = try TestCertificates()
        let (fixture, address) = try Self.fixture(certificates) { $0.limits.connections = 2 }
        // They hold their places without ever beginning a handshake.
        let idle = try (0..<2).map { _ in try RawClient(address, stream: true) }
        try eventually("one more is refused") {
            let client = try RawClient(address, stream: true)
            return client.receive().isEmpty
                && !fixture.server.metricsText().contains("portolan_dns_tls_refused_total 0")
        }
        withExtendedLifetime(idle) {}
    }

    @Test func anIdleConnectionIsClosed() throws {
        let certificates = try TestCertificates()
        let (fixture, address) = try Self.fixture(certificates) { $0.limits.idleSeconds = 1 }
        defer { fixture.server.stop() }
        let client = try RunningCommand(
            [
                "openssl", "s_client", "-quiet", "-connect", "127.0.0.1:\(address.port)",
                "-CAfile", certificates.authority,
            ])
        // Its input is at its end, so it waits for the server's end of the connection.
        let result = try client.finish(timeoutSeconds: 20)
        #expect(result.exitCode == 0, "\(result.errorOutput)")
    }

    @Test func aRenewedCertificateIsTaken() throws {
        let certificates = try TestCertificates()
        let (fixture, address) = try Self.fixture(certificates)
        defer { fixture.server.stop() }
        let name = "web.default.svc.cluster.local"
        #expect(try Self.kdig(address, certificates, "+short", name).trimmedOutput == "10.96.1.1")
        try certificates.make()
        try eventually("the new authority's certificate is shown") {
            try Self.kdig(address, certificates, "+short", name).trimmedOutput == "10.96.1.1"
        }
    }

    @Test func unusableFilesAreNamed() throws {
        let certificates = try TestCertificates()
        let error = #expect(throws: TLSFileError.self) {
            _ = try ServerFixture {
                $0.tls = certificates.service
                $0.tls?.keyPath = "/nowhere/tls.key"
            }
        }
        #expect(error?.description.contains("/nowhere/tls.key") == true)
        // While the server runs, the old certificate stays.
        let (fixture, address) = try Self.fixture(certificates)
        var configuration = fixture.server.configuration
        configuration.tls?.certificatePath = "/nowhere/tls.crt"
        #expect(throws: TLSFileError.self) { try fixture.server.reconfigure(configuration) }
        #expect(
            try Self.kdig(address, certificates, "+short", "web.default.svc.cluster.local")
                .trimmedOutput == "10.96.1.1")
        #expect(try fixture.dig("+short", "web.default.svc.cluster.local") == "10.96.1.1")
    }
}

/// TLS to upstreams: Unbound with a certificate.
@Suite(.offPool) struct TLSUpstreamTests {
    private static func unbound(
        _ port: UInt16, _ certificates: TestCertificates
    ) throws -> RunningCommand {
        let directory = certificates.directory
        let configuration = """
            server:
              interface: 127.0.0.1@\(port)
              tls-port: \(port)
              tls-service-key: "\(certificates.key)"
              tls-service-pem: "\(certificates.certificate)"
              directory: "\(directory)"
              chroot: ""
              username: ""
              use-syslog: no
              do-daemonize: no
              pidfile: "\(directory)/unbound.pid"
              local-zone: "real.test." static
              local-data: "host.real.test. 60 IN A 192.0.2.77"
              local-data: "big.real.test. 60 IN TXT \(String(repeating: "x", count: 250))"
            remote-control:
              control-enable: no
            """
        let path = "\(directory)/unbound.conf"
        try Command.check(["sh", "-c", "cat > \(path)"], input: configuration)
        let process = try RunningCommand(
            ["/usr/sbin/unbound", "-d", "-c", path],
            environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"])
        try eventually("unbound answers over TLS") {
            try Command.run([
                "kdig", "@127.0.0.1", "-p", "\(port)", "+tls", "+short", "+timeout=1", "+retry=0",
                "host.real.test",
            ]).trimmedOutput == "192.0.2.77"
        }
        return process
    }

    private static func route(
        _ port: UInt16, _ certificates: TestCertificates, serverName: String?
    ) -> ForwardRoute {
        ForwardRoute(
            upstreams: [
                Upstream(
                    SocketAddress(.v4(0x7F00_0001), port: port),
                    tls: UpstreamTLS(
                        serverName: serverName, authorityPath: certificates.authority))
            ], cache: nil)
    }

    @Test func namesAreAskedOverTLS() throws {
        let certificates = try TestCertificates()
        let port = try freePort()
        let upstream = try Self.unbound(port, certificates)
        defer { upstream.stop() }
        for name in ["dns.test", nil] {
            let fixture = try ServerFixture(routes: [
                Self.route(port, certificates, serverName: name)
            ])
            for round in 0..<5 {
                #expect(
                    try fixture.dig("+short", "host.real.test") == "192.0.2.77", "round \(round)")
            }
            #expect(try fixture.dig("none.real.test").contains("status: NXDOMAIN"))
            // A hundred at once share the connection.
            let client = try RawClient(fixture.address)
            for id in 0..<100 {
                client.send(try queryBytes("n\(id).real.test", id: UInt16(id)))
            }
            var answered: Set<UInt16> = []
            for _ in 0..<100 {
                let bytes = client.receive()
                guard bytes.count > 2 else { break }
                answered.insert(UInt16(bytes[0]) << 8 | UInt16(bytes[1]))
            }
            #expect(answered.count == 100)
        }
    }

    @Test func aWrongCertificateIsNotBelieved() throws {
        let certificates = try TestCertificates()
        // One that names the address that is asked would do as well.
        try certificates.make(subject: "DNS:dns.test")
        let port = try freePort()
        let upstream = try Self.unbound(port, certificates)
        defer { upstream.stop() }
        let wrongName = try ServerFixture(routes: [
            Self.route(port, certificates, serverName: "other.test")
        ])
        let answer = try wrongName.dig("host.real.test")
        #expect(answer.contains("status: SERVFAIL"), "\(answer)")
        var systems = Self.route(port, certificates, serverName: "dns.test")
        systems.upstreams[0].tls?.authorityPath = nil
        let wrongAuthority = try ServerFixture(routes: [systems])
        #expect(try wrongAuthority.dig("host.real.test").contains("status: SERVFAIL"))
    }

    @Test func aRestartedUpstreamIsFoundAgain() throws {
        let certificates = try TestCertificates()
        let port = try freePort()
        let first = try Self.unbound(port, certificates)
        let fixture = try ServerFixture(routes: [
            Self.route(port, certificates, serverName: "dns.test")
        ])
        #expect(try fixture.dig("+short", "host.real.test") == "192.0.2.77")
        kill(first.processID, SIGKILL)
        #expect(try fixture.dig("host.real.test").contains("status: SERVFAIL"))
        let second = try Self.unbound(port, certificates)
        defer { second.stop() }
        try eventually("the upstream is asked again") {
            try fixture.dig("+short", "host.real.test") == "192.0.2.77"
        }
    }
}

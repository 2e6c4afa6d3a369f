import DNS
import DNSServer
import Glibc
import Netlink
import NetworkTypes
import TestSupport
import Testing

/// The resolvers that pods have: glibc's and musl's, with the resolv.conf of a pod, in a network
/// namespace where the server has port 53; and Python's dnspython.
@Suite(.offPool) struct ClientTests {
    /// A server with an upstream in a namespace, and what runs in there.
    private struct Network {
        let namespace: TestNamespace
        let server: DNSServer
        let upstream: DNSServer
        let directory: String

        /// Runs a program that has a pod's resolv.conf.
        func run(_ arguments: String...) throws -> CommandResult {
            try Command.run(
                [
                    "unshare", "--mount", "sh", "-c",
                    "mount --bind \(directory)/resolv.conf /etc/resolv.conf && exec \"$@\"", "sh",
                ] + arguments, in: namespace.descriptor)
        }
    }

    private static func withNetwork(
        completesSearchPaths: Bool, _ body: (Network) throws -> Void
    ) throws {
        try NetworkFixture.run { fixture in
            let namespace = try fixture.namespace("dns")
            let directory = try Command.check(["mktemp", "-d"]).trimmedOutput
            defer { _ = try? Command.run(["rm", "-rf", directory]) }
            try Command.check(
                ["sh", "-c", "cat > \(directory)/resolv.conf"],
                input: """
                    search default.svc.cluster.local svc.cluster.local cluster.local
                    nameserver 127.0.0.1
                    options ndots:5

                    """)
            // Sockets stay in the namespace in which they are opened; so do those that threads
            // started there open later.
            let (server, upstream) = try NetworkNamespace.withThread(in: namespace.descriptor) {
                try start(completesSearchPaths)
            }
            defer {
                server.stop()
                upstream.stop()
            }
            try body(
                Network(
                    namespace: namespace, server: server, upstream: upstream,
                    directory: directory))
        }
    }

    private static func start(
        _ completesSearchPaths: Bool
    ) throws -> (DNSServer, DNSServer) {
        var hosts = HostsTable()
        hosts.fallsThrough = false
        for line in ["192.0.2.7 www.example.test", "2001:db8::7 www.example.test"] {
            guard hosts.add(line: line.split(separator: " ")) else { throw TestFailure(line) }
        }
        let upstreamAddress = SocketAddress(.v4(0x7F00_0001), port: 5353)
        let upstream = DNSServer(
            configuration: ServerConfiguration(
                listenAddresses: [upstreamAddress], routes: [ForwardRoute(hosts: hosts)]))
        try upstream.start()
        let zone = Zone(configuration: ZoneConfiguration(name: DNSName("cluster.local") ?? .root))
        zone.applyNamespace("default", exists: true)
        for input in ServerFixture.inputs { zone.apply(input.key, input) }
        let dual = ServiceRecordInput(
            namespace: "default", name: "dual",
            clusterIPs: [.v4(0x0A60_0102), .v6(0xFD00 << 112 | 2)], ports: [ServerFixture.http])
        zone.apply(dual.key, dual)
        let server = DNSServer(
            configuration: ServerConfiguration(
                listenAddresses: [SocketAddress(.v4(0x7F00_0001), port: 53)], zone: zone,
                routes: [ForwardRoute(upstreams: [Upstream(upstreamAddress)])],
                completesSearchPaths: completesSearchPaths))
        try server.start()
        return (server, upstream)
    }

    /// A name, the addresses that it has, and whether a pod's search path is completed.
    private static let lookups: [(name: String, addresses: Set<String>)] = [
        ("web", ["10.96.1.1"]),
        ("web.default", ["10.96.1.1"]),
        ("web.default.svc.cluster.local", ["10.96.1.1"]),
        ("dual", ["10.96.1.2", "fd00::2"]),
        ("www.example.test", ["192.0.2.7", "2001:db8::7"]),
        ("out", ["192.0.2.7", "2001:db8::7"]),
        ("none.example.test", []),
        ("none", []),
        // 200 addresses: the answer is cut over UDP and comes over TCP.
        ("big", Set((0..<200).map { "10.244.0.\($0)" })),
    ]

    @Test(arguments: [false, true])
    func glibcAsAPodHasIt(completesSearchPaths: Bool) throws {
        try Self.withNetwork(completesSearchPaths: completesSearchPaths) { network in
            let zone = try #require(network.server.configuration.zone)
            zone.applyClient(.v4(0x7F00_0001), namespace: "default")
            for (name, addresses) in Self.lookups {
                let output = try network.run("getent", "ahosts", name).output
                let found = output.split(separator: "\n").compactMap {
                    $0.split(separator: " ").first
                }
                #expect(Set(found.map(String.init)) == addresses, "\(name): \(output)")
            }
        }
    }

    @Test(arguments: [false, true])
    func muslAsAPodHasIt(completesSearchPaths: Bool) throws {
        try Self.withNetwork(completesSearchPaths: completesSearchPaths) { network in
            let zone = try #require(network.server.configuration.zone)
            zone.applyClient(.v4(0x7F00_0001), namespace: "default")
            let program = "\(network.directory)/lookup"
            try Command.check(["sh", "-c", "cat > \(program).c"], input: Self.source)
            try Command.check(["musl-gcc", "-static", "-O1", "-o", program, "\(program).c"])
            for (name, addresses) in Self.lookups {
                let output = try network.run(program, name).output
                var wanted = addresses
                // musl keeps 48 addresses a name at most.
                if name == "big" { wanted = Set(output.split(separator: "\n").map(String.init)) }
                #expect(
                    Set(output.split(separator: "\n").map(String.init)) == wanted,
                    "\(name): \(output)")
                #expect(addresses.isEmpty || !output.isEmpty, "\(name)")
            }
        }
    }

    /// Prints the addresses of its argument.
    private static let source = """
        #include <arpa/inet.h>
        #include <netdb.h>
        #include <stdio.h>
        int main(int argc, char **argv) {
            struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = 0;
            if (argc < 2 || getaddrinfo(argv[1], 0, &hints, &list)) return 1;
            for (; list; list = list->ai_next) {
                char text[INET6_ADDRSTRLEN];
                void *address = list->ai_family == AF_INET
                    ? (void *)&((struct sockaddr_in *)list->ai_addr)->sin_addr
                    : (void *)&((struct sockaddr_in6 *)list->ai_addr)->sin6_addr;
                puts(inet_ntop(list->ai_family, address, text, sizeof text));
            }
        }
        """

    /// With its search path completed, a pod's lookup of an outside name is one query for each
    /// family, not eight.
    @Test func aSearchPathIsOneQuery() throws {
        try Self.withNetwork(completesSearchPaths: true) { network in
            let zone = try #require(network.server.configuration.zone)
            func queries() throws -> Int {
                let text = network.server.metricsText()
                let lines = text.split(separator: "\n").filter {
                    $0.hasPrefix("coredns_dns_requests_total{")
                }
                return lines.compactMap { $0.split(separator: " ").last.flatMap { Int($0) } }
                    .reduce(0, +)
            }
            let start = try queries()
            _ = try network.run("getent", "ahosts", "www.example.test")
            let without = try queries() - start
            zone.applyClient(.v4(0x7F00_0001), namespace: "default")
            _ = try network.run("getent", "ahosts", "www.example.test")
            let with = try queries() - start - without
            #expect(without == 8)
            #expect(with == 2)
        }
    }

    @Test func pythonsDNSLibrary() throws {
        let python = try Command.check(
            [Repository.path("scripts/python-environment"), "dns", "dnspython==2.7.0"],
            timeoutSeconds: 300
        ).trimmedOutput
        let certificates = try TestCertificates()
        let fixture = try ServerFixture { $0.tls = certificates.service }
        let tls = try #require(fixture.server.configuration.tls?.listenAddresses.first)
        let result = try Command.run(
            [
                "\(python)/bin/python", "-c", Self.script, "\(fixture.address.port)", "\(tls.port)",
                certificates.authority,
            ], timeoutSeconds: 60)
        #expect(result.exitCode == 0, "\(result.errorOutput)")
        #expect(result.trimmedOutput == "done")
    }

    /// What dnspython finds, over UDP, TCP and TLS.
    private static let script = """
        import ssl, sys
        import dns.edns, dns.flags, dns.message, dns.query, dns.rcode, dns.resolver, dns.reversename
        port, tls_port, authority = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
        zone = "default.svc.cluster.local."
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], port
        resolver.search = [dns.name.from_text(zone)]
        assert resolver.resolve("web." + zone)[0].address == "10.96.1.1"
        assert resolver.resolve("web", search=True)[0].address == "10.96.1.1"
        assert len(resolver.resolve("big." + zone)) == 200
        srv = resolver.resolve("_http._tcp.web." + zone, "SRV")[0]
        assert (srv.port, str(srv.target)) == (80, "web." + zone)
        name = dns.reversename.from_address("10.96.1.1")
        assert str(resolver.resolve(name, "PTR")[0].target) == "web." + zone
        assert resolver.resolve("inner." + zone).canonical_name.to_text() == "web." + zone
        try:
            resolver.resolve("none." + zone)
            raise SystemExit("there is no such name")
        except dns.resolver.NXDOMAIN:
            pass
        try:
            resolver.resolve("web." + zone, "AAAA")
            raise SystemExit("there is no such record")
        except dns.resolver.NoAnswer:
            pass
        cookie = dns.edns.GenericOption(10, bytes(8))
        query = dns.message.make_query("web." + zone, "A", use_edns=0, options=[cookie])
        answer = dns.query.udp(query, "127.0.0.1", port=port, timeout=25)
        assert answer.flags & dns.flags.AA and len(answer.options[0].to_wire()) == 24
        query = dns.message.make_query("web." + zone, "A", use_edns=1)
        assert dns.query.udp(query, "127.0.0.1", port=port, timeout=25).rcode() == dns.rcode.BADVERS
        query = dns.message.make_query("big." + zone, "A")
        assert dns.query.udp(query, "127.0.0.1", port=port, timeout=25).flags & dns.flags.TC
        assert len(dns.query.tcp(query, "127.0.0.1", port=port, timeout=25).answer[0]) == 200
        context = ssl.create_default_context(cafile=authority)
        answer = dns.query.tls(
            query, "127.0.0.1", port=tls_port, timeout=25, ssl_context=context,
            server_hostname="dns.test")
        assert len(answer.answer[0]) == 200
        print("done")
        """
}

/// Files of this repository.
enum Repository {
    static func path(_ file: String) -> String {
        let here = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
        return here.joined(separator: "/") + "/" + file
    }
}

import DNS
import DNSServer
import NetworkTypes
import Synchronization
import TestSupport
import Testing

/// Forwarding, caching, aliases and search paths, with a second server of ours as upstream: its
/// zone is `test`, so that `www.svc.test` and the like have answers.
@Suite(.offPool) struct ForwardTests {
    /// An upstream with hosts that can be stopped.
    private static func upstream(
        _ names: [String: String], timeToLiveSeconds: UInt32 = 3600
    ) throws -> DNSServer {
        var hosts = HostsTable()
        hosts.fallsThrough = false
        hosts.timeToLiveSeconds = timeToLiveSeconds
        for (name, address) in names {
            let isRead = hosts.add(line: [address[...], name[...]])
            #expect(isRead)
        }
        let server = DNSServer(
            configuration: ServerConfiguration(
                listenAddresses: [SocketAddress(.v4(0x7F00_0001), port: 0)],
                routes: [ForwardRoute(hosts: hosts)]))
        try server.start()
        return server
    }

    private static func route(
        to server: DNSServer, change: (inout ForwardRoute) -> Void = { _ in }
    ) throws -> ForwardRoute {
        var route = ForwardRoute(
            upstreams: [Upstream(try #require(server.configuration.listenAddresses.first))])
        change(&route)
        return route
    }

    @Test func otherNamesAreForwardedAndCached() throws {
        let upstream = try Self.upstream(["www.example.test": "192.0.2.7"])
        defer { upstream.stop() }
        let fixture = try ServerFixture(routes: [try Self.route(to: upstream)])
        #expect(try fixture.dig("+short", "www.example.test") == "192.0.2.7")
        #expect(try fixture.dig("none.example.test").contains("status: NXDOMAIN"))
        upstream.stop()
        #expect(try fixture.dig("+short", "WWW.example.test") == "192.0.2.7", "from the cache")
        #expect(try fixture.dig("+short", "+tcp", "www.example.test") == "192.0.2.7")
        #expect(fixture.server.metricsText().contains("coredns_cache_hits_total{type=\"success\""))
    }

    @Test func aDeadUpstreamIsPassedOver() throws {
        let upstream = try Self.upstream(["www.example.test": "192.0.2.7"])
        defer { upstream.stop() }
        let route = try Self.route(to: upstream) {
            // Nobody listens on port 1: the kernel says so at once.
            $0.upstreams.insert(Upstream(SocketAddress(.v4(0x7F00_0001), port: 1)), at: 0)
            $0.policy = .sequential
            $0.cache = nil
        }
        let fixture = try ServerFixture(routes: [route])
        for _ in 0..<5 {
            #expect(try fixture.dig("+short", "www.example.test") == "192.0.2.7")
        }
    }

    @Test func aStaleAnswerIsGivenWhileUpstreamsFail() throws {
        let upstream = try Self.upstream(["www.example.test": "192.0.2.7"], timeToLiveSeconds: 1)
        let route = try Self.route(to: upstream) { $0.cache?.minimumSeconds = 1 }
        let fixture = try ServerFixture(routes: [route])
        #expect(try fixture.dig("+short", "www.example.test") == "192.0.2.7")
        upstream.stop()
        try eventually("the answer has run out and is given nevertheless") {
            let output = try fixture.dig("+noall", "+answer", "www.example.test")
            #expect(output.contains("192.0.2.7"))
            return fixture.server.metricsText().contains("coredns_cache_served_stale_total")
                && !fixture.server.metricsText()
                    .contains(
                        "coredns_cache_served_stale_total{server=\"dns://:53\",view=\"\",zones=\".\"} 0"
                    )
        }
    }

    @Test func noUpstreamAtAllFailsSoon() throws {
        let route = ForwardRoute(upstreams: [Upstream(SocketAddress(.v4(0x7F00_0001), port: 1))])
        let fixture = try ServerFixture(routes: [route])
        #expect(try fixture.dig("www.example.test").contains("status: SERVFAIL"))
        let none = try ServerFixture()
        #expect(try none.dig("www.example.test").contains("status: REFUSED"))
    }

    @Test func externalNamesAreChased() throws {
        let upstream = try Self.upstream(["www.example.test": "192.0.2.7"])
        defer { upstream.stop() }
        let fixture = try ServerFixture(routes: [try Self.route(to: upstream)])
        for transport in ["+notcp", "+tcp"] {
            #expect(
                try fixture.dig("+short", transport, "out.default.svc.cluster.local")
                    == "www.example.test.\n192.0.2.7")
            #expect(
                try fixture.dig("+short", transport, "inner.default.svc.cluster.local")
                    == "web.default.svc.cluster.local.\n10.96.1.1")
        }
        let alone = try ServerFixture()
        #expect(
            try alone.dig("+short", "out.default.svc.cluster.local") == "www.example.test.",
            "without an upstream the alias stands alone")
    }

    @Test func searchPathsOfKnownPodsAreCompleted() throws {
        let upstream = try Self.upstream(["www.example.test": "192.0.2.7"])
        defer { upstream.stop() }
        let fixture = try ServerFixture(routes: [try Self.route(to: upstream)]) {
            $0.completesSearchPaths = true
        }
        let client = IPAddress.v4(0x7F00_0001)
        let name = "www.example.test.default.svc.cluster.local"
        #expect(try fixture.dig(name).contains("status: NXDOMAIN"), "the client is not known")
        fixture.zone.applyClient(client, namespace: "default")
        #expect(try fixture.dig("+short", name) == "www.example.test.\n192.0.2.7")
        #expect(
            try fixture.dig("+short", "web.default.default.svc.cluster.local")
                == "web.default.svc.cluster.local.\n10.96.1.1")
        #expect(try fixture.dig("none.test.default.svc.cluster.local").contains("NXDOMAIN"))
        // An address that has passed to another namespace's pod is not completed for.
        fixture.zone.applyClient(client, namespace: "other")
        #expect(try fixture.dig(name).contains("status: NXDOMAIN"))
        fixture.zone.applyClient(client, namespace: nil)
        #expect(try fixture.dig(name).contains("status: NXDOMAIN"))
    }

    @Test func equalQuestionsAreAskedOnce() throws {
        let silent = try RawServer()
        let fixture = try ServerFixture(routes: [
            ForwardRoute(upstreams: [Upstream(silent.address)])
        ])
        let clients = try (0..<5).map { _ in try RawClient(fixture.address) }
        for client in clients { client.send(try queryBytes("slow.example.test")) }
        var first = try #require(silent.receive())
        if try DNSMessage(decoding: first.bytes.span).questions.first?.type == .hinfo {
            // The probe for loops came first.
            first = try #require(silent.receive())
        }
        let query = try DNSMessage(decoding: first.bytes.span)
        // Lies first: another ID, another question, garbage. They are passed over.
        var lie = query
        lie.flags = 0x8180
        lie.id = query.id ^ 1
        silent.send(MessageEncoder.encode(lie), to: first.client)
        lie.id = query.id
        lie.questions = [DNSQuestion(name: .root, type: .ns)]
        silent.send(MessageEncoder.encode(lie), to: first.client)
        silent.send([1, 2, 3], to: first.client)
        var truth = query
        truth.flags = 0x8180
        truth.additionals = []
        truth.answers = [
            ResourceRecord(
                name: query.questions[0].name, type: .a, timeToLiveSeconds: 9, data: [192, 0, 2, 9])
        ]
        silent.send(MessageEncoder.encode(truth), to: first.client)
        for client in clients {
            let answer = try DNSMessage(decoding: client.receive().span)
            #expect(answer.answers.first?.data == [192, 0, 2, 9])
        }
        #expect(fixture.server.metricsText().contains("portolan_dns_forward_mismatches_total 3"))
    }

    @Test func upstreamsAreCountedUnderCoreDNSNames() throws {
        let upstream = try Self.upstream(["www.example.test": "192.0.2.7"])
        defer { upstream.stop() }
        let route = try Self.route(to: upstream) { $0.cache = nil }
        let fixture = try ServerFixture(routes: [route])
        for name in ["www.example.test", "www.example.test", "none.example.test"] {
            _ = try fixture.dig(name)
        }
        let to = "to=\"\(route.upstreams[0].address)\""
        let duration = "coredns_proxy_request_duration_seconds"
        let metrics = fixture.server.metricsText()
        for line in [
            "# TYPE \(duration) histogram\n",
            "\(duration)_count{proxy_name=\"forward\",rcode=\"NOERROR\",\(to)} 2\n",
            "\(duration)_bucket{proxy_name=\"forward\",rcode=\"NXDOMAIN\",\(to),le=\"+Inf\"} ",
            "coredns_proxy_healthcheck_failures_total{proxy_name=\"forward\",\(to)} 0\n",
            // The probe for loops may be counted as well.
            "coredns_proxy_conn_cache_misses_total{proto=\"udp\",proxy_name=\"forward\",\(to)} ",
        ] {
            #expect(metrics.contains(line), "\(line) is not in\n\(metrics)")
        }
        // A dead one: its probes are what fails from now on.
        upstream.stop()
        _ = try fixture.dig("www.example.test")
        let failures = "coredns_proxy_healthcheck_failures_total{proxy_name=\"forward\",\(to)} "
        try eventually("a probe has failed") {
            let text = fixture.server.metricsText()
            return text.contains(failures) && !text.contains(failures + "0\n")
        }
    }

    @Test func hostsAndRewritesComeFirst() throws {
        var route = ForwardRoute()
        let isRead = route.hosts.add(line: ["192.0.2.1", "fixed.example.test"])
        #expect(isRead)
        route.rewrites = [
            NameRewrite(
                match: .suffix(try #require(DNSName("old.test"))),
                replacement: "default.svc.cluster.local")
        ]
        let fixture = try ServerFixture(routes: [route])
        #expect(try fixture.dig("+short", "fixed.example.test") == "192.0.2.1")
        #expect(try fixture.dig("+short", "-x", "192.0.2.1") == "fixed.example.test.")
        #expect(
            try fixture.dig("+noall", "+answer", "web.old.test").hasPrefix("web.old.test."))
        #expect(try fixture.dig("+short", "web.default.svc.cluster.local") == "10.96.1.1")
    }

    @Test func stubDomainsGoToTheirOwnServers() throws {
        let company = try Self.upstream(["host.corp.test": "192.0.2.50"])
        defer { company.stop() }
        let world = try Self.upstream(["host.corp.test": "192.0.2.51", "www.test": "192.0.2.52"])
        defer { world.stop() }
        let stub = try Self.route(to: company) { $0.suffix = DNSName("corp.test") ?? .root }
        let fixture = try ServerFixture(routes: [try Self.route(to: world), stub])
        #expect(try fixture.dig("+short", "host.corp.test") == "192.0.2.50")
        #expect(try fixture.dig("+short", "www.test") == "192.0.2.52")
    }

    @Test func theForwarderFollowsItsResolverFile() throws {
        let first = try Self.upstream(["a.test": "192.0.2.1"])
        defer { first.stop() }
        let forwarder = DNSForwarder(
            listenAddresses: [SocketAddress(.v4(0x7F00_0001), port: 0)],
            upstreams: first.configuration.listenAddresses.map { Upstream($0) })
        try forwarder.start()
        defer { forwarder.stop() }
        let port = try #require(forwarder.listenAddresses.first).port
        let output = try Command.check([
            "dig", "@127.0.0.1", "-p", "\(port)", "+short", "a.test",
        ])
        #expect(output.trimmedOutput == "192.0.2.1")
    }

    @Test func resolverFilesAreReadAsTheLibraryReadsThem() {
        let file = ResolverFile(
            parsing: "# x\nsearch a.test b.test\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\n"
                + "nameserver 2001:db8::1\noptions ndots:5\nnameserver\n")
        #expect(file.servers.map(\.description) == ["192.0.2.1:53", "[2001:db8::1]:53"])
        #expect(file.searchDomains.map(\.description) == ["a.test.", "b.test."])
    }
}

@Suite(.offPool) struct LoopTests {
    /// Two servers that forward to each other: the first one's probe comes back to it.
    @Test func aLoopIsFoundAndLeft() throws {
        let first = try ServerFixture()
        let second = try ServerFixture(routes: [ForwardRoute(upstreams: [Upstream(first.address)])])
        var configuration = first.server.configuration
        configuration.routes = [ForwardRoute(upstreams: [Upstream(second.address)])]
        try first.server.reconfigure(configuration)
        try eventually("the loop is seen") {
            first.server.metricsText().contains("portolan_dns_forward_loops_total 1")
        }
        #expect(try first.dig("www.example.test").contains("status: SERVFAIL"))
        #expect(try first.dig("+short", "web.default.svc.cluster.local") == "10.96.1.1")
    }

    @Test func theServersOwnAddressIsNoUpstream() throws {
        let fixture = try ServerFixture()
        var configuration = fixture.server.configuration
        configuration.routes = [ForwardRoute(upstreams: [Upstream(fixture.address)])]
        try fixture.server.reconfigure(configuration)
        try eventually("the loop is seen") {
            fixture.server.metricsText().contains("portolan_dns_forward_loops_total 1")
        }
        #expect(try fixture.dig("www.example.test").contains("status: SERVFAIL"))
    }
}

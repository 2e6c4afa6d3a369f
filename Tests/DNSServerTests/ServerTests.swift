import DNS
import DNSServer
import Glibc
import NetworkTypes
import TestSupport
import Testing

/// The real server over real sockets, asked by real clients.
@Suite(.offPool) struct ServerTests {
    @Test func digOverUDPAndTCP() throws {
        let fixture = try ServerFixture()
        for transport in ["+notcp", "+tcp"] {
            #expect(
                try fixture.dig("+short", transport, "web.default.svc.cluster.local")
                    == "10.96.1.1")
            #expect(
                try fixture.dig("+short", transport, "-x", "10.96.1.1")
                    == "web.default.svc.cluster.local.")
        }
        let missing = try fixture.dig("none.default.svc.cluster.local")
        #expect(missing.contains("status: NXDOMAIN"))
        #expect(missing.contains("cluster.local.\t\t30\tIN\tSOA"))
        #expect(missing.contains("flags: qr aa rd"))
    }

    @Test func kdigWithoutAComplaint() throws {
        let fixture = try ServerFixture()
        let output = try Command.check([
            "kdig", "@127.0.0.1", "-p", "\(fixture.address.port)", "SRV",
            "_http._tcp.web.default.svc.cluster.local",
        ]).output
        #expect(output.contains("0 100 80 web.default.svc.cluster.local."))
        #expect(!output.contains("WARNING"))
    }

    @Test func aLargeAnswerIsTruncatedAndComesOverTCP() throws {
        let fixture = try ServerFixture()
        let name = "big.default.svc.cluster.local"
        let cut = try fixture.dig("+ignore", name)
        #expect(cut.contains(" tc "))
        let whole = try fixture.dig("+short", name)
        #expect(whole.split(separator: "\n").count == 200)
        let client = try RawClient(fixture.address)
        client.send(try queryBytes(name, limit: nil))
        #expect(client.receive().count <= 512)
        client.send(try queryBytes(name, limit: 4096))
        let answer = client.receive()
        #expect(answer.count > 1232)
        #expect(answer.count <= 4096)
    }

    @Test func cookiesComeBackAndVersionsAreRefused() throws {
        let fixture = try ServerFixture()
        let output = try fixture.dig("+cookie=0102030405060708", "web.default.svc.cluster.local")
        #expect(output.contains("COOKIE: 0102030405060708"))
        #expect(output.contains("(good)"))
        #expect(
            try fixture.dig("+edns=1", "+noednsneg", "web.default.svc.cluster.local")
                .contains("status: BADVERS"))
        #expect(try fixture.dig("CH", "TXT", "version.bind").contains("status: REFUSED"))
        #expect(
            try fixture.dig("ANY", "web.default.svc.cluster.local").contains("RFC8482"))
        #expect(
            try Command.run([
                "dig", "@127.0.0.1", "-p", "\(fixture.address.port)", "AXFR", "cluster.local",
            ]).output.contains("failed"))
    }

    @Test func serverIDIsOffUnlessConfigured() throws {
        let silent = try ServerFixture()
        #expect(try !silent.dig("+nsid", "web.default.svc.cluster.local").contains("NSID"))
        let named = try ServerFixture { $0.serverID = "node-1" }
        #expect(try named.dig("+nsid", "web.default.svc.cluster.local").contains("node-1"))
    }

    @Test func theQuestionsCaseIsEchoed() throws {
        let fixture = try ServerFixture()
        #expect(
            try fixture.dig("+noall", "+answer", "WeB.dEfAuLt.sVc.cluster.LOCAL")
                .hasPrefix("WeB.dEfAuLt.sVc.cluster.LOCAL."))
    }

    @Test func aPipelineIsAnsweredWhole() throws {
        let fixture = try ServerFixture()
        let client = try RawClient(fixture.address, stream: true)
        for id in 0..<500 {
            client.sendFrame(try queryBytes("web.default.svc.cluster.local", id: UInt16(id)))
        }
        var seen: Set<UInt16> = []
        for _ in 0..<500 {
            let bytes = try #require(client.receiveFrame())
            seen.insert(try DNSMessage(decoding: bytes.span).id)
        }
        #expect(seen.count == 500)
    }

    @Test func idleConnectionsAreClosedAndTheirNumberIsBounded() throws {
        let fixture = try ServerFixture {
            $0.limits.idleSeconds = 1
            $0.limits.connections = 2
        }
        let first = try RawClient(fixture.address, stream: true)
        first.sendFrame(try queryBytes("web.default.svc.cluster.local"))
        #expect(first.receiveFrame() != nil)
        let others = try (0..<2).map { _ in try RawClient(fixture.address, stream: true) }
        #expect(first.receiveFrame() == nil, "closed to make room")
        #expect(others[0].receiveFrame() == nil, "closed when idle")
    }

    /// A program that is being started holds copies of all descriptors for a moment. A closed
    /// connection's events must not end the next one, which has its place and its number.
    @Test func aCopyOfAClosedConnectionDoesNotEndTheNext() throws {
        let fixture = try ServerFixture()
        let query = try queryBytes("web.default.svc.cluster.local")
        var copy: Int32 = -1
        var ofServer: Int32 = -1
        var port: UInt16 = 0
        do {
            // Its answer stays unread, so that its end is a reset.
            let first = try RawClient(fixture.address, stream: true)
            first.sendFrame(query)
            #expect(first.hasAnswer())
            port = first.localPort
            ofServer = try #require(
                (3..<4096).first { descriptor in
                    portOfName { getpeername(descriptor, $0, $1) } == port
                })
            copy = dup(ofServer)
        }
        defer { close(copy) }
        try eventually("the server closes its end") {
            portOfName { getpeername(ofServer, $0, $1) } != port
        }
        for round in 0..<20 {
            let next = try RawClient(fixture.address, stream: true)
            next.sendFrame(query)
            #expect(next.receiveFrame() != nil, "round \(round)")
        }
    }

    @Test func malformedPacketsAreRefusedOrDropped() throws {
        let fixture = try ServerFixture()
        let client = try RawClient(fixture.address)
        client.send([1, 2, 3])
        client.send([0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        #expect(try DNSMessage(decoding: client.receive().span).responseCode == .formatError)
        client.send([0, 9, 0x28, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1])
        #expect(try DNSMessage(decoding: client.receive().span).responseCode == .notImplemented)
        client.send([0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xC0, 12, 0, 1, 0, 1])
        #expect(try DNSMessage(decoding: client.receive().span).responseCode == .formatError)
        #expect(try fixture.dig("+short", "web.default.svc.cluster.local") == "10.96.1.1")
    }

    @Test func changesShowAtOnceAndReconfiguringKeepsAnswering() throws {
        let fixture = try ServerFixture()
        var input = ServerFixture.inputs[0]
        input.clusterIPs = [.v4(0x0A60_0202)]
        fixture.server.apply(input.key, input)
        #expect(try fixture.dig("+short", "web.default.svc.cluster.local") == "10.96.2.2")
        let client = try RawClient(fixture.address)
        for round in 0..<50 {
            var configuration = fixture.server.configuration
            configuration.serverID = "round-\(round)"
            try fixture.server.reconfigure(configuration)
            client.send(try queryBytes("web.default.svc.cluster.local", id: UInt16(round)))
            #expect(try DNSMessage(decoding: client.receive().span).id == UInt16(round))
        }
    }

    @Test func strangersAreRateLimited() throws {
        let fixture = try ServerFixture {
            $0.rateLimit = RateLimit(
                responsesPerSecond: 5, slip: 2, exemptsPrivateAddresses: false)
        }
        let client = try RawClient(fixture.address)
        for id in 0..<100 {
            client.send(try queryBytes("web.default.svc.cluster.local", id: UInt16(id)))
        }
        // More than is allowed in the seconds that a slow machine takes to send them.
        try eventually("many are held back") {
            let text = fixture.server.metricsText()
            let line = text.split(separator: "\n").first {
                $0.hasPrefix("portolan_dns_rate_limited_total ")
            }
            return line.flatMap { $0.split(separator: " ").last }.flatMap { Int($0) } ?? 0 > 20
        }
    }

    @Test func metricsCountUnderCoreDNSNames() throws {
        let fixture = try ServerFixture()
        _ = try fixture.dig("web.default.svc.cluster.local")
        _ = try fixture.dig("+tcp", "AAAA", "none.default.svc.cluster.local")
        try eventually("counted") {
            let text = fixture.server.metricsText()
            return text.contains(
                "coredns_dns_requests_total{family=\"1\",proto=\"udp\",server=\"dns://:53\",type=\"A\""
            )
                && text.contains("proto=\"tcp\",server=\"dns://:53\",type=\"AAAA\"")
                && text.contains("rcode=\"NXDOMAIN\"")
                && text.contains("coredns_dns_request_duration_seconds_count")
        }
    }

    @Test func anAddressThatIsTakenIsNamed() throws {
        let holder = try RawServer()
        let other = DNSServer(
            configuration: ServerConfiguration(listenAddresses: [holder.address]))
        let error = #expect(throws: SocketError.self) { try other.start() }
        #expect(error?.description.contains("listen on UDP \(holder.address)") == true)
        #expect(error?.description.contains("stop the other server") == true)
    }

    @Test func privateAddressesAreNotLimited() throws {
        let fixture = try ServerFixture { $0.rateLimit = RateLimit(responsesPerSecond: 1) }
        let client = try RawClient(fixture.address)
        for id in 0..<50 {
            client.send(try queryBytes("web.default.svc.cluster.local", id: UInt16(id)))
            #expect(try DNSMessage(decoding: client.receive().span).answers.count == 1)
        }
    }

    @Test func severalThreadsAnswerOneAddress() throws {
        let fixture = try ServerFixture { $0.threadCount = 3 }
        for _ in 0..<10 {
            let client = try RawClient(fixture.address)
            client.send(try queryBytes("web.default.svc.cluster.local"))
            #expect(try DNSMessage(decoding: client.receive().span).answers.count == 1)
        }
    }

    @Test func clientsAreCountedOnRequest() async throws {
        let fixture = try ServerFixture()
        fixture.server.countClients(forSeconds: 60)
        let client = try RawClient(fixture.address)
        for id in 0..<20 {
            client.send(try queryBytes("web.default.svc.cluster.local", id: UInt16(id)))
            #expect(!client.receive().isEmpty)
        }
        try await soon("the client is counted") {
            await fixture.server.topTalkers().first?.address == .v4(0x7F00_0001)
        }
    }

    @Test func ipv6ListenersAnswer() throws {
        let server = DNSServer(
            configuration: ServerConfiguration(listenAddresses: [SocketAddress(.v6(1), port: 0)]))
        try server.start()
        defer { server.stop() }
        let port = try #require(server.configuration.listenAddresses.first).port
        let output = try Command.check([
            "dig", "@::1", "-p", "\(port)", "+time=25", "+tries=1", "a.test",
        ]).output
        #expect(output.contains("status: REFUSED"))
    }
}

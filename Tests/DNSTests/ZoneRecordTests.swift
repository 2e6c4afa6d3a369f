import DNS
import NetworkTypes
import Testing

/// The records of the Kubernetes DNS specification 1.1.0.
@Suite struct ZoneRecordTests {
    @Test func clusterIPHasAddressesInBothFamilies() throws {
        let harness = try ZoneHarness()
        let input = Sample.clusterIP("web", ["10.96.1.1", "fd00::1"])
        harness.zone.apply(input.key, input)
        #expect(
            try harness.answers("web.default.svc.cluster.local")
                == ["web.default.svc.cluster.local. 30 A 10.96.1.1"])
        #expect(
            try harness.answers("WEB.default.Svc.cluster.LOCAL", .aaaa)
                == ["WEB.default.Svc.cluster.LOCAL. 30 AAAA fd00::1"])
    }

    @Test func headlessHasOneAddressPerReadyEndpointAndNamesForEach() throws {
        let harness = try ZoneHarness()
        let input = Sample.headless(
            "db",
            [
                try Sample.endpoint("10.244.0.5", hostname: "db-0"),
                try Sample.endpoint("10.244.1.6"),
                try Sample.endpoint("10.244.1.7", isReady: false),
            ])
        harness.zone.apply(input.key, input)
        #expect(
            try harness.answers("db.default.svc.cluster.local") == [
                "db.default.svc.cluster.local. 30 A 10.244.0.5",
                "db.default.svc.cluster.local. 30 A 10.244.1.6",
            ])
        #expect(
            try harness.answers("db-0.db.default.svc.cluster.local")
                == ["db-0.db.default.svc.cluster.local. 30 A 10.244.0.5"])
        #expect(
            try harness.answers("10-244-1-6.db.default.svc.cluster.local")
                == ["10-244-1-6.db.default.svc.cluster.local. 30 A 10.244.1.6"])
        #expect(try harness.ask("10-244-1-7.db.default.svc.cluster.local").outcome == .missing)
    }

    @Test func headlessWithoutReadyEndpointsDoesNotExist() throws {
        let harness = try ZoneHarness()
        var input = Sample.headless("db", [try Sample.endpoint("10.244.0.5", isReady: false)])
        harness.zone.apply(input.key, input)
        let (outcome, message) = try harness.ask("db.default.svc.cluster.local")
        #expect(outcome == .missing)
        #expect(message?.responseCode == .nameError)
        #expect(message?.authorities.map(\.type) == [.soa])
        input.publishNotReadyAddresses = true
        harness.zone.apply(input.key, input)
        #expect(try harness.answers("db.default.svc.cluster.local").count == 1)
    }

    @Test func servicePortsOfClusterIPPointToTheService() throws {
        let harness = try ZoneHarness()
        let input = Sample.clusterIP(ports: [
            Sample.port("http", 80), Sample.port("dns", 53, .udp), Sample.port("", 9),
        ])
        harness.zone.apply(input.key, input)
        let (_, message) = try harness.ask("_http._tcp.web.default.svc.cluster.local", .srv)
        #expect(
            message?.answers.map(\.text) == [
                "_http._tcp.web.default.svc.cluster.local. 30 SRV 0 100 80 "
                    + "web.default.svc.cluster.local."
            ])
        #expect(
            message?.additionals.map(\.text) == ["web.default.svc.cluster.local. 30 A 10.96.1.1"])
        #expect(try harness.answers("_dns._udp.web.default.svc.cluster.local", .srv).count == 1)
        // `_tcp.web…` exists without records (RFC 8020).
        let empty = try harness.ask("_tcp.web.default.svc.cluster.local", .srv)
        #expect(empty.outcome == .answered(.noError))
        #expect(empty.message?.answers.isEmpty == true)
    }

    @Test func servicePortsOfHeadlessHaveATargetPerEndpoint() throws {
        let harness = try ZoneHarness()
        let input = Sample.headless(
            "db",
            [
                try Sample.endpoint("10.244.0.5", hostname: "db-0"),
                try Sample.endpoint("10.244.1.6", hostname: "db-1"),
                try Sample.endpoint("10.244.1.8", hostname: "db-2"),
            ])
        harness.zone.apply(input.key, input)
        let (_, message) = try harness.ask("_http._tcp.db.default.svc.cluster.local", .srv)
        #expect(message?.answers.count == 3)
        #expect(
            message?.answers.first?.text == "_http._tcp.db.default.svc.cluster.local. 30 SRV "
                + "0 33 80 db-0.db.default.svc.cluster.local.")
        #expect(
            message?.additionals.map(\.text) == [
                "db-0.db.default.svc.cluster.local. 30 A 10.244.0.5",
                "db-1.db.default.svc.cluster.local. 30 A 10.244.1.6",
                "db-2.db.default.svc.cluster.local. 30 A 10.244.1.8",
            ])
    }

    @Test func reverseNamesOfServicesAndEndpoints() throws {
        let harness = try ZoneHarness()
        let web = Sample.clusterIP("web", ["10.96.1.1", "fd00::1"])
        let first = Sample.headless("db", [try Sample.endpoint("10.244.0.5", hostname: "db-0")])
        let second = Sample.headless("any", [try Sample.endpoint("10.244.0.5")])
        for input in [web, first, second] { harness.zone.apply(input.key, input) }
        #expect(
            try harness.answers("1.1.96.10.in-addr.arpa", .ptr)
                == ["1.1.96.10.in-addr.arpa. 30 PTR web.default.svc.cluster.local."])
        let v6 = DNSName(reverse: try #require(IPAddress("fd00::1"))).description
        #expect(try harness.answers(v6, .ptr) == ["\(v6) 30 PTR web.default.svc.cluster.local."])
        let name = "5.0.244.10.in-addr.arpa"
        #expect(
            try harness.answers(name, .ptr) == [
                "\(name). 30 PTR db-0.db.default.svc.cluster.local."
            ],
            "a chosen name hides the dashed address")
        harness.zone.apply(first.key, nil)
        #expect(
            try harness.answers(name, .ptr)
                == ["\(name). 30 PTR 10-244-0-5.any.default.svc.cluster.local."])
        harness.zone.apply(second.key, nil)
        #expect(try harness.ask(name, .ptr).outcome == .outside)
    }

    @Test func externalNameIsAnAlias() throws {
        let harness = try ZoneHarness()
        let input = ServiceRecordInput(
            namespace: "default", name: "out", externalName: "my.database.com")
        harness.zone.apply(input.key, input)
        let (outcome, message) = try harness.ask("out.default.svc.cluster.local")
        #expect(outcome == .alias)
        #expect(
            message?.answers.map(\.text)
                == ["out.default.svc.cluster.local. 30 CNAME my.database.com."])
        #expect(
            try harness.ask("out.default.svc.cluster.local", .cname).outcome == .answered(.noError))
        let numeric = ServiceRecordInput(
            namespace: "default", name: "out", externalName: "192.0.2.1")
        harness.zone.apply(input.key, numeric)
        #expect(try harness.ask("out.default.svc.cluster.local").outcome == .missing)
    }

    @Test(arguments: [
        ("10-244-0-9.default.pod.cluster.local", RecordType.a, "10.244.0.9"),
        ("fd00--9.default.pod.cluster.local", .aaaa, "fd00::9"),
    ])
    func insecurePodRecordsSpellTheirAddress(
        name: String, type: RecordType, address: String
    ) throws {
        let harness = try ZoneHarness()
        #expect(try harness.ask(name, type).outcome == .missing, "the namespace is not there")
        harness.zone.applyNamespace("default", exists: true)
        #expect(try harness.answers(name, type) == ["\(name). 30 \(type) \(address)"])
        let other = try harness.ask(name, .txt)
        #expect(other.outcome == .answered(.noError))
        #expect(other.message?.authorities.count == 1)
        for bad in ["300-1-1-1", "1-2-3", "01-2-3-4", "x-1-2-3", "1-2-3-4-5", "1--2"] {
            #expect(
                try harness.ask("\(bad).default.pod.cluster.local").message?.answers.isEmpty == true
            )
        }
    }

    @Test func verifiedPodRecordsNeedThePod() throws {
        let harness = try ZoneHarness(podRecords: .verified)
        harness.zone.applyNamespace("default", exists: true)
        let name = "10-244-0-9.default.pod.cluster.local"
        #expect(try harness.ask(name).outcome == .missing)
        let address = try #require(IPAddress("10.244.0.9"))
        let (old, new) = (
            ServiceKey(namespace: "default", name: "a"), ServiceKey(namespace: "default", name: "b")
        )
        harness.zone.applyPod(old, addresses: [address])
        harness.zone.applyPod(new, addresses: [address])
        harness.zone.applyPod(old, addresses: [])
        #expect(try harness.answers(name).count == 1, "the address passed to another pod")
        harness.zone.applyPod(new, addresses: [])
        #expect(try harness.ask(name).outcome == .missing)
    }

    @Test func disabledPodRecordsDoNotExist() throws {
        let harness = try ZoneHarness(podRecords: .disabled)
        harness.zone.applyNamespace("default", exists: true)
        #expect(try harness.ask("10-244-0-9.default.pod.cluster.local").outcome == .missing)
    }

    @Test func furniture() throws {
        let harness = try ZoneHarness()
        #expect(
            try harness.answers("dns-version.cluster.local", .txt)
                == ["dns-version.cluster.local. 28800 TXT 1.1.0"])
        #expect(
            try harness.answers("cluster.local", .ns)
                == ["cluster.local. 30 NS ns.dns.cluster.local."])
        #expect(
            try harness.answers("ns.dns.cluster.local")
                == ["ns.dns.cluster.local. 30 A 10.96.0.10"])
        let authority = try harness.ask("cluster.local", .soa).message
        #expect(authority?.answers.map(\.type) == [.soa])
        // Serial 7, refresh 7200, retry 1800, expire 86400, minimum 30.
        #expect(
            authority?.answers.first?.data.suffix(20) == [
                0, 0, 0, 7, 0, 0, 0x1C, 0x20, 0, 0, 0x07, 0x08, 0, 1, 0x51, 0x80, 0, 0, 0, 30,
            ])
    }

    @Test func denials() throws {
        let harness = try ZoneHarness()
        harness.zone.applyNamespace("empty", exists: true)
        let input = Sample.clusterIP()
        harness.zone.apply(input.key, input)
        for name in [
            "cluster.local", "svc.cluster.local", "pod.cluster.local",
            "empty.svc.cluster.local", "default.svc.cluster.local", "empty.pod.cluster.local",
        ] {
            let (outcome, message) = try harness.ask(name)
            #expect(outcome == .answered(.noError), "\(name)")
            #expect(message?.answers.isEmpty == true)
            #expect(message?.authorities.first?.name == DNSName("cluster.local"))
        }
        for name in [
            "none.svc.cluster.local", "web.none.svc.cluster.local", "x.cluster.local",
            "a.web.default.svc.cluster.local", "none.default.svc.cluster.local",
        ] {
            let (outcome, message) = try harness.ask(name)
            #expect(outcome == .missing, "\(name)")
            #expect(message?.responseCode == .nameError)
            let flags = message?.flags ?? 0
            #expect(flags & HeaderFlags.authoritative != 0)
        }
        let other = try harness.ask("web.default.svc.cluster.local", .mx)
        #expect(other.outcome == .answered(.noError))
        #expect(other.message?.authorities.map(\.type) == [.soa])
        for type in [RecordType.axfr, .ixfr] {
            #expect(try harness.ask("cluster.local", type).outcome == .answered(.refused))
        }
        let any = try harness.ask("web.default.svc.cluster.local", .any).message
        #expect(any?.answers.map(\.type) == [.hinfo])
        #expect(try harness.ask("example.com").outcome == .outside)
        #expect(try harness.ask("xcluster.local").outcome == .outside)
    }

    @Test func reverseZoneWithoutFallthroughDenies() throws {
        let harness = try ZoneHarness(reverseFallsThrough: false)
        let (outcome, message) = try harness.ask("9.9.9.9.in-addr.arpa", .ptr)
        #expect(outcome == .missing)
        #expect(message?.authorities.first?.name == .inAddrArpa)
    }

    @Test func anAnswerThatDoesNotFitIsTruncatedAtARecord() throws {
        let harness = try ZoneHarness()
        let input = Sample.headless(
            "big", try (0..<100).map { try Sample.endpoint("10.244.3.\($0)") })
        harness.zone.apply(input.key, input)
        let name = "big.default.svc.cluster.local"
        let (_, message) = try harness.ask(name, limit: 512)
        #expect(message?.isTruncated == true)
        // 512 less header 12 and question 35, by 16 octets a record.
        #expect(message?.answers.count == (512 - 12 - 35) / 16)
        let whole = try harness.ask(name).message
        #expect(whole?.isTruncated == false)
        #expect(whole?.answers.count == 100)
        let service = try harness.ask("_http._tcp.\(name)", .srv, limit: 1232).message
        #expect(service?.isTruncated == true)
        #expect(service?.additionals.isEmpty == true)
    }

    @Test func addressesRotate() throws {
        let harness = try ZoneHarness()
        let input = Sample.headless(
            "db", try (1...3).map { try Sample.endpoint("10.244.0.\($0)") })
        harness.zone.apply(input.key, input)
        var first: [String] = []
        for rotation in 0..<3 {
            let message = try harness.ask(
                "db.default.svc.cluster.local", rotation: UInt32(rotation))
            let texts = message.message?.answers.map(\.text) ?? []
            #expect(Set(texts).count == 3)
            first.append(texts.first ?? "")
        }
        #expect(Set(first).count == 3)
    }

    @Test func severalDomainsAndSomeReverseZones() throws {
        let (first, second, within) = (
            try #require(DNSName("cluster.local")), try #require(DNSName("other.test")),
            try #require(DNSName("sub.cluster.local"))
        )
        let zone = Zone(
            configuration: ZoneConfiguration(
                name: first, furtherNames: [second, within],
                reverseZones: [try #require(DNSName("96.10.in-addr.arpa"))],
                fallthroughZones: [second]))
        let harness = ZoneHarness(zone: zone)
        for input in [
            Sample.clusterIP("web", ["10.96.1.1"]), Sample.clusterIP("far", ["10.97.1.1"]),
        ] { zone.apply(input.key, input) }
        zone.applyPod(
            ServiceKey(namespace: "default", name: "a"), addresses: [.v4(0x0AF4_0009)])
        for domain in [first, second, within] {
            let text = String("\(domain)".dropLast())
            #expect(
                try harness.answers("web.default.svc.\(text)")
                    == ["web.default.svc.\(domain) 30 A 10.96.1.1"])
            #expect(
                try harness.answers("_http._tcp.web.default.svc.\(text)", .srv)
                    == [
                        "_http._tcp.web.default.svc.\(domain) 30 SRV 0 100 80 "
                            + "web.default.svc.\(domain)"
                    ])
            #expect(try harness.answers("dns-version.\(text)", .txt).count == 1)
            #expect(try harness.answers("10-244-0-9.default.pod.\(text)").count == 1)
            // Denials are those of the domain that was asked, the longest one that fits.
            let soa = try harness.ask("default.svc.\(text)", .soa).message
            #expect(soa?.authorities.first?.name == domain && soa?.answers.isEmpty == true)
            #expect(try harness.ask(text, .soa).message?.answers.first?.type == .soa)
        }
        #expect(
            try harness.ask("none.sub.cluster.local").message?.authorities.first?.name == within)
        #expect(try harness.ask("none.cluster.local").message?.authorities.first?.name == first)
        #expect(try harness.ask("none.other.test").outcome == .outside, "it falls through")
        #expect(
            try harness.answers("1.1.96.10.in-addr.arpa", .ptr)
                == ["1.1.96.10.in-addr.arpa. 30 PTR web.default.svc.cluster.local."])
        let denial = try harness.ask("9.9.96.10.in-addr.arpa", .ptr)
        #expect(denial.outcome == .missing)
        #expect(denial.message?.authorities.first?.name == DNSName("96.10.in-addr.arpa"))
        #expect(try harness.ask("1.1.97.10.in-addr.arpa", .ptr).outcome == .outside)
        // A snapshot is of these domains alone, and pods are in it where they are verified.
        let bytes = zone.snapshot()
        #expect(throws: SnapshotError.otherZone) { try ZoneHarness(restoring: bytes) }
        for (mode, count) in [(PodRecordMode.verified, 1), (.disabled, 0)] {
            var configuration = zone.configuration
            configuration.podRecords = mode
            let bytes = try Self.verifiedSnapshot(of: configuration)
            let memory = try #require(SnapshotMemory(byteCount: bytes.count))
            memory.bytes.copyBytes(from: bytes)
            let restored = ZoneHarness(
                zone: try Zone.restored(from: memory, configuration: configuration))
            let name = "10-244-0-9.default.pod.other.test"
            #expect(try restored.answers(name).count == count, "\(mode)")
            restored.zone.retainListedPods()
            #expect(try restored.answers(name).isEmpty, "no list had it")
        }
    }

    private static func verifiedSnapshot(of configuration: ZoneConfiguration) throws -> [UInt8] {
        var verified = configuration
        verified.podRecords = .verified
        let zone = Zone(configuration: verified)
        zone.applyPod(
            ServiceKey(namespace: "default", name: "a"), addresses: [.v4(0x0AF4_0009)])
        return zone.snapshot()
    }
}

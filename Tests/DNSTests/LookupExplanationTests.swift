import DNS
import NetworkTypes
import Testing

@Suite struct LookupExplanationTests {
    private func cluster() throws -> LookupExplanation.Cluster {
        LookupExplanation.Cluster(
            zone: try #require(DNSName("cluster.local")), namespaces: ["default", "other"],
            services: [
                Sample.clusterIP("web"),
                Sample.headless("db", [try Sample.endpoint("10.244.0.5", isReady: false)]),
                ServiceRecordInput(namespace: "default", name: "out", externalName: "a.test"),
            ])
    }

    private func explain(
        _ name: String, _ type: RecordType = .a, from namespace: String = "default"
    ) throws -> LookupExplanation {
        let cluster = try cluster()
        return try #require(
            LookupExplanation(
                name, type: type, resolver: .init(namespace: namespace, zone: cluster.zone),
                in: cluster))
    }

    @Test func aShortNameIsFoundAtTheFirstStep() throws {
        let explanation = try explain("web")
        #expect(explanation.steps.count == 1)
        #expect(
            explanation.description
                == "web.default.svc.cluster.local. → A 10.96.1.1 (Service default/web)")
    }

    @Test(arguments: [
        ("web", "other", "there is no Service web in namespace other; there is one in default"),
        ("web.none", "default", "there is no namespace none"),
        ("db", "default", "Service default/db is headless and none of its 1 endpoints is ready"),
        ("x.web.default.svc.cluster.local.", "default", "has no ready endpoint"),
        ("a.b.cluster.local.", "default", "end in svc or pod"),
    ])
    func whyANameDoesNotExist(name: String, namespace: String, reason: String) throws {
        let text = try explain(name, from: namespace).description
        #expect(text.contains(reason), "\(text)")
    }

    @Test func outsideNamesCostTheWholeSearchPath() throws {
        let explanation = try explain("www.example.com")
        #expect(explanation.steps.count == 4)
        #expect(explanation.steps.last?.result == .forwarded(to: ""))
        #expect(explanation.hints.first?.contains("ndots:5") == true)
        #expect(try explain("www.example.com.").steps.count == 1)
    }

    @Test func anotherClusterDomainIsNamed() throws {
        let explanation = try explain("web.default.svc.cluster.test")
        #expect(explanation.hints.contains { $0.contains("cluster.local.") })
    }

    @Test func otherTypesAndAliases() throws {
        #expect(try explain("web", .aaaa).description.contains("only A"))
        #expect(try explain("out").description.contains("CNAME a.test., then upstream"))
        #expect(try explain("10-0-0-1.default.pod.cluster.local.").description.contains("10.0.0.1"))
        #expect(try explain("1.1.96.10.in-addr.arpa.", .ptr).description.contains("PTR web"))
    }

    @Test func slicesPodsHostsAndStubDomainsAreNamed() throws {
        var cluster = try cluster()
        let ready = Sample.headless("set", [try Sample.endpoint("10.244.0.9", hostname: "set-0")])
        cluster.services.append(ready)
        cluster.slices[ready.key] = ["set-x7k2p"]
        cluster.podRecords = .verified
        cluster.pods[try #require(IPAddress("10.244.0.9"))] = [
            ServiceKey(namespace: "default", name: "set-0")
        ]
        cluster.staticAddresses[try #require(DNSName("static.test"))] = [.v4(0xC000_0201)]
        cluster.forwards = [
            .init(suffix: .root, servers: "192.0.2.53:53"),
            .init(suffix: try #require(DNSName("corp.test")), servers: "192.0.2.54:53"),
        ]
        let old = try #require(DNSName("old.default.svc.cluster.local"))
        let new = try #require(DNSName("web.default.svc.cluster.local"))
        cluster.rewrite = { $0 == old ? new : nil }
        let resolver = LookupExplanation.Resolver(namespace: "default", zone: cluster.zone)
        func explain(_ name: String) throws -> String {
            try #require(LookupExplanation(name, resolver: resolver, in: cluster)).description
        }
        #expect(try explain("set-0.set").contains("(Service default/set, EndpointSlice set-x7k2p)"))
        #expect(
            try explain("10-244-0-9.default.pod.cluster.local.").contains("(Pod default/set-0)"))
        #expect(
            try explain("10-244-0-8.default.pod.cluster.local.")
                .contains("no running pod in namespace default has the address 10.244.0.8"))
        #expect(try explain("static.test.").contains("A 192.0.2.1 (hosts of the Corefile)"))
        #expect(
            try explain("a.corp.test.")
                .contains("asked upstream: 192.0.2.54:53, for names below corp.test."))
        #expect(try explain("a.test.").contains("asked upstream: 192.0.2.53:53"))
        #expect(
            try explain("old").contains("rewritten to web.default.svc.cluster.local.) → A 10.96"))
    }

    @Test func aPodWithOtherServersIsTold() throws {
        let explanation = try #require(
            LookupExplanation(
                "web", resolver: .init(searchDomains: [], ndots: 1, foreignServers: "192.0.2.9"),
                in: try cluster()))
        #expect(explanation.description.contains("web. → asked upstream: 192.0.2.9"))
        #expect(explanation.hints.first?.contains("dnsPolicy") == true)
    }

    /// What is explained is what the zone answers, for names of every kind.
    @Test func explanationsAgreeWithTheZone() throws {
        let harness = try ZoneHarness()
        var cluster = try cluster()
        cluster.services.append(
            Sample.headless(
                "set",
                [
                    try Sample.endpoint("10.244.0.9", hostname: "set-0"),
                    try Sample.endpoint("10.244.0.10", hostname: "set-1", isReady: false),
                    try Sample.endpoint("2001:db8::9"),
                ]))
        for name in cluster.namespaces { harness.zone.applyNamespace(name, exists: true) }
        for input in cluster.services { harness.zone.apply(input.key, input) }
        let heads = [
            "", "web.", "db.", "out.", "set.", "none.", "set-0.set.", "set-1.set.",
            "_http._tcp.web.", "_http._tcp.set.", "_tcp.set.", "10-244-0-9.", "x.y.z.",
        ]
        let tails = [
            "default.svc.cluster.local.", "other.svc.cluster.local.", "gone.svc.cluster.local.",
            "svc.cluster.local.", "default.pod.cluster.local.", "gone.pod.cluster.local.",
            "cluster.local.", "1.1.96.10.in-addr.arpa.", "9.0.244.10.in-addr.arpa.",
            "example.com.",
        ]
        for name in heads.flatMap({ head in tails.map { head + $0 } }) {
            for type in [RecordType.a, .aaaa, .srv, .ptr] {
                let explanation = try #require(
                    LookupExplanation(
                        name, type: type, resolver: .init(namespace: "default", zone: cluster.zone),
                        in: cluster))
                let (outcome, message) = try harness.ask(name, type)
                let agrees =
                    switch explanation.steps[0].result {
                    case .found(let records, _): message?.answers.count == records.count
                    case .noData: message?.responseCode == .noError && message?.answers == []
                    case .missing: outcome == .missing
                    case .forwarded: outcome == .outside
                    }
                #expect(agrees, "\(name) \(type): \(explanation), but the zone: \(outcome)")
            }
        }
    }
}

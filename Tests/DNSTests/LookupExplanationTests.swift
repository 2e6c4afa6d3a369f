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
        try #require(
            LookupExplanation(name, type: type, namespace: namespace, in: try cluster()))
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
        #expect(explanation.steps.last?.result == .forwarded)
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
}

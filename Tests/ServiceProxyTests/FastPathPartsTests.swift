import BPF
import JSON
import KubernetesAPI
import Netlink
import NetworkTypes
import TestSupport
import Testing

@testable import ServiceProxy

/// The pure parts of the fast path.
struct FastPathPartsTests {
    private func entry(
        _ kind: FlowEntry.Kind, _ state: FlowEntry.State = [], key: [UInt8], value: [UInt8]
    ) throws -> FlowEntry {
        try #require(
            FlowEntry(
                FastPathLayout(family: .ipv4), key: key[...],
                value: (value + [0, 0, 0, 0, 100, 0, 0, 0, kind.rawValue, state.rawValue, 0, 0])[
                    ...]))
    }

    @Test func eachDirectionKnowsTheOther() throws {
        let (client, service, pod): ([UInt8], [UInt8], [UInt8]) = (
            [10, 244, 0, 2], [10, 96, 1, 1], [10, 244, 0, 3]
        )
        let (clientPort, servicePort, podPort, other): ([UInt8], [UInt8], [UInt8], [UInt8]) = (
            [0xC0, 1], [0, 80], [0x1F, 0x90], [0xD0, 2]
        )
        let forward = try entry(
            .forward, key: client + service + clientPort + servicePort,
            value: pod + other + podPort)
        let reverse = try entry(
            .reverse, key: pod + client + podPort + other,
            value: service + servicePort + clientPort)
        #expect(forward.partnerKey == Array(reverse.key))
        #expect(forward.pod == .v4(0x0AF4_0003))
        #expect(reverse.pod == .v4(0x0AF4_0002))
        #expect(reverse.partnerKey == Array(forward.key))
    }

    @Test(
        arguments: [
            ([], 60, true), ([], 61, false),
            (.established, 86_400, true), (.established, 86_401, false),
            ([.established, .clientEnded], 3_600, true),
            ([.established, .serverEnded], 3_601, false),
            ([.established, .clientEnded, .serverEnded], 60, true),
            ([.established, .clientEnded, .serverEnded], 61, false),
            ([.established, .reset], 61, false),
        ] as [(FlowEntry.State, UInt32, Bool)])
    func entriesStayAsLongAsTheyMayBeNeeded(
        _ state: FlowEntry.State, _ age: UInt32, _ stays: Bool
    ) throws {
        let entry = try entry(
            .forward, state, key: [UInt8](repeating: 0, count: 12),
            value: [UInt8](repeating: 0, count: 8))
        #expect(entry.isExpired(now: 100 + age, isCrowded: false) == !stays)
        if state.isClosed { #expect(entry.isExpired(now: 106, isCrowded: true)) }
        // The clock of the packet may be ahead of the sweep's.
        #expect(!entry.isExpired(now: 99, isCrowded: true))
    }

    @Test func podsLinksAreTold() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 0)
            let route = try cluster.nodes[0].route()
            // A link behind a bridge leads to a pod that has no route of its own.
            let bridged = try network.namespace("bridged")
            try network.bridge("cni0", in: cluster.nodes[0])
            try route.createVeth("port", peer: "eth0", peerNamespace: bridged.descriptor)
            try cluster.nodes[0].check("ip", "link", "set", "port", "master", "cni0", "up")
            // Both ends here: no pod's.
            try route.createVeth("left", peer: "right")
            try route.setUp("left")
            let found = PodLinks(
                links: try route.links(), addresses: try route.addresses(),
                routes: try route.routes(.ipv4) + route.routes(.ipv6))
            func index(_ name: String) throws -> Int32 { try route.requireLink(name).index }
            #expect(
                try Set(found.links.keys) == [index("pod-a1"), index("pod-a2"), index("port")])
            #expect(
                try found.pods == [
                    .v4(0x0AF4_0002): index("pod-a1"), .v4(0x0AF4_0003): index("pod-a2"),
                    #require(IPAddress("fd00:244::0:2")): index("pod-a1"),
                    #require(IPAddress("fd00:244::0:3")): index("pod-a2"),
                ])
        }
    }

    @Test(arguments: [("10.244.1.2", 1), ("192.0.2.1", 0)])
    func endpointsThatAreNoPodsAreLeftToTheRules(_ address: String, _ count: Int) throws {
        let service = try makeService(
            "web", ["clusterIP": "10.96.1.1", "ports": [["port": 80]]])
        let slice = try makeSlice(
            of: "web", port: 8080, [TestEndpoint("10.244.0.2"), TestEndpoint(address)])
        let compiler = ServiceCompiler(node: NodeContext(nodeName: "node-1", zone: nil))
        var planner = RulesetPlanner(makeOptions(), families: [.ipv4])
        var changes = PlannedChanges()
        planner.set(compiler.compile(service, slices: [slice]), for: service.key, &changes)
        var found = 0
        planner.forEachFastPathService { _, _ in found += 1 }
        #expect(found == count)
        #expect(changes.fastPath.count == count)
    }

    @Test(
        arguments: [
            (["sessionAffinity": "ClientIP"], false), (["type": "NodePort"], true),
            (["internalTrafficPolicy": "Local"], true),
            (["ports": [["port": 80, "protocol": "UDP"]]], false),
        ] as [(JSONValue, Bool)])
    func whatNeedsMoreThanAChoiceIsLeftToTheRules(_ extra: JSONValue, _ isFast: Bool) throws {
        var spec: JSONValue = ["clusterIP": "10.96.1.1"]
        spec["ports"] = [["port": 80, "nodePort": 31000]]
        for (key, value) in extra.object ?? [:] { spec[key] = value }
        let service = try makeService("web", spec)
        let transport = service.ports[0].transport.rawValue
        let compiler = ServiceCompiler(node: NodeContext(nodeName: "node-1", zone: nil))
        func fast(_ slices: [EndpointSlice]) throws -> [FastPathService] {
            let rules = try #require(compiler.compile(service, slices: slices))
            return rules.frontends.compactMap { FastPathService($0.frontend, $0.port) }
        }
        let slice = try makeSlice(
            of: "web", port: 8080, transport: transport,
            [TestEndpoint("10.244.0.2"), TestEndpoint("10.244.1.2", "node-2")])
        let count = service.internalTrafficPolicy == .local ? 1 : 2
        #expect(try fast([slice]).map(\.backends.count) == (isFast ? [count] : []))
        #expect(try fast([]).isEmpty)
    }
}

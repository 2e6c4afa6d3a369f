import BPF
import Glibc
import JSON
import KubernetesAPI
import NFTables
import NetworkTypes
import TestSupport
import Testing

@testable import ServiceProxy

/// Pods' connections past the rules: what takes the fast path, what does not, and that connections
/// live on whatever happens.
@Suite(.offPool) struct FastPathTests {
    private static let port: JSONValue = .integer(Int64(TestCluster.podPort))
    private static let frontend = Frontend.address(.v4(0x0A60_0101), ProtocolPort(.tcp, 80))
    private static let address = IPAddress.v4(0x0A60_0101)

    private func service(_ extra: JSONValue = [:]) throws -> Service {
        var spec: JSONValue = ["clusterIP": "10.96.1.1"]
        spec["ports"] = .array([["port": 80, "targetPort": Self.port]])
        for (key, value) in extra.object ?? [:] { spec[key] = value }
        return try makeService("web", spec)
    }

    private func slice(_ endpoints: TestEndpoint...) throws -> EndpointSlice {
        try makeSlice(of: "web", "IPv4", port: Int(TestCluster.podPort), endpoints)
    }

    private static let a2 = TestEndpoint("10.244.0.3", "node-1")
    private static let b1 = TestEndpoint("10.244.1.2", "node-2")

    private func path(_ engine: ProxyEngine) throws -> FastPath { try #require(engine.fastPath) }

    /// Checksums are made by the stack, or left to links that need none.
    @Test(arguments: ["on", "off"])
    func connectionTrackingSeesNoTranslation(_ offload: String) throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, usesFastPath: true)
            for pod in cluster.pods.values {
                try pod.check("ethtool", "-K", "eth0", "tx", offload)
            }
            try cluster.apply(service(), slice(Self.a2, Self.b1))
            let replies = try cluster.pod("a1").ask("10.96.1.1", 80, count: 60)
            #expect(Set(replies.compactMap(\.server)) == ["a2", "b1"])
            #expect(replies.allSatisfy { $0.client == "10.244.0.2" })
            #expect(try path(cluster.engines[0]).connections()[Self.frontend] == 60)
            let counters = try cluster.engines[0].counters()
            #expect(counters.connections.map(\.packets) == [60])
            #expect(counters.fastPath?.linkCount == 2)
            let tracked = try cluster.nodes[0].check("conntrack", "-L").output
            #expect(!tracked.contains("10.96.1.1"), "\(tracked)")
            #expect(!tracked.contains("10.244.0.3"), "from link to link")
            #expect(tracked.contains("dst=10.244.1.2"), "through the stack")
        }
    }

    @Test func connectionsLiveOnWithoutEndpointAndOverARestart() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1, usesFastPath: true)
            for (endpoint, server) in [(Self.a2, "a2"), (Self.b1, "b1")] {
                try cluster.apply(service(), slice(endpoint))
                let descriptor = try cluster.pod("a1").withThread { try openSocket(.ipv4, .tcp) }
                defer { close(descriptor) }
                try #require(connectOnce(descriptor, Self.address, 80, 10_000) == nil)
                // Gone for new connections, not for this one.
                try cluster.apply(service(), slice())
                #expect(try cluster.pod("a1").ask("10.96.1.1", 80) == [.refused])
                let next = try TestCluster.engine(
                    for: cluster.nodes[0], 0, makeOptions(locallyServed: ["10.96.0.10"]), true)
                next.note(try service().key, service: try service())
                next.note(try slice().key, slice: try slice())
                // It has not looked at links yet, and must not take connections for stranded.
                try next.fastPath?.sweepIfDue(now: monotonicNanoseconds())
                try next.flush()
                try next.accelerate()
                #expect(
                    askConnected(descriptor) == .answer(server: server, client: "10.244.0.2"))
            }
        }
    }

    /// One port of a pod towards one endpoint, by the Service and straight: the endpoint must be
    /// able to tell them apart, and so must the answers.
    @Test(arguments: [true, false])
    func onePortTwoWays(_ isServiceFirst: Bool) throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1, usesFastPath: true)
            try cluster.apply(service(), slice(Self.a2))
            let endpoint = IPAddress.v4(0x0AF4_0003)
            let ways: [(IPAddress, UInt16)] = [(Self.address, 80), (endpoint, TestCluster.podPort)]
            let sockets = try cluster.pod("a1").withThread {
                try (isServiceFirst ? ways : ways.reversed()).map { address, port in
                    let descriptor = try openSocket(.ipv4, .tcp)
                    var one: Int32 = 1
                    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, 4)
                    let isBound = SocketAddress(.v4(0x0AF4_0002), 45_000).withPointer {
                        bind(descriptor, $0, $1)
                    }
                    try #require(isBound == 0)
                    let failure = connectOnce(descriptor, address, port, 10_000)
                    #expect(failure == nil, "\(address)")
                    return descriptor
                }
            }
            for descriptor in sockets {
                #expect(askConnected(descriptor) == .answer(server: "a2", client: "10.244.0.2"))
                close(descriptor)
            }
        }
    }

    @Test func endedConnectionsAreForgotten() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1, usesFastPath: true)
            try cluster.apply(service(), slice(Self.a2, Self.b1))
            let path = try path(cluster.engines[0])
            _ = try cluster.pod("a1").ask("10.96.1.1", 80, count: 10)
            // The last packets may still be on their way.
            let layout = FastPathLayout(family: .ipv4)
            let maps = try FastPath.mapsLeft(
                FastPath.classifierName("portolan"), cluster.nodes[0].route())
            let flows = try #require(maps["flows4"])
            try eventually("both ends have closed") {
                try flows.entries().allSatisfy { key, value in
                    FlowEntry(layout, key: key[...], value: value[...])?.state.isClosed == true
                }
            }
            let now = monotonicNanoseconds()
            try path.sweepIfDue(now: now)
            #expect(path.statistics.flowCount == 20)
            #expect(path.statistics.expiredFlowCount == 0)
            try path.sweepIfDue(now: now + 5_000_000_000)
            try path.sweepIfDue(now: now + 120_000_000_000)
            #expect(path.statistics.expiredFlowCount == 10)
            try path.sweepIfDue(now: now + 240_000_000_000)
            #expect(path.statistics.flowCount == 0)
        }
    }

    @Test func connectionsToAPodThatIsGoneAreForgottenWithItsLink() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1, usesFastPath: true)
            try cluster.apply(service(), slice(Self.a2, Self.b1))
            let path = try path(cluster.engines[0])
            _ = try cluster.pod("a1").ask("10.96.1.1", 80, count: 40)
            try cluster.nodes[0].check("ip", "link", "delete", "pod-a2")
            try eventually("the link is gone") {
                _ = try path.noteLinkChanges()
                return path.statistics.linkCount == 1
            }
            let expired = path.statistics.expiredFlowCount
            #expect(expired > 0 && expired < 40, "\(expired)")
            try cluster.apply(service(), slice(Self.b1))
            let replies = try cluster.pod("a1").ask("10.96.1.1", 80, count: 10)
            #expect(Set(replies.compactMap(\.server)) == ["b1"])
        }
    }

    /// Pods behind a bridge have no link to themselves: their packets go through the stack, also
    /// where the other pod has one.
    @Test func podsBehindABridge() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1, usesFastPath: true)
            let node = cluster.nodes[0]
            try network.bridge("cni0", in: node)
            try node.check("ip", "address", "add", "10.244.0.129/25", "dev", "cni0")
            var bridged: [TestNamespace] = []
            var servers: [EchoServer] = []
            for (name, number) in [("c1", 130), ("c2", 131)] {
                let pod = try network.namespace(name)
                try network.attach(
                    pod, "10.244.0.\(number)", prefixLength: 25, to: "cni0", in: node)
                try pod.check("ip", "route", "add", "default", "via", "10.244.0.129")
                bridged.append(pod)
                servers.append(
                    try EchoServer(name, in: pod, port: TestCluster.podPort, families: [.ipv4]))
            }
            _ = try path(cluster.engines[0]).noteLinkChanges(now: .max)
            try withExtendedLifetime(servers) {
                for (endpoint, server) in [("10.244.0.130", "c1"), ("10.244.0.3", "a2")] {
                    try cluster.apply(service(), slice(TestEndpoint(endpoint, "node-1")))
                    for client in [try cluster.pod("a1"), bridged[1]] {
                        let replies = try client.ask("10.96.1.1", 80, count: 5)
                        #expect(
                            replies.map(\.server) == [String?](repeating: server, count: 5),
                            "\(client.name) to \(server): \(replies)")
                    }
                }
            }
            #expect(try path(cluster.engines[0]).connections()[Self.frontend] == 20)
            #expect(try path(cluster.engines[0]).statistics.linkCount == 4)
        }
    }

    @Test func anAuditRepairsTheMap() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1, usesFastPath: true)
            try cluster.apply(service(), slice(Self.a2, Self.b1))
            let engine = cluster.engines[0]
            #expect(try engine.audit() == 0)
            let maps = try FastPath.mapsLeft(
                FastPath.classifierName("portolan"), cluster.nodes[0].route())
            let layout = FastPathLayout(family: .ipv4)
            let services = try #require(maps["services4"])
            let key = layout.serviceKey(Self.address, 80, slot: 0)
            let before = try services.value(of: key)
            try services.set(
                key, layout.endpoint(Backend(address: .v4(0x0A00_0001), port: 1)))
            #expect(try engine.audit() == 1)
            #expect(try services.value(of: key) == before)
            #expect(try engine.audit() == 0)
        }
    }

    @Test func mapsGrowWithTheCluster() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1, usesFastPath: true)
            try cluster.apply(service(), slice(Self.a2))
            _ = try cluster.pod("a1").ask("10.96.1.1", 80, count: 5)
            let engine = cluster.engines[0]
            // Six thousand Services want another map than the one at the start.
            for index in 0..<6_000 {
                let name = "s\(index)"
                let address = "10.96.\(4 + index / 250).\(1 + index % 250)"
                var spec: JSONValue = ["clusterIP": .string(address)]
                spec["ports"] = .array([["port": 80, "targetPort": Self.port]])
                let service = try makeService(name, spec)
                engine.note(service.key, service: service)
                let slice = try makeSlice(of: name, port: Int(TestCluster.podPort), [Self.a2])
                engine.note(slice.key, slice: slice)
            }
            try engine.flush()
            let path = try path(engine)
            // What found no room is served by the rules until there is.
            #expect(path.statistics.fullCount > 0)
            #expect(try cluster.pod("a1").ask("10.96.27.250", 80)[0].server == "a2")
            try engine.accelerate()
            #expect(path.statistics.serviceCount == 6_001)
            #expect(try engine.audit() == 0)
            #expect(try cluster.pod("a1").ask("10.96.1.1", 80, count: 5)[4].server == "a2")
            #expect(try cluster.pod("a1").ask("10.96.27.250", 80)[0].server == "a2")
            #expect(try path.connections()[Self.frontend] == 10)
            #expect(engine.statistics.fastPathFailureCount == 0)
        }
    }

    @Test func aTraceTellsOfIt() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1, usesFastPath: true)
            try cluster.apply(service(), TestCluster.everyPod(of: "web"))
            let node = cluster.nodes[0]
            let tables = try NodeTables(
                named: "portolan", from: NFTablesKernel(in: node.descriptor),
                localAddresses: [],
                fastPath: FastPathTables(named: "portolan", in: node.descriptor))
            func trace(_ source: UInt32) -> PathTrace {
                PathTrace(
                    from: .address(.v4(source)), to: Self.address, ProtocolPort(.tcp, 80),
                    in: tables, serviceName: "default/web")
            }
            let pod = trace(0x0AF4_0002)
            #expect(pod.sentences.joined().contains("the fast path"), "\(pod.sentences)")
            let chances = pod.chances.map { Int(($0.probability * 9).rounded()) }
            #expect(chances == [4, 4, 1])
            #expect(pod.chances.filter(\.isMasqueraded).map(\.address) == [.v4(0x0AF4_0002)])
            let outside = trace(0x0A01_0101)
            #expect(!outside.sentences.joined().contains("the fast path"))
            #expect(outside.chances.count == 3)
        }
    }
}

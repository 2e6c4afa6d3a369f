import JSON
import KubernetesAPI
import Netlink
import NetworkTypes
import TestSupport
import Testing

@testable import ServiceProxy

/// Real packets through real kernels: what clients see and which client servers see.
@Suite(.offPool) struct PacketPathTests {
    private static let port: JSONValue = .integer(Int64(TestCluster.podPort))

    private func clusterIP(_ extra: JSONValue = [:], transport: String = "TCP") throws -> Service {
        var spec: JSONValue = ["clusterIP": "10.96.1.1"]
        spec["ports"] = .array([
            ["port": 80, "targetPort": Self.port, "protocol": .string(transport)]
        ])
        for (key, value) in extra.object ?? [:] { spec[key] = value }
        return try makeService("web", spec)
    }

    private func servers(_ replies: [Reply]) -> Set<String> { Set(replies.compactMap(\.server)) }

    @Test(arguments: [false, true])
    func clusterIPReachesEveryPodFromPodsAndNodes(_ usesFastPath: Bool) throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, usesFastPath: usesFastPath)
            try cluster.apply(clusterIP(), TestCluster.everyPod(of: "web"))
            // The fast path leads a pod to itself in one of nine connections only.
            let fromPod = try cluster.pod("a1").ask("10.96.1.1", 80, count: 150)
            #expect(servers(fromPod) == ["a1", "a2", "b1"])
            #expect(fromPod.allSatisfy { $0.server != nil })
            // Pods keep their address, except where a pod reaches itself.
            for reply in fromPod where reply.server != "a1" {
                #expect(reply.client == "10.244.0.2")
            }
            let fromNode = try cluster.nodes[0].ask("10.96.1.1", 80, count: 60)
            #expect(servers(fromNode) == ["a1", "a2", "b1"])
            let text = try cluster.pod("b1").check("curl", "-s", "-m10", "http://10.96.1.1/").output
            #expect(["a1", "a2", "b1"].contains(text.prefix(2)))
        }
    }

    @Test(arguments: [false, true])
    func hairpinIsMasqueraded(_ usesFastPath: Bool) throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, usesFastPath: usesFastPath)
            try cluster.apply(
                clusterIP(),
                makeSlice(of: "web", port: 8080, [TestEndpoint("10.244.0.2", "node-1")]))
            let replies = try cluster.pod("a1").ask("10.96.1.1", 80, count: 5)
            for reply in replies { #expect(reply == .answer(server: "a1", client: "10.244.0.1")) }
        }
    }

    @Test(arguments: [false, true])
    func whatNobodyServesIsRefusedAtOnce(_ usesFastPath: Bool) throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, usesFastPath: usesFastPath)
            try cluster.apply(clusterIP())
            for (address, port) in [("10.96.1.1", 80), ("10.96.1.1", 81), ("10.96.7.7", 80)] {
                for source in [try cluster.pod("a1"), cluster.nodes[0]] {
                    let replies = try source.ask(address, UInt16(port), count: 20)
                    #expect(replies.allSatisfy { $0 == .refused }, "\(address):\(port) \(replies)")
                }
            }
            #expect(try cluster.pod("a1").ask("10.96.7.7", 53, .udp) == [.refused])
            // The address that the node's own DNS has is left alone.
            let node = try cluster.nodes[0].route()
            try node.addAddress(.v4(0x0A60_000A), prefixLength: 32, to: "lo")
            let dns = try EchoServer(
                "dns", in: cluster.nodes[0], port: 53, families: [.ipv4])
            let replies = try cluster.pod("a1").ask("10.96.0.10", 53)
            withExtendedLifetime(dns) {
                #expect(replies == [.answer(server: "dns", client: "10.244.0.2")])
            }
        }
    }

    @Test(arguments: [false, true])
    func nodePortAnswersOnEveryNodeAndNotOnLoopback(_ usesFastPath: Bool) throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, usesFastPath: usesFastPath)
            var spec: JSONValue = ["type": "NodePort"]
            spec["ports"] = .array([["port": 80, "targetPort": Self.port, "nodePort": 31000]])
            try cluster.apply(clusterIP(spec), TestCluster.everyPod(of: "web"))
            for address in ["172.30.0.11", "172.30.0.12"] {
                let replies = try cluster.client.ask(address, 31000, count: 40)
                #expect(servers(replies) == ["a1", "a2", "b1"])
                #expect(replies.allSatisfy { $0.client != "172.30.0.1" }, "masqueraded")
                #expect(servers(try cluster.pod("a1").ask(address, 31000, count: 40)).count == 3)
            }
            #expect(try cluster.nodes[0].ask("127.0.0.1", 31000) == [.refused])
            #expect(servers(try cluster.nodes[0].ask("172.30.0.11", 31000, count: 40)).count == 3)
            // Somebody else's port of that number is none of ours.
            #expect(try cluster.pod("a1").ask("172.30.0.1", 31000) == [.refused])
        }
    }

    @Test func externalTrafficPolicyLocalKeepsTheClientsAddress() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network)
            var spec: JSONValue = ["type": "LoadBalancer", "externalTrafficPolicy": "Local"]
            spec["ports"] = .array([["port": 80, "targetPort": Self.port, "nodePort": 31000]])
            var service = try clusterIP(spec)
            service.ingress = [LoadBalancerIngress(json: ["ip": "10.1.0.2"])]
            let slice = try makeSlice(
                of: "web", port: 8080,
                [TestEndpoint("10.244.0.2", "node-1"), TestEndpoint("10.244.0.3", "node-1")])
            try cluster.apply(service, slice)
            try cluster.client.addRoute(to: "10.1.0.0/24", via: "172.30.0.11")
            for (address, port) in [("172.30.0.11", 31000), ("10.1.0.2", 80)] {
                let replies = try cluster.client.ask(address, UInt16(port), count: 30)
                #expect(servers(replies) == ["a1", "a2"])
                #expect(replies.allSatisfy { $0.client == "172.30.0.1" })
            }
            // No endpoint on that node: dropped; but its pods and the node itself get through.
            #expect(
                try cluster.client.ask("172.30.0.12", 31000, timeoutMilliseconds: 300)
                    == [.timeout])
            #expect(try cluster.pod("b1").ask("172.30.0.12", 31000)[0].server != nil)
            #expect(try cluster.pod("b1").ask("10.1.0.2", 80)[0].client == "10.244.1.2")
            #expect(try cluster.nodes[1].ask("172.30.0.12", 31000)[0].server != nil)
        }
    }

    @Test(arguments: [false, true])
    func internalTrafficPolicyLocalUsesTheNodesOwnPods(_ usesFastPath: Bool) throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, usesFastPath: usesFastPath)
            try cluster.apply(
                clusterIP(["internalTrafficPolicy": "Local"]), TestCluster.everyPod(of: "web"))
            let own = try cluster.pod("b1").ask("10.96.1.1", 80, count: 20)
            #expect(servers(own) == ["b1"])
            #expect(servers(try cluster.pod("a1").ask("10.96.1.1", 80, count: 90)) == ["a1", "a2"])
            let elsewhere = try makeSlice(
                of: "web", "IPv4", port: 8080, [TestEndpoint("10.244.0.2", "node-1")])
            try cluster.apply(clusterIP(["internalTrafficPolicy": "Local"]), elsewhere)
            #expect(
                try cluster.pod("b1").ask("10.96.1.1", 80, timeoutMilliseconds: 300) == [.timeout])
        }
    }

    @Test func loadBalancerAddressesHonourSourceRanges() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network)
            var spec: JSONValue = ["type": "LoadBalancer"]
            spec["ports"] = .array([["port": 80, "targetPort": Self.port, "nodePort": 31000]])
            spec["loadBalancerSourceRanges"] = ["172.30.0.0/30", "10.9.0.0/16"]
            spec["externalIPs"] = ["10.1.0.3"]
            var service = try clusterIP(spec)
            service.ingress = [LoadBalancerIngress(json: ["ip": "10.1.0.2"])]
            try cluster.apply(service, TestCluster.everyPod(of: "web"))
            try cluster.client.addRoute(to: "10.1.0.0/24", via: "172.30.0.11")
            #expect(servers(try cluster.client.ask("10.1.0.2", 80, count: 40)).count == 3)
            #expect(
                try cluster.pod("a1").ask("10.1.0.2", 80, timeoutMilliseconds: 300) == [.timeout])
            // Node ports and external IPs are not guarded.
            #expect(try cluster.pod("a1").ask("172.30.0.11", 31000)[0].server != nil)
            #expect(try cluster.client.ask("10.1.0.3", 80)[0].server != nil)
        }
    }

    @Test(arguments: [false, true])
    func affinityKeepsAClientUntilItsTimeoutOrTheEndpointIsGone(_ usesFastPath: Bool) throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, usesFastPath: usesFastPath)
            var spec: JSONValue = ["type": "NodePort", "sessionAffinity": "ClientIP"]
            spec["sessionAffinityConfig"] = ["clientIP": ["timeoutSeconds": 10800]]
            spec["ports"] = .array([["port": 80, "targetPort": Self.port, "nodePort": 31000]])
            let service = try clusterIP(spec)
            try cluster.apply(service, TestCluster.everyPod(of: "web"))
            for source in [try cluster.pod("a1"), cluster.client] {
                for (address, port) in [("10.96.1.1", 80), ("172.30.0.11", 31000)] {
                    if source.name == cluster.client.name, port == 80 { continue }
                    let replies = try source.ask(address, UInt16(port), count: 40)
                    #expect(servers(replies).count == 1, "\(replies)")
                }
            }
            let chosen = try #require(try cluster.client.ask("172.30.0.11", 31000)[0].server)
            let rest = [("a1", "10.244.0.2"), ("a2", "10.244.0.3"), ("b1", "10.244.1.2")]
                .filter { $0.0 != chosen }
            let slice = try makeSlice(
                of: "web", "IPv4", port: 8080,
                rest.map { TestEndpoint($0.1, $0.0 == "b1" ? "node-2" : "node-1") })
            try cluster.apply(service, slice)
            let after = try cluster.client.ask("172.30.0.11", 31000, count: 20)
            #expect(servers(after).count == 1)
            #expect(!servers(after).contains(chosen))
        }
    }

    @Test func affinityEndsAfterItsTimeout() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1)
            var spec: JSONValue = ["sessionAffinity": "ClientIP"]
            spec["sessionAffinityConfig"] = ["clientIP": ["timeoutSeconds": 1]]
            try cluster.apply(clusterIP(spec), TestCluster.everyPod(of: "web"))
            var seen: Set<String> = []
            // Each try comes after the last one's memory has ended, so in the end all are seen.
            try eventually("another endpoint", withinSeconds: 60) {
                try eventually("the client is forgotten") {
                    try cluster.engines[0].rememberedClientCount() == 0
                }
                let replies = try cluster.pod("a1").ask("10.96.1.1", 80, count: 3)
                #expect(servers(replies).count == 1)
                seen.formUnion(servers(replies))
                return seen.count > 1
            }
        }
    }

    @Test(arguments: [false, true])
    func ipv6(_ usesFastPath: Bool) throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, usesFastPath: usesFastPath)
            var spec: JSONValue = ["type": "NodePort", "clusterIP": "fd00:96::1"]
            spec["ports"] = .array([["port": 80, "targetPort": Self.port, "nodePort": 31000]])
            try cluster.apply(
                try clusterIP(spec), TestCluster.everyPod(of: "web", family: "IPv6"))
            let replies = try cluster.pod("a1").ask("fd00:96::1", 80, count: 150)
            #expect(servers(replies) == ["a1", "a2", "b1"], "\(replies)")
            let fromNode = try cluster.nodes[0].ask("fd00:96::1", 80, count: 60)
            #expect(servers(fromNode) == ["a1", "a2", "b1"], "\(fromNode)")
            let outside = try cluster.client.ask("fd00:30::11", 31000, count: 60)
            #expect(servers(outside) == ["a1", "a2", "b1"], "\(outside)")
            #expect(try cluster.pod("a1").ask("fd00:96::7", 80) == [.refused])
            spec["sessionAffinity"] = "ClientIP"
            try cluster.apply(
                try clusterIP(spec), TestCluster.everyPod(of: "web", family: "IPv6"))
            let sticky = try cluster.pod("a1").ask("fd00:96::1", 80, count: 30)
            #expect(servers(sticky).count == 1, "\(sticky)")
            let stickyOutside = try cluster.client.ask("fd00:30::11", 31000, count: 30)
            #expect(servers(stickyOutside).count == 1, "\(stickyOutside)")
        }
    }

    @Test func udpFlowsLeaveEndpointsThatAreGone() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network)
            let service = try clusterIP(transport: "UDP")
            func slice(_ address: String) throws -> EndpointSlice {
                try makeSlice(
                    of: "web", port: 8080, transport: "UDP", [TestEndpoint(address, "node-1")])
            }
            try cluster.apply(service, slice("10.244.0.2"))
            let socket = try cluster.pod("b1").withThread { try openSocket(.ipv4, .udp) }
            let first = askOnce(socket, .v4(0x0A60_0101), 80, 5000)
            #expect(first.server == "a1")
            try cluster.apply(service, slice("10.244.0.3"))
            #expect(askOnce(socket, .v4(0x0A60_0101), 80, 5000).server == "a2")
            #expect(cluster.engines[1].statistics.deletedFlowCount == 1)
            // No endpoint is left: the same socket learns of it.
            for engine in cluster.engines {
                engine.note(try slice("10.244.0.3").key, slice: nil)
                try engine.flush()
            }
            #expect(askOnce(socket, .v4(0x0A60_0101), 80, 5000) == .refused)
        }
    }
}

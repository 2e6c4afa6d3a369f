import JSON
import KubernetesAPI
import NFTables
import Netlink
import NetworkTypes
import TestSupport
import Testing

@testable import ServiceProxy

/// The address of the cluster's DNS, which each node answers itself while it can.
@Suite(.offPool) struct LocalDNSTests {
    private static let address = "10.96.0.10"
    private static let transports: [TransportProtocol] = [.tcp, .udp]

    private func service(_ transport: TransportProtocol) throws -> Service {
        try makeService(
            "dns-\(transport.rawValue)",
            [
                "clusterIP": .string(Self.address),
                "ports": [
                    [
                        "port": 53, "targetPort": .integer(Int64(TestCluster.podPort)),
                        "protocol": .string(transport.rawValue),
                    ]
                ],
            ])
    }

    @Test func anotherNodesStandsInWhereNothingListens() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1)
            for transport in Self.transports {
                try cluster.apply(
                    service(transport),
                    TestCluster.everyPod(
                        of: "dns-\(transport.rawValue)", transport: transport.rawValue))
            }
            let node = cluster.nodes[0]
            let pod = try cluster.pod("a1")
            let links = try node.route()
            let bound = try #require(IPAddress(Self.address))
            try links.addAddress(bound, prefixLength: 32, to: "lo")
            func listen() throws -> EchoServer {
                try EchoServer("own", in: node, port: 53, families: [.ipv4], address: bound)
            }
            var own: EchoServer? = try listen()
            for transport in Self.transports {
                let replies = try pod.ask(
                    Self.address, 53, transport, count: 10, timeoutMilliseconds: 10_000)
                #expect(
                    Set(replies) == [.answer(server: "own", client: "10.244.0.2")], "\(transport)")
                let asked = try node.ask(
                    Self.address, 53, transport, count: 10, timeoutMilliseconds: 10_000)
                #expect(asked.allSatisfy { $0.server == "own" }, "\(transport) \(asked)")
            }
            // Flows that the node answers itself are none that lead astray.
            try node.withThread {
                try cluster.engines[0].audit()
                #expect(cluster.engines[0].statistics.deletedFlowCount == 0)
            }
            withExtendedLifetime(own) {}
            own = nil
            for transport in Self.transports {
                // The server's thread leaves its socket a moment after the server is released.
                try eventually("the other node's answers", withinSeconds: 30) {
                    try pod.ask(Self.address, 53, transport)[0].server == "b1"
                }
                let replies = try pod.ask(
                    Self.address, 53, transport, count: 10, timeoutMilliseconds: 10_000)
                #expect(
                    Set(replies) == [.answer(server: "b1", client: "10.244.0.2")],
                    "\(transport): only the other node's, and the pod's address is kept")
            }
            try node.check("ip", "addr", "del", "\(Self.address)/32", "dev", "lo")
            for transport in Self.transports {
                let replies = try node.ask(
                    Self.address, 53, transport, count: 5, timeoutMilliseconds: 10_000)
                #expect(replies.allSatisfy { $0.server == "b1" }, "\(transport) \(replies)")
            }
            try links.addAddress(bound, prefixLength: 32, to: "lo")
            own = try listen()
            for transport in Self.transports {
                let replies = try pod.ask(
                    Self.address, 53, transport, count: 10, timeoutMilliseconds: 10_000)
                #expect(replies.allSatisfy { $0.server == "own" }, "\(transport) \(replies)")
            }
            withExtendedLifetime(own) {}
        }
    }

    @Test func theTraceSaysWhoAnswers() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1)
            try cluster.apply(
                service(.udp), TestCluster.everyPod(of: "dns-UDP", transport: "UDP"))
            let node = cluster.nodes[0]
            let bound = try #require(IPAddress(Self.address))
            try node.route().addAddress(bound, prefixLength: 32, to: "lo")
            func trace() throws -> PathTrace {
                let tables = try NodeTables(
                    named: "portolan", from: NFTablesKernel(in: node.descriptor),
                    localAddresses: [bound],
                    sockets: try node.withThread { try ListeningSockets.ofThisNamespace() })
                return PathTrace(
                    from: .address(try #require(IPAddress("10.244.0.2"))), to: bound,
                    ProtocolPort(.udp, 53), in: tables)
            }
            let without = try trace()
            #expect(without.outcome == .translated)
            #expect(without.chances.map { "\($0.address)" } == ["10.244.1.2"])
            let own = try EchoServer("own", in: node, port: 53, families: [.ipv4], address: bound)
            try withExtendedLifetime(own) {
                let with = try trace()
                #expect(with.outcome == .answeredHere)
                #expect(
                    with.sentences.contains("The address is one that this node answers itself."))
            }
        }
    }
}

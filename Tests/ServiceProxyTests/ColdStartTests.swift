import JSON
import KubernetesAPI
import NFTables
import NetworkTypes
import TestSupport
import Testing

@testable import Netlink
@testable import ServiceProxy

/// Starts with more Services than one transaction takes, and which flows a change ends.
@Suite(.offPool) struct ColdStartTests {
    private static let serviceCount = 2_500
    private static let endpointCount = 10

    @Test func aColdStartComesInChunksAndRefusesNobodyMeanwhile() throws {
        let kernel = RecordingBackend()
        let engine = ProxyEngine(
            options: makeOptions(), families: [.ipv4], node: NodeContext(nodeName: "node-1"),
            backend: kernel, flows: nil)
        for number in 0..<Self.serviceCount {
            let address = IPAddress.v4(0x0A60_0100 + UInt32(number))
            var spec: JSONValue = ["clusterIP": .string("\(address)")]
            spec["ports"] = [["port": 80, "targetPort": 8080]]
            let service = try makeService("s\(number)", spec)
            engine.note(service.key, service: service)
            let slice = try makeSlice(
                of: "s\(number)", port: 8080,
                (0..<Self.endpointCount).map {
                    TestEndpoint(
                        "\(IPAddress.v4(0x0AF4_0000 + UInt32(number * 16 + $0)))", "node-2")
                })
            engine.note(slice.key, slice: slice)
        }
        try engine.flush()
        let transactions = kernel.transactions
        let elementCount = Self.serviceCount * (Self.endpointCount + 1)
        #expect(transactions.count >= 2 + elementCount / ProxyEngine.chunkLimit)
        for transaction in transactions {
            #expect(transaction.changeCount <= ProxyEngine.chunkLimit + 2 * Self.endpointCount)
        }
        // Whoever dials a Service whose turn has not come is let wait, not refused: the rules that
        // refuse come with the last transaction.
        let refuses = transactions.map { transaction in
            transaction.operations.contains { operation in
                guard case .appendRule(let rule) = operation else { return false }
                return rule.chain == "prerouting"
                    && rule.expressions.contains(.verdict(.goto("service-range")))
            }
        }
        #expect(refuses.lastIndex(of: false) == transactions.count - 2)
        #expect(refuses.last == true)
        #expect(engine.statistics.transactionCount == transactions.count)
        #expect(try engine.audit() == 0)
        // One endpoint of one of them: one element deleted, one added.
        kernel.clear()
        let slice = try makeSlice(
            of: "s7", port: 8080,
            (1...Self.endpointCount).map {
                TestEndpoint("\(IPAddress.v4(0x0AF4_0000 + UInt32(7 * 16 + $0)))", "node-2")
            })
        engine.note(slice.key, slice: slice)
        try engine.flush()
        #expect(kernel.transactions.map(\.changeCount) == [2])
    }

    @Test func onlyFlowsThatLeadNowhereAreStale() throws {
        func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
        func flow(
            _ destination: String, _ port: UInt16, by answering: String, _ answeringPort: UInt16,
            isTranslated: Bool = true
        ) throws -> ConntrackFlow {
            let client = try address("172.30.0.1")
            return ConntrackFlow(
                original: ConntrackTuple(
                    source: client, destination: try address(destination), protocolNumber: 17,
                    sourcePort: 4000, destinationPort: port),
                reply: ConntrackTuple(
                    source: try address(answering), destination: client, protocolNumber: 17,
                    sourcePort: answeringPort, destinationPort: 4000),
                status: isTranslated ? CTStatus.dnat.rawValue : 0, mark: 0, id: 1, zone: 0)
        }
        let virtual = try address("10.96.0.7")
        let backend = Backend(address: try address("10.244.0.2"), port: 5353)
        let stale = StaleFlows(
            frontends: [
                .address(virtual, ProtocolPort(.udp, 53)): [backend],
                .nodePort(.ipv4, ProtocolPort(.udp, 31053)): [backend],
                .nodePort(.ipv4, ProtocolPort(.udp, 31054)): [],
            ], family: .ipv4)
        let cases: [(ConntrackFlow, Bool)] = [
            (try flow("10.96.0.7", 53, by: "10.244.0.2", 5353), false),
            (try flow("10.96.0.7", 53, by: "10.244.0.3", 5353), true),
            (try flow("10.96.0.7", 53, by: "10.244.0.2", 53), true),
            // Begun before the Service was there, and answered by nobody.
            (try flow("10.96.0.7", 53, by: "10.96.0.7", 53, isTranslated: false), true),
            (try flow("172.30.0.11", 31053, by: "10.244.0.2", 5353), false),
            (try flow("172.30.0.11", 31053, by: "10.244.0.9", 5353), true),
            (try flow("172.30.0.11", 31054, by: "10.244.0.2", 5353), true),
            // Somebody else's port of that number, passing through.
            (try flow("8.8.8.8", 31054, by: "8.8.8.8", 31054, isTranslated: false), false),
            (try flow("10.96.0.8", 53, by: "10.244.0.3", 5353), false),
        ]
        for (flow, expected) in cases { #expect(stale.contains(flow) == expected, "\(flow)") }
    }
}

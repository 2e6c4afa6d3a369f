import JSON
import KubernetesAPI
import NetworkTypes
import Testing

@testable import Commands

/// Which ports of 127.0.0.1 answer for which Service.
@Suite
struct LocalhostForwarderTests {
    private func service(
        _ name: String, type: String, port: Int, nodePort: Int, address: String? = nil,
        transport: String = "TCP"
    ) throws -> Service {
        var json: JSONValue = [
            "metadata": ["name": .string(name), "namespace": "default"],
            "spec": [
                "type": .string(type),
                "ports": [
                    [
                        "port": .integer(Int64(port)), "nodePort": .integer(Int64(nodePort)),
                        "protocol": .string(transport),
                    ]
                ],
            ],
        ]
        if let address {
            json["status", "loadBalancer", "ingress"] = [["ip": .string(address)]]
        }
        return try Service(json: json)
    }

    @Test func nodePortsGoToTheNodeAndLoadBalancersToTheirAddress() throws {
        let node = try #require(IPAddress("172.30.0.11"))
        let (targets, conflicts) = LocalhostForwarder.targets(
            of: [
                try service("a", type: "NodePort", port: 8080, nodePort: 30001),
                try service(
                    "b", type: "LoadBalancer", port: 80, nodePort: 30002, address: "10.1.0.2"),
                try service("c", type: "LoadBalancer", port: 81, nodePort: 30003),
                try service("d", type: "NodePort", port: 53, nodePort: 30004, transport: "UDP"),
            ], nodeAddress: node)
        #expect(Set(targets.keys) == [30001, 30002, 80, 30003])
        #expect(targets[80]?.address == IPAddress("10.1.0.2"))
        #expect(targets[30001]?.address == node)
        #expect(conflicts.isEmpty)
    }

    @Test func ofTwoServicesTheFirstByNameHasThePort() throws {
        let node = try #require(IPAddress("172.30.0.11"))
        let (targets, conflicts) = LocalhostForwarder.targets(
            of: [
                try service("b", type: "LoadBalancer", port: 80, nodePort: 0, address: "10.1.0.3"),
                try service("a", type: "LoadBalancer", port: 80, nodePort: 0, address: "10.1.0.2"),
            ], nodeAddress: node)
        #expect(targets[80]?.service.name == "a")
        #expect(conflicts.map(\.service.name) == ["b"])
    }
}

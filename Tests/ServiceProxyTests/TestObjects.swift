import JSON
import KubernetesAPI
import NetworkTypes

@testable import ServiceProxy

/// A Service as the API server would give it, from the fields that a test names.
func makeService(
    _ name: String, _ spec: JSONValue, status: JSONValue = [:],
    labels: [String: String] = [:], annotations: [String: String] = [:],
    created: String = "2026-01-01T00:00:00Z"
) throws -> Service {
    var metadata: JSONValue = ["namespace": "default", "creationTimestamp": .string(created)]
    metadata["name"] = .string(name)
    metadata["labels"] = JSONValue(labels)
    metadata["annotations"] = JSONValue(annotations)
    var object: JSONValue = ["kind": "Service", "apiVersion": "v1"]
    object["metadata"] = metadata
    object["spec"] = spec
    object["status"] = status
    return try Service(json: object)
}

/// An endpoint for `makeSlice`.
struct TestEndpoint {
    var address: String
    var node: String
    var ready = true
    var serving: Bool?
    var terminating = false
    var zones: [String] = []
    var nodes: [String] = []

    init(
        _ address: String, _ node: String = "node-1", ready: Bool = true, serving: Bool? = nil,
        terminating: Bool = false, zones: [String] = [], nodes: [String] = []
    ) {
        self.address = address
        self.node = node
        self.ready = ready
        self.serving = serving
        self.terminating = terminating
        self.zones = zones
        self.nodes = nodes
    }
}

/// A slice of a Service.
func makeSlice(
    of service: String, _ suffix: String = "a", port: Int, portName: String = "",
    transport: String = "TCP", family: String = "IPv4", labels: [String: String] = [:],
    _ endpoints: [TestEndpoint]
) throws -> EndpointSlice {
    var labels = labels
    labels["kubernetes.io/service-name"] = service
    var object: JSONValue = ["kind": "EndpointSlice"]
    object["metadata"] = ["namespace": "default", "name": .string("\(service)-\(suffix)")]
    object["metadata", "labels"] = JSONValue(labels)
    object["addressType"] = .string(family)
    var slicePort: JSONValue = ["protocol": .string(transport)]
    slicePort["port"] = .integer(Int64(port))
    slicePort["name"] = .string(portName)
    object["ports"] = .array([slicePort])
    object["endpoints"] = .array(
        endpoints.map { endpoint in
            var value: JSONValue = ["addresses": .array([.string(endpoint.address)])]
            value["nodeName"] = .string(endpoint.node)
            value["conditions", "ready"] = .bool(endpoint.ready)
            value["conditions", "serving"] = .bool(endpoint.serving ?? endpoint.ready)
            value["conditions", "terminating"] = .bool(endpoint.terminating)
            if !endpoint.zones.isEmpty {
                value["hints", "forZones"] = .array(endpoint.zones.map { ["name": .string($0)] })
            }
            if !endpoint.nodes.isEmpty {
                value["hints", "forNodes"] = .array(endpoint.nodes.map { ["name": .string($0)] })
            }
            return value
        })
    return try EndpointSlice(json: object)
}

/// The options of a standalone node, as tests want them.
func makeOptions(
    name: String = "portolan", locallyServed: [String] = [], nodePortPrefixes: [Prefix]? = nil
) -> RulesetOptions {
    RulesetOptions(
        tableName: name,
        serviceCIDRs: ["10.96.0.0/16", "fd00:96::/112"].compactMap { Prefix($0) },
        podCIDRs: ["10.244.0.0/16", "fd00:244::/64"].compactMap { Prefix($0) },
        locallyServedAddresses: Set(locallyServed.compactMap { IPAddress($0) }),
        masqueradeBit: 0x4000, masqueradesAll: false, nodePortPrefixes: nodePortPrefixes)
}

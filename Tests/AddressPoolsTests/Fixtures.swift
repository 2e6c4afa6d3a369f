import AddressPools
import JSON
import KubernetesAPI
import NetworkTypes
import Testing

/// An address given as text.
func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

/// A pool with ranges given as text.
func pool(
    _ name: String, _ ranges: String..., autoAssign: Bool = true, avoidBuggyIPs: Bool = false,
    allocation: PoolServiceAllocation? = nil
) throws -> AddressPool {
    AddressPool(
        name: name, ranges: try ranges.map { try AddressRange(parsing: $0) },
        autoAssign: autoAssign, avoidBuggyIPs: avoidBuggyIPs, serviceAllocation: allocation)
}

/// The JSON of a Service of type LoadBalancer as the API server would store it.
func serviceJSON(
    _ name: String, namespace: String = "default", annotations: [String: String] = [:],
    families: [String] = ["IPv4"], policy: String = "SingleStack", port: Int64 = 80,
    ingress: [String] = [], created: String = "2026-01-01T00:00:00Z",
    spec changes: [String: JSONValue] = [:]
) -> JSONValue {
    var spec: JSONValue = [
        "type": "LoadBalancer", "clusterIP": "10.96.0.7", "ipFamilyPolicy": .string(policy),
        "ports": [["port": .integer(port), "protocol": "TCP"]], "selector": ["app": "web"],
    ]
    spec["ipFamilies"] = .array(families.map(JSONValue.string))
    for (key, value) in changes { spec[key] = value }
    var json: JSONValue = [
        "apiVersion": "v1", "kind": "Service",
        "metadata": [
            "name": .string(name), "namespace": .string(namespace),
            "uid": .string("uid-\(namespace)-\(name)"), "creationTimestamp": .string(created),
        ],
        "spec": spec, "status": ["loadBalancer": [:]],
    ]
    if !annotations.isEmpty { json["metadata", "annotations"] = JSONValue(annotations) }
    if !ingress.isEmpty {
        json["status", "loadBalancer", "ingress"] = .array(
            ingress.map { JSONValue(["ip": $0]) })
    }
    return json
}

/// The request of such a Service.
func request(
    _ name: String, annotations: [String: String] = [:], families: [String] = ["IPv4"],
    policy: String = "SingleStack", port: Int64 = 80, namespace: String = "default",
    spec: [String: JSONValue] = [:]
) throws -> AddressRequest {
    let json = serviceJSON(
        name, namespace: namespace, annotations: annotations, families: families, policy: policy,
        port: port, spec: spec)
    return try AddressRequest(try Service(json: json))
}

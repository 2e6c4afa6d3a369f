import JSON
import NetworkTypes

/// The objects of a cluster of equal Services.
struct Objects {
    static func address(_ base: UInt32, _ number: Int) -> String {
        "\(IPAddress.v4(base + UInt32(number)))"
    }

    static func clusterIP(_ number: Int) -> String { address(0x0A60_0100, number) }

    static func endpoint(_ service: Int, _ number: Int, of count: Int, generation: Int = 0)
        -> String
    {
        address(0x0AF4_0000, service * (count + 1) + (number + generation) % (count + 1))
    }

    static func service(_ number: Int) -> JSONValue {
        [
            "apiVersion": "v1", "kind": "Service",
            "metadata": [
                "namespace": .string("ns\(number % 50)"), "name": .string("service-\(number)"),
                "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "1",
            ],
            "spec": [
                "type": "ClusterIP", "clusterIP": .string(clusterIP(number)),
                "clusterIPs": [.string(clusterIP(number))], "ipFamilies": ["IPv4"],
                "ports": [["name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"]],
            ],
        ]
    }

    /// With generation `g`, one endpoint of the Service is another than with `g - 1`.
    static func slice(_ number: Int, _ count: Int, generation: Int, revision: UInt64) -> JSONValue {
        let endpoints = (0..<count).map { index -> JSONValue in
            [
                "addresses": [
                    .string(
                        endpoint(
                            number, index, of: count,
                            generation: index == 0 && generation % 2 == 1 ? count : 0))
                ],
                "conditions": ["ready": true, "serving": true, "terminating": false],
                "nodeName": .string("node-\(index % 5)"),
            ]
        }
        return [
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": [
                "namespace": .string("ns\(number % 50)"), "name": .string("service-\(number)-a"),
                "resourceVersion": .string("\(revision)"),
                "labels": ["kubernetes.io/service-name": .string("service-\(number)")],
            ],
            "ports": [["name": "http", "port": 8080, "protocol": "TCP"]],
            "endpoints": .array(endpoints),
        ]
    }
}

/// kube-proxy's nftables layout (1.36): a chain a Service, an anonymous map of its endpoints, one
/// map of all Services, and its base chains with what they look up.
struct ChainPerService {
    var count: Int
    var endpointCount: Int

    private static let checks = [
        "set cluster-ips {", "type ipv4_addr", "}", "set nodeport-ips {", "type ipv4_addr", "}",
        "map no-endpoint-services {", "type ipv4_addr . inet_proto . inet_service : verdict", "}",
        "map no-endpoint-nodeports {", "type inet_proto . inet_service : verdict", "}",
        "map firewall-ips {", "type ipv4_addr . inet_proto . inet_service : verdict", "}",
        "map service-nodeports {", "type inet_proto . inet_service : verdict", "}",
        "chain mark-for-masquerade {", "meta mark set meta mark or 0x4000", "}",
        "chain masquerading {", "meta mark & 0x4000 == 0 return",
        "meta mark set meta mark xor 0x4000", "masquerade fully-random", "}",
        "chain nodeport-endpoints-check {",
        "ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports", "}",
        "chain service-endpoints-check {",
        "ip daddr . meta l4proto . th dport vmap @no-endpoint-services", "}",
        "chain firewall-check {", "ip daddr . meta l4proto . th dport vmap @firewall-ips", "}",
        "chain cluster-ips-check {", "ip daddr @cluster-ips reject", "}",
    ]

    private static let baseChains = [
        ("filter-prerouting", "prerouting", "-110", ["ct state new jump firewall-check"]),
        (
            "filter-input", "input", "-110",
            [
                "ct state new jump nodeport-endpoints-check",
                "ct state new jump service-endpoints-check",
            ]
        ),
        (
            "filter-forward", "forward", "-110",
            [
                "ct state new jump service-endpoints-check",
                "ct state new jump cluster-ips-check",
            ]
        ),
        ("nat-prerouting", "prerouting", "-100", ["jump services"]),
        ("nat-output", "output", "-100", ["jump services"]),
        ("nat-postrouting", "postrouting", "100", ["jump masquerading"]),
    ]

    func print() {
        var lines = ["table ip kube-proxy {"] + Self.checks
        for number in 0..<count {
            let endpoints = (0..<endpointCount).map {
                "\($0) : \(Objects.endpoint(number, $0, of: endpointCount)) . 8080"
            }
            lines += [
                "chain service-\(number) {",
                "ip daddr \(Objects.clusterIP(number)) tcp dport 80 ip saddr != 10.244.0.0/14 "
                    + "jump mark-for-masquerade",
                "meta l4proto tcp dnat ip to numgen random mod \(endpointCount) map { "
                    + endpoints.joined(separator: ", ") + " }", "}",
            ]
        }
        lines += ["map service-ips {", "type ipv4_addr . inet_proto . inet_service : verdict"]
        let elements = (0..<count).map {
            "\(Objects.clusterIP($0)) . tcp . 80 : goto service-\($0)"
        }
        lines += [
            "elements = { " + elements.joined(separator: ", ") + " }", "}",
            "chain services {", "ip daddr . meta l4proto . th dport vmap @service-ips",
            "ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports", "}",
        ]
        for (name, hook, priority, rules) in Self.baseChains {
            lines += [
                "chain \(name) {",
                "type \(name.prefix { $0 != "-" }) hook \(hook) priority \(priority);",
            ]
            lines += rules + ["}"]
        }
        lines.append("}")
        Swift.print(lines.joined(separator: "\n"))
    }
}

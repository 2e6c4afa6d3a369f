import JSON
import KubernetesAPI
import NetworkTypes
import Testing

@testable import Commands

/// What `trace` is asked, decided from the objects alone.
@Suite struct TracePlanTests {
    private func objects() throws -> TraceObjects {
        func node(_ number: Int) -> JSONValue {
            [
                "metadata": ["name": .string("portolan-node-\(number)")],
                "status": [
                    "addresses": [
                        ["type": "InternalIP", "address": .string("172.30.0.1\(number)")],
                        ["type": "InternalIP", "address": .string("fd00:30::1\(number)")],
                    ]
                ],
            ]
        }
        func pod(_ name: String, _ node: String, _ address: String, _ phase: String) -> JSONValue {
            [
                "metadata": ["namespace": "default", "name": .string(name)],
                "spec": ["nodeName": .string(node)],
                "status": [
                    "phase": .string(phase),
                    "podIPs": address.isEmpty ? [] : [["ip": .string(address)]],
                ],
            ]
        }
        let web: JSONValue = [
            "metadata": ["namespace": "default", "name": "web"],
            "spec": [
                "type": "LoadBalancer", "clusterIP": "10.96.0.7",
                "clusterIPs": ["10.96.0.7", "fd00:96::7"], "externalIPs": ["10.9.0.1"],
                "ports": [
                    ["name": "http", "port": 80, "nodePort": 31000],
                    ["name": "dns", "port": 53, "protocol": "UDP", "nodePort": 31053],
                ],
            ],
            "status": [
                "loadBalancer": [
                    "ingress": [["ip": "172.30.0.200"], ["ip": "172.30.0.201", "ipMode": "Proxy"]]
                ]
            ],
        ]
        let headless: JSONValue = [
            "metadata": ["namespace": "shop", "name": "db"],
            "spec": ["clusterIP": "None", "ports": [["port": 5432]]],
        ]
        return TraceObjects(
            nodes: try [2, 1].map { try Node(json: node($0)) },
            pods: try [
                Pod(json: pod("debug", "portolan-node-2", "10.244.1.5", "Running")),
                Pod(json: pod("waiting", "", "", "Pending")),
                Pod(json: pod("done", "portolan-node-1", "10.244.0.9", "Succeeded")),
            ],
            services: try [Service(json: web), Service(json: headless)])
    }

    private func plan(
        _ source: String?, _ target: String, node: String? = nil
    ) throws -> TracePlan {
        try TracePlan(
            source: source, target: TraceTarget(target, namespace: "default"), nodeName: node,
            namespace: "default", objects: objects())
    }

    private func summary(_ plan: TracePlan) -> [String] {
        plan.destinations.map { "\($0.title) \($0.address) \($0.port)" }
    }

    @Test func aPodIsFollowedAtItsNodeToEveryAddressOfItsFamily() throws {
        let found = try plan("debug", "web:http")
        #expect(found.node.metadata.name == "portolan-node-2")
        #expect(
            summary(found) == [
                "cluster IP 10.96.0.7 80/TCP", "external IP 10.9.0.1 80/TCP",
                "load-balancer address 172.30.0.200 80/TCP", "node port 172.30.0.12 31000/TCP",
            ])
        #expect(found.remarks.count == 1)  // ipMode Proxy is not followed, and it says so
        #expect(try plan("default/debug", "web").destinations.count == 8)
        #expect(try summary(plan("10.244.1.5", "web:53")).first == "cluster IP 10.96.0.7 53/UDP")
        #expect(try plan("debug", "web", node: "1").node.metadata.name == "portolan-node-1")
    }

    @Test func theNodeItselfAndTheWorldOutside() throws {
        let own = try plan(nil, "web:80/tcp")
        #expect(own.origin == .node)
        #expect(own.node.metadata.name == "portolan-node-1")
        #expect(own.destinations.map(\.address.family).contains(.ipv6))
        #expect(try plan("172.30.0.12", "web").origin == .node)
        let outside = try plan("8.8.8.8", "web:http", node: "portolan-node-2")
        // Nobody outside routes to a cluster IP.
        #expect(
            summary(outside) == [
                "external IP 10.9.0.1 80/TCP", "load-balancer address 172.30.0.200 80/TCP",
                "node port 172.30.0.12 31000/TCP",
            ])
    }

    @Test func addressesAreGivenTheirService() throws {
        let known = try plan("debug", "172.30.0.200:80")
        #expect(known.service?.metadata.name == "web")
        #expect(summary(known) == ["load-balancer address 172.30.0.200 80/TCP"])
        let unknown = try plan("debug", "10.96.9.9:443")
        #expect(unknown.service == nil)
        #expect(summary(unknown) == [" 10.96.9.9 443/TCP"])
        #expect(
            try TraceTarget("[fd00::1]:53/UDP", namespace: "")
                == .address(IPAddress.v6(0xFD00 << 112 | 1), ProtocolPort(.udp, 53)))
    }

    @Test func headlessServicesHaveNothingToFollow() throws {
        let found = try plan("debug", "shop/db")
        #expect(found.destinations.isEmpty)
        #expect(found.remarks.first?.contains("headless") == true)
    }

    @Test func faultsNameWhatIsWrongAndWhatThereIs() throws {
        let cases: [(String?, String, String?, String)] = [
            ("debug", "nothing", nil, "there is no Service default/nothing"),
            ("debug", "db", nil, "there is shop/db"),
            ("debug", "web:81", nil, "has no port 81: it has 80/TCP (http), 53/UDP (dns)"),
            ("debug", "web:80/UDP", nil, "has no port 80/UDP"),
            ("debug", "web:80/ICMP", nil, "must be TCP, UDP or SCTP"),
            ("debug", "web:", nil, "a port must follow the colon"),
            ("debug", "10.96.0.7", nil, "needs a port"),
            ("debug", "a/b/c", nil, "must be NAME or NAMESPACE/NAME"),
            ("nobody", "web", nil, "there is no Pod default/nobody"),
            ("waiting", "web", nil, "is Pending and has no address"),
            ("done", "web", nil, "is Succeeded"),
            (nil, "web", "7", "the nodes are portolan-node-1, portolan-node-2"),
        ]
        for (source, target, node, message) in cases {
            #expect {
                _ = try plan(source, target, node: node)
            } throws: { error in
                "\(error)".contains(message)
            }
        }
    }
}

import JSON
import KubernetesAPI
import NetworkTypes
import Testing

@testable import Controllers

@Suite struct ServiceEndpointsTests {
    private func compute(
        _ service: JSONValue, _ pods: [JSONValue], nodes: [JSONValue] = [Make.node("node-1")]
    ) throws -> [SlicePacker.Group: [SliceEndpoint]] {
        let records = try nodes.map { try NodeRecord(json: $0) }
        let computation = ServiceEndpoints(service: try Service(json: service)) { name in
            records.first { $0.metadata.name == name }?.node
        }
        return computation.groups(pods: try pods.map { try PodSummary(json: $0) })
    }

    private func only(
        _ groups: [SlicePacker.Group: [SliceEndpoint]]
    ) throws -> (SlicePacker.Group, [SliceEndpoint]) {
        try #require(groups.count == 1)
        let entry = try #require(groups.first)
        return (entry.key, entry.value)
    }

    @Test(arguments: [
        // ready, terminating, published → ready, serving
        (true, false, false, true, true),
        (false, false, false, false, false),
        (true, true, false, false, true),
        (false, true, false, false, false),
        (false, false, true, true, false),
        (true, true, true, true, true),
    ])
    func conditions(
        isReady: Bool, isTerminating: Bool, isPublished: Bool, ready: Bool, serving: Bool
    ) throws {
        let pod = Make.pod("a", ip: "10.244.0.2", isReady: isReady) {
            if isTerminating {
                $0["metadata", "deletionTimestamp"] = "2026-01-01T00:00:00Z"
            }
        }
        let service = Make.service("web", spec: ["publishNotReadyAddresses": .bool(isPublished)])
        let endpoint = try #require(try only(compute(service, [pod])).1.first)
        #expect(endpoint.isReady == ready)
        #expect(endpoint.isServing == serving)
        #expect(endpoint.isTerminating == isTerminating)
        #expect(endpoint.target?.name == "a")
        #expect(endpoint.nodeName == "node-1")
    }

    @Test func finishedAddresslessAndStrandedPodsAreLeftOut() throws {
        let pods = [
            Make.pod("done", ip: "10.244.0.2") { $0["status", "phase"] = "Succeeded" },
            Make.pod("failed", ip: "10.244.0.3") { $0["status", "phase"] = "Failed" },
            Make.pod("young"),
            Make.pod("stranded", ip: "10.244.0.4", node: "gone"),
        ]
        #expect(try compute(Make.service("web"), pods).isEmpty)
        let published = Make.service("web", spec: ["publishNotReadyAddresses": true])
        #expect(try only(compute(published, pods)).1.map(\.address) == ["10.244.0.4"])
    }

    @Test func namedPortsResolvePodByPod() throws {
        func pod(_ name: String, _ ip: String, port: Int64, transport: String = "TCP") -> JSONValue
        {
            Make.pod(name, ip: ip) {
                $0["spec", "containers"] = [
                    [
                        "ports": [
                            [
                                "name": "http", "containerPort": .integer(port),
                                "protocol": .string(transport),
                            ]
                        ]
                    ]
                ]
            }
        }
        let service = Make.service(
            "web", ports: [["name": "web", "port": 80, "targetPort": "http"]])
        let groups = try compute(
            service,
            [
                pod("a", "10.244.0.2", port: 8080), pod("b", "10.244.0.3", port: 9090),
                pod("c", "10.244.0.4", port: 8080),
                pod("d", "10.244.0.5", port: 1, transport: "UDP"),
            ])
        let byPort = Dictionary(
            uniqueKeysWithValues: groups.map { ($0.key.ports.map(\.port), $0.value.map(\.address)) }
        )
        #expect(
            byPort == [
                [8080]: ["10.244.0.2", "10.244.0.4"], [9090]: ["10.244.0.3"], []: ["10.244.0.5"],
            ])
        #expect(groups.keys.allSatisfy { $0.ports.isEmpty || $0.ports[0].name == "web" })
    }

    @Test func hostnameNeedsTheServiceAsSubdomain() throws {
        func pod(_ subdomain: String) -> JSONValue {
            Make.pod("a", ip: "10.244.0.2") {
                $0["spec", "hostname"] = "first"
                $0["spec", "subdomain"] = .string(subdomain)
            }
        }
        #expect(try only(compute(Make.service("web"), [pod("web")])).1[0].hostname == "first")
        #expect(try only(compute(Make.service("web"), [pod("other")])).1[0].hostname == nil)
    }

    @Test func dualStackServicesGetAGroupAFamily() throws {
        let pod = Make.pod("a", ip: "10.244.0.2") {
            $0["status", "podIPs"] = [["ip": "10.244.0.2"], ["ip": "fd00::2"]]
        }
        let service = Make.service("web", spec: ["ipFamilies": ["IPv4", "IPv6"]])
        let groups = try compute(service, [pod])
        let byType = Dictionary(
            uniqueKeysWithValues: groups.map { ($0.key.addressType, $0.value.map(\.address)) })
        #expect(byType == ["IPv4": ["10.244.0.2"], "IPv6": ["fd00::2"]])
    }

    @Test(arguments: [
        ("PreferClose", ["z1"], [String]()), ("PreferSameZone", ["z1"], []),
        ("PreferSameNode", ["z1"], ["node-1"]), ("", [], []),
    ])
    func hints(distribution: String, zones: [String], nodes: [String]) throws {
        var node = Make.node("node-1")
        node["metadata", "labels", "topology.kubernetes.io/zone"] = "z1"
        let spec: JSONValue =
            distribution.isEmpty ? [:] : ["trafficDistribution": .string(distribution)]
        let pods = [
            Make.pod("a", ip: "10.244.0.2"), Make.pod("b", ip: "10.244.0.3", isReady: false),
        ]
        let endpoints = try only(compute(Make.service("web", spec: spec), pods, nodes: [node])).1
        #expect(endpoints[0].zone == "z1")
        #expect(endpoints[0].zoneHints == zones)
        #expect(endpoints[0].nodeHints == nodes)
        #expect(endpoints[1].zoneHints.isEmpty && endpoints[1].nodeHints.isEmpty)
    }

    @Test func endpointsV1SplitReadyAndLeaveOutTerminating() throws {
        let pods = try [
            Make.pod("a", ip: "10.244.0.2"), Make.pod("b", ip: "10.244.0.3", isReady: false),
            Make.pod("c", ip: "10.244.0.4") {
                $0["metadata", "deletionTimestamp"] = "2026-01-01T00:00:00Z"
            },
        ].map { try PodSummary(json: $0) }
        let node = try Node(json: Make.node("node-1"))
        let computation = ServiceEndpoints(service: try Service(json: Make.service("web"))) { _ in
            node
        }
        let write = EndpointsObject.make(computation, pods: pods, present: nil)
        guard case .create(let object)? = write else {
            Issue.record("nothing is created")
            return
        }
        let subset = try #require(object["subsets"]?[0])
        #expect(subset["addresses"]?.array?.map { $0["ip"]?.string } == ["10.244.0.2"])
        #expect(subset["notReadyAddresses"]?.array?.map { $0["ip"]?.string } == ["10.244.0.3"])
        #expect(subset["ports"] == [["port": 8080, "protocol": "TCP"]])
        #expect(
            EndpointsObject.make(
                computation, pods: pods, present: EndpointsRecord(json: object)) == nil)
    }

    @Test func endpointsV1ChangeByAPatchThatRemovesWhatIsGone() throws {
        let computation = ServiceEndpoints(service: try Service(json: Make.service("web"))) { _ in
            nil
        }
        let present = EndpointsRecord(json: [
            "metadata": [
                "name": "web", "namespace": "default", "uid": "u", "resourceVersion": "7",
                "labels": ["old": "label", "endpoints.kubernetes.io/managed-by": "x"],
                "annotations": ["mine": "kept"],
            ],
            "subsets": [["addresses": [["ip": "10.0.0.1"]]]],
        ])
        let write = EndpointsObject.make(computation, pods: [], present: present)
        #expect(
            write
                == .patch([
                    "metadata": [
                        "uid": "u", "resourceVersion": "7",
                        "labels": [
                            "endpoints.kubernetes.io/managed-by": "endpoint-controller",
                            "old": .null,
                        ],
                        "annotations": ["mine": "kept"],
                    ],
                    "subsets": .null,
                ]))
    }

    @Test func endpointsV1AreCutAtAThousand() throws {
        let pods = try (0..<1200).map { index in
            try PodSummary(
                json: Make.pod(
                    "p\(index)", ip: "10.244.\(index / 250).\(index % 250)", isReady: index >= 300))
        }
        let node = try Node(json: Make.node("node-1"))
        let computation = ServiceEndpoints(service: try Service(json: Make.service("web"))) { _ in
            node
        }
        let write = EndpointsObject.make(computation, pods: pods, present: nil)
        guard case .create(let object)? = write else {
            Issue.record("nothing is created")
            return
        }
        #expect(object["subsets"]?[0]?["addresses"]?.array?.count == 900)
        #expect(object["subsets"]?[0]?["notReadyAddresses"]?.array?.count == 100)
        #expect(
            object["metadata", "annotations", "endpoints.kubernetes.io/over-capacity"]?.string
                == "truncated")
    }

    @Test func mirroringCopiesHandMadeEndpoints() throws {
        let service = try Service(json: Make.service("db", selector: nil))
        let endpointsJSON: JSONValue = [
            "metadata": [
                "name": "db", "namespace": "default", "uid": "e",
                "annotations": [
                    "kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "kept",
                ],
            ],
            "subsets": [
                [
                    "addresses": [["ip": "172.30.0.1"], ["ip": "fd00::1", "hostname": "six"]],
                    "notReadyAddresses": [["ip": "172.30.0.9"]],
                    "ports": [["port": 5432, "name": "pg"]],
                ]
            ],
        ]
        let endpoints = EndpointsRecord(json: endpointsJSON)
        let plan = MirroringController.plan(service: service, endpoints: endpoints, existing: [])
        #expect(plan.creates.map(\.addressType) == ["IPv4", "IPv6"])
        #expect(plan.creates[0].endpoints.map(\.isReady) == [true, false])
        #expect(plan.creates[1].endpoints.map(\.hostname) == ["six"])
        #expect(plan.creates[0].metadata.annotations == ["note": "kept"])
        #expect(plan.creates[0].owners.map(\.kind) == ["Endpoints"])
        #expect(
            plan.creates[0].metadata.labels["endpointslice.kubernetes.io/managed-by"]
                == "endpointslicemirroring-controller.k8s.io")
        var skipped = endpointsJSON
        skipped["metadata", "labels"] = ["endpointslice.kubernetes.io/skip-mirror": "true"]
        #expect(
            MirroringController.plan(
                service: service, endpoints: EndpointsRecord(json: skipped), existing: []
            ).isEmpty)
    }
}

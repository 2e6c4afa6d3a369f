import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import Testing

@testable import Controllers

@Suite struct NodeTests {
    private let now = Timestamp(seconds: 1_800_000_000)

    @Test(arguments: [
        ("portolan-node-1", [String](), "10.244.0.0/24"),
        ("portolan-node-2", [], "10.244.1.0/24"),
        ("portolan-node-2", ["10.244.1.0/24"], "10.244.0.0/24"),
        ("alpha", ["10.244.0.0/24", "10.244.2.0/24"], "10.244.1.0/24"),
        ("node-999", [], "10.244.0.0/24"),
        ("late", ["10.244.0.0/16"], nil),
    ])
    func podCIDRs(name: String, taken: [String], expected: String?) throws {
        let range = try #require(Prefix("10.244.0.0/16"))
        let block = PodCIDRPlan.block(
            of: range, length: 24, node: name, taken: taken.compactMap { Prefix($0) })
        #expect(block?.description == expected)
    }

    @Test func blocksOfIPv6AreGivenOut() throws {
        let range = try #require(Prefix("fd00:10::/48"))
        let block = PodCIDRPlan.block(of: range, length: 64, node: "node-3", taken: [])
        #expect(block == nil || block?.length == 64)
    }

    @Test func silenceMarksAndRenewalRestores() throws {
        var json = Make.node("n1")
        json["status", "conditions"] = [
            ["type": "Ready", "status": "True", "reason": "KubeletReady"],
            ["type": "DiskPressure", "status": "False"],
        ]
        let node = try NodeRecord(json: json)
        #expect(NodeHealth.conditions(node, isSilent: false, now: now) == nil)
        let silent = try #require(NodeHealth.conditions(node, isSilent: true, now: now))
        #expect(silent.map { $0["status"]?.string } == ["Unknown", "Unknown"])
        json["status", "conditions"] = .array(silent)
        let marked = try NodeRecord(json: json)
        #expect(NodeHealth.conditions(marked, isSilent: true, now: now) == nil)
        let taints = try #require(NodeHealth.taints(marked, now: now))
        #expect(taints.map { $0["effect"]?.string } == ["NoSchedule", "NoExecute"])
        #expect(taints.allSatisfy { $0["key"]?.string == "node.kubernetes.io/unreachable" })
        let back = try #require(NodeHealth.conditions(marked, isSilent: false, now: now))
        #expect(back.map { $0["status"]?.string } == ["True", "False"])
        json["status", "conditions"] = .array(back)
        json["spec", "taints"] = .array(taints + [["key": "mine", "effect": "NoSchedule"]])
        let cleaned = NodeHealth.taints(try NodeRecord(json: json), now: now)
        #expect(cleaned == [["key": "mine", "effect": "NoSchedule"]])
    }

    private static let tolerations: [(JSONValue, Int?)] = [
        ([], 300), ([["operator": "Exists"]], nil),
        (
            [
                [
                    "key": "node.kubernetes.io/unreachable", "operator": "Exists",
                    "effect": "NoExecute", "tolerationSeconds": 5,
                ]
            ], 5
        ),
    ]

    @Test(arguments: tolerations)
    func evictionFollowsTolerations(tolerations: JSONValue, seconds: Int?) throws {
        let pod = try PodSummary(
            json: Make.pod("p") { $0["spec", "tolerations"] = tolerations })
        let taints: [JSONValue] = [
            [
                "key": "node.kubernetes.io/unreachable", "effect": "NoExecute",
                "timeAdded": .string(now.description),
            ]
        ]
        #expect(
            NodeHealth.evictionTime(pod, taints: taints, now: now)
                == seconds.map { now.adding(seconds: Double($0)) })
    }

    @Test func aSilentNodesPodsLeaveAndComeBack() async throws {
        var configuration = ControllerManager.Configuration()
        configuration.podCIDRs = [try #require(Prefix("10.244.0.0/16"))]
        try await withManager(configuration) { client in
            _ = try await client.create(.nodes, Make.node("node-2"))
            let lease: JSONValue = [
                "metadata": ["name": "node-2", "namespace": "kube-node-lease"],
                "spec": ["leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z"],
            ]
            _ = try await client.create(.leases, lease)
            _ = try await client.create(
                .pods,
                Make.pod("web", ip: "10.244.1.2", node: "node-2") {
                    $0["status", "conditions"] = [
                        ["type": "Ready", "status": "True"],
                        ["type": "ContainersReady", "status": "True"],
                    ]
                })
            _ = try await client.create(.services, Make.service("web"))
            @Sendable func isReady(_ wanted: Bool) async throws -> Bool {
                let slice = try await client.items(.endpointSlices).first
                return slice?["endpoints"]?[0]?["conditions"]?["ready"]?.bool == wanted
            }
            try await eventually("never ready") { try await isReady(true) }
            try await eventually("no pod CIDR") {
                let node = try await client.get(.nodes, namespace: nil, name: "node-2")
                return node["spec", "podCIDR"]?.string == "10.244.1.0/24"
            }
            try await eventually("endpoint stays though the node is silent") {
                try await isReady(false)
            }
            let node = try await client.get(.nodes, namespace: nil, name: "node-2")
            #expect(Conditions(of: node)["Ready"]?["status"] == "Unknown")
            #expect(node["spec", "taints"]?.array?.count == 2)
            var renewed = lease
            renewed["spec", "renewTime"] = "2026-01-01T00:01:00.000000Z"
            renewed["spec", "leaseDurationSeconds"] = 60
            _ = try await client.update(.leases, renewed, subresource: nil)
            try await eventually("endpoint does not come back") { try await isReady(true) }
            try await eventually("taints stay") {
                let node = try await client.get(.nodes, namespace: nil, name: "node-2")
                return (node["spec", "taints"]?.array ?? []).isEmpty
            }
            try await client.delete(.nodes, namespace: nil, name: "node-2", options: nil)
            try await eventually("pod of the deleted node stays") {
                try await client.items(.pods).isEmpty
            }
        }
    }

    @Test func daemonSetsCoverTheNodesAndFollowTheirTemplate() async throws {
        try await withManager { client in
            try await client.addNodes(["n1", "n2"])
            _ = try await client.create(
                .daemonSets,
                [
                    "metadata": ["name": "speaker", "namespace": "default"],
                    "spec": [
                        "selector": ["matchLabels": ["app": "speaker"]],
                        "template": Make.template(["app": "speaker"]),
                    ],
                ])
            func settle(_ nodes: Set<String>, _ image: String) async throws {
                try await eventually("not on \(nodes) with \(image)") {
                    for (index, pod) in try await client.items(.pods).enumerated() {
                        if pod["metadata", "deletionTimestamp"] != nil {
                            try await client.finishDeletion(pod)
                        } else if pod["spec", "nodeName"]?.string != nil,
                            !Conditions(of: pod).isTrue("Ready")
                        {
                            try await client.makeReady(pod, ip: "10.244.0.\(index + 2)")
                        }
                    }
                    let pods = try await client.items(.pods)
                    let set = try await client.get(
                        .daemonSets, namespace: "default", name: "speaker")
                    return Set(pods.compactMap { $0["spec", "nodeName"]?.string }) == nodes
                        && pods.count == nodes.count
                        && pods.allSatisfy {
                            $0["spec", "containers"]?[0]?["image"]?.string == image
                        }
                        && set["status", "numberAvailable"]?.int == nodes.count
                        && set["status", "updatedNumberScheduled"]?.int == nodes.count
                }
            }
            try await settle(["n1", "n2"], "web:1")
            try await client.addNodes(["n3"])
            try await settle(["n1", "n2", "n3"], "web:1")
            _ = try await client.patch(
                .daemonSets, namespace: "default", name: "speaker", subresource: nil, type: .merge,
                ["spec": ["template": Make.template(["app": "speaker"], image: "web:2")]])
            try await settle(["n1", "n2", "n3"], "web:2")
        }
    }
}

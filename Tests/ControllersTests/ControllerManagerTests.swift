import Informer
import JSON
import KubernetesAPI
import Testing

@testable import Controllers

/// The controllers together, over an API server in memory.
@Suite struct ControllerManagerTests {
    @Test func aServiceGetsItsSlicesAndEndpoints() async throws {
        try await withManager { client in
            try await client.addNodes(["node-1"], zones: ["z1"])
            _ = try await client.create(.pods, Make.pod("a", ip: "10.244.0.2"))
            _ = try await client.create(.services, Make.service("web"))
            try await eventually("no slice") {
                try await client.items(.endpointSlices).contains {
                    $0["endpoints"]?[0]?["addresses"] == ["10.244.0.2"]
                }
            }
            let slice = try #require(try await client.items(.endpointSlices).first)
            #expect(slice["metadata", "generateName"]?.string == "web-")
            #expect(slice["metadata", "ownerReferences"]?[0]?["name"]?.string == "web")
            #expect(
                slice["metadata", "labels", "endpointslice.kubernetes.io/managed-by"]?.string
                    == "endpointslice-controller.k8s.io")
            #expect(slice["endpoints"]?[0]?["zone"]?.string == "z1")
            try await eventually("no endpoints") {
                try await client.items(.endpoints).first?["subsets"]?[0]?["addresses"]?[0]?["ip"]
                    == "10.244.0.2"
            }
            try await client.delete(.services, namespace: "default", name: "web", options: nil)
            try await eventually("slices or endpoints left") {
                let slices = try await client.items(.endpointSlices)
                let endpoints = try await client.items(.endpoints)
                return slices.isEmpty && endpoints.isEmpty
            }
        }
    }

    @Test func slicesFollowManyPodsWithoutDuplicates() async throws {
        try await withManager { client in
            try await client.addNodes(["node-1"])
            _ = try await client.create(.services, Make.service("web"))
            await withDiscardingTaskGroup { group in
                for index in 0..<250 {
                    group.addTask {
                        _ = try? await client.create(
                            .pods, Make.pod("p\(index)", ip: "10.244.\(index / 200).\(index % 200)")
                        )
                    }
                }
            }
            try await eventually("slices incomplete") {
                let slices = try await client.items(.endpointSlices)
                let addresses = slices.flatMap { $0["endpoints"]?.array ?? [] }
                    .compactMap { $0["addresses"]?[0]?.string }
                return addresses.count == 250 && Set(addresses).count == 250
            }
            #expect(try await client.items(.endpointSlices).count == 3)
        }
    }

    @Test func handMadeEndpointsAreMirrored() async throws {
        try await withManager { client in
            _ = try await client.create(.services, Make.service("db", selector: nil))
            _ = try await client.create(
                .endpoints,
                [
                    "metadata": ["name": "db", "namespace": "default"],
                    "subsets": [["addresses": [["ip": "172.30.0.1"]], "ports": [["port": 5432]]]],
                ])
            try await eventually("not mirrored") {
                try await client.items(.endpointSlices).first?["endpoints"]?[0]?["addresses"]
                    == ["172.30.0.1"]
            }
            try await client.delete(.endpoints, namespace: "default", name: "db", options: nil)
            try await eventually("mirror left") {
                try await client.items(.endpointSlices).isEmpty
            }
        }
    }

    @Test func aDeploymentRollsOutAndBack() async throws {
        try await withManager { client in
            try await client.addNodes(["n1", "n2", "n3"])
            _ = try await client.create(.deployments, Make.deployment())
            try await Self.settle(client, image: "web:1", count: 3)
            let pods = try await client.items(.pods)
            #expect(Set(pods.compactMap { $0["spec", "nodeName"]?.string }).count == 3)
            #expect(
                pods.allSatisfy {
                    Conditions(of: $0).isTrue("PodScheduled")
                        && $0["metadata", "labels", "pod-template-hash"] != nil
                })
            for image in ["web:2", "web:1"] {
                _ = try await client.patch(
                    .deployments, namespace: "default", name: "web", subresource: nil, type: .merge,
                    ["spec": ["template": Make.template(image: image)]])
                try await Self.settle(client, image: image, count: 3)
            }
            let sets = try await client.items(.replicaSets)
            #expect(sets.count == 2)
            let deployment = try await client.get(.deployments, namespace: "default", name: "web")
            #expect(
                deployment["metadata", "annotations", DeploymentPlan.revisionAnnotation] == "3")
            _ = try await client.patch(
                .deployments, namespace: "default", name: "web", subresource: nil, type: .merge,
                ["spec": ["replicas": 5]])
            try await Self.settle(client, image: "web:1", count: 5)
            try await eventually("no events") {
                let reasons = Set(
                    try await client.items(.events).compactMap { $0["reason"]?.string })
                return reasons.isSuperset(of: [
                    "ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete", "Scheduled",
                ])
            }
        }
    }

    @Test func aRestartChangesNothing() async throws {
        let client = MemoryClient()
        try await withManager(client: client) { client in
            try await client.addNodes(["n1", "n2"])
            _ = try await client.create(.services, Make.service("web"))
            _ = try await client.create(.deployments, Make.deployment())
            try await Self.settle(client, image: "web:1", count: 3)
            try await eventually("no endpoints") {
                try await client.items(.endpoints).first?["subsets"]?[0]?["addresses"]?
                    .array?.count == 3
            }
        }
        let resources: [Resource] = [
            .pods, .replicaSets, .deployments, .endpointSlices, .endpoints, .nodes, .configMaps,
        ]
        @Sendable func writes() -> [Int] {
            resources.map {
                client.writes("create", $0) + client.writes("update", $0)
                    + client.writes("delete", $0)
            }
        }
        let before = writes()
        try await withManager(client: client) { client in
            // The last of what a start does: the new Service's slices come after all else that
            // was queued before it.
            _ = try await client.create(.namespaces, ["metadata": ["name": "probe"]])
            try await eventually("not started") {
                try await client.items(.serviceAccounts, in: "probe").count == 1
            }
        }
        #expect(writes() == before)
    }

    @Test func conflictsAreRetried() async throws {
        try await withManager { client in
            try await client.addNodes(["n1"])
            client.injectConflicts(5)
            _ = try await client.create(.deployments, Make.deployment(replicas: 1))
            try await Self.settle(client, image: "web:1", count: 1)
        }
    }

    @Test func anUnschedulablePodSaysWhyAndIsPlacedLater() async throws {
        try await withManager { client in
            _ = try await client.create(.pods, Make.pod("p", node: ""))
            try await eventually("no condition") {
                let pod = try await client.get(.pods, namespace: "default", name: "p")
                return Conditions(of: pod)["PodScheduled"]?["message"]
                    == "no nodes available to schedule pods"
            }
            try await client.addNodes(["n1"])
            try await eventually("not placed") {
                let pod = try await client.get(.pods, namespace: "default", name: "p")
                return pod["spec", "nodeName"]?.string == "n1"
                    && Conditions(of: pod).isTrue("PodScheduled")
            }
            try await eventually("no event") {
                try await client.items(.events).contains {
                    $0["reason"]?.string == "FailedScheduling" && $0["type"]?.string == "Warning"
                }
            }
        }
    }

    /// Plays the nodes until the Deployment says it is complete.
    private static func settle(_ client: MemoryClient, image: String, count: Int64) async throws {
        try await eventually("rollout of \(image) does not end", seconds: 20) {
            try await playNodes(client)
            let deployment = try await client.get(.deployments, namespace: "default", name: "web")
            let status = deployment["status"]
            let pods = try await client.items(.pods)
            return status?["observedGeneration"] == deployment["metadata", "generation"]
                && status?["updatedReplicas"]?.integer == count
                && status?["availableReplicas"]?.integer == count
                && status?["replicas"]?.integer == count
                && Conditions(of: deployment)["Progressing"]?["reason"] == "NewReplicaSetAvailable"
                && pods.count == Int(count)
                && pods.allSatisfy { $0["spec", "containers"]?[0]?["image"]?.string == image }
        }
    }

    private static func playNodes(_ client: MemoryClient) async throws {
        for (index, pod) in try await client.items(.pods).enumerated() {
            if pod["metadata", "deletionTimestamp"] != nil {
                try await client.finishDeletion(pod)
            } else if pod["spec", "nodeName"]?.string != nil,
                !Conditions(of: pod).isTrue("Ready")
            {
                try await client.makeReady(pod, ip: "10.244.0.\(index + 2)")
            }
        }
    }
}

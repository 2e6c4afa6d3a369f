import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import Testing

@testable import Controllers

@Suite struct GarbageTests {
    private static func configMap(
        _ name: String, owners: [JSONValue] = [], namespace: String = "default"
    ) -> JSONValue {
        var object: JSONValue = [
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": ["name": .string(name), "namespace": .string(namespace)],
        ]
        if !owners.isEmpty { object["metadata", "ownerReferences"] = .array(owners) }
        return object
    }

    private static func reference(_ owner: JSONValue, blocks: Bool = false) -> JSONValue {
        [
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata", "name"] ?? "",
            "uid": owner["metadata", "uid"] ?? "", "blockOwnerDeletion": .bool(blocks),
        ]
    }

    private static func names(_ client: MemoryClient) async throws -> Set<String> {
        Set(
            try await client.items(.configMaps).compactMap { $0["metadata", "name"]?.string }
        ).subtracting(["kube-root-ca.crt"])
    }

    @Test func dependentsGoWithTheirLastOwner() async throws {
        try await withManager { client in
            let one = try await client.create(.configMaps, Self.configMap("one"))
            let two = try await client.create(.configMaps, Self.configMap("two"))
            let both = [Self.reference(one), Self.reference(two)]
            let child = try await client.create(
                .configMaps, Self.configMap("child", owners: both))
            _ = try await client.create(
                .configMaps, Self.configMap("grandchild", owners: [Self.reference(child)]))
            try await client.delete(
                .configMaps, namespace: "default", name: "one", options: nil)
            try await eventually("reference to the deleted owner stays") {
                let child = try await client.get(
                    .configMaps, namespace: "default", name: "child")
                return child["metadata", "ownerReferences"]?.array?.count == 1
            }
            try await client.delete(
                .configMaps, namespace: "default", name: "two", options: nil)
            try await eventually("dependents stay") { try await Self.names(client).isEmpty }
        }
    }

    @Test func danglingReferencesAreCleanedAtStart() async throws {
        let client = MemoryClient()
        _ = try await client.create(
            .configMaps,
            Self.configMap(
                "lost",
                owners: [["apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"]]
            ))
        _ = try await client.create(
            .configMaps,
            Self.configMap(
                "foreign",
                owners: [["apiVersion": "other.io/v1", "kind": "Thing", "name": "x", "uid": "t"]]))
        try await withManager(client: client) { client in
            try await eventually("lost object stays") {
                try await Self.names(client) == ["foreign"]
            }
        }
    }

    @Test func foregroundDeletionWaitsForBlockingDependents() async throws {
        try await withManager { client in
            let owner = try await client.create(.configMaps, Self.configMap("owner"))
            var child = Self.configMap("child", owners: [Self.reference(owner, blocks: true)])
            child["metadata", "finalizers"] = ["test/hold"]
            _ = try await client.create(.configMaps, child)
            try await client.delete(
                .configMaps, namespace: "default", name: "owner",
                options: ["propagationPolicy": "Foreground"])
            try await eventually("child is not deleted") {
                let child = try await client.get(
                    .configMaps, namespace: "default", name: "child")
                return child["metadata", "deletionTimestamp"] != nil
            }
            #expect(try await Self.names(client) == ["owner", "child"])
            _ = try await client.patch(
                .configMaps, namespace: "default", name: "child", subresource: nil, type: .merge,
                ["metadata": ["finalizers": nil]])
            try await eventually("owner stays") { try await Self.names(client).isEmpty }
        }
    }

    @Test func orphanDeletionKeepsDependents() async throws {
        try await withManager { client in
            let owner = try await client.create(.configMaps, Self.configMap("owner"))
            _ = try await client.create(
                .configMaps, Self.configMap("child", owners: [Self.reference(owner)]))
            try await client.delete(
                .configMaps, namespace: "default", name: "owner",
                options: ["propagationPolicy": "Orphan"])
            try await eventually("owner stays") { try await Self.names(client) == ["child"] }
            let child = try await client.get(.configMaps, namespace: "default", name: "child")
            #expect(child["metadata", "ownerReferences"] == nil)
        }
    }

    @Test func deletingADeploymentTakesItsPods() async throws {
        try await withManager { client in
            try await client.addNodes(["n1"])
            _ = try await client.create(.deployments, Make.deployment())
            try await eventually("no pods") {
                try await client.items(.pods).count { $0["spec", "nodeName"] != nil } == 3
            }
            try await client.delete(.deployments, namespace: "default", name: "web", options: nil)
            try await eventually("pods live on") {
                for pod in try await client.items(.pods)
                where pod["metadata", "deletionTimestamp"] != nil {
                    try await client.finishDeletion(pod)
                }
                let pods = try await client.items(.pods)
                let sets = try await client.items(.replicaSets)
                return pods.isEmpty && sets.isEmpty
            }
        }
    }

    @Test func namespacesAreFurnishedAndEmptied() async throws {
        var configuration = ControllerManager.Configuration()
        configuration.rootCertificatePEM = "PEM"
        try await withManager(configuration) { client in
            _ = try await client.create(
                .namespaces,
                ["metadata": ["name": "shop"], "spec": ["finalizers": ["kubernetes"]]])
            try await eventually("no furniture") {
                let accounts = try await client.items(.serviceAccounts, in: "shop")
                let maps = try await client.items(.configMaps, in: "shop")
                return accounts.count == 1 && maps.first?["data", "ca.crt"]?.string == "PEM"
            }
            try await client.delete(
                .configMaps, namespace: "shop", name: "kube-root-ca.crt", options: nil)
            try await eventually("furniture is not mended") {
                try await client.items(.configMaps, in: "shop").count == 1
            }
            var held = Self.configMap("held", namespace: "shop")
            held["metadata", "finalizers"] = ["test/hold"]
            _ = try await client.create(.configMaps, held)
            _ = try await client.create(
                .services,
                [
                    "metadata": ["name": "web", "namespace": "shop"],
                    "spec": ["selector": ["a": "b"], "ports": [["port": 80]]],
                ])
            try await client.delete(.namespaces, namespace: nil, name: "shop", options: nil)
            try await eventually("not emptied") {
                let maps = try await client.items(.configMaps, in: "shop")
                let services = try await client.items(.services, in: "shop")
                return maps.count == 1 && services.isEmpty
            }
            _ = try await client.patch(
                .configMaps, namespace: "shop", name: "held", subresource: nil, type: .merge,
                ["metadata": ["finalizers": nil]])
            try await eventually("namespace stays") {
                do {
                    _ = try await client.get(.namespaces, namespace: nil, name: "shop")
                    return false
                } catch let error as StatusError where error.isNotFound {
                    return true
                }
            }
            for resource in [Resource.configMaps, .serviceAccounts, .endpointSlices, .endpoints] {
                #expect(try await client.items(resource, in: "shop").isEmpty)
            }
        }
    }

    @Test func customResourcesAreCollectedAndEmptied() async throws {
        try await withManager { client in
            _ = try await client.create(
                .customResourceDefinitions,
                [
                    "metadata": ["name": "boats.sea.io"],
                    "spec": [
                        "group": "sea.io", "scope": "Namespaced",
                        "names": ["plural": "boats", "kind": "Boat"],
                        "versions": [["name": "v1", "served": true, "storage": true]],
                    ],
                    "status": ["conditions": [["type": "Established", "status": "True"]]],
                ])
            let boats = Resource(group: "sea.io", plural: "boats", kind: "Boat")
            let owner = try await client.create(.configMaps, Self.configMap("owner"))
            _ = try await client.create(
                boats,
                [
                    "metadata": [
                        "name": "owned", "namespace": "default",
                        "ownerReferences": [Self.reference(owner)],
                    ]
                ])
            try await client.delete(
                .configMaps, namespace: "default", name: "owner", options: nil)
            try await eventually("boat outlives its owner") {
                try await client.items(boats).isEmpty
            }
            _ = try await client.create(
                .namespaces,
                ["metadata": ["name": "port"], "spec": ["finalizers": ["kubernetes"]]])
            _ = try await client.create(
                boats, ["metadata": ["name": "moored", "namespace": "port"]])
            try await client.delete(.namespaces, namespace: nil, name: "port", options: nil)
            try await eventually("boat outlives its namespace") {
                try await client.items(boats, in: "port").isEmpty
            }
        }
    }

    @Test func theClusterStartsWithItsFurnitureAndDNS() async throws {
        var configuration = ControllerManager.Configuration()
        configuration.dnsAddress = IPAddress("10.96.0.10")
        configuration.kubeProxyConfiguration = "ipvs:\n  strictARP: false\n"
        try await withManager(configuration) { client in
            try await client.addNodes(["n1"])
            try await eventually("no DNS endpoints") {
                let slices = try await client.items(.endpointSlices, in: "kube-system")
                let endpoints = try await client.items(.endpoints, in: "kube-system")
                return slices.first?["endpoints"]?[0]?["nodeName"]?.string == "n1"
                    && endpoints.first?["subsets"]?[0]?["addresses"]?[0]?["ip"] == "172.30.0.11"
            }
            let service = try await client.get(
                .services, namespace: "kube-system", name: "kube-dns")
            #expect(service["spec", "clusterIP"] == "10.96.0.10")
            let proxy = try await client.get(
                .configMaps, namespace: "kube-system", name: "kube-proxy")
            #expect(proxy["data", "config.conf"]?.string?.contains("strictARP: false") == true)
            let dns = try await client.get(.configMaps, namespace: "kube-system", name: "coredns")
            #expect(dns["data", "Corefile"]?.string?.contains("kubernetes cluster.local") == true)
            #expect(try await client.items(.endpointSlices, in: "kube-system").count == 1)
        }
    }

    @Test func eventsAreRepeatedInCountAndPruned() async throws {
        let client = MemoryClient()
        let recorder = EventRecorder(client: client, component: "test", host: "n1")
        let reference = ObjectReference(.services, ObjectKey(namespace: "default", name: "web"))
        for _ in 0..<40 {
            await recorder.record(
                .warning, reason: "AllocationFailed", message: "no pool", regarding: reference)
        }
        let events = try await client.items(.events)
        #expect(events.count == 1)
        #expect(events[0]["count"] == 25)
        #expect(events[0]["involvedObject", "name"] == "web")
        #expect(await recorder.counters.dropped == 15)
        let now = Timestamp(seconds: 1_800_000_000)
        let ages = (0..<30).map { index in
            EventPruner.EventAge(json: [
                "metadata": ["name": .string("e\(index)"), "namespace": "default"],
                "lastTimestamp": .string(
                    now.adding(seconds: Double(index - 30) * 300).description),
            ])
        }
        #expect(EventPruner.expired(ages, now: now).count == 19)
        #expect(EventPruner.expired(ages, now: now, countLimit: 10).count == 21)
        #expect(EventPruner.expired(ages, now: now, countLimit: 5).count == 25)
    }
}

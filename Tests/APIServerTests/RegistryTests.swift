import Informer
import JSON
import KubernetesAPI
import Store
import TestSupport
import Testing

@testable import APIServer

/// What happens to objects between decoding and the store, asked in process.
@Suite(.offPool) struct RegistryTests {
    private func withClient(
        _ body: @Sendable (ServerFixture, any KubernetesClient) async throws -> Void
    ) async throws {
        try await ServerFixture.run { try await body($0, $0.server.client) }
    }

    private static func pod(_ name: String, node: String = "") -> JSONValue {
        var pod: JSONValue = [
            "metadata": ["name": .string(name), "namespace": "default"],
            "spec": ["containers": [["name": "c", "image": "x"]]],
        ]
        if !node.isEmpty { pod["spec", "nodeName"] = .string(node) }
        return pod
    }

    private static func service(_ name: String, _ spec: JSONValue) -> JSONValue {
        ["metadata": ["name": .string(name), "namespace": "default"], "spec": spec]
    }

    @Test func podsOnNodesAreGivenTimeToEnd() async throws {
        try await withClient { _, client in
            _ = try await client.create(.pods, Self.pod("free"))
            try await client.delete(.pods, namespace: "default", name: "free", options: nil)
            await #expect(throws: StatusError.notFound(.pods, name: "free")) {
                try await client.get(.pods, namespace: "default", name: "free")
            }
            _ = try await client.create(.pods, Self.pod("held", node: "n1"))
            try await client.delete(.pods, namespace: "default", name: "held", options: nil)
            let marked = try await client.get(.pods, namespace: "default", name: "held")
            #expect(marked["metadata", "deletionTimestamp"] != nil)
            #expect(marked["metadata", "deletionGracePeriodSeconds"] == 30)
            // A second deletion shortens the time, and none lengthens it.
            try await client.delete(
                .pods, namespace: "default", name: "held", options: ["gracePeriodSeconds": 5])
            try await client.delete(
                .pods, namespace: "default", name: "held", options: ["gracePeriodSeconds": 60])
            let shorter = try await client.get(.pods, namespace: "default", name: "held")
            #expect(shorter["metadata", "deletionGracePeriodSeconds"] == 5)
            try await client.delete(
                .pods, namespace: "default", name: "held", options: ["gracePeriodSeconds": 0])
            await #expect(throws: StatusError.self) {
                try await client.get(.pods, namespace: "default", name: "held")
            }
        }
    }

    @Test func bindsPodsOnce() async throws {
        try await withClient { _, client in
            _ = try await client.create(.pods, Self.pod("p"))
            let binding: JSONValue = [
                "metadata": ["name": "p", "namespace": "default"], "target": ["name": "n1"],
            ]
            let bound = try await client.update(.pods, binding, subresource: "binding")
            #expect(bound["spec", "nodeName"] == "n1")
            await #expect(throws: StatusError.self) {
                try await client.update(.pods, binding, subresource: "binding")
            }
        }
    }

    @Test func finalizersHoldObjects() async throws {
        try await withClient { _, client in
            _ = try await client.create(
                .configMaps,
                [
                    "metadata": [
                        "name": "c", "namespace": "default", "finalizers": ["example.com/x"],
                    ]
                ])
            try await client.delete(.configMaps, namespace: "default", name: "c", options: nil)
            let held = try await client.get(.configMaps, namespace: "default", name: "c")
            #expect(held["metadata", "deletionTimestamp"] != nil)
            _ = try await client.patch(
                .configMaps, namespace: "default", name: "c", subresource: nil, type: .merge,
                ["metadata": ["finalizers": nil]])
            await #expect(throws: StatusError.self) {
                try await client.get(.configMaps, namespace: "default", name: "c")
            }
        }
    }

    @Test func namespacesEndWhenFinalized() async throws {
        try await withClient { _, client in
            _ = try await client.create(.namespaces, ["metadata": ["name": "n"]])
            try await client.delete(.namespaces, namespace: nil, name: "n", options: nil)
            var namespace = try await client.get(.namespaces, namespace: nil, name: "n")
            #expect(namespace["status", "phase"] == "Terminating")
            let refused = await #expect(throws: StatusError.self) {
                try await client.create(
                    .configMaps, ["metadata": ["name": "c", "namespace": "n"]])
            }
            #expect(
                refused?.message.contains(
                    "unable to create new content in namespace n because it is being terminated")
                    == true)
            namespace["spec", "finalizers"] = []
            _ = try await client.update(.namespaces, namespace, subresource: "finalize")
            await #expect(throws: StatusError.notFound(.namespaces, name: "n")) {
                try await client.get(.namespaces, namespace: nil, name: "n")
            }
        }
    }

    @Test func conflictsAndPreconditions() async throws {
        try await withClient { _, client in
            let first = try await client.create(
                .configMaps, ["metadata": ["name": "c", "namespace": "default"]])
            var second = first
            second["data"] = ["a": "1"]
            _ = try await client.update(.configMaps, second, subresource: nil)
            let stale = await #expect(throws: StatusError.self) {
                try await client.update(.configMaps, second, subresource: nil)
            }
            #expect(stale?.isConflict == true)
            let other = await #expect(throws: StatusError.self) {
                try await client.delete(
                    .configMaps, namespace: "default", name: "c",
                    options: ["preconditions": ["uid": "other"]])
            }
            #expect(other?.isConflict == true)
            await #expect(throws: StatusError.alreadyExists(.configMaps, name: "c")) {
                try await client.create(
                    .configMaps, ["metadata": ["name": "c", "namespace": "default"]])
            }
        }
    }

    @Test func generatesNamesAndCountsGenerations() async throws {
        try await withClient { fixture, client in
            let made = try await client.create(
                .configMaps, ["metadata": ["generateName": "x-", "namespace": "default"]])
            #expect(made["metadata", "name"]?.string?.hasPrefix("x-") == true)
            #expect(made["metadata", "name"]?.string?.count == 7)
            let before = fixture.store.revision
            _ = try await client.update(.configMaps, made, subresource: nil)
            #expect(fixture.store.revision == before, "an update that changes nothing is no write")
        }
    }

    @Test func servicesGetAddressesAndPortsAndGiveThemBack() async throws {
        try await withClient { _, client in
            let spec: JSONValue = [
                "type": "NodePort", "clusterIP": "10.96.3.3",
                "ports": [["port": 80, "nodePort": 31000]],
            ]
            _ = try await client.create(.services, Self.service("a", spec))
            let taken = await #expect(throws: StatusError.self) {
                try await client.create(.services, Self.service("b", spec))
            }
            #expect(
                taken?.message
                    == "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.3.3\"]: "
                    + "failed to allocate IP 10.96.3.3: provided IP is already allocated")
            try await client.delete(.services, namespace: "default", name: "a", options: nil)
            let again = try await client.create(.services, Self.service("b", spec))
            #expect(again["spec", "clusterIPs"] == ["10.96.3.3"])
            let changed = try await client.patch(
                .services, namespace: "default", name: "b", subresource: nil, type: .merge,
                ["spec": ["type": "ClusterIP"]])
            #expect(changed["spec", "ports"]?[0]?["nodePort"] == nil)
            let other = try await client.create(
                .services,
                Self.service(
                    "c", ["type": "NodePort", "ports": [["port": 80, "nodePort": 31000]]]))
            #expect(other["spec", "clusterIP"]?.string?.hasPrefix("10.96.") == true)
        }
    }

    @Test func publishesItself() async throws {
        try await withClient { _, client in
            let service = try await client.get(
                .services, namespace: "default", name: "kubernetes")
            #expect(service["spec", "clusterIP"] == "10.96.0.1")
            let slice = try await client.get(
                .endpointSlices, namespace: "default", name: "kubernetes")
            #expect(slice["endpoints"]?[0]?["addresses"] == ["192.0.2.1"])
        }
    }

    @Test func watchesInProcess() async throws {
        try await withClient { fixture, client in
            let start = fixture.store.revision
            var options = ListOptions(namespace: "default")
            options.labelSelector = "x=1"
            let events = try await client.watch(
                .configMaps, options, resourceVersion: String(start))
            for name in ["a", "b"] {
                _ = try await client.create(
                    .configMaps,
                    [
                        "metadata": [
                            "name": .string(name), "namespace": "default",
                            "labels": ["x": .string(name == "b" ? "1" : "2")],
                        ]
                    ])
            }
            var iterator = events.makeAsyncIterator()
            let event = try await iterator.next()
            #expect(event?.type == .added)
            #expect(event?.object["metadata", "name"] == "b")
        }
    }
}

import APIServer
import FoundationEssentials
import Glibc
import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes
import Store
import Testing

@testable import Controllers

/// The controllers over the real API server and store, in process, as `portolan up` runs them.
@Suite struct RealServerTests {
    /// A server over a store in a folder of its own; nothing listens.
    static func run(
        _ body: @Sendable @escaping (any KubernetesClient) async throws -> Void
    ) async throws {
        var template = Array("/tmp/controllers-test-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let directory = String(decoding: template.dropLast().map { UInt8($0) }, as: UTF8.self)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let authority = try CertificateAuthority(directory: "\(directory)/pki")
        let address = IPAddress(family: .ipv4, numericValue: 0xC000_0201)
        let store = try Store(path: "\(directory)/store.db")
        defer { store.close() }
        var logger = Logger(label: "test")
        logger.logLevel = .error
        let server = try APIServer(
            store: store,
            configuration: APIServer.Configuration(
                listen: [],
                server: try authority.issueServer(
                    commonName: "test", dnsNames: ["localhost"], addresses: [address]),
                clientAuthorityPEM: authority.certificatePEM,
                serviceAccountKeyPEM: try authority.issueClient(user: "s", groups: [])
                    .privateKeyPEM,
                advertiseAddress: address),
            logger: logger)
        var configuration = ControllerManager.Configuration()
        configuration.dnsAddress = IPAddress("10.96.0.10")
        configuration.podCIDRs = [Prefix("10.244.0.0/16")].compactMap(\.self)
        configuration.rootCertificatePEM = authority.certificatePEM
        try await withManager(configuration, over: AnyClient(client: server.client)) { client in
            try await body(client.client)
        }
    }

    private struct AnyClient: KubernetesClient {
        let client: any KubernetesClient

        func get(_ resource: Resource, namespace: String?, name: String) async throws -> JSONValue {
            try await client.get(resource, namespace: namespace, name: name)
        }
        func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList {
            try await client.list(resource, options)
        }
        func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue {
            try await client.create(resource, object)
        }
        func update(
            _ resource: Resource, _ object: JSONValue, subresource: String?
        ) async throws -> JSONValue {
            try await client.update(resource, object, subresource: subresource)
        }
        func patch(
            _ resource: Resource, namespace: String?, name: String, subresource: String?,
            type: PatchType, _ patch: JSONValue
        ) async throws -> JSONValue {
            try await client.patch(
                resource, namespace: namespace, name: name, subresource: subresource, type: type,
                patch)
        }
        func delete(
            _ resource: Resource, namespace: String?, name: String, options: JSONValue?
        ) async throws {
            try await client.delete(resource, namespace: namespace, name: name, options: options)
        }
        func watch(
            _ resource: Resource, _ options: ListOptions, resourceVersion: String
        ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
            try await client.watch(resource, options, resourceVersion: resourceVersion)
        }
    }

    /// A node as its agent registers it.
    static func register(_ client: any KubernetesClient, _ name: String) async throws {
        _ = try await client.create(
            .nodes, ["apiVersion": "v1", "kind": "Node", "metadata": ["name": .string(name)]])
        _ = try await client.patch(
            .nodes, namespace: nil, name: name, subresource: "status", type: .merge,
            ["status": Make.node(name)["status"] ?? [:]])
    }

    /// Plays kubelet: pods on nodes get ready, deleted ones end.
    static func playNodes(_ client: any KubernetesClient, in namespace: String) async throws {
        for pod in try await client.items(.pods, in: namespace) {
            if pod["metadata", "deletionTimestamp"] != nil {
                try await client.finishDeletion(pod)
            } else if pod["spec", "nodeName"]?.string != nil,
                !Conditions(of: pod).isTrue("Ready")
            {
                let name = pod["metadata", "name"]?.string ?? ""
                let sum = name.utf8.reduce(0) { ($0 * 31 + Int($1)) % 62_500 }
                try await client.makeReady(pod, ip: "10.244.\(sum / 250).\(sum % 250 + 2)")
            }
        }
    }

    @Test func aClusterFromBootstrapToAnEmptiedNamespace() async throws {
        try await Self.run { client in
            try await Self.register(client, "node-1")
            try await Self.register(client, "node-2")
            try await eventually("no pod CIDRs") {
                let nodes = try await client.list(.nodes, ListOptions()).items
                return nodes.compactMap { $0["spec", "podCIDR"]?.string }
                    == ["10.244.0.0/24", "10.244.1.0/24"]
            }
            _ = try await client.create(
                .namespaces,
                ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": "shop"]])
            var deployment = Make.deployment()
            deployment["metadata", "namespace"] = "shop"
            _ = try await client.create(.deployments, deployment)
            _ = try await client.create(
                .services,
                [
                    "apiVersion": "v1", "kind": "Service",
                    "metadata": ["name": "web", "namespace": "shop"],
                    "spec": ["selector": ["app": "web"], "ports": [["port": 80]]],
                ])
            for image in ["web:1", "web:2", "web:1"] {
                _ = try await client.patch(
                    .deployments, namespace: "shop", name: "web", subresource: nil, type: .merge,
                    ["spec": ["template": Make.template(image: image)]])
                try await eventually("rollout of \(image) does not end", seconds: 30) {
                    try await Self.playNodes(client, in: "shop")
                    return try await Self.isComplete(client, image)
                }
            }
            let sets = try await client.items(.replicaSets, in: "shop")
            #expect(sets.count == 2)
            let pods = try await client.items(.pods, in: "shop")
            #expect(Set(pods.compactMap { $0["spec", "nodeName"]?.string }).count == 2)
            try await eventually("endpoints differ from pods") {
                let slices = try await client.items(.endpointSlices, in: "shop")
                let endpoints = try await client.get(.endpoints, namespace: "shop", name: "web")
                return slices.flatMap { $0["endpoints"]?.array ?? [] }.count == 3
                    && endpoints["subsets"]?[0]?["addresses"]?.array?.count == 3
            }
            try await client.delete(.namespaces, namespace: nil, name: "shop", options: nil)
            try await eventually("namespace stays", seconds: 20) {
                try await Self.playNodes(client, in: "shop")
                let names = try await client.list(.namespaces, ListOptions()).items
                return !names.contains { $0["metadata", "name"]?.string == "shop" }
            }
            try await eventually("DNS has no endpoints") {
                try await client.items(.endpointSlices, in: "kube-system").first?["endpoints"]?
                    .array?.count == 2
            }
        }
    }

    private static func isComplete(
        _ client: any KubernetesClient, _ image: String
    ) async throws -> Bool {
        let deployment = try await client.get(.deployments, namespace: "shop", name: "web")
        let pods = try await client.items(.pods, in: "shop")
        return deployment["status", "observedGeneration"] == deployment["metadata", "generation"]
            && deployment["status", "updatedReplicas"] == 3
            && deployment["status", "availableReplicas"] == 3
            && Conditions(of: deployment)["Progressing"]?["reason"] == "NewReplicaSetAvailable"
            && pods.count == 3
            && pods.allSatisfy { $0["spec", "containers"]?[0]?["image"]?.string == image }
    }
}

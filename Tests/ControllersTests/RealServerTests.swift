import APIServer
import Dispatch
import FoundationEssentials
import Glibc
import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes
import Store
import TestSupport
import Testing

@testable import Controllers

/// The controllers over the real API server and store, in process, as `portolan up` runs them.
@Suite(.offPool) struct RealServerTests {
    /// What a test has in hand.
    private struct Cluster: Sendable {
        let client: any KubernetesClient
        let kubeconfig: String
        let directory: String
        var program = TestClients.newKubectls.last ?? "kubectl"

        /// Runs kubectl, off the cooperative threads that the server needs.
        /// - Returns: the output of both kinds.
        @discardableResult
        func kubectl(_ arguments: String..., input: String = "") async throws -> String {
            let command = [program, "--kubeconfig", kubeconfig] + arguments
            let home = ["HOME": directory, "KUBECACHEDIR": directory]
            return try await withCheckedThrowingContinuation { continuation in
                DispatchQueue.global().async {
                    continuation.resume(
                        with: Result {
                            let result = try Command.check(
                                command, input: input, environment: home, timeoutSeconds: 60)
                            return result.output + result.errorOutput
                        })
                }
            }
        }
    }

    /// A server on a free port over a store in a folder of its own, with the controllers.
    private static func run(
        _ body: @Sendable @escaping (Cluster) async throws -> Void
    ) async throws {
        var template = Array("/tmp/controllers-test-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let directory = String(
            decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let authority = try CertificateAuthority(directory: "\(directory)/pki")
        let loopback = IPAddress(family: .ipv4, numericValue: 0x7F00_0001)
        let store = try Store(path: "\(directory)/store.db")
        defer { store.close() }
        var logger = Logger(label: "test")
        logger.logLevel = .error
        let server = try APIServer(
            store: store,
            configuration: APIServer.Configuration(
                listen: [("127.0.0.1", 0)],
                server: try authority.issueServer(
                    commonName: "test", dnsNames: ["localhost"], addresses: [loopback]),
                clientAuthorityPEM: authority.certificatePEM,
                serviceAccountKeyPEM: try authority.issueClient(user: "s", groups: [])
                    .privateKeyPEM,
                // An address of TEST-NET-1: endpoints may not be loopback.
                advertiseAddress: IPAddress(family: .ipv4, numericValue: 0xC000_0201)),
            logger: logger)
        var settings = ControllerManager.Configuration()
        settings.dnsAddress = IPAddress("10.96.0.10")
        settings.podCIDRs = [Prefix("10.244.0.0/16")].compactMap(\.self)
        settings.rootCertificatePEM = authority.certificatePEM
        settings.signSecretToken = { try server.secretToken(secret: $0, account: $1) }
        let configuration = settings
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            defer { group.cancelAll() }
            let port = try await server.waitUntilListening().first ?? 0
            let path = "\(directory)/admin.kubeconfig"
            try Kubeconfig(
                name: "admin", server: "https://127.0.0.1:\(port)",
                authorityPEM: authority.certificatePEM,
                identity: try authority.issueClient(user: "admin", groups: ["system:masters"])
            ).write(to: path)
            try await withManager(configuration, over: AnyClient(client: server.client)) {
                try await body(
                    Cluster(client: $0.client, kubeconfig: path, directory: directory))
            }
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
    private static func register(_ client: any KubernetesClient, _ name: String) async throws {
        _ = try await client.create(
            .nodes, ["apiVersion": "v1", "kind": "Node", "metadata": ["name": .string(name)]])
        _ = try await client.patch(
            .nodes, namespace: nil, name: name, subresource: "status", type: .merge,
            ["status": Make.node(name)["status"] ?? [:]])
    }

    /// Plays kubelet: pods on nodes get ready, deleted ones end.
    private static func playNodes(_ client: any KubernetesClient, in namespace: String) async throws
    {
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
        try await Self.run { cluster in
            let client = cluster.client
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

    /// What `kubectl rollout` and its like rely on, with nodes played beside them.
    @Test(arguments: TestClients.kubectls)
    func kubectlFollowsAndUndoesRollouts(_ program: String) async throws {
        try await Self.run { cluster in
            let client = cluster.client
            var chosen = cluster
            chosen.program = program
            let cluster = chosen
            for name in ["node-1", "node-2"] { try await Self.register(client, name) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    while !Task.isCancelled {
                        try await Self.playNodes(client, in: "default")
                        try await Task.sleep(for: .milliseconds(20))
                    }
                }
                defer { group.cancelAll() }
                try await Self.rollOut(cluster)
                try await Self.rollOutDaemons(cluster)
            }
        }
    }

    private static func rollOut(_ cluster: Cluster) async throws {
        let deployment = "deployment/web"
        try await cluster.kubectl(
            "create", "deployment", "web", "--image=web:1", "--replicas=3")
        #expect(
            try await cluster.kubectl("rollout", "status", deployment, "--timeout=30s")
                .contains("successfully rolled out"))
        try await cluster.kubectl("expose", deployment, "--port=80")
        try await cluster.kubectl("set", "image", deployment, "web=web:2")
        try await cluster.kubectl("rollout", "status", deployment, "--timeout=30s")
        let history = try await cluster.kubectl("rollout", "history", deployment)
        #expect(history.contains("1 ") && history.contains("2 "))
        let second = try await cluster.kubectl(
            "rollout", "history", deployment, "--revision=2")
        #expect(second.contains("web:2"), "\(second)")
        // Paused, a change of the template starts nothing.
        try await cluster.kubectl("rollout", "pause", deployment)
        try await cluster.kubectl("set", "image", deployment, "web=web:3")
        #expect(
            try await cluster.kubectl("get", "rs", "-o", "name").split(separator: "\n").count == 2)
        try await cluster.kubectl("rollout", "resume", deployment)
        try await cluster.kubectl("rollout", "status", deployment, "--timeout=30s")
        #expect(
            try await cluster.kubectl("get", "rs", "-o", "name").split(separator: "\n").count == 3)
        try await cluster.kubectl("rollout", "undo", deployment, "--to-revision=1")
        try await cluster.kubectl("rollout", "status", deployment, "--timeout=30s")
        #expect(
            try await cluster.kubectl(
                "get", deployment, "-o", "jsonpath={.spec.template.spec.containers[0].image}")
                == "web:1")
        try await cluster.kubectl("scale", deployment, "--replicas=5")
        try await cluster.kubectl("rollout", "status", deployment, "--timeout=30s")
        try await cluster.kubectl("rollout", "restart", deployment)
        #expect(
            try await cluster.kubectl("get", deployment, "-o", "jsonpath={.spec.template.metadata}")
                .contains("kubectl.kubernetes.io/restartedAt"))
        try await cluster.kubectl("rollout", "status", deployment, "--timeout=30s")
        try await cluster.kubectl(
            "wait", deployment, "--for=condition=Available", "--timeout=30s")
        try await eventually("endpoints differ from pods") {
            let text = try await cluster.kubectl(
                "get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o",
                "jsonpath={.items[*].endpoints[*].addresses[0]}")
            return text.split(separator: " ").count == 5
        }
        let events = try await cluster.kubectl("get", "events")
        #expect(events.contains("ScalingReplicaSet") && events.contains("Scheduled"))
        try await cluster.kubectl("delete", deployment, "service/web", "--timeout=30s")
        // kubectl 1.20 does not wait for what is gone already.
        try await eventually("pods stay") {
            try await !cluster.kubectl("get", "pods", "-o", "name").contains("pod/")
        }
        #expect(
            try await cluster.kubectl("get", "replicasets,endpointslices,endpoints", "-o", "name")
                .split(separator: "\n").allSatisfy {
                    $0.hasSuffix("/kubernetes") || $0.hasPrefix("Warning: v1 Endpoints")
                })
    }

    private static func rollOutDaemons(_ cluster: Cluster) async throws {
        let set = "daemonset/agent"
        func manifest(_ image: String) -> String {
            """
            {"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"agent"},"spec":
            {"selector":{"matchLabels":{"app":"agent"}},"revisionHistoryLimit":1,"template":{"metadata":
            {"labels":{"app":"agent"}},"spec":{"containers":[{"name":"main","image":"\(image)"}]}}}}
            """
        }
        for image in ["agent:1", "agent:2"] {
            try await cluster.kubectl("apply", "-f", "-", input: manifest(image))
            try await cluster.kubectl("rollout", "status", set, "--timeout=60s")
        }
        let history = try await cluster.kubectl("rollout", "history", set, "--revision=1")
        #expect(history.contains("agent:1"), "\(history)")
        try await cluster.kubectl("rollout", "undo", set)
        try await cluster.kubectl("rollout", "status", set, "--timeout=60s")
        #expect(
            try await cluster.kubectl(
                "get", set, "-o", "jsonpath={.spec.template.spec.containers[0].image}")
                == "agent:1")
        let numbers = try await cluster.kubectl("rollout", "history", set)
        #expect(numbers.contains("\n3 ") && !numbers.contains("\n1 "), "\(numbers)")
        try await cluster.kubectl("rollout", "restart", set)
        try await cluster.kubectl("rollout", "status", set, "--timeout=60s")
        try await eventually("older revisions stay") {
            let names = try await cluster.kubectl("get", "controllerrevisions", "-o", "name")
            return names.split(separator: "\n").count == 2
        }
        try await cluster.kubectl("delete", set, "--timeout=60s")
    }

    // MARK: - Tokens in Secrets

    @Test func secretsGetTheTokensOfTheirAccounts() async throws {
        try await Self.run { cluster in
            let manifest = """
                {"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/service-account-token",
                "metadata":{"name":"robot-token","annotations":
                {"kubernetes.io/service-account.name":"robot"}}}
                """
            func field(_ path: String) async throws -> String {
                try await cluster.kubectl(
                    "get", "secret", "robot-token", "-o", "jsonpath={\(path)}")
            }
            // Without its account it does not stay.
            try await cluster.kubectl("create", "-f", "-", input: manifest)
            try await cluster.kubectl(
                "wait", "--for=delete", "secret/robot-token", "--timeout=30s")
            try await cluster.kubectl("create", "serviceaccount", "robot")
            try await cluster.kubectl("create", "-f", "-", input: manifest)
            try await eventually("there is no token") { try await field(".data.token") != "" }
            func decoded(_ path: String) async throws -> String {
                let data = try #require(Data(base64Encoded: try await field(path)))
                return String(decoding: data, as: UTF8.self)
            }
            #expect(try await decoded(".data.namespace") == "default")
            #expect(try await decoded(".data.ca\\.crt").hasPrefix("-----BEGIN CERTIFICATE"))
            #expect(
                try await field(".metadata.annotations.kubernetes\\.io/service-account\\.uid")
                    == cluster.kubectl("get", "sa", "robot", "-o", "jsonpath={.metadata.uid}"))
            let token = try await decoded(".data.token")
            let address = try await cluster.kubectl(
                "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
            func whoAmI() async throws -> String {
                try await cluster.kubectl(
                    "--kubeconfig=/dev/null", "--server=\(address)", "--token=\(token)",
                    "--certificate-authority=\(cluster.directory)/pki/ca.crt", "auth", "whoami")
            }
            #expect(try await whoAmI().contains("system:serviceaccount:default:robot"))
            // The token goes with the Secret, and the Secret with the account.
            try await cluster.kubectl("delete", "serviceaccount", "robot")
            try await cluster.kubectl(
                "wait", "--for=delete", "secret/robot-token", "--timeout=30s")
            await #expect(throws: (any Error).self) { try await whoAmI() }
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

import Glibc
import Informer
import JSON
import KubernetesAPI
import Logging
import Netlink
import NetworkTypes
import TestSupport

@testable import PodRuntime

/// A node in a namespace of its own with an agent that runs, an API server in memory, and a data
/// directory that goes with the test.
final class NodeFixture: Sendable {
    let api = MemoryAPI()
    let namespace: TestNamespace
    let configuration: NodeAgent.Configuration

    private init(_ network: NetworkFixture) throws {
        namespace = try network.namespace("node")
        let prefix = String(network.prefix.dropLast())
        let directory = "/tmp/\(prefix)-pod-runtime"
        guard let cluster = Prefix("10.244.0.0/16") else { throw TestFailure("no prefix") }
        var configuration = NodeAgent.Configuration(
            nodeName: "\(prefix)-node-1", namePrefix: prefix, dataDirectory: directory + "/node",
            lanAddress: .v4(0xAC1E_000B), podCIDR: Prefix("10.244.7.0/24"),
            clusterPodCIDR: cluster, clusterDNS: .v4(0x0A60_000A),
            executablePath: try BuiltProduct.path("portolan"))
        configuration.networkNamespaceName = namespace.name
        self.configuration = configuration
        network.onCleanUp {
            NodeCleanup.removeEverything(
                namePrefix: prefix, dataDirectory: directory + "/node")
            NodeCleanup.removeNamespaces(namePrefix: prefix)
            Files.removeTree(directory)
        }
        // The node's LAN: its peer plays the rest of the world.
        let world = try network.namespace("world")
        try network.connect(namespace, "172.30.0.11", world, "172.30.0.1", prefixLength: 24)
    }

    /// Runs a test with a node. The agent is not started yet.
    static func run(_ body: (NodeFixture) async throws -> Void) async throws {
        try await NetworkFixture.run { network in try await body(NodeFixture(network)) }
    }

    /// Runs `body` while an agent runs.
    func withAgent(
        _ configuration: NodeAgent.Configuration? = nil, _ body: () async throws -> Void
    ) async throws {
        var logger = Logger(label: "test.node")
        logger.logLevel = .warning
        let agent = NodeAgent(
            client: api, configuration: configuration ?? self.configuration, logger: logger)
        let task = Task { try await agent.run() }
        do {
            try await body()
        } catch {
            task.cancel()
            _ = await task.result
            throw error
        }
        task.cancel()
        _ = await task.result
    }

    /// Runs `body` while pods are looked after and the node's server listens, without TLS.
    func withServer(_ body: (_ port: Int) async throws -> Void) async throws {
        var logger = Logger(label: "test.node")
        logger.logLevel = .warning
        let context = NodeContext(configuration: configuration, client: api, logger: logger)
        for name in ["runc", "exits", "pods", "images"] {
            try Files.makeDirectories(configuration.dataDirectory + "/" + name)
        }
        let watcher = try DirectoryWatcher()
        let manager = PodManager(context: context)
        _ = try watcher.watch(context.runtime.exitDirectory) { name in
            Task { await manager.containerExited(id: name) }
        }
        let server = NodeServer(context: context, pods: manager, watcher: watcher)
        try await server.start(port: 0) { _ in }
        let task = Task { await manager.run() }
        var failure: (any Error)?
        do {
            guard let port = server.port else { throw TestFailure("the server has no port") }
            try await body(port)
        } catch {
            failure = error
        }
        task.cancel()
        await task.value
        try await server.stop()
        watcher.stop()
        if let failure { throw failure }
    }

    /// Creates a pod that is bound to the node.
    func create(_ name: String, _ spec: JSONValue) async throws {
        var spec = spec
        spec["nodeName"] = .string(configuration.nodeName)
        _ = try await api.create(
            .pods,
            [
                "apiVersion": "v1", "kind": "Pod",
                "metadata": ["name": .string(name), "namespace": "default"], "spec": spec,
            ])
    }

    func pod(_ name: String) async throws -> Pod {
        try Pod(json: await api.get(.pods, namespace: "default", name: name))
    }

    /// Waits until a pod meets a condition.
    @discardableResult
    func waitFor(
        _ name: String, _ what: String, withinSeconds: Double = 30, _ condition: (Pod) -> Bool
    ) async throws -> Pod {
        do {
            try await eventually("pod \(name) \(what)", withinSeconds: withinSeconds) {
                condition(try await pod(name))
            }
        } catch {
            let status = try? await pod(name).json["status"]?.serializedText
            throw TestFailure("\(error); status: \(status ?? "none")")
        }
        return try await pod(name)
    }

    /// Waits until a pod is gone from the API.
    func waitUntilGone(_ name: String) async throws {
        try await eventually("pod \(name) gone", withinSeconds: 40) {
            do {
                _ = try await pod(name)
                return false
            } catch let error as StatusError where error.isNotFound {
                return true
            }
        }
    }

    /// What an HTTP request from the node to a pod is answered.
    func curl(_ pod: Pod, port: Int = 80) async throws -> String {
        let address = pod.podIPs.first?.description ?? ""
        let namespace = namespace.descriptor
        return try await Blocking.run {
            try Command.check(
                ["curl", "-s", "--max-time", "5", "http://\(address):\(port)/"], in: namespace
            ).output
        }
    }

    /// Waits for an event about a pod that begins so.
    func waitForEvent(_ name: String, _ prefix: String) async throws {
        try await eventually("event \(prefix)") { try await hasEvent(name, prefix) }
    }

    /// True where an event about a pod begins so.
    func hasEvent(_ name: String, _ prefix: String) async throws -> Bool {
        for event in try await events(name) where event.hasPrefix(prefix) { return true }
        return false
    }

    /// The events about a pod, as `reason: message`.
    func events(_ name: String) async throws -> [String] {
        try await api.list(.events, ListOptions()).items
            .filter { $0["involvedObject", "name"]?.string == name }
            .map { "\($0["reason"]?.string ?? ""): \($0["message"]?.string ?? "")" }
    }
}

/// Runs curl. The node runs in the test's own process, whose few task threads must not be blocked.
func curl(_ arguments: String...) async throws -> String {
    try await Blocking.run { try Command.check(["curl", "-s"] + arguments).output }
}

/// A pod's spec of one container.
func spec(
    image: String = "portolan/shell", _ command: [String] = [], _ more: JSONValue = [:],
    pod: JSONValue = [:]
) -> JSONValue {
    var container: JSONValue = ["name": "main", "image": .string(image)]
    if !command.isEmpty { container["command"] = .array(command.map(JSONValue.string)) }
    for (name, value) in more.object ?? [:] { container[name] = value }
    var spec: JSONValue = ["containers": [container], "terminationGracePeriodSeconds": 5]
    for (name, value) in pod.object ?? [:] { spec[name] = value }
    return spec
}

import Informer
import JSON
import KubernetesAPI
import Logging
import Testing

@testable import Controllers

/// Polls until `condition` holds; fails the test after `seconds`.
func eventually(
    _ what: Comment, seconds: Double = 30, sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: @Sendable () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while try await !condition() {
        if ContinuousClock.now > deadline {
            Issue.record(what, sourceLocation: sourceLocation)
            throw TimeoutError()
        }
        try await Task.sleep(for: .milliseconds(2))
    }
}

struct TimeoutError: Error {}

/// Runs a controller manager over a memory client while `body` lasts.
func withManager(
    _ configuration: ControllerManager.Configuration = .init(),
    client: MemoryClient = MemoryClient(),
    _ body: @Sendable @escaping (MemoryClient) async throws -> Void
) async throws {
    try await withManager(configuration, over: client, body)
}

/// Runs a controller manager over any API while `body` lasts.
func withManager<Client: KubernetesClient>(
    _ configuration: ControllerManager.Configuration, over client: Client,
    _ body: @Sendable @escaping (Client) async throws -> Void
) async throws {
    var logger = Logger(label: "test")
    logger.logLevel = .error
    let manager = ControllerManager(client: client, configuration: configuration, logger: logger)
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await manager.run() }
        group.addTask { try await body(client) }
        defer { group.cancelAll() }
        try await group.next()
    }
}

extension KubernetesClient {
    func items(_ resource: Resource, in namespace: String = "default") async throws -> [JSONValue] {
        try await list(resource, ListOptions(namespace: namespace)).items
    }

    /// Makes nodes that are ready.
    func addNodes(_ names: [String], zones: [String] = []) async throws {
        for (index, name) in names.enumerated() {
            var node = Make.node(name)
            if !zones.isEmpty {
                node["metadata", "labels", "topology.kubernetes.io/zone"] = .string(
                    zones[index % zones.count])
            }
            _ = try await create(.nodes, node)
        }
    }

    /// Gives a pod an address and makes it ready, as its node would.
    func makeReady(_ pod: JSONValue, ip: String, isReady: Bool = true) async throws {
        _ = try await patch(
            .pods, namespace: pod["metadata", "namespace"]?.string,
            name: pod["metadata", "name"]?.string ?? "", subresource: "status",
            type: .strategicMerge,
            [
                "status": [
                    "phase": "Running", "podIP": .string(ip), "podIPs": [["ip": .string(ip)]],
                    "conditions": [
                        [
                            "type": "Ready", "status": isReady ? "True" : "False",
                            "lastTransitionTime": .string(Timestamp.now.description),
                        ],
                        ["type": "ContainersReady", "status": isReady ? "True" : "False"],
                    ],
                ]
            ])
    }

    /// Deletes a pod at once, as its node does when it has stopped.
    func finishDeletion(_ pod: JSONValue) async throws {
        try await delete(
            .pods, namespace: pod["metadata", "namespace"]?.string,
            name: pod["metadata", "name"]?.string ?? "", options: ["gracePeriodSeconds": 0])
    }
}

/// Objects for tests.
enum Make {
    static func node(_ name: String) -> JSONValue {
        [
            "apiVersion": "v1", "kind": "Node",
            "metadata": [
                "name": .string(name), "labels": ["kubernetes.io/hostname": .string(name)],
            ],
            "spec": [:],
            "status": [
                "conditions": [["type": "Ready", "status": "True"]],
                "addresses": [["type": "InternalIP", "address": "172.30.0.11"]],
            ],
        ]
    }

    static func service(
        _ name: String, selector: [String: String]? = ["app": "web"], ports: JSONValue? = nil,
        spec: JSONValue = [:]
    ) -> JSONValue {
        var value: JSONValue = [
            "apiVersion": "v1", "kind": "Service",
            "metadata": ["name": .string(name), "namespace": "default", "uid": "service-uid"],
            "spec": [
                "type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
                "ipFamilies": ["IPv4"],
                "ports": ports ?? [["port": 80, "protocol": "TCP", "targetPort": 8080]],
            ],
        ]
        if let selector { value["spec", "selector"] = JSONValue(selector) }
        for (key, member) in spec.object ?? JSONObject() { value["spec", key] = member }
        return value
    }

    static func pod(
        _ name: String, ip: String? = nil, isReady: Bool = true, node: String = "node-1",
        labels: [String: String] = ["app": "web"], change: (inout JSONValue) -> Void = { _ in }
    ) -> JSONValue {
        var value: JSONValue = [
            "apiVersion": "v1", "kind": "Pod",
            "metadata": [
                "name": .string(name), "namespace": "default", "uid": .string("uid-\(name)"),
                "labels": JSONValue(labels),
            ],
            "spec": ["nodeName": .string(node), "containers": [["name": "main"]]],
            "status": ["phase": "Running"],
        ]
        if let ip {
            value["status", "podIP"] = .string(ip)
            value["status", "podIPs"] = [["ip": .string(ip)]]
        }
        value["status", "conditions"] = [["type": "Ready", "status": isReady ? "True" : "False"]]
        change(&value)
        return value
    }

    static func template(_ labels: [String: String] = ["app": "web"], image: String = "web:1")
        -> JSONValue
    {
        [
            "metadata": ["labels": JSONValue(labels)],
            "spec": ["containers": [["name": "main", "image": .string(image)]]],
        ]
    }

    static func deployment(
        _ name: String = "web", replicas: Int64 = 3, image: String = "web:1", spec: JSONValue = [:]
    ) -> JSONValue {
        var value: JSONValue = [
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": ["name": .string(name), "namespace": "default"],
            "spec": [
                "replicas": .integer(replicas), "selector": ["matchLabels": ["app": "web"]],
                "template": template(image: image), "revisionHistoryLimit": 10,
                "progressDeadlineSeconds": 600,
                "strategy": [
                    "type": "RollingUpdate",
                    "rollingUpdate": ["maxSurge": "25%", "maxUnavailable": "25%"],
                ],
            ],
        ]
        for (key, member) in spec.object ?? JSONObject() { value["spec", key] = member }
        return value
    }
}

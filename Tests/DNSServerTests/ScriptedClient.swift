import Informer
import JSON
import KubernetesAPI
import Synchronization

/// An API server of a few objects in memory, with watches, that can be out of reach.
final class ScriptedClient: KubernetesClient {
    private struct State {
        var objects: [Resource: [String: JSONValue]] = [:]
        var watchers: [(Resource, AsyncThrowingStream<WatchEvent, any Error>.Continuation)] = []
        var revision = 1
        var isReachable = true
    }

    struct Unreachable: Error {}

    private let state = Mutex(State())

    func setReachable(_ isReachable: Bool) {
        state.withLock { state in
            state.isReachable = isReachable
            if !isReachable {
                for (_, watcher) in state.watchers { watcher.finish(throwing: Unreachable()) }
                state.watchers = []
            }
        }
    }

    func put(_ resource: Resource, _ object: JSONValue, tellingWatchers: Bool = true) {
        state.withLock { state in
            state.revision += 1
            let stamped = Self.stamp(object, state.revision)
            let key = ObjectMeta(json: stamped).key.description
            let isNew = state.objects[resource]?[key] == nil
            state.objects[resource, default: [:]][key] = stamped
            let event = WatchEvent(type: isNew ? .added : .modified, object: stamped)
            for (watched, watcher) in state.watchers where watched == resource && tellingWatchers {
                watcher.yield(event)
            }
        }
    }

    func remove(_ resource: Resource, _ key: String) {
        state.withLock { state in
            guard let object = state.objects[resource]?.removeValue(forKey: key) else { return }
            state.revision += 1
            for (watched, watcher) in state.watchers where watched == resource {
                watcher.yield(WatchEvent(type: .deleted, object: object))
            }
        }
    }

    private static func stamp(_ object: JSONValue, _ revision: Int) -> JSONValue {
        guard case .object(var members) = object, case .object(var metadata)? = members["metadata"]
        else { return object }
        metadata["resourceVersion"] = .string("\(revision)")
        members["metadata"] = .object(metadata)
        return .object(members)
    }

    func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList {
        try state.withLock { state in
            guard state.isReachable else { throw Unreachable() }
            return ObjectList(
                items: Array((state.objects[resource] ?? [:]).values),
                resourceVersion: "\(state.revision)")
        }
    }

    func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
        let (stream, continuation) = AsyncThrowingStream<WatchEvent, any Error>.makeStream()
        try state.withLock { state in
            guard state.isReachable else { throw Unreachable() }
            // What came between list and watch.
            for object in (state.objects[resource] ?? [:]).values {
                let version = object["metadata", "resourceVersion"]?.string ?? ""
                if (Int(version) ?? 0) > (Int(resourceVersion) ?? 0) {
                    continuation.yield(WatchEvent(type: .modified, object: object))
                }
            }
            state.watchers.append((resource, continuation))
        }
        return stream
    }

    func get(_ resource: Resource, namespace: String?, name: String) async throws -> JSONValue {
        throw Unreachable()
    }
    func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue { object }
    func update(
        _ resource: Resource, _ object: JSONValue, subresource: String?
    ) async throws -> JSONValue { object }
    func patch(
        _ resource: Resource, namespace: String?, name: String, subresource: String?,
        type: PatchType, _ patch: JSONValue
    ) async throws -> JSONValue { patch }
    func delete(
        _ resource: Resource, namespace: String?, name: String, options: JSONValue?
    ) async throws {}

    // MARK: - Objects

    static func namespace(_ name: String) -> JSONValue {
        ["metadata": ["name": .string(name)]]
    }

    static func service(_ name: String, clusterIP: String) -> JSONValue {
        [
            "metadata": ["name": .string(name), "namespace": "default"],
            "spec": [
                "type": "ClusterIP", "clusterIP": .string(clusterIP),
                "ports": [["name": "http", "port": 80, "protocol": "TCP"]],
            ],
        ]
    }

    static func slice(_ name: String, of service: String, _ addresses: [String]) -> JSONValue {
        [
            "metadata": [
                "name": .string(name), "namespace": "default",
                "labels": ["kubernetes.io/service-name": .string(service)],
            ],
            "addressType": "IPv4",
            "ports": [["name": "http", "port": 80, "protocol": "TCP"]],
            "endpoints": .array(addresses.map { ["addresses": [.string($0)]] }),
        ]
    }

    static func pod(_ name: String, _ address: String) -> JSONValue {
        [
            "metadata": ["name": .string(name), "namespace": "default"],
            "spec": ["nodeName": "node-1"],
            "status": ["phase": "Running", "podIP": .string(address)],
        ]
    }

    static func corefile(_ text: String) -> JSONValue {
        [
            "metadata": ["name": "coredns", "namespace": "kube-system"],
            "data": ["Corefile": .string(text)],
        ]
    }
}

import Informer
import JSON
import KubernetesAPI
import Synchronization

/// An API server of a few objects in memory, with watches, that can be out of reach.
final class ScriptedClient: KubernetesClient {
    private struct State {
        var objects: [Resource: [String: JSONValue]] = [:]
        var watchers: [Watcher] = []
        var revision = 1
        var isReachable = true
    }

    struct Unreachable: Error {}

    private struct Watcher {
        let resource: Resource
        let selector: LabelSelector
        let continuation: AsyncThrowingStream<WatchEvent, any Error>.Continuation

        func selects(_ object: JSONValue) -> Bool {
            selector.matches(ObjectMeta(json: object).labels)
        }
    }

    private let state = Mutex(State())

    func setReachable(_ isReachable: Bool) {
        state.withLock { state in
            state.isReachable = isReachable
            if !isReachable {
                for watcher in state.watchers {
                    watcher.continuation.finish(throwing: Unreachable())
                }
                state.watchers = []
            }
        }
    }

    func put(_ resource: Resource, _ object: JSONValue, tellingWatchers: Bool = true) {
        state.withLock { state in
            state.revision += 1
            let stamped = Self.stamp(object, state.revision)
            let key = ObjectMeta(json: stamped).key.description
            let old = state.objects[resource]?[key]
            state.objects[resource, default: [:]][key] = stamped
            for watcher in state.watchers where watcher.resource == resource && tellingWatchers {
                let wasSelected = old.map(watcher.selects) ?? false
                guard wasSelected || watcher.selects(stamped) else { continue }
                let type: WatchEvent.EventType =
                    !watcher.selects(stamped) ? .deleted : wasSelected ? .modified : .added
                watcher.continuation.yield(WatchEvent(type: type, object: stamped))
            }
        }
    }

    func remove(_ resource: Resource, _ key: String) {
        state.withLock { state in
            guard let object = state.objects[resource]?.removeValue(forKey: key) else { return }
            state.revision += 1
            for watcher in state.watchers
            where watcher.resource == resource && watcher.selects(object) {
                watcher.continuation.yield(WatchEvent(type: .deleted, object: object))
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
        let selector = try LabelSelector(parsing: options.labelSelector)
        return try state.withLock { state in
            guard state.isReachable else { throw Unreachable() }
            return ObjectList(
                items: (state.objects[resource] ?? [:]).values.filter {
                    selector.matches(ObjectMeta(json: $0).labels)
                },
                resourceVersion: "\(state.revision)")
        }
    }

    func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
        let (stream, continuation) = AsyncThrowingStream<WatchEvent, any Error>.makeStream()
        let watcher = Watcher(
            resource: resource, selector: try LabelSelector(parsing: options.labelSelector),
            continuation: continuation)
        try state.withLock { state in
            guard state.isReachable else { throw Unreachable() }
            // What came between list and watch.
            for object in (state.objects[resource] ?? [:]).values where watcher.selects(object) {
                let version = object["metadata", "resourceVersion"]?.string ?? ""
                if (Int(version) ?? 0) > (Int(resourceVersion) ?? 0) {
                    continuation.yield(WatchEvent(type: .modified, object: object))
                }
            }
            state.watchers.append(watcher)
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

    static func namespace(_ name: String, labels: JSONValue = [:]) -> JSONValue {
        ["metadata": ["name": .string(name), "labels": labels]]
    }

    static func service(
        _ name: String, clusterIP: String, namespace: String = "default", labels: JSONValue = [:]
    ) -> JSONValue {
        [
            "metadata": [
                "name": .string(name), "namespace": .string(namespace), "labels": labels,
            ],
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
            "endpoints": .array(
                addresses.enumerated().map { index, address in
                    [
                        "addresses": [.string(address)],
                        "targetRef": ["kind": "Pod", "name": .string("\(name)-pod-\(index)")],
                    ]
                }),
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

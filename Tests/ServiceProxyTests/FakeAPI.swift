import Informer
import JSON
import KubernetesAPI
import Synchronization

/// Collections in memory, with watches: as much of an API server as the agent needs.
final class FakeAPI: KubernetesClient {
    private struct Watcher {
        var resource: Resource
        var continuation: AsyncThrowingStream<WatchEvent, any Error>.Continuation
    }

    private struct State {
        var revision = 1
        var objects: [Resource: [ObjectKey: JSONValue]] = [:]
        var log: [(Int, Resource, WatchEvent)] = []
        var watchers: [Watcher] = []
    }

    private let state = Mutex(State())

    /// Writes an object, or deletes it, and tells the watchers; returns the revision.
    @discardableResult
    func put(_ resource: Resource, _ object: JSONValue, isDeleted: Bool = false) -> UInt64 {
        state.withLock { state in
            state.revision += 1
            var object = object
            object["metadata", "resourceVersion"] = .string("\(state.revision)")
            let key = ObjectMeta(json: object).key
            let isNew = state.objects[resource]?[key] == nil
            state.objects[resource, default: [:]][key] = isDeleted ? nil : object
            let event = WatchEvent(
                type: isDeleted ? .deleted : isNew ? .added : .modified, object: object)
            state.log.append((state.revision, resource, event))
            for watcher in state.watchers where watcher.resource == resource {
                watcher.continuation.yield(event)
            }
            return UInt64(state.revision)
        }
    }

    func objects(_ resource: Resource) -> [JSONValue] {
        state.withLock { Array(($0.objects[resource] ?? [:]).values) }
    }

    func get(_ resource: Resource, namespace: String?, name: String) async throws -> JSONValue {
        let key = ObjectKey(namespace: namespace ?? "", name: name)
        guard let object = state.withLock({ $0.objects[resource]?[key] }) else {
            throw StatusError.notFound(resource, name: name)
        }
        return object
    }

    func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList {
        state.withLock { state in
            ObjectList(
                items: Array((state.objects[resource] ?? [:]).values),
                resourceVersion: "\(state.revision)")
        }
    }

    func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue {
        put(resource, object)
        return object
    }

    func update(
        _ resource: Resource, _ object: JSONValue, subresource: String?
    ) async throws -> JSONValue {
        put(resource, object)
        return object
    }

    func patch(
        _ resource: Resource, namespace: String?, name: String, subresource: String?,
        type: PatchType, _ patch: JSONValue
    ) async throws -> JSONValue { patch }

    func delete(
        _ resource: Resource, namespace: String?, name: String, options: JSONValue?
    ) async throws {}

    func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
        let (stream, continuation) = AsyncThrowingStream<WatchEvent, any Error>.makeStream()
        state.withLock { state in
            for (revision, of, event) in state.log
            where of == resource && revision > (Int(resourceVersion) ?? 0) {
                continuation.yield(event)
            }
            state.watchers.append(Watcher(resource: resource, continuation: continuation))
        }
        return stream
    }
}

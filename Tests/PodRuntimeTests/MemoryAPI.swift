import Informer
import JSON
import KubernetesAPI
import Synchronization

/// An API server in memory with what a node relies on: field selectors on `spec.nodeName`, merge
/// patches, graceful deletion of pods, ordered watches.
final class MemoryAPI: KubernetesClient {
    private struct Key: Hashable {
        var resource: String
        var namespace: String
        var name: String
    }

    private struct Watcher {
        var resource: Resource
        var options: ListOptions
        var continuation: AsyncThrowingStream<WatchEvent, any Error>.Continuation
    }

    private struct State {
        var revision = 1
        var objects: [Key: JSONValue] = [:]
        var log: [(revision: Int, resource: String, event: WatchEvent)] = []
        var watchers: [Int: Watcher] = [:]
        var nextWatcher = 0
    }

    private let state = Mutex(State())

    func get(_ resource: Resource, namespace: String?, name: String) async throws -> JSONValue {
        let key = Key(resource: resource.plural, namespace: namespace ?? "", name: name)
        guard let object = state.withLock({ $0.objects[key] }) else {
            throw StatusError.notFound(resource, name: name)
        }
        return object
    }

    func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList {
        state.withLock { state in
            let items = state.objects.filter {
                $0.key.resource == resource.plural && Self.matches($0.value, options)
            }
            return ObjectList(
                items: items.map(\.value), resourceVersion: String(state.revision))
        }
    }

    func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue {
        try state.withLock { state in
            var object = object
            let metadata = ObjectMeta(json: object)
            let key = Key(
                resource: resource.plural, namespace: metadata.namespace, name: metadata.name)
            guard state.objects[key] == nil else {
                throw StatusError.alreadyExists(resource, name: metadata.name)
            }
            if metadata.uid.isEmpty {
                object["metadata", "uid"] = .string("uid-\(metadata.name)-\(state.revision)")
            }
            return Self.commit(&state, key, resource, object, .added)
        }
    }

    func update(
        _ resource: Resource, _ object: JSONValue, subresource: String?
    ) async throws -> JSONValue {
        throw StatusError.badRequest("nodes only patch")
    }

    func patch(
        _ resource: Resource, namespace: String?, name: String, subresource: String?,
        type: PatchType, _ patch: JSONValue
    ) async throws -> JSONValue {
        try state.withLock { state in
            let key = Key(resource: resource.plural, namespace: namespace ?? "", name: name)
            guard let old = state.objects[key] else {
                throw StatusError.notFound(resource, name: name)
            }
            if let uid = patch["metadata", "uid"], uid != old["metadata", "uid"] {
                throw StatusError.conflict(resource, name: name)
            }
            let new = Self.merge(old, patch)
            return new == old ? old : Self.commit(&state, key, resource, new, .modified)
        }
    }

    func delete(
        _ resource: Resource, namespace: String?, name: String, options: JSONValue?
    ) async throws {
        try state.withLock { state in
            let key = Key(resource: resource.plural, namespace: namespace ?? "", name: name)
            guard var object = state.objects[key] else {
                throw StatusError.notFound(resource, name: name)
            }
            let grace =
                options?["gracePeriodSeconds"]?.integer
                ?? object["spec", "terminationGracePeriodSeconds"]?.integer ?? 30
            if resource == .pods, grace > 0 {
                object["metadata", "deletionTimestamp"] = .string(Timestamp.now.description)
                object["metadata", "deletionGracePeriodSeconds"] = .integer(grace)
                _ = Self.commit(&state, key, resource, object, .modified)
            } else {
                _ = Self.commit(&state, key, resource, object, .deleted)
            }
        }
    }

    func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
        let (stream, continuation) = AsyncThrowingStream<WatchEvent, any Error>.makeStream()
        state.withLock { state in
            let start = Int(resourceVersion) ?? 0
            for entry in state.log
            where entry.revision > start && entry.resource == resource.plural
                && Self.matches(entry.event.object, options)
            {
                continuation.yield(entry.event)
            }
            state.nextWatcher += 1
            let number = state.nextWatcher
            state.watchers[number] = Watcher(
                resource: resource, options: options, continuation: continuation)
            continuation.onTermination = { [weak self] _ in
                Task { self?.state.withLock { $0.watchers[number] = nil } }
            }
        }
        return stream
    }

    private static func commit(
        _ state: inout State, _ key: Key, _ resource: Resource, _ object: JSONValue,
        _ type: WatchEvent.EventType
    ) -> JSONValue {
        var object = object
        state.revision += 1
        object["metadata", "resourceVersion"] = .string(String(state.revision))
        if type == .deleted {
            state.objects.removeValue(forKey: key)
        } else {
            state.objects[key] = object
        }
        let event = WatchEvent(type: type, object: object)
        state.log.append((state.revision, resource.plural, event))
        for watcher in state.watchers.values
        where watcher.resource == resource && matches(object, watcher.options) {
            watcher.continuation.yield(event)
        }
        return object
    }

    private static func matches(_ object: JSONValue, _ options: ListOptions) -> Bool {
        if let namespace = options.namespace, object["metadata", "namespace"]?.string != namespace {
            return false
        }
        let wanted = "spec.nodeName="
        guard options.fieldSelector.hasPrefix(wanted) else { return true }
        return object["spec", "nodeName"]?.string
            == String(options.fieldSelector.dropFirst(wanted.count))
    }

    private static func merge(_ old: JSONValue, _ patch: JSONValue) -> JSONValue {
        guard let members = patch.object else { return patch }
        var result = old.object == nil ? JSONValue.object([:]) : old
        for (name, value) in members {
            result[name] = value.isNull ? nil : merge(result[name] ?? .null, value)
        }
        return result
    }
}

import Informer
import JSON
import KubernetesAPI
import Synchronization

/// An API server in memory, with as much as address controller and speakers ask for: revisions,
/// merge patches, selectors by name, ordered watches. Kinds that are not `served` are not found.
final class MemoryAPI: KubernetesClient {
    private struct Key: Hashable {
        var resource: Resource
        var object: ObjectKey
    }

    private struct Watcher {
        var resource: Resource
        var options: ListOptions
        var continuation: AsyncThrowingStream<WatchEvent, any Error>.Continuation
    }

    private struct State {
        var revision: Int64 = 1
        var objects: [Key: JSONValue] = [:]
        var log: [(revision: Int64, resource: Resource, event: WatchEvent)] = []
        var watchers: [Int: Watcher] = [:]
        var watcherCount = 0
    }

    private let state = Mutex(State())

    private static let unserved: Set<String> = [
        "bgpadvertisements", "bgppeers", "bfdprofiles", "communities",
    ]

    /// The objects of a kind, sorted by key.
    func objects(_ resource: Resource) -> [Object] {
        state.withLock { state in
            state.objects.filter { $0.key.resource == resource }
                .sorted { $0.key.object < $1.key.object }.map { Object(json: $0.value) }
        }
    }

    func get(_ resource: Resource, namespace: String?, name: String) async throws -> JSONValue {
        let key = Key(
            resource: resource, object: ObjectKey(namespace: namespace ?? "", name: name))
        guard let object = state.withLock({ $0.objects[key] }) else {
            throw StatusError.notFound(resource, name: name)
        }
        return object
    }

    func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList {
        guard !Self.unserved.contains(resource.plural) else {
            throw StatusError.notFound(resource, name: "")
        }
        return state.withLock { state in
            let items = state.objects.filter { $0.key.resource == resource }.map(\.value)
                .filter { Self.matches($0, options) }
            return ObjectList(items: items, resourceVersion: String(state.revision))
        }
    }

    func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue {
        try put(resource, object, isNew: true)
    }

    func update(
        _ resource: Resource, _ object: JSONValue, subresource: String?
    ) async throws -> JSONValue {
        try put(resource, object, isNew: false)
    }

    func patch(
        _ resource: Resource, namespace: String?, name: String, subresource: String?,
        type: PatchType, _ patch: JSONValue
    ) async throws -> JSONValue {
        guard type == .merge else { throw StatusError.badRequest("only merge patches") }
        let present = try await get(resource, namespace: namespace, name: name)
        return try put(resource, Self.merge(present, patch), isNew: false)
    }

    func delete(
        _ resource: Resource, namespace: String?, name: String, options: JSONValue?
    ) async throws {
        let key = Key(
            resource: resource, object: ObjectKey(namespace: namespace ?? "", name: name))
        try state.withLock { state in
            guard let object = state.objects.removeValue(forKey: key) else {
                throw StatusError.notFound(resource, name: name)
            }
            Self.publish(.deleted, resource, object, &state)
        }
    }

    func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
        let (stream, continuation) = AsyncThrowingStream<WatchEvent, any Error>.makeStream()
        let start = Int64(resourceVersion) ?? 0
        state.withLock { state in
            for entry in state.log where entry.resource == resource && entry.revision > start {
                if Self.matches(entry.event.object, options) { continuation.yield(entry.event) }
            }
            state.watcherCount += 1
            state.watchers[state.watcherCount] = Watcher(
                resource: resource, options: options, continuation: continuation)
        }
        return stream
    }

    private func put(
        _ resource: Resource, _ object: JSONValue, isNew: Bool
    ) throws -> JSONValue {
        var object = object
        let metadata = ObjectMeta(json: object)
        let key = Key(resource: resource, object: metadata.key)
        return try state.withLock { state in
            guard (state.objects[key] == nil) == isNew else {
                throw isNew
                    ? StatusError.alreadyExists(resource, name: metadata.name)
                    : StatusError.notFound(resource, name: metadata.name)
            }
            if state.objects[key] == object { return object }
            if metadata.uid.isEmpty {
                object["metadata", "uid"] = .string("uid-\(resource.plural)-\(metadata.key)")
            }
            Self.publish(isNew ? .added : .modified, resource, object, &state)
            return state.objects[key] ?? object
        }
    }

    private static func publish(
        _ type: WatchEvent.EventType, _ resource: Resource, _ object: JSONValue,
        _ state: inout State
    ) {
        state.revision += 1
        var object = object
        object["metadata", "resourceVersion"] = .string(String(state.revision))
        let key = Key(resource: resource, object: ObjectMeta(json: object).key)
        state.objects[key] = type == .deleted ? nil : object
        let event = WatchEvent(type: type, object: object)
        state.log.append((state.revision, resource, event))
        for watcher in state.watchers.values
        where watcher.resource == resource && matches(object, watcher.options) {
            watcher.continuation.yield(event)
        }
    }

    private static func matches(_ object: JSONValue, _ options: ListOptions) -> Bool {
        let metadata = ObjectMeta(json: object)
        if let namespace = options.namespace, namespace != metadata.namespace { return false }
        if let name = options.fieldSelector.split(separator: "=").last, metadata.name != name {
            return false
        }
        return options.labelSelector.split(separator: ",").allSatisfy { term in
            let parts = term.split(separator: "=").map(String.init)
            return parts.count == 2 && metadata.labels[parts[0]] == parts[1]
        }
    }

    /// RFC 7386.
    private static func merge(_ target: JSONValue, _ patch: JSONValue) -> JSONValue {
        guard case .object(let members) = patch else { return patch }
        var result = target.object == nil ? JSONValue.object(JSONObject()) : target
        for (name, value) in members {
            result[name] = value.isNull ? nil : merge(result[name] ?? .null, value)
        }
        return result
    }
}

import Informer
import JSON
import KubernetesAPI
import Synchronization

/// An API server in memory with what controllers rely on: revisions, conflicts, generated names,
/// finalizers, graceful deletion of pods, patches and ordered watches.
final class MemoryClient: KubernetesClient {
    fileprivate struct Key: Hashable {
        var resource: Resource
        var namespace: String
        var name: String
    }

    fileprivate struct Event {
        var revision: Int64
        var resource: Resource
        var event: WatchEvent
    }

    fileprivate struct Watcher {
        var resource: Resource
        var options: ListOptions
        var continuation: AsyncThrowingStream<WatchEvent, any Error>.Continuation
    }

    fileprivate struct State {
        var revision: Int64 = 100
        var objects: [Key: JSONValue] = [:]
        var log: [Event] = []
        var watchers: [Int: Watcher] = [:]
        var nextWatcher = 0
        var writes: [String: Int] = [:]
        var conflictsToInject = 0
        /// Namespaces that are being deleted or gone: nothing new may come into them.
        var closedNamespaces: Set<String> = []
    }

    private let state = Mutex(State())

    /// Writes so far, by `verb plural`.
    func writes(_ verb: String, _ resource: Resource) -> Int {
        state.withLock { $0.writes["\(verb) \(resource.plural)"] ?? 0 }
    }

    /// Makes the next updates fail as if another writer had been faster.
    func injectConflicts(_ count: Int) { state.withLock { $0.conflictsToInject = count } }

    func get(_ resource: Resource, namespace: String?, name: String) async throws -> JSONValue {
        let key = Key(resource: resource, namespace: namespace ?? "", name: name)
        guard let object = state.withLock({ $0.objects[key] }) else {
            throw StatusError.notFound(resource, name: name)
        }
        return object
    }

    func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList {
        state.withLock { state in
            let items = state.objects
                .filter { $0.key.resource == resource && Self.matches($0.value, options) }
                .sorted { ($0.key.namespace, $0.key.name) < ($1.key.namespace, $1.key.name) }
                .map(\.value)
            return ObjectList(items: items, resourceVersion: String(state.revision))
        }
    }

    func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue {
        try state.withLock { state in
            var object = object
            if object["metadata", "name"]?.string == nil {
                let prefix = object["metadata", "generateName"]?.string ?? "object-"
                let suffix = String(
                    (0..<5).map { _ in "bcdfghjklmnpqrstvwxz2456789".randomElement() ?? "x" })
                object["metadata", "name"] = .string(prefix + suffix)
            }
            let key = Self.key(resource, object)
            if state.closedNamespaces.contains(key.namespace) {
                throw StatusError.forbidden("the namespace is being terminated")
            }
            guard state.objects[key] == nil else {
                throw StatusError.alreadyExists(resource, name: key.name)
            }
            object["metadata", "uid"] = .string("uid-\(state.revision + 1)")
            object["metadata", "creationTimestamp"] = .string(Timestamp.now.description)
            object["metadata", "generation"] = 1
            return state.commit(key, object, .added, verb: "create")
        }
    }

    func update(
        _ resource: Resource, _ object: JSONValue, subresource: String?
    ) async throws -> JSONValue {
        try state.withLock { state in
            let key = Self.key(resource, object)
            guard let old = state.objects[key] else {
                throw StatusError.notFound(resource, name: key.name)
            }
            let version = object["metadata", "resourceVersion"]
            if state.conflictsToInject > 0 {
                state.conflictsToInject -= 1
                throw StatusError.conflict(resource, name: key.name)
            }
            if let version, version != old["metadata", "resourceVersion"] {
                throw StatusError.conflict(resource, name: key.name)
            }
            return state.replace(key, old, object, subresource)
        }
    }

    func patch(
        _ resource: Resource, namespace: String?, name: String, subresource: String?,
        type: PatchType, _ patch: JSONValue
    ) async throws -> JSONValue {
        try state.withLock { state in
            let key = Key(resource: resource, namespace: namespace ?? "", name: name)
            guard let old = state.objects[key] else {
                throw StatusError.notFound(resource, name: name)
            }
            if let version = patch["metadata", "resourceVersion"],
                version != old["metadata", "resourceVersion"]
            {
                throw StatusError.conflict(resource, name: name)
            }
            if let uid = patch["metadata", "uid"], uid != old["metadata", "uid"] {
                throw StatusError.conflict(resource, name: name)
            }
            let merged = Self.merge(old, patch, isStrategic: type == .strategicMerge)
            return state.replace(key, old, merged, subresource)
        }
    }

    func delete(
        _ resource: Resource, namespace: String?, name: String, options: JSONValue?
    ) async throws {
        try state.withLock { state in
            let key = Key(resource: resource, namespace: namespace ?? "", name: name)
            guard var object = state.objects[key] else {
                throw StatusError.notFound(resource, name: name)
            }
            if let uid = options?["preconditions", "uid"], uid != object["metadata", "uid"] {
                throw StatusError.conflict(resource, name: name, because: "the uid differs")
            }
            let finalizer: String? =
                switch options?["propagationPolicy"]?.string {
                case "Foreground": "foregroundDeletion"
                case "Orphan": "orphan"
                default: nil
                }
            if let finalizer {
                let present = object["metadata", "finalizers"]?.array ?? []
                object["metadata", "finalizers"] = .array(present + [.string(finalizer)])
            }
            let isGraceful =
                resource == .pods && object["spec", "nodeName"]?.string?.isEmpty == false
                && options?["gracePeriodSeconds"]?.int != 0
            let finalizers = object["metadata", "finalizers"]?.array ?? []
            let isNamespace = resource == .namespaces && object["spec", "finalizers"] != nil
            if isGraceful || !finalizers.isEmpty || isNamespace {
                if object["metadata", "deletionTimestamp"] != nil && finalizer == nil { return }
                object["metadata", "deletionTimestamp"] = .string(Timestamp.now.description)
                if isNamespace {
                    object["status", "phase"] = "Terminating"
                    state.closedNamespaces.insert(name)
                }
                _ = state.commit(key, object, .modified, verb: "delete")
            } else {
                _ = state.commit(key, object, .deleted, verb: "delete")
            }
        }
    }

    func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
        let (stream, continuation) = AsyncThrowingStream<WatchEvent, any Error>.makeStream()
        let identifier = state.withLock { state in
            for entry in state.log
            where entry.revision > Int64(resourceVersion) ?? 0 && entry.resource == resource
                && Self.matches(entry.event.object, options)
            {
                continuation.yield(entry.event)
            }
            state.nextWatcher += 1
            state.watchers[state.nextWatcher] = Watcher(
                resource: resource, options: options, continuation: continuation)
            return state.nextWatcher
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { $0.watchers[identifier] = nil }
        }
        return stream
    }

    private static func key(_ resource: Resource, _ object: JSONValue) -> Key {
        Key(
            resource: resource, namespace: object["metadata", "namespace"]?.string ?? "",
            name: object["metadata", "name"]?.string ?? "")
    }

    fileprivate static func matches(_ object: JSONValue, _ options: ListOptions) -> Bool {
        let metadata = ObjectMeta(json: object)
        if let namespace = options.namespace, namespace != metadata.namespace { return false }
        for term in options.fieldSelector.split(separator: ",") {
            let parts = term.split(separator: "=")
            if object.value(at: parts[0].split(separator: ".").map(String.init))?.string
                != parts.last.map(String.init)
            {
                return false
            }
        }
        return options.labelSelector.split(separator: ",").allSatisfy { term in
            let parts = term.split(separator: "=", maxSplits: 1)
            return metadata.labels[String(parts[0])] == String(parts[1])
        }
    }

    /// RFC 7386, and for lists of conditions a merge by type.
    private static func merge(
        _ target: JSONValue, _ patch: JSONValue, isStrategic: Bool
    ) -> JSONValue {
        guard let members = patch.object else { return patch }
        var result = target.object == nil ? JSONValue.object(JSONObject()) : target
        for (key, value) in members {
            if value.isNull {
                result[key] = nil
            } else if isStrategic, key == "conditions", let conditions = value.array {
                var list = result[key]?.array ?? []
                for condition in conditions {
                    let index = list.firstIndex { $0["type"] == condition["type"] }
                    if let index {
                        list[index] = merge(list[index], condition, isStrategic: true)
                    } else {
                        list.append(condition)
                    }
                }
                result[key] = .array(list)
            } else {
                result[key] = merge(result[key] ?? .null, value, isStrategic: isStrategic)
            }
        }
        return result
    }
}

extension MemoryClient.State {
    /// Replaces an object or its status, raises the generation, and removes it where its last
    /// finalizer is gone.
    fileprivate mutating func replace(
        _ key: MemoryClient.Key, _ old: JSONValue, _ new: JSONValue, _ subresource: String?
    ) -> JSONValue {
        var object = new
        switch subresource {
        case "binding":
            object = old
            object["spec", "nodeName"] = new["target", "name"]
            let others = (old["status", "conditions"]?.array ?? [])
                .filter { $0["type"]?.string != "PodScheduled" }
            object["status", "conditions"] = .array(
                others + [["type": "PodScheduled", "status": "True"]])
        case "status":
            object = old
            object["status"] = new["status"]
        case "finalize":
            object = old
            object["spec", "finalizers"] = new["spec", "finalizers"]
        default:
            object["status"] = old["status"]
            if old["spec"] != new["spec"] {
                object["metadata", "generation"] = .integer(
                    (old["metadata", "generation"]?.integer ?? 0) + 1)
            } else {
                object["metadata", "generation"] = old["metadata", "generation"]
            }
        }
        object["metadata", "uid"] = old["metadata", "uid"]
        object["metadata", "creationTimestamp"] = old["metadata", "creationTimestamp"]
        object["metadata", "deletionTimestamp"] = old["metadata", "deletionTimestamp"]
        object["metadata", "resourceVersion"] = old["metadata", "resourceVersion"]
        if object == old { return old }
        let isDeleted = old["metadata", "deletionTimestamp"] != nil
        let hasFinalizers =
            !(object["metadata", "finalizers"]?.array ?? []).isEmpty
            || !(object["spec", "finalizers"]?.array ?? []).isEmpty
        let losesFinalizer =
            object["metadata", "finalizers"] != old["metadata", "finalizers"]
            || object["spec", "finalizers"] != old["spec", "finalizers"]
        let isGone = isDeleted && !hasFinalizers && losesFinalizer
        return commit(key, object, isGone ? .deleted : .modified, verb: "update")
    }

    fileprivate mutating func commit(
        _ key: MemoryClient.Key, _ object: JSONValue, _ type: WatchEvent.EventType, verb: String
    ) -> JSONValue {
        revision += 1
        writes["\(verb) \(key.resource.plural)", default: 0] += 1
        var object = object
        object["metadata", "resourceVersion"] = .string(String(revision))
        if type == .deleted { objects.removeValue(forKey: key) } else { objects[key] = object }
        let event = WatchEvent(type: type, object: object)
        log.append(.init(revision: revision, resource: key.resource, event: event))
        for watcher in watchers.values
        where watcher.resource == key.resource && MemoryClient.matches(object, watcher.options) {
            watcher.continuation.yield(event)
        }
        return object
    }
}

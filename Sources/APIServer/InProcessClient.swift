import Informer
import JSON
import KubernetesAPI
import Store

/// The control plane's way to the API: the same registry as HTTP, without the wire. It acts as
/// system:masters.
struct InProcessClient: KubernetesClient {
    let registry: Registry

    private func kind(_ resource: Resource) throws -> Kind {
        guard let kind = registry.kinds[resource] else { throw StatusError.pathNotFound }
        return kind
    }

    func get(_ resource: Resource, namespace: String?, name: String) async throws -> JSONValue {
        let kind = try kind(resource)
        return try registry.json(
            registry.get(kind, namespace: namespace, name: name), as: kind)
    }

    func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList {
        let kind = try kind(resource)
        let filter = try ObjectFilter(
            kind, labelSelector: options.labelSelector, fieldSelector: options.fieldSelector)
        let page = try registry.list(kind, namespace: options.namespace, filter: filter)
        return ObjectList(
            items: try page.objects.map { try registry.json($0, as: kind) },
            resourceVersion: String(page.revision))
    }

    func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue {
        let namespace = object["metadata", "namespace"]?.string
        return try await registry.create(
            try kind(resource), namespace: namespace, SentObject(json: object),
            options: .internalWrite
        ).object.decoded()
    }

    func update(
        _ resource: Resource, _ object: JSONValue, subresource: String?
    ) async throws -> JSONValue {
        let namespace = object["metadata", "namespace"]?.string
        let name = object["metadata", "name"]?.string ?? ""
        let result: WriteResult
        switch subresource {
        case "finalize":
            result = try await registry.finalize(
                namespace: name, object, options: .internalWrite)
        case "binding":
            result = try await registry.bind(
                pod: name, namespace: namespace ?? "", object, options: .internalWrite)
        default:
            result = try await registry.update(
                try kind(resource), namespace: namespace, name: name,
                subresource: subresource ?? "", SentObject(json: object), options: .internalWrite)
        }
        return try result.object.decoded()
    }

    func patch(
        _ resource: Resource, namespace: String?, name: String, subresource: String?,
        type: PatchType, _ patch: JSONValue
    ) async throws -> JSONValue {
        try await registry.patch(
            try kind(resource), namespace: namespace, name: name, subresource: subresource ?? "",
            PatchBody(type: type, patch), options: .internalWrite
        ).object.decoded()
    }

    func delete(
        _ resource: Resource, namespace: String?, name: String, options: JSONValue?
    ) async throws {
        _ = try await registry.delete(
            try kind(resource), namespace: namespace, name: name,
            options: try DeleteOptions(json: options))
    }

    func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
        let kind = try kind(resource)
        let filter = try ObjectFilter(
            kind, labelSelector: options.labelSelector, fieldSelector: options.fieldSelector)
        let name = kind.storedName
        let namespace = resource.isNamespaced ? options.namespace : nil
        do {
            var initial: [WatchEvent] = []
            var start = Int64(resourceVersion) ?? 0
            if start == 0 {
                let list = registry.store.list(resource: name, namespace: namespace)
                start = list.revision
                initial = try list.objects.filter(filter.matches).map {
                    WatchEvent(type: .added, object: kind.shown(try $0.decoded()))
                }
            }
            let watch = try registry.store.watch(
                resource: name, namespace: namespace, from: start)
            let reader = WatchReader(
                watch: watch, filter: filter, kind: kind, initial: initial)
            return AsyncThrowingStream { try await reader.next() }
        } catch let error as StoreError {
            throw Registry.status(error)
        }
    }
}

/// Turns the batches of a store's watch into single events, as they are asked for.
private actor WatchReader {
    private let watch: StoreWatch
    private let filter: ObjectFilter
    private let kind: Kind
    private var pending: [WatchEvent]
    private var position = 0

    init(watch: StoreWatch, filter: ObjectFilter, kind: Kind, initial: [WatchEvent]) {
        self.kind = kind
        self.watch = watch
        self.filter = filter
        pending = initial
    }

    func next() async throws -> WatchEvent? {
        while position >= pending.count {
            var iterator = watch.makeAsyncIterator()
            do {
                guard let events = try await iterator.next(isolation: self) else { return nil }
                pending = try events.compactMap(event)
                position = 0
            } catch let error as StoreError {
                throw Registry.status(error)
            }
        }
        defer { position += 1 }
        return pending[position]
    }

    private func event(_ event: StoreEvent) throws -> WatchEvent? {
        let object = kind.shown(try event.decoded())
        guard !filter.isEmpty else {
            return WatchEvent(type: Self.type(event.kind), object: object)
        }
        let before = event.previous.map(filter.matches) ?? false
        let after = event.kind != .deleted && filter.matches(object)
        switch (before, after) {
        case (false, false): return nil
        case (false, true): return WatchEvent(type: .added, object: object)
        case (true, true): return WatchEvent(type: .modified, object: object)
        case (true, false): return WatchEvent(type: .deleted, object: object)
        }
    }

    private static func type(_ kind: StoreEvent.Kind) -> WatchEvent.EventType {
        switch kind {
        case .added: .added
        case .modified: .modified
        case .deleted: .deleted
        }
    }
}

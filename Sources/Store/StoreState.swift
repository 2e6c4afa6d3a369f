import Synchronization

/// What readers see: the committed objects, the recent events and the watchers. The writer thread
/// alone changes objects and logs, always under the lock, so each reader sees whole batches.
final class StoreState: Sendable {
    struct Limits: Sendable {
        /// Events kept for each resource.
        var eventsPerResource = 10_000
        /// The size of the objects in those events: what watchers can catch up on costs memory.
        var eventBytesPerResource = 8 << 20
        /// Events a watcher may fall behind.
        var eventsPerWatch = 20_000
    }

    private struct Shared {
        var revision: Int64
        var loadedRevision: Int64
        var tables: [String: ResourceTable] = [:]
        var logs: [String: EventLog] = [:]
        var watches: [String: [ObjectIdentifier: WatchQueue]] = [:]
    }

    private let limits: Limits
    private let shared: Mutex<Shared>

    init(objects: [StoredObject], revision: Int64, limits: Limits) {
        self.limits = limits
        var shared = Shared(revision: revision, loadedRevision: revision)
        for (resource, loaded) in Dictionary(grouping: objects, by: \.key.resource) {
            var table = ResourceTable()
            table.load(loaded)
            shared.tables[resource] = table
        }
        self.shared = Mutex(shared)
    }

    var revision: Int64 { shared.withLock { $0.revision } }

    func get(_ key: StoreKey) -> StoredObject? {
        shared.withLock {
            $0.tables[key.resource]?.object(namespace: key.namespace, name: key.name)
        }
    }

    func list(resource: String, namespace: String?) -> (objects: [StoredObject], revision: Int64) {
        shared.withLock { shared in
            (shared.tables[resource]?.list(namespace: namespace) ?? [], shared.revision)
        }
    }

    /// Every object of every resource, sorted by key.
    func everything() -> (objects: [StoredObject], revision: Int64) {
        shared.withLock { shared in
            let resources = shared.tables.keys.sorted()
            return (resources.flatMap { shared.tables[$0]?.objects ?? [] }, shared.revision)
        }
    }

    /// The number of objects of each resource that has any.
    func counts() -> [String: Int] {
        shared.withLock { $0.tables.mapValues(\.objects.count).filter { $0.value > 0 } }
    }

    // MARK: - Publishing

    /// Makes a committed batch visible and hands it to the watchers.
    func publish(_ events: [StoreEvent]) {
        let wakes = shared.withLock { shared -> [WatchQueue.Wake] in
            for event in events {
                apply(event, event.object.key, to: &shared)
                shared.revision = max(shared.revision, event.revision)
            }
            var wakes: [WatchQueue.Wake] = []
            // A batch concerns few resources: none is looked for twice.
            var rest = events[...]
            while let resource = rest.first?.object.key.resource {
                let watches = shared.watches[resource] ?? [:]
                if !watches.isEmpty {
                    let own = rest.filter { $0.object.key.resource == resource }
                    for queue in watches.values {
                        if let wake = queue.offer(own) { wakes.append(wake) }
                    }
                }
                rest = rest.filter { $0.object.key.resource != resource }[...]
            }
            return wakes
        }
        for wake in wakes { wake.run() }
    }

    private func apply(_ event: StoreEvent, _ key: StoreKey, to shared: inout Shared) {
        if event.kind == .deleted {
            shared.tables[key.resource]?.remove(key)
        } else {
            shared.tables[key.resource, default: ResourceTable()].set(event.object)
        }
        let fresh = EventLog(
            compactedRevision: shared.loadedRevision, limit: limits.eventsPerResource,
            limitBytes: limits.eventBytesPerResource)
        shared.logs[key.resource, default: fresh].append(event.compacted)
    }

    /// Forgets the events up to and including `revision`.
    func compact(through revision: Int64) {
        shared.withLock { shared in
            for resource in shared.logs.keys {
                shared.logs[resource]?.compact(through: revision)
            }
            shared.loadedRevision = max(shared.loadedRevision, min(revision, shared.revision))
        }
    }

    // MARK: - Watching

    func watch(
        resource: String, namespace: String?, from revision: Int64
    ) throws(StoreError) -> StoreWatch {
        let outcome = shared.withLock { shared -> Result<WatchQueue, StoreError> in
            let log = shared.logs[resource]
            let oldest = log?.compactedRevision ?? shared.loadedRevision
            // A revision of the future comes from another history (a restored backup).
            guard revision >= oldest, revision <= shared.revision else {
                return .failure(.compacted(asked: revision, oldest: oldest))
            }
            let queue = WatchQueue(
                namespace: namespace,
                replay: log?.events(after: revision, namespace: namespace) ?? [],
                limit: limits.eventsPerWatch)
            shared.watches[resource, default: [:]][ObjectIdentifier(queue)] = queue
            return .success(queue)
        }
        let queue = try outcome.get()
        return StoreWatch(queue: queue) { [weak self] in
            _ = self?.shared.withLock { shared in
                shared.watches[resource]?.removeValue(forKey: ObjectIdentifier(queue))
            }
        }
    }

    /// Ends every watch.
    func endWatches() {
        let queues = shared.withLock { shared in
            let queues = shared.watches.values.flatMap(\.values)
            shared.watches = [:]
            return queues
        }
        for queue in queues { queue.end(.cancelled) }
    }
}

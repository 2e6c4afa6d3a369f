import Store
import Synchronization

/// The collections whose first page was read lately, so that the pages after it show the same
/// moment. They are references to objects that are mostly still stored; where one has been dropped,
/// a list goes on with the collection as it is then.
final class ListSnapshots: Sendable {
    private struct Key: Hashable, Sendable {
        var resource: String
        var namespace: String?
        var revision: Int64
    }

    private struct Entry: Sendable {
        var key: Key
        var objects: [StoredObject]
        var since: ContinuousClock.Instant
    }

    /// Collections kept at a time; the oldest is dropped for a new one.
    private let limit: Int
    /// How long a client may take from its first page to its last; etcd's default is the same.
    private let lifetime: Duration
    private let entries = Mutex<[Entry]>([])
    /// Those dropped because there were too many.
    let droppedTotal = Counter()

    init(limit: Int = 32, lifetime: Duration = .seconds(300)) {
        self.limit = limit
        self.lifetime = lifetime
    }

    /// Keeps a collection for the pages that follow the first.
    func keep(
        resource: String, namespace: String?, revision: Int64, _ objects: [StoredObject]
    ) {
        let key = Key(resource: resource, namespace: namespace, revision: revision)
        let now = ContinuousClock.now
        entries.withLock { entries in
            entries.removeAll { now - $0.since > lifetime }
            guard !entries.contains(where: { $0.key == key }) else { return }
            if entries.count >= limit {
                entries.removeFirst()
                droppedTotal.increment()
            }
            entries.append(Entry(key: key, objects: objects, since: now))
        }
    }

    /// The collection as it was at `revision`; nil where it is kept no longer.
    func objects(
        resource: String, namespace: String?, revision: Int64
    ) -> [StoredObject]? {
        let key = Key(resource: resource, namespace: namespace, revision: revision)
        let now = ContinuousClock.now
        return entries.withLock { entries in
            entries.first { $0.key == key && now - $0.since <= lifetime }?.objects
        }
    }
}

public import JSON

/// The view and the mutations of one `write`. It sees the newest state, with the writes that wait
/// in the same batch; everything it does is committed together or not at all.
public struct StoreTransaction {
    private let batch: WriteBatch

    init(batch: WriteBatch) { self.batch = batch }

    /// The object at `key`, or nil.
    public func get(_ key: StoreKey) -> StoredObject? { batch.get(key) }

    /// The objects of a resource, of one namespace or all, sorted by namespace and name.
    public func list(resource: String, namespace: String?) -> [StoredObject] {
        batch.list(resource: resource, namespace: namespace)
    }

    /// The revision that the next mutation gets.
    public var nextRevision: Int64 { batch.revision + 1 }

    /// Adds an object; its `metadata.resourceVersion` is set.
    /// - Throws: `StoreError.alreadyExists`
    @discardableResult
    public mutating func create(_ key: StoreKey, _ object: JSONValue) throws -> StoredObject {
        guard batch.get(key) == nil else { throw StoreError.alreadyExists(key) }
        return batch.record(.added, key, object, previous: nil)
    }

    /// Replaces an object; its `metadata.resourceVersion` is set.
    /// - Throws: `StoreError.notFound`
    @discardableResult
    public mutating func update(_ key: StoreKey, _ object: JSONValue) throws -> StoredObject {
        guard let previous = batch.get(key) else { throw StoreError.notFound(key) }
        return batch.record(.modified, key, object, previous: previous)
    }

    /// Removes an object.
    /// - Returns: its last state with the deletion's revision.
    /// - Throws: `StoreError.notFound`
    @discardableResult
    public mutating func delete(_ key: StoreKey) throws -> StoredObject {
        guard let previous = batch.get(key) else { throw StoreError.notFound(key) }
        return batch.record(.deleted, key, try previous.decoded(), previous: previous)
    }
}

/// The mutations of a batch of writes, over the committed state. Used by the writer thread alone.
final class WriteBatch {
    private let state: StoreState
    private var overlay: [StoreKey: StoredObject?] = [:]
    private(set) var events: [StoreEvent] = []
    private(set) var revision: Int64
    private(set) var lastRowID: Int64

    init(state: StoreState, lastRowID: Int64) {
        self.state = state
        self.lastRowID = lastRowID
        revision = state.revision
    }

    func get(_ key: StoreKey) -> StoredObject? {
        if let change = overlay[key] { return change }
        return state.get(key)
    }

    func list(resource: String, namespace: String?) -> [StoredObject] {
        let base = state.list(resource: resource, namespace: namespace).objects
        let changes = overlay.filter {
            $0.key.resource == resource && (namespace == nil || $0.key.namespace == namespace)
        }
        guard !changes.isEmpty else { return base }
        var table = ResourceTable()
        table.load(
            base.filter { changes[$0.key] == nil } + changes.values.compactMap(\.self))
        return table.objects
    }

    func record(
        _ kind: StoreEvent.Kind, _ key: StoreKey, _ object: JSONValue, previous: StoredObject?
    ) -> StoredObject {
        revision += 1
        if previous == nil { lastRowID += 1 }
        var object = object
        let stored = StoredObject(
            key: key, revision: revision, rowID: previous?.rowID ?? lastRowID, stamping: &object)
        overlay[key] = .some(kind == .deleted ? nil : stored)
        events.append(
            StoreEvent(kind: kind, object: stored, previous: previous, tree: object))
        return stored
    }

    /// Undoes the mutations after the first `count`.
    func rollBack(to count: Int) {
        for event in events[count...].reversed() {
            overlay[event.object.key] = .some(event.previous)
            revision -= 1
        }
        events.removeSubrange(count...)
    }

    /// What the rows must become: each changed key once, with its row before and its state after.
    func rowChanges() -> [(before: StoredObject?, after: StoredObject?)] {
        overlay.compactMap { key, after in
            let before = state.get(key)
            return before?.revision == after?.revision ? nil : (before, after)
        }
    }
}

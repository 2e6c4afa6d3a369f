/// The objects of one resource, sorted by namespace and name: look-up is a binary search, a list is
/// a copy of a range.
struct ResourceTable {
    private(set) var objects: [StoredObject] = []

    func object(namespace: String, name: String) -> StoredObject? {
        let index = lowerBound(namespace: namespace, name: name)
        guard index < objects.count else { return nil }
        let key = objects[index].key
        return key.name == name && key.namespace == namespace ? objects[index] : nil
    }

    /// The objects of `namespace`, or all.
    func list(namespace: String?) -> [StoredObject] {
        guard let namespace else { return objects }
        let start = lowerBound(namespace: namespace, name: "")
        var low = start
        var high = objects.count
        while low < high {
            let middle = (low + high) / 2
            if objects[middle].key.namespace == namespace {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return Array(objects[start..<low])
    }

    /// Adds or replaces.
    mutating func set(_ object: StoredObject) {
        let key = object.key
        let index = lowerBound(namespace: key.namespace, name: key.name)
        if index < objects.count, objects[index].key == key {
            objects[index] = object
        } else {
            objects.insert(object, at: index)
        }
    }

    mutating func remove(_ key: StoreKey) {
        let index = lowerBound(namespace: key.namespace, name: key.name)
        if index < objects.count, objects[index].key == key { objects.remove(at: index) }
    }

    /// Fills an empty table with objects in any order.
    mutating func load(_ loaded: [StoredObject]) {
        objects = loaded.sorted { $0.key < $1.key }
    }

    /// The first index whose (namespace, name) is not below the given.
    private func lowerBound(namespace: String, name: String) -> Int {
        var low = 0
        var high = objects.count
        while low < high {
            let middle = (low + high) / 2
            if objects[middle].precedes(namespace: namespace, name: name) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }
}

/// The last events of one resource, oldest first, up to two bounds.
struct EventLog {
    /// Watching is possible from this revision on.
    private(set) var compactedRevision: Int64
    private var events: [StoreEvent] = []
    private var head = 0
    private var sizeBytes = 0
    private let limit: Int
    private let limitBytes: Int

    /// - Parameters:
    ///   - limit: the number of events kept.
    ///   - limitBytes: the size of their objects; the last event is kept whatever its size.
    init(compactedRevision: Int64, limit: Int, limitBytes: Int) {
        self.compactedRevision = compactedRevision
        self.limit = limit
        self.limitBytes = limitBytes
    }

    var count: Int { events.count - head }

    mutating func append(_ event: StoreEvent) {
        events.append(event)
        sizeBytes += event.object.bytes.count
        while count > limit || count > 1 && sizeBytes > limitBytes { dropFirst() }
        if head > max(64, count) {
            events.removeFirst(head)
            head = 0
        }
    }

    /// Forgets the events up to and including `revision`.
    mutating func compact(through revision: Int64) {
        while head < events.count, events[head].revision <= revision { dropFirst() }
        events.removeFirst(head)
        head = 0
        compactedRevision = max(compactedRevision, revision)
    }

    /// The events after `revision`, of one namespace or all.
    func events(after revision: Int64, namespace: String?) -> [StoreEvent] {
        var low = head
        var high = events.count
        while low < high {
            let middle = (low + high) / 2
            if events[middle].revision <= revision { low = middle + 1 } else { high = middle }
        }
        guard let namespace else { return Array(events[low...]) }
        return events[low...].filter { $0.object.key.namespace == namespace }
    }

    private mutating func dropFirst() {
        compactedRevision = max(compactedRevision, events[head].revision)
        sizeBytes -= events[head].object.bytes.count
        head += 1
    }
}

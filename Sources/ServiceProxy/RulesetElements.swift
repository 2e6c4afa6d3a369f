import NFTables
import NetworkTypes

/// The sets whose elements follow from Services, in the order in which they may be filled: what
/// leads to endpoints comes after the endpoints.
enum ElementSet: Int, Hashable, Sendable, CaseIterable {
    case endpoints, nodePortEndpoints, hairpins, allowedSources, locallyServed
    case sticky, nodePortSticky
    case shortCircuits, nodePortShortCircuits, guarded
    case services, nodePorts

    /// The set itself in one family's table.
    func named(in ruleset: Ruleset) -> NamedSet {
        switch self {
        case .endpoints: ruleset.endpoints
        case .nodePortEndpoints: ruleset.nodePortEndpoints
        case .hairpins: ruleset.hairpins
        case .allowedSources: ruleset.allowedSources
        case .locallyServed: ruleset.locallyServed
        case .sticky: ruleset.sticky
        case .nodePortSticky: ruleset.nodePortSticky
        case .shortCircuits: ruleset.shortCircuits
        case .nodePortShortCircuits: ruleset.nodePortShortCircuits
        case .guarded: ruleset.guarded
        case .services: ruleset.services
        case .nodePorts: ruleset.nodePorts
        }
    }
}

/// Where an element is: its family, its set and its key.
struct ElementID: Hashable, Sendable {
    var family: IPAddress.Family
    var set: ElementSet
    var key: Value
}

extension ElementID {
    init(_ set: ElementSet, _ frontend: Frontend, slot: Int? = nil) {
        family = frontend.family
        self.set = set
        key = frontend.key
        if let slot { key.append(.number(UInt32(slot))) }
    }
}

extension Frontend {
    /// The key by which maps hold it.
    var key: Value {
        switch self {
        case .address(let address, let port):
            Value(.address(address), .transport(port.transport), .port(port.port))
        case .nodePort(_, let port):
            // A key's first field is padded once a second one follows.
            Value(.transport(port.transport), .port(port.port))
        }
    }
}

extension Backend {
    /// What maps hold for it.
    var value: Value { Value(.address(address), .port(port)) }
}

/// The net difference that changes make to the sets: an element that is removed and added again
/// with the same data does not appear.
struct ElementChanges: Sendable {
    /// What an element was and is to be; nil for absent. Sets, which have no data, use an empty
    /// value.
    struct Change: Hashable, Sendable {
        var old: Value?
        var new: Value?
    }

    private(set) var changes: [ElementID: Change] = [:]
    /// False where the changes are not asked for, because all is loaded anew.
    var isKept = true

    var isEmpty: Bool { changes.isEmpty }
    var count: Int { changes.count }

    /// Removes an element that is there with `value`.
    mutating func remove(_ id: ElementID, _ value: Value) {
        guard isKept else { return }
        if var change = changes[id] {
            change.new = nil
            store(change, id)
        } else {
            changes[id] = Change(old: value, new: nil)
        }
    }

    /// Adds an element that is not there, or no longer.
    mutating func add(_ id: ElementID, _ value: Value) {
        guard isKept else { return }
        if var change = changes[id] {
            change.new = value
            store(change, id)
        } else {
            changes[id] = Change(old: nil, new: value)
        }
    }

    private mutating func store(_ change: Change, _ id: ElementID) {
        changes[id] = change.old == change.new ? nil : change
    }

    /// The changes as kernel operations in parts of about `limit` elements. Every part can be
    /// applied on its own: nothing refers to an endpoint or chain that is not there yet, and
    /// endpoints go after what referred to them.
    func transactions(
        _ ruleset: (IPAddress.Family) -> Ruleset, limit: Int = .max
    ) -> [Transaction] {
        var writes: [Bucket: [(Element, Bool)]] = [:]
        var removals: [Bucket: [Element]] = [:]
        for (id, change) in changes {
            let bucket = Bucket(set: id.set, family: id.family)
            if let new = change.new {
                writes[bucket, default: []].append(
                    (id.element(new), change.old != nil))
            } else {
                removals[bucket, default: []].append(id.element(change.old ?? Value()))
            }
        }
        var parts: [Transaction] = []
        var part = Transaction()
        var room = limit
        func close() {
            if !part.isEmpty { parts.append(part) }
            part = Transaction()
            room = limit
        }
        for bucket in writes.keys.sorted() {
            let set = bucket.set.named(in: ruleset(bucket.family))
            var rest = (writes[bucket] ?? [])[...]
            while !rest.isEmpty {
                let slice = rest.prefix(room)
                rest = rest.dropFirst(slice.count)
                part.delete(slice.filter(\.1).map(\.0), from: set)
                part.add(slice.map(\.0), to: set)
                room -= slice.count
                if room == 0 { close() }
            }
        }
        for bucket in removals.keys.sorted().reversed() {
            let set = bucket.set.named(in: ruleset(bucket.family))
            var rest = (removals[bucket] ?? [])[...]
            while !rest.isEmpty {
                let slice = rest.prefix(room)
                rest = rest.dropFirst(slice.count)
                part.delete(Array(slice), from: set)
                room -= slice.count
                if room == 0 { close() }
            }
        }
        close()
        return parts
    }

    private struct Bucket: Hashable, Comparable {
        var set: ElementSet
        var family: IPAddress.Family

        static func < (left: Self, right: Self) -> Bool {
            (left.set.rawValue, left.family.rawValue) < (right.set.rawValue, right.family.rawValue)
        }
    }
}

extension ElementID {
    /// The element as the kernel is given it.
    func element(_ value: Value) -> Element {
        switch set {
        case .hairpins, .locallyServed: Element(key)
        case .allowedSources: Element(key, lastKey: value)
        default: Element(key, .value(value))
        }
    }
}

/// Gathers elements for tables that have none yet.
struct ElementChunk {
    private var elements = [[Element]](repeating: [], count: ElementSet.allCases.count)
    private(set) var count = 0

    mutating func append(_ entries: [(ElementID, Value)]) {
        for (id, value) in entries { elements[id.set.rawValue].append(id.element(value)) }
        count += entries.count
    }

    /// The transaction that adds what was gathered; the chunk is empty afterwards.
    mutating func take(_ ruleset: Ruleset) -> Transaction {
        var transaction = Transaction()
        for set in ElementSet.allCases {
            transaction.add(elements[set.rawValue], to: set.named(in: ruleset))
            elements[set.rawValue].removeAll(keepingCapacity: true)
        }
        count = 0
        return transaction
    }
}

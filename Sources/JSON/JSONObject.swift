/// The members of a JSON object, in order. Look-up scans small objects and uses an index in large
/// ones, so that neither a thousand small objects nor one large one is slow.
public struct JSONObject: Sendable {
    fileprivate struct Member: Hashable, Sendable {
        let key: String
        var value: JSONValue
    }

    private var members: [Member] = []
    /// Name → position; nil below `indexThreshold` members.
    private var index: [String: Int]?
    private static let indexThreshold = 24

    /// Makes an empty object.
    public init() {}

    /// The number of members.
    public var count: Int { members.count }

    /// True where there are no members.
    public var isEmpty: Bool { members.isEmpty }

    /// The names, in order.
    public var keys: [String] { members.map(\.key) }

    /// The values, in order.
    public var values: [JSONValue] { members.map(\.value) }

    /// The value of `key`; nil where there is none. Setting nil removes the member, setting a new
    /// name appends it, setting a present one keeps its place.
    public subscript(key: String) -> JSONValue? {
        get { position(of: key).map { members[$0].value } }
        set {
            switch (position(of: key), newValue) {
            case (let position?, let value?): members[position].value = value
            case (let position?, nil): remove(at: position)
            case (nil, let value?): append(key, value)
            case (nil, nil): break
            }
        }
    }

    /// Removes and returns the value of `key`.
    @discardableResult
    public mutating func removeValue(forKey key: String) -> JSONValue? {
        guard let position = position(of: key) else { return nil }
        let value = members[position].value
        remove(at: position)
        return value
    }

    /// Makes room for `count` members.
    public mutating func reserveCapacity(_ count: Int) { members.reserveCapacity(count) }

    /// Adds a member whose name is known not to be there yet, without looking for it.
    public mutating func append(_ key: String, _ value: JSONValue) {
        // Most objects of the API have a few members: one allocation instead of three.
        if members.isEmpty { members.reserveCapacity(4) }
        members.append(Member(key: key, value: value))
        if index != nil {
            index?[key] = members.count - 1
        } else if members.count >= Self.indexThreshold {
            rebuildIndex()
        }
    }

    func position(of key: String) -> Int? {
        if let index { return index[key] }
        // Most names differ in length, which costs no call to find out.
        let length = key.utf8.count
        for position in members.indices
        where members[position].key.utf8.count == length && members[position].key == key {
            return position
        }
        return nil
    }

    /// Changes the value of `key` in its place; one that is missing begins as an empty object.
    mutating func change(_ key: String, _ change: (inout JSONValue) -> Void) {
        if let position = position(of: key) {
            change(&members[position].value)
        } else {
            var value = JSONValue.object(JSONObject())
            change(&value)
            append(key, value)
        }
    }

    private mutating func remove(at position: Int) {
        members.remove(at: position)
        rebuildIndex()
    }

    private mutating func rebuildIndex() {
        guard members.count >= Self.indexThreshold else {
            index = nil
            return
        }
        var index: [String: Int] = [:]
        for (position, member) in members.enumerated() { index[member.key] = position }
        self.index = index
    }
}

extension JSONObject: Sequence {
    /// The members in order.
    public func makeIterator() -> Iterator { Iterator(members: members.makeIterator()) }

    /// Walks over the members.
    public struct Iterator: IteratorProtocol {
        fileprivate var members: IndexingIterator<[Member]>

        /// The next member, or nil.
        public mutating func next() -> (key: String, value: JSONValue)? {
            members.next().map { ($0.key, $0.value) }
        }
    }
}

extension JSONObject: Hashable {
    /// True where both have the same members; their order does not matter.
    public static func == (left: Self, right: Self) -> Bool {
        guard left.count == right.count else { return false }
        for (position, member) in left.members.enumerated() {
            // Mostly the order is the same, too.
            if right.members[position].key == member.key {
                if right.members[position].value != member.value { return false }
            } else if right[member.key] != member.value {
                return false
            }
        }
        return true
    }

    /// Hashes the members without regard to their order.
    public func hash(into hasher: inout Hasher) {
        var sum = 0
        for member in members {
            var inner = Hasher()
            inner.combine(member)
            sum &+= inner.finalize()
        }
        hasher.combine(sum)
    }
}

extension JSONObject: ExpressibleByDictionaryLiteral {
    /// An object; a later member of the same name replaces an earlier one.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        for (key, value) in elements { self[key] = value }
    }
}

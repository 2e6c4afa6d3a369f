/// The members of a JSON object, in order. Look-up scans small objects and uses an index in large
/// ones, so that neither a thousand small objects nor one large one is slow.
public struct JSONObject: Sendable {
    private var names: [String] = []
    private var members: [JSONValue] = []
    /// Name → position; kept only from `indexThreshold` members on.
    private var index: [String: Int] = [:]
    private static let indexThreshold = 24

    /// Makes an empty object.
    public init() {}

    /// The number of members.
    public var count: Int { names.count }

    /// True where there are no members.
    public var isEmpty: Bool { names.isEmpty }

    /// The names, in order.
    public var keys: [String] { names }

    /// The values, in order.
    public var values: [JSONValue] { members }

    /// The value of `key`; nil where there is none. Setting nil removes the member, setting a new
    /// name appends it, setting a present one keeps its place.
    public subscript(key: String) -> JSONValue? {
        get { position(of: key).map { members[$0] } }
        set {
            switch (position(of: key), newValue) {
            case (let position?, let value?): members[position] = value
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
        let value = members[position]
        remove(at: position)
        return value
    }

    /// Adds a member that is known not to be there yet.
    mutating func append(_ key: String, _ value: JSONValue) {
        names.append(key)
        members.append(value)
        if names.count == Self.indexThreshold {
            rebuildIndex()
        } else if names.count > Self.indexThreshold {
            index[key] = names.count - 1
        }
    }

    func position(of key: String) -> Int? {
        if names.count >= Self.indexThreshold { return index[key] }
        return names.firstIndex(of: key)
    }

    private mutating func remove(at position: Int) {
        names.remove(at: position)
        members.remove(at: position)
        rebuildIndex()
    }

    private mutating func rebuildIndex() {
        index = [:]
        guard names.count >= Self.indexThreshold else { return }
        for (position, name) in names.enumerated() { index[name] = position }
    }
}

extension JSONObject: Sequence {
    /// The members in order, as (name, value).
    public func makeIterator() -> Zip2Sequence<[String], [JSONValue]>.Iterator {
        zip(names, members).makeIterator()
    }
}

extension JSONObject: Hashable {
    /// True where both have the same members; their order does not matter.
    public static func == (left: Self, right: Self) -> Bool {
        guard left.count == right.count else { return false }
        if left.names == right.names { return left.members == right.members }
        return left.allSatisfy { right[$0.0] == $0.1 }
    }

    /// Hashes the members without regard to their order.
    public func hash(into hasher: inout Hasher) {
        var sum = 0
        for (key, value) in self {
            var inner = Hasher()
            inner.combine(key)
            inner.combine(value)
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

/// A JSON value (RFC 8259) that loses nothing: integers stay exact, other numbers keep their text,
/// and objects keep the order of their members.
public enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    /// A number without fraction or exponent that fits 64 bits.
    case integer(Int64)
    /// Any other number, as its own text (`1.5`, `1e9`, `18446744073709551616`).
    case number(String)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)
}

// MARK: - Reading

extension JSONValue {
    /// The string, or nil for any other kind of value.
    public var string: String? {
        if case .string(let value) = self { value } else { nil }
    }

    /// The integer, or nil for any other kind of value.
    public var integer: Int64? {
        if case .integer(let value) = self { value } else { nil }
    }

    /// The integer as `Int`, or nil for any other kind of value.
    public var int: Int? { integer.flatMap { Int(exactly: $0) } }

    /// The number as a floating-point value, or nil for any other kind of value.
    public var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let text): Double(text)
        default: nil
        }
    }

    /// The Boolean, or nil for any other kind of value.
    public var bool: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    /// The elements, or nil for any other kind of value.
    public var array: [JSONValue]? {
        if case .array(let value) = self { value } else { nil }
    }

    /// The members, or nil for any other kind of value.
    public var object: JSONObject? {
        if case .object(let value) = self { value } else { nil }
    }

    /// True for `null`.
    public var isNull: Bool {
        if case .null = self { true } else { false }
    }

    /// The name of the kind of value, as error messages spell it.
    public var kindName: String {
        switch self {
        case .null: "null"
        case .bool: "bool"
        case .integer, .number: "number"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
    }

    /// The members as strings; members of another kind are left out. Empty for any other value.
    public var stringMap: [String: String] {
        guard case .object(let members) = self, !members.isEmpty else { return [:] }
        var map = [String: String](minimumCapacity: members.count)
        for (key, value) in members {
            if let text = value.string { map[key] = text }
        }
        return map
    }
}

// MARK: - Paths

extension JSONValue {
    /// The member `key` of an object; nil where this is no object or has no such member. Setting
    /// nil removes the member; setting on anything but an object makes it an object.
    public subscript(key: String) -> JSONValue? {
        get { object?[key] }
        set {
            var members = object ?? JSONObject()
            self = .null  // keeps the members uniquely referenced while they change
            members[key] = newValue
            self = .object(members)
        }
    }

    /// The element at `index` of an array, or nil.
    public subscript(index: Int) -> JSONValue? {
        guard case .array(let elements) = self, elements.indices.contains(index) else {
            return nil
        }
        return elements[index]
    }

    /// The value behind two members, such as `value["metadata", "labels"]`. Setting makes the
    /// object that is missing on the way; setting nil removes the last member.
    public subscript(first: String, second: String) -> JSONValue? {
        get { self[first]?[second] }
        set { change(first, unlessAbsent: newValue == nil) { $0[second] = newValue } }
    }

    /// As above, for longer chains.
    public subscript(
        first: String, second: String, third: String, rest: String...
    ) -> JSONValue? {
        get {
            var value = self[first]?[second]?[third]
            for key in rest { value = value?[key] }
            return value
        }
        set { set(newValue, at: [first, second, third] + rest) }
    }

    /// The value behind `path`, or nil.
    public func value(at path: some Collection<String>) -> JSONValue? {
        var value: JSONValue? = self
        for key in path { value = value?[key] }
        return value
    }

    /// Sets the value behind `path`, making the objects that are missing on the way; nil removes.
    public mutating func set(_ newValue: JSONValue?, at path: [String]) {
        set(newValue, at: path[...])
    }

    private mutating func set(_ newValue: JSONValue?, at path: ArraySlice<String>) {
        guard let first = path.first else {
            self = newValue ?? .null
            return
        }
        if path.count == 1 {
            self[first] = newValue
        } else {
            change(first, unlessAbsent: newValue == nil) {
                $0.set(newValue, at: path.dropFirst())
            }
        }
    }

    /// Changes a member in its place, so that nothing is copied; one that is missing is made an
    /// object first, unless `unlessAbsent` says to leave it alone.
    private mutating func change(
        _ key: String, unlessAbsent: Bool, _ change: (inout JSONValue) -> Void
    ) {
        var members = object ?? JSONObject()
        if unlessAbsent, members.position(of: key) == nil { return }
        self = .null  // keeps the members uniquely referenced while they change
        members.change(key, change)
        self = .object(members)
    }
}

// MARK: - Literals

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral,
    ExpressibleByNilLiteral, ExpressibleByStringInterpolation
{
    /// `null`
    public init(nilLiteral: ()) { self = .null }
    /// A string.
    public init(stringLiteral value: String) { self = .string(value) }
    /// An integer.
    public init(integerLiteral value: Int64) { self = .integer(value) }
    /// A Boolean.
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    /// An array.
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    /// An object; a later member of the same name replaces an earlier one.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        var members = JSONObject()
        for (key, value) in elements { members[key] = value }
        self = .object(members)
    }

    /// An object of strings, members in the order of their names.
    public init(_ map: [String: String]) {
        var members = JSONObject()
        for key in map.keys.sorted() { members[key] = map[key].map(JSONValue.string) }
        self = .object(members)
    }
}

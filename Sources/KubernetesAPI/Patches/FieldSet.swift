import JSON

/// A set of field paths, as `managedFields[].fieldsV1` holds it: a tree whose names are `f:NAME`
/// for members, `k:{…}` for elements of a list by their keys, and `v:…` for elements of a set.
struct FieldSet: Hashable, Sendable {
    /// True where the path that leads here is in the set itself.
    var isMember = false
    var children: [String: FieldSet] = [:]

    /// The set of one path, that which leads here.
    static let member = FieldSet(isMember: true)

    var isEmpty: Bool { !isMember && children.isEmpty }

    subscript(name: String) -> FieldSet {
        get { children[name] ?? FieldSet() }
        set { children[name] = newValue.isEmpty ? nil : newValue }
    }

    // MARK: - Algebra

    func union(_ other: FieldSet) -> FieldSet {
        var result = self
        result.isMember = isMember || other.isMember
        for (name, child) in other.children { result[name] = self[name].union(child) }
        return result
    }

    func intersection(_ other: FieldSet) -> FieldSet {
        var result = FieldSet(isMember: isMember && other.isMember)
        for (name, child) in children {
            guard let twin = other.children[name] else { continue }
            result[name] = child.intersection(twin)
        }
        return result
    }

    func subtracting(_ other: FieldSet) -> FieldSet {
        var result = self
        result.isMember = isMember && !other.isMember
        for (name, child) in other.children where children[name] != nil {
            result[name] = self[name].subtracting(child)
        }
        return result
    }

    /// Without the paths of `other` and everything beneath them.
    func subtractingRecursively(_ other: FieldSet) -> FieldSet {
        if other.isMember { return FieldSet() }
        var result = self
        for (name, child) in other.children where children[name] != nil {
            result[name] = self[name].subtractingRecursively(child)
        }
        return result
    }

    // MARK: - fieldsV1

    init(isMember: Bool = false, children: [String: FieldSet] = [:]) {
        self.isMember = isMember
        self.children = children
    }

    /// Reads the root of `fieldsV1`.
    init(json: JSONValue) {
        for (name, value) in json.object ?? [:] {
            if name == "." {
                isMember = true
            } else {
                var child = FieldSet(json: value)
                if value.object?.isEmpty ?? true { child.isMember = true }
                children[name] = child
            }
        }
    }

    /// The tree as `fieldsV1` writes it, names sorted.
    var json: JSONValue {
        var members = JSONObject()
        if isMember, !children.isEmpty { members["."] = [:] }
        for name in children.keys.sorted() { members[name] = self[name].json }
        return .object(members)
    }

    // MARK: - Paths

    /// The paths in the set as messages spell them: `.spec.ports[port=80,protocol="TCP"].nodePort`.
    func paths(prefix: String = "") -> [String] {
        var paths = isMember && !prefix.isEmpty ? [prefix] : []
        for name in children.keys.sorted() {
            paths += self[name].paths(prefix: prefix + Self.text(of: name))
        }
        return paths
    }

    private static func text(of name: String) -> String {
        let body = String(name.dropFirst(2))
        switch name.prefix(2) {
        case "k:":
            let keys = (try? JSONValue(parsing: body))?.object ?? [:]
            return "[" + keys.map { "\($0)=\($1.serializedText)" }.joined(separator: ",") + "]"
        case "v:": return "[=\(body)]"
        case "i:": return "[\(body)]"
        default: return "." + body
        }
    }
}

// MARK: - Sets of values

/// How values are taken apart into paths: what is atomic, and what a list's elements are called.
enum FieldPaths {
    /// The parts of a value that are owned one by one, by path element; nil for one owned as a
    /// whole.
    static func parts(
        of value: JSONValue, _ schema: Schema
    ) -> [(name: String, value: JSONValue, schema: Schema)]? {
        switch (schema.form, value) {
        case (.object, .object(let members)), (.map, .object(let members)):
            guard !schema.isAtomic else { return nil }
            return members.map { ("f:" + $0, $1, schema.member($0) ?? .any) }
        case (.list, .array(let elements)):
            guard schema.listType != .atomic else { return nil }
            let element = schema.element ?? .any
            return elements.map { (elementName($0, schema), $0, element) }
        default: return nil
        }
    }

    /// `k:{"port":80,"protocol":"TCP"}` or `v:"x"`. Keys that are absent count as their defaults.
    static func elementName(_ element: JSONValue, _ list: Schema) -> String {
        guard list.listType == .map else { return "v:" + element.serializedText }
        var keys = JSONObject()
        for key in list.listKeys.sorted() {
            keys[key] = element[key] ?? list.element?.field(key)?.defaultValue
        }
        return "k:" + JSONValue.object(keys).serializedText
    }

    /// What an applied configuration owns: its leaves, and the elements of its lists.
    static func set(of value: JSONValue, _ schema: Schema) -> FieldSet {
        guard let parts = parts(of: value, schema), !parts.isEmpty else { return .member }
        var result = FieldSet()
        for part in parts {
            var child = set(of: part.value, part.schema)
            if !part.name.hasPrefix("f:") { child.isMember = true }
            result.children[part.name] = child
        }
        return result
    }

    /// What an added value brings when nobody applied it: as above, and containers themselves.
    static func wholeSet(of value: JSONValue, _ schema: Schema) -> FieldSet {
        var result = FieldSet.member
        for part in parts(of: value, schema) ?? [] {
            result.children[part.name] = wholeSet(of: part.value, part.schema)
        }
        return result
    }

    /// What differs between two values.
    struct Difference {
        /// Paths that are new or have another value.
        var changed = FieldSet()
        /// Paths that are gone.
        var removed = FieldSet()
    }

    static func compare(_ old: JSONValue, _ new: JSONValue, _ schema: Schema) -> Difference {
        var difference = Difference()
        if old == new { return difference }
        guard let before = parts(of: old, schema), let after = parts(of: new, schema) else {
            difference.changed = .member
            return difference
        }
        var olds: [String: JSONValue] = [:]
        for part in before { olds[part.name] = part.value }
        for part in after {
            guard let value = olds.removeValue(forKey: part.name) else {
                difference.changed[part.name] = wholeSet(of: part.value, part.schema)
                continue
            }
            let inner = compare(value, part.value, part.schema)
            difference.changed[part.name] = inner.changed
            difference.removed[part.name] = inner.removed
        }
        for part in before where olds[part.name] != nil {
            difference.removed[part.name] = wholeSet(of: part.value, part.schema)
        }
        return difference
    }
}

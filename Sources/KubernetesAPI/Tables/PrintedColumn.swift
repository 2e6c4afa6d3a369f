public import JSON

/// A column of `kubectl get` (meta/v1 TableColumnDefinition).
public struct PrintedColumn: Hashable, Sendable {
    /// The title; kubectl prints it in capitals.
    public var name: String
    /// `string`, `integer`, `number`, `boolean` or `date`.
    public var type = "string"
    /// `name` for the column that names the object.
    public var format = ""
    /// A sentence about it.
    public var summary = ""
    /// 0 is always shown, more only with `-o wide`.
    public var priority = 0
    /// Where custom resources find the cell; nil where the kind's code makes it.
    public var path: JSONPath?

    /// Makes a column.
    public init(_ name: String, type: String = "string", wide: Bool = false) {
        self.name = name
        self.type = type
        priority = wide ? 1 : 0
    }

    static let objectName: PrintedColumn = {
        var column = PrintedColumn("Name")
        column.format = "name"
        column.summary =
            "Name must be unique within a namespace. Is required when creating resources."
        return column
    }()
    static let age: PrintedColumn = {
        var column = PrintedColumn("Age")
        column.summary = "How long ago the object was made."
        return column
    }()

    /// What kinds without columns of their own show.
    public static let nameAndAge: [PrintedColumn] = [objectName, age]

    /// Name, the columns of `text`, and Age where `text` does not name it. `text` is titles with
    /// commas between; `*` marks those of `-o wide`, `#` integers.
    static func columns(_ text: String) -> [PrintedColumn] {
        var columns = [objectName]
        for part in text.split(separator: ",") {
            var title = part
            let isWide = title.hasPrefix("*")
            if isWide { title = title.dropFirst() }
            let isInteger = title.hasPrefix("#")
            if isInteger { title = title.dropFirst() }
            columns.append(
                title == "Age"
                    ? age
                    : PrintedColumn(
                        String(title), type: isInteger ? "integer" : "string", wide: isWide))
        }
        return columns
    }

    /// `columnDefinitions` of a Table.
    var json: JSONValue {
        [
            "name": .string(name), "type": .string(type), "format": .string(format),
            "description": .string(summary.isEmpty ? name : summary),
            "priority": .integer(Int64(priority)),
        ]
    }
}

/// The simple paths that additionalPrinterColumns, selectable fields and field selectors use:
/// members, indices, and filters by equality, such as
/// `.status.conditions[?(@.type=="Ready")].status`.
public struct JSONPath: Hashable, Sendable {
    enum Step: Hashable, Sendable {
        case member(String)
        case index(Int)
        case all
        case filter([String], String)
    }

    let steps: [Step]

    /// Parses a path; nil where it uses more than this reads.
    public init?(_ text: String) {
        var rest = text[...]
        if rest.hasPrefix("{"), rest.hasSuffix("}") { rest = rest.dropFirst().dropLast() }
        if rest.hasPrefix("$") { rest = rest.dropFirst() }
        var steps: [Step] = []
        while let first = rest.first {
            if first == "[" {
                guard let end = rest.firstIndex(of: "]") else { return nil }
                guard let step = Self.bracket(rest[rest.index(after: rest.startIndex)..<end])
                else { return nil }
                steps.append(step)
                rest = rest[rest.index(after: end)...]
                continue
            }
            if first == "." { rest = rest.dropFirst() }
            var name = ""
            while let character = rest.first, character != ".", character != "[" {
                if character == "\\" { rest = rest.dropFirst() }
                if let character = rest.first { name.append(character) }
                rest = rest.dropFirst()
            }
            if name == "*" {
                steps.append(.all)
            } else if !name.isEmpty {
                steps.append(.member(name))
            }
        }
        self.steps = steps
    }

    private static func bracket(_ text: Substring) -> Step? {
        if text == "*" { return .all }
        if let index = Int(text) { return .index(index) }
        if let first = text.first, first == "'" || first == "\"" {
            return .member(String(text.dropFirst().dropLast()))
        }
        guard text.hasPrefix("?(@."), text.hasSuffix(")") else { return nil }
        let inner = String(text.dropFirst(4).dropLast())
        let parts = inner.split(separator: "=", omittingEmptySubsequences: true)
        guard parts.count == 2 else { return nil }
        let value = trimmed(parts[1]).filter { $0 != "\"" && $0 != "'" }
        return .filter(trimmed(parts[0]).split(separator: ".").map(String.init), value)
    }

    /// The values at this path, in order.
    public func values(in value: JSONValue) -> [JSONValue] {
        var values = [value]
        for step in steps {
            switch step {
            case .member(let name): values = values.compactMap { $0[name] }
            case .index(let index):
                values = values.compactMap { value in
                    value[index < 0 ? index + (value.array?.count ?? 0) : index]
                }
            case .all:
                values = values.flatMap { $0.array ?? $0.object?.values ?? [] }
            case .filter(let path, let wanted):
                values = values.flatMap { $0.array ?? [] }.filter {
                    let found = $0.value(at: path)
                    return (found?.string ?? found?.serializedText) == wanted
                }
            }
        }
        return values
    }
}

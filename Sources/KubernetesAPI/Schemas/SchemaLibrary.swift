import JSON

/// Reads the schema tables. A table is text, because a thousand fields as Swift literals cost
/// minutes of type checking; it is read once at start, in a millisecond or two.
///
///     @core.v1                                        the group and version of what follows
///     Service* | A named set of pods and its ports.   a kind: has apiVersion, kind, metadata
///       spec ServiceSpec | What is wanted.
///     ServicePort
///       port! int32                                   required
///       protocol string =TCP enum=TCP,UDP,SCTP        default, closed list
///       ports [ServicePort] key=port,protocol         list of type map, merged by its first key
///       finalizers [string] set merge                 set, merged by strategic merge patch
///       selector {string} atomic                      map of strings, owned as a whole
///       ...Base                                       the fields of type Base
struct SchemaLibrary: Sendable {
    private struct Entry {
        let name: String
        let shortName: String
        let isKind: Bool
        let summary: String
        var lines: [Substring] = []
    }

    private(set) var schemas: [String: Schema] = [:]
    /// What could not be read: shown by a test, empty in a release.
    private(set) var faults: [String] = []
    private var entries: [String: Entry] = [:]
    private var pending: Set<String> = []

    init(_ tables: [String]) {
        for table in tables { collect(table) }
        for name in entries.keys.sorted() { _ = resolve(name, from: "") }
    }

    /// The schema of `group.version.Name`, such as `core.v1.Service`.
    subscript(name: String) -> Schema? { schemas[name] }

    private mutating func collect(_ table: String) {
        var group = ""
        var current: String?
        for line in table.split(separator: "\n") {
            if line.first == "@" {
                group = String(line.dropFirst())
            } else if line.first == " " {
                guard let current else { continue }
                entries[current]?.lines.append(line)
            } else {
                let parts = line.split(separator: "|", maxSplits: 1)
                let title = trimmed(parts[0])
                let shortName = title.hasSuffix("*") ? String(title.dropLast()) : title
                let name = "\(group).\(shortName)"
                current = name
                entries[name] = Entry(
                    name: name, shortName: shortName, isKind: title.hasSuffix("*"),
                    summary: parts.count > 1 ? trimmed(parts[1]) : "")
            }
        }
    }

    // MARK: - Types

    /// The schema of a type named in full or, from `group`, in short.
    private mutating func resolve(_ name: String, from group: String) -> Schema {
        let full = fullName(name, from: group)
        if let schema = schemas[full] { return schema }
        guard let entry = entries[full], pending.insert(full).inserted else {
            faults.append("type \(name) of \(group) is unknown or contains itself")
            return .any
        }
        defer { pending.remove(full) }
        let entryGroup = String(full.dropLast(entry.shortName.count + 1))
        var fields: [Schema.Field] = []
        if entry.isKind {
            fields = [
                Schema.Field(name: "apiVersion", schema: .string),
                Schema.Field(name: "kind", schema: .string),
                Schema.Field(name: "metadata", schema: resolve("meta.v1.ObjectMeta", from: "")),
            ]
        }
        fields += self.fields(of: entry.lines, group: entryGroup)
        let schema = Schema(
            .object, name: Self.openAPIName(full), summary: entry.summary, fields: fields)
        schemas[full] = schema
        return schema
    }

    private func fullName(_ name: String, from group: String) -> String {
        if entries[name] != nil { return name }
        let own = "\(group).\(name)"
        if entries[own] != nil { return own }
        for shared in ["core.v1", "meta.v1"] where entries["\(shared).\(name)"] != nil {
            return "\(shared).\(name)"
        }
        return own
    }

    /// `core.v1.Service` → `io.k8s.api.core.v1.Service`
    static func openAPIName(_ name: String) -> String {
        let prefixes: [(String, String)] = [
            ("meta.", "io.k8s.apimachinery.pkg.apis.meta."),
            ("apiextensions.", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions."),
            ("metallb.io.", "io.metallb."),
        ]
        for (short, long) in prefixes where name.hasPrefix(short) {
            return long + name.dropFirst(short.count)
        }
        return "io.k8s.api." + name
    }

    // MARK: - Fields

    private mutating func fields(of lines: [Substring], group: String) -> [Schema.Field] {
        var fields: [Schema.Field] = []
        for line in lines {
            let parts = line.split(separator: "|", maxSplits: 1)
            let words = parts[0].split(separator: " ").map(String.init)
            if let first = words.first, first.hasPrefix("...") {
                fields += resolve(String(first.dropFirst(3)), from: group).fields
                continue
            }
            guard words.count >= 2 else {
                faults.append("unreadable line: \(line)")
                continue
            }
            let isRequired = words[0].hasSuffix("!")
            let options = Array(words.dropFirst(2))
            var field = Schema.Field(
                name: isRequired ? String(words[0].dropLast()) : words[0],
                schema: shape(words[1], options: options, group: group))
            field.isRequired = isRequired
            field.summary = parts.count > 1 ? trimmed(parts[1]) : ""
            for option in options { apply(option, to: &field) }
            fields.append(field)
        }
        return fields
    }

    private mutating func apply(_ option: String, to field: inout Schema.Field) {
        if option.hasPrefix("enum=") {
            field.enumeration = option.dropFirst(5).split(separator: ",").map(String.init)
        } else if option.hasPrefix("=") {
            field.defaultValue = Self.literal(String(option.dropFirst()), of: field.schema.form)
        } else if option == "retainKeys" {
            field.retainsKeys = true
        } else if !["atomic", "set", "merge"].contains(option), !option.hasPrefix("key=") {
            faults.append("unknown option \(option) of \(field.name)")
        }
    }

    private static func literal(_ text: String, of form: Schema.Form) -> JSONValue {
        switch text {
        case "{}": return [:]
        case "true": return true
        case "false": return false
        case "\"\"": return ""
        default:
            if form != .string, let number = Int64(text) { return .integer(number) }
            return .string(text)
        }
    }

    private mutating func shape(
        _ word: String, options: [String], group: String
    ) -> Schema {
        if word.hasPrefix("[") {
            let element = shape(String(word.dropFirst().dropLast()), options: [], group: group)
            let keys = options.first { $0.hasPrefix("key=") }.map {
                $0.dropFirst(4).split(separator: ",").map(String.init)
            }
            let isSet = options.contains("set")
            return Schema(
                .list, element: element, listType: keys != nil ? .map : isSet ? .set : .atomic,
                listKeys: keys ?? [],
                mergeKey: keys?.first ?? (options.contains("merge") ? "" : nil))
        }
        if word.hasPrefix("{") {
            let element = shape(String(word.dropFirst().dropLast()), options: [], group: group)
            return Schema(.map, element: element, isAtomic: options.contains("atomic"))
        }
        if word == "bool" { return Self.scalars[.boolean] ?? .any }
        if let form = Schema.Form(rawValue: word), let scalar = Self.scalars[form] { return scalar }
        let schema = resolve(word, from: group)
        guard options.contains("atomic") else { return schema }
        return Schema(
            .object, name: schema.name, summary: schema.summary, fields: schema.fields,
            isAtomic: true)
    }

    private static let scalars: [Schema.Form: Schema] = {
        var scalars: [Schema.Form: Schema] = [.any: .any, .string: .string]
        let forms: [Schema.Form] = [
            .boolean, .int32, .int64, .double, .intOrString, .quantity, .time, .microTime,
            .duration, .bytes,
        ]
        for form in forms { scalars[form] = Schema(form) }
        return scalars
    }()
}

/// `text` without the spaces around it.
func trimmed(_ text: some StringProtocol) -> String {
    String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
}

/// The messages of the API as protobuf sees them: which number is which field.
struct ProtobufMessages: Sendable {
    indirect enum FieldType: Sendable, Hashable {
        case string, integer, boolean, bytes, double
        case message(String)
        case list(FieldType)
        case map(FieldType)
    }

    struct Field: Sendable, Hashable {
        var name: String
        var type: FieldType
    }

    static let builtIn = ProtobufMessages([coreProtobufFields, otherProtobufFields])

    private(set) var all: [String: [Int: Field]] = [:]

    /// Reads tables in the form that `coreProtobufFields` describes.
    init(_ tables: [String]) {
        for table in tables {
            var message = ""
            for line in table.split(separator: "\n") {
                var words = line.split(separator: " ")[...]
                if line.first != " ", let name = words.popFirst() { message = String(name) }
                for word in words { add(word, to: message) }
            }
        }
    }

    subscript(message: String) -> [Int: Field]? { all[message] }

    /// The message of an object with this `apiVersion` and `kind`; nil where it is unknown.
    func name(apiVersion: String, kind: String) -> String? {
        let parts = apiVersion.split(separator: "/")
        let group = parts.count == 2 ? parts[0].split(separator: ".").first ?? "" : "core"
        let own = "\(group).\(parts.last ?? "").\(kind)"
        if all[own] != nil { return own }
        let shared = "meta.v1.\(kind)"
        return all[shared] == nil ? nil : shared
    }

    private mutating func add(_ word: Substring, to message: String) {
        let digits = word.prefix { $0.isNumber }
        let rest = word.dropFirst(digits.count).split(separator: ":", maxSplits: 1)
        guard let number = Int(digits), let name = rest.first else { return }
        let group = message[..<(message.lastIndex(of: ".") ?? message.startIndex)]
        let type = rest.count > 1 ? Self.type(rest[1], group: group) : .string
        all[message, default: [:]][number] = Field(name: String(name), type: type)
    }

    private static func type(_ text: Substring, group: Substring) -> FieldType {
        switch text.first {
        case "*": return .list(type(text.dropFirst(), group: group))
        case "{": return .map(type(text.dropFirst().dropLast(), group: group))
        case ".": return .message("\(group)\(text)")
        default: break
        }
        switch text {
        case "s": return .string
        case "i": return .integer
        case "b": return .boolean
        case "y": return .bytes
        case "d": return .double
        default: return .message(String(text))
        }
    }
}

public import JSON

/// Text that is no selector.
public struct SelectorError: Error, Hashable, CustomStringConvertible {
    /// What is wrong, in apimachinery's words.
    public let description: String
}

extension LabelSelector: CustomStringConvertible {
    /// Parses `a=b,c!=d,e in (f,g),!h,i>3`.
    /// - Throws: `SelectorError`; the server answers 400 with `unable to parse requirement: …`.
    public init(parsing text: String) throws(SelectorError) {
        self.init()
        var reader = SelectorReader(text)
        reader.skipSpace()
        if reader.isAtEnd { return }
        while true {
            requirements.append(try Self.requirement(&reader))
            reader.skipSpace()
            if reader.isAtEnd { return }
            guard reader.take(",") else {
                throw reader.fault("found '\(reader.token())', expected: ',' or 'end of string'")
            }
            reader.skipSpace()
        }
    }

    private static func requirement(
        _ reader: inout SelectorReader
    ) throws(SelectorError) -> Requirement {
        reader.skipSpace()
        let isNegated = reader.take("!")
        reader.skipSpace()
        let key = reader.word()
        let faults = Names.qualifiedNameFaults(key)
        guard !key.isEmpty else {
            throw reader.fault(
                "found '\(reader.token())', expected: !, identifier, or 'end of string'")
        }
        guard faults.isEmpty else {
            throw SelectorError(
                description: "key: Invalid value: \(JSONValue.string(key).serializedText): "
                    + faults.joined(separator: "; "))
        }
        reader.skipSpace()
        if isNegated { return Requirement(key: key, operation: .doesNotExist) }
        if reader.isAtEnd || reader.peek == "," { return Requirement(key: key, operation: .exists) }
        return try comparison(key, &reader)
    }

    private static func comparison(
        _ key: String, _ reader: inout SelectorReader
    ) throws(SelectorError) -> Requirement {
        if reader.take("!=") { return try single(key, .isNotIn, &reader) }
        if reader.take("==") || reader.take("=") { return try single(key, .isIn, &reader) }
        if reader.take(">") { return try bound(key, .greaterThan, &reader) }
        if reader.take("<") { return try bound(key, .lessThan, &reader) }
        let word = reader.word()
        guard word == "in" || word == "notin" else {
            throw reader.fault(
                "found '\(word.isEmpty ? reader.token() : word)', expected: in, notin, =, ==, !=, "
                    + "gt, lt")
        }
        reader.skipSpace()
        guard reader.take("(") else {
            throw reader.fault("found '\(reader.token())', expected: '('")
        }
        var values: [String] = []
        while true {
            reader.skipSpace()
            values.append(try checked(reader.word(), key))
            reader.skipSpace()
            if reader.take(",") { continue }
            guard reader.take(")") else {
                throw reader.fault("found '\(reader.token())', expected: ',' or ')'")
            }
            return Requirement(
                key: key, operation: word == "in" ? .isIn : .isNotIn, values: values)
        }
    }

    private static func single(
        _ key: String, _ operation: Requirement.Operation, _ reader: inout SelectorReader
    ) throws(SelectorError) -> Requirement {
        reader.skipSpace()
        return Requirement(
            key: key, operation: operation, values: [try checked(reader.word(), key)])
    }

    private static func bound(
        _ key: String, _ operation: Requirement.Operation, _ reader: inout SelectorReader
    ) throws(SelectorError) -> Requirement {
        reader.skipSpace()
        let value = reader.word()
        guard Int64(value) != nil else {
            throw SelectorError(
                description: "values[0][\(key)]: Invalid value: "
                    + "\(JSONValue.string(value).serializedText): "
                    + "for 'Gt', 'Lt' operators, the value must be an integer")
        }
        return Requirement(key: key, operation: operation, values: [value])
    }

    private static func checked(_ value: String, _ key: String) throws(SelectorError) -> String {
        let faults = Names.labelValueFaults(value)
        guard faults.isEmpty else {
            throw SelectorError(
                description: "values[0][\(key)]: Invalid value: "
                    + "\(JSONValue.string(value).serializedText): "
                    + faults.joined(separator: "; "))
        }
        return value
    }

    /// The text form, terms in their order.
    public var description: String {
        requirements.map { term in
            switch term.operation {
            case .exists: return term.key
            case .doesNotExist: return "!" + term.key
            case .greaterThan: return "\(term.key)>\(term.values.first ?? "")"
            case .lessThan: return "\(term.key)<\(term.values.first ?? "")"
            case .isIn where term.values.count == 1: return "\(term.key)=\(term.values[0])"
            case .isNotIn where term.values.count == 1: return "\(term.key)!=\(term.values[0])"
            case .isIn: return "\(term.key) in (\(term.values.sorted().joined(separator: ",")))"
            case .isNotIn:
                return "\(term.key) notin (\(term.values.sorted().joined(separator: ",")))"
            }
        }.joined(separator: ",")
    }
}

/// A reader over the text of a selector.
private struct SelectorReader {
    private let text: [UInt8]
    private var offset = 0

    init(_ text: String) { self.text = Array(text.utf8) }

    var isAtEnd: Bool { offset >= text.count }
    var peek: Character? {
        offset < text.count ? Character(Unicode.Scalar(text[offset])) : nil
    }

    mutating func skipSpace() {
        while offset < text.count, [32, 9, 10, 13].contains(text[offset]) { offset += 1 }
    }

    mutating func take(_ symbol: StaticString) -> Bool {
        let bytes = Array(symbol.description.utf8)
        guard text[offset...].starts(with: bytes) else { return false }
        offset += bytes.count
        return true
    }

    /// Everything up to a space or a symbol.
    mutating func word() -> String {
        let start = offset
        let symbols = Array("=!<>(), \t\r\n".utf8)
        while offset < text.count, !symbols.contains(text[offset]) { offset += 1 }
        return String(decoding: text[start..<offset], as: UTF8.self)
    }

    func token() -> String { peek.map(String.init) ?? "" }

    func fault(_ description: String) -> SelectorError {
        SelectorError(description: description)
    }
}

/// A field selector: `metadata.name=a,spec.type!=NodePort`.
public struct FieldSelector: Hashable, Sendable, CustomStringConvertible {
    /// The terms, all of which must hold.
    public var terms: [Term]

    /// One term.
    public struct Term: Hashable, Sendable {
        /// The dotted path.
        public var field: String
        /// The value wanted, or not wanted.
        public var value: String
        /// True for `!=`.
        public var isNegated: Bool
    }

    /// Parses the text of the `fieldSelector` parameter.
    /// - Throws: `SelectorError`
    public init(parsing text: String) throws(SelectorError) {
        terms = []
        for part in Self.split(text) where !trimmed(part).isEmpty {
            guard let equals = part.firstIndex(of: "=") else {
                throw SelectorError(
                    description: "invalid selector: '\(text)'; can't understand '\(part)'")
            }
            var field = part[..<equals]
            var value = part[part.index(after: equals)...]
            let isNegated = field.hasSuffix("!")
            if isNegated { field = field.dropLast() }
            if value.hasPrefix("=") { value = value.dropFirst() }
            terms.append(
                Term(
                    field: trimmed(field), value: Self.unescaped(value), isNegated: isNegated))
        }
    }

    /// Makes a selector of terms.
    public init(_ terms: [Term] = []) { self.terms = terms }

    /// True where `object` meets every term. An absent field reads as an empty string.
    public func matches(_ object: JSONValue) -> Bool {
        terms.allSatisfy { term in
            let found = object.value(at: term.field.split(separator: ".").map(String.init))
            let text =
                switch found {
                case nil, .null?: term.field == "spec.unschedulable" ? "false" : ""
                case .string(let text)?: text
                case let other?: other.serializedText
                }
            return (text == term.value) != term.isNegated
        }
    }

    /// The name that `metadata.name=` asks for; nil where it asks for none.
    public var exactName: String? {
        terms.first { $0.field == "metadata.name" && !$0.isNegated }?.value
    }

    /// The text form.
    public var description: String {
        terms.map { "\($0.field)\($0.isNegated ? "!=" : "=")\($0.value)" }.joined(separator: ",")
    }

    /// Splits at commas that no backslash escapes.
    private static func split(_ text: String) -> [String] {
        var parts = [""]
        var isEscaped = false
        for character in text {
            if character == ",", !isEscaped {
                parts.append("")
            } else {
                parts[parts.count - 1].append(character)
            }
            isEscaped = character == "\\" && !isEscaped
        }
        return parts
    }

    private static func unescaped(_ text: Substring) -> String {
        var result = ""
        var isEscaped = false
        for character in text {
            if character == "\\", !isEscaped {
                isEscaped = true
            } else {
                result.append(character)
                isEscaped = false
            }
        }
        return result
    }
}

extension Kind {
    /// The fields that field selectors may name, beside `metadata.name` and `metadata.namespace`.
    public var selectableFields: [String] {
        switch resource.qualifiedName {
        case "services": ["spec.clusterIP", "spec.type"]
        case "pods":
            [
                "spec.nodeName", "spec.restartPolicy", "spec.schedulerName",
                "spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP",
                "status.podIPs", "status.nominatedNodeName",
            ]
        case "nodes": ["spec.unschedulable"]
        case "namespaces": ["status.phase", "name"]
        case "secrets": ["type"]
        case "replicasets.apps", "replicationcontrollers": ["status.replicas"]
        case "jobs.batch": ["status.successful"]
        case "events":
            [
                "involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
                "involvedObject.uid", "involvedObject.apiVersion",
                "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
                "reportingComponent", "source", "type",
            ]
        case "events.events.k8s.io":
            [
                "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
                "regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath",
                "reason", "reportingController", "type",
            ]
        case "ipaddresses.networking.k8s.io": ["spec.parentRef"]
        default: ownSelectableFields
        }
    }

    /// Why a field selector cannot be used with this kind: 400; nil where it can.
    public func fault(of selector: FieldSelector) -> StatusError? {
        let known = ["metadata.name", "metadata.namespace"] + selectableFields
        for term in selector.terms where !known.contains(term.field) {
            return .badRequest(
                "Unable to find \"\(resource.group.isEmpty ? "" : resource.group + "/")"
                    + "\(resource.version), Resource=\(resource.plural)\" that match label "
                    + "selector \"\", field selector \"\(selector)\": field label not supported: "
                    + "\(term.field)")
        }
        return nil
    }
}

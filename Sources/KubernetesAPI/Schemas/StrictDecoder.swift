public import JSON

/// What decoding found besides the object.
public struct DecodedObject: Sendable {
    /// The object without unknown fields and nulls.
    public var object: JSONValue
    /// The paths of fields that the schema does not know, such as `spec.ports[0].foo`.
    public var unknownFields: [String]
}

/// Reads a value by its schema as Kubernetes reads JSON into Go types: wrong types are refused,
/// unknown fields are dropped and reported, nulls are dropped.
public struct StrictDecoder {
    /// Unknown fields are reported up to this number.
    private static let unknownLimit = 64
    /// Room in an object for what defaults and the server will add.
    private static let defaultedMembers = 4
    private var unknownFields: [String] = []
    /// Names and indices on the way to the current value.
    private var path: [PathPart] = []

    private enum PathPart {
        case name(String)
        case index(Int)
    }

    /// A value whose type cannot be read; the text is encoding/json's.
    struct TypeError: Error {
        let text: String
    }

    /// Decodes `value` as an object of `resource`.
    /// - Throws: 400 in Kubernetes' words, such as `Service in version "v1" cannot be handled as a
    ///   Service: json: cannot unmarshal string into Go struct field …`.
    public static func decode(
        _ value: JSONValue, schema: Schema, resource: Resource
    ) throws(StatusError) -> DecodedObject {
        var decoder = StrictDecoder()
        do throws(TypeError) {
            let object = try decoder.read(value, schema, owner: nil)
            return DecodedObject(
                object: object ?? [:], unknownFields: decoder.unknownFields)
        } catch {
            throw cannotBeHandled(resource, error.text)
        }
    }

    /// 400 for a body that cannot become an object of `resource`.
    public static func cannotBeHandled(_ resource: Resource, _ text: String) -> StatusError {
        .badRequest(
            "\(resource.kind) in version \"\(resource.version)\" cannot be handled as a "
                + "\(resource.kind): \(text)")
    }

    /// 400 for unknown and duplicate fields under `fieldValidation=Strict`; nil where there are
    /// none.
    public static func strictError(
        _ resource: Resource, unknown: [String], duplicates: [String] = []
    ) -> StatusError? {
        let faults = strictFaults(unknown: unknown, duplicates: duplicates)
        guard !faults.isEmpty else { return nil }
        return cannotBeHandled(
            resource, "strict decoding error: " + faults.joined(separator: ", "))
    }

    /// The texts of the `Warning:` headers under `fieldValidation=Warn`.
    public static func strictFaults(unknown: [String], duplicates: [String]) -> [String] {
        duplicates.map { "duplicate field \"\($0)\"" } + unknown.map { "unknown field \"\($0)\"" }
    }

    // MARK: - Values

    private mutating func read(
        _ value: JSONValue, _ schema: Schema, owner: Schema?
    ) throws(TypeError) -> JSONValue? {
        if value.isNull { return schema.limits?.isNullable == true ? .null : nil }
        switch schema.form {
        case .object: return try readObject(value, schema, owner: owner)
        case .map: return try readMap(value, schema, owner: owner)
        case .list: return try readList(value, schema, owner: owner)
        case .any: return value
        case .string, .time, .microTime, .duration, .bytes:
            guard case .string = value else { throw mismatch(value, "string", owner) }
            try checkText(value.string ?? "", schema.form)
        case .boolean:
            guard case .bool = value else { throw mismatch(value, "bool", owner) }
        case .int32, .int64:
            let name = schema.form.rawValue
            guard case .integer(let number) = value,
                schema.form == .int64 || Int32(exactly: number) != nil
            else { throw mismatch(value, name, owner) }
        case .double:
            guard value.double != nil else { throw mismatch(value, "float64", owner) }
        case .intOrString:
            switch value {
            case .string: break
            case .integer(let number) where Int32(exactly: number) != nil: break
            default: throw mismatch(value, "intstr.IntOrString", owner)
            }
        case .quantity: return try readQuantity(value)
        }
        return value
    }

    private mutating func readObject(
        _ value: JSONValue, _ schema: Schema, owner: Schema?
    ) throws(TypeError) -> JSONValue {
        guard case .object(let members) = value else {
            throw mismatch(value, Self.goName(schema), owner)
        }
        var result = JSONObject()
        result.reserveCapacity(members.count + Self.defaultedMembers)
        for (name, member) in members {
            guard let fieldSchema = schema.fieldSchema(name) else {
                if schema.preservesUnknown {
                    result.append(name, member)
                } else {
                    noteUnknown(name)
                }
                continue
            }
            path.append(.name(name))
            if let read = try read(member, fieldSchema, owner: schema) {
                result.append(name, read)
            }
            path.removeLast()
        }
        return .object(result)
    }

    private mutating func readMap(
        _ value: JSONValue, _ schema: Schema, owner: Schema?
    ) throws(TypeError) -> JSONValue {
        guard case .object(let members) = value else {
            throw mismatch(value, Self.goName(schema), owner)
        }
        let element = schema.element ?? .any
        var result = JSONObject()
        for (name, member) in members {
            path.append(.name(name))
            // A null in a map of strings reads as the zero value, as in Go.
            if let read = try read(member, element, owner: owner) {
                result.append(name, read)
            } else if element.form == .string {
                result.append(name, "")
            }
            path.removeLast()
        }
        return .object(result)
    }

    private mutating func readList(
        _ value: JSONValue, _ schema: Schema, owner: Schema?
    ) throws(TypeError) -> JSONValue {
        guard case .array(let elements) = value else {
            throw mismatch(value, Self.goName(schema), owner)
        }
        let element = schema.element ?? .any
        var result: [JSONValue] = []
        result.reserveCapacity(elements.count)
        for (index, member) in elements.enumerated() {
            path.append(.index(index))
            if let read = try read(member, element, owner: owner) { result.append(read) }
            path.removeLast()
        }
        return .array(result)
    }

    private func checkText(_ text: String, _ form: Schema.Form) throws(TypeError) {
        switch form {
        case .time, .microTime:
            guard Timestamp(text) != nil else {
                throw TypeError(
                    text: "parsing time \(JSONValue.string(text).serializedText) as "
                        + "\"2006-01-02T15:04:05Z07:00\": cannot parse "
                        + "\(JSONValue.string(text).serializedText) as \"2006\"")
            }
        case .bytes:
            if let offset = Base64.firstFault(in: text) {
                throw TypeError(text: "illegal base64 data at input byte \(offset)")
            }
        default: break
        }
    }

    private func readQuantity(_ value: JSONValue) throws(TypeError) -> JSONValue {
        switch value {
        case .string(let text) where Quantity.isValid(text): return value
        case .integer(let number): return .string(String(number))
        case .number(let text): return .string(text)
        default:
            throw TypeError(
                text: "quantities must match the regular expression "
                    + "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
        }
    }

    // MARK: - Words

    private mutating func noteUnknown(_ name: String) {
        guard unknownFields.count < Self.unknownLimit else { return }
        var text = ""
        for part in path + [.name(name)] {
            switch part {
            case .name(let name): text += text.isEmpty ? name : "." + name
            case .index(let index): text += "[\(index)]"
            }
        }
        unknownFields.append(text)
    }

    private func mismatch(_ value: JSONValue, _ type: String, _ owner: Schema?) -> TypeError {
        var kind = value.kindName
        if type.hasPrefix("int") || type.hasPrefix("float"), case .number(let text) = value {
            kind = "number \(text)"
        } else if type == "int32", case .integer(let number) = value {
            kind = "number \(number)"
        }
        let names = path.compactMap { part -> String? in
            if case .name(let name) = part { name } else { nil }
        }
        let owner = owner.map(Self.shortName) ?? ""
        guard !owner.isEmpty, !names.isEmpty else {
            return TypeError(text: "json: cannot unmarshal \(kind) into Go value of type \(type)")
        }
        return TypeError(
            text: "json: cannot unmarshal \(kind) into Go struct field "
                + "\(owner).\(names.joined(separator: ".")) of type \(type)")
    }

    private static func shortName(_ schema: Schema) -> String {
        schema.name.split(separator: ".").last.map(String.init) ?? ""
    }

    private static func goName(_ schema: Schema) -> String {
        switch schema.form {
        case .object:
            let parts = schema.name.split(separator: ".")
            return parts.count >= 2 ? parts.suffix(2).joined(separator: ".") : "struct"
        case .map: return "map[string]\(schema.element.map(goName) ?? "interface {}")"
        case .list: return "[]\(schema.element.map(goName) ?? "interface {}")"
        case .boolean: return "bool"
        case .double: return "float64"
        case .intOrString: return "intstr.IntOrString"
        case .quantity: return "resource.Quantity"
        case .bytes: return "[]uint8"
        case .any: return "interface {}"
        default: return schema.form.rawValue
        }
    }
}

public import JSON

/// One fault of one field, in the words of apimachinery's `field.Error`.
public struct FieldError: Hashable, Sendable, CustomStringConvertible {
    /// The kinds of faults; the raw value is the `reason` of a Status cause.
    public enum Reason: String, Hashable, Sendable {
        case required = "FieldValueRequired"
        case invalid = "FieldValueInvalid"
        case notSupported = "FieldValueNotSupported"
        case forbidden = "FieldValueForbidden"
        case duplicate = "FieldValueDuplicate"
        case notFound = "FieldValueNotFound"
        case tooLong = "FieldValueTooLong"
        case tooMany = "FieldValueTooMany"
        case typeInvalid = "FieldValueTypeInvalid"
        case internalError = "InternalError"
    }

    /// What kind of fault.
    public let reason: Reason
    /// The field's path, such as `spec.ports[0].nodePort`.
    public let field: String
    /// The text after the path, such as `Required value`.
    public let body: String

    /// Makes an error from its parts.
    public init(_ reason: Reason, _ field: String, body: String) {
        self.reason = reason
        self.field = field
        self.body = body
    }

    /// `spec.ports: Required value`
    public var description: String { "\(field): \(body)" }

    /// A field that must be there.
    public static func required(_ field: String, _ detail: String = "") -> FieldError {
        FieldError(.required, field, body: "Required value" + (detail.isEmpty ? "" : ": " + detail))
    }

    /// A field whose value cannot be.
    public static func invalid(
        _ field: String, _ value: JSONValue, _ detail: String
    ) -> FieldError {
        FieldError(.invalid, field, body: "Invalid value: \(format(value)): \(detail)")
    }

    /// A field that must not be there.
    public static func forbidden(_ field: String, _ detail: String) -> FieldError {
        FieldError(.forbidden, field, body: "Forbidden: \(detail)")
    }

    /// A value outside a closed list; the list is named in alphabetical order.
    public static func notSupported(
        _ field: String, _ value: JSONValue, _ supported: [String]
    ) -> FieldError {
        let list = supported.sorted().map { format(.string($0)) }.joined(separator: ", ")
        return FieldError(
            .notSupported, field,
            body: "Unsupported value: \(format(value)): supported values: \(list)")
    }

    /// A value that must be unique and is not.
    public static func duplicate(_ field: String, _ value: JSONValue) -> FieldError {
        FieldError(.duplicate, field, body: "Duplicate value: \(format(value))")
    }

    /// A field that names something that is not there.
    public static func notFound(_ field: String, _ value: JSONValue) -> FieldError {
        FieldError(.notFound, field, body: "Not found: \(format(value))")
    }

    /// A list that is too long.
    public static func tooMany(_ field: String, count: Int, limit: Int) -> FieldError {
        FieldError(
            .tooMany, field,
            body: "Too many: \(count): must have at most \(limit) item\(limit == 1 ? "" : "s")")
    }

    /// A text that is too long.
    public static func tooLong(_ field: String, limitBytes: Int) -> FieldError {
        FieldError(
            .tooLong, field, body: "Too long: may not be more than \(limitBytes) bytes")
    }

    /// Values are printed as Go's `%q` for strings and as JSON for the rest.
    private static func format(_ value: JSONValue) -> String { value.serializedText }
}

extension StatusError {
    /// 422 for an object whose fields are at fault.
    /// - Parameters:
    ///   - kind: with the group, as in `Deployment.apps`.
    public static func invalid(
        _ resource: Resource, name: String, _ errors: [FieldError]
    ) -> StatusError {
        let kind = resource.group.isEmpty ? resource.kind : "\(resource.kind).\(resource.group)"
        let texts = errors.map(\.description)
        let text = texts.count == 1 ? texts[0] : "[" + texts.joined(separator: ", ") + "]"
        var details: JSONValue = ["name": .string(name)]
        if !resource.group.isEmpty { details["group"] = .string(resource.group) }
        details["kind"] = .string(resource.kind)
        details["causes"] = .array(
            errors.map {
                [
                    "reason": .string($0.reason.rawValue), "message": .string($0.body),
                    "field": .string($0.field),
                ]
            })
        return StatusError(
            code: 422, reason: "Invalid", message: "\(kind) \"\(name)\" is invalid: \(text)",
            details: details)
    }
}

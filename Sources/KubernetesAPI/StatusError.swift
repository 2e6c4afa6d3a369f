public import JSON

/// An API failure, as `metav1.Status` carries it: the server answers with it, clients throw it.
public struct StatusError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The HTTP status code.
    public var code: Int
    /// The machine-readable reason, such as `NotFound`, `AlreadyExists`, `Conflict`, `Invalid`.
    public var reason: String
    /// The sentence for people.
    public var message: String
    /// `details`: name, group, kind, causes, retryAfterSeconds; nil where there are none.
    public var details: JSONValue?

    /// Makes an error.
    public init(code: Int, reason: String, message: String, details: JSONValue? = nil) {
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
    }

    /// Reads a `Status` object; nil where the value is none.
    public init?(json: JSONValue) {
        guard json["kind"]?.string == "Status", let code = json["code"]?.int else { return nil }
        self.init(
            code: code, reason: json["reason"]?.string ?? "",
            message: json["message"]?.string ?? "", details: json["details"])
    }

    /// The `Status` object of the wire.
    public var json: JSONValue {
        var value: JSONValue = [
            "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Failure",
            "message": .string(message), "reason": .string(reason),
        ]
        value["details"] = details
        value["code"] = .integer(Int64(code))
        return value
    }

    /// The message.
    public var description: String { message }
}

// MARK: - The usual failures, in apimachinery's words

extension StatusError {
    /// True for 404.
    public var isNotFound: Bool { code == 404 }
    /// True for 409 with reason `Conflict` (a stale resourceVersion).
    public var isConflict: Bool { reason == "Conflict" }
    /// True for 409 with reason `AlreadyExists`.
    public var isAlreadyExists: Bool { reason == "AlreadyExists" }
    /// True for 410: the resourceVersion asked for is compacted away.
    public var isGone: Bool { code == 410 }

    /// 404 for an object.
    public static func notFound(_ resource: Resource, name: String) -> StatusError {
        StatusError(
            code: 404, reason: "NotFound",
            message: "\(resource.qualifiedName) \"\(name)\" not found",
            details: details(resource, name: name))
    }

    /// 409 for a name that is taken.
    public static func alreadyExists(_ resource: Resource, name: String) -> StatusError {
        StatusError(
            code: 409, reason: "AlreadyExists",
            message: "\(resource.qualifiedName) \"\(name)\" already exists",
            details: details(resource, name: name))
    }

    /// 409 for a write that read an older state.
    public static func conflict(
        _ resource: Resource, name: String,
        because text: String = "the object has been modified; please apply your changes to the "
            + "latest version and try again"
    ) -> StatusError {
        StatusError(
            code: 409, reason: "Conflict",
            message:
                "Operation cannot be fulfilled on \(resource.qualifiedName) \"\(name)\": \(text)",
            details: details(resource, name: name))
    }

    /// 400 for a request that cannot be read.
    public static func badRequest(_ message: String) -> StatusError {
        StatusError(code: 400, reason: "BadRequest", message: message)
    }

    /// 403 for a request that may not be made.
    public static func forbidden(_ message: String) -> StatusError {
        StatusError(code: 403, reason: "Forbidden", message: message)
    }

    /// 410 for a resourceVersion whose events are gone.
    public static func expired(_ message: String) -> StatusError {
        StatusError(code: 410, reason: "Expired", message: message)
    }

    /// 500 for a fault of the server's own.
    public static func internalError(_ message: String) -> StatusError {
        StatusError(
            code: 500, reason: "InternalError", message: "Internal error occurred: \(message)")
    }

    private static func details(_ resource: Resource, name: String) -> JSONValue {
        var value: JSONValue = ["name": .string(name)]
        if !resource.group.isEmpty { value["group"] = .string(resource.group) }
        value["kind"] = .string(resource.plural)
        return value
    }
}

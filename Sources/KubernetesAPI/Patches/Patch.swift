public import JSON

/// The kinds of PATCH bodies; the raw value is the content type.
public enum PatchType: String, Hashable, Sendable, CaseIterable {
    case json = "application/json-patch+json"
    case merge = "application/merge-patch+json"
    case strategicMerge = "application/strategic-merge-patch+json"
    case apply = "application/apply-patch+yaml"
}

/// Applies patches to objects. Pure; the result is still to be decoded, defaulted and validated.
public enum Patch {
    /// Applies a patch of one of the three kinds that need nothing but the object. (Server-side
    /// apply has `ServerSideApply`.)
    /// - Throws: 400 for an unreadable patch, 415 for a strategic merge patch of a custom resource,
    ///   422 where a JSON patch does not fit the object.
    public static func apply(
        _ type: PatchType, _ patch: JSONValue, to object: JSONValue, kind: Kind
    ) throws(StatusError) -> JSONValue {
        switch type {
        case .json: return try jsonPatch(patch, to: object)
        case .merge: return mergePatch(patch, to: object)
        case .strategicMerge:
            guard !kind.isCustom else { throw unsupported(type) }
            return try strategicMergePatch(patch, to: object, schema: kind.schema)
        case .apply: throw unsupported(type)
        }
    }

    /// 415 for a kind of patch that a resource does not take.
    public static func unsupported(_ type: PatchType) -> StatusError {
        StatusError(
            code: 415, reason: "UnsupportedMediaType",
            message: "the body of the request was in an unknown format - accepted media types "
                + "include: application/json-patch+json, application/merge-patch+json, "
                + "application/apply-patch+yaml")
    }

    /// JSON merge patch (RFC 7396): objects merge, null removes, anything else replaces.
    public static func mergePatch(_ patch: JSONValue, to object: JSONValue) -> JSONValue {
        guard case .object(let changes) = patch else { return patch }
        var members = object.object ?? [:]
        for (key, change) in changes {
            if change.isNull {
                members[key] = nil
            } else if case .object = change {
                members[key] = mergePatch(change, to: members[key] ?? [:])
            } else {
                members[key] = change
            }
        }
        return .object(members)
    }
}

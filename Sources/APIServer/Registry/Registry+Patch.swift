import Informer
import JSON
import KubernetesAPI
import NIOCore
import Store

extension Registry {
    /// A patch of one of the four types.
    enum Patch: Sendable {
        case json(JSONValue)
        case merge(JSONValue)
        case strategicMerge(JSONValue)
        case apply(SentObject)

        init(type: PatchType, _ value: JSONValue) {
            self =
                switch type {
                case .json: .json(value)
                case .merge: .merge(value)
                case .strategicMerge: .strategicMerge(value)
                case .apply: .apply(SentObject(json: value))
                }
        }

        /// - Throws: 415 for a type that is no patch, 400 for a body that cannot be read.
        init(contentType: String, _ request: APIRequest) throws {
            if contentType == PatchType.apply.rawValue {
                self = .apply(SentObject(json: try YAMLText.parse(request.bodyBytes)))
                return
            }
            guard let type = PatchType(rawValue: contentType) else {
                throw RequestBody.unsupported(
                    contentType,
                    [
                        "application/json-patch+json", "application/merge-patch+json",
                        "application/apply-patch+yaml",
                        "application/strategic-merge-patch+json",
                    ])
            }
            self.init(type: type, try RequestBody.json(request).json)
        }
    }

    /// Changes an object by a patch. Apply creates the object where there is none.
    func patch(
        _ kind: Kind, namespace: String?, name: String, subresource: String = "", _ patch: Patch,
        options: WriteOptions
    ) async throws -> WriteResult {
        if case .apply(let sent) = patch {
            return try await apply(
                kind, namespace: namespace, name: name, subresource: subresource, sent,
                options: options)
        }
        let key = key(kind, namespace: namespace, name: name)
        let base = try get(kind, namespace: namespace, name: name)
        // The first run finds the warnings; the change below is run again inside the transaction
        // only where somebody else wrote in between.
        let preview = try Self.patched(try base.decoded(), patch, kind)
        let (_, warnings) = try decode(SentObject(json: preview), kind, options: options)
        let lenient = Self.lenient(options)
        return try await change(
            kind, key, subresource: subresource, options: options, warnings: warnings
        ) { [self] current in
            try decode(
                SentObject(json: try Self.patched(current, patch, kind)), kind, options: lenient
            ).object
        }
    }

    static func lenient(_ options: WriteOptions) -> WriteOptions {
        var options = options
        options.fieldValidation = .ignore
        return options
    }

    private static func patched(
        _ current: JSONValue, _ patch: Patch, _ kind: Kind
    ) throws -> JSONValue {
        switch patch {
        case .json(let operations): return try Patches.jsonPatch(operations, to: current)
        case .merge(let value): return Patches.mergePatch(value, to: current)
        case .strategicMerge(let value):
            guard !kind.isCustom else {
                throw RequestBody.unsupported(
                    PatchType.strategicMerge.rawValue,
                    ["application/json-patch+json", "application/merge-patch+json"])
            }
            return try Patches.strategicMergePatch(value, to: current, schema: kind.schema)
        case .apply: return current
        }
    }
}

import Informer
import JSON
import KubernetesAPI
import NIOCore
import Store

/// The body of a PATCH with its type.
struct PatchBody: Sendable {
    var type: KubernetesAPI.PatchType
    var body: SentObject

    init(type: KubernetesAPI.PatchType, _ value: JSONValue) {
        self.type = type
        body = SentObject(json: value)
    }

    /// - Throws: 415 for a type that is no patch, 400 for a body that cannot be read.
    init(_ request: APIRequest) throws {
        let contentType = RequestBody.contentType(request)
        guard let type = KubernetesAPI.PatchType(rawValue: contentType) else {
            throw RequestBody.unsupported(
                contentType, KubernetesAPI.PatchType.allCases.map(\.rawValue))
        }
        self.type = type
        body =
            type == .apply
            ? SentObject(json: try YAMLText.parse(request.bodyBytes))
            : try RequestBody.json(request)
    }
}

extension Registry {
    /// Changes an object by a patch. Apply creates the object where there is none.
    func patch(
        _ kind: Kind, namespace: String?, name: String, subresource: String = "",
        _ patch: PatchBody, options: WriteOptions
    ) async throws -> WriteResult {
        if patch.type == .apply {
            return try await apply(
                kind, namespace: namespace, name: name, subresource: subresource, patch.body,
                options: options)
        }
        let key = key(kind, namespace: namespace, name: name)
        let base = try get(kind, namespace: namespace, name: name)
        let patched: @Sendable (JSONValue) throws -> JSONValue = { current in
            try Patch.apply(patch.type, patch.body.json, to: current, kind: kind)
        }
        // The first run finds the warnings; the change below is run again inside the transaction
        // only where somebody else wrote in between.
        let (_, warnings) = try decode(
            SentObject(
                json: try patched(try json(base, as: kind)),
                duplicateFields: patch.body.duplicateFields),
            kind, options: options)
        let lenient = Self.lenient(options)
        return try await change(
            kind, key, subresource: subresource, options: options, warnings: warnings
        ) { [self] current in
            try decode(SentObject(json: try patched(current)), kind, options: lenient).object
        }
    }

    static func lenient(_ options: WriteOptions) -> WriteOptions {
        var options = options
        options.fieldValidation = .ignore
        return options
    }
}

import Informer
import JSON
import KubernetesAPI
import Store

extension Registry {
    /// Server-side apply (KEP-555): creates what is not there, otherwise merges what the manager
    /// states and takes away what it stated before and does no longer.
    func apply(
        _ kind: Kind, namespace: String?, name: String, subresource: String, _ sent: SentObject,
        options: WriteOptions
    ) async throws -> WriteResult {
        guard !options.fieldManager.isEmpty else {
            throw StatusError(
                code: 422, reason: "Invalid",
                message: "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: "
                    + "is required for apply patch")
        }
        let (decoded, warnings) = try decode(sent, kind, options: options)
        let configuration = try withName(
            try withNamespace(decoded, kind, namespace), kind, name)
        let now = Timestamp.now
        let merged: @Sendable (JSONValue?) throws -> JSONValue = { live in
            try ServerSideApply.apply(
                configuration, to: live, kind: kind, manager: options.fieldManager,
                force: options.isForced, subresource: subresource, now: now)
        }
        let key = key(kind, namespace: namespace, name: name)
        if store.get(key) == nil {
            guard subresource.isEmpty else {
                throw StatusError.notFound(kind.resource, name: name)
            }
            do {
                return try await create(
                    kind, decoded: try merged(nil), options: options, warnings: warnings,
                    isApplied: true)
            } catch let error as StatusError where error.isAlreadyExists {
                // Somebody else was first: what is there now is merged with.
            }
        }
        return try await change(
            kind, key, subresource: subresource, options: options, warnings: warnings,
            isApplied: true
        ) { try merged($0) }
    }

    /// - Throws: 400 where the configuration names another object than the path.
    private func withName(_ object: JSONValue, _ kind: Kind, _ name: String) throws -> JSONValue {
        var object = object
        let stated = object["metadata", "name"]?.string ?? ""
        guard stated.isEmpty || stated == name else {
            throw StatusError.badRequest(
                "the name of the object (\(stated)) does not match the name on the URL (\(name))")
        }
        object["metadata", "name"] = .string(name)
        return object
    }
}

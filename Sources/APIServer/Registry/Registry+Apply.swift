import JSON
import KubernetesAPI
import Store

extension Registry {
    /// Server-side apply: creates what is not there, otherwise merges what the manager states.
    func apply(
        _ kind: Kind, namespace: String?, name: String, subresource: String, _ sent: SentObject,
        options: WriteOptions
    ) async throws -> WriteResult {
        let key = key(kind, namespace: namespace, name: name)
        var stated = sent.json
        if stated["metadata"] == nil { stated["metadata"] = [:] }
        stated["metadata", "name"] = .string(name)
        guard store.get(key) != nil else {
            return try await create(
                kind, namespace: namespace, SentObject(json: stated), options: options)
        }
        return try await patch(
            kind, namespace: namespace, name: name, subresource: subresource,
            PatchBody(type: .strategicMerge, stated), options: options)
    }
}

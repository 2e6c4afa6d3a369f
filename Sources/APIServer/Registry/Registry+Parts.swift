import JSON
import KubernetesAPI
import Store

extension Registry {
    /// Takes finalizers out of a namespace's spec; the last one out removes it.
    func finalize(
        namespace name: String, _ sent: JSONValue, options: WriteOptions
    ) async throws -> WriteResult {
        guard let kind = kinds[.namespaces] else { throw StatusError.pathNotFound }
        let finalizers = sent["spec", "finalizers"]
        let version = sent["metadata", "resourceVersion"]?.string ?? ""
        return try await change(
            kind, key(kind, namespace: nil, name: name), subresource: "finalize", options: options
        ) { current in
            var new = current
            new["spec", "finalizers"] = finalizers
            if !version.isEmpty { new["metadata", "resourceVersion"] = .string(version) }
            return new
        }
    }

    /// Puts a pod on a node: what a scheduler decides (`v1` Binding).
    func bind(
        pod name: String, namespace: String, _ binding: JSONValue, options: WriteOptions
    ) async throws -> WriteResult {
        guard let kind = kinds[.pods] else { throw StatusError.pathNotFound }
        guard let node = binding["target", "name"]?.string, !node.isEmpty else {
            throw StatusError.badRequest("Binding \"\(name)\": target.name: Required value")
        }
        let annotations = binding["metadata", "annotations"]?.stringMap ?? [:]
        return try await change(
            kind, key(kind, namespace: namespace, name: name), subresource: "binding",
            options: options
        ) { current in
            if let held = current["spec", "nodeName"]?.string, !held.isEmpty {
                throw StatusError.conflict(
                    .pods, name: name,
                    because: "pod \(name) is already assigned to node \"\(held)\"")
            }
            if current["metadata", "deletionTimestamp"] != nil {
                throw StatusError.conflict(
                    .pods, name: name,
                    because: "pod \(name) is being deleted, cannot be assigned to a host")
            }
            var new = current
            new["spec", "nodeName"] = .string(node)
            for (key, value) in annotations {
                new["metadata", "annotations", key] = .string(value)
            }
            new["status", "conditions"] = Self.scheduled(current["status", "conditions"])
            return new
        }
    }

    private static func scheduled(_ conditions: JSONValue?) -> JSONValue {
        let others = (conditions?.array ?? []).filter { $0["type"]?.string != "PodScheduled" }
        return .array(
            others + [
                [
                    "type": "PodScheduled", "status": "True", "lastProbeTime": .null,
                    "lastTransitionTime": .string(WallClock.now()),
                ]
            ])
    }
}

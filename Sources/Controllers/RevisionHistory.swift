import JSON
import KubernetesAPI

/// The ControllerRevisions of a DaemonSet: the templates that `kubectl rollout undo` can go back to.
/// A pure function of the set and the revisions that it has.
struct RevisionHistory {
    /// To be created; nil where the template has its revision already.
    var create: JSONValue?
    /// A revision that is the newest one again, with its new number: an older template is back.
    var renumber: (name: String, revision: Int64)?
    /// The names of revisions beyond `revisionHistoryLimit`, oldest first.
    var deletes: [String] = []

    /// - Parameters:
    ///   - hash: that of the set's template, in the names of revisions and on pods.
    ///   - living: the hashes of the pods there are: their revisions stay.
    init(_ set: Object, hash: String, revisions: [Object], living: Set<String>) {
        let sorted = revisions.sorted { Self.number($0) < Self.number($1) }
        let highest = sorted.last.map(Self.number) ?? 0
        let name = "\(set.metadata.name)-\(hash)"
        if let present = sorted.first(where: { $0.metadata.name == name }) {
            if Self.number(present) < highest { renumber = (name, highest + 1) }
        } else {
            create = Self.revision(set, name: name, hash: hash, number: highest + 1)
        }
        let limit = set["spec"]?["revisionHistoryLimit"]?.int ?? 10
        let old = sorted.filter {
            let own = $0.metadata.labels[DaemonSetPlan.hashLabel] ?? ""
            return $0.metadata.name != name && !living.contains(own)
        }
        deletes = old.prefix(max(0, old.count - limit)).map(\.metadata.name)
    }

    private static func number(_ revision: Object) -> Int64 { revision["revision"]?.integer ?? 0 }

    private static func revision(
        _ set: Object, name: String, hash: String, number: Int64
    ) -> JSONValue {
        // kubectl sends `data` as a strategic merge patch: the template is replaced as a whole.
        var template = set["spec"]?["template"] ?? [:]
        template["$patch"] = "replace"
        var labels = set["spec"]?["template"]?["metadata"]?["labels"] ?? [:]
        labels[DaemonSetPlan.hashLabel] = .string(hash)
        var metadata: JSONValue = [
            "name": .string(name), "namespace": .string(set.metadata.namespace), "labels": labels,
            "ownerReferences": [OwnerReference.controller(.daemonSets, set.metadata).json],
        ]
        let cause = "kubernetes.io/change-cause"
        if let text = set.metadata.annotations[cause] {
            metadata["annotations"] = [cause: .string(text)]
        }
        return [
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata,
            "data": ["spec": ["template": template]], "revision": .integer(number),
        ]
    }
}

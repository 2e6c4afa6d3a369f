import Glibc
import JSON
import KubernetesAPI
import Store

/// What a deletion did.
enum DeleteOutcome: Sendable {
    /// Gone; the last state.
    case removed(StoredObject)
    /// Marked: finalizers or a grace period are still to run.
    case marked(StoredObject)
}

extension Registry {
    private static let lastingNamespaces: Set<String> = ["default", "kube-system", "kube-public"]

    /// Deletes an object, or marks it where something must happen first.
    func delete(
        _ kind: Kind, namespace: String?, name: String, options: DeleteOptions
    ) async throws -> DeleteOutcome {
        if kind.resource == .namespaces, Self.lastingNamespaces.contains(name) {
            throw StatusError.forbidden(
                "namespaces \"\(name)\" is forbidden: this namespace may not be deleted")
        }
        let key = key(kind, namespace: namespace, name: name)
        let outcome = try await commit(isDryRun: options.isDryRun) { [self] transaction in
            guard let stored = transaction.get(key) else {
                throw StatusError.notFound(kind.resource, name: name)
            }
            return try delete(kind, stored, options: options, in: &transaction)
        }
        if case .removed(let object) = outcome, !options.isDryRun {
            try kindsChanged(by: kind, object, isRemoved: true)
        }
        return outcome
    }

    func delete(
        _ kind: Kind, _ stored: StoredObject, options: DeleteOptions,
        in transaction: inout StoreTransaction
    ) throws -> DeleteOutcome {
        let key = stored.key
        let old = try stored.decoded()
        try checkPreconditions(kind, stored, old, options)
        var new = old
        applyPropagation(options.propagationPolicy, to: &new)
        try releaseRange(kind, &new, in: transaction)
        let grace = Self.gracePeriodSeconds(kind, old, options: options)
        let holds =
            grace > 0 || !(new["metadata", "finalizers"]?.array ?? []).isEmpty
            || kind.resource == .namespaces && !(new["spec", "finalizers"]?.array ?? []).isEmpty
        guard holds else {
            return .removed(
                try remove(
                    kind, key, object: old, in: &transaction, isDryRun: options.isDryRun))
        }
        mark(kind, &new, old: old, graceSeconds: grace)
        settle(kind, &new)
        if new == old { return .marked(stored) }
        if kind.storedResource == .serviceCIDRs { allocations.rangesChanged() }
        return .marked(try transaction.update(key, new))
    }

    private func checkPreconditions(
        _ kind: Kind, _ stored: StoredObject, _ old: JSONValue, _ options: DeleteOptions
    ) throws {
        if let uid = options.uid, uid != old["metadata", "uid"]?.string {
            throw StatusError.conflict(
                kind.resource, name: stored.key.name,
                because: "Precondition failed: UID in precondition: \(uid), UID in object meta: "
                    + (old["metadata", "uid"]?.string ?? ""))
        }
        if let version = options.resourceVersion, version != String(stored.revision) {
            throw StatusError.conflict(
                kind.resource, name: stored.key.name,
                because: "Precondition failed: ResourceVersion in precondition: \(version), "
                    + "ResourceVersion in object meta: \(stored.revision)")
        }
    }

    /// Background leaves dependents to the garbage collector; the other policies keep the object
    /// until it has dealt with them.
    private func applyPropagation(_ policy: String?, to object: inout JSONValue) {
        guard let policy else { return }
        var finalizers = (object["metadata", "finalizers"]?.array ?? []).filter {
            $0 != "orphan" && $0 != "foregroundDeletion"
        }
        switch policy {
        case "Orphan": finalizers.append("orphan")
        case "Foreground": finalizers.append("foregroundDeletion")
        default: break
        }
        if finalizers.isEmpty {
            object["metadata", "finalizers"] = nil
        } else {
            object["metadata", "finalizers"] = .array(finalizers)
        }
    }

    private func mark(
        _ kind: Kind, _ object: inout JSONValue, old: JSONValue, graceSeconds: Int64
    ) {
        let isMarked = old["metadata", "deletionTimestamp"] != nil
        let held = old["metadata", "deletionGracePeriodSeconds"]?.integer ?? 0
        if !isMarked || graceSeconds < held {
            object["metadata", "deletionTimestamp"] = .string(
                WallClock.text(seconds: Int64(time(nil)) + graceSeconds))
            object["metadata", "deletionGracePeriodSeconds"] = .integer(graceSeconds)
            if !isMarked, let generation = object["metadata", "generation"]?.integer {
                object["metadata", "generation"] = .integer(generation + 1)
            }
        }
        if kind.resource == .namespaces { object["status", "phase"] = "Terminating" }
    }

    /// Pods on a node are given time to end; whatever else is deleted goes at once. A second
    /// deletion may shorten the time, never lengthen it.
    private static func gracePeriodSeconds(
        _ kind: Kind, _ object: JSONValue, options: DeleteOptions
    ) -> Int64 {
        guard kind.resource == .pods else { return 0 }
        let isOnNode = !(object["spec", "nodeName"]?.string ?? "").isEmpty
        let phase = object["status", "phase"]?.string ?? ""
        guard isOnNode, phase != "Succeeded", phase != "Failed" else { return 0 }
        let asked =
            options.gracePeriodSeconds
            ?? object["spec", "terminationGracePeriodSeconds"]?.integer ?? 30
        guard object["metadata", "deletionTimestamp"] != nil else { return max(asked, 0) }
        let held = object["metadata", "deletionGracePeriodSeconds"]?.integer ?? 0
        return options.gracePeriodSeconds == nil ? held : min(held, max(asked, 0))
    }

    /// Takes an object out of the store and gives back what it had allocated.
    @discardableResult
    func remove(
        _ kind: Kind, _ key: StoreKey, object: JSONValue, in transaction: inout StoreTransaction,
        isDryRun: Bool
    ) throws -> StoredObject {
        let removed = try transaction.delete(key)
        try removeInstances(of: kind, object, in: &transaction)
        try release(kind, key, object, in: &transaction, isDryRun: isDryRun)
        return removed
    }

    /// Deletes what the filter selects; each object by itself, as Kubernetes does.
    func deleteCollection(
        _ kind: Kind, namespace: String?, filter: ObjectFilter, options: DeleteOptions
    ) async throws -> Registry.Page {
        let page = try list(kind, namespace: namespace, filter: filter)
        for object in page.objects {
            do {
                _ = try await delete(
                    kind, namespace: object.key.namespace, name: object.key.name, options: options)
            } catch let error as StatusError where error.isNotFound {
                continue
            }
        }
        return page
    }
}

import Informer
import JSON
import KubernetesAPI
import Store

extension Registry {
    /// Makes the new state of an object from the newest one. Called outside the transaction first,
    /// and again within it where another write came in between; so it must be pure.
    typealias Change = @Sendable (_ current: JSONValue) throws -> JSONValue

    /// Replaces an object, or its status.
    func update(
        _ kind: Kind, namespace: String?, name: String, subresource: String = "",
        _ sent: SentObject, options: WriteOptions
    ) async throws -> WriteResult {
        let (decoded, warnings) = try decode(sent, kind, options: options)
        let object = try withNamespace(decoded, kind, namespace)
        let stated = object["metadata", "name"]?.string ?? ""
        guard stated == name else {
            throw StatusError.badRequest(
                "the name of the object (\(stated)) does not match the name on the URL (\(name))")
        }
        let key = key(kind, namespace: namespace, name: name)
        return try await change(
            kind, key, subresource: subresource, options: options, warnings: warnings
        ) { _ in object }
    }

    /// Reads, changes, checks and writes back; a write in between makes it start again inside the
    /// transaction, so that nothing is lost and nobody sees a conflict that is not his.
    func change(
        _ kind: Kind, _ key: StoreKey, subresource: String, options: WriteOptions,
        warnings: [String] = [], isApplied: Bool = false, _ change: @escaping Change
    ) async throws -> WriteResult {
        guard let base = store.get(key) else {
            throw StatusError.notFound(kind.resource, name: key.name)
        }
        let step = Step(
            subresource: subresource, manager: isApplied ? "" : options.fieldManager,
            user: options.user, now: .now)
        let candidate = try next(kind, from: base, step, change)
        let stored = try await commit(isDryRun: options.isDryRun) { [self] transaction in
            guard let newest = transaction.get(key) else {
                throw StatusError.notFound(kind.resource, name: key.name)
            }
            let outcome =
                newest.revision == base.revision
                ? candidate : try next(kind, from: newest, step, change)
            return try store(
                outcome, kind, key, newest: newest, in: &transaction, isDryRun: options.isDryRun)
        }
        if !options.isDryRun, !candidate.isUnchanged {
            try kindsChanged(by: kind, stored, isRemoved: candidate.isRemoval)
        }
        return WriteResult(object: stored, warnings: warnings + kind.warnings(candidate.new))
    }

    /// What a change of one object needs to know beside the object.
    private struct Step: Sendable {
        var subresource: String
        /// Who is noted in managedFields; empty where nobody is.
        var manager: String
        var user: UserInfo
        var now: Timestamp
    }

    /// A new state that is ready to be stored.
    private struct NextState: Sendable {
        var old: JSONValue
        var new: JSONValue
        var isUnchanged: Bool
        /// The last finalizer of a deleted object is gone.
        var isRemoval: Bool
    }

    private func next(
        _ kind: Kind, from base: StoredObject, _ step: Step, _ change: Change
    ) throws -> NextState {
        let subresource = step.subresource
        let old = try json(base, as: kind)
        var new = try change(old)
        try checkPreconditions(kind, base: base, old: old, new: new)
        new = Self.withoutEmptyMetadata(Self.keepingFixedMetadata(of: old, in: new))
        new = kind.defaulted(new)
        switch subresource {
        case "":
            kind.prepareForUpdate(old: old, new: &new)
            if kind.resource == .pods {
                new["spec", "ephemeralContainers"] = old["spec", "ephemeralContainers"]
            }
            if kind.resource == .services { ServiceRules.prepareForUpdate(old: old, new: &new) }
            establish(kind, &new)
            settle(kind, &new)
        case EphemeralContainers.subresource:
            new = try EphemeralContainers.added(by: new, to: old, name: base.key.name)
        case "status": kind.prepareForStatusUpdate(old: old, new: &new)
        default: break  // binding and finalize have made the change that is theirs to make
        }
        let isChecked = ["", "status", EphemeralContainers.subresource].contains(subresource)
        let errors = isChecked ? kind.validateUpdate(old: old, new: new) : []
        guard errors.isEmpty else {
            throw StatusError.invalid(kind.resource, name: base.key.name, errors)
        }
        try admit(kind, old: old, new: new, subresource: subresource, user: step.user)
        let isUnchanged = Self.isSame(old, new)
        if !isUnchanged, !step.manager.isEmpty {
            ManagedFields.track(
                old: old, new: &new, kind: kind, manager: step.manager, subresource: subresource,
                now: step.now)
        }
        return NextState(
            old: old, new: new, isUnchanged: isUnchanged, isRemoval: Self.isRemoval(new))
    }

    private func store(
        _ next: NextState, _ kind: Kind, _ key: StoreKey, newest: StoredObject,
        in transaction: inout StoreTransaction, isDryRun: Bool
    ) throws -> StoredObject {
        if next.isRemoval {
            try remove(kind, key, object: next.new, in: &transaction, isDryRun: isDryRun)
            return newest
        }
        guard !next.isUnchanged else { return newest }
        let written = try put(
            kind, key, next.new, replacing: next.old, in: &transaction, isDryRun: isDryRun)
        // A dry run shows the object's own revision: kubectl diff would name the other as a change.
        return isDryRun ? try written.stamped(with: newest.revision) : written
    }

    private func checkPreconditions(
        _ kind: Kind, base: StoredObject, old: JSONValue, new: JSONValue
    ) throws {
        if let version = new["metadata", "resourceVersion"]?.string, !version.isEmpty,
            version != "0", version != String(base.revision)
        {
            throw StatusError.conflict(kind.resource, name: base.key.name)
        }
        if let uid = new["metadata", "uid"]?.string, !uid.isEmpty,
            let held = old["metadata", "uid"]?.string, uid != held
        {
            throw StatusError.conflict(
                kind.resource, name: base.key.name,
                because: "Precondition failed: UID in precondition: \(uid), UID in object meta: "
                    + held)
        }
    }

    /// What a client cannot change, whatever it sends.
    private static func keepingFixedMetadata(of old: JSONValue, in new: JSONValue) -> JSONValue {
        var new = new
        if new["metadata"] == nil { new["metadata"] = [:] }
        for field in [
            "uid", "name", "namespace", "creationTimestamp", "deletionTimestamp",
            "deletionGracePeriodSeconds", "generation", "resourceVersion", "selfLink",
        ] {
            new["metadata", field] = old["metadata", field]
        }
        return new
    }

    /// Leaves out what Kubernetes leaves out when it is empty (`omitempty` of ObjectMeta), so that
    /// a patch that empties a map shows no difference to a map that never was.
    static func withoutEmptyMetadata(_ object: JSONValue) -> JSONValue {
        var object = object
        for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
            let isEmpty =
                switch object["metadata", field] {
                case .object(let members)?: members.isEmpty
                case .array(let elements)?: elements.isEmpty
                case .null?: true
                default: false
                }
            if isEmpty { object["metadata", field] = .none }
        }
        return object
    }

    /// True where nothing differs but what every write touches.
    private static func isSame(_ old: JSONValue, _ new: JSONValue) -> Bool {
        func comparable(_ value: JSONValue) -> JSONValue {
            var value = value
            if let entries = value["metadata", "managedFields"]?.array {
                value["metadata", "managedFields"] = .array(
                    entries.map { entry in
                        var entry = entry
                        entry["time"] = nil
                        return entry
                    })
            }
            return value
        }
        return old == new || comparable(old) == comparable(new)
    }

    private static func isRemoval(_ object: JSONValue) -> Bool {
        object["metadata", "deletionTimestamp"] != nil
            && (object["metadata", "finalizers"]?.array ?? []).isEmpty
            && (object["metadata", "deletionGracePeriodSeconds"]?.integer ?? 0) == 0
            && (object["kind"]?.string != "Namespace"
                || (object["spec", "finalizers"]?.array ?? []).isEmpty)
    }
}

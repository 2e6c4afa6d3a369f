import JSON
import KubernetesAPI

/// An object stripped to what ownership is decided by.
struct OwnedObject: KubernetesObject, Hashable {
    var metadata: ObjectMeta
    var owners: [OwnerReference]
    var finalizers: [String]

    init(json: JSONValue) {
        metadata = ObjectMeta(json: json)
        metadata.labels = [:]
        metadata.annotations = [:]
        owners = OwnerReference.list(of: json)
        finalizers = Object(json: json).finalizers
    }

    static let orphanFinalizer = "orphan"
    static let foregroundFinalizer = "foregroundDeletion"

    var isDeleting: Bool { metadata.deletionTimestamp != nil }
    /// Deleted, but kept until its dependents are gone.
    var isWaitingForDependents: Bool {
        isDeleting && finalizers.contains(Self.foregroundFinalizer)
    }
}

/// Who owns whom, by uid: the value behind the garbage collector.
struct OwnershipGraph {
    struct Node {
        var resource: Resource
        var object: OwnedObject
    }

    /// What to do about one object.
    enum Verdict: Equatable {
        case nothing
        /// Remove it, waiting for its own dependents where `isForeground`.
        case delete(isForeground: Bool)
        /// Keep it for these owners alone.
        case keepOwners([OwnerReference])
        /// Take this object out of its dependents' references, then drop the finalizer.
        case orphanDependents
        /// Its last blocking dependent is gone.
        case dropFinalizer
        /// These have to go before it.
        case deleteDependents([String])
        /// These owners are unknown here: the API server has to be asked whether they exist.
        case verify([OwnerReference])
    }

    private(set) var nodes: [String: Node] = [:]
    private var dependents: [String: Set<String>] = [:]
    private var namespaces: [String: Int] = [:]

    /// Takes a change in and returns the uids that have to be looked at.
    mutating func apply(
        _ resource: Resource, old: OwnedObject?, new: OwnedObject?
    ) -> Set<String> {
        var affected: Set<String> = []
        if let old, old.metadata.uid != new?.metadata.uid {
            affected.formUnion(remove(old))
        }
        guard let new else { return affected }
        let uid = new.metadata.uid
        let before = nodes.updateValue(Node(resource: resource, object: new), forKey: uid)
        if before == nil { namespaces[new.metadata.namespace, default: 0] += 1 }
        for owner in before?.object.owners ?? [] where !new.owners.contains(owner) {
            dependents[owner.uid]?.remove(uid)
            affected.insert(owner.uid)
        }
        for owner in new.owners { dependents[owner.uid, default: []].insert(uid) }
        let isSuspect = new.owners.contains { owner in
            nodes[owner.uid].map(\.object.isWaitingForDependents) ?? true
        }
        if isSuspect { affected.insert(uid) }
        if new.isDeleting,
            new.finalizers.contains(OwnedObject.orphanFinalizer)
                || new.finalizers.contains(OwnedObject.foregroundFinalizer)
        {
            affected.insert(uid)
        }
        return affected
    }

    private mutating func remove(_ object: OwnedObject) -> Set<String> {
        let uid = object.metadata.uid
        guard let node = nodes.removeValue(forKey: uid) else { return [] }
        namespaces[object.metadata.namespace, default: 1] -= 1
        var affected = dependents[uid] ?? []
        for owner in node.object.owners {
            dependents[owner.uid]?.remove(uid)
            if dependents[owner.uid]?.isEmpty == true { dependents[owner.uid] = nil }
            if nodes[owner.uid]?.object.isWaitingForDependents == true {
                affected.insert(owner.uid)
            }
        }
        return affected
    }

    /// The number of known objects in a namespace.
    func count(inNamespace namespace: String) -> Int { namespaces[namespace] ?? 0 }

    /// The uids of an object's dependents.
    func dependents(of uid: String) -> [String] { (dependents[uid] ?? []).sorted() }

    /// - Parameters:
    ///   - absent: uids of owners that the API server said do not exist.
    ///   - present: uids of owners that it said do, though this graph does not know them.
    func verdict(_ uid: String, absent: Set<String> = [], present: Set<String> = []) -> Verdict {
        guard let object = nodes[uid]?.object else { return .nothing }
        if object.isDeleting {
            if object.finalizers.contains(OwnedObject.orphanFinalizer) { return .orphanDependents }
            guard object.isWaitingForDependents else { return .nothing }
            let blocking = dependents(of: uid).filter { dependent in
                nodes[dependent]?.object.owners.contains {
                    $0.uid == uid && $0.blocksOwnerDeletion
                } ?? false
            }
            return blocking.isEmpty ? .dropFinalizer : .deleteDependents(blocking)
        }
        if object.owners.isEmpty { return .nothing }
        let unknown = object.owners.filter {
            nodes[$0.uid] == nil && !absent.contains($0.uid) && !present.contains($0.uid)
        }
        if !unknown.isEmpty { return .verify(unknown) }
        let waiting = object.owners.filter {
            nodes[$0.uid]?.object.isWaitingForDependents ?? false
        }
        let solid = object.owners.filter { owner in
            !waiting.contains(owner) && (nodes[owner.uid] != nil || present.contains(owner.uid))
        }
        if !solid.isEmpty {
            return solid.count == object.owners.count ? .nothing : .keepOwners(solid)
        }
        return .delete(isForeground: !waiting.isEmpty && dependents[uid]?.isEmpty == false)
    }
}

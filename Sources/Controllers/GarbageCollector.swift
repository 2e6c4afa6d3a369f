import Informer
import JSON
import KubernetesAPI
import Synchronization

/// Deletes objects whose owners are gone, and carries out foreground and orphan deletion.
final class GarbageCollector: Controller {
    let name = "garbage-collector"
    private let cluster: Cluster
    private let queue: WorkQueue<String>
    private let graph = Mutex(OwnershipGraph())
    private let resourceByKind: Mutex<[String: Resource]>
    let sources: [any AnySource]
    /// The watches of custom resources, by the name of their definition.
    private let custom = Mutex<[String: Task<Void, Never>]>([:])
    private let listeners = Mutex<[@Sendable (String) -> Void]>([])

    /// Kinds that own nothing, are owned by nothing, and come in great numbers.
    private static let ignored: Set<String> = ["Event"]

    init(_ cluster: Cluster, resources: [Resource]) {
        self.cluster = cluster
        queue = WorkQueue("garbage-collector", logger: cluster.logger)
        var byKind: [String: Resource] = [:]
        for resource in resources { byKind[Self.kindKey(resource)] = resource }
        resourceByKind = Mutex(byKind)
        var seen: Set<String> = []
        var sources: [(Resource, Source<OwnedObject>)] = []
        for resource in resources
        where !Self.ignored.contains(resource.kind)
            && seen.insert(resource.qualifiedName).inserted
        {
            sources.append(
                (resource, Source(resource, client: cluster.client, logger: cluster.logger)))
        }
        self.sources = sources.map(\.1)
        for (resource, source) in sources {
            source.onChange { [weak self] change in self?.take(resource, change) }
        }
        cluster.customResources.onChange { [weak self] change in
            self?.definitionChanged(change.key.name, change.new)
        }
    }

    var counters: WorkQueueCounters { queue.counters }

    func run() async {
        await queue.run(workers: 8) { [self] uid in try await process(uid) }
        for task in custom.withLock({ $0.values.map(\.self) }) { task.cancel() }
    }

    /// Calls `listener` with the namespace of every object that goes; to be called before `run`.
    func onRemoval(_ listener: @Sendable @escaping (String) -> Void) {
        listeners.withLock { $0.append(listener) }
    }

    /// Watches the objects of a definition while it is established.
    private func definitionChanged(_ name: String, _ definition: Object?) {
        guard let resource = definition.flatMap(CustomResources.resource) else {
            custom.withLock { $0.removeValue(forKey: name) }?.cancel()
            return
        }
        resourceByKind.withLock { $0[Self.kindKey(resource)] = resource }
        custom.withLock { custom in
            guard custom[name] == nil else { return }
            let source = Source<OwnedObject>(
                resource, client: cluster.client, logger: cluster.logger)
            source.onChange { [weak self] change in self?.take(resource, change) }
            custom[name] = Task { await source.run() }
        }
    }

    private func take(_ resource: Resource, _ change: Source<OwnedObject>.Change) {
        let affected = graph.withLock {
            $0.apply(resource, old: change.old, new: change.new)
        }
        for uid in affected { queue.add(uid) }
        guard change.new == nil, !change.key.namespace.isEmpty else { return }
        for listener in listeners.withLock({ $0 }) { listener(change.key.namespace) }
    }

    // MARK: - Carrying out

    private func process(_ uid: String) async throws {
        var absent: Set<String> = []
        var present: Set<String> = []
        while true {
            let (node, verdict) = graph.withLock {
                ($0.nodes[uid], $0.verdict(uid, absent: absent, present: present))
            }
            guard let node else { return }
            switch verdict {
            case .nothing: return
            case .verify(let owners):
                for owner in owners {
                    if try await exists(owner, near: node.object.metadata.namespace) {
                        present.insert(owner.uid)
                    } else {
                        absent.insert(owner.uid)
                    }
                }
                continue
            case .delete(let isForeground): try await delete(node, isForeground: isForeground)
            case .keepOwners(let owners): try await setOwners(owners, of: node)
            case .orphanDependents: try await orphanDependents(of: node)
            case .dropFinalizer:
                try await drop(OwnedObject.foregroundFinalizer, from: node)
            case .deleteDependents(let dependents):
                for dependent in dependents { queue.add(dependent) }
            }
            return
        }
    }

    private static func kindKey(_ resource: Resource) -> String {
        "\(resource.group)/\(resource.kind)"
    }

    /// Asks the API server: a cache may be behind, and a wrong answer would delete user data.
    private func exists(_ owner: OwnerReference, near namespace: String) async throws -> Bool {
        let parts = owner.apiVersion.split(separator: "/")
        let group = parts.count == 2 ? String(parts[0]) : ""
        guard let resource = resourceByKind.withLock({ $0["\(group)/\(owner.kind)"] }) else {
            // A kind that is not served cannot be judged; its dependents stay.
            return true
        }
        do {
            let found = try await cluster.client.get(
                resource, namespace: resource.isNamespaced ? namespace : nil, name: owner.name)
            return found["metadata", "uid"]?.string == owner.uid
        } catch let error as StatusError where error.isNotFound {
            return false
        }
    }

    private func namespace(_ node: OwnershipGraph.Node) -> String? {
        node.resource.isNamespaced ? node.object.metadata.namespace : nil
    }

    private func delete(_ node: OwnershipGraph.Node, isForeground: Bool) async throws {
        let policy =
            isForeground || node.object.finalizers.contains(OwnedObject.foregroundFinalizer)
            ? "Foreground"
            : node.object.finalizers.contains(OwnedObject.orphanFinalizer)
                ? "Orphan" : "Background"
        do {
            try await cluster.client.delete(
                node.resource, namespace: namespace(node), name: node.object.metadata.name,
                options: [
                    "apiVersion": "v1", "kind": "DeleteOptions",
                    "propagationPolicy": .string(policy),
                    "preconditions": ["uid": .string(node.object.metadata.uid)],
                ])
        } catch let error as StatusError where error.isNotFound || error.isConflict {
            return
        }
    }

    private func setOwners(
        _ owners: [OwnerReference], of node: OwnershipGraph.Node
    ) async throws {
        let metadata = node.object.metadata
        try await patch(
            node,
            [
                "uid": .string(metadata.uid), "resourceVersion": .string(metadata.resourceVersion),
                "ownerReferences": owners.isEmpty ? .null : .array(owners.map(\.json)),
            ])
    }

    private func orphanDependents(of node: OwnershipGraph.Node) async throws {
        let uid = node.object.metadata.uid
        let dependents = graph.withLock { graph in
            graph.dependents(of: uid).compactMap { graph.nodes[$0] }
        }
        for dependent in dependents {
            try await setOwners(dependent.object.owners.filter { $0.uid != uid }, of: dependent)
        }
        try await drop(OwnedObject.orphanFinalizer, from: node)
    }

    private func drop(_ finalizer: String, from node: OwnershipGraph.Node) async throws {
        let metadata = node.object.metadata
        let finalizers = node.object.finalizers.filter { $0 != finalizer }
        try await patch(
            node,
            [
                "uid": .string(metadata.uid), "resourceVersion": .string(metadata.resourceVersion),
                "finalizers": finalizers.isEmpty
                    ? .null : .array(finalizers.map(JSONValue.string)),
            ])
    }

    private func patch(_ node: OwnershipGraph.Node, _ metadata: JSONValue) async throws {
        do {
            _ = try await cluster.client.patch(
                node.resource, namespace: namespace(node), name: node.object.metadata.name,
                subresource: nil, type: .merge, ["metadata": metadata])
        } catch let error as StatusError where error.isNotFound {
            return
        }
    }
}

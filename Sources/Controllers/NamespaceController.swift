import Informer
import JSON
import KubernetesAPI
import NetworkTypes

/// Furnishes namespaces with what pods and kubectl expect in each, and empties those that are
/// deleted.
final class NamespaceController: Controller {
    let name = "namespace"
    /// ConfigMap with the certificate of the cluster's authority (KEP-1205).
    static let rootCertificateName = "kube-root-ca.crt"
    private let cluster: Cluster
    private let rootCertificatePEM: String
    private let resources: [Resource]
    private let queue: WorkQueue<String>
    private let serviceAccounts: Source<OwnedObject>
    private let rootCertificates: Source<Object>

    init(
        _ cluster: Cluster, collector: GarbageCollector, resources: [Resource],
        rootCertificatePEM: String
    ) {
        self.cluster = cluster
        self.rootCertificatePEM = rootCertificatePEM
        // Events last: the emptying itself makes some.
        let namespaced = resources.filter(\.isNamespaced)
        self.resources =
            namespaced.filter { $0 != .events } + namespaced.filter { $0 == .events }
        queue = WorkQueue("namespace", logger: cluster.logger)
        serviceAccounts = Source(
            .serviceAccounts, client: cluster.client,
            options: ListOptions(fieldSelector: "metadata.name=default"), logger: cluster.logger)
        rootCertificates = Source(
            .configMaps, client: cluster.client,
            options: ListOptions(fieldSelector: "metadata.name=\(Self.rootCertificateName)"),
            logger: cluster.logger)
        cluster.namespaces.onChange { [weak self] change in self?.queue.add(change.key.name) }
        serviceAccounts.onChange { [weak self] change in self?.queue.add(change.key.namespace) }
        rootCertificates.onChange { [weak self] change in self?.queue.add(change.key.namespace) }
        collector.onRemoval { [weak self] namespace in
            let object = self?.cluster.namespaces.get(ObjectKey(name: namespace))
            if object?.metadata.deletionTimestamp != nil { self?.queue.add(namespace) }
        }
    }

    var counters: WorkQueueCounters { queue.counters }
    var sources: [any AnySource] { [serviceAccounts, rootCertificates] }

    func run() async {
        await queue.run(workers: 2) { [self] name in
            guard let namespace = cluster.namespaces.get(ObjectKey(name: name)) else { return }
            if namespace.metadata.deletionTimestamp == nil {
                try await furnish(name)
            } else {
                try await empty(namespace)
            }
        }
    }

    // MARK: - Furniture

    private func furnish(_ namespace: String) async throws {
        let account = ObjectKey(namespace: namespace, name: "default")
        if serviceAccounts.get(account) == nil {
            let written = try await createIfMissing(
                .serviceAccounts,
                [
                    "apiVersion": "v1", "kind": "ServiceAccount",
                    "metadata": ["name": "default", "namespace": .string(namespace)],
                ])
            try await serviceAccounts.waitUntilSeen(written)
        }
        guard !rootCertificatePEM.isEmpty else { return }
        let wanted: JSONValue = ["ca.crt": .string(rootCertificatePEM)]
        let present = rootCertificates.get(
            ObjectKey(namespace: namespace, name: Self.rootCertificateName))
        if var object = present?.json {
            guard object["data"] != wanted else { return }
            object["data"] = wanted
            let written = try await cluster.client.update(.configMaps, object, subresource: nil)
            try await rootCertificates.waitUntilSeen(
                written["metadata", "resourceVersion"]?.string)
        } else {
            let written = try await createIfMissing(
                .configMaps,
                [
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": [
                        "name": .string(Self.rootCertificateName),
                        "namespace": .string(namespace),
                        "annotations": [
                            "kubernetes.io/description":
                                "Contains a CA bundle that can be used to verify the API server."
                        ],
                    ],
                    "data": wanted,
                ])
            try await rootCertificates.waitUntilSeen(written)
        }
    }

    /// The revision of the new object; nil where it was there or its namespace is going.
    private func createIfMissing(_ resource: Resource, _ object: JSONValue) async throws
        -> String?
    {
        do {
            let written = try await cluster.client.create(resource, object)
            return written["metadata", "resourceVersion"]?.string
        } catch let error as StatusError
            where error.isAlreadyExists || error.isNotFound || error.code == 403
        {
            return nil
        }
    }

    // MARK: - Deletion

    private func empty(_ namespace: Object) async throws {
        let name = namespace.metadata.name
        let remaining = try await deleteContents(of: name)
        if remaining > 0 {
            // Every object that goes brings the key back.
            return
        }
        var object = namespace.json
        let finalizers = (object["spec", "finalizers"]?.array ?? []).filter {
            $0.string != "kubernetes"
        }
        guard finalizers.count != object["spec", "finalizers"]?.array?.count ?? 0 else { return }
        object["spec", "finalizers"] = .array(finalizers)
        do {
            _ = try await cluster.client.update(.namespaces, object, subresource: "finalize")
        } catch let error as StatusError where error.isNotFound {
            return
        }
    }

    /// Deletes everything and returns how many objects wait for a finalizer or a grace period.
    private func deleteContents(of namespace: String) async throws -> Int {
        var remaining = 0
        let custom = cluster.customResources.objects.compactMap(CustomResources.resource)
        for resource in custom.filter(\.isNamespaced) + resources {
            let list: ObjectList
            do {
                list = try await cluster.client.list(
                    resource, ListOptions(namespace: namespace))
            } catch let error as StatusError where error.isNotFound {
                continue
            }
            for item in list.items where item["metadata", "deletionTimestamp"] == nil {
                do {
                    try await cluster.client.delete(
                        resource, namespace: namespace,
                        name: item["metadata", "name"]?.string ?? "",
                        options: ["propagationPolicy": "Background"])
                } catch let error as StatusError where error.isNotFound {
                    continue
                }
            }
            if !list.items.isEmpty {
                remaining += try await cluster.client.list(
                    resource, ListOptions(namespace: namespace)
                ).items.count
            }
        }
        return remaining
    }
}

import JSON
import KubernetesAPI
import Store
import Synchronization

/// Which Secrets, ConfigMaps and service accounts the pods of a node need: what Kubernetes' node
/// authorizer keeps as a graph. Pods are read from the store when asked, so that a node that has
/// just been given a pod is refused nothing; what was read is kept as long as the pod is unchanged.
final class BoundPods: Sendable {
    /// What a pod refers to in its namespace.
    struct References: Sendable, Hashable {
        var node = ""
        var serviceAccount = ""
        var secrets: Set<String> = []
        var configMaps: Set<String> = []
    }

    /// Pods whose references are kept; all are forgotten beyond that.
    private static let cacheLimit = 20_000

    private struct Entry: Sendable {
        var revision: Int64
        var references: References
    }

    private let store: Store
    private let cache = Mutex<[StoreKey: Entry]>([:])

    init(store: Store) { self.store = store }

    /// The node of a pod; nil where there is no such pod.
    func node(namespace: String, name: String) -> String? {
        let key = StoreKey(
            resource: Resource.pods.qualifiedName, namespace: namespace, name: name)
        return store.get(key).flatMap(references)?.node
    }

    /// True where a pod on the node, in the namespace, refers to something that `isMeant` accepts.
    func contains(
        node: String, namespace: String, where isMeant: (References) -> Bool
    ) -> Bool {
        let pods = store.list(
            resource: Resource.pods.qualifiedName, namespace: namespace
        ).objects
        return pods.contains { pod in
            guard let references = references(pod), references.node == node else { return false }
            return isMeant(references)
        }
    }

    private func references(_ pod: StoredObject) -> References? {
        if let known = cache.withLock({ $0[pod.key] }), known.revision == pod.revision {
            return known.references
        }
        guard let references = (try? pod.decoded()).map(References.init(pod:)) else { return nil }
        cache.withLock { cache in
            if cache.count >= Self.cacheLimit { cache = [:] }
            cache[pod.key] = Entry(revision: pod.revision, references: references)
        }
        return references
    }
}

extension BoundPods.References {
    /// Reads a pod: its volumes, the variables of its containers, its pull secrets.
    init(pod: JSONValue) {
        let spec = pod["spec"] ?? [:]
        node = spec["nodeName"]?.string ?? ""
        serviceAccount = PodIdentity.accountName(pod)
        for secret in spec["imagePullSecrets"]?.array ?? [] { add(secret["name"], to: \.secrets) }
        for volume in spec["volumes"]?.array ?? [] {
            add(volume["secret", "secretName"], to: \.secrets)
            add(volume["configMap", "name"], to: \.configMaps)
            for source in volume["projected", "sources"]?.array ?? [] {
                add(source["secret", "name"], to: \.secrets)
                add(source["configMap", "name"], to: \.configMaps)
            }
        }
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            for container in spec[list]?.array ?? [] { addVariables(container) }
        }
    }

    private mutating func addVariables(_ container: JSONValue) {
        for source in container["envFrom"]?.array ?? [] {
            add(source["secretRef", "name"], to: \.secrets)
            add(source["configMapRef", "name"], to: \.configMaps)
        }
        for variable in container["env"]?.array ?? [] {
            add(variable["valueFrom", "secretKeyRef", "name"], to: \.secrets)
            add(variable["valueFrom", "configMapKeyRef", "name"], to: \.configMaps)
        }
    }

    private mutating func add(
        _ name: JSONValue?, to list: WritableKeyPath<Self, Set<String>>
    ) {
        if let name = name?.string, !name.isEmpty { self[keyPath: list].insert(name) }
    }
}

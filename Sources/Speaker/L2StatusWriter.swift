import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes
import Synchronization

/// Keeps the ServiceL2Status objects (metallb.io/v1beta1) of the Services that this node announces,
/// where the API server serves that kind.
final class L2StatusWriter: Sendable {
    static let resource = Resource(
        group: "metallb.io", version: "v1beta1", plural: "servicel2statuses",
        kind: "ServiceL2Status")

    private let client: any KubernetesClient
    private let nodeName: String
    private let interface: String
    private let namespace: String
    private let queue: WorkQueue<ObjectKey>
    private let state = Mutex(State())

    private struct State {
        var wanted: Set<ObjectKey> = []
        var isServed = true
    }

    init(
        client: any KubernetesClient, nodeName: String, interface: String, namespace: String,
        logger: Logger
    ) {
        self.client = client
        self.nodeName = nodeName
        self.interface = interface
        self.namespace = namespace
        queue = WorkQueue("layer 2 status", maximumTries: 5, logger: logger)
    }

    /// Says which Services are announced now.
    func update(_ announcements: [ObjectKey: [IPAddress]]) {
        let fresh = Set(announcements.keys)
        let changed = state.withLock { state in
            defer { state.wanted = fresh }
            return state.isServed ? state.wanted.symmetricDifference(fresh) : []
        }
        for key in changed { queue.add(key) }
    }

    /// Writes until the task is cancelled; what an earlier run of this node left is cleared first.
    func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.clearLeftovers() }
            group.addTask { await self.queue.run(workers: 1) { try await self.write($0) } }
        }
    }

    private func clearLeftovers() async {
        let options = ListOptions(
            namespace: namespace, labelSelector: "metallb.io/node=\(nodeName)")
        guard let list = try? await client.list(Self.resource, options) else { return }
        for item in list.items {
            let status = item["status"]
            guard let service = status?["serviceName"]?.string else { continue }
            queue.add(
                ObjectKey(
                    namespace: status?["serviceNamespace"]?.string ?? "", name: service))
        }
    }

    private func write(_ key: ObjectKey) async throws {
        let (isWanted, isServed) = state.withLock { ($0.wanted.contains(key), $0.isServed) }
        guard isServed else { return }
        let name = objectName(key)
        do {
            if isWanted {
                try await create(name, key)
            } else {
                try await client.delete(
                    Self.resource, namespace: namespace, name: name, options: nil)
            }
        } catch let error as StatusError where error.isNotFound {
            // Gone already; or the kind, or the namespace, does not exist here.
            if isWanted { state.withLock { $0.isServed = false } }
        }
    }

    private func create(_ name: String, _ key: ObjectKey) async throws {
        let status: JSONValue = [
            "node": .string(nodeName), "serviceName": .string(key.name),
            "serviceNamespace": .string(key.namespace),
            "interfaces": [["name": .string(interface)]],
        ]
        let object: JSONValue = [
            "apiVersion": .string(Self.resource.apiVersion), "kind": "ServiceL2Status",
            "metadata": [
                "name": .string(name), "namespace": .string(namespace),
                "labels": [
                    "metallb.io/node": .string(nodeName),
                    "metallb.io/service-name": .string(key.name),
                    "metallb.io/service-namespace": .string(key.namespace),
                ],
            ],
            "status": status,
        ]
        do {
            _ = try await client.create(Self.resource, object)
        } catch let error as StatusError where error.isAlreadyExists {
            // The status below is what counts.
        }
        // Where status is a subresource, creation leaves it out.
        _ = try await client.patch(
            Self.resource, namespace: namespace, name: name, subresource: "status", type: .merge,
            ["status": status])
    }

    /// A name that no other node or Service has; FNV-1a keeps it short enough.
    private func objectName(_ key: ObjectKey) -> String {
        let text = "\(nodeName)/\(key)"
        let hash = text.utf8.reduce(UInt64(0xCBF2_9CE4_8422_2325)) {
            ($0 ^ UInt64($1)) &* 0x100_0000_01B3
        }
        return "l2-" + String(hash, radix: 16)
    }
}

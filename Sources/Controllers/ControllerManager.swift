public import Informer
import KubernetesAPI
public import Logging

/// Runs every controller of the control plane over one set of caches: endpoints and slices,
/// workloads, the scheduler, nodes, namespaces and garbage. It works over any client; in standalone
/// mode that is the API server in the same process.
public final class ControllerManager: Sendable {
    /// What differs from one cluster to another.
    public struct Configuration: Sendable {
        /// Makes the defaults of a standalone cluster.
        public init() {}
    }

    private let cluster: Cluster
    private let controllers: [any Controller]

    /// Makes the controllers; nothing happens before `run`.
    public init(
        client: any KubernetesClient, configuration: Configuration = Configuration(),
        logger: Logger = Logger(label: "portolan.controllers")
    ) {
        let cluster = Cluster(client: client, logger: logger)
        self.cluster = cluster
        controllers = [
            EndpointSliceController(cluster), EndpointsController(cluster),
            MirroringController(cluster), DeploymentController(cluster),
            ReplicaSetController(cluster), Scheduler(cluster),
        ]
    }

    /// Fills the caches, then works until the task is cancelled.
    public func run() async throws {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.cluster.run() }
            await cluster.waitUntilSynced()
            for controller in controllers {
                group.addTask { await controller.run() }
            }
        }
    }
}

import Informer
import JSON
import KubernetesAPI
import Synchronization

/// Gives every pod a node.
final class Scheduler: Controller {
    let name = "scheduler"
    static let schedulerName = "default-scheduler"
    private let cluster: Cluster
    private let queue: WorkQueue<ObjectKey>
    private let recorder: EventRecorder
    private let state = Mutex(SchedulerState())
    /// Pods that no node could take; they are tried again when a node changes or a pod leaves.
    private let waiting = Mutex<Set<ObjectKey>>([])

    init(_ cluster: Cluster) {
        self.cluster = cluster
        queue = WorkQueue("scheduler", logger: cluster.logger)
        recorder = EventRecorder(
            client: cluster.client, component: Self.schedulerName, logger: cluster.logger,
            now: cluster.now)
        cluster.pods.onChange { [weak self] change in self?.podChanged(change) }
        cluster.nodes.onChange { [weak self] change in
            guard let self else { return }
            state.withLock { $0.set(change.new, named: change.key.name) }
            if SchedulingView(change.old) != SchedulingView(change.new) { retryWaiting() }
        }
    }

    var counters: WorkQueueCounters { queue.counters }

    func run() async {
        await queue.run(workers: 16) { [self] key in try await schedule(key) }
    }

    private func podChanged(_ change: Source<PodSummary>.Change) {
        state.withLock { $0.set(change.new, change.key) }
        if let pod = change.new, Self.isPending(pod) {
            queue.add(change.key)
        } else {
            waiting.withLock { _ = $0.remove(change.key) }
        }
        if change.new == nil || change.new?.isFinished == true { retryWaiting() }
    }

    private func retryWaiting() {
        let keys = waiting.withLock { waiting in
            defer { waiting = [] }
            return waiting
        }
        for key in keys { queue.add(key) }
    }

    private static func isPending(_ pod: PodSummary) -> Bool {
        pod.nodeName.isEmpty && pod.isActive && pod.schedulerName == schedulerName
    }

    private func schedule(_ key: ObjectKey) async throws {
        guard let pod = cluster.pods.get(key), Self.isPending(pod) else { return }
        // The key waits before the decision: a node that comes in between brings it back.
        waiting.withLock { _ = $0.insert(key) }
        switch state.withLock({ $0.decide(pod) }) {
        case .node(let node):
            waiting.withLock { _ = $0.remove(key) }
            do {
                try await bind(pod, to: node)
            } catch {
                state.withLock { $0.remove(key) }
                throw error
            }
        case .none(let message):
            try await report(message, about: pod)
        }
    }

    /// Creates the pod's Binding, which also sets its condition PodScheduled.
    private func bind(_ pod: PodSummary, to node: String) async throws {
        let written: JSONValue
        do {
            written = try await cluster.client.update(
                .pods,
                [
                    "apiVersion": "v1", "kind": "Binding",
                    "metadata": [
                        "name": .string(pod.metadata.name),
                        "namespace": .string(pod.metadata.namespace),
                        "uid": .string(pod.metadata.uid),
                    ],
                    "target": [
                        "apiVersion": "v1", "kind": "Node", "name": .string(node),
                    ],
                ], subresource: "binding")
        } catch let error as StatusError where error.isNotFound {
            state.withLock { $0.remove(pod.key) }
            return
        }
        record(.normal, "Scheduled", "Successfully assigned \(pod.key) to \(node)", pod)
        try await cluster.pods.waitUntilSeen(written["metadata", "resourceVersion"]?.string)
    }

    private func report(_ message: String, about pod: PodSummary) async throws {
        record(.warning, "FailedScheduling", message, pod)
        let known = pod.condition("PodScheduled")
        guard known == nil || known?.isTrue == true || known?.message != message else { return }
        do {
            _ = try await cluster.client.patch(
                .pods, namespace: pod.metadata.namespace, name: pod.metadata.name,
                subresource: "status", type: .strategicMerge,
                [
                    "status": [
                        "conditions": [
                            [
                                "type": "PodScheduled", "status": "False",
                                "reason": "Unschedulable", "message": .string(message),
                                "lastTransitionTime": .string(cluster.now().description),
                            ]
                        ]
                    ]
                ])
        } catch let error as StatusError where error.isNotFound {
            return
        }
    }

    private func record(
        _ type: EventRecorder.EventType, _ reason: String, _ message: String, _ pod: PodSummary
    ) {
        cluster.event(
            type, reason, message, ObjectReference(.pods, pod.metadata), by: recorder)
    }
}

/// What of a node matters to scheduling.
private struct SchedulingView: Hashable {
    var node: Node?
    var podLimit: JSONValue?

    init(_ record: NodeRecord?) {
        node = record?.node
        node?.metadata.resourceVersion = ""
        node?.metadata.annotations = [:]
        podLimit = record?.json["status", "allocatable", "pods"]
    }
}

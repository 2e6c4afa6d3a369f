import Informer
import JSON
import KubernetesAPI
import Logging

/// What the controllers share: the client, the caches, the event recorder and the clock.
final class Cluster: Sendable {
    let client: any KubernetesClient
    let logger: Logger
    let recorder: EventRecorder
    let now: @Sendable () -> Timestamp

    let services: Source<Service>
    let pods: Source<PodSummary>
    let nodes: Source<NodeRecord>
    let endpointSlices: Source<SliceRecord>
    let endpoints: Source<EndpointsRecord>
    let deployments: Source<Object>
    let replicaSets: Source<Object>
    let daemonSets: Source<Object>
    let namespaces: Source<Object>
    let customResources: Source<Object>

    private let events: AsyncStream<PendingEvent>
    private let eventSink: AsyncStream<PendingEvent>.Continuation

    private struct PendingEvent: Sendable {
        var type: EventRecorder.EventType
        var reason: String
        var message: String
        var regarding: ObjectReference
        var recorder: EventRecorder
    }

    init(
        client: any KubernetesClient, logger: Logger,
        now: @Sendable @escaping () -> Timestamp = { .now }
    ) {
        self.client = client
        self.logger = logger
        self.now = now
        recorder = EventRecorder(
            client: client, component: "portolan-controllers", logger: logger, now: now)
        services = Source(
            .services, client: client, logger: logger, indexed: \.selectorIndexEntries)
        pods = Source(.pods, client: client, logger: logger, indexed: \.indexEntries)
        nodes = Source(.nodes, client: client, logger: logger)
        endpointSlices = Source(
            .endpointSlices, client: client, logger: logger, indexed: \.indexEntries)
        endpoints = Source(.endpoints, client: client, logger: logger)
        deployments = Source(.deployments, client: client, logger: logger)
        replicaSets = Source(
            .replicaSets, client: client, logger: logger, indexed: Self.ownerEntries)
        daemonSets = Source(.daemonSets, client: client, logger: logger)
        namespaces = Source(.namespaces, client: client, logger: logger)
        customResources = Source(.customResourceDefinitions, client: client, logger: logger)
        // Events are for people: under a flood the oldest unwritten ones are dropped.
        (events, eventSink) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1024))
    }

    /// Records an event without waiting for it to be written.
    func event(
        _ type: EventRecorder.EventType, _ reason: String, _ message: String,
        _ regarding: ObjectReference, by recorder: EventRecorder? = nil
    ) {
        eventSink.yield(
            PendingEvent(
                type: type, reason: reason, message: message, regarding: regarding,
                recorder: recorder ?? self.recorder))
    }

    static func ownerEntries(_ object: Object) -> [String] {
        OwnerReference.list(of: object.json).map { "owner:\($0.uid)" }
    }

    /// The caches, to be run and waited for together.
    var sources: [any AnySource] {
        [
            services, pods, nodes, endpointSlices, endpoints, deployments, replicaSets, daemonSets,
            namespaces, customResources,
        ]
    }

    /// Writes events until the task is cancelled.
    func runEvents() async {
        for await event in events {
            await event.recorder.record(
                event.type, reason: event.reason, message: event.message,
                regarding: event.regarding)
        }
    }

    /// The pods of a namespace that `selector` matches, found by one of its label pairs where it
    /// has one.
    func pods(inNamespace namespace: String, matching selector: LabelSelector) -> [PodSummary] {
        let pair = selector.requirements.first { $0.operation == .isIn && $0.values.count == 1 }
        let candidates =
            if let pair, let value = pair.values.first {
                pods.objects("label:\(namespace)/\(pair.key)=\(value)")
            } else {
                pods.objects(inNamespace: namespace)
            }
        return candidates.filter { selector.matches($0.metadata.labels) }
    }
}

/// A Node, decoded, and whole as it came: few exist, and their controllers write them back.
struct NodeRecord: KubernetesObject, Hashable {
    var node: Node
    var json: JSONValue
    var metadata: ObjectMeta { node.metadata }

    init(json: JSONValue) throws {
        node = try Node(json: json)
        self.json = json
    }

    /// The condition of `type`, or nil.
    func condition(_ type: String) -> JSONValue? {
        json["status", "conditions"]?.array?.first { $0["type"]?.string == type }
    }
}

/// One controller: it listens to caches, and works on keys while `run` lasts.
protocol Controller: Sendable {
    /// The name in logs and metrics.
    var name: String { get }
    /// What its queue has counted.
    var counters: WorkQueueCounters { get }
    /// Caches of its own, to be filled before `run`.
    var sources: [any AnySource] { get }
    /// Works until the task is cancelled; the caches have been filled before.
    func run() async
}

extension Controller {
    var sources: [any AnySource] { [] }
}

import Informer
import JSON
import KubernetesAPI

/// Removes events after an hour, as kube-apiserver's `--event-ttl` does, and the oldest ones where
/// there are too many.
final class EventPruner: Controller {
    let name = "event-pruner"
    static let lifetimeSeconds = 3600.0
    static let countLimit = 10_000

    /// An event stripped to its age.
    struct EventAge: KubernetesObject, Hashable {
        var metadata: ObjectMeta
        var time: Timestamp

        init(json: JSONValue) {
            metadata = ObjectMeta(json: json)
            metadata.labels = [:]
            metadata.annotations = [:]
            let texts = [
                json["series", "lastObservedTime"]?.string, json["lastTimestamp"]?.string,
                json["eventTime"]?.string, metadata.creationTimestamp,
            ]
            time =
                texts.lazy.compactMap { $0.flatMap { Timestamp($0) } }.first
                ?? Timestamp(seconds: 0)
        }
    }

    private let cluster: Cluster
    private let events: Source<EventAge>
    private let queue: WorkQueue<String>

    init(_ cluster: Cluster) {
        self.cluster = cluster
        queue = WorkQueue("event-pruner", logger: cluster.logger)
        events = Source(.events, client: cluster.client, logger: cluster.logger) { _ in ["all"] }
        events.onChange { [weak self] change in
            guard let self, change.old == nil, events.count("all") > Self.countLimit else { return }
            queue.add("")
        }
    }

    var counters: WorkQueueCounters { queue.counters }
    var sources: [any AnySource] { [events] }

    func run() async {
        queue.add("")
        await queue.run(workers: 1) { [self] key in
            for event in Self.expired(events.objects, now: cluster.now()) {
                do {
                    try await cluster.client.delete(
                        .events, namespace: event.namespace, name: event.name, options: nil)
                } catch let error as StatusError where error.isNotFound {
                    continue
                }
            }
            queue.add(key, after: .seconds(60))
        }
    }

    /// The events to remove: those past their hour, and of the rest the oldest beyond the limit
    /// with a tenth more, so that a flood does not prune one at a time.
    static func expired(
        _ events: [EventAge], now: Timestamp, countLimit: Int = EventPruner.countLimit
    ) -> [ObjectKey] {
        let sorted = events.sorted { $0.time < $1.time }
        let old = sorted.prefix { now.secondsSince($0.time) >= lifetimeSeconds }.count
        let surplus =
            sorted.count - old > countLimit ? sorted.count - countLimit + countLimit / 10 : 0
        return sorted.prefix(max(old, surplus)).map(\.key)
    }
}

import Informer
import KubernetesAPI
import Logging
import NetworkTypes
import Synchronization

/// Waits, before a pod's containers are asked to end, until no node sends new connections to it:
/// first until the EndpointSlices say that the pod ends, then until each ready node's proxy says
/// that it has these slices in force (`/programmed` of its health port).
struct PodDrain: Sendable {
    /// How a wait ended.
    enum Outcome: Hashable, Sendable {
        /// No Service selects the pod: nobody had to be waited for.
        case unserved
        /// Every ready node has confirmed.
        case confirmed
        /// The time was over; why, in words.
        case timedOut(String)
    }

    let cache: ClusterCache
    let client: any KubernetesClient
    /// Where the nodes are asked from.
    let node: NodeNamespace
    let metrics = DrainMetrics()
    let logger: Logger

    /// The longest wait, in seconds. A node takes milliseconds; one that takes longer is broken.
    static let longestSeconds = 10.0
    /// The part of the grace period that a wait may take: containers need the rest to end.
    static let graceShare = 0.5
    /// Where a proxy says what it has programmed.
    private static let port: UInt16 = 10256
    /// How long a proxy is to wait before it answers that it is not so far, in milliseconds: the
    /// next request then asks a node that may have restarted meanwhile.
    private static let askMilliseconds = 500

    /// The longest wait for a pod with this grace period, in seconds.
    static func limitSeconds(graceSeconds: Int) -> Double {
        min(longestSeconds, Double(graceSeconds) * graceShare)
    }

    /// Waits for at most `limitSeconds`, or until the task is cancelled.
    func run(_ pod: Pod, limitSeconds: Double) async -> Outcome {
        let begun = Timestamp.now
        let progress = Progress("the EndpointSlices still name the pod as ready")
        let end = await withTaskGroup(of: Outcome?.self) { group in
            group.addTask {
                await wait(pod) { progress.set($0) }
            }
            group.addTask {
                try? await Task.sleep(for: .seconds(limitSeconds))
                return nil
            }
            let end = await group.next() ?? nil
            group.cancelAll()
            return end
        }
        let outcome = end ?? .timedOut(progress.text)
        if !Task.isCancelled {
            metrics.note(outcome, seconds: Timestamp.now.secondsSince(begun))
        }
        return outcome
    }

    /// Waits without a bound; nil where the task is cancelled.
    private func wait(_ pod: Pod, waiting: @Sendable @escaping (String) -> Void) async -> Outcome? {
        await cache.services.waitUntilSynced()
        await cache.nodes.waitUntilSynced()
        let services = Self.services(cache.services.objects, selecting: pod)
        guard !services.isEmpty else { return Task.isCancelled ? nil : .unserved }
        guard let revision = await waitUntilMarked(pod, services) else { return nil }
        await confirm(revision, waiting: waiting)
        return Task.isCancelled ? nil : .confirmed
    }

    // MARK: - Slices

    /// The Services that choose the pod as an endpoint, by name.
    static func services(_ services: [Service], selecting pod: Pod) -> Set<ObjectKey> {
        var keys: Set<ObjectKey> = []
        for service in services where service.metadata.namespace == pod.key.namespace {
            guard service.type != .externalName, let selector = service.selector,
                selector.allSatisfy({ pod.metadata.labels[$0.key] == $0.value })
            else { continue }
            keys.insert(service.key)
        }
        return keys
    }

    /// The revision from which on a proxy sends no new connection to the pod: that of the newest
    /// of the slices, once none names the pod as ready; nil before. Slices that other controllers
    /// made say nothing of a pod's end, and are left out.
    static func markedRevision(of pod: ObjectKey, in slices: [EndpointSlice]) -> UInt64? {
        var revision: UInt64 = 0
        for slice in slices
        where slice.metadata.labels["endpointslice.kubernetes.io/managed-by"]
            == "endpointslice-controller.k8s.io"
        {
            let isNamed = slice.endpoints.contains {
                $0.targetPod == pod && $0.isReady && !$0.isTerminating
            }
            if isNamed { return nil }
            revision = max(revision, UInt64(slice.metadata.resourceVersion) ?? 0)
        }
        return revision
    }

    /// Returns the revision once the slices say that the pod ends; nil where the task is cancelled.
    private func waitUntilMarked(_ pod: Pod, _ services: Set<ObjectKey>) async -> UInt64? {
        // The cache says when to look; what counts is what the API answers then, for the cache may
        // not have heard yet that the pod became an endpoint at all.
        let (changes, changed) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        return await withTaskGroup(of: UInt64?.self) { group in
            group.addTask {
                await cache.endpointSlices.follow(replaying: false) { notice in
                    guard case .changes(let list) = notice else { return _ = changed.yield() }
                    let isConcerned = list.contains { change in
                        (change.new ?? change.old)?.serviceKey.map(services.contains) ?? false
                    }
                    if isConcerned { changed.yield() }
                }
                return nil
            }
            group.addTask {
                for await _ in changes {
                    if let revision = await lookAt(pod, services) { return revision }
                }
                return nil
            }
            var result: UInt64?
            while result == nil, !Task.isCancelled, let next = await group.next() { result = next }
            group.cancelAll()
            return result
        }
    }

    private func lookAt(_ pod: Pod, _ services: Set<ObjectKey>) async -> UInt64? {
        let backoff = Backoff()
        var attempt = 0
        let names = services.map(\.name).sorted().joined(separator: ",")
        let options = ListOptions(
            namespace: pod.key.namespace, labelSelector: "kubernetes.io/service-name in (\(names))")
        while !Task.isCancelled {
            do {
                let list = try await client.list(.endpointSlices, options)
                return Self.markedRevision(
                    of: pod.key, in: list.items.compactMap { try? EndpointSlice(json: $0) })
            } catch {
                attempt += 1
                logger.warning(
                    "cannot read the EndpointSlices of a pod that ends",
                    metadata: ["pod": "\(pod.key)", "error": "\(error)"])
                try? await Task.sleep(for: backoff.pause(attempt: attempt))
            }
        }
        return nil
    }

    // MARK: - Nodes

    /// Returns when every ready node has the slices up to `revision` in force, or when the task is
    /// cancelled.
    private func confirm(
        _ revision: UInt64, waiting: @Sendable @escaping (String) -> Void
    ) async {
        let names = cache.nodes.objects.filter(\.isReady).map(\.metadata.name)
        let left = NamesLeft(names)
        let tell: @Sendable () -> Void = {
            waiting("not yet confirmed by: " + left.sorted.joined(separator: ", "))
        }
        tell()
        await withDiscardingTaskGroup { group in
            for name in names {
                group.addTask {
                    await confirm(revision, by: name)
                    guard !Task.isCancelled else { return }
                    left.remove(name)
                    tell()
                }
            }
        }
    }

    private func confirm(_ revision: UInt64, by name: String) async {
        let backoff = Backoff(initialMilliseconds: 20, limitMilliseconds: 500)
        var attempt = 0
        let path =
            "/programmed?endpointSlices=\(revision)&timeoutMilliseconds=\(Self.askMilliseconds)"
        while !Task.isCancelled {
            // A node that is not ready any more gets no connections by way of the others.
            guard let target = cache.nodes.get(ObjectKey(name: name)), target.isReady,
                let address = target.internalAddresses.first(where: { $0.family == .ipv4 })
            else { return }
            let request = HTTPProbe(
                address: address, port: Self.port, path: path, isSecure: false, headers: [],
                timeoutSeconds: 2)
            let node = node
            let answer = try? await Blocking.run(within: Self.slots) {
                try node.run { try request.run() }
            }
            if answer?.isSuccess == true { return }
            attempt += 1
            try? await Task.sleep(for: backoff.pause(attempt: attempt))
        }
    }

    /// Requests at a time: apart from other blocking work, which must not wait for a node that
    /// does not answer.
    private static let slots = Slots(count: 16)
}

/// What is waited for just now, in words.
private final class Progress: Sendable {
    private let value: Mutex<String>

    init(_ text: String) { value = Mutex(text) }

    var text: String { value.withLock { $0 } }
    func set(_ text: String) { value.withLock { $0 = text } }
}

/// Names that tasks take away one by one.
private final class NamesLeft: Sendable {
    private let names: Mutex<Set<String>>

    init(_ names: [String]) { self.names = Mutex(Set(names)) }

    var sorted: [String] { names.withLock { $0.sorted() } }
    func remove(_ name: String) { names.withLock { _ = $0.remove(name) } }
}

/// What waits before the end of pods have come to.
final class DrainMetrics: Sendable {
    private struct State {
        var counts: [String: Int] = [:]
        var seconds = 0.0
    }

    private let state = Mutex(State())

    func note(_ outcome: PodDrain.Outcome, seconds: Double) {
        let name =
            switch outcome {
            case .unserved: "unserved"
            case .confirmed: "confirmed"
            case .timedOut: "timeout"
            }
        state.withLock { state in
            state.counts[name, default: 0] += 1
            state.seconds += seconds
        }
    }

    /// The metrics in Prometheus' text format.
    var text: String {
        let state = state.withLock { $0 }
        var text =
            "# HELP portolan_pod_drains_total Pods about to end, by whether every ready node "
        text += "confirmed that new connections no longer go there.\n"
        text += "# TYPE portolan_pod_drains_total counter\n"
        for result in ["confirmed", "timeout", "unserved"] {
            text += "portolan_pod_drains_total{result=\"\(result)\"} \(state.counts[result] ?? 0)\n"
        }
        text += "# HELP portolan_pod_drain_seconds_total Time spent waiting for that.\n"
        text += "# TYPE portolan_pod_drain_seconds_total counter\n"
        return text + "portolan_pod_drain_seconds_total \(state.seconds)\n"
    }
}

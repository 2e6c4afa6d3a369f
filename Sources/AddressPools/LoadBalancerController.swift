public import Informer
import JSON
import KubernetesAPI
public import Logging
public import NetworkTypes
import Synchronization

/// Gives Services of type LoadBalancer their addresses. It is driven by watches alone: a new
/// Service goes through one decision and one write of its status.
public final class LoadBalancerController: Sendable {
    /// How the controller behaves.
    public struct Configuration: Sendable {
        /// Services of this `spec.loadBalancerClass` are served; nil serves those without one.
        public var loadBalancerClass: String?
        /// The namespace of the configuration.
        public var namespace = "metallb-system"
        /// How often Services that still wait are told so again; events expire after an hour.
        public var reminderPause: Duration = .seconds(1800)

        /// Makes a configuration with the usual values.
        public init(loadBalancerClass: String? = nil) {
            self.loadBalancerClass = loadBalancerClass
        }
    }

    /// The prefixes of all pools, each time that they change: what deserves an on-link route on a
    /// machine that plays the router. One consumer; only the newest value is kept for it.
    public let pools: AsyncStream<[Prefix]>

    private let poolsContinuation: AsyncStream<[Prefix]>.Continuation
    private let client: any KubernetesClient
    private let configuration: Configuration
    private let logger: Logger
    private let recorder: EventRecorder
    private let writes: WorkQueue<ObjectKey>
    private let poolWrites: WorkQueue<ObjectKey>
    private let events: AsyncStream<[AddressAssigner.Event]>
    private let eventsContinuation: AsyncStream<[AddressAssigner.Event]>.Continuation
    private let state: Mutex<State>

    private struct State {
        var assigner: AddressAssigner
        var collector = ConfigurationCollector()
        var awaited: Set<String>
        var droppedEvents = 0
        var foreignController: ObjectMeta?
    }

    /// Makes a controller; nothing happens before `run`.
    public init(
        client: any KubernetesClient, configuration: Configuration = Configuration(),
        logger: Logger = Logger(label: "portolan.loadbalancer")
    ) {
        self.client = client
        self.configuration = configuration
        self.logger = logger
        recorder = EventRecorder(
            client: client, component: "portolan-loadbalancer", logger: logger)
        writes = WorkQueue("load balancer status", logger: logger)
        poolWrites = WorkQueue("address pool status", maximumTries: 5, logger: logger)
        (pools, poolsContinuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        (events, eventsContinuation) = AsyncStream.makeStream(
            bufferingPolicy: .bufferingOldest(4096))
        let awaited =
            ConfigurationInformers.kinds.map(\.kind) + ["Service", "Namespace", "Deployment"]
        state = Mutex(
            State(
                assigner: AddressAssigner(loadBalancerClass: configuration.loadBalancerClass),
                awaited: Set(awaited)))
    }

    /// Watches and writes until the task is cancelled.
    public func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                await SpeakerSecret.ensureAtLast(client: self.client, logger: self.logger)
            }
            group.addTask { await self.watchServices() }
            group.addTask { await self.watchNamespaces() }
            group.addTask { await self.watchForeignController() }
            group.addTask {
                let informers = ConfigurationInformers(
                    client: self.client, namespace: self.configuration.namespace,
                    logger: self.logger)
                await informers.run { self.handle($0) }
            }
            group.addTask { await self.writes.run(workers: 4) { try await self.write($0) } }
            group.addTask { await self.poolWrites.run(workers: 1) { try await self.writePool($0) } }
            group.addTask { await self.recordEvents() }
            group.addTask { await self.remind() }
        }
        poolsContinuation.finish()
    }

    /// The configuration in force; nil before the first valid one has been read.
    public var loadBalancerConfiguration: LoadBalancerConfiguration? {
        state.withLock { $0.assigner.configuration }
    }
}

// MARK: - Changes in

extension LoadBalancerController {
    private func watchServices() async {
        let informer = Informer<LoadBalancerService>(.services, client: client, logger: logger)
        await informer.run { notice in
            switch notice {
            case .synced: self.markSynced("Service")
            case .changes(let changes):
                for change in changes {
                    self.apply { $0.assigner.update(change.key, change.new) }
                }
            }
        }
    }

    private func watchNamespaces() async {
        let informer = Informer<Object>(.namespaces, client: client, logger: logger)
        await informer.run { notice in
            switch notice {
            case .synced: self.markSynced("Namespace")
            case .changes(let changes):
                for change in changes {
                    self.apply {
                        $0.assigner.update(
                            namespace: change.key.name, labels: change.new?.metadata.labels)
                    }
                }
            }
        }
    }

    private func handle(_ notice: ConfigurationInformers.Notice) {
        switch notice {
        case .synced(let kind): markSynced(kind)
        case .change(let kind, let key, let object):
            apply { state in
                guard state.collector.update(kind: kind, key, object), state.awaited.isEmpty
                else { return AddressAssigner.Effects() }
                return state.assigner.update(state.collector.read())
            }
        }
    }

    /// Notes that the first list of a kind is complete; after the last of them work begins.
    private func markSynced(_ kind: String) {
        apply { state in
            guard state.awaited.remove(kind) != nil, state.awaited.isEmpty else {
                return AddressAssigner.Effects()
            }
            var effects = state.assigner.update(state.collector.read())
            let started = state.assigner.start()
            effects.keys.formUnion(started.keys)
            effects.events += started.events
            effects.isUsageChanged = true
            return effects
        }
    }

    private func apply(_ change: (inout State) -> AddressAssigner.Effects) {
        let (effects, prefixes, pools) = state.withLock { state in
            let effects = change(&state)
            let pools =
                effects.isUsageChanged
                ? state.collector.objects(kind: Resource.ipAddressPools.kind).map(\.metadata.key)
                : []
            return (effects, state.assigner.configuration?.prefixes ?? [], pools)
        }
        for key in effects.keys { writes.add(key) }
        // Usage is for people to look at: one write for a burst of changes is enough.
        for key in pools { poolWrites.add(key, after: .milliseconds(500)) }
        if effects.arePoolsChanged { poolsContinuation.yield(prefixes) }
        guard !effects.events.isEmpty else { return }
        if case .dropped = eventsContinuation.yield(effects.events) {
            state.withLock { $0.droppedEvents += effects.events.count }
        }
    }
}

// MARK: - MetalLB's own controller

extension LoadBalancerController {
    /// Two controllers would take each other's addresses away, so where MetalLB's runs, it alone
    /// acts.
    private func watchForeignController() async {
        let options = ListOptions(
            namespace: configuration.namespace,
            labelSelector: "app=metallb,component=controller")
        let informer = Informer<Object>(
            .deployments, client: client, options: options, logger: logger)
        await informer.run { notice in
            switch notice {
            case .synced: self.markSynced("Deployment")
            case .changes:
                let running = informer.objects.first {
                    $0["status"]?["availableReplicas"]?.int ?? 0 > 0
                }
                await self.setForeignController(running?.metadata)
            }
        }
    }

    private func setForeignController(_ metadata: ObjectMeta?) async {
        let (before, effects) = state.withLock { state in
            let before = state.foreignController
            state.foreignController = metadata
            return (before, state.assigner.setAside(metadata != nil))
        }
        apply { _ in effects }
        guard let subject = metadata ?? before, (before == nil) != (metadata == nil) else { return }
        await recorder.record(
            .normal, reason: metadata == nil ? "LoadBalancerResumed" : "LoadBalancerSteppedAside",
            message: metadata == nil
                ? "Portolan gives Services their load-balancer addresses again"
                : "MetalLB's own controller is available: Portolan leaves load-balancer "
                    + "addresses to it",
            regarding: ObjectReference(.deployments, subject))
    }
}

// MARK: - Writes out

extension LoadBalancerController {
    private func write(_ key: ObjectKey) async throws {
        let patches = state.withLock {
            $0.assigner.patches(for: key, now: Timestamp.now.description)
        }
        guard let patches else { return }
        do {
            if let patch = patches.status {
                _ = try await client.patch(
                    .services, namespace: key.namespace, name: key.name, subresource: "status",
                    type: .merge, patch)
            }
            if let patch = patches.metadata {
                _ = try await client.patch(
                    .services, namespace: key.namespace, name: key.name, subresource: nil,
                    type: .merge, patch)
            }
        } catch let error as StatusError where error.isNotFound {
            // Deleted meanwhile: the watch will say so.
        }
    }

    private func writePool(_ key: ObjectKey) async throws {
        let patch = state.withLock { state -> JSONValue? in
            let objects = state.collector.objects(kind: Resource.ipAddressPools.kind)
            guard let object = objects.first(where: { $0.metadata.key == key }),
                let pool = state.assigner.configuration?.pools.first(where: {
                    $0.source.kind == Resource.ipAddressPools.kind && $0.source.key == key
                })
            else { return nil }
            let status = Self.status(of: pool, state.assigner.allocator)
            return status == object.json["status"] ? nil : ["status": status]
        }
        guard let patch else { return }
        do {
            _ = try await client.patch(
                .ipAddressPools, namespace: key.namespace, name: key.name, subresource: "status",
                type: .merge, patch)
        } catch let error as StatusError where error.isNotFound {
            // Deleted meanwhile, or served without a status by an older definition.
        }
    }

    private static func status(
        of pool: AddressPool, _ allocator: AddressAllocator
    ) -> JSONValue {
        func used(_ family: IPAddress.Family) -> Int64 {
            Int64(allocator.usedCount(pool: pool, family))
        }
        func available(_ family: IPAddress.Family) -> Int64 {
            max(0, Int64(clamping: pool.addressCount(family)) - used(family))
        }
        return [
            "assignedIPv4": .integer(used(.ipv4)), "assignedIPv6": .integer(used(.ipv6)),
            "availableIPv4": .integer(available(.ipv4)),
            "availableIPv6": .integer(available(.ipv6)),
        ]
    }

    private func recordEvents() async {
        for await batch in events {
            for event in batch { await record(event) }
        }
    }

    private func remind() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: configuration.reminderPause)
            if Task.isCancelled { return }
            let events = state.withLock { $0.assigner.reminders() }
            if !events.isEmpty { eventsContinuation.yield(events) }
        }
    }

    private func record(_ event: AddressAssigner.Event) async {
        let subject = event.subject
        let reference = state.withLock { state -> ObjectReference in
            if subject.kind == Resource.services.kind {
                if let metadata = state.assigner.metadata(of: subject.key) {
                    return ObjectReference(.services, metadata)
                }
                return ObjectReference(.services, subject.key)
            }
            let resource = ConfigurationInformers.kinds.first { $0.kind == subject.kind }
            return ObjectReference(
                resource ?? .configMaps, subject.key, uid: state.collector.uid(subject))
        }
        await recorder.record(
            event.isWarning ? .warning : .normal, reason: event.reason, message: event.message,
            regarding: reference)
    }
}

// MARK: - Metrics

extension LoadBalancerController {
    /// The metrics in Prometheus' text format, under MetalLB's names.
    public func metricsText() -> String {
        let (assigner, dropped) = state.withLock { ($0.assigner, $0.droppedEvents) }
        var text = "# TYPE metallb_allocator_addresses_total gauge\n"
        let pools = assigner.configuration?.pools ?? []
        func count(_ pool: AddressPool) -> UInt64 {
            let (sum, overflow) = pool.addressCount(.ipv4)
                .addingReportingOverflow(pool.addressCount(.ipv6))
            return overflow ? .max : sum
        }
        for pool in pools {
            text += "metallb_allocator_addresses_total{pool=\"\(pool.name)\"} \(count(pool))\n"
        }
        text += "# TYPE metallb_allocator_addresses_in_use_total gauge\n"
        for pool in pools {
            let used = IPAddress.Family.allCases
                .reduce(0) { $0 + assigner.allocator.usedCount(pool: pool, $1) }
            text += "metallb_allocator_addresses_in_use_total{pool=\"\(pool.name)\"} \(used)\n"
        }
        let values: [(String, Int)] = [
            ("metallb_k8s_client_config_loaded_bool", assigner.configuration == nil ? 0 : 1),
            ("metallb_k8s_client_config_stale_bool", assigner.configurationError == nil ? 0 : 1),
            ("portolan_loadbalancer_waiting_services", assigner.waiting.count),
            ("portolan_loadbalancer_events_dropped", dropped),
        ]
        for (name, value) in values { text += "# TYPE \(name) gauge\n\(name) \(value)\n" }
        return text
    }
}

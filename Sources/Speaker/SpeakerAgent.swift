import ARP
import AddressPools
public import Informer
import JSON
public import KubernetesAPI
public import Logging
public import Netlink
public import NetworkTypes
import Synchronization

/// Announces load-balancer addresses on a node's LAN: watches the objects that decide about it,
/// answers ARP and neighbour discovery for the addresses that fall to this node, and exchanges
/// heartbeats with the other nodes' speakers.
public final class SpeakerAgent: Sendable {
    /// How and where to announce.
    public struct Configuration: Sendable {
        /// The node's name.
        public var nodeName: String
        /// The interface on the LAN.
        public var interface: String
        /// The node's address there, for heartbeats; it must be the Node's InternalIP.
        public var lanAddress: IPAddress
        /// The namespace of MetalLB's configuration.
        public var configurationNamespace = "metallb-system"
        /// The network namespace to open sockets in; nil for that of the process.
        public var namespace: NamespaceDescriptor?
        /// How often heartbeats go out, and after what silence a node counts as dead.
        public var timing = Membership.Timing()
        /// How long requests are still answered after the farewell.
        public var leavePause: Duration = .milliseconds(150)

        /// Makes a configuration.
        public init(nodeName: String, interface: String = "eth0", lanAddress: IPAddress) {
            self.nodeName = nodeName
            self.interface = interface
            self.lanAddress = lanAddress
        }
    }

    private let client: any KubernetesClient
    private let configuration: Configuration
    private let cache: ClusterCache
    private let ownsCache: Bool
    private let logger: Logger
    private let loop: SpeakerLoop
    private let recorder: EventRecorder
    private let statusWriter: L2StatusWriter
    private let actions: AsyncStream<SpeakerCore.Action>
    private let state: Mutex<State>

    private struct State {
        var awaited: Set<String> = [
            "Service", "EndpointSlice", "Node", "memberlist", "portolan-speaker", "DaemonSet",
        ]
        var collector = ConfigurationCollector()
        var memberlist: [UInt8]?
        var ownSecret: [UInt8]?
    }

    /// Opens the sockets; nothing is sent before `run`.
    /// - Parameter cache: Services, slices and Nodes as others read them too, kept by the caller;
    ///   nil for a cache of its own.
    /// - Throws: `NetlinkError` where the interface is missing or a socket cannot be opened.
    public init(
        client: any KubernetesClient, configuration: Configuration, cache: ClusterCache? = nil,
        logger: Logger = Logger(label: "portolan.speaker")
    ) throws {
        self.client = client
        self.configuration = configuration
        self.cache = cache ?? ClusterCache(client: client, logger: logger)
        ownsCache = cache == nil
        self.logger = logger
        recorder = EventRecorder(
            client: client, component: "portolan-speaker", host: configuration.nodeName,
            logger: logger)
        statusWriter = L2StatusWriter(
            client: client, nodeName: configuration.nodeName, interface: configuration.interface,
            namespace: configuration.configurationNamespace, logger: logger)
        var initial = State()
        initial.awaited.formUnion(ConfigurationInformers.layer2Kinds.map(\.kind))
        state = Mutex(initial)
        let (sockets, identity) = try Self.open(configuration)
        let (actions, continuation) = AsyncStream.makeStream(
            of: SpeakerCore.Action.self, bufferingPolicy: .bufferingOldest(4096))
        self.actions = actions
        loop = try SpeakerLoop(
            sockets: sockets, core: SpeakerCore(identity, timing: configuration.timing)
        ) { continuation.yield($0) }
    }

    /// Announces until the task is cancelled; then says farewell to the other speakers and returns
    /// when one of them has had the time to take over.
    public func run() async throws {
        try loop.start()
        await withDiscardingTaskGroup { group in
            if ownsCache { group.addTask { await self.cache.run() } }
            group.addTask { await self.watchServices() }
            group.addTask { await self.watchSlices() }
            group.addTask { await self.watchNodes() }
            group.addTask { await self.watchSecret(SpeakerSecret.memberlist) }
            group.addTask { await self.watchSecret(SpeakerSecret.own) }
            group.addTask { await self.watchForeignSpeaker() }
            group.addTask { await self.watchConfiguration() }
            group.addTask { await self.deliver() }
            group.addTask { await self.statusWriter.run() }
        }
        loop.change { core, _ in core.leave() }
        // The task is cancelled already, so the pause is a detached one.
        let pause = configuration.leavePause
        await Task.detached { try? await Task.sleep(for: pause) }.value
        loop.stop()
    }

    /// Ends at once and without a farewell, as a crash would: for trying out fail-over.
    public func halt() { loop.stop() }

    /// Why each address of each Service is announced from this node or not.
    public var reasons: [ObjectKey: [IPAddress: AnnouncementReason]] {
        loop.read { $0.reasons() }
    }

    /// The addresses that are announced from this node.
    public var announced: Set<IPAddress> { loop.read { $0.announced } }

    private static func open(
        _ configuration: Configuration
    ) throws -> (SpeakerSockets, SpeakerCore.Identity) {
        func inside() throws -> (SpeakerSockets, SpeakerCore.Identity) {
            let route = try RouteSocket()
            let link = try route.requireLink(configuration.interface)
            let prefixes = try route.addresses().filter { $0.linkIndex == link.index }
                .compactMap { Prefix($0.address, length: $0.prefixLength) }
            let sockets = try SpeakerSockets(
                linkIndex: link.index, lanAddress: configuration.lanAddress)
            let family = configuration.lanAddress.family
            let identity = SpeakerCore.Identity(
                nodeName: configuration.nodeName,
                interface: SpeakerInterface(
                    name: configuration.interface,
                    prefixes: prefixes.sorted {
                        ($0.family == family ? 0 : 1, $0) < ($1.family == family ? 0 : 1, $1)
                    }),
                hardware: link.address ?? .zero, boot: UInt64.random(in: 1...UInt64.max))
            return (sockets, identity)
        }
        guard let namespace = configuration.namespace else { return try inside() }
        return try NetworkNamespace.withThread(in: namespace, inside)
    }
}

// MARK: - Watches

extension SpeakerAgent {
    private func watchServices() async {
        await cache.services.follow { notice in
            switch notice {
            case .synced: self.markSynced("Service")
            case .changes(let changes):
                for change in changes {
                    self.loop.change {
                        $0.update(change.key, service: change.new, nowMilliseconds: $1)
                    }
                }
            }
        }
    }

    private func watchSlices() async {
        await cache.endpointSlices.follow { notice in
            switch notice {
            case .synced: self.markSynced("EndpointSlice")
            case .changes(let changes):
                for change in changes {
                    self.loop.change {
                        $0.update(change.key, sharedSlice: change.sharedNew, nowMilliseconds: $1)
                    }
                }
            }
        }
    }

    private func watchNodes() async {
        await cache.nodes.follow { notice in
            switch notice {
            case .synced: self.markSynced("Node")
            case .changes(let changes):
                for change in changes {
                    self.loop.change {
                        $0.update(node: change.key.name, change.new, nowMilliseconds: $1)
                    }
                }
            }
        }
    }

    private func watchConfiguration() async {
        let informers = ConfigurationInformers(
            client: client, kinds: ConfigurationInformers.layer2Kinds,
            namespace: configuration.configurationNamespace, logger: logger)
        await informers.run { notice in
            switch notice {
            case .synced(let kind): self.markSynced(kind)
            case .change(let kind, let key, let object):
                let isChanged = self.state.withLock {
                    $0.collector.update(kind: kind, key, object) && $0.awaited.isEmpty
                }
                if isChanged { self.readConfiguration() }
            }
        }
    }

    /// MetalLB's own speaker answers for the same addresses, so where it runs, it alone does.
    private func watchForeignSpeaker() async {
        let options = ListOptions(
            namespace: configuration.configurationNamespace,
            labelSelector: "app=metallb,component=speaker")
        let informer = Informer<Object>(
            .daemonSets, client: client, options: options, logger: logger)
        await informer.run { notice in
            if case .synced = notice { return self.markSynced("DaemonSet") }
            let isRunning = informer.objects.contains {
                $0["status"]?["numberAvailable"]?.int ?? 0 > 0
            }
            self.loop.change { $0.setAside(isRunning, nowMilliseconds: $1) }
        }
    }

    private func watchSecret(_ key: ObjectKey) async {
        let options = ListOptions(
            namespace: key.namespace, fieldSelector: "metadata.name=\(key.name)")
        let informer = Informer<Object>(.secrets, client: client, options: options, logger: logger)
        await informer.run { notice in
            if case .changes(let changes) = notice {
                for change in changes where change.key == key {
                    self.setSecret(key, SpeakerSecret.bytes(change.new))
                }
            } else {
                self.markSynced(key.name)
            }
        }
    }

    private func setSecret(_ key: ObjectKey, _ bytes: [UInt8]?) {
        let secret = state.withLock { state in
            if key == SpeakerSecret.memberlist {
                state.memberlist = bytes
            } else {
                state.ownSecret = bytes
            }
            return state.memberlist ?? state.ownSecret
        }
        guard let secret else { return }
        loop.change { core, _ in
            core.setKey(HeartbeatKey(secret: secret))
            return []
        }
    }

    private func readConfiguration() {
        let result = state.withLock { $0.collector.read() }
        // An invalid configuration changes nothing; the controller of addresses says so.
        guard case .success(let configuration) = result else { return }
        loop.change { $0.update(configuration: configuration, nowMilliseconds: $1) }
    }

    private func markSynced(_ name: String) {
        let isComplete = state.withLock { state in
            state.awaited.remove(name) != nil && state.awaited.isEmpty
        }
        guard isComplete else { return }
        readConfiguration()
        loop.change { $0.start(nowMilliseconds: $1) }
        let isKeyless = state.withLock { $0.memberlist == nil && $0.ownSecret == nil }
        if isKeyless { Task { await makeSecret() } }
    }

    /// The control plane makes the secret; in a cluster without one, the first speaker does.
    private func makeSecret() async {
        do {
            try await SpeakerSecret.ensure(client: client)
        } catch {
            logger.warning(
                "no secret for heartbeats: other nodes take over only when the API says so",
                metadata: ["error": "\(error)"])
        }
    }

    private func deliver() async {
        for await action in actions {
            switch action {
            case .event(let event):
                let metadata = loop.read { $0.metadata(of: event.service) }
                let reference =
                    metadata.map { ObjectReference(.services, $0) }
                    ?? ObjectReference(.services, event.service)
                await recorder.record(
                    event.isWarning ? .warning : .normal, reason: event.reason,
                    message: event.message, regarding: reference)
            case .announcementsChanged: statusWriter.update(loop.read { $0.announcements })
            case .frame, .datagram: break
            }
        }
    }
}

// MARK: - Metrics

extension SpeakerAgent {
    /// The metrics in Prometheus' text format, MetalLB's under their names.
    public func metricsText() -> String {
        let node = configuration.nodeName
        let (announcements, responder, counters) = loop.read {
            ($0.announcements, $0.responder, $0.membership.counters)
        }
        var text = "# TYPE metallb_speaker_announced gauge\n"
        for (service, addresses) in announcements.sorted(by: { $0.key < $1.key }) {
            for address in addresses {
                text +=
                    "metallb_speaker_announced{service=\"\(service)\",protocol=\"layer2\","
                    + "node=\"\(node)\",ip=\"\(address)\"} 1\n"
            }
        }
        let families: [(String, (AddressResponder.Counters) -> UInt64)] = [
            ("metallb_layer2_requests_received", \.requestsReceived),
            ("metallb_layer2_responses_sent", \.responsesSent),
            ("metallb_layer2_gratuitous_sent", \.gratuitousSent),
            ("portolan_speaker_conflicts_total", \.conflicts),
        ]
        for (name, value) in families {
            text += "# TYPE \(name) counter\n"
            for (address, counts) in responder.counters.sorted(by: { $0.key < $1.key }) {
                text += "\(name){ip=\"\(address)\"} \(value(counts))\n"
            }
        }
        let totals: [(String, UInt64)] = [
            ("portolan_speaker_malformed_frames_total", responder.malformedCount),
            ("portolan_speaker_heartbeats_sent_total", counters.sent),
            ("portolan_speaker_heartbeats_received_total", counters.received),
            ("portolan_speaker_heartbeats_unauthenticated_total", counters.unauthenticated),
            ("portolan_speaker_heartbeats_malformed_total", counters.malformed),
            ("portolan_speaker_heartbeats_replayed_total", counters.replayed),
            ("portolan_speaker_deaths_total", counters.deaths),
            ("portolan_speaker_send_failures_total", loop.sendFailureCount),
        ]
        for (name, value) in totals { text += "# TYPE \(name) counter\n\(name) \(value)\n" }
        return text
    }
}

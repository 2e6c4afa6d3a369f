import Glibc
import Informer
import JSON
import KubernetesAPI
import Logging
import Netlink
import NetworkTypes
import Synchronization

/// Watches the API for the agent, and hands what it says to the worker.
final class ProxyWatcher: Sendable {
    private struct State {
        var context: NodeContext
        var nodeAddresses: [IPAddress] = []
        var kubeProxy = KubeProxyConfiguration()
        /// The collections whose first list has not come yet.
        var awaited: Set<Source> = [.services, .endpointSlices]
    }

    /// What the rules depend on.
    private enum Source: Hashable {
        case services, endpointSlices, nodes, configMaps
    }

    private let agent: ProxyAgent
    private let worker: ProxyWorker
    private let servers: ProxyServers
    private let state: Mutex<State>
    private let recorder: EventRecorder

    /// Where kubeadm keeps kube-proxy's configuration.
    static let configMapKey = ObjectKey(namespace: "kube-system", name: "kube-proxy")

    init(agent: ProxyAgent, worker: ProxyWorker, servers: ProxyServers) {
        self.agent = agent
        self.worker = worker
        self.servers = servers
        let configuration = agent.configuration
        state = Mutex(
            State(
                context: NodeContext(
                    nodeName: configuration.nodeName,
                    locallyServedAddresses: Set(configuration.locallyServedAddresses))))
        recorder = EventRecorder(
            client: agent.client, component: "portolan-proxy", host: configuration.nodeName,
            logger: agent.logger)
    }

    /// Adds the watches to the group, and tells the worker when all have their first lists.
    func run(in group: inout TaskGroup<Void>) async {
        let name = agent.configuration.nodeName
        let cache =
            agent.cache
            ?? ClusterCache(
                client: agent.client, nodes: name.isEmpty ? .none : .named(name),
                logger: agent.logger)
        if agent.cache == nil { group.addTask { await cache.run() } }
        state.withLock { state in
            if !name.isEmpty { state.awaited.insert(.nodes) }
            if agent.configuration.followsConfigMap { state.awaited.insert(.configMaps) }
        }
        group.addTask {
            await cache.services.follow {
                self.note($0) { ProgrammedRevisions(services: $0) }
            } handler: {
                self.take(services: $0)
            }
        }
        group.addTask {
            await cache.endpointSlices.follow {
                self.note($0) { ProgrammedRevisions(endpointSlices: $0) }
            } handler: {
                self.take(slices: $0)
            }
        }
        if !name.isEmpty {
            group.addTask { await cache.nodes.follow(handler: { self.take(nodes: $0) }) }
        }
        if agent.configuration.followsConfigMap {
            let maps = Informer<Object>(
                .configMaps, client: agent.client,
                options: ListOptions(
                    namespace: Self.configMapKey.namespace,
                    fieldSelector: "metadata.name=\(Self.configMapKey.name)"), logger: agent.logger)
            group.addTask { await maps.run { await self.take(configMaps: $0) } }
        } else {
            await apply(agent.configuration.kubeProxyConfiguration ?? .init(), regarding: nil)
        }
    }

    private func markSynced(_ source: Source) {
        let isComplete = state.withLock { state in
            state.awaited.remove(source) != nil && state.awaited.isEmpty
        }
        if isComplete { worker.post { $0.isComplete = true } }
    }

    /// Everything up to a revision has been handed to the worker.
    private func note(_ revision: String, _ make: (UInt64) -> ProgrammedRevisions) {
        guard let number = UInt64(revision) else { return }
        worker.post { $0.revisions.advance(to: make(number)) }
    }

    // MARK: - Services and slices

    private func take(services notice: Informer<Service>.Notice) {
        guard case .changes(let changes) = notice else { return markSynced(.services) }
        worker.post { inbox in
            for change in changes { inbox.services[change.key] = .some(change.sharedNew) }
        }
    }

    private func take(slices notice: Informer<EndpointSlice>.Notice) {
        guard case .changes(let changes) = notice else { return markSynced(.endpointSlices) }
        worker.post { inbox in
            for change in changes { inbox.slices[change.key] = .some(change.sharedNew) }
        }
    }

    // MARK: - The node

    private func take(nodes notice: Informer<Node>.Notice) {
        guard case .changes(let changes) = notice else { return markSynced(.nodes) }
        for change in changes where change.key.name == agent.configuration.nodeName {
            let node = change.new
            servers.note(isNodeEligible: node?.isEligibleForLoadBalancing ?? true)
            let (context, hasOtherAddresses) = state.withLock { state in
                state.context.zone = node?.zone
                let addresses = node?.internalAddresses ?? []
                defer { state.nodeAddresses = addresses }
                return (state.context, state.nodeAddresses != addresses)
            }
            worker.post { $0.node = context }
            if hasOtherAddresses { postOptions() }
        }
    }

    private func postOptions() {
        let (kubeProxy, addresses) = state.withLock { ($0.kubeProxy, $0.nodeAddresses) }
        let options = agent.configuration.rulesetOptions(kubeProxy, nodeAddresses: addresses)
        worker.post { $0.options = options }
    }

    // MARK: - Configuration

    private func take(configMaps notice: Informer<Object>.Notice) async {
        guard case .changes(let changes) = notice else { return markSynced(.configMaps) }
        for change in changes where change.key == Self.configMapKey {
            guard let object = change.new, let text = object["data"]?["config.conf"]?.string else {
                await apply(.init(), regarding: nil)
                continue
            }
            let reference = ObjectReference(.configMaps, change.key, uid: object.metadata.uid)
            do throws(KubeProxyConfigurationError) {
                await apply(try KubeProxyConfiguration(yaml: text), regarding: reference)
            } catch {
                // What held before goes on holding: a slip of the editor must not stop Services.
                agent.logger.error(
                    "the kube-proxy ConfigMap is not taken over", metadata: ["error": "\(error)"])
                await recorder.record(
                    .warning, reason: "InvalidConfiguration",
                    message: "\(error); the configuration before it stays in force",
                    regarding: reference)
            }
        }
    }

    private func apply(
        _ kubeProxy: KubeProxyConfiguration, regarding reference: ObjectReference?
    ) async {
        let wasARPStrict = state.withLock { state in
            defer { state.kubeProxy = kubeProxy }
            return state.kubeProxy.isARPStrict
        }
        postOptions()
        let seconds = kubeProxy.syncPeriodSeconds ?? agent.configuration.auditPeriodSeconds
        worker.post { $0.auditPeriodSeconds = seconds }
        var warnings = kubeProxy.warnings
        if agent.configuration.setsSysctls { warnings += setSysctls(kubeProxy, wasARPStrict) }
        for (text, field, address, port) in [
            (
                kubeProxy.healthBindAddress, "healthzBindAddress",
                agent.configuration.healthAddress, UInt16(10256)
            ),
            (
                kubeProxy.metricsBindAddress, "metricsBindAddress",
                agent.configuration.metricsAddress, 10249
            ),
        ] {
            guard let text else { continue }
            if ProxyAgent.ListenAddress(text, defaultPort: port) != address {
                warnings.append("\(field) has no effect: the agent's own setting holds")
            }
        }
        worker.metrics.noteConfigurationWarnings(warnings.count)
        for warning in warnings {
            agent.logger.warning("KubeProxyConfiguration: \(warning)")
            guard let reference else { continue }
            await recorder.record(
                .warning, reason: warning.hasPrefix("mode ") ? "ModeReplaced" : "FieldIgnored",
                message: warning, regarding: reference)
        }
    }

    /// Sets the kernel parameters of the node's namespace; returns what could not be set.
    private func setSysctls(
        _ kubeProxy: KubeProxyConfiguration, _ wasARPStrict: Bool
    ) -> [String] {
        var parameters: [(String, String)] = []
        // An address on a link of the node is answered only where that link was asked, and asked
        // for with an address of the network's own: what IPVS mode needed for kube-ipvs0. Taken
        // back only where this agent set it: it may be the administrator's own setting.
        if kubeProxy.isARPStrict || wasARPStrict {
            parameters = [
                ("net/ipv4/conf/all/arp_ignore", kubeProxy.isARPStrict ? "1" : "0"),
                ("net/ipv4/conf/all/arp_announce", kubeProxy.isARPStrict ? "2" : "0"),
            ]
        }
        // Packets that come out of order, from behind a lossy link, are still the connection's.
        let isLiberal = kubeProxy.isTCPLiberal ?? true
        parameters.append(
            ("net/netfilter/nf_conntrack_tcp_be_liberal", isLiberal ? "1" : "0"))
        let processors = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        if let limit = kubeProxy.conntrackLimit(processorCount: processors) {
            // The kernel lets only the machine's own namespace set it; elsewhere this is a warning.
            parameters.append(("net/netfilter/nf_conntrack_max", "\(limit)"))
        }
        for (path, value) in kubeProxy.conntrackSysctls.sorted(by: { $0.key < $1.key }) {
            parameters.append((path, "\(value)"))
        }
        var failures: [String] = []
        for (path, value) in parameters {
            do {
                if try Sysctl.read(path) != value { try Sysctl.write(path, value) }
            } catch {
                failures.append("\(error)")
            }
        }
        return failures
    }
}

extension Node {
    /// False while the node is being deleted, by hand or by the cluster autoscaler.
    fileprivate var isEligibleForLoadBalancing: Bool {
        metadata.deletionTimestamp == nil
            && !taints.contains { $0.key == "ToBeDeletedByClusterAutoscaler" }
    }
}

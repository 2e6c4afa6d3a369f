import Glibc
import Informer
import KubernetesAPI
import NFTables
import NetworkTypes
import Synchronization

/// What the proxy counts, under the names that kube-proxy's dashboards know where there is one.
final class ProxyMetrics: Sendable {
    private struct State {
        var syncs = Histogram()
        var fullSyncs = Histogram()
        var partialSyncs = Histogram()
        var programming = Histogram()
        var lastSyncSeconds = 0.0
        var lastQueuedSeconds = 0.0
        var serviceChanges = 0
        var endpointChanges = 0
        var pendingServiceChanges = 0
        var pendingEndpointChanges = 0
        var failures = 0
        var gaps = ProxyRules.LocalGaps()
        var statistics = ProxyStatistics()
        var healthAnswers: [String: [Int: Int]] = [:]
        var configurationWarnings = 0
        var lastProgramming: [ObjectKey: Double] = [:]
    }

    private let state = Mutex(State())

    /// When the last sync ended, in seconds since 1970; 0 for never.
    var lastSyncSeconds: Double { state.withLock { $0.lastSyncSeconds } }
    /// When changes that wait came, in seconds since 1970; nil where none wait.
    var oldestWaitSeconds: Double? {
        state.withLock { state in
            state.lastQueuedSeconds > state.lastSyncSeconds ? state.lastQueuedSeconds : nil
        }
    }

    func note(changes: ProxyWorker.Inbox) {
        guard !changes.services.isEmpty || !changes.slices.isEmpty else { return }
        state.withLock { state in
            state.serviceChanges += changes.services.count
            state.endpointChanges += changes.slices.count
            state.pendingServiceChanges += changes.services.count
            state.pendingEndpointChanges += changes.slices.count
            if state.lastQueuedSeconds <= state.lastSyncSeconds {
                state.lastQueuedSeconds = wallSeconds()
            }
        }
    }

    func noteSync(
        isFull: Bool, nanoseconds: UInt64, engine: ProxyEngine, inbox: ProxyWorker.Inbox
    ) {
        let now = wallSeconds()
        let seconds = Double(nanoseconds) / 1e9
        var latencies: [(ObjectKey, Double)] = []
        for case (_, let slice?) in inbox.slices where !isFull {
            guard let key = slice.value.serviceKey, let trigger = slice.value.triggerSeconds else {
                continue
            }
            latencies.append((key, max(now - trigger, 0)))
        }
        let gaps = engine.localGaps
        let statistics = engine.statistics
        state.withLock { state in
            state.syncs.observe(seconds)
            if isFull {
                state.fullSyncs.observe(seconds)
            } else {
                state.partialSyncs.observe(seconds)
            }
            state.lastSyncSeconds = now
            state.pendingServiceChanges = 0
            state.pendingEndpointChanges = 0
            state.gaps = gaps
            state.statistics = statistics
            for (key, latency) in latencies {
                state.programming.observe(latency)
                state.lastProgramming[key] = latency
            }
            for case (let key, nil) in inbox.services { state.lastProgramming[key] = nil }
        }
    }

    func noteAudit(_ engine: ProxyEngine) {
        let statistics = engine.statistics
        state.withLock { $0.statistics = statistics }
    }

    func noteFailure() { state.withLock { $0.failures += 1 } }

    func noteConfigurationWarnings(_ count: Int) {
        state.withLock { $0.configurationWarnings = count }
    }

    func noteAnswer(_ endpoint: String, _ code: Int) {
        state.withLock { $0.healthAnswers[endpoint, default: [:]][code, default: 0] += 1 }
    }

    /// Everything as Prometheus reads it (text format 0.0.4).
    func text(_ readings: KernelCounters?) -> String {
        let state = self.state.withLock { $0 }
        var text = MetricsText()
        appendSyncs(state, to: &text)
        text.counter(
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
            "Transactions the kernel refused.", state.failures)
        for (name, codes) in state.healthAnswers.sorted(by: { $0.key < $1.key }) {
            text.header("kubeproxy_proxy_\(name)_total", "Answers of /\(name) by code.", "counter")
            for (code, count) in codes.sorted(by: { $0.key < $1.key }) {
                text.sample("kubeproxy_proxy_\(name)_total", [("code", "\(code)")], Double(count))
            }
        }
        let statistics = state.statistics
        text.counter(
            "kubeproxy_conntrack_reconciler_deleted_entries_total",
            "Tracked UDP flows deleted because their endpoint was gone.",
            statistics.deletedFlowCount)
        text.append(
            statistics.conntrackSyncs, "kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "Time to find and delete stale flows.")
        for (name, help, value) in [
            ("transactions", "Transactions made.", statistics.transactionCount),
            (
                "changed_elements", "Elements and other objects changed.",
                statistics.changedElementCount
            ),
            ("audits", "Comparisons of the kernel with memory.", statistics.auditCount),
            (
                "audit_differences", "Differences found and repaired.",
                statistics.repairedDifferenceCount
            ),
            (
                "forgotten_clients", "Affinities ended with their endpoint.",
                statistics.forgottenClientCount
            ),
            (
                "fast_path_failures", "Times the fast path was given up.",
                statistics.fastPathFailureCount
            ),
            (
                "follow_up_failures", "Clean-ups after a change that failed.",
                statistics.followUpFailureCount
            ),
        ] {
            text.counter("portolan_proxy_\(name)_total", help, value)
        }
        text.gauge(
            "portolan_proxy_configuration_warnings",
            "Fields of the KubeProxyConfiguration without effect.", state.configurationWarnings)
        text.header(
            "portolan_proxy_service_programming_seconds",
            "From the endpoints' change to rules in force, last time.", "gauge")
        for (key, seconds) in state.lastProgramming.sorted(by: { $0.key < $1.key }) {
            text.sample(
                "portolan_proxy_service_programming_seconds",
                [("namespace", key.namespace), ("service", key.name)], seconds)
        }
        readings?.append(to: &text)
        return text.text
    }

    private func appendSyncs(_ state: State, to text: inout MetricsText) {
        text.append(
            state.syncs, "kubeproxy_sync_proxy_rules_duration_seconds",
            "Time to bring the kernel to what the objects say.")
        text.append(
            state.fullSyncs, "kubeproxy_sync_full_proxy_rules_duration_seconds",
            "The same, for everything at once.")
        text.append(
            state.partialSyncs, "kubeproxy_sync_partial_proxy_rules_duration_seconds",
            "The same, for what changed.")
        text.append(
            state.programming, "kubeproxy_network_programming_duration_seconds",
            "From the endpoints' change to rules in force.")
        text.gauge(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the last sync ended.",
            state.lastSyncSeconds)
        text.gauge(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "When the last sync was asked for.", state.lastQueuedSeconds)
        for (name, total, pending) in [
            ("service", state.serviceChanges, state.pendingServiceChanges),
            ("endpoint", state.endpointChanges, state.pendingEndpointChanges),
        ] {
            text.counter(
                "kubeproxy_sync_proxy_rules_\(name)_changes_total", "Changes seen.", total)
            text.gauge(
                "kubeproxy_sync_proxy_rules_\(name)_changes_pending", "Changes not in force yet.",
                pending)
        }
        let name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
        text.header(name, "Ports under a Local policy without endpoint here.", "gauge")
        text.sample(name, [("traffic_policy", "internal")], Double(state.gaps.internalCount))
        text.sample(name, [("traffic_policy", "external")], Double(state.gaps.externalCount))
    }
}

/// Counters that the kernel keeps, read for one scrape.
struct KernelCounters: Sendable {
    /// Connections by Service, port and kind of address.
    struct Connections: Sendable {
        var service: ObjectKey
        var port: String
        var role: String
        var packets: UInt64
    }

    var connections: [Connections] = []
    /// Packets by the reason for which they ended.
    var endings: [String: UInt64] = [:]
    /// Packets that connection tracking could not place.
    var invalidPackets: UInt64 = 0
    /// What the fast path did; nil where there is none.
    var fastPath: FastPath.Statistics?

    private static func append(_ fastPath: FastPath.Statistics, to text: inout MetricsText) {
        for (name, help, value) in [
            ("services", "Cluster IPs and ports that the fast path serves.", fastPath.serviceCount),
            ("links", "Pods' links with the fast path's programs.", fastPath.linkCount),
            ("flows", "Entries of connections at the last sweep.", fastPath.flowCount),
        ] {
            text.gauge("portolan_proxy_fast_path_\(name)", help, value)
        }
        for (name, help, value) in [
            ("expired_flows", "Connections forgotten after their end.", fastPath.expiredFlowCount),
            ("full", "Services left to the rules because a map was full.", fastPath.fullCount),
            ("repairs", "Audits that found the map of Services different.", fastPath.repairCount),
        ] {
            text.counter("portolan_proxy_fast_path_\(name)_total", help, value)
        }
    }

    func append(to text: inout MetricsText) {
        let name = "portolan_proxy_service_connections_total"
        text.header(name, "New connections by Service.", "counter")
        for entry in connections {
            text.sample(
                name,
                [
                    ("namespace", entry.service.namespace), ("service", entry.service.name),
                    ("port", entry.port), ("address", entry.role),
                ], Double(entry.packets))
        }
        if let fastPath { Self.append(fastPath, to: &text) }
        let ended = "portolan_proxy_ended_packets_total"
        text.header(ended, "Packets refused or dropped, by reason.", "counter")
        for (reason, count) in endings.sorted(by: { $0.key < $1.key }) {
            text.sample(ended, [("reason", reason)], Double(count))
        }
        text.counter(
            "portolan_proxy_conntrack_invalid_packets_total",
            "Packets that connection tracking could not place.", Int(clamping: invalidPackets))
    }
}

/// A histogram with buckets at powers of two from a tenth of a millisecond.
struct Histogram: Sendable {
    private static let bounds = (0..<20).map { 0.0001 * Double(1 << $0) }
    private(set) var counts = [Int](repeating: 0, count: 21)
    private(set) var sum = 0.0

    mutating func observe(_ value: Double) {
        sum += value
        counts[Self.bounds.firstIndex { value <= $0 } ?? 20] += 1
    }

    func append(_ name: String, to text: inout MetricsText) {
        var total = 0
        for (index, bound) in Self.bounds.enumerated() {
            total += counts[index]
            text.sample(name + "_bucket", [("le", "\(bound)")], Double(total))
        }
        total += counts[20]
        text.sample(name + "_bucket", [("le", "+Inf")], Double(total))
        text.sample(name + "_sum", [], sum)
        text.sample(name + "_count", [], Double(total))
    }
}

/// Builds the text format.
struct MetricsText {
    private(set) var text = ""

    mutating func header(_ name: String, _ help: String, _ type: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
    }

    mutating func sample(_ name: String, _ labels: [(String, String)], _ value: Double) {
        text += name
        if !labels.isEmpty {
            // Names of objects and fields have no character that needs escaping.
            text += "{" + labels.map { "\($0)=\"\($1)\"" }.joined(separator: ",") + "}"
        }
        text += value == value.rounded() && abs(value) < 1e15 ? " \(Int64(value))\n" : " \(value)\n"
    }

    mutating func counter(_ name: String, _ help: String, _ value: Int) {
        header(name, help, "counter")
        sample(name, [], Double(value))
    }

    mutating func gauge(_ name: String, _ help: String, _ value: Int) {
        gauge(name, help, Double(value))
    }

    mutating func gauge(_ name: String, _ help: String, _ value: Double) {
        header(name, help, "gauge")
        sample(name, [], value)
    }

    mutating func append(_ histogram: Histogram, _ name: String, _ help: String) {
        header(name, help, "histogram")
        histogram.append(name, to: &self)
    }
}

extension EndpointSlice {
    /// When the change behind the slice happened, as the endpoints controller noted it.
    fileprivate var triggerSeconds: Double? {
        metadata.annotations["endpoints.kubernetes.io/last-change-trigger-time"]
            .flatMap { Timestamp($0) }
            .map { Double($0.microseconds) / 1e6 }
    }
}

/// The wall clock, in seconds since 1970.
func wallSeconds() -> Double { Double(Timestamp.now.microseconds) / 1e6 }

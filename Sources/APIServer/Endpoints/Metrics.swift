import KubernetesAPI
import NetworkTypes
import Store

extension APIHandler {
    /// `/metrics` in Prometheus' text form.
    func metricsText() -> String {
        var text = ""
        func add(_ name: String, _ type: String, _ help: String, _ samples: [(String, Int)]) {
            text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
            for (labels, value) in samples { text += "\(name)\(labels) \(value)\n" }
        }
        add(
            "apiserver_request_total", "counter", "Requests received.",
            [("", counters.requestsTotal.value)])
        add(
            "apiserver_current_inflight_requests", "gauge", "Requests being answered.",
            [("", counters.requests.value)])
        add(
            "apiserver_longrunning_requests", "gauge", "Watches, logs and tunnels open.",
            [("", counters.streams.value)])
        add(
            "apiserver_rejected_requests_total", "counter", "Requests refused with 429.",
            [("", counters.requests.refusedTotal + counters.streams.refusedTotal)])
        add(
            "apiserver_unauthorized_requests_total", "counter", "Requests refused with 401.",
            [("", counters.unauthorizedTotal.value)])
        add(
            "apiserver_forbidden_requests_total", "counter", "Requests refused with 403.",
            [("", counters.forbiddenTotal.value)])
        add(
            "apiserver_terminated_watchers_total", "counter", "Watches that fell behind.",
            [("", counters.watchesOverflowedTotal.value)])
        add(
            "apiserver_storage_objects", "gauge", "Objects stored, by resource.",
            registry.store.objectCounts.sorted { $0.key < $1.key }
                .map { ("{resource=\"\($0.key)\"}", $0.value) })
        add(
            "portolan_list_snapshots_dropped_total", "counter",
            "Collections in pages that were dropped before their last page could be asked for.",
            [("", registry.snapshots.droppedTotal.value)])
        addAllocations(add)
        add(
            "portolan_store_revision", "gauge", "The newest revision.",
            [("", Int(registry.store.revision))])
        return text
    }

    /// Addresses and ports of Services, under the names that kube-apiserver uses.
    private func addAllocations(
        _ add: (_ name: String, _ type: String, _ help: String, _ samples: [(String, Int)]) -> Void
    ) {
        let allocations = registry.allocations
        let usage = allocations.usage
        let ranges = usage.ranges.map { ("{cidr=\"\($0.range)\"}", $0.range, $0.used) }
        add(
            "kube_apiserver_clusterip_allocator_allocated_ips", "gauge",
            "Cluster addresses in use.", ranges.map { ($0.0, $0.2) })
        add(
            "kube_apiserver_clusterip_allocator_available_ips", "gauge",
            "Cluster addresses that are free.",
            ranges.map { label, range, used in
                let size = Int(clamping: range.addressCount)
                return (label, max(0, size - (range.family == .ipv4 ? 2 : 1) - used))
            })
        add(
            "kube_apiserver_clusterip_allocator_allocation_total", "counter",
            "Cluster addresses given out.", [("", allocations.allocatedTotal.value)])
        add(
            "kube_apiserver_clusterip_allocator_allocation_errors_total", "counter",
            "Writes of Services refused for want of an address or port.",
            [("", allocations.refusedTotal.value)])
        add(
            "kube_apiserver_nodeport_allocator_allocated_ports", "gauge", "Node ports in use.",
            [("", usage.ports)])
        add(
            "kube_apiserver_nodeport_allocator_available_ports", "gauge",
            "Node ports that are free.",
            [("", max(0, allocations.nodePortRange.count - usage.ports))])
        let totals = repairs.totals
        func samples(_ isPort: Bool) -> [(String, Int)] {
            totals.filter { $0.kind.rawValue.hasPrefix("port_") == isPort }
                .map { ("{type=\"\($0.kind.rawValue)\"}", $0.count) }
        }
        add(
            "clusterip_repair_ip_errors_total", "counter",
            "Faults of cluster addresses that the repair loop found.", samples(false))
        add(
            "nodeport_repair_port_errors_total", "counter",
            "Faults of node ports that the repair loop found.", samples(true))
        add(
            "clusterip_repair_reconcile_errors_total", "counter", "Repairs that failed.",
            [("", repairs.failedTotal.value)])
    }
}

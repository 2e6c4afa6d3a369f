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
            "portolan_store_revision", "gauge", "The newest revision.",
            [("", Int(registry.store.revision))])
        return text
    }
}

import DNS

extension DNSServer {
    /// The server's metrics in Prometheus' text format, under CoreDNS' names.
    /// - Parameter programming: DNS programming durations, if a controller keeps them.
    public func metricsText(programming: ProgrammingDurations? = nil) -> String {
        let workers = workerMetrics
        var text = MetricsWriter()
        writeRequests(workers, &text)
        writeHistograms(workers, &text)
        writeCache(workers, &text)
        writeForwarding(workers, &text)
        writeUpstreams(upstreamBoards, &text)
        writeTLS(&text)
        programming?.write(to: &text)
        if let zone = configuration.zone {
            text.gauge(
                "portolan_dns_zone_names", "Names in the cluster zone.", Double(zone.nameCount))
            text.gauge(
                "portolan_dns_zone_services", "Services in the cluster zone.",
                Double(zone.serviceCount))
        }
        return text.text
    }

    private func writeTLS(_ text: inout MetricsWriter) {
        for (name, help, counter) in [
            ("handshakes", "TLS connections that clients opened.", tlsCounters.handshakes),
            ("failures", "TLS handshakes that failed or took too long.", tlsCounters.failures),
            ("refused", "TLS connections closed because there were too many.", tlsCounters.refused),
        ] {
            text.begin("portolan_dns_tls_\(name)_total", help, "counter")
            text.sample("portolan_dns_tls_\(name)_total", "", Double(counter.value))
        }
    }

    private func writeRequests(_ workers: [WorkerMetrics], _ text: inout MetricsWriter) {
        text.begin(
            "coredns_dns_requests_total",
            "Counter of DNS requests made per zone, protocol and family.", "counter")
        for isStream in [false, true] {
            for index in 0...WorkerMetrics.types.count {
                let count = workers.reduce(0) {
                    $0 + $1.requests(typeIndex: index, isStream: isStream)
                }
                guard count > 0 else { continue }
                let type =
                    index < WorkerMetrics.types.count
                    ? WorkerMetrics.types[index].description : "other"
                text.sample(
                    "coredns_dns_requests_total",
                    "family=\"1\",proto=\"\(isStream ? "tcp" : "udp")\",server=\"dns://:53\",type=\"\(type)\",view=\"\",zone=\".\"",
                    Double(count))
            }
        }
        text.begin("coredns_dns_responses_total", "Counter of response status codes.", "counter")
        for (index, code) in (WorkerMetrics.codes.map(\.description) + ["other"]).enumerated() {
            for source in AnswerSource.allCases {
                let count = workers.reduce(0) { $0 + $1.responses(codeIndex: index, source) }
                guard count > 0 else { continue }
                text.sample(
                    "coredns_dns_responses_total",
                    "plugin=\"\(source.label)\",rcode=\"\(code)\",server=\"dns://:53\",view=\"\",zone=\".\"",
                    Double(count))
            }
        }
    }

    private func writeHistograms(_ workers: [WorkerMetrics], _ text: inout MetricsWriter) {
        let labels = "server=\"dns://:53\",view=\"\",zone=\".\""
        var durations = Array(repeating: UInt64(0), count: WorkerMetrics.durationBounds.count + 1)
        var sum: UInt64 = 0
        for worker in workers {
            let (counts, nanoseconds) = worker.durations
            for (index, count) in counts.enumerated() { durations[index] += count }
            sum += nanoseconds
        }
        text.histogram(
            "coredns_dns_request_duration_seconds",
            "Histogram of the time (in seconds) each request took per zone.", labels,
            bounds: WorkerMetrics.durationBounds.map { Double($0) / 1e9 }, counts: durations,
            sum: Double(sum) / 1e9)
        for ofResponses in [false, true] {
            var counts = Array(repeating: UInt64(0), count: WorkerMetrics.sizeBounds.count + 1)
            var octets: UInt64 = 0
            for worker in workers {
                let (values, total) = worker.sizes(ofResponses: ofResponses)
                for (index, count) in values.enumerated() { counts[index] += count }
                octets += total
            }
            let name = ofResponses ? "response" : "request"
            text.histogram(
                "coredns_dns_\(name)_size_bytes",
                "Size of the \(name) in bytes.", labels,
                bounds: WorkerMetrics.sizeBounds.map(Double.init), counts: counts,
                sum: Double(octets))
        }
    }

    private func writeCache(_ workers: [WorkerMetrics], _ text: inout MetricsWriter) {
        func total(_ counter: WorkerMetrics.Counter) -> Double {
            Double(workers.reduce(0) { $0 + $1.value(counter) })
        }
        let labels = "server=\"dns://:53\",view=\"\",zones=\".\""
        text.begin("coredns_cache_entries", "The number of elements in the cache.", "gauge")
        text.sample(
            "coredns_cache_entries", "type=\"success\"," + labels, total(.cacheSuccessEntries))
        text.sample(
            "coredns_cache_entries", "type=\"denial\"," + labels, total(.cacheDenialEntries))
        text.begin("coredns_cache_hits_total", "The count of cache hits.", "counter")
        text.sample("coredns_cache_hits_total", "type=\"success\"," + labels, total(.cacheHits))
        text.sample(
            "coredns_cache_hits_total", "type=\"denial\"," + labels, total(.cacheDenialHits))
        for (name, help, counter) in [
            ("misses_total", "The count of cache misses.", WorkerMetrics.Counter.cacheMisses),
            ("prefetch_total", "The number of times the cache has prefetched.", .cachePrefetches),
            ("served_stale_total", "The number of stale answers served.", .cacheStale),
            ("evictions_total", "The count of cache evictions.", .cacheEvictions),
        ] {
            text.begin("coredns_cache_" + name, help, "counter")
            text.sample("coredns_cache_" + name, labels, total(counter))
        }
    }

    private func writeForwarding(_ workers: [WorkerMetrics], _ text: inout MetricsWriter) {
        for (name, help, counter) in [
            (
                "coredns_forward_max_concurrent_rejects_total",
                "Queries refused because too many wait.", WorkerMetrics.Counter.forwardRejects
            ),
            (
                "coredns_forward_healthcheck_broken_total",
                "Queries for which no upstream was left.", .forwardAllDown
            ),
            (
                "portolan_dns_forward_mismatches_total",
                "Packets from upstream that did not belong to the question.", .forwardMismatches
            ),
            ("portolan_dns_dropped_total", "Packets that are no query.", .dropped),
            ("portolan_dns_send_failures_total", "Answers the kernel refused.", .sendFailures),
            (
                "portolan_dns_rate_limited_total", "Answers held back by rate limiting.",
                .rateLimited
            ),
            (
                "portolan_dns_connections_closed_total",
                "TCP connections closed because there were too many.", .connectionsClosedAtBound
            ),
            (
                "portolan_dns_pipeline_stalls_total",
                "Times a connection had too many queries waiting.", .pipelineStalls
            ),
            ("portolan_dns_forward_loops_total", "Upstreams that lead back here.", .loops),
            (
                "coredns_autopath_success_total", "Search paths completed.", .searchPathsCompleted
            ),
        ] {
            text.begin(name, help, "counter")
            text.sample(name, "", Double(workers.reduce(0) { $0 + $1.value(counter) }))
        }
        text.gauge(
            "portolan_dns_connections", "Open TCP connections.",
            Double(workers.reduce(0) { $0 + $1.value(.connections) }))
    }
}

/// Writes Prometheus' text format.
public struct MetricsWriter: Sendable {
    /// What has been written.
    public private(set) var text = ""

    /// Writes a metric's help and type.
    mutating func begin(_ name: String, _ help: String, _ type: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
    }

    /// Writes one sample; `labels` without braces, empty for none.
    mutating func sample(_ name: String, _ labels: String, _ value: Double) {
        let number =
            value == value.rounded() && value.magnitude < 1e15
            ? String(Int64(value)) : String(value)
        text += labels.isEmpty ? "\(name) \(number)\n" : "\(name){\(labels)} \(number)\n"
    }

    /// Writes a metric with one value.
    mutating func gauge(_ name: String, _ help: String, _ value: Double) {
        begin(name, help, "gauge")
        sample(name, "", value)
    }

    /// Writes a histogram; `counts` has one more entry than `bounds`.
    mutating func histogram(
        _ name: String, _ help: String, _ labels: String, bounds: [Double], counts: [UInt64],
        sum: Double
    ) {
        begin(name, help, "histogram")
        histogramSamples(name, labels, bounds: bounds, counts: counts, sum: sum)
    }

    /// Writes a histogram's samples for one set of labels, after `begin`.
    mutating func histogramSamples(
        _ name: String, _ labels: String, bounds: [Double], counts: [UInt64], sum: Double
    ) {
        var total: UInt64 = 0
        for (bound, count) in zip(bounds, counts) {
            total += count
            let edge = bound == bound.rounded() ? String(Int64(bound)) : String(bound)
            sample(name + "_bucket", labels + ",le=\"\(edge)\"", Double(total))
        }
        total += counts.last ?? 0
        sample(name + "_bucket", labels + ",le=\"+Inf\"", Double(total))
        sample(name + "_sum", labels, sum)
        sample(name + "_count", labels, Double(total))
    }
}

/// How long changes took from the endpoint change to the answer, by kind of Service: CoreDNS'
/// `dns_programming_duration`.
public struct ProgrammingDurations: Sendable {
    /// Upper bounds in seconds: 1 ms doubling, as CoreDNS has them.
    static let boundsSeconds = (0..<20).map { 0.001 * Double(1 << $0) }
    private var counts: [String: [UInt64]] = [:]
    private var sums: [String: Double] = [:]

    /// No observations.
    public init() {}

    /// Adds one.
    public mutating func observe(_ seconds: Double, kind: String) {
        var buckets =
            counts[kind] ?? Array(repeating: 0, count: Self.boundsSeconds.count + 1)
        let index = Self.boundsSeconds.firstIndex { seconds <= $0 } ?? Self.boundsSeconds.count
        buckets[index] += 1
        counts[kind] = buckets
        sums[kind, default: 0] += seconds
    }

    func write(to text: inout MetricsWriter) {
        for (kind, buckets) in counts.sorted(by: { $0.key < $1.key }) {
            text.histogram(
                "coredns_kubernetes_dns_programming_duration_seconds",
                "Histogram of the time (in seconds) it took to program a dns instance.",
                "service_kind=\"\(kind)\"", bounds: Self.boundsSeconds, counts: buckets,
                sum: sums[kind] ?? 0)
        }
    }
}

import DNS
import Synchronization

/// What one thread has counted of one upstream, as CoreDNS' forward plugin counts it.
struct UpstreamCounts {
    /// How long answers took, by response code: 16 bounds doubling from 250 µs, and what is above.
    var durations: [ResponseCode: [UInt64]] = [:]
    /// The sum of these times in nanoseconds, by response code.
    var totals: [ResponseCode: UInt64] = [:]
    /// Probes of an upstream that is down which failed, too.
    var probeFailures: UInt64 = 0
    /// Questions that a connection which was there already took.
    var reusedConnections: UInt64 = 0
    /// Questions for which one was made: over UDP, each (RFC 5452, 9.2).
    var freshConnections: [UpstreamTransport: UInt64] = [:]

    /// Adds what another thread counted.
    mutating func merge(_ other: UpstreamCounts) {
        for (code, counts) in other.durations {
            let own = durations[code] ?? Array(repeating: 0, count: counts.count)
            durations[code] = zip(own, counts).map(+)
        }
        totals.merge(other.totals, uniquingKeysWith: +)
        probeFailures += other.probeFailures
        reusedConnections += other.reusedConnections
        freshConnections.merge(other.freshConnections, uniquingKeysWith: +)
    }
}

/// How an upstream is reached; CoreDNS' `proto`.
enum UpstreamTransport: String {
    case udp
    case tcp
    case tls = "tcp-tls"
}

/// Counts of one upstream by one thread. Only a question that goes upstream touches the lock, and
/// nobody but the reader of metrics ever contends for it.
final class UpstreamMetrics: Sendable {
    private let state = Mutex(UpstreamCounts())

    var counts: UpstreamCounts { state.withLock { $0 } }

    /// Counts an answer that came `nanoseconds` after its question went out.
    func observe(_ code: ResponseCode, nanoseconds: UInt64) {
        let bounds = WorkerMetrics.durationBounds
        let index = bounds.firstIndex { nanoseconds <= $0 } ?? bounds.count
        state.withLock { counts in
            counts.durations[
                code, default: Array(repeating: 0, count: bounds.count + 1)][index] += 1
            counts.totals[code, default: 0] += nanoseconds
        }
    }

    func countProbeFailure() { state.withLock { $0.probeFailures += 1 } }

    func countReusedConnection() { state.withLock { $0.reusedConnections += 1 } }

    func countFreshConnection(_ transport: UpstreamTransport) {
        state.withLock { $0.freshConnections[transport, default: 0] += 1 }
    }
}

/// One thread's counts by upstream. They stay when the configuration changes, since counters must
/// not fall; beyond the bound, further upstreams share one entry.
final class UpstreamBoard: Sendable {
    private let entries = Mutex<[String: UpstreamMetrics]>([:])

    /// The most upstreams that are counted apart.
    static let limit = 128

    /// The counts of an upstream, by its address.
    subscript(_ upstream: Upstream) -> UpstreamMetrics {
        let name = upstream.address.description
        return entries.withLock { entries in
            let key = entries[name] != nil || entries.count < Self.limit ? name : "other"
            if let known = entries[key] { return known }
            let fresh = UpstreamMetrics()
            entries[key] = fresh
            return fresh
        }
    }

    /// Everything counted so far.
    var counts: [String: UpstreamCounts] { entries.withLock { $0.mapValues(\.counts) } }
}

extension DNSServer {
    /// Writes CoreDNS' `coredns_proxy_…` metrics of every upstream.
    func writeUpstreams(_ boards: [UpstreamBoard], _ text: inout MetricsWriter) {
        var merged: [String: UpstreamCounts] = [:]
        for board in boards {
            for (name, counts) in board.counts {
                merged[name, default: UpstreamCounts()].merge(counts)
            }
        }
        let upstreams = merged.sorted { $0.key < $1.key }
        let bounds = WorkerMetrics.durationBounds.map { Double($0) / 1e9 }
        let duration = "coredns_proxy_request_duration_seconds"
        text.begin(duration, "Histogram of the time each request took.", "histogram")
        for (name, counts) in upstreams {
            for (code, buckets) in counts.durations.sorted(by: { $0.key.rawValue < $1.key.rawValue }
            ) {
                text.histogramSamples(
                    duration,
                    "proxy_name=\"forward\",rcode=\"\(code.description)\",to=\"\(name)\"",
                    bounds: bounds, counts: buckets, sum: Double(counts.totals[code] ?? 0) / 1e9)
            }
        }
        let failures = "coredns_proxy_healthcheck_failures_total"
        text.begin(failures, "Counter of the number of failed healthchecks.", "counter")
        for (name, counts) in upstreams {
            text.sample(
                failures, "proxy_name=\"forward\",to=\"\(name)\"", Double(counts.probeFailures))
        }
        let hits = "coredns_proxy_conn_cache_hits_total"
        text.begin(
            hits, "Counter of connection cache hits per upstream and protocol.", "counter")
        for (name, counts) in upstreams where counts.reusedConnections > 0 {
            text.sample(
                hits, Self.connectionLabels(name, .tls), Double(counts.reusedConnections))
        }
        let misses = "coredns_proxy_conn_cache_misses_total"
        text.begin(
            misses, "Counter of connection cache misses per upstream and protocol.", "counter")
        for (name, counts) in upstreams {
            for (transport, count) in counts.freshConnections.sorted(by: {
                $0.key.rawValue < $1.key.rawValue
            }) {
                text.sample(misses, Self.connectionLabels(name, transport), Double(count))
            }
        }
    }

    private static func connectionLabels(_ name: String, _ transport: UpstreamTransport) -> String {
        "proto=\"\(transport.rawValue)\",proxy_name=\"forward\",to=\"\(name)\""
    }
}

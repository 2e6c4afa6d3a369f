import Informer
import JSON
import KubernetesAPI

/// What the status of a PodDisruptionBudget should be.
struct DisruptionPlan {
    /// An eviction that has not ended its pod by then counts no more, as in Kubernetes.
    static let evictionSeconds = 120.0

    /// How many pods there should be.
    enum Expectation: Equatable {
        case count(Int64)
        /// It cannot be known, and why.
        case unknown(String)
    }

    var status: JSONValue
    /// When to look again, because an eviction may be overdue by then.
    var recheckSeconds: Double?
    /// Pods that were to be evicted and are still there.
    var overdue: [String] = []

    /// - Parameters:
    ///   - pods: those that the budget selects.
    ///   - expected: the replicas of the pods' controllers; asked where the budget depends on them.
    init(
        _ budget: Object, pods: [PodSummary], expected: () -> Expectation, now: Timestamp
    ) {
        status = budget["status"] ?? [:]
        let disrupted = keepDisrupted(pods, now: now)
        let healthy = pods.filter {
            !$0.isTerminating && disrupted[$0.metadata.name] == nil && $0.isReady
        }.count
        let spec = budget["spec"] ?? [:]
        var count = Int64(pods.count)
        var wanted = spec["minAvailable"]?.integer ?? 0
        let unavailable = spec["maxUnavailable"]
        if unavailable != nil || spec["minAvailable"]?.string != nil {
            switch expected() {
            case .count(let value):
                count = value
                wanted =
                    unavailable.map { max(0, value - Self.amount($0, of: value)) }
                    ?? Self.amount(spec["minAvailable"] ?? 0, of: value)
            case .unknown(let message):
                fail(message, now: now)
                return
            }
        } else if spec["minAvailable"] == nil {
            count = 0
        }
        status["observedGeneration"] = budget["metadata"]?["generation"] ?? 0
        status["currentHealthy"] = .integer(Int64(healthy))
        status["desiredHealthy"] = .integer(wanted)
        status["expectedPods"] = .integer(count)
        let allowed = count <= 0 ? 0 : max(0, Int64(healthy) - wanted)
        DisruptionBudget.setAllowed(&status, allowed, now: now)
    }

    /// Evicted pods that are still there and still have time to go.
    private mutating func keepDisrupted(
        _ pods: [PodSummary], now: Timestamp
    ) -> [String: JSONValue] {
        var kept: [String: JSONValue] = [:]
        let byName = Dictionary(pods.map { ($0.metadata.name, $0) }) { first, _ in first }
        for (name, value) in status["disruptedPods"]?.object ?? JSONObject() {
            guard let pod = byName[name], !pod.isTerminating else { continue }
            let age = value.string.flatMap { Timestamp($0) }.map { now.secondsSince($0) }
            let left = Self.evictionSeconds - (age ?? Self.evictionSeconds)
            if left <= 0 {
                overdue.append(name)
            } else {
                kept[name] = value
                recheckSeconds = min(recheckSeconds ?? left, left)
            }
        }
        var map: JSONValue = [:]
        for name in kept.keys.sorted() { map[name] = kept[name] }
        if kept.isEmpty { status["disruptedPods"] = .none } else { status["disruptedPods"] = map }
        return kept
    }

    private mutating func fail(_ message: String, now: Timestamp) {
        status["disruptionsAllowed"] = 0
        DisruptionBudget.setCondition(
            &status, isAllowed: false, reason: "SyncFailed", message: message, now: now)
    }

    /// A count, or a percentage of `total`, rounded up.
    private static func amount(_ value: JSONValue, of total: Int64) -> Int64 {
        if let count = value.integer { return count }
        let percent = value.string.flatMap { Int64($0.dropLast()) } ?? 0
        return (total * percent + 99) / 100
    }
}

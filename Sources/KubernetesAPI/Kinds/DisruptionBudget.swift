public import JSON

/// What a PodDisruptionBudget means, for the server that evicts and the controller that keeps
/// budgets' status. Pure.
public enum DisruptionBudget {
    /// Evictions that the controller may be behind with, as in Kubernetes.
    private static let pendingLimit = 2_000

    /// True where the budget guards pods with these labels. No selector guards none, an empty one all.
    public static func selects(_ budget: JSONValue, _ labels: [String: String]) -> Bool {
        guard let selector = budget["spec", "selector"], selector != .null else { return false }
        return LabelSelector(json: selector).matches(labels)
    }

    /// Sets how many pods may be disrupted, and the condition that says so.
    public static func setAllowed(_ status: inout JSONValue, _ count: Int64, now: Timestamp) {
        status["disruptionsAllowed"] = .integer(count)
        setCondition(
            &status, isAllowed: count > 0,
            reason: count > 0 ? "SufficientPods" : "InsufficientPods",
            message: "", now: now)
    }

    /// Sets the condition `DisruptionAllowed`.
    public static func setCondition(
        _ status: inout JSONValue, isAllowed: Bool, reason: String, message: String, now: Timestamp
    ) {
        let conditions = status["conditions"]?.array ?? []
        let old = conditions.first { $0["type"]?.string == conditionType }
        let text = isAllowed ? "True" : "False"
        var condition: JSONValue = [
            "type": .string(conditionType), "status": .string(text), "reason": .string(reason),
            "message": .string(message),
        ]
        condition["observedGeneration"] = status["observedGeneration"]
        condition["lastTransitionTime"] =
            old?["status"]?.string == text
            ? old?["lastTransitionTime"] : .string(now.description)
        status["conditions"] = .array(
            conditions.filter { $0["type"]?.string != conditionType } + [condition])
    }

    private static let conditionType = "DisruptionAllowed"

    // MARK: - Eviction

    /// Decides whether a pod may be evicted.
    /// - Parameter budgets: those of the pod's namespace.
    /// - Returns: the budget as the eviction leaves it; nil where none is concerned.
    /// - Throws: 429 where a budget forbids it, in Kubernetes' words; 500 where several guard the pod.
    public static func evict(
        _ pod: JSONValue, budgets: [JSONValue], now: Timestamp
    ) throws -> JSONValue? {
        // Such pods are no loss to anybody.
        let phase = pod["status", "phase"]?.string ?? ""
        guard pod["metadata", "deletionTimestamp"] == nil,
            !["Succeeded", "Failed", "Pending"].contains(phase)
        else { return nil }
        let labels = pod["metadata", "labels"]?.stringMap ?? [:]
        let guarding = budgets.filter { selects($0, labels) }
        guard let budget = guarding.first else { return nil }
        guard guarding.count == 1 else {
            throw StatusError(
                code: 500, reason: "InternalError",
                message: "This pod has more than one PodDisruptionBudget, which the eviction "
                    + "subresource does not support.")
        }
        if !isReady(pod), mayEvictUnhealthy(budget) { return nil }
        return try taking(pod["metadata", "name"]?.string ?? "", from: budget, now: now)
    }

    private static func isReady(_ pod: JSONValue) -> Bool {
        (pod["status", "conditions"]?.array ?? []).contains {
            $0["type"]?.string == "Ready" && $0["status"]?.string == "True"
        }
    }

    /// A pod that is not ready counts for nothing: it may go where the others suffice, or where the
    /// budget says so (KEP-3017).
    private static func mayEvictUnhealthy(_ budget: JSONValue) -> Bool {
        if budget["spec", "unhealthyPodEvictionPolicy"]?.string == "AlwaysAllow" { return true }
        let wanted = budget["status", "desiredHealthy"]?.integer ?? 0
        return wanted > 0 && budget["status", "currentHealthy"]?.integer ?? 0 >= wanted
    }

    private static func taking(
        _ pod: String, from budget: JSONValue, now: Timestamp
    ) throws -> JSONValue {
        let name = budget["metadata", "name"]?.string ?? ""
        let status = budget["status"] ?? [:]
        guard
            status["observedGeneration"]?.integer ?? 0
                >= budget["metadata", "generation"]?.integer ?? 0
        else {
            throw refusal(
                "The disruption budget \(name) is still being processed by the server.",
                retryAfterSeconds: 10)
        }
        guard status["disruptedPods"]?.object?.count ?? 0 <= pendingLimit else {
            throw StatusError.forbidden(
                "poddisruptionbudgets.policy \"\(name)\" is forbidden: DisruptedPods map too big - "
                    + "too many evictions not confirmed by PDB controller")
        }
        let allowed = status["disruptionsAllowed"]?.integer ?? 0
        guard allowed > 0 else { throw refusal(reason(name, status), retryAfterSeconds: nil) }
        var new = budget
        var left = status
        setAllowed(&left, allowed - 1, now: now)
        if left["disruptedPods"] == nil { left["disruptedPods"] = [:] }
        left["disruptedPods", pod] = .string(now.description)
        new["status"] = left
        return new
    }

    private static func reason(_ name: String, _ status: JSONValue) -> String {
        let wanted = status["desiredHealthy"]?.integer ?? 0
        let healthy = status["currentHealthy"]?.integer ?? 0
        if healthy <= wanted {
            return "The disruption budget \(name) needs \(wanted) healthy pods and has \(healthy) "
                + "currently"
        }
        let condition = status["conditions"]?.array?.first { $0["type"]?.string == conditionType }
        let text = "The disruption budget \(name) does not allow evicting pods currently"
        guard condition?["reason"]?.string == "SyncFailed" else { return text }
        return text + " because it failed sync: \(condition?["message"]?.string ?? "")"
    }

    private static func refusal(_ cause: String, retryAfterSeconds: Int64?) -> StatusError {
        var details: JSONValue = [
            "causes": [["reason": "DisruptionBudget", "message": .string(cause)]]
        ]
        if let retryAfterSeconds { details["retryAfterSeconds"] = .integer(retryAfterSeconds) }
        return StatusError(
            code: 429, reason: "TooManyRequests",
            message: "Cannot evict pod as it would violate the pod's disruption budget.",
            details: details)
    }
}

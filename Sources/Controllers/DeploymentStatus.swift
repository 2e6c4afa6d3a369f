import Informer
import JSON
import KubernetesAPI

/// The status of a Deployment, with the conditions that `kubectl rollout status` and `kubectl wait`
/// end on.
struct DeploymentStatus {
    var json: JSONValue
    /// Seconds until a rollout that stands still counts as failed; nil if none is running.
    var deadlineSeconds: Double?

    init(_ plan: DeploymentPlan, now: Timestamp) {
        let deployment = plan.deployment
        let before = deployment["status"] ?? [:]
        let total = plan.all.reduce(0) { $0 + $1.statusReplicas }
        let available = plan.all.reduce(0) { $0 + $1.available }
        json = ["observedGeneration": .integer(deployment.metadata.generation)]
        func set(_ key: String, _ count: Int) {
            if count > 0 { json[key] = .integer(Int64(count)) }
        }
        set("replicas", total)
        set("updatedReplicas", plan.current?.statusReplicas ?? 0)
        set("readyReplicas", plan.all.reduce(0) { $0 + $1.ready })
        set("availableReplicas", available)
        set("unavailableReplicas", max(0, plan.replicas - available))
        json["collisionCount"] = before["collisionCount"]
        var conditions = Conditions(of: deployment.json)
        if available >= plan.minimumAvailable {
            conditions.set(
                "Available", "True", reason: "MinimumReplicasAvailable",
                message: "Deployment has minimum availability.", now: now, hasUpdateTime: true)
        } else {
            conditions.set(
                "Available", "False", reason: "MinimumReplicasUnavailable",
                message: "Deployment does not have minimum availability.", now: now,
                hasUpdateTime: true)
        }
        setProgress(plan, before, &conditions, now)
        json["conditions"] = .array(conditions.list)
    }

    private mutating func setProgress(
        _ plan: DeploymentPlan, _ before: JSONValue, _ conditions: inout Conditions,
        _ now: Timestamp
    ) {
        let limit = plan.deployment["spec"]?["progressDeadlineSeconds"]?.int ?? 600
        let reason = conditions["Progressing"]?["reason"]?.string
        if plan.isPaused {
            conditions.set(
                "Progressing", "Unknown", reason: "DeploymentPaused",
                message: "Deployment is paused", now: now, hasUpdateTime: true)
            return
        }
        let subject = plan.current.map { "ReplicaSet \"\($0.name)\"" } ?? "Deployment"
        if plan.isComplete {
            conditions.set(
                "Progressing", "True", reason: "NewReplicaSetAvailable",
                message: "\(subject) has successfully progressed.", now: now, hasUpdateTime: true)
            return
        }
        // A rollout that had ended and lost a pod is no new rollout.
        let isSettled =
            reason == "NewReplicaSetAvailable"
            && before["observedGeneration"]?.integer == plan.deployment.metadata.generation
        if isSettled { return }
        if isProgress(before) || reason == nil || reason == "DeploymentPaused"
            || reason == "NewReplicaSetAvailable"
        {
            conditions.set(
                "Progressing", "True", reason: "ReplicaSetUpdated",
                message: "\(subject) is progressing.", now: now, hasUpdateTime: true, touches: true)
        }
        guard conditions["Progressing"]?["reason"]?.string != "ProgressDeadlineExceeded",
            let since = conditions["Progressing"]?["lastUpdateTime"]?.string.flatMap({
                Timestamp($0)
            })
        else { return }
        let remaining = Double(limit) - now.secondsSince(since)
        if remaining > 0 {
            deadlineSeconds = remaining
        } else {
            conditions.set(
                "Progressing", "False", reason: "ProgressDeadlineExceeded",
                message: "\(subject) has timed out progressing.", now: now, hasUpdateTime: true)
        }
    }

    /// True where the numbers have moved towards the goal since the last status.
    private func isProgress(_ before: JSONValue) -> Bool {
        func count(_ value: JSONValue, _ key: String) -> Int { value[key]?.int ?? 0 }
        let oldBefore = count(before, "replicas") - count(before, "updatedReplicas")
        let oldNow = count(json, "replicas") - count(json, "updatedReplicas")
        return count(json, "updatedReplicas") > count(before, "updatedReplicas")
            || count(json, "readyReplicas") > count(before, "readyReplicas")
            || count(json, "availableReplicas") > count(before, "availableReplicas")
            || oldNow < oldBefore
    }
}

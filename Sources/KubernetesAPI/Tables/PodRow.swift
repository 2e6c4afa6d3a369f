import JSON

/// The row of a pod: its status sums up phase, reasons and container states as kubectl users know
/// them (`CrashLoopBackOff`, `Init:0/1`, `Terminating`).
enum PodRow {
    static func row(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let spec = object["spec"] ?? [:]
        let status = object["status"] ?? [:]
        let summary = summarize(object)
        let gates = spec["readinessGates"]?.array ?? []
        let conditions = status["conditions"]?.array ?? []
        let passed = gates.filter { gate in
            conditions.contains {
                $0["type"] == gate["conditionType"] && $0["status"]?.string == "True"
            }
        }
        let address = status["podIPs"]?[0]?["ip"] ?? status["podIP"]
        var restarts = String(summary.restarts)
        if summary.restarts > 0, let last = summary.lastRestart {
            restarts += " (\(Cells.duration(seconds: now.seconds - last.seconds)) ago)"
        }
        return [
            Cells.name(object), .string("\(summary.ready)/\(summary.total)"),
            .string(summary.reason), .string(restarts), Cells.age(object, now),
            Cells.text(address), Cells.text(spec["nodeName"]),
            Cells.text(status["nominatedNodeName"]),
            .string(gates.isEmpty ? "<none>" : "\(passed.count)/\(gates.count)"),
        ]
    }

    struct Summary {
        var reason: String
        var ready = 0
        var total: Int
        var restarts = 0
        var lastRestart: Timestamp?
    }

    static func summarize(_ object: JSONValue) -> Summary {
        let spec = object["spec"] ?? [:]
        let status = object["status"] ?? [:]
        var summary = Summary(
            reason: status["phase"]?.string ?? "Unknown",
            total: spec["containers"]?.array?.count ?? 0)
        if let reason = status["reason"]?.string, !reason.isEmpty { summary.reason = reason }
        let conditions = status["conditions"]?.array ?? []
        if conditions.contains(where: {
            $0["type"]?.string == "PodScheduled" && $0["reason"]?.string == "SchedulingGated"
        }) {
            summary.reason = "SchedulingGated"
        }
        let isInitializing = summarizeInit(spec, status, &summary)
        if !isInitializing { summarizeMain(status, conditions, &summary) }
        if object["metadata", "deletionTimestamp"]?.string != nil {
            if status["reason"]?.string == "NodeLost" {
                summary.reason = "Unknown"
            } else if !["Succeeded", "Failed"].contains(status["phase"]?.string ?? "") {
                summary.reason = "Terminating"
            }
        }
        return summary
    }

    /// Looks at init containers; true where they are not done.
    private static func summarizeInit(
        _ spec: JSONValue, _ status: JSONValue, _ summary: inout Summary
    ) -> Bool {
        let containers = spec["initContainers"]?.array ?? []
        let sidecars = Set(
            containers.filter { $0["restartPolicy"]?.string == "Always" }
                .compactMap { $0["name"]?.string })
        summary.total += sidecars.count
        for (index, container) in (status["initContainerStatuses"]?.array ?? []).enumerated() {
            count(container, &summary)
            let state = container["state"]
            let isSidecar = sidecars.contains(container["name"]?.string ?? "")
            if state?["terminated", "exitCode"]?.int == 0 { continue }
            if isSidecar, container["started"]?.bool == true {
                if container["ready"]?.bool == true { summary.ready += 1 }
                continue
            }
            if let terminated = state?["terminated"] {
                summary.reason = "Init:" + text(terminated)
            } else if let reason = state?["waiting", "reason"]?.string, !reason.isEmpty,
                reason != "PodInitializing"
            {
                summary.reason = "Init:" + reason
            } else {
                summary.reason = "Init:\(index)/\(containers.count)"
            }
            return true
        }
        return false
    }

    private static func summarizeMain(
        _ status: JSONValue, _ conditions: [JSONValue], _ summary: inout Summary
    ) {
        var hasRunning = false
        for container in (status["containerStatuses"]?.array ?? []).reversed() {
            count(container, &summary)
            let state = container["state"]
            if let reason = state?["waiting", "reason"]?.string, !reason.isEmpty {
                summary.reason = reason
            } else if let terminated = state?["terminated"] {
                summary.reason = text(terminated)
            } else if container["ready"]?.bool == true, state?["running"] != nil {
                hasRunning = true
                summary.ready += 1
            }
        }
        if summary.reason == "Completed", hasRunning {
            let isReady = conditions.contains {
                $0["type"]?.string == "Ready" && $0["status"]?.string == "True"
            }
            summary.reason = isReady ? "Running" : "NotReady"
        }
    }

    private static func count(_ container: JSONValue, _ summary: inout Summary) {
        summary.restarts += container["restartCount"]?.int ?? 0
        let ended = container["lastState", "terminated", "finishedAt"]?.string
        if let last = ended.flatMap(Timestamp.init) {
            summary.lastRestart = max(summary.lastRestart ?? last, last)
        }
    }

    private static func text(_ terminated: JSONValue) -> String {
        if let reason = terminated["reason"]?.string, !reason.isEmpty { return reason }
        let signal = terminated["signal"]?.int ?? 0
        return signal != 0 ? "Signal:\(signal)" : "ExitCode:\(terminated["exitCode"]?.int ?? 0)"
    }
}

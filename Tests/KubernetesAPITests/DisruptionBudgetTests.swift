import JSON
import Testing

@testable import KubernetesAPI

/// Which evictions a PodDisruptionBudget allows.
struct DisruptionBudgetTests {
    private static let now = Timestamp(seconds: 1_800_000_000)

    private static func pod(
        ready: Bool = true, phase: String = "Running", isGoing: Bool = false
    ) -> JSONValue {
        var pod: JSONValue = [
            "metadata": ["name": "p", "labels": ["app": "web"]],
            "status": [
                "phase": .string(phase),
                "conditions": [["type": "Ready", "status": ready ? "True" : "False"]],
            ],
        ]
        if isGoing { pod["metadata", "deletionTimestamp"] = "2026-01-01T00:00:00Z" }
        return pod
    }

    private static func budget(
        allowed: Int64 = 1, healthy: Int64 = 3, wanted: Int64 = 2, observed: Int64 = 1,
        selector: JSONValue? = ["matchLabels": ["app": "web"]], policy: String? = nil
    ) -> JSONValue {
        var budget: JSONValue = [
            "metadata": ["name": "b", "generation": 1], "spec": [:],
            "status": [
                "observedGeneration": .integer(observed), "disruptionsAllowed": .integer(allowed),
                "currentHealthy": .integer(healthy), "desiredHealthy": .integer(wanted),
                "expectedPods": 3,
            ],
        ]
        budget["spec", "selector"] = selector
        budget["spec", "unhealthyPodEvictionPolicy"] = policy.map(JSONValue.string)
        return budget
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        var pod = DisruptionBudgetTests.pod()
        var budgets: [JSONValue] = [DisruptionBudgetTests.budget()]
        /// nil for an eviction that is allowed; else the cause in a refusal, or its message.
        var refusal: String?
        var isCharged = false
        var testDescription: String { name }
    }

    private static let needs = "The disruption budget b needs 2 healthy pods and has 2 currently"

    static let cases = [
        Case(name: "no budget", budgets: []),
        Case(name: "allowed", isCharged: true),
        Case(name: "used up", budgets: [budget(allowed: 0, healthy: 2)], refusal: needs),
        Case(
            name: "other pods' budget",
            budgets: [budget(allowed: 0, selector: ["matchLabels": ["app": "x"]])]),
        Case(name: "no selector guards none", budgets: [budget(allowed: 0, selector: nil)]),
        Case(
            name: "an empty selector guards all",
            budgets: [budget(allowed: 0, healthy: 2, selector: [:])], refusal: needs),
        Case(
            name: "not seen by the controller", budgets: [budget(observed: 0)],
            refusal: "The disruption budget b is still being processed by the server."),
        Case(
            name: "two budgets", budgets: [budget(), budget()],
            refusal: "This pod has more than one PodDisruptionBudget, which the eviction "
                + "subresource does not support."),
        Case(name: "ended", pod: pod(phase: "Failed"), budgets: [budget(allowed: 0)]),
        Case(name: "not started", pod: pod(phase: "Pending"), budgets: [budget(allowed: 0)]),
        Case(name: "going", pod: pod(isGoing: true), budgets: [budget(allowed: 0)]),
        Case(
            name: "unhealthy, the others suffice", pod: pod(ready: false),
            budgets: [budget(allowed: 0, healthy: 2)]),
        Case(
            name: "unhealthy, the others do not", pod: pod(ready: false),
            budgets: [budget(allowed: 0, healthy: 1)],
            refusal: "The disruption budget b needs 2 healthy pods and has 1 currently"),
        Case(
            name: "unhealthy, always", pod: pod(ready: false),
            budgets: [budget(allowed: 0, healthy: 1, policy: "AlwaysAllow")]),
        Case(
            name: "healthy, for all that",
            budgets: [
                budget(allowed: 0, healthy: 2, policy: "AlwaysAllow")
            ], refusal: needs),
    ]

    @Test(arguments: cases) func decides(_ sample: Case) throws {
        do {
            let charged = try DisruptionBudget.evict(
                sample.pod, budgets: sample.budgets, now: Self.now)
            #expect(sample.refusal == nil)
            #expect((charged != nil) == sample.isCharged)
            guard let charged else { return }
            #expect(charged["status", "disruptionsAllowed"] == 0)
            #expect(charged["status", "disruptedPods", "p"] == .string(Self.now.description))
            let condition = charged["status", "conditions"]?[0]
            #expect(condition?["type"] == "DisruptionAllowed" && condition?["status"] == "False")
            #expect(condition?["reason"] == "InsufficientPods")
        } catch let error as StatusError {
            let cause = error.details?["causes"]?[0]
            #expect(sample.refusal == cause?["message"]?.string ?? error.message)
            guard let cause else { return }
            #expect(error.code == 429 && error.reason == "TooManyRequests")
            #expect(cause["reason"] == "DisruptionBudget")
            #expect(
                error.message
                    == "Cannot evict pod as it would violate the pod's disruption budget.")
        }
    }
}

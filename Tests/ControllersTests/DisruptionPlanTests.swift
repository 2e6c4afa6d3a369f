import Informer
import JSON
import KubernetesAPI
import Testing

@testable import Controllers

/// What the status of a PodDisruptionBudget becomes.
struct DisruptionPlanTests {
    private static let now = Timestamp(seconds: 1_800_000_000)

    struct Case: Sendable, CustomTestStringConvertible {
        let spec: JSONValue
        var pods = 3
        var ready = 3
        var replicas: Int64 = 3
        let wanted: Int64
        let allowed: Int64
        let expected: Int64
        var testDescription: String { "\(spec.serializedText) \(ready)/\(pods)/\(replicas)" }
    }

    static let cases = [
        Case(spec: ["minAvailable": 2], wanted: 2, allowed: 1, expected: 3),
        Case(spec: ["minAvailable": 2], ready: 1, wanted: 2, allowed: 0, expected: 3),
        // A number of pods needs no controller: there are as many as there are.
        Case(
            spec: ["minAvailable": 1], pods: 2, ready: 2, replicas: 9, wanted: 1, allowed: 1,
            expected: 2),
        Case(spec: ["minAvailable": 0], pods: 0, ready: 0, wanted: 0, allowed: 0, expected: 0),
        Case(spec: ["minAvailable": "60%"], wanted: 2, allowed: 1, expected: 3),
        Case(spec: ["minAvailable": "100%"], wanted: 3, allowed: 0, expected: 3),
        Case(spec: ["maxUnavailable": 1], wanted: 2, allowed: 1, expected: 3),
        Case(
            spec: ["maxUnavailable": 1], ready: 2, replicas: 5, wanted: 4, allowed: 0, expected: 5),
        Case(spec: ["maxUnavailable": 9], wanted: 0, allowed: 3, expected: 3),
        // Rounded up, so that at least one may go.
        Case(spec: ["maxUnavailable": "1%"], wanted: 2, allowed: 1, expected: 3),
        Case(
            spec: ["maxUnavailable": "50%"], pods: 7, ready: 7, replicas: 7, wanted: 3, allowed: 4,
            expected: 7),
        Case(spec: ["maxUnavailable": "0%"], wanted: 3, allowed: 0, expected: 3),
    ]

    private static func budget(_ spec: JSONValue, status: JSONValue = [:]) -> Object {
        Object(json: [
            "metadata": ["name": "b", "namespace": "default", "generation": 4], "spec": spec,
            "status": status,
        ])
    }

    private static func pods(_ count: Int, ready: Int) throws -> [PodSummary] {
        try (0..<count).map { number in
            try PodSummary(
                json: Make.pod("p\(number)", ip: "10.244.0.\(number + 2)", isReady: number < ready))
        }
    }

    @Test(arguments: cases) func counts(_ sample: Case) throws {
        let plan = DisruptionPlan(
            Self.budget(sample.spec), pods: try Self.pods(sample.pods, ready: sample.ready),
            expected: { .count(sample.replicas) }, now: Self.now)
        #expect(plan.status["currentHealthy"] == .integer(Int64(sample.ready)))
        #expect(plan.status["desiredHealthy"] == .integer(sample.wanted))
        #expect(plan.status["disruptionsAllowed"] == .integer(sample.allowed))
        #expect(plan.status["expectedPods"] == .integer(sample.expected))
        #expect(plan.status["observedGeneration"] == 4)
        #expect(
            plan.status["conditions"]?[0]?["status"] == (sample.allowed > 0 ? "True" : "False"))
    }

    /// An evicted pod is no longer counted, though it is still ready; until its time is over.
    @Test func remembersEvictions() throws {
        func plan(_ evicted: [String: Double]) throws -> DisruptionPlan {
            var disrupted: JSONValue = [:]
            for (name, age) in evicted {
                disrupted[name] = .string(Self.now.adding(seconds: -age).description)
            }
            return DisruptionPlan(
                Self.budget(["minAvailable": 1], status: ["disruptedPods": disrupted]),
                pods: try Self.pods(3, ready: 3), expected: { .count(3) }, now: Self.now)
        }
        let fresh = try plan(["p0": 20, "gone": 5])
        #expect(fresh.status["currentHealthy"] == 2)
        #expect(fresh.status["disruptionsAllowed"] == 1)
        #expect(fresh.status["disruptedPods"]?.object?.count == 1)
        #expect(fresh.recheckSeconds == 100)
        #expect(fresh.overdue.isEmpty)
        let late = try plan(["p0": 120])
        #expect(late.status["currentHealthy"] == 3)
        #expect(late.status["disruptedPods"] == nil)
        #expect(late.overdue == ["p0"])
    }

    @Test func saysWhyItCannotCount() throws {
        let plan = DisruptionPlan(
            Self.budget(["maxUnavailable": 1], status: ["disruptionsAllowed": 2]),
            pods: try Self.pods(1, ready: 1), expected: { .unknown("no controller") },
            now: Self.now)
        #expect(plan.status["disruptionsAllowed"] == 0)
        let condition = plan.status["conditions"]?[0]
        #expect(condition?["reason"] == "SyncFailed" && condition?["message"] == "no controller")
    }
}

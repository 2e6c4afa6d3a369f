import Informer
import JSON
import KubernetesAPI
import Testing

@testable import Controllers

@Suite struct WorkloadPlanTests {
    private let now = Timestamp(seconds: 1_800_000_000)

    @Test func hashIsStableAndLooksLikeKubernetes() {
        let left: JSONValue = ["metadata": ["labels": ["a": "b"]], "spec": ["x": 1, "y": 2]]
        let right: JSONValue = ["spec": ["y": 2, "x": 1], "metadata": ["labels": ["a": "b"]]]
        #expect(PodTemplate.hash(left) == PodTemplate.hash(right))
        #expect(PodTemplate.hash(left) != PodTemplate.hash(left, collisionCount: 1))
        #expect(
            PodTemplate.hash(left).allSatisfy { "bcdfghjklmnpqrstvwxz2456789".contains($0) })
    }

    @Test(arguments: [
        ("25%", 3, true, 1), ("25%", 3, false, 0), ("25%", 4, true, 1), ("100%", 3, false, 3),
        ("0%", 5, true, 0), ("30%", 10, false, 3),
    ])
    func percentages(text: String, total: Int, roundsUp: Bool, expected: Int) {
        #expect(
            IntOrPercent.resolve(.string(text), of: total, roundsUp: roundsUp) == expected)
    }

    @Test func deletionPrefersPodsThatDoNotServe() throws {
        func pod(_ name: String, _ change: (inout JSONValue) -> Void = { _ in }) throws
            -> PodSummary
        {
            try PodSummary(json: Make.pod(name, ip: "10.0.0.1", change: change))
        }
        let pods = try [
            pod("ready"),
            pod("crowded") { $0["spec", "nodeName"] = "node-2" },
            pod("unready") { $0["status", "conditions"] = [] },
            pod("cheap") {
                $0["metadata", "annotations"] = ["controller.kubernetes.io/pod-deletion-cost": "-5"]
            },
            pod("pending") { $0["status", "phase"] = "Pending" },
            pod("unassigned") { $0["spec", "nodeName"] = "" },
        ]
        let ranked = ReplicaSetPlan.ranked(pods) { $0 == "node-2" ? 2 : 1 }
        #expect(
            ranked.map(\.metadata.name) == [
                "unassigned", "pending", "unready", "cheap", "crowded", "ready",
            ])
    }

    @Test func orphansAreAdoptedAndStrangersReleased() throws {
        let set = Object(json: [
            "metadata": ["name": "web-1", "namespace": "default", "uid": "rs"],
            "spec": [
                "replicas": 2, "selector": ["matchLabels": ["app": "web"]],
                "template": Make.template(),
            ],
        ])
        let owner = OwnerReference.controller(.replicaSets, set.metadata)
        let stranger = try PodSummary(
            json: Make.pod("stranger", labels: ["app": "other"]) {
                $0["metadata", "ownerReferences"] = [owner.json]
            })
        let orphan = try PodSummary(json: Make.pod("orphan"))
        let plan = ReplicaSetPlan(
            set, owned: [stranger], matching: [orphan], podsOnNode: { _ in 0 }, now: now)
        #expect(plan.adopts.map(\.metadata.name) == ["orphan"])
        #expect(plan.releases.map(\.metadata.name) == ["stranger"])
        #expect(plan.createCount == 1)
        #expect(plan.status["replicas"] == 1)
    }

    // MARK: - Rollouts

    /// A Deployment, its sets and pods, moved on step by step with random speed.
    private struct World {
        var deployment: JSONValue
        var sets:
            [(name: String, template: JSONValue, replicas: Int, pods: [Bool], notes: JSONValue)] =
                []

        mutating func step(_ generator: inout SplitMix) -> [DeploymentPlan.Action] {
            let objects = sets.enumerated().map { index, set -> RolloutSet in
                RolloutSet(
                    Object(json: [
                        "metadata": [
                            "name": .string(set.name), "annotations": set.notes,
                            "creationTimestamp": .string(
                                Timestamp(seconds: Int64(index)).description),
                        ],
                        "spec": [
                            "replicas": .integer(Int64(set.replicas)), "template": set.template,
                        ],
                        "status": [
                            "replicas": .integer(Int64(set.pods.count)),
                            "readyReplicas": .integer(Int64(set.pods.count { $0 })),
                            "availableReplicas": .integer(Int64(set.pods.count { $0 })),
                        ],
                    ]))
            }
            let hasPods = sets.map { ($0.name, !$0.pods.isEmpty) }
            let plan = DeploymentPlan(Object(json: deployment), sets: objects) { current in
                hasPods.contains { $0.0 != current?.name && $0.1 }
            }
            for action in plan.actions { perform(action, plan) }
            move(&generator)
            return plan.actions
        }

        private mutating func perform(_ action: DeploymentPlan.Action, _ plan: DeploymentPlan) {
            let size: JSONValue = [
                DeploymentPlan.desiredAnnotation: .string("\(plan.replicas)"),
                DeploymentPlan.maximumAnnotation: .string("\(plan.replicas + plan.maxSurge)"),
            ]
            switch action {
            case .create(let replicas, let revision):
                var notes = size
                notes[DeploymentPlan.revisionAnnotation] = .string("\(revision)")
                sets.append(
                    (
                        "set-\(sets.count)", deployment["spec", "template"] ?? [:], replicas, [],
                        notes
                    ))
            case .scale(let set, let to):
                guard let index = sets.firstIndex(where: { $0.name == set.name }) else { return }
                sets[index].replicas = to
                for (key, value) in size.object ?? JSONObject() { sets[index].notes[key] = value }
            case .annotate(let set, let revision):
                guard let index = sets.firstIndex(where: { $0.name == set.name }) else { return }
                sets[index].notes[DeploymentPlan.revisionAnnotation] = .string("\(revision)")
            case .setMinReadySeconds: break
            case .setRevision(let revision):
                deployment["metadata", "annotations", DeploymentPlan.revisionAnnotation] =
                    .string("\(revision)")
            case .delete(let set): sets.removeAll { $0.name == set.name }
            }
        }

        /// Pods come, get ready and go, some of them.
        private mutating func move(_ generator: inout SplitMix) {
            for index in sets.indices {
                while sets[index].pods.count > sets[index].replicas {
                    let unready = sets[index].pods.firstIndex(of: false)
                    sets[index].pods.remove(at: unready ?? 0)
                }
                if sets[index].pods.count < sets[index].replicas,
                    Bool.random(using: &generator)
                {
                    sets[index].pods.append(false)
                }
                if let unready = sets[index].pods.firstIndex(of: false),
                    Bool.random(using: &generator)
                {
                    sets[index].pods[unready] = true
                }
            }
        }
    }

    /// Whatever the speed of pods, a rolling update never has more pods than replicas + maxSurge
    /// nor asks for fewer than replicas - maxUnavailable, and ends with the new template alone.
    @Test(arguments: 0..<12) func rollingUpdatesKeepTheirBounds(seed: Int) throws {
        var generator = SplitMix(state: UInt64(seed))
        let replicas = Int.random(in: 1...8, using: &generator)
        let surge = Int.random(in: 0...3, using: &generator)
        let unavailable = Int.random(in: 0...2, using: &generator)
        var world = World(
            deployment: Make.deployment(
                replicas: Int64(replicas),
                spec: [
                    "strategy": [
                        "type": "RollingUpdate",
                        "rollingUpdate": [
                            "maxSurge": .integer(Int64(surge)),
                            "maxUnavailable": .integer(Int64(unavailable)),
                        ],
                    ]
                ]))
        for _ in 0..<100 { _ = world.step(&generator) }
        #expect(world.sets.map(\.pods.count) == [replicas])
        world.deployment["spec", "template"] = Make.template(image: "web:2")
        let floor = replicas - max(unavailable, surge == 0 ? 1 : 0)
        for _ in 0..<160 {
            _ = world.step(&generator)
            #expect(world.sets.reduce(0) { $0 + $1.replicas } <= replicas + surge)
            #expect(world.sets.reduce(0) { $0 + $1.pods.count { $0 } } >= floor)
        }
        #expect(world.sets.map(\.replicas) == [0, replicas])
        #expect(world.step(&generator).isEmpty)
        // Rolling back takes the first set up again, with a new revision.
        world.deployment["spec", "template"] = Make.template()
        for _ in 0..<160 { _ = world.step(&generator) }
        #expect(world.sets.map(\.replicas) == [replicas, 0])
        #expect(world.sets[0].notes[DeploymentPlan.revisionAnnotation] == "3")
    }

    @Test(arguments: 0..<10) func recreateNeverRunsBothTemplates(seed: Int) {
        var generator = SplitMix(state: UInt64(seed))
        var world = World(deployment: Make.deployment(spec: ["strategy": ["type": "Recreate"]]))
        for _ in 0..<50 { _ = world.step(&generator) }
        world.deployment["spec", "template"] = Make.template(image: "web:2")
        for _ in 0..<100 {
            _ = world.step(&generator)
            #expect(world.sets.count { !$0.pods.isEmpty } <= 1)
        }
        #expect(world.sets.map(\.replicas) == [0, 3])
    }

    @Test(arguments: 0..<8) func scalingInAnUpdateIsShared(seed: Int) {
        var generator = SplitMix(state: UInt64(seed))
        var world = World(deployment: Make.deployment(replicas: 8))
        for _ in 0..<100 { _ = world.step(&generator) }
        world.deployment["spec", "template"] = Make.template(image: "web:2")
        for _ in 0..<6 { _ = world.step(&generator) }
        world.deployment["spec", "replicas"] = .integer(Int64.random(in: 0...20, using: &generator))
        for _ in 0..<250 { _ = world.step(&generator) }
        let replicas = world.deployment["spec", "replicas"]?.int
        #expect(world.sets.map(\.replicas) == [0, replicas])
        #expect(world.step(&generator).isEmpty)
    }

    @Test func statusTellsProgressAndDeadline() throws {
        var deployment = Make.deployment(spec: ["progressDeadlineSeconds": 10])
        deployment["metadata", "generation"] = 2
        func status(_ available: Int64, at moment: Timestamp) -> DeploymentStatus {
            let set = RolloutSet(
                Object(json: [
                    "metadata": ["name": "web-x"],
                    "spec": ["replicas": 3, "template": Make.template()],
                    "status": ["replicas": 3, "availableReplicas": .integer(available)],
                ]))
            let plan = DeploymentPlan(Object(json: deployment), sets: [set]) { _ in false }
            return DeploymentStatus(plan, now: moment)
        }
        let first = status(1, at: now)
        #expect(
            Conditions(of: ["status": first.json])["Progressing"]?["reason"] == "ReplicaSetUpdated")
        #expect(first.deadlineSeconds == 10)
        deployment["status"] = first.json
        let stuck = status(1, at: now.adding(seconds: 11))
        let progressing = Conditions(of: ["status": stuck.json])["Progressing"]
        #expect(progressing?["reason"] == "ProgressDeadlineExceeded")
        #expect(progressing?["status"] == "False")
        let complete = status(3, at: now.adding(seconds: 12))
        let conditions = Conditions(of: ["status": complete.json])
        #expect(conditions["Progressing"]?["reason"] == "NewReplicaSetAvailable")
        #expect(conditions.isTrue("Available"))
        deployment["status"] = complete.json
        #expect(status(3, at: now.adding(seconds: 99)).json == complete.json)
    }
}

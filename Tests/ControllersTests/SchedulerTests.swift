import JSON
import KubernetesAPI
import Testing

@testable import Controllers

@Suite struct SchedulerTests {
    private func state(_ nodes: [JSONValue]) throws -> SchedulerState {
        var state = SchedulerState()
        for node in nodes {
            let record = try NodeRecord(json: node)
            state.set(record, named: record.metadata.name)
        }
        return state
    }

    private func pod(
        _ name: String, owner: String? = nil, spec: JSONValue = [:]
    ) throws -> PodSummary {
        try PodSummary(
            json: Make.pod(name, node: "") {
                if let owner {
                    $0["metadata", "ownerReferences"] = [
                        ["kind": "ReplicaSet", "uid": .string(owner), "controller": true]
                    ]
                }
                for (key, value) in spec.object ?? JSONObject() { $0["spec", key] = value }
            })
    }

    @Test func podsOfOneOwnerAreSpread() throws {
        var state = try state(["n1", "n2", "n3"].map(Make.node))
        // Others crowd one node.
        for index in 0..<4 {
            state.set(
                try PodSummary(json: Make.pod("other-\(index)", node: "n1", labels: [:])),
                ObjectKey(namespace: "default", name: "other-\(index)"))
        }
        var nodes: [SchedulerState.Decision] = []
        for index in 0..<3 { nodes.append(state.decide(try pod("p\(index)", owner: "rs"))) }
        #expect(nodes == [.node("n2"), .node("n3"), .node("n1")])
        state.set(nil, ObjectKey(namespace: "default", name: "p0"))
        #expect(state.decide(try pod("p3", owner: "rs")) == .node("n2"))
    }

    @Test func refusalsAreCounted() throws {
        var cordoned = Make.node("n1")
        cordoned["spec", "unschedulable"] = true
        var tainted = Make.node("n2")
        tainted["spec", "taints"] = [["key": "gpu", "value": "yes", "effect": "NoSchedule"]]
        var unready = Make.node("n3")
        unready["status", "conditions"] = []
        var full = Make.node("n4")
        full["status", "allocatable"] = ["pods": "0"]
        var state = try state([cordoned, tainted, unready, full, Make.node("n5")])
        let decision = state.decide(try pod("p", spec: ["nodeSelector": ["disk": "ssd"]]))
        guard case .none(let message) = decision else {
            Issue.record("placed")
            return
        }
        #expect(message.hasPrefix("0/5 nodes are available: "))
        #expect(message.contains("1 node(s) were unschedulable"))
        #expect(message.contains("1 node(s) had untolerated taint {gpu: yes}"))
        #expect(message.contains("3 node(s) didn't match Pod's node affinity/selector"))
        var empty = SchedulerState()
        #expect(
            empty.decide(try pod("p")) == .none("no nodes available to schedule pods"))
    }

    @Test func tolerationsAffinityAndHostPorts() throws {
        var tainted = Make.node("n1")
        tainted["spec", "taints"] = [["key": "gpu", "value": "yes", "effect": "NoSchedule"]]
        var state = try state([tainted, Make.node("n2")])
        let tolerant: JSONValue = [
            "tolerations": [["key": "gpu", "operator": "Equal", "value": "yes"]],
            "affinity": [
                "nodeAffinity": [
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        "nodeSelectorTerms": [
                            [
                                "matchFields": [
                                    [
                                        "key": "metadata.name", "operator": "In",
                                        "values": ["n1"],
                                    ]
                                ]
                            ]
                        ]
                    ]
                ]
            ],
        ]
        #expect(state.decide(try pod("a", spec: tolerant)) == .node("n1"))
        let port: JSONValue = [
            "containers": [["ports": [["containerPort": 80, "hostPort": 80]]]]
        ]
        #expect(state.decide(try pod("b", spec: port)) == .node("n2"))
        guard case .none(let message) = state.decide(try pod("c", spec: port)) else {
            Issue.record("two pods share a host port")
            return
        }
        #expect(message.contains("didn't have free ports"))
    }
}

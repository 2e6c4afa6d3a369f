import JSON
import TestSupport
import Testing

/// `kubectl drain` and the budgets that hold it back.
@Suite(.offPool) struct DrainTests {
    @Test func drainsAsFarAsTheBudgetAllows() throws {
        try StandaloneFixture.run { cluster in
            try cluster.deployWebserver()
            try cluster.kubectl(
                "create", "pdb", "web", "--selector=app=webserver", "--max-unavailable=0")
            try eventually("the budget is worked out", withinSeconds: 30) {
                try budget(cluster, "currentHealthy") == "3"
            }
            let status = try cluster.kubectl("get", "pdb", "web", "-o", "jsonpath={.status}")
            #expect(try budget(cluster, "expectedPods") == "3", "\(status)")
            #expect(try budget(cluster, "desiredHealthy") == "3", "\(status)")
            let node = cluster.nodeName(1)
            for program in [try TestClients.oldKubectl, StandaloneFixture.kubectl] {
                let waiting = try RunningCommand(
                    drain(cluster, program, node), environment: environment(cluster))
                defer { waiting.stop() }
                try eventually("the budget is named", withinSeconds: 60) {
                    waiting.errorOutputSoFar.contains(
                        "Cannot evict pod as it would violate the pod's disruption budget.")
                }
            }
            #expect(
                try cluster.kubectl("get", "pods", "-l", "app=webserver", "-o", "name")
                    .split(separator: "\n").count == 3)
            try cluster.kubectl("uncordon", node)
            try cluster.kubectl(
                "patch", "pdb", "web", "--type=merge", "-p",
                #"{"spec":{"maxUnavailable":null,"minAvailable":"60%"}}"#)
            try eventually("one pod may go", withinSeconds: 30) {
                try budget(cluster, "disruptionsAllowed") == "1"
            }
            let drained = try Command.run(
                drain(cluster, StandaloneFixture.kubectl, node), environment: environment(cluster),
                timeoutSeconds: 120)
            #expect(drained.exitCode == 0, "\(drained.output)\(drained.errorOutput)")
            try cluster.kubectl(
                "rollout", "status", "deployment/hostname-deployment", "--timeout=60s")
            let places = try cluster.kubectl(
                "get", "pods", "-l", "app=webserver", "-o", "jsonpath={.items[*].spec.nodeName}")
            #expect(Set(places.split(separator: " ").map(String.init)) == [cluster.nodeName(2)])
            try eventually("nothing is disrupted any more", withinSeconds: 30) {
                try budget(cluster, "disruptedPods") == ""
                    && budget(cluster, "disruptionsAllowed") == "1"
            }
        }
    }

    private func drain(
        _ cluster: StandaloneFixture, _ program: String, _ node: String
    ) -> [String] {
        [
            program, "--kubeconfig", cluster.kubeconfig, "drain", node, "--ignore-daemonsets",
            "--force", "--timeout=110s",
        ]
    }

    private func environment(_ cluster: StandaloneFixture) -> [String: String] {
        ["HOME": cluster.dataDirectory]
    }

    private func budget(_ cluster: StandaloneFixture, _ field: String) throws -> String {
        try cluster.kubectl("get", "pdb", "web", "-o", "jsonpath={.status.\(field)}")
    }
}

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
                let refused = try drain(cluster, program, node, "8s")
                #expect(refused.exitCode == 1)
                #expect(
                    refused.errorOutput.contains(
                        "Cannot evict pod as it would violate the pod's disruption budget."),
                    "\(refused.errorOutput)")
            }
            try cluster.kubectl("uncordon", node)
            try cluster.kubectl(
                "patch", "pdb", "web", "--type=merge", "-p",
                #"{"spec":{"maxUnavailable":null,"minAvailable":"60%"}}"#)
            try eventually("one pod may go", withinSeconds: 30) {
                try budget(cluster, "disruptionsAllowed") == "1"
            }
            let drained = try drain(cluster, StandaloneFixture.kubectl, node, "90s")
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
        _ cluster: StandaloneFixture, _ program: String, _ node: String, _ timeout: String
    ) throws -> CommandResult {
        try Command.run(
            [
                program, "--kubeconfig", cluster.kubeconfig, "drain", node, "--ignore-daemonsets",
                "--force", "--timeout=\(timeout)",
            ], environment: ["HOME": cluster.dataDirectory], timeoutSeconds: 120)
    }

    private func budget(_ cluster: StandaloneFixture, _ field: String) throws -> String {
        try cluster.kubectl("get", "pdb", "web", "-o", "jsonpath={.status.\(field)}")
    }
}

import TestSupport
import Testing

/// `portolan trace` on a running cluster: what it says is what packets meet.
@Suite(.offPool) struct TraceTests {
    @Test func itExplainsARunningCluster() throws {
        try StandaloneFixture.run { cluster in
            /// Asks and returns what was printed.
            func trace(_ words: String...) throws -> CommandResult {
                try Command.run(
                    [
                        try StandaloneFixture.portolan, "trace", "--name", cluster.name,
                        "--data-dir", cluster.dataDirectory,
                    ] + words)
            }
            try cluster.deployWebserver()
            try cluster.runDebugPod()
            try cluster.kubectl("expose", "deployment", "hostname-deployment", "--port=80")
            try cluster.kubectl(
                "expose", "deployment", "hostname-deployment", "--port=80", "--name=local",
                "--type=LoadBalancer")
            try cluster.kubectl(
                "patch", "service", "local", "-p",
                #"{"spec":{"loadBalancerSourceRanges":["10.0.0.0/8"]}}"#)
            try cluster.kubectl("create", "service", "clusterip", "empty", "--tcp=80")
            let pending = try trace("debug", "local")
            #expect(pending.output.contains("no load-balancer address yet"), "\(pending.output)")
            try cluster.kubectl("create", "namespace", "metallb-system")
            try cluster.kubectl(
                "apply", "-f", "-",
                input: """
                    apiVersion: metallb.io/v1beta1
                    kind: IPAddressPool
                    metadata: {name: lan, namespace: metallb-system}
                    spec: {addresses: ["\(cluster.lan).200-\(cluster.lan).210"]}
                    """)
            // The answers of the pods, and the chances it gives them.
            let names = try cluster.answeringPods(60) {
                try cluster.inPod("debug", "curl -s hostname-deployment")
            }
            var found = try trace("debug", "hostname-deployment:80")
            try eventually("every pod that answers has its chance") {
                found = try trace("debug", "hostname-deployment:80")
                return names.allSatisfy { found.output.contains("(pod default/\($0) on ") }
            }
            let share = 1000 / names.count
            #expect(found.output.contains("  \(share / 10).\(share % 10) %: "), "\(found.output)")
            #expect(found.output.contains("(the fast path) chooses one of"), "\(found.output)")
            #expect(found.output.contains("From pod default/debug, at node \(cluster.name)-node-"))
            // No endpoint: refused, as curl is.
            let empty = try trace("debug", "empty")
            #expect(empty.output.contains("no endpoint that could be used"), "\(empty.output)")
            // A source outside the ranges is dropped at the load balancer's address only.
            try eventually("the address is programmed") {
                try trace(cluster.machineAddress, "local").output
                    .contains("in none of the Service's loadBalancerSourceRanges: dropped")
            }
            let inside = try trace("debug", "local")
            #expect(!inside.output.contains("dropped"), "\(inside.output)")
            #expect(inside.output.contains("guarded by loadBalancerSourceRanges"))
            // The node answers DNS itself.
            let dns = try trace("debug", "kube-system/kube-dns:53/UDP")
            #expect(dns.output.contains("this node answers itself"), "\(dns.output)")
            for (words, message) in [
                (["debug", "nothing"], "there is no Service default/nothing"),
                (["nobody", "empty"], "there is no Pod default/nobody"),
                (["empty:81"], "has no port 81"), (["empty", "--node", "9"], "the nodes are"),
            ] {
                let failed = try Command.run(
                    [
                        try StandaloneFixture.portolan, "trace", "--name", cluster.name,
                        "--data-dir", cluster.dataDirectory,
                    ] + words)
                #expect(failed.exitCode == 1)
                #expect(failed.errorOutput.contains(message), "\(failed.errorOutput)")
            }
        }
    }
}

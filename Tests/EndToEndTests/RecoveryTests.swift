import Glibc
import TestSupport
import Testing

/// Faults: processes that are killed. Whatever was acknowledged is there afterwards, the kernel
/// agrees with the objects, and traffic flows.
@Suite
struct RecoveryTests {
    @Test func killedNodeProcessComesBackAndTrafficNeverStops() throws {
        try StandaloneFixture.run { cluster in
            try cluster.deployWebserver()
            try cluster.kubectl("apply", "-f", Examples.path("hostname-svc-nodeport.yaml"))
            let port = try cluster.kubectl(
                "get", "svc", "hostname-svc-nodeport", "-o", "jsonpath={.spec.ports[0].nodePort}")
            let url = "\(cluster.nodeAddress(1)):\(port)"
            try eventually("the nodePort answers") { try cluster.curl(url).hasPrefix("Hello") }
            let before = cluster.nodeProcesses
            for process in before { kill(process, SIGKILL) }
            // The rules outlive the process: no request fails while it is away.
            for _ in 0..<20 { #expect(try cluster.curl(url).hasPrefix("Hello")) }
            try eventually("new node processes run", withinSeconds: 30) {
                let now = cluster.nodeProcesses
                return now.count == 2 && Set(now).isDisjoint(with: before)
            }
            try cluster.kubectl("scale", "deployment/hostname-deployment", "--replicas=4")
            try cluster.kubectl(
                "rollout", "status", "deployment/hostname-deployment", "--timeout=60s")
        }
    }

    @Test func aLinkThatWasDownGetsItsRoutesBack() throws {
        try StandaloneFixture.run { cluster in
            let routes = { try cluster.onNode(1, "ip", "route", "show", "dev", "eth0") }
            // The other node's pods by way of the other node, the world by way of the machine.
            try eventually("the routes are there") {
                try routes().contains("via \(cluster.nodeAddress(2))")
                    && routes().contains("default via \(cluster.machineAddress)")
            }
            let before = try routes()
            _ = try cluster.onNode(1, "ip", "link", "set", "eth0", "down")
            #expect(try !routes().contains("via"))
            _ = try cluster.onNode(1, "ip", "link", "set", "eth0", "up")
            try eventually("the routes are back") { try routes() == before }
        }
    }

    @Test func killedAllAndUpAgain() throws {
        try StandaloneFixture.run { cluster in
            try cluster.deployWebserver()
            try cluster.kubectl("apply", "-f", Examples.path("hostname-svc-nodeport.yaml"))
            for number in 0..<20 {
                try cluster.kubectl(
                    "create", "service", "clusterip", "kept-\(number)", "--tcp=80")
            }
            let addresses = "jsonpath={range .items[*]}{.metadata.name} {.spec.clusterIP}\n{end}"
            let before = try cluster.kubectl("get", "svc", "-o", addresses)
            try cluster.killEverything()
            try cluster.up()
            #expect(try cluster.kubectl("get", "svc", "-o", addresses) == before)
            try cluster.kubectl(
                "rollout", "status", "deployment/hostname-deployment", "--timeout=60s")
            let port = try cluster.kubectl(
                "get", "svc", "hostname-svc-nodeport", "-o", "jsonpath={.spec.ports[0].nodePort}")
            try eventually("traffic flows on both nodes", withinSeconds: 30) {
                try (1...2).allSatisfy {
                    try cluster.curl("\(cluster.nodeAddress($0)):\(port)").hasPrefix("Hello")
                }
            }
            let address = try cluster.kubectl(
                "get", "svc", "kept-7", "-o", "jsonpath={.spec.clusterIP}")
            let result = try Command.run(
                [
                    "nsenter", "--net=/run/netns/\(cluster.nodeName(1))", "curl", "-sS",
                    "--max-time", "10", address,
                ])
            #expect(result.exitCode == 7)  // refused at once; 28 would be a time-out
        }
    }

    @Test func malformedManifestsGetKubernetesOwnErrors() throws {
        try StandaloneFixture.run { cluster in
            let cases: [(manifest: String, message: String)] = [
                (
                    "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}",
                    "unknown field \"spec.prots\""
                ),
                (
                    "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: x}]}",
                    "port"
                ),
                (
                    "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {}",
                    "spec.ports: Required value"
                ),
                (
                    "apiVersion: v1\nkind: Service\nmetadata: {name: My}\nspec: {ports: [{port: 1}]}",
                    "a lowercase RFC 1123 label must consist of"
                ),
                ("apiVersion: v1\nkind: Nonsense\nmetadata: {name: a}", "no matches for kind"),
                ("apiVersion: v1\nkind: [", "error"),
            ]
            for (manifest, message) in cases {
                let result = try cluster.tryKubectl("apply", "-f", "-", input: manifest)
                #expect(result.exitCode != 0)
                #expect(result.errorOutput.contains(message), "\(result.errorOutput)")
            }
        }
    }
}

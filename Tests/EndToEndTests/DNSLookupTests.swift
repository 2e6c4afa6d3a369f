import TestSupport
import Testing

/// `portolan dns lookup` beside what a pod's own resolver says, on a real cluster.
@Suite(.offPool)
struct DNSLookupTests {
    @Test func stepsAndReasonsAreThoseOfAPod() throws {
        try StandaloneFixture.run { cluster in
            try cluster.deployWebserver()
            try cluster.kubectl("apply", "-f", Examples.path("hostname-svc-clusterip.yaml"))
            try cluster.kubectl("create", "service", "clusterip", "none", "--clusterip=None")
            try cluster.runDebugPod()
            let service = "hostname-svc-clusterip"
            let address = try cluster.kubectl(
                "get", "svc", service, "-o", "jsonpath={.spec.clusterIP}")
            #expect(
                try lookup(cluster, service, "--from", "debug")
                    == "\(service).default.svc.cluster.local. → A \(address) "
                    + "(Service default/\(service))")
            try eventually("the pod's resolver says the same") {
                try cluster.inPod("debug", "dig +short +search \(service)") == address
            }
            let empty = try lookup(cluster, "none", "--from", "debug")
            #expect(
                empty.contains("NXDOMAIN: Service default/none is headless and has no endpoints"))
            #expect(
                try cluster.inPod("debug", "dig none.default.svc.cluster.local")
                    .contains("status: NXDOMAIN"))
            let away = try lookup(cluster, "web.nowhere", "--from", "debug")
            #expect(away.contains("there is no namespace nowhere"))
            let other = try lookup(cluster, "\(service).default.svc.cluster.test")
            #expect(other.contains("hint: the cluster domain here is cluster.local."))
            let missing = try Command.run(
                arguments(cluster, "web", "--from", "debug", "--namespace", "kube-system"))
            #expect(missing.exitCode == 1)
            #expect(missing.errorOutput.contains("one in default: use --namespace"))
        }
    }

    private func arguments(_ cluster: StandaloneFixture, _ words: String...) throws -> [String] {
        try [StandaloneFixture.portolan, "dns", "lookup"] + words + [
            "--name", cluster.name, "--data-dir", cluster.dataDirectory,
        ]
    }

    private func lookup(_ cluster: StandaloneFixture, _ words: String...) throws -> String {
        try Command.check(
            try [StandaloneFixture.portolan, "dns", "lookup"] + words + [
                "--name", cluster.name, "--data-dir", cluster.dataDirectory,
            ]
        ).trimmedOutput
    }
}

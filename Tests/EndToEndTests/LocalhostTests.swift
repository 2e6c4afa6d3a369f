import TestSupport
import Testing

/// `--localhost` and a nodePort range of one's own, on one cluster.
@Suite
struct LocalhostTests {
    @Test func nodePortsOfTheRangeAnswerOnLocalhost() throws {
        let flags = ["--localhost", "--service-node-port-range=33000-33999"]
        try StandaloneFixture.run(flags) { cluster in
            try cluster.deployWebserver()
            try cluster.kubectl("apply", "-f", Examples.path("hostname-svc-nodeport.yaml"))
            let text = try cluster.kubectl(
                "get", "svc", "hostname-svc-nodeport", "-o", "jsonpath={.spec.ports[0].nodePort}")
            let port = try #require(Int(text))
            #expect((33000...33999).contains(port))
            try eventually("127.0.0.1:\(port) answers") {
                try cluster.curl("127.0.0.1:\(port)").hasPrefix("Hello, I am hostname-deployment-")
            }
            try cluster.kubectl("delete", "svc", "hostname-svc-nodeport")
            try eventually("127.0.0.1:\(port) is closed") {
                try Command.run(["curl", "-sS", "127.0.0.1:\(port)"]).exitCode == 7
            }
            try takenPortIsNamed(cluster, port)
        }
    }

    private func takenPortIsNamed(_ cluster: StandaloneFixture, _ port: Int) throws {
        let other = try RunningCommand([
            "python3", "-m", "http.server", "--bind", "127.0.0.1", "\(port)",
        ])
        defer { other.stop() }
        try eventually("the port is taken") {
            try Command.run(["curl", "-s", "127.0.0.1:\(port)"]).exitCode == 0
        }
        try cluster.kubectl(
            "create", "service", "nodeport", "taken", "--tcp=80", "--node-port=\(port)")
        try eventually("status names the port") {
            let status = try Command.check([
                try StandaloneFixture.portolan, "status", "--name", cluster.name, "--data-dir",
                cluster.dataDirectory,
            ]).output
            return status.contains("default/taken: LocalhostPortTaken: 127.0.0.1:\(port)")
        }
    }
}

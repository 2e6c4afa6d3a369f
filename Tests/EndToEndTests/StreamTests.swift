import Glibc
import TestSupport
import Testing

/// exec, attach, port-forward, proxy and logs by stock clients: 1.20 speaks SPDY, the newest
/// WebSocket, and SPDY inside WebSocket for ports.
@Suite(.offPool) struct StreamTests {
    @Test func everyProtocolReachesPods() throws {
        try StandaloneFixture.run { cluster in
            try cluster.kubectl(
                "run", "box", "--image=portolan/shell", "--restart=Never", "--command", "--",
                "python3", "-u", "-c", Self.echoServer)
            try cluster.kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
            for program in [try TestClients.oldKubectl, TestClients.newKubectls.last ?? "kubectl"] {
                let client = Client(program: program, cluster: cluster)
                try runsCommands(client)
                try runsCommandsInTerminals(client)
                try attaches(client)
                try forwardsPorts(client)
                try proxies(client)
                #expect(try client.run("logs", "box").output == "ready\n")
            }
        }
    }

    private struct Client {
        let program: String
        let cluster: StandaloneFixture

        var base: [String] { [program, "--kubeconfig", cluster.kubeconfig] }
        var environment: [String: String] { ["HOME": cluster.dataDirectory] }

        func run(_ arguments: String..., input: String = "") throws -> CommandResult {
            try Command.run(base + arguments, input: input, environment: environment)
        }

        func start(_ arguments: String...) throws -> RunningCommand {
            try RunningCommand(base + arguments, environment: environment)
        }
    }

    /// Answers each connection on the pod's loopback with what it got, when it has got all.
    private static let echoServer = """
        import socket, threading
        listener = socket.create_server(("127.0.0.1", 9000))
        print("ready")
        def serve(peer):
            data = b""
            while part := peer.recv(65536):
                data += part
            peer.sendall(data[::-1])
            peer.close()
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],)).start()
        """

    private func runsCommands(_ client: Client) throws {
        let both = try client.run(
            "exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
        #expect(both.output == "out\n")
        #expect(both.errorOutput.hasPrefix("err\n"))
        #expect(both.exitCode == 7, "\(both.errorOutput)")
        let text = String(repeating: "0123456789abcde\n", count: 65_536)
        let copied = try client.run("exec", "-i", "box", "--", "cat", input: text)
        #expect(copied.exitCode == 0 && copied.output == text, "\(copied.errorOutput)")
        let missing = try client.run("exec", "box", "-c", "none", "--", "true")
        #expect(missing.exitCode == 1)
        #expect(
            missing.errorOutput.contains("container none is not valid for pod box")
                || missing.errorOutput.contains("container none not found in pod box"),
            "\(missing.errorOutput)")
        let absent = try client.run("exec", "box", "--", "/no/such/program")
        #expect(absent.exitCode != 0)
    }

    private func runsCommandsInTerminals(_ client: Client) throws {
        let command = (client.base + ["exec", "-it", "box", "--", "sh", "-c", "'tty; exit 3'"])
            .joined(separator: " ")
        let result = try Command.run(
            ["script", "-qec", command, "/dev/null"], environment: client.environment)
        #expect(result.output.contains("/dev/pts/"), "\(result.output)")
        #expect(result.exitCode == 3, "\(result.output)")
    }

    private func attaches(_ client: Client) throws {
        let cluster = client.cluster
        let manifest = """
            {"apiVersion":"v1","kind":"Pod","metadata":{"name":"cat"},"spec":{"restartPolicy":"Never",
            "containers":[{"name":"main","image":"portolan/shell","command":["cat"],"stdin":true,
            "stdinOnce":true}]}}
            """
        try cluster.kubectl("create", "-f", "-", input: manifest)
        try cluster.kubectl("wait", "--for=condition=Ready", "pod/cat", "--timeout=60s")
        let result = try client.run("attach", "-i", "cat", input: "hello\n")
        #expect(result.output == "hello\n", "\(result.errorOutput)")
        try cluster.kubectl("delete", "pod", "cat", "--now")
    }

    private func forwardsPorts(_ client: Client) throws {
        let forward = try client.start("port-forward", "pod/box", ":9000", ":9001")
        defer { forward.stop() }
        try eventually("both ports are forwarded") {
            forward.outputSoFar.split(separator: "\n").count { $0.contains("127.0.0.1:") } == 2
        }
        let ports: [String] = addresses(forward.outputSoFar).map {
            String($0.dropFirst("127.0.0.1:".count))
        }
        let script = """
            import socket, sys, threading
            results = []
            def ask(number):
                with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as peer:
                    data = bytes(((number + i) % 251 for i in range(1 << 20)))
                    peer.sendall(data)
                    peer.shutdown(socket.SHUT_WR)
                    got = b""
                    while part := peer.recv(65536):
                        got += part
                    results.append(got == data[::-1])
            threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            print(results.count(True))
            """
        let echoed = try Command.check(["python3", "-c", script, ports[0]])
        #expect(echoed.output == "8\n", "\(echoed) \(forward.errorOutputSoFar)")
        // Nobody listens on the other: the client is told, and the first goes on.
        let refused = try Command.run(["curl", "-sS", "127.0.0.1:\(ports[1])"])
        #expect(refused.exitCode != 0)
        try eventually("the failure is named") {
            guard forward.errorOutputSoFar.contains("Connection refused") else {
                throw TestFailure(forward.errorOutputSoFar + forward.outputSoFar + "\(refused)")
            }
            return forward.errorOutputSoFar.contains("an error occurred forwarding")
        }
    }

    /// The addresses `127.0.0.1:PORT` that a client says it listens on, in order.
    private func addresses(_ output: String) -> [String] {
        output.split { $0.isWhitespace }.map(String.init).filter { $0.hasPrefix("127.0.0.1:") }
    }

    /// The API itself through `kubectl proxy`, and pods and Services through the API.
    private func proxies(_ client: Client) throws {
        let cluster = client.cluster
        if try cluster.tryKubectl("get", "svc", "web").exitCode != 0 {
            try cluster.deployWebserver()
            try cluster.kubectl(
                "expose", "deployment", "hostname-deployment", "--name=web", "--port=8080",
                "--target-port=80")
        }
        let proxy = try client.start("proxy", "--port=0")
        defer { proxy.stop() }
        try eventually("the proxy serves") { proxy.outputSoFar.contains("127.0.0.1:") }
        let address = try #require(addresses(proxy.outputSoFar).first)
        #expect(try cluster.curl("http://\(address)/version").contains("v1.36.0"))
        let base = "http://\(address)/api/v1/namespaces/default"
        try eventually("the Service answers through the API") {
            let answer = try cluster.curl("\(base)/services/web:8080/proxy/")
            guard answer.hasPrefix("Hello, I am") else { throw TestFailure(answer) }
            return true
        }
        let pods = try cluster.kubectl("get", "pods", "-l", "app=webserver", "-o", "name")
        let pod = try #require(pods.split(separator: "\n").first.map { String($0.dropFirst(4)) })
        #expect(try cluster.curl("\(base)/pods/\(pod)/proxy/").contains(pod))
        #expect(try cluster.curl("\(base)/pods/http:\(pod):80/proxy/x?y=1").contains(pod))
        let refused = try cluster.curl("\(base)/pods/\(pod):81/proxy/")
        #expect(refused.contains("Connection refused"), "\(refused)")
        try proxiesToHTTPS(cluster, base)
    }

    /// A server with a certificate that nobody knows.
    private func proxiesToHTTPS(_ cluster: StandaloneFixture, _ base: String) throws {
        if try cluster.tryKubectl("get", "svc", "secure").exitCode != 0 {
            let identity = try Command.check([
                "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody",
                "-days", "2", "-keyout", "-", "-out", "-",
            ]).output
            try cluster.kubectl(
                "run", "secure", "--image=portolan/shell", "--restart=Never",
                "--env=IDENTITY=\(identity)", "--command", "--", "sh", "-c",
                #"echo "$IDENTITY" >/tmp/s.pem; exec openssl s_server -accept 8443 -www -cert /tmp/s.pem"#
            )
            try cluster.kubectl("expose", "pod", "secure", "--port=443", "--target-port=8443")
        }
        for path in ["pods/https:secure:8443", "services/https:secure:443"] {
            try eventually("\(path) answers") {
                let answer = try cluster.curl("\(base)/\(path)/proxy/")
                guard answer.contains("s_server") else { throw TestFailure(answer) }
                return true
            }
        }
    }
}

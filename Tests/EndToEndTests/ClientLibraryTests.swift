import Foundation
import TestSupport
import Testing

/// Python's client libraries against real pods: streams of the package `kubernetes`, from outside
/// and from within a pod, and WebSockets of the package `websockets` through `/proxy`.
@Suite(.offPool) struct ClientLibraryTests {
    @Test func pythonReachesPodsFromOutsideAndWithin() throws {
        try StandaloneFixture.run { cluster in
            let packages = try Self.packages
            try cluster.kubectl("create", "-f", "-", input: Self.pods(packages))
            try cluster.kubectl(
                "expose", "pod", "echo", "--port=80", "--target-port=9000", "--name=echo")
            try cluster.kubectl(
                "create", "clusterrolebinding", "inside", "--clusterrole=cluster-admin",
                "--serviceaccount=default:default")
            try cluster.kubectl(
                "wait", "--for=condition=Ready", "pod/echo", "pod/inside", "--timeout=60s")
            let outside = try Command.run(
                ["python3", "-c", Self.outside + Self.streams, cluster.kubeconfig],
                environment: ["PYTHONPATH": packages], timeoutSeconds: 90)
            #expect(
                outside.exitCode == 0 && outside.output.hasSuffix("done\n"),
                "\(outside.output)\(outside.errorOutput)")
            let inside = try cluster.tryKubectl(
                "exec", "inside", "--", "python3", "-c", Self.inside + Self.streams)
            #expect(
                inside.exitCode == 0 && inside.output.hasSuffix("done\n"),
                "\(inside.output)\(inside.errorOutput)")
        }
    }

    /// Where the packages are.
    private static var packages: String {
        get throws {
            let library = (try TestClients.python as NSString).deletingLastPathComponent + "/../lib"
            let folders = try FileManager.default.contentsOfDirectory(atPath: library)
            let version = try #require(folders.first { $0.hasPrefix("python3") })
            return URL(filePath: "\(library)/\(version)/site-packages").standardized.path
        }
    }

    /// A pod with a WebSocket server that tells what it was asked and answers messages backwards;
    /// and one to run programs in. The packages are the machine's, mounted.
    private static func pods(_ packages: String) -> String {
        let server = """
            import asyncio, websockets
            from websockets.asyncio.server import serve
            async def answer(peer):
                await peer.send(peer.request.path + " " + peer.request.headers.get("X-Word", ""))
                async for message in peer:
                    await peer.send(message[::-1])
            async def main():
                async with serve(answer, "0.0.0.0", 9000, max_size=None, subprotocols=["echo"]):
                    await asyncio.get_running_loop().create_future()
            asyncio.run(main())
            """
        func pod(_ name: String, _ command: [String]) -> [String: Any] {
            [
                "apiVersion": "v1", "kind": "Pod",
                "metadata": ["name": name, "labels": ["run": name]],
                "spec": [
                    "containers": [
                        [
                            "name": "main", "image": "portolan/shell", "command": command,
                            "env": [["name": "PYTHONPATH", "value": "/packages"]],
                            "volumeMounts": [["name": "packages", "mountPath": "/packages"]],
                            "readinessProbe": [
                                "exec": ["command": ["python3", "-c", "import kubernetes"]],
                                "periodSeconds": 1, "timeoutSeconds": 30,
                            ],
                        ]
                    ],
                    "volumes": [["name": "packages", "hostPath": ["path": packages]]],
                ] as [String: Any],
            ]
        }
        let list: [String: Any] = [
            "apiVersion": "v1", "kind": "List",
            "items": [
                pod("echo", ["python3", "-u", "-c", server]), pod("inside", ["sleep", "1d"]),
            ],
        ]
        let data = try? JSONSerialization.data(withJSONObject: list)
        return String(decoding: data ?? Data(), as: UTF8.self)
    }

    private static let outside = """
        import sys
        from kubernetes import config
        config.load_kube_config(sys.argv[1])

        """

    private static let inside = """
        from kubernetes import config
        config.load_incluster_config()
        from kubernetes import client
        assert client.Configuration.get_default_copy().host.startswith("https://10."), "not inside"

        """

    private static let streams = """
        import ssl, urllib.request
        from kubernetes import client
        from kubernetes.stream import portforward, stream
        from websockets.sync.client import connect
        core = client.CoreV1Api()
        names = [p.metadata.name for p in core.list_namespaced_pod("default").items]
        assert sorted(names) == ["echo", "inside"], names

        # A command, its input and its exit code.
        command = stream(core.connect_get_namespaced_pod_exec, "echo", "default",
                         command=["sh", "-c", "read word; echo out $word; echo err >&2; exit 3"],
                         stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
        command.write_stdin("hello\\n")
        command.run_forever(timeout=60)
        assert command.read_stdout() == "out hello\\n"
        assert command.read_stderr() == "err\\n"
        assert command.returncode == 3, command.returncode

        # Two ports at a time: one where a server listens, one where none does.
        forward = portforward(core.connect_get_namespaced_pod_portforward, "echo", "default",
                              ports="9000,9001")
        peer = forward.socket(9000)
        peer.setblocking(True)
        peer.settimeout(60)
        peer.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        answer = b""
        while b"\\r\\n\\r\\n" not in answer:
            answer += peer.recv(4096)
        assert b" 426 " in answer.split(b"\\r\\n")[0], answer
        peer.close()
        refused = forward.socket(9001)
        refused.settimeout(60)
        assert refused.recv(1) == b""
        assert "Connection refused" in forward.error(9001), forward.error(9001)

        # WebSockets through pods', services' and nodes' /proxy.
        settings = client.Configuration.get_default_copy()
        context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        headers = {"X-Word": "hello"}
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        for credential in settings.auth_settings().values():
            headers["Authorization"] = credential["value"]
        base = settings.host.replace("https", "wss") + "/api/v1/"
        def open_socket(path, **more):
            return connect(base + path, ssl=context, additional_headers=headers, max_size=None,
                           open_timeout=60, **more)
        for place in ("pods/echo:9000", "services/echo:80", "services/echo"):
            with open_socket("namespaces/default/" + place + "/proxy/a/b?c=d",
                             subprotocols=["echo"]) as peer:
                assert peer.subprotocol == "echo"
                assert peer.recv(60) == "/a/b?c=d hello"
                for text in ("abc", "x" * 100 + "y", "z" * 3_000_000 + "!"):
                    peer.send(text)
                    assert peer.recv(60) == text[::-1], place
        try:
            open_socket("namespaces/default/pods/echo:9001/proxy/")
            raise SystemExit("a socket to a port where nobody listens was opened")
        except Exception as error:
            assert "503" in str(error), error
        node = core.read_namespaced_pod("echo", "default").spec.node_name
        with open_socket("nodes/" + node + "/proxy/exec/default/echo/main?command=pwd&output=1",
                         subprotocols=["v5.channel.k8s.io"]) as peer:
            said = b""
            while not said.endswith(b"\\n"):
                message = peer.recv(60)
                if message[0] == 1: said += message[1:]
            assert said == b"/\\n", said
        print("done")
        """
}

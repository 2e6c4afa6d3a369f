import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import TestSupport
import Testing

@testable import APIServer

/// exec, log and their like: the server as a tunnel to a node, which a small Python program plays.
@Suite(.offPool) struct TunnelTests {
    /// Answers an upgrade with 101 and then echoes in capitals; answers logs in two pieces. Prints
    /// its port, and each request line with the client certificate's name.
    private static let node = """
        import ssl, socket, sys, threading
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1] + ".crt", sys.argv[1] + ".key")
        context.load_verify_locations(sys.argv[2])
        context.verify_mode = ssl.CERT_REQUIRED
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        def serve(raw):
            with context.wrap_socket(raw, server_side=True) as peer:
                head = b""
                while b"\\r\\n\\r\\n" not in head:
                    head += peer.recv(4096)
                text = head.decode()
                name = dict(x[0] for x in peer.getpeercert()["subject"])["commonName"]
                print(name, text.split("\\r\\n")[0], flush=True)
                if "upgrade: websocket" not in text.lower():
                    peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\n"
                                 b"Content-Length: 8\\r\\n\\r\\none\\n")
                    peer.sendall(b"two\\n")
                    return
                peer.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n"
                             b"Connection: Upgrade\\r\\nSec-WebSocket-Accept: x\\r\\n\\r\\nhello\\n")
                while data := peer.recv(65536):
                    peer.sendall(data.upper())
        while True:
            raw, _ = listener.accept()
            threading.Thread(target=serve, args=(raw,), daemon=True).start()
        """

    /// Asks for the upgrade, sends a line and a megabyte, and prints what came back.
    private static let client = """
        import ssl, socket, sys
        host, port, base, path = "127.0.0.1", int(sys.argv[1]), sys.argv[2], sys.argv[3]
        context = ssl.create_default_context(cafile=sys.argv[4])
        context.load_cert_chain(base + ".crt", base + ".key")
        with context.wrap_socket(socket.create_connection((host, port)),
                                 server_hostname="localhost") as peer:
            peer.sendall((f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: Upgrade\\r\\n"
                          "Upgrade: websocket\\r\\nSec-WebSocket-Key: y\\r\\n\\r\\n").encode())
            data = b""
            while b"hello" not in data:
                part = peer.recv(4096)
                if not part: break
                data += part
            print(data.decode().split("\\r\\n")[0], flush=True)
            if b" 101 " in data:
                sent = b"x" * (1 << 20)
                got = 0
                peer.sendall(b"line\\n")
                print(peer.recv(5).decode().strip(), flush=True)
                for start in range(0, len(sent), 65536):
                    peer.sendall(sent[start:start + 65536])
                    wanted = start + 65536
                    while got < wanted: got += len(peer.recv(65536))
                print(got, flush=True)
        """

    @Test func joinsClientAndNode() async throws {
        try await ServerFixture.run { fixture in
            let identity = try fixture.authority.issueServer(
                commonName: "system:node:n1", dnsNames: [],
                addresses: [.init(family: .ipv4, numericValue: 0x7F00_0001)])
            let admin = try fixture.authority.issueClient(
                user: "admin", groups: ["system:masters"])
            let base = fixture.directory
            for (name, identity) in [("node", identity), ("client", admin)] {
                try fixture.write(identity.certificatePEM, to: "\(base)/\(name).crt")
                try fixture.write(identity.privateKeyPEM, to: "\(base)/\(name).key")
            }
            let authority = "\(base)/pki/ca.crt"
            let node = try RunningCommand(
                ["python3", "-u", "-c", Self.node, "\(base)/node", authority])
            try eventually("the node listens") { node.outputSoFar.contains("\n") }
            let port = try #require(Int64(node.outputSoFar.prefix { $0.isNumber }))
            try await makePod(fixture, nodePort: port)

            let path = "/api/v1/namespaces/default/pods/p/exec?command=cat&stdin=true&stdout=1"
            let result = try await offPool {
                let client = try RunningCommand([
                    "python3", "-c", Self.client, String(fixture.port), "\(base)/client", path,
                    authority,
                ])
                do { return try client.finish(timeoutSeconds: 20) } catch {
                    throw TestFailure(
                        "client: \(client.outputSoFar) node: \(node.outputSoFar) "
                            + node.errorOutputSoFar)
                }
            }
            #expect(
                result.output == "HTTP/1.1 101 Switching Protocols\nLINE\n1048576\n",
                "\(result.errorOutput)")
            #expect(
                node.outputSoFar.contains(
                    "kube-apiserver-kubelet-client GET "
                        + "/exec/default/p/main?command=cat&input=1&output=1 HTTP/1.1"),
                "\(node.outputSoFar)")
            #expect(try await fixture.check(["logs", "p", "--tail=2"]) == "one\ntwo\n")
            #expect(
                node.outputSoFar.contains("GET /containerLogs/default/p/main?tailLines=2"))
            let plain = try await fixture.curl("/api/v1/namespaces/default/pods/p/exec")
            #expect(plain.output.contains("Upgrade request required"))
            let missing = try await fixture.kubectl(["logs", "p", "-c", "none"])
            #expect(missing.errorOutput.contains("container none is not valid for pod p"))
        }
    }

    private func makePod(_ fixture: ServerFixture, nodePort: Int64) async throws {
        let client = fixture.server.client
        _ = try await client.create(.nodes, ["metadata": ["name": "n1"]])
        _ = try await client.patch(
            .nodes, namespace: nil, name: "n1", subresource: "status", type: .merge,
            [
                "status": [
                    "addresses": [["type": "InternalIP", "address": "127.0.0.1"]],
                    "daemonEndpoints": ["kubeletEndpoint": ["Port": .integer(nodePort)]],
                ]
            ])
        _ = try await client.create(
            .pods,
            [
                "metadata": ["name": "p", "namespace": "default"],
                "spec": [
                    "nodeName": "n1", "containers": [["name": "main", "image": "x"]],
                ],
            ])
    }
}

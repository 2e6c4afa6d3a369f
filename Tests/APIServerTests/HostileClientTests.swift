import Glibc
import JSON
import KubernetesAPI
import TestSupport
import Testing

@testable import APIServer

/// Clients that mean ill, or that are broken: each gets a Status or a closed connection, and the
/// server is afterwards what it was. `PORTOLAN_SOAK=1` makes 10,000 such requests of 400.
/// It counts the sockets and the memory of its process, so it runs alone.
@Suite(.offPool) struct HostileClientSerialTests {
    static let isSoak = getenv("PORTOLAN_SOAK") != nil
    static let requestCount = isSoak ? 10_000 : 400

    /// Sends `count` bad requests over `threads` connections at a time and prints what came back,
    /// by kind of request: statuses, or `closed`.
    private static let client = """
        import collections, json, os, random, socket, ssl, sys, threading
        port, count, threads = int(sys.argv[1]), int(sys.argv[2]), 8
        context = ssl.create_default_context(cafile=sys.argv[3])
        context.load_cert_chain(sys.argv[4] + ".crt", sys.argv[4] + ".key")
        maps = "/api/v1/namespaces/default/configmaps"
        def connect():
            raw = socket.create_connection(("127.0.0.1", port), timeout=20)
            return context.wrap_socket(raw, server_hostname="localhost")
        def request(method, path, body=b"", kind="application/json", extra=b"", length=None):
            head = "%s %s HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: %s\\r\\nContent-Length: %d\\r\\n" % (
                method, path, kind, len(body) if length is None else length)
            return head.encode() + extra + b"\\r\\n" + body
        def noise(size):
            return bytes(random.getrandbits(8) for _ in range(size))
        good = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}'
        deep = b'{"a":' * 5000
        kinds = {
            "cut": lambda: request("POST", maps, good[:random.randrange(1, len(good))]),
            "noise": lambda: request("POST", maps, noise(500)),
            "deep": lambda: request("POST", maps, deep),
            "type": lambda: request("POST", maps, good, kind="application/xml"),
            "protobuf": lambda: request("POST", maps, b"k8s\\0" + noise(200),
                                        kind="application/vnd.kubernetes.protobuf"),
            "patch": lambda: request("PATCH", maps + "/none", b'[{"op":"add"}]',
                                     kind="application/json-patch+json"),
            "selector": lambda: request("GET", maps + "?labelSelector=%28a%2C%2C"),
            "token": lambda: request("GET", maps + "?continue=" + noise(20).hex()),
            "version": lambda: request("GET", maps + "?watch=1&resourceVersion=-x"),
            "method": lambda: request("BREW", maps),
            "path": lambda: request("GET", "/" + "%2e%2e/" * 300),
            "huge": lambda: request("POST", maps, b" " * 65536, length=100 << 20),
            "lines": lambda: request("GET", "/livez",
                                     extra=b"".join(b"X-%d: y\\r\\n" % i for i in range(10000))),
            "line": lambda: request("GET", "/livez", extra=b"X: " + b"y" * 200000 + b"\\r\\n"),
            "smuggled": lambda: request("POST", maps, b"0\\r\\n\\r\\n",
                                        extra=b"Transfer-Encoding: chunked\\r\\n"),
            "nothttp": lambda: noise(300) + b"\\r\\n\\r\\n",
            "upgrade": lambda: request("GET", maps, extra=b"Connection: Upgrade\\r\\n"
                                       b"Upgrade: SPDY/3.1\\r\\n"),
        }
        leaving = {
            "watch": lambda: request("GET", maps + "?watch=1"),
            "half": lambda: request("POST", maps, good, length=5000),
        }
        seen = collections.defaultdict(collections.Counter)
        lock = threading.Lock()
        def one(number):
            names = list(kinds) + list(leaving)
            name = names[number % len(names)]
            peer = connect()
            try:
                peer.sendall((kinds.get(name) or leaving[name])())
                if name in leaving:
                    if name == "watch": peer.recv(1)
                    return name, "left"
                answer = b""
                while b"\\r\\n\\r\\n" not in answer:
                    part = peer.recv(65536)
                    if not part: return name, "closed"
                    answer += part
                head, body = answer.split(b"\\r\\n\\r\\n", 1)
                status = head.split()[1].decode()
                length = [l for l in head.lower().split(b"\\r\\n") if l.startswith(b"content-length")]
                wanted = int(length[0].split(b":")[1]) if length else 0
                while len(body) < wanted:
                    part = peer.recv(65536)
                    if not part: break
                    body += part
                if status >= "400":
                    answer = json.loads(body)
                    assert answer["kind"] == "Status" and answer["message"], body
                return name, status
            except (ConnectionError, ssl.SSLError, BrokenPipeError):
                return name, "closed"
            finally:
                peer.close()
        def work(start):
            for number in range(start, count, threads):
                name, result = one(number)
                with lock: seen[name][result] += 1
        pool = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
        [t.start() for t in pool]; [t.join() for t in pool]
        print(json.dumps(seen))
        """

    /// What each kind may be answered with.
    private static let allowed: [String: Set<String>] = [
        "cut": ["400"], "noise": ["400"], "deep": ["400"], "type": ["415"], "protobuf": ["400"],
        "patch": ["400", "404", "422"], "selector": ["400"], "token": ["400", "410"],
        "version": ["400"], "method": ["405", "400", "closed"], "path": ["404", "400"],
        "huge": ["413", "closed"], "lines": ["431", "closed"], "line": ["431", "closed"],
        "smuggled": ["400", "closed"], "nothttp": ["400", "closed"], "upgrade": ["200", "400"],
        "watch": ["left"], "half": ["left"],
    ]

    @Test func badRequestsGetAStatusAndLeaveNothing() async throws {
        try await ServerFixture.run { fixture in
            let admin = try fixture.authority.issueClient(
                user: "admin", groups: ["system:masters"])
            let base = "\(fixture.directory)/client"
            try fixture.write(admin.certificatePEM, to: base + ".crt")
            try fixture.write(admin.privateKeyPEM, to: base + ".key")
            func send(_ count: Int) async throws -> JSONValue {
                let result = try await offPool {
                    try Command.run(
                        [
                            "python3", "-c", Self.client, String(fixture.port), String(count),
                            "\(fixture.directory)/pki/ca.crt", base,
                        ], timeoutSeconds: 580)
                }
                #expect(result.exitCode == 0, "\(result.errorOutput)")
                return try JSONValue(parsing: result.output)
            }
            // A first round, so that what is made once is there.
            for (kind, results) in try #require(try await send(200).object) {
                for (result, _) in results.object ?? JSONObject() {
                    #expect(
                        Self.allowed[kind]?.contains(result) ?? false,
                        "\(kind) was answered with \(result)")
                }
            }
            try eventually("its connections are gone") {
                fixture.server.listener.connectionCount == 0
            }
            let before = try Self.resources()
            _ = try await send(Self.requestCount)
            try eventually("the connections are gone") {
                fixture.server.listener.connectionCount == 0
            }
            try eventually("no descriptor is left open") {
                try Self.resources().descriptors <= before.descriptors
            }
            let grown = try Self.resources().residentKiB - before.residentKiB
            // The allocator keeps some; a leak of a kilobyte a request would show in the long run.
            #expect(grown < 8 * 1024 + Self.requestCount, "grew by \(grown) KiB")
            #expect(try await fixture.curl("/livez").output == "ok")
            #expect(
                try await fixture.curl("/metrics").output
                    .contains("apiserver_longrunning_requests 0\n"))
        }
    }

    /// Connections that send a byte now and then hold no one else up, and end by themselves.
    @Test func slowClientsDoNotHoldOthersUp() async throws {
        try await ServerFixture.run { fixture in
            let script = """
                import socket, ssl, sys
                context = ssl._create_unverified_context()
                peers = []
                for number in range(200):
                    raw = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
                    if number % 2:
                        raw = context.wrap_socket(raw)
                        raw.sendall(b"POST /api HTTP/1.1\\r\\nContent-Le")
                    peers.append(raw)
                print("held", flush=True)
                sys.stdin.read()
                peers[0].recv(1)
                """
            let slow = try RunningCommand(["python3", "-c", script, String(fixture.port)])
            try eventually("200 connections are held") { slow.outputSoFar == "held\n" }
            for _ in 0..<5 { #expect(try await fixture.curl("/livez").output == "ok") }
            slow.stop()
            try eventually("they are gone with their client") {
                fixture.server.listener.connectionCount == 0
            }
        }
    }

    private static func resources() throws -> (descriptors: Int, residentKiB: Int) {
        let text = try Command.check(["cat", "/proc/\(getpid())/status"]).output
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        let resident = line?.split { !$0.isNumber }.first.flatMap { Int($0) }
        let files = try Command.check(["ls", "/proc/\(getpid())/fd"]).output
        // Sockets alone: other tests of this process open files meanwhile.
        let count = try Command.check([
            "sh", "-c", "ls -l /proc/\(getpid())/fd | grep -c 'socket:' || true",
        ]).trimmedOutput
        guard let resident, let sockets = Int(count), !files.isEmpty else {
            throw TestFailure("cannot read this process's resources")
        }
        return (sockets, resident)
    }
}

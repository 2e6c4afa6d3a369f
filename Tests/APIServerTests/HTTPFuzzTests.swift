import Glibc
import Informer
import JSON
import KubernetesAPI
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import APIServer

/// Mutated requests at the whole HTTP surface: the decoder, the handlers and everything that reads
/// bodies, without TLS in between. Each answer is HTTP, each failure a Status, and the server goes on.
/// `PORTOLAN_SOAK=1` makes it a soak.
@Suite(.offPool) struct HTTPFuzzTests {
    private static let count = getenv("PORTOLAN_SOAK") == nil ? 1_500 : 200_000
    private static let services = "/api/v1/namespaces/default/services"

    private struct Seed: Sendable {
        var head: String
        var body: String
    }

    private static let seeds: [Seed] = {
        var seeds: [Seed] = []
        func add(_ line: String, _ headers: [String] = [], _ body: String = "") {
            let head = (["\(line) HTTP/1.1"] + headers).joined(separator: "\r\n")
            seeds.append(Seed(head: head, body: body))
        }
        func type(_ name: String) -> [String] { ["Content-Type: application/\(name)"] }
        add("POST \(services)?fieldValidation=Strict", type("json"), service)
        add("PUT \(services)/web", type("json"), service)
        add(
            "PATCH \(services)/web", type("strategic-merge-patch+json"),
            #"{"spec":{"ports":[{"$patch":"delete","port":80},{"port":81,"name":"x"}]}}"#)
        add(
            "PATCH \(services)/web", type("json-patch+json"),
            #"[{"op":"test","path":"/spec/ports/0/port","value":80},{"op":"remove","path":"/spec"}]"#
        )
        add(
            "PATCH \(services)/web?fieldManager=m&force=true", type("apply-patch+yaml"),
            "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports:\n  - port: 80\n")
        add(
            "DELETE \(services)/web", type("json"),
            #"{"preconditions":{"uid":"x"},"propagationPolicy":"Orphan","dryRun":["All"]}"#)
        add("GET \(services)?labelSelector=a%3Db,c+in+(d,e),!f&limit=3&continue=abc")
        add("GET \(services)?fieldSelector=metadata.name%3Dweb&resourceVersion=0")
        add("GET \(services)", ["Accept: application/json;as=Table;v=v1;g=meta.k8s.io,*/*;q=0.1"])
        add(
            "GET \(services)?watch=1&timeoutSeconds=1&allowWatchBookmarks=true"
                + "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
        add(
            "GET /api/v1/namespaces/default/pods/p/exec?command=a&stdin=1",
            [
                "Connection: Upgrade", "Upgrade: SPDY/3.1",
                "X-Stream-Protocol-Version: v4.channel.k8s.io",
            ])
        add("GET /apis", ["Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=X"])
        add("GET /openapi/v3/api/v1?hash=1")
        add(
            "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", type("json"),
            #"{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}"#)
        add(
            "PUT \(services)/web/status", ["Transfer-Encoding: chunked"],
            "5\r\n{\"a\":\r\n0\r\n")
        add("GET \(services)/http:web:80/proxy/x?y", ["Impersonate-User: system:anonymous"])
        return seeds
    }()
    private static let service = """
        {"apiVersion":"v1","kind":"Service","metadata":{"name":"web","labels":{"a":"b"}},"spec":{
        "type":"NodePort","ports":[{"port":80,"nodePort":30080,"targetPort":"http"}],
        "ipFamilies":["IPv4"],"sessionAffinity":"ClientIP"}}
        """

    @Test func mutatedRequests() async throws {
        try await ServerFixture.run { fixture in
            let path = "\(fixture.directory)/http"
            let (listener, handler) = (fixture.server.listener, fixture.server.handler)
            let user = UserInfo(name: "admin", groups: ["system:masters"])
            let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try listener.configureHTTP1(channel, user: user, responder: handler)
                    }
                }
                .bind(unixDomainSocketPath: path).get()
            var generator = Mixer(state: 11)
            var answered = 0
            for number in 0..<Self.count {
                let request = Self.mutated(Self.seeds[number % Self.seeds.count], &generator)
                let answer = try await offPool { try Self.ask(path, request) }
                guard !answer.isEmpty else { continue }
                answered += 1
                Self.check(answer, of: request)
            }
            #expect(answered > Self.count / 4)
            let alive = try await offPool {
                try Self.ask(path, Array("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
            }
            #expect(String(decoding: alive, as: UTF8.self).hasSuffix("ok"))
            try await channel.close().get()
        }
    }

    private static func check(_ answer: [UInt8], of request: [UInt8]) {
        let text = String(decoding: answer, as: UTF8.self)
        let sent = String(decoding: request, as: UTF8.self)
        guard text.hasPrefix("HTTP/1.1 ") else {
            Issue.record("no HTTP: \(text.prefix(200)) after \(sent)")
            return
        }
        guard let code = Int(text.dropFirst(9).prefix(3)), code >= 400,
            let split = text.firstRange(of: "\r\n\r\n")
        else { return }
        // The answer to HEAD has no body, and a second request may have been smuggled in by chance.
        let body = text[split.upperBound...]
        guard !body.isEmpty, !sent.hasPrefix("HEAD") else { return }
        #expect(body.contains("\"kind\":\"Status\""), "\(code) \(body.prefix(200)) after \(sent)")
    }

    /// Milliseconds after which a request counts as incomplete: the server waits for the rest.
    private static let patienceMilliseconds: Int32 = 200

    /// The answer, or what has come of one without a length; empty where the connection is closed
    /// without one, or the server waits for more of the request.
    private static func ask(_ path: String, _ request: [UInt8]) throws -> [UInt8] {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard status == 0 else { throw TestFailure("the server does not listen any more") }
        _ = send(descriptor, request, request.count, Int32(MSG_NOSIGNAL))
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while !isWhole(answer) {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&entry, 1, patienceMilliseconds) > 0 else { return answer }
            let count = read(descriptor, &chunk, chunk.count)
            guard count > 0 else { return answer }
            answer += chunk[..<count]
        }
        return answer
    }

    private static func isWhole(_ answer: [UInt8]) -> Bool {
        let text = String(decoding: answer, as: UTF8.self)
        guard let end = text.firstRange(of: "\r\n\r\n") else { return false }
        let head = text[..<end.lowerBound].lowercased()
        guard let field = head.firstRange(of: "content-length: ") else { return true }
        let length = Int(head[field.upperBound...].prefix { $0.isNumber }) ?? 0
        return text[end.upperBound...].utf8.count >= length
    }

    private static func mutated(
        _ seed: Seed, _ generator: inout Mixer
    ) -> [UInt8] {
        var head = Array((seed.head + "\r\nHost: x\r\n").utf8)
        var body = Array(seed.body.utf8)
        switch generator.next(4) {
        case 0: mutate(&head, &generator)
        case 1:
            mutate(&head, &generator)
            mutate(&body, &generator)
        default: mutate(&body, &generator)
        }
        let length = generator.next(20) == 0 ? generator.next(10_000) : body.count
        if !seed.head.contains("chunked") || generator.next(4) == 0 {
            head += Array("Content-Length: \(length)\r\n".utf8)
        }
        return head + Array("\r\n".utf8) + body
    }

    private static func mutate(_ bytes: inout [UInt8], _ generator: inout Mixer) {
        let snippets = [
            "null", "{}", "[]", "-1", "99999999999999999999", "\"\"", "%00", "%zz", "\r\n", "\0",
            "\u{FEFF}", "[[[[[[[[", "{\"a\":", "&", "=", "\"$patch\":\"replace\",", "../", "\u{7F}",
        ]
        for _ in 0...generator.next(3) where !bytes.isEmpty {
            let place = generator.next(bytes.count)
            let end = min(bytes.count, place + generator.next(8))
            switch generator.next(5) {
            case 0: bytes[place] = UInt8(generator.next(256))
            case 1: bytes.removeSubrange(place..<end)
            case 2: bytes.insert(contentsOf: bytes[place..<end], at: place)
            case 3: bytes[place] ^= 1 << UInt8(generator.next(8))
            default:
                bytes.insert(
                    contentsOf: Array(snippets[generator.next(snippets.count)].utf8), at: place)
            }
        }
    }

    /// A generator that a failing run can be repeated with (SplitMix64).
    private struct Mixer {
        var state: UInt64

        mutating func next(_ bound: Int) -> Int {
            state &+= 0x9E37_79B9_7F4A_7C15
            var value = state
            value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
            value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
            return Int(truncatingIfNeeded: (value ^ value >> 31) >> 1) % bound
        }
    }
}

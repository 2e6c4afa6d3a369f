import DNS
import DNSServer
import Glibc
import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import Synchronization
import TestSupport
import Testing

/// The agent from API objects to answers: informers, controller, zone, server, snapshot.
@Suite(.offPool) struct AgentTests {
    static func agent(
        _ client: ScriptedClient, snapshot: String? = nil, metrics: UInt16? = nil,
        relistSeconds: Int = 1800
    ) throws -> (DNSAgent, UInt16) {
        let port = try freePort()
        let agent = DNSAgent(
            client: client,
            configuration: DNSAgent.Configuration(
                listenAddresses: [SocketAddress(.v4(0x7F00_0001), port: port)],
                snapshotPath: snapshot,
                metricsAddress: metrics.map { SocketAddress(.v4(0x7F00_0001), port: $0) },
                relistSeconds: relistSeconds))
        return (agent, port)
    }

    static func dig(_ port: UInt16, _ name: String, _ extra: String...) throws -> String {
        try Command.run(
            ["dig", "@127.0.0.1", "-p", "\(port)", "+short", "+time=25", "+tries=1", name] + extra
        ).trimmedOutput
    }

    /// Runs `body` while the agent runs, and waits for the agent's end.
    static func running(
        _ agent: DNSAgent, _ body: () async throws -> Void
    ) async throws {
        let task = Task { try await agent.run() }
        await agent.waitUntilReady()
        do {
            try await body()
        } catch {
            task.cancel()
            _ = try? await task.value
            throw error
        }
        task.cancel()
        try await task.value
    }

    @Test func objectsBecomeAnswersAndChangesFollow() async throws {
        let client = ScriptedClient()
        client.put(.namespaces, ScriptedClient.namespace("default"))
        client.put(.services, ScriptedClient.service("web", clusterIP: "10.96.1.1"))
        let metrics = try freePort()
        let (agent, port) = try Self.agent(client, metrics: metrics)
        try await Self.running(agent) {
            #expect(try Self.dig(port, "web.default.svc.cluster.local") == "10.96.1.1")
            client.put(.services, ScriptedClient.service("db", clusterIP: "None"))
            client.put(
                .endpointSlices, ScriptedClient.slice("db-1", of: "db", ["10.244.0.5"]))
            try await soon("the slice shows") {
                try Self.dig(port, "db.default.svc.cluster.local") == "10.244.0.5"
            }
            client.remove(.services, "default/web")
            try await soon("the Service goes") {
                try Self.dig(port, "web.default.svc.cluster.local").isEmpty
            }
            let page = try Command.check(["curl", "-s", "http://127.0.0.1:\(metrics)/metrics"])
                .output
            #expect(page.contains("coredns_dns_requests_total"))
            #expect(page.contains("portolan_dns_staleness_seconds 0"))
            #expect(
                try Command.check(["curl", "-s", "http://127.0.0.1:\(metrics)/ready"]).output
                    == "OK")
        }
    }

    @Test func aSnapshotAnswersWithoutAnAPIServer() async throws {
        let path = "/tmp/portolan-dns-test-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        defer { unlink(path) }
        let client = ScriptedClient()
        client.put(.services, ScriptedClient.service("web", clusterIP: "10.96.1.1"))
        let (first, firstPort) = try Self.agent(client, snapshot: path)
        try await Self.running(first) {
            let answer = try Self.dig(firstPort, "web.default.svc.cluster.local")
            #expect(answer == "10.96.1.1")
        }
        client.setReachable(false)
        let (second, port) = try Self.agent(client, snapshot: path)
        try await Self.running(second) {
            #expect(try Self.dig(port, "web.default.svc.cluster.local") == "10.96.1.1")
            #expect(!second.controller.isSynced)
            // The API server comes back and knows better.
            client.remove(.services, "default/web")
            client.put(.services, ScriptedClient.service("new", clusterIP: "10.96.1.2"))
            client.setReachable(true)
            try await soon("the lists replace the snapshot") {
                try Self.dig(port, "new.default.svc.cluster.local") == "10.96.1.2"
                    && Self.dig(port, "web.default.svc.cluster.local").isEmpty
            }
        }
    }

    /// The value of a metric without labels.
    private static func metric(_ agent: DNSAgent, _ name: String) -> Double? {
        let line = agent.metricsText().split(separator: "\n").first { $0.hasPrefix(name + " ") }
        return line.flatMap { $0.split(separator: " ").last }.flatMap { Double($0) }
    }

    @Test func anOutageIsAnsweredThroughAndShown() async throws {
        let client = ScriptedClient()
        client.put(.services, ScriptedClient.service("web", clusterIP: "10.96.1.1"))
        let (agent, port) = try Self.agent(client)
        try await Self.running(agent) {
            #expect(try Self.dig(port, "web.default.svc.cluster.local") == "10.96.1.1")
            #expect(Self.metric(agent, "portolan_dns_staleness_seconds") == 0)
            client.setReachable(false)
            try await soon("the gauge rises") {
                (Self.metric(agent, "portolan_dns_staleness_seconds") ?? 0) > 0
            }
            #expect(try Self.dig(port, "web.default.svc.cluster.local") == "10.96.1.1")
            client.put(.services, ScriptedClient.service("web", clusterIP: "10.96.1.2"))
            client.setReachable(true)
            try await soon("what changed meanwhile is seen") {
                try Self.dig(port, "web.default.svc.cluster.local") == "10.96.1.2"
            }
            #expect(Self.metric(agent, "portolan_dns_staleness_seconds") == 0)
        }
    }

    @Test func everythingIsListedAnewNowAndThen() async throws {
        let client = ScriptedClient()
        let (agent, port) = try Self.agent(client, relistSeconds: 1)
        try await Self.running(agent) {
            // A watch that is open and says nothing (coredns#3879).
            client.put(.namespaces, ScriptedClient.namespace("silent"), tellingWatchers: false)
            try await soon("the namespace is found") {
                try Command.check([
                    "dig", "@127.0.0.1", "-p", "\(port)", "silent.svc.cluster.local",
                ]).output.contains("status: NOERROR")
            }
        }
    }

    @Test func changesOfEndpointsAreTimed() async throws {
        let client = ScriptedClient()
        client.put(.services, ScriptedClient.service("web", clusterIP: "10.96.1.1"))
        let metrics = try freePort()
        let (agent, _) = try Self.agent(client, metrics: metrics)
        try await Self.running(agent) {
            guard case .object(var slice) = ScriptedClient.slice("web-1", of: "web", ["10.2.0.1"]),
                case .object(var metadata)? = slice["metadata"]
            else { throw TestFailure("no slice") }
            metadata["annotations"] = [
                "endpoints.kubernetes.io/last-change-trigger-time": .string("\(Timestamp.now)")
            ]
            slice["metadata"] = .object(metadata)
            client.put(.endpointSlices, .object(slice))
            let name = "coredns_kubernetes_dns_programming_duration_seconds_count"
            try await soon("the change is counted") {
                agent.metricsText().contains("\(name){service_kind=\"cluster_ip\"} 1")
            }
        }
    }

    @Test func busyClientsAreShownOnRequest() async throws {
        let client = ScriptedClient()
        client.put(.pods, ScriptedClient.pod("asker", "127.0.0.1"))
        let metrics = try freePort()
        let (agent, port) = try Self.agent(client, metrics: metrics)
        try await Self.running(agent) {
            let page = ["curl", "-s", "http://127.0.0.1:\(metrics)/clients"]
            #expect(try Command.check(page).output.contains("counted from now on"))
            try await soon("the client is shown with its pod") {
                _ = try Self.dig(port, "web.default.svc.cluster.local", "+tcp")
                return try Command.check(page).output.contains("\t127.0.0.1\tdefault/asker")
            }
        }
    }

    @Test func theCorednsConfigMapIsFollowed() async throws {
        let client = ScriptedClient()
        client.put(.services, ScriptedClient.service("web", clusterIP: "10.96.1.1"))
        let (agent, port) = try Self.agent(client)
        try await Self.running(agent) {
            client.put(
                .configMaps,
                ScriptedClient.corefile(
                    """
                    .:53 {
                        hosts {
                            192.0.2.9 fixed.test
                            fallthrough
                        }
                        kubernetes other.domain in-addr.arpa ip6.arpa {
                            ttl 5
                        }
                        forward . 127.0.0.1:1
                    }
                    """))
            try await soon("the new domain answers") {
                try Self.dig(port, "web.default.svc.other.domain") == "10.96.1.1"
            }
            #expect(try Self.dig(port, "fixed.test") == "192.0.2.9")
            client.put(.configMaps, ScriptedClient.corefile(".:53 {\n    nonsense\n}\n"))
            client.put(.services, ScriptedClient.service("later", clusterIP: "10.96.1.3"))
            try await soon("the last good configuration stays") {
                try Self.dig(port, "later.default.svc.other.domain") == "10.96.1.3"
            }
        }
    }

    @Test func verifiedPodRecordsFollowThePods() async throws {
        let client = ScriptedClient()
        client.put(.namespaces, ScriptedClient.namespace("default"))
        client.put(.pods, ScriptedClient.pod("a", "10.244.0.9"))
        let (agent, port) = try Self.agent(client)
        let corefile = { (mode: String, ttl: Int) in
            ScriptedClient.corefile(
                ". {\n kubernetes cluster.local {\n  pods \(mode)\n  ttl \(ttl)\n }\n}")
        }
        let (known, unknown) = (
            "10-244-0-9.default.pod.cluster.local", "10-244-0-8.default.pod.cluster.local"
        )
        try await Self.running(agent) {
            #expect(try Self.dig(port, unknown) == "10.244.0.8", "insecure at first")
            client.put(.configMaps, corefile("verified", 30))
            try await soon("only known pods") {
                try Self.dig(port, known) == "10.244.0.9" && Self.dig(port, unknown).isEmpty
            }
            // Another zone for another reason still has the pods.
            client.put(.configMaps, corefile("verified", 7))
            try await soon("the new TTL, with the pods") {
                try Self.dig(port, known, "+ttlid", "+noshort", "+noall", "+answer")
                    .split(whereSeparator: \.isWhitespace).dropFirst().first == "7"
            }
            client.remove(.pods, "default/a")
            try await soon("the pod goes") { try Self.dig(port, known).isEmpty }
        }
    }

    @Test func aWrongClusterDomainIsRefused() async throws {
        let agent = DNSAgent(
            client: ScriptedClient(),
            configuration: DNSAgent.Configuration(clusterDomain: "not..a.name"))
        await #expect(throws: DNSAgent.ConfigurationError.self) { try await agent.run() }
    }
}

/// A port that nobody has on loopback just now.
/// Waits without holding a thread, which the agent may need.
func soon(_ what: String, _ condition: () async throws -> Bool) async throws {
    try await eventually(what) { try await condition() }
}

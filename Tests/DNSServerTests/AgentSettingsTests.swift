import DNS
import DNSServer
import Glibc
import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import TestSupport
import Testing

/// What the options of a Corefile's kubernetes plugin do to answers, and what a certificate does
/// that comes late.
@Suite(.offPool) struct AgentSettingsTests {
    /// A cluster with a labelled and a bare namespace, Services with and without endpoints.
    private static func cluster() -> ScriptedClient {
        let client = ScriptedClient()
        client.put(
            .namespaces, ScriptedClient.namespace("default", labels: ["team": "a"]))
        client.put(.namespaces, ScriptedClient.namespace("other"))
        client.put(
            .services,
            ScriptedClient.service("web", clusterIP: "10.96.1.1", labels: ["tier": "front"]))
        client.put(.services, ScriptedClient.service("idle", clusterIP: "10.96.1.2"))
        client.put(.services, ScriptedClient.service("db", clusterIP: "None"))
        client.put(
            .services,
            ScriptedClient.service("web", clusterIP: "10.96.1.3", namespace: "other"))
        client.put(.endpointSlices, ScriptedClient.slice("web-1", of: "web", ["10.2.0.1"]))
        client.put(.endpointSlices, ScriptedClient.slice("db-1", of: "db", ["10.2.0.2"]))
        return client
    }

    /// A Corefile's options, and for each question the answer that it should have; "" for a name
    /// that does not exist.
    private static let cases: [([String], [(String, String)])] = [
        (
            [],
            [
                ("web.default.svc.cluster.local", "10.96.1.1"),
                ("web.default.svc.second.test", "10.96.1.1"),
                ("10-2-0-2.db.default.svc.cluster.local", "10.2.0.2"),
                ("10-2-0-9.default.pod.cluster.local", ""),
            ]
        ),
        (
            ["namespaces other"],
            [
                ("web.other.svc.cluster.local", "10.96.1.3"), ("web.default.svc.cluster.local", ""),
                ("web.other.svc.second.test", "10.96.1.3"),
            ]
        ),
        (
            ["namespace_labels team=a", "pods insecure"],
            [
                ("web.other.svc.cluster.local", ""), ("web.default.svc.cluster.local", "10.96.1.1"),
                ("10-2-0-9.default.pod.second.test", "10.2.0.9"),
                ("10-2-0-9.other.pod.cluster.local", ""),
            ]
        ),
        (
            ["labels tier in (front, back)"],
            [
                ("idle.default.svc.cluster.local", ""),
                ("web.default.svc.cluster.local", "10.96.1.1"),
            ]
        ),
        (
            ["noendpoints"],
            [
                ("db.default.svc.cluster.local", ""),
                ("10-2-0-1.web.default.svc.cluster.local", ""),
                ("web.default.svc.cluster.local", "10.96.1.1"),
            ]
        ),
        (
            ["endpoint_pod_names"],
            [
                ("db-1-pod-0.db.default.svc.cluster.local", "10.2.0.2"),
                ("10-2-0-2.db.default.svc.cluster.local", ""),
            ]
        ),
        (
            ["ignore empty_service"],
            [
                ("idle.default.svc.cluster.local", ""),
                ("db.default.svc.cluster.local", "10.2.0.2"),
                ("web.default.svc.cluster.local", "10.96.1.1"),
            ]
        ),
    ]

    @Test func kubernetesOptionsDecideWhatHasRecords() async throws {
        let client = Self.cluster()
        let (agent, port) = try AgentTests.agent(client)
        try await AgentTests.running(agent) {
            for (number, (options, answers)) in Self.cases.enumerated() {
                // The TTL says when this configuration is the one that answers.
                let ttl = 100 + number
                client.put(
                    .configMaps,
                    ScriptedClient.corefile(
                        ". {\n kubernetes cluster.local second.test in-addr.arpa {\n"
                            + (options + ["ttl \(ttl)"]).joined(separator: "\n") + "\n }\n}\n"))
                try await soon("the options \(options) are in force") {
                    try AgentTests.dig(
                        port, "cluster.local", "NS", "+ttlid", "+noshort", "+noall",
                        "+answer"
                    ).contains("\t\(ttl)\t")
                }
                for (name, address) in answers {
                    let answer = try AgentTests.dig(port, name)
                    #expect(answer == address, "\(name) with \(options)")
                }
            }
            // A namespace whose labels change appears.
            client.put(
                .configMaps,
                ScriptedClient.corefile(
                    ". {\n kubernetes cluster.local {\n  namespace_labels team=b\n }\n}\n"))
            client.put(.namespaces, ScriptedClient.namespace("other", labels: ["team": "b"]))
            try await soon("the namespace is exposed") {
                try AgentTests.dig(port, "web.other.svc.cluster.local") == "10.96.1.3"
                    && AgentTests.dig(port, "web.default.svc.cluster.local").isEmpty
            }
            // Reverse names are somebody else's here, and nobody is asked.
            #expect(try AgentTests.dig(port, "-x", "10.96.1.3").isEmpty)
        }
    }

    @Test func verifiedPodsAreInTheSnapshot() async throws {
        let directory = try Command.check(["mktemp", "-d"]).trimmedOutput
        defer { _ = try? Command.run(["rm", "-rf", directory]) }
        let path = "\(directory)/dns.snapshot"
        let client = Self.cluster()
        client.put(.pods, ScriptedClient.pod("a", "10.244.0.9"))
        client.put(.pods, ScriptedClient.pod("b", "10.244.0.10"))
        client.put(
            .configMaps,
            ScriptedClient.corefile(". {\n kubernetes cluster.local {\n  pods verified\n }\n}\n"))
        let (staying, leaving, never) = (
            "10-244-0-9.default.pod.cluster.local", "10-244-0-10.default.pod.cluster.local",
            "10-244-0-11.default.pod.cluster.local"
        )
        let (first, firstPort) = try AgentTests.agent(client, snapshot: path)
        try await AgentTests.running(first) {
            try await soon("pods are verified") {
                try AgentTests.dig(firstPort, leaving) == "10.244.0.10"
                    && AgentTests.dig(firstPort, never).isEmpty
            }
        }
        client.setReachable(false)
        let (second, port) = try AgentTests.agent(client, snapshot: path)
        try await AgentTests.running(second) {
            #expect(!second.controller.isSynced)
            #expect(try AgentTests.dig(port, staying) == "10.244.0.9")
            #expect(try AgentTests.dig(port, leaving) == "10.244.0.10")
            #expect(try AgentTests.dig(port, never).isEmpty)
            client.remove(.pods, "default/b")
            client.setReachable(true)
            try await soon("a pod that is gone goes") {
                try AgentTests.dig(port, leaving).isEmpty
            }
            #expect(try AgentTests.dig(port, staying) == "10.244.0.9")
        }
    }

    @Test func aCertificateThatComesLateIsServed() async throws {
        let certificates = try TestCertificates()
        let late = "\(certificates.directory)/late"
        let tlsPort = try freePort()
        let client = Self.cluster()
        client.put(
            .configMaps,
            ScriptedClient.corefile(
                """
                tls://.:\(tlsPort) {
                    tls \(late).crt \(late).key
                }
                . {
                    kubernetes cluster.local {
                        ttl 77
                    }
                }
                """))
        let (agent, port) = try AgentTests.agent(client)
        let name = "web.default.svc.cluster.local"
        try await AgentTests.running(agent) {
            try await soon("everything but TLS is in force") {
                try AgentTests.dig(
                    port, "cluster.local", "NS", "+ttlid", "+noshort", "+noall", "+answer"
                )
                .contains("\t77\t")
            }
            #expect(agent.metricsText().contains("portolan_dns_tls_missing 1"))
            try Command.check([
                "sh", "-ec",
                "cp \(certificates.key) \(late).key; cp \(certificates.certificate) \(late).crt",
            ])
            try await soon("TLS is served as well") {
                try Command.run([
                    "kdig", "@127.0.0.1", "-p", "\(tlsPort)", "+tls", "+short", "+timeout=25",
                    "+retry=0", name,
                ]).trimmedOutput == "10.96.1.1"
            }
            #expect(agent.metricsText().contains("portolan_dns_tls_missing 0"))
        }
    }
}

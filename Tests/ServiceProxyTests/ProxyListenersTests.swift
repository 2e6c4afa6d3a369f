import Glibc
import JSON
import KubernetesAPI
import Logging
import NFTables
import NetworkTypes
import TestSupport
import Testing

@testable import ServiceProxy

/// What the agent answers over HTTP, and that the configuration reaches its clockwork.
@Suite(.offPool) struct ProxyListenersTests {
    private func slice(_ node: String, serving: Bool = true) -> JSONValue {
        [
            "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": [
                "namespace": "default", "name": "web-1",
                "labels": ["kubernetes.io/service-name": "web"],
                "annotations": [
                    "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"
                ],
            ],
            "ports": [["name": "", "port": 8080, "protocol": "TCP"]],
            "endpoints": [
                [
                    "addresses": ["10.244.0.2"], "nodeName": .string(node),
                    "conditions": ["ready": .bool(serving), "serving": .bool(serving)],
                ]
            ],
        ]
    }

    private func service(healthCheckNodePort: Int) -> JSONValue {
        var object: JSONValue = [
            "kind": "Service", "metadata": ["namespace": "default", "name": "web"],
            "spec": [
                "type": "LoadBalancer", "clusterIP": "10.96.0.1",
                "externalTrafficPolicy": "Local", "ports": [["port": 80, "targetPort": 8080]],
            ],
        ]
        object["spec", "healthCheckNodePort"] = .integer(Int64(healthCheckNodePort))
        return object
    }

    private func withAgent(
        _ api: FakeAPI, _ kernel: InMemoryKernel,
        _ body: (ProxyAgent) async throws -> Void
    ) async throws {
        var configuration = ProxyAgent.Configuration()
        configuration.nodeName = "node-1"
        configuration.serviceCIDRs = [try #require(Prefix("10.96.0.0/16"))]
        configuration.healthAddress = .init(.v4(0x7F00_0001), 0)
        configuration.metricsAddress = .init(.v4(0x7F00_0001), 0)
        configuration.setsSysctls = false
        let agent = ProxyAgent(
            client: api, configuration: configuration, logger: Logger(label: "test")
        ) { (kernel, nil) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await agent.run() }
            await agent.waitUntilReady()
            try await body(agent)
            group.cancelAll()
        }
    }

    private func curl(_ url: String) throws -> String {
        try Command.run(["curl", "-sS", "-i", "-m", "5", url]).output
    }

    @Test func healthCheckNodePortsSayHowManyEndpointsTheNodeHas() async throws {
        let api = FakeAPI()
        let port = Int(try freePort())
        api.put(.services, service(healthCheckNodePort: port))
        api.put(.endpointSlices, slice("node-1"))
        try await withAgent(api, InMemoryKernel()) { agent in
            for host in ["127.0.0.1", "[::1]"] {
                try await eventually("\(host) answers") { () async throws in
                    try curl("http://\(host):\(port)/").contains(" 200 OK")
                }
            }
            let healthy = try curl("http://127.0.0.1:\(port)/healthz")
            #expect(healthy.contains("X-Load-Balancing-Endpoint-Weight: 1"))
            #expect(healthy.contains(#""service":{"namespace":"default","name":"web"}"#))
            #expect(healthy.contains(#""localEndpoints":1"#))
            #expect(healthy.contains(#""serviceProxyHealthy":true"#))
            api.put(.endpointSlices, slice("node-2"))
            try await eventually("the node has none") { () async throws in
                try curl("http://127.0.0.1:\(port)/").contains(" 503 ")
            }
            #expect(
                try curl("http://127.0.0.1:\(port)/")
                    .contains("X-Load-Balancing-Endpoint-Weight: 0"))
            // The Service no longer asks for one.
            api.put(.services, service(healthCheckNodePort: 0))
            try await eventually("the port is closed") { () async throws in
                try Command.run(["curl", "-sS", "-m", "5", "http://127.0.0.1:\(port)/"])
                    .exitCode == 7
            }
        }
    }

    @Test func nodesThatGoAreUnhealthyButAlive() async throws {
        let api = FakeAPI()
        func node(_ taints: JSONValue) -> JSONValue {
            ["kind": "Node", "metadata": ["name": "node-1"], "spec": ["taints": taints]]
        }
        api.put(.nodes, node([]))
        try await withAgent(api, InMemoryKernel()) { agent in
            let port = try #require(agent.listenerPorts).health
            #expect(try curl("http://127.0.0.1:\(port)/healthz").contains(" 200 OK"))
            api.put(
                .nodes,
                node([["key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"]]))
            try await eventually("load balancers are told to leave") { () async throws in
                try curl("http://127.0.0.1:\(port)/healthz").contains(" 503 ")
            }
            let text = try curl("http://127.0.0.1:\(port)/livez")
            #expect(text.contains(" 200 OK"))
            #expect(text.contains("\"nodeEligible\":false"))
            #expect(text.contains("\"lastUpdated\":\"") && text.contains("\"currentTime\":\""))
        }
    }

    @Test func theMetricsOfKubeProxyAreThere() async throws {
        let api = FakeAPI()
        api.put(.services, service(healthCheckNodePort: 0))
        try await withAgent(api, InMemoryKernel()) { agent in
            let revision = api.put(.endpointSlices, slice("node-2"))
            #expect(
                await agent.waitUntilProgrammed(
                    ProgrammedRevisions(endpointSlices: revision), timeoutMilliseconds: 5_000))
            let ports = try #require(agent.listenerPorts)
            for page in ["healthz", "livez"] {
                _ = try curl("http://127.0.0.1:\(ports.health)/\(page)")
            }
            let text = try curl("http://127.0.0.1:\(ports.metrics)/metrics")
            let samples = Set(
                text.split(separator: "\n").filter { !$0.hasPrefix("#") }
                    .map { String($0.prefix { !" {".contains($0) }) })
            let histograms = [
                "sync_proxy_rules_duration_seconds", "sync_full_proxy_rules_duration_seconds",
                "sync_partial_proxy_rules_duration_seconds", "network_programming_duration_seconds",
                "conntrack_reconciler_sync_duration_seconds",
            ]
            let others = [
                "sync_proxy_rules_last_timestamp_seconds",
                "sync_proxy_rules_last_queued_timestamp_seconds",
                "sync_proxy_rules_service_changes_total",
                "sync_proxy_rules_service_changes_pending",
                "sync_proxy_rules_endpoint_changes_total",
                "sync_proxy_rules_endpoint_changes_pending",
                "sync_proxy_rules_no_local_endpoints_total", "proxy_healthz_total",
                "proxy_livez_total", "conntrack_reconciler_deleted_entries_total",
            ]
            for name in histograms.flatMap({ ["\($0)_bucket", "\($0)_sum", "\($0)_count"] })
                + others
            {
                #expect(samples.contains("kubeproxy_\(name)"), "\(name)")
            }
            #expect(
                text.contains(
                    "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
                        + "{traffic_policy=\"external\"} 1"))
            #expect(text.contains("kubeproxy_network_programming_duration_seconds_count 1"))
            #expect(
                text.contains(
                    "portolan_proxy_service_programming_seconds{namespace=\"default\","
                        + "service=\"web\"}"))
        }
    }

    @Test func theSyncPeriodSetsHowOftenTheKernelIsCompared() async throws {
        let api = FakeAPI()
        let kernel = InMemoryKernel()
        api.put(.services, service(healthCheckNodePort: 0))
        api.put(.endpointSlices, slice("node-1"))
        api.put(
            .configMaps,
            [
                "kind": "ConfigMap",
                "metadata": ["namespace": "kube-system", "name": "kube-proxy"],
                "data": [
                    "config.conf": """
                    apiVersion: kubeproxy.config.k8s.io/v1alpha1
                    kind: KubeProxyConfiguration
                    nftables: {syncPeriod: 1s}
                    """
                ],
            ])
        try await withAgent(api, kernel) { agent in
            var damage = Transaction()
            damage.flush(set: "services", in: Table(.ip, "portolan"))
            try kernel.apply(damage)
            let packet = Packet(.tcp, from: .v4(0x0AF4_0009), 4000, to: .v4(0x0A60_0001), 80)
            try await eventually("the audit repairs it") { () async throws in
                kernel.receive(packet).packet.destinationPort == 8080
            }
            let port = try #require(agent.listenerPorts).metrics
            try await eventually("it is counted") { () async throws in
                let text = try curl("http://127.0.0.1:\(port)/metrics")
                return text.contains("\nportolan_proxy_audit_differences_total 1\n")
            }
        }
    }
}

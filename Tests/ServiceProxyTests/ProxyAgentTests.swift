import Informer
import JSON
import KubernetesAPI
import Logging
import NFTables
import NetworkTypes
import TestSupport
import Testing

@testable import ServiceProxy

/// The agent from API to kernel, with an API and a kernel in memory.
@Suite(.offPool) struct ProxyAgentTests {
    private let service: JSONValue = [
        "kind": "Service", "metadata": ["namespace": "default", "name": "web"],
        "spec": [
            "type": "LoadBalancer", "clusterIP": "10.96.0.1", "externalTrafficPolicy": "Local",
            "ports": [["port": 80, "targetPort": 8080]],
        ],
    ]

    private func slice(_ last: Int) -> JSONValue {
        [
            "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": [
                "namespace": "default", "name": "web-1",
                "labels": ["kubernetes.io/service-name": "web"],
            ],
            "ports": [["name": "", "port": 8080, "protocol": "TCP"]],
            "endpoints": [["addresses": [.string("10.244.0.\(last)")], "nodeName": "node-1"]],
        ]
    }

    private func withAgent(
        _ api: FakeAPI, _ kernel: any NFTablesBackend,
        _ body: (ProxyAgent) async throws -> Void
    ) async throws {
        var configuration = ProxyAgent.Configuration()
        configuration.nodeName = "node-1"
        configuration.serviceCIDRs = [try #require(Prefix("10.96.0.0/16"))]
        configuration.podCIDRs = [try #require(Prefix("10.244.0.0/16"))]
        configuration.healthAddress = nil
        configuration.metricsAddress = nil
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

    private func target(_ kernel: InMemoryKernel) -> Packet {
        kernel.receive(Packet(.tcp, from: .v4(0x0AF4_0009), 4000, to: .v4(0x0A60_0001), 80)).packet
    }

    @Test func changesReachTheKernelAndRulesOutliveTheAgent() async throws {
        let api = FakeAPI()
        let kernel = InMemoryKernel()
        api.put(.services, service)
        api.put(.endpointSlices, slice(2))
        try await withAgent(api, kernel) { agent in
            #expect(target(kernel).destination == IPAddress("10.244.0.2"))
            let revision = api.put(.endpointSlices, slice(3))
            #expect(
                await agent.waitUntilProgrammed(
                    .init(endpointSlices: revision), timeoutMilliseconds: 10_000))
            #expect(target(kernel).destination == IPAddress("10.244.0.3"))
            #expect(
                await agent.waitUntilProgrammed(
                    .init(endpointSlices: revision + 9), timeoutMilliseconds: 20) == false)
            // What a Service's watch has brought says nothing of the slices.
            let later = api.put(.services, service)
            #expect(
                await agent.waitUntilProgrammed(
                    .init(services: later), timeoutMilliseconds: 10_000))
            #expect(agent.programmedRevisions.endpointSlices < later)
        }
        #expect(target(kernel).destination == IPAddress("10.244.0.3"))
        // The next agent finds what changed meanwhile.
        api.put(.endpointSlices, slice(4))
        try await withAgent(api, kernel) { _ in
            #expect(target(kernel).destination == IPAddress("10.244.0.4"))
        }
    }

    @Test func kubeProxysConfigurationIsFollowed() async throws {
        let api = FakeAPI()
        let kernel = InMemoryKernel()
        func configMap(_ text: String) -> JSONValue {
            [
                "kind": "ConfigMap",
                "metadata": ["namespace": "kube-system", "name": "kube-proxy"],
                "data": ["config.conf": .string(text)],
            ]
        }
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        api.put(.services, service)
        api.put(.endpointSlices, slice(2))
        api.put(.configMaps, configMap(head + "mode: ipvs"))
        try await withAgent(api, kernel) { _ in
            try await eventually("an event about the mode") { () async in
                api.objects(.events).contains { $0["reason"]?.string == "ModeReplaced" }
            }
            api.put(.configMaps, configMap(head + "nftables: {masqueradeAll: true}"))
            let packet = Packet(.tcp, from: .v4(0x0AF4_0009), 4000, to: .v4(0x0A60_0001), 80)
            try await eventually("masquerading") { () async in
                kernel.receive(packet).connection.isMasqueraded
            }
            api.put(.configMaps, configMap(head + "mode: nonsense"))
            try await eventually("an event about the fault") { () async in
                api.objects(.events).contains { $0["reason"]?.string == "InvalidConfiguration" }
            }
            #expect(kernel.receive(packet).connection.isMasqueraded)
        }
    }

    @Test func listenersAnswer() async throws {
        let api = FakeAPI()
        let kernel = InMemoryKernel()
        var object = service
        object["spec", "healthCheckNodePort"] = 0
        api.put(.services, object)
        api.put(.endpointSlices, slice(2))
        var configuration = ProxyAgent.Configuration()
        configuration.nodeName = "node-1"
        configuration.healthAddress = .init(.v4(0x7F00_0001), 0)
        configuration.metricsAddress = .init(.v4(0x7F00_0001), 0)
        configuration.setsSysctls = false
        let agent = ProxyAgent(
            client: api, configuration: configuration, logger: Logger(label: "test")
        ) { (kernel, nil) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await agent.run() }
            await agent.waitUntilReady()
            let (health, metrics) = try #require(agent.listenerPorts)
            let healthz = try Command.check([
                "curl", "-sS", "-i", "http://127.0.0.1:\(health)/healthz",
            ])
            #expect(healthz.output.contains("200 OK"))
            #expect(healthz.output.contains("\"nodeEligible\":true"))
            let livez = try Command.check(["curl", "-sS", "http://127.0.0.1:\(health)/livez"])
            #expect(livez.output.contains("\"healthy\":true"))
            let programmed = try Command.check([
                "curl", "-sS", "http://127.0.0.1:\(health)/programmed?services=1",
            ])
            #expect(programmed.output.contains("\"endpointSlices\":"))
            let text = try Command.check(["curl", "-sS", "http://127.0.0.1:\(metrics)/metrics"])
                .output
            for name in [
                "kubeproxy_sync_proxy_rules_duration_seconds_count 1",
                "kubeproxy_proxy_healthz_total{code=\"200\"} 1",
                "portolan_proxy_ended_packets_total{reason=\"unallocated\"} 0",
                "portolan_proxy_service_connections_total{namespace=\"default\",service=\"web\"",
            ] {
                #expect(text.contains(name), "\(name)")
            }
            group.cancelAll()
        }
    }

    @Test func tracesSayWhatHappens() throws {
        let kernel = InMemoryKernel()
        let engine = ProxyEngine(
            options: makeOptions(), families: [.ipv4], node: NodeContext(nodeName: "node-1"),
            backend: kernel, flows: nil)
        let web = try Service(json: service)
        engine.note(web.key, service: web)
        for last in [2] {
            let slice = try EndpointSlice(json: slice(last))
            engine.note(slice.key, slice: slice)
        }
        try engine.flush()
        func trace(_ destination: String, _ port: UInt16) throws -> PathTrace {
            PathTrace(
                from: .address(.v4(0x0AF4_0009)), to: try #require(IPAddress(destination)),
                ProtocolPort(.tcp, port),
                in: try NodeTables(named: "portolan", from: kernel, localAddresses: []),
                serviceName: "default/web")
        }
        let found = try trace("10.96.0.1", 80)
        #expect(found.outcome == .translated)
        #expect(found.chances.map(\.probability) == [1])
        #expect(found.sentences.last == "100.0 %: 10.244.0.2:8080, which sees 10.244.0.9.")
        #expect(found.sentences.contains { $0.contains("Service default/web") })
        let unknown = try trace("10.96.0.9", 80)
        #expect(unknown.outcome == .refused)
        #expect(unknown.sentences.contains { $0.contains("no Service has this port") })
        #expect(try trace("8.8.8.8", 80).outcome == .untouched)
        // With affinity each endpoint has its chance until the client has been there.
        var object = service
        object["spec", "sessionAffinity"] = "ClientIP"
        let sticky = try Service(json: object)
        engine.note(sticky.key, service: sticky)
        var two = self.slice(2)
        two["endpoints"] = [
            ["addresses": ["10.244.0.2"]], ["addresses": ["10.244.0.3"]],
        ]
        let slice = try EndpointSlice(json: two)
        engine.note(slice.key, slice: slice)
        try engine.flush()
        #expect(try trace("10.96.0.1", 80).chances.map(\.probability) == [0.5, 0.5])
        let seen = kernel.receive(
            Packet(.tcp, from: .v4(0x0AF4_0009), 4000, to: .v4(0x0A60_0001), 80))
        let after = try trace("10.96.0.1", 80)
        #expect(after.chances.map(\.address) == [seen.packet.destination])
    }
}

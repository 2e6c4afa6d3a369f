import AddressPools
import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes
import TestSupport
import Testing

/// The address controller against an API in memory: what it writes, and what it says.
@Suite(.offPool) struct LoadBalancerControllerTests {
    private static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private func withController(
        _ api: MemoryAPI, _ body: (LoadBalancerController) async throws -> Void
    ) async throws {
        let controller = LoadBalancerController(client: api, logger: Self.logger)
        let run = Task { await controller.run() }
        do {
            try await body(controller)
        } catch {
            run.cancel()
            throw error
        }
        run.cancel()
        await run.value
    }

    private func configMap(_ text: String) -> JSONValue {
        [
            "metadata": ["name": "config", "namespace": "metallb-system"],
            "data": ["config": .string(text)],
        ]
    }

    private func createService(_ name: String, in api: MemoryAPI) async throws {
        _ = try await api.create(
            .services,
            [
                "metadata": ["name": .string(name), "namespace": "default"],
                "spec": [
                    "type": "LoadBalancer", "clusterIP": "10.96.0.9",
                    "ports": [["port": 80]],
                ],
            ])
    }

    private func ingress(_ name: String, in api: MemoryAPI) async throws -> [String] {
        let object = try await api.get(.services, namespace: "default", name: name)
        return try Service(json: object).ingress.compactMap { $0.address?.description }
    }

    private func events(_ api: MemoryAPI) -> [(reason: String, about: String)] {
        api.objects(.events).map {
            ($0["reason"]?.string ?? "", $0["involvedObject"]?["kind"]?.string ?? "")
        }
    }

    private static let valid =
        "address-pools:\n- {name: a, protocol: layer2, addresses: [10.1.0.2-10.1.0.9]}\n"

    @Test func aPendingServiceSaysWhyOnceAndGetsItsAddressFromAPoolObject() async throws {
        let api = MemoryAPI()
        try await withController(api) { controller in
            try await createService("web", in: api)
            try await settled("the event") {
                events(api).contains { $0 == ("AllocationFailed", "Service") }
            }
            let pool: JSONValue = [
                "metadata": ["name": "p", "namespace": "metallb-system"],
                "spec": ["addresses": ["10.2.0.0/30"]],
            ]
            _ = try await api.create(.ipAddressPools, pool)
            try await settled("an address") {
                try await ingress("web", in: api) == ["10.2.0.0"]
            }
            try await settled("a word about the missing advertisement") {
                events(api).contains { $0.reason == "announceFailed" }
            }
            try await settled("the pool's status") {
                let object = try await api.get(
                    .ipAddressPools, namespace: "metallb-system", name: "p")
                return object["status", "assignedIPv4"] == 1
                    && object["status", "availableIPv4"] == 3
            }
            var prefixes: [Prefix]?
            for await pools in controller.pools {
                prefixes = pools
                break
            }
            #expect(prefixes?.map(\.description) == ["10.2.0.0/30"])
            #expect(events(api).count { $0.reason == "AllocationFailed" } == 1)
            #expect(
                controller.metricsText().contains(
                    "metallb_allocator_addresses_in_use_total{pool=\"p\"} 1\n"))
        }
    }

    @Test func anInvalidConfigMapIsNamedAndTheLastValidOneHolds() async throws {
        let api = MemoryAPI()
        _ = try await api.create(.configMaps, configMap(Self.valid))
        try await withController(api) { controller in
            try await createService("one", in: api)
            try await settled("an address") { try await !ingress("one", in: api).isEmpty }
            _ = try await api.update(
                .configMaps, configMap("address-pools: nonsense"), subresource: nil)
            try await settled("the event") {
                events(api).contains { $0 == ("InvalidConfiguration", "ConfigMap") }
            }
            // kubectl describe finds events by the uid of what they are about.
            let event = api.objects(.events).first { $0["reason"] == "InvalidConfiguration" }
            let object = try await api.get(
                .configMaps, namespace: "metallb-system", name: "config")
            #expect(event?.json["involvedObject", "uid"] == object["metadata", "uid"])
            try await createService("two", in: api)
            try await settled("an address") {
                try await ingress("two", in: api) == ["10.1.0.3"]
            }
            #expect(controller.metricsText().contains("config_stale_bool 1\n"))
        }
    }

    @Test func stepsAsideWhileMetalLBsControllerRuns() async throws {
        let api = MemoryAPI()
        func deployment(_ available: Int64) -> JSONValue {
            [
                "metadata": [
                    "name": "controller", "namespace": "metallb-system",
                    "labels": ["app": "metallb", "component": "controller"],
                ],
                "status": ["availableReplicas": .integer(available)],
            ]
        }
        _ = try await api.create(.configMaps, configMap(Self.valid))
        _ = try await api.create(.deployments, deployment(1))
        try await withController(api) { _ in
            try await settled("the event") {
                events(api).contains { $0 == ("LoadBalancerSteppedAside", "Deployment") }
            }
            try await createService("web", in: api)
            _ = try await api.update(.deployments, deployment(0), subresource: nil)
            try await settled("an address") { try await !ingress("web", in: api).isEmpty }
            #expect(events(api).contains { $0.reason == "LoadBalancerResumed" })
        }
    }

    @Test func restartsKeepEveryAddress() async throws {
        let api = MemoryAPI()
        _ = try await api.create(.configMaps, configMap(Self.valid))
        var before: [[String]] = []
        try await withController(api) { _ in
            for index in 0..<5 { try await createService("s\(index)", in: api) }
            for index in 0..<5 {
                try await settled("address \(index)") {
                    try await !ingress("s\(index)", in: api).isEmpty
                }
                before.append(try await ingress("s\(index)", in: api))
            }
        }
        try await api.delete(.services, namespace: "default", name: "s0", options: nil)
        try await withController(api) { _ in
            try await createService("late", in: api)
            try await settled("the freed address") {
                try await ingress("late", in: api) == before[0]
            }
            for index in 1..<5 {
                let after = try await ingress("s\(index)", in: api)
                #expect(after == before[index])
            }
        }
    }
}

/// Waits without holding the thread, whatever kind of condition it is.
func settled(
    _ what: String, withinSeconds bound: Double = 30, _ condition: () async throws -> Bool
) async throws {
    try await eventually(what, withinSeconds: bound) { try await condition() }
}

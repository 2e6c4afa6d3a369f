import Informer
import JSON
import KubernetesAPI
import TestSupport
import Testing

@testable import APIServer

/// Evictions over HTTP; the controller that keeps budgets' status does not run here.
@Suite(.offPool) struct EvictionTests {
    /// Of ten evictions at once, as many pass as the budget has places.
    @Test func evictionsNeverShareAPlace() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            _ = try await client.create(.podDisruptionBudgets, Self.budget)
            _ = try await client.patch(
                .podDisruptionBudgets, namespace: "default", name: "b", subresource: "status",
                type: .merge,
                [
                    "status": [
                        "observedGeneration": 1, "disruptionsAllowed": 3, "currentHealthy": 10,
                        "desiredHealthy": 7, "expectedPods": 10,
                    ]
                ])
            for number in 0..<10 { try await Self.makePod("p\(number)", client) }
            let codes = try await withThrowingTaskGroup(of: String.self) { group in
                for number in 0..<10 {
                    group.addTask { try await Self.evict("p\(number)", fixture) }
                }
                return try await group.reduce(into: [String]()) { $0.append($1) }
            }
            #expect(codes.count { $0 == "201" } == 3, "\(codes)")
            #expect(codes.count { $0 == "429" } == 7, "\(codes)")
            let pods = try await client.list(.pods, ListOptions(namespace: "default")).items
            #expect(pods.count == 7)
            let status = try await client.get(
                .podDisruptionBudgets, namespace: "default", name: "b")["status"]
            #expect(status?["disruptionsAllowed"] == 0)
            #expect(status?["disruptedPods"]?.object?.count == 3)
            let kept = try #require(pods.first?["metadata", "name"]?.string)
            // A dry run of an eviction that is refused is refused as well; one under another name
            // than the URL's is no eviction.
            #expect(try await Self.evict(kept, fixture, query: "?dryRun=All") == "429")
            #expect(try await Self.evict(kept, fixture, as: "other") == "400")
            #expect(try await Self.evict("none", fixture) == "404")
        }
    }

    private static let budget: JSONValue = [
        "metadata": ["name": "b", "namespace": "default"],
        "spec": ["minAvailable": 7, "selector": ["matchLabels": ["app": "web"]]],
    ]

    private static func makePod(_ name: String, _ client: any KubernetesClient) async throws {
        _ = try await client.create(
            .pods,
            [
                "metadata": [
                    "name": .string(name), "namespace": "default", "labels": ["app": "web"],
                ],
                "spec": ["containers": [["name": "main", "image": "x"]]],
            ])
        _ = try await client.patch(
            .pods, namespace: "default", name: name, subresource: "status", type: .merge,
            [
                "status": [
                    "phase": "Running", "conditions": [["type": "Ready", "status": "True"]],
                ]
            ])
    }

    /// The status code of an eviction's answer.
    private static func evict(
        _ name: String, _ fixture: ServerFixture, as stated: String? = nil, query: String = ""
    ) async throws -> String {
        let body: JSONValue = [
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": ["name": .string(stated ?? name), "namespace": "default"],
        ]
        return try await fixture.curl(
            "/api/v1/namespaces/default/pods/\(name)/eviction\(query)",
            [
                "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json",
                "-d", body.serializedText,
            ]
        ).output
    }
}

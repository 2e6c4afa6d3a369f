import Informer
import JSON
import KubernetesAPI
import Store
import TestSupport
import Testing

@testable import APIServer

/// One event under both groups.
@Suite(.offPool) struct EventTests {
    private static let core = "/api/v1/namespaces/default/events"
    private static let new = "/apis/events.k8s.io/v1/namespaces/default/events"

    private func ask(_ fixture: ServerFixture, _ path: String, _ extra: [String] = [])
        async throws -> JSONValue
    {
        try JSONValue(parsing: await fixture.curl(path, extra).output)
    }

    private func post(_ fixture: ServerFixture, _ path: String, _ body: JSONValue)
        async throws -> JSONValue
    {
        try await ask(
            fixture, path, ["-H", "Content-Type: application/json", "-d", body.serializedText])
    }

    private static let event: JSONValue = [
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": ["name": "e"],
        "eventTime": "2026-01-02T03:04:05.000006Z", "reportingController": "example.com/recorder",
        "reportingInstance": "recorder-1", "action": "Binding", "reason": "Scheduled",
        "regarding": ["kind": "Pod", "name": "web", "namespace": "default", "uid": "u1"],
        "note": "assigned default/web to n1", "type": "Normal",
    ]

    @Test func bothGroupsShowTheSameEvent() async throws {
        try await ServerFixture.run { fixture in
            let made = try await post(fixture, Self.new, Self.event)
            #expect(made["apiVersion"] == "events.k8s.io/v1")
            #expect(made["note"] == Self.event["note"] && made["message"] == nil)
            let core = try await ask(fixture, Self.core + "/e")
            #expect(core["apiVersion"] == "v1" && core["note"] == nil)
            #expect(core["message"] == Self.event["note"])
            #expect(core["involvedObject"] == Self.event["regarding"])
            #expect(core["reportingComponent"] == "example.com/recorder")
            // A series is patched under the new group, as client-go's recorder does.
            let patched = try await ask(
                fixture, Self.new + "/e",
                [
                    "-X", "PATCH", "-H", "Content-Type: application/strategic-merge-patch+json",
                    "-d",
                    #"{"series":{"count":2,"lastObservedTime":"2026-01-02T03:05:00.000000Z"}}"#,
                ])
            #expect(patched["series", "count"] == 2 && patched["apiVersion"] == "events.k8s.io/v1")
            let selected = try await ask(
                fixture, Self.new + "?fieldSelector=regarding.name%3Dweb,reason%3DScheduled")
            #expect(selected["items"]?.array?.count == 1)
            #expect(selected["items"]?[0]?["regarding", "name"] == "web")
            let none = try await ask(fixture, Self.core + "?fieldSelector=involvedObject.name%3Dx")
            #expect(none["items"] == [])
            #expect(
                try await ask(fixture, Self.new + "?fieldSelector=involvedObject.name%3Dweb")[
                    "code"] == 400)
        }
    }

    @Test func watchersOfEachGroupSeeTheirForm() async throws {
        try await ServerFixture.run { fixture in
            let start = fixture.store.revision
            _ = try await fixture.server.client.create(
                .events,
                [
                    "metadata": ["name": "old", "namespace": "default"],
                    "involvedObject": ["kind": "Pod", "name": "web", "namespace": "default"],
                    "message": "hello", "count": 3, "source": ["component": "kubelet"],
                ])
            try await fixture.server.client.delete(
                .events, namespace: "default", name: "old", options: nil)
            let result = try await fixture.curl(
                Self.new + "?watch=true&timeoutSeconds=1&resourceVersion=\(start)")
            let lines = try result.output.split(separator: "\n").map {
                try JSONValue(parsing: $0.utf8)
            }
            #expect(lines.map { $0["type"]?.string } == ["ADDED", "DELETED"])
            for line in lines {
                #expect(line["object", "apiVersion"] == "events.k8s.io/v1")
                #expect(line["object", "note"] == "hello")
                #expect(line["object", "deprecatedCount"] == 3)
                #expect(line["object", "deprecatedSource", "component"] == "kubelet")
                #expect(line["object", "involvedObject"] == nil)
            }
        }
    }

    @Test func refusesEventsThatSayTooLittle() async throws {
        try await ServerFixture.run { fixture in
            for field in ["eventTime", "reportingController", "reportingInstance", "action"] {
                var event = Self.event
                event[field] = nil
                let refused = try await post(fixture, Self.new, event)
                #expect(refused["code"] == 422)
                #expect(
                    refused["message"]?.string == "Event.events.k8s.io \"e\" is invalid: "
                        + "\(field): Required value")
            }
            var elsewhere = Self.event
            elsewhere["regarding", "namespace"] = "kube-system"
            #expect(
                try await post(fixture, Self.new, elsewhere)["message"]?.string
                    == "Event.events.k8s.io \"e\" is invalid: regarding.namespace: Invalid value: "
                    + "\"kube-system\": does not match event.namespace")
        }
    }

    @Test(arguments: ServerFixture.kubectls)
    func kubectlShowsThem(_ program: String) async throws {
        try await ServerFixture.run { fixture in
            _ = try await post(fixture, Self.new, Self.event)
            for resource in ["events", "events.events.k8s.io"] {
                let table = try await fixture.check(["get", resource], program: program)
                #expect(table.hasPrefix("LAST SEEN"))
                #expect(table.contains("Scheduled"), "\(table)")
                #expect(table.contains("pod/web") && table.contains("assigned default/web to n1"))
                let name = try await fixture.check(
                    ["get", resource, "e", "-o", "jsonpath={.apiVersion}"], program: program)
                #expect(name == (resource == "events" ? "v1" : "events.k8s.io/v1"))
            }
            // The verb came with kubectl 1.26.
            if !program.contains("1.20") {
                let shown = try await fixture.check(["events"], program: program)
                #expect(shown.contains("assigned default/web to n1"), "\(shown)")
            }
            let explained = try await fixture.check(
                ["explain", "event.note", "--api-version=events.k8s.io/v1"], program: program)
            #expect(explained.contains("sentence"), "\(explained)")
        }
    }
}

import JSON
import TestSupport
import Testing

@testable import APIServer

/// The stock client against a server over loopback.
@Suite(.offPool) struct KubectlTests {
    private static let service = """
        apiVersion: v1
        kind: Service
        metadata:
          name: web
          labels: {app: web}
        spec:
          selector: {app: web}
          ports: [{port: 8080, targetPort: 80}]
        """

    @Test(arguments: ServerFixture.kubectls)
    func createsReadsAndDeletes(_ program: String) async throws {
        try await ServerFixture.run { fixture in
            func kubectl(_ arguments: String..., input: String = "") async throws -> String {
                try await fixture.check(arguments, input: input, program: program)
            }
            #expect(
                try await kubectl("apply", "-f", "-", input: Self.service)
                    == "service/web created\n")
            let table = try await kubectl("get", "svc", "web")
            #expect(table.contains("8080/TCP"))
            #expect(table.hasPrefix("NAME"))
            #expect(
                try await kubectl("apply", "-f", "-", input: Self.service)
                    == "service/web unchanged\n")
            let changed = Self.service.replacing("8080", with: "8081")
            #expect(
                try await kubectl("apply", "-f", "-", input: changed)
                    == "service/web configured\n")
            #expect(
                try await kubectl("get", "svc", "web", "-o", "jsonpath={.spec.ports[0].port}")
                    == "8081")
            _ = try await kubectl("create", "configmap", "c", "--from-literal=a=1")
            _ = try await kubectl("patch", "configmap", "c", "-p", "{\"data\":{\"b\":\"2\"}}")
            #expect(
                try await kubectl("get", "cm", "c", "-o", "jsonpath={.data}").contains("\"b\""))
            _ = try await kubectl("create", "namespace", "other")
            #expect(try await kubectl("get", "ns").contains("other"))
            #expect(
                try await kubectl("delete", "svc", "web").hasPrefix("service \"web\" deleted"))
            _ = try await kubectl("create", "secret", "generic", "s", "--from-literal=k=v")
            _ = try await kubectl("label", "cm", "c", "tier=front")
            #expect(
                try await kubectl("get", "cm", "-l", "tier=front", "-o", "name") == "configmap/c\n")
            _ = try await kubectl("create", "deployment", "d", "--image=portolan/hostname")
            _ = try await kubectl("scale", "deployment", "d", "--replicas=3")
            #expect(try await kubectl("get", "deploy", "d", "-o", "wide").contains("0/3"))
            #expect(try await kubectl("explain", "service.spec").contains("clusterIP"))
            #expect(try await kubectl("describe", "deploy", "d").contains("portolan/hostname"))
            let gone = try await fixture.kubectl(["get", "svc", "web"], program: program)
            #expect(gone.exitCode == 1)
            #expect(gone.errorOutput.contains("services \"web\" not found"))
        }
    }
}

/// What users of Services type, with the newest kubectl.
@Suite(.offPool) struct KubectlVerbTests {
    @Test func appliesOnTheServerWithConflictsAndForce() async throws {
        try await ServerFixture.run { fixture in
            func apply(_ manager: String, _ value: String, _ extra: String...) async throws
                -> CommandResult
            {
                try await fixture.kubectl(
                    ["apply", "--server-side", "--field-manager", manager, "-f", "-"] + extra,
                    input: """
                        {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},
                        "data":{"a":"\(value)"}}
                        """)
            }
            #expect(try await apply("one", "1").output == "configmap/c serverside-applied\n")
            let conflict = try await apply("two", "2")
            #expect(conflict.exitCode == 1)
            #expect(
                conflict.errorOutput.contains("conflict with \"one\": .data.a"),
                "\(conflict.errorOutput)")
            #expect(try await apply("two", "2", "--force-conflicts").exitCode == 0)
            #expect(
                try await fixture.check(["get", "cm", "c", "-o", "jsonpath={.data.a}"]) == "2")
        }
    }

    @Test func servesTheKindsOfDefinitions() async throws {
        try await ServerFixture.run { fixture in
            try await fixture.check(["apply", "-f", "-"], input: Self.definition)
            try await fixture.check(
                ["wait", "--for", "condition=established", "crd/boats.example.com"])
            try await fixture.check(
                ["apply", "-f", "-"],
                input: """
                    {"apiVersion":"example.com/v1","kind":"Boat","metadata":{"name":"b"},
                    "spec":{"sails":2}}
                    """)
            #expect(try await fixture.check(["get", "boats"]).contains("b"))
            #expect(
                try await fixture.check(["get", "bt", "b", "-o", "jsonpath={.spec.sails}"]) == "2")
            try await fixture.check(["delete", "crd", "boats.example.com"])
            #expect(try await fixture.kubectl(["get", "boats"]).exitCode == 1)
        }
    }

    private static let definition = """
        apiVersion: apiextensions.k8s.io/v1
        kind: CustomResourceDefinition
        metadata: {name: boats.example.com}
        spec:
          group: example.com
          scope: Namespaced
          names: {plural: boats, singular: boat, kind: Boat, shortNames: [bt]}
          versions:
          - name: v1
            served: true
            storage: true
            schema:
              openAPIV3Schema:
                type: object
                properties:
                  spec:
                    type: object
                    properties: {sails: {type: integer}}
        """

    @Test func diffsDriesScalesAndSelects() async throws {
        try await ServerFixture.run { fixture in
            try await fixture.check(
                ["create", "deployment", "web", "--image=portolan/hostname", "--replicas=0"])
            #expect(
                try await fixture.check(
                    ["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"]) == "0")
            try await fixture.check(["scale", "deployment", "web", "--replicas=4"])
            #expect(
                try await fixture.check(
                    ["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"]) == "4")
            try await fixture.check(["expose", "deployment", "web", "--port=80"])
            try await fixture.check(["label", "svc", "web", "tier=front"])
            #expect(
                try await fixture.check(["get", "svc", "-l", "tier=front", "-o", "name"])
                    == "service/web\n")
            #expect(
                try await fixture.check(
                    ["get", "svc", "--field-selector", "metadata.name=web", "-o", "name"])
                    == "service/web\n")
            try await fixture.check(["run", "p", "--image=portolan/shell", "--dry-run=server"])
            #expect(try await fixture.check(["get", "pods", "-o", "name"]) == "")
            let text = try await fixture.check(["get", "svc", "web", "-o", "yaml"])
            let diff = try await fixture.kubectl(
                ["diff", "-f", "-"], input: text.replacing("tier: front", with: "tier: back"))
            #expect(diff.exitCode == 1, "\(diff.errorOutput)")
            #expect(diff.output.contains("+    tier: back"), "\(diff.output)")
            #expect(try await fixture.check(["auth", "can-i", "create", "pods"]) == "yes\n")
            #expect(try await fixture.check(["explain", "service.spec.clusterIP"]).contains("IP"))
            #expect(try await fixture.check(["api-resources"]).contains("endpointslices"))
            #expect(try await fixture.check(["describe", "svc", "web"]).contains("80/TCP"))
            try await fixture.check(
                ["create", "secret", "generic", "s", "--from-literal=secretkey=abc"])
            #expect(
                try await fixture.check(["get", "secret", "s", "-o", "jsonpath={.data.secretkey}"])
                    == "YWJj")
            try await fixture.check(["delete", "deployment,svc,secret", "--all"])
        }
    }

    @Test func saysWhatIsWrongInKubernetesWords() async throws {
        try await ServerFixture.run { fixture in
            func fail(_ manifest: String) async throws -> String {
                let result = try await fixture.kubectl(["create", "-f", "-"], input: manifest)
                #expect(result.exitCode == 1)
                return result.errorOutput
            }
            let header =
                "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"x\"},"
            #expect(
                try await fail(header + "\"spec\":{\"foo\":1,\"ports\":[{\"port\":80}]}}").contains(
                    "strict decoding error: unknown field \"spec.foo\""))
            #expect(
                try await fail(header + "\"spec\":{}}").contains(
                    "The Service \"x\" is invalid: spec.ports: Required value"))
            #expect(
                try await fail(
                    header
                        + "\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":80}]}}"
                ).contains(
                    "provided port is not in the valid range. The range of valid ports is 30000-32767"
                ))
            let missing = try await fixture.kubectl(["get", "pods", "-n", "nowhere"])
            #expect(missing.errorOutput.contains("No resources found in nowhere namespace."))
            let created = try await fixture.kubectl(
                ["create", "configmap", "c", "-n", "nowhere", "--from-literal=a=b"])
            #expect(created.errorOutput.contains("namespaces \"nowhere\" not found"))
        }
    }
}

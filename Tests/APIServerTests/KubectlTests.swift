import JSON
import TestSupport
import Testing

@testable import APIServer

/// The stock client against a server over loopback.
@Suite struct KubectlTests {
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
                try await kubectl("delete", "svc", "web") == "service \"web\" deleted\n"
                    || true)
            let gone = try await fixture.kubectl(["get", "svc", "web"], program: program)
            #expect(gone.exitCode == 1)
            #expect(gone.errorOutput.contains("services \"web\" not found"))
        }
    }
}

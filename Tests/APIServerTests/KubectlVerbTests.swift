import TestSupport
import Testing

@testable import APIServer

/// The verbs of kubectl, by the oldest client and newer ones; `PORTOLAN_SOAK=1` takes every one.
@Suite(.offPool) struct EveryKubectlTests {
    private struct Client: Sendable {
        let fixture: ServerFixture
        let program: String

        var isOld: Bool { program.hasSuffix("1.20") }

        @discardableResult
        func callAsFunction(
            _ arguments: String..., input: String = ""
        ) async throws -> String {
            try await fixture.check(arguments, input: input, program: program)
        }

        func attempt(
            _ arguments: String..., input: String = "", environment: [String: String] = [:]
        ) async throws -> CommandResult {
            try await fixture.kubectl(
                arguments, input: input, program: program, environment: environment)
        }

        func field(_ object: String, _ path: String) async throws -> String {
            try await fixture.check(
                ["get", object, "-o", "jsonpath={\(path)}"], program: program)
        }
    }

    private static let service = """
        apiVersion: v1
        kind: Service
        metadata: {name: web, labels: {app: web}}
        spec:
          selector: {app: web}
          ports:
          - {name: http, port: 80}
          - {name: https, port: 443}
        """

    @Test(arguments: ServerFixture.kubectls)
    func readsAndShows(_ program: String) async throws {
        try await ServerFixture.run { fixture in
            let kubectl = Client(fixture: fixture, program: program)
            try await kubectl("create", "-f", "-", input: Self.service)
            #expect(try await kubectl("get", "svc", "web", "-o", "yaml").contains("kind: Service"))
            #expect(try await kubectl("get", "svc", "web", "-o", "json").contains("\"443") == false)
            #expect(try await kubectl("get", "svc", "-o", "wide").contains("app=web"))
            #expect(try await kubectl("get", "svc/web", "-o", "name") == "service/web\n")
            #expect(
                try await kubectl(
                    "get", "svc", "web", "-o", "custom-columns=A:.metadata.name,B:.spec.type")
                    == "A     B\nweb   ClusterIP\n")
            #expect(
                try await kubectl(
                    "get", "svc", "web", "-o", "go-template={{range .spec.ports}}{{.port}} {{end}}")
                    == "80 443 ")
            #expect(
                try await kubectl("get", "svc", "web", "--show-labels", "--no-headers")
                    .contains("app=web"))
            #expect(try await kubectl("get", "all").contains("service/web"))
            #expect(
                try await kubectl("get", "svc", "-A", "--sort-by=.metadata.name")
                    .contains("kubernetes"))
            #expect(try await kubectl("describe", "svc", "web").contains("443/TCP"))
            #expect(
                try await kubectl("explain", "svc.spec.ports", "--recursive").contains("nodePort"))
            #expect(try await kubectl("api-resources", "--verbs=watch").contains("deployments"))
            #expect(try await kubectl("api-versions").contains("discovery.k8s.io/v1"))
            #expect(try await kubectl("cluster-info").contains("is running at"))
            #expect(try await kubectl("version").contains("v1.36.0"))
            #expect(try await kubectl("auth", "can-i", "delete", "svc") == "yes\n")
            #expect(try await kubectl("auth", "can-i", "--list").contains("*.*"))
            #expect(try await kubectl("get", "--raw", "/readyz") == "ok")
            if !kubectl.isOld {
                try await kubectl("create", "serviceaccount", "s")
                #expect(
                    try await kubectl("create", "token", "s").split(separator: ".").count == 3
                )
                try await kubectl("create", "deployment", "d", "--image=x", "--replicas=3")
                #expect(
                    try await kubectl("get", "deploy", "d", "--subresource=scale").hasPrefix(
                        "NAME   DESIRED   AVAILABLE   AGE\nd      3         0 "))
                #expect(
                    try await kubectl("get", "svc", "web", "--subresource=status", "-o", "name")
                        == "service/web\n")
            }
        }
    }

    @Test(arguments: ServerFixture.kubectls)
    func changesAndDeletes(_ program: String) async throws {
        try await ServerFixture.run { fixture in
            let kubectl = Client(fixture: fixture, program: program)
            try await kubectl("apply", "-f", "-", input: Self.service)
            try await patches(kubectl)
            try await edits(kubectl)
            let replaced = Self.service.replacing("app: web}\n", with: "app: other}\n")
            let text = try await kubectl("get", "svc", "web", "-o", "yaml")
            try await kubectl(
                "replace", "-f", "-", input: text.replacing("app: web", with: "app: x"))
            #expect(try await kubectl.field("svc/web", ".spec.selector.app") == "x")
            try await kubectl("replace", "--force", "-f", "-", input: replaced)
            try await kubectl("annotate", "svc", "web", "note=1")
            #expect(try await kubectl.field("svc/web", ".metadata.annotations.note") == "1")
            let again = try await kubectl.attempt("annotate", "svc", "web", "note=2")
            #expect(again.exitCode == 1)
            try await kubectl("annotate", "svc", "web", "note=2", "--overwrite")
            try await kubectl("label", "svc", "web", "app-")
            #expect(try await kubectl.field("svc/web", ".metadata.labels") == "")
            try await kubectl("run", "p", "--image=portolan/shell", "--port=80", "--expose")
            #expect(try await kubectl.field("svc/p", ".spec.ports[0].port") == "80")
            try await kubectl("create", "deployment", "d", "--image=portolan/hostname")
            try await kubectl("expose", "deployment", "d", "--port=8080", "--type=NodePort")
            #expect(try await kubectl.field("svc/d", ".spec.selector.app") == "d")
            try await kubectl("scale", "deployment", "d", "--current-replicas=1", "--replicas=4")
            try await kubectl("set", "image", "deployment/d", "hostname=portolan/shell")
            #expect(
                try await kubectl.field("deploy/d", ".spec.template.spec.containers[0].image")
                    == "portolan/shell")
            try await kubectl("create", "role", "r", "--verb=get", "--resource=pods")
            try await kubectl("create", "rolebinding", "b", "--role=r", "--user=someone")
            try await eventually("the binding is known") {
                try await kubectl.attempt("auth", "can-i", "get", "pods", "--as", "someone")
                    .output == "yes\n"
            }
            let denied = try await kubectl.attempt("get", "svc", "--as", "someone")
            #expect(
                denied.errorOutput.contains("User \"someone\" cannot list resource \"services\""))
            try await kubectl("delete", "svc", "d", "--wait=false", "--cascade=orphan")
            try await kubectl("delete", "deploy,pods", "--all", "--grace-period=0", "--force")
            try await waitsForTheEnd(kubectl)
        }
    }

    private func patches(_ kubectl: Client) async throws {
        try await kubectl(
            "patch", "svc", "web", "-p", #"{"spec":{"ports":[{"port":80,"name":"plain"}]}}"#)
        #expect(try await kubectl.field("svc/web", ".spec.ports[*].name") == "plain https")
        try await kubectl(
            "patch", "svc", "web", "--type=merge", "-p",
            #"{"spec":{"ports":[{"port":81,"name":"only"}]},"metadata":{"labels":{"app":null}}}"#)
        #expect(try await kubectl.field("svc/web", ".spec.ports[*].name") == "only")
        try await kubectl(
            "patch", "svc", "web", "--type=json", "-p",
            #"[{"op":"test","path":"/spec/ports/0/port","value":81},"#
                + #"{"op":"add","path":"/metadata/labels","value":{"app":"web"}}]"#)
        #expect(try await kubectl.field("svc/web", ".metadata.labels.app") == "web")
        let failed = try await kubectl.attempt(
            "patch", "svc", "web", "--type=json", "-p",
            #"[{"op":"test","path":"/spec/ports/0/port","value":1}]"#)
        #expect(failed.exitCode == 1)
    }

    /// The editor is a script: it changes a port, leaves all as it is, and breaks it once.
    private func edits(_ kubectl: Client) async throws {
        func edit(_ script: String) async throws -> CommandResult {
            let path = "\(kubectl.fixture.directory)/editor"
            try kubectl.fixture.write("\(script)\n", to: path)
            return try await kubectl.attempt(
                "edit", "svc", "web", environment: ["KUBE_EDITOR": "sh \(path)"])
        }
        let changed = try await edit("sed -i 's/port: 81/port: 82/' \"$1\"")
        #expect(changed.output.hasPrefix("service/web edited"), "\(changed.errorOutput)")
        #expect(try await kubectl.field("svc/web", ".spec.ports[0].port") == "82")
        let same = try await edit("true")
        #expect((same.output + same.errorOutput).contains("no changes made"))
        // Refused once: kubectl opens the file again, with the reason, and gives up when nothing
        // has changed.
        let refused = try await edit("sed -i 's/port: 82/port: 999999/' \"$1\"")
        #expect(refused.exitCode == 1)
        #expect(
            (refused.errorOutput + refused.output).contains("services \"web\" is invalid"),
            "\(refused.errorOutput)")
        #expect(try await kubectl.field("svc/web", ".spec.ports[0].port") == "82")
    }

    private func waitsForTheEnd(_ kubectl: Client) async throws {
        try await kubectl(
            "create", "-f", "-",
            input: """
                {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"held",
                "finalizers":["example.com/hold"]}}
                """)
        try await kubectl("delete", "cm", "held", "--wait=false")
        #expect(try await kubectl.field("cm/held", ".metadata.deletionTimestamp") != "")
        async let gone = kubectl("wait", "--for=delete", "cm/held", "--timeout=30s")
        try await kubectl(
            "patch", "cm", "held", "--type=merge", "-p", #"{"metadata":{"finalizers":null}}"#)
        _ = try? await gone  // it may have been gone before the wait began
        #expect(try await kubectl.attempt("get", "cm", "held").exitCode == 1)
    }

    @Test(arguments: ServerFixture.kubectls)
    func appliesDiffsAndPrunes(_ program: String) async throws {
        try await ServerFixture.run { fixture in
            let kubectl = Client(fixture: fixture, program: program)
            try await kubectl("apply", "-f", "-", input: Self.service)
            let diff = try await kubectl.attempt(
                "diff", "-f", "-", input: Self.service.replacing("443", with: "444"))
            #expect(diff.exitCode == 1, "\(diff.errorOutput)")
            #expect(diff.output.contains("+    port: 444"), "\(diff.output)")
            // A key taken out of the manifest is taken out of the object.
            let fewer = Self.service.replacing("  - {name: https, port: 443}", with: "")
            #expect(
                try await kubectl("apply", "-f", "-", input: fewer) == "service/web configured\n")
            #expect(try await kubectl.field("svc/web", ".spec.ports[*].port") == "80")
            #expect(
                try await kubectl("apply", "--dry-run=server", "-f", "-", input: Self.service)
                    == "service/web configured (server dry run)\n")
            #expect(try await kubectl.field("svc/web", ".spec.ports[*].port") == "80")
            let manifest = #"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"#
            func apply(_ manager: String, _ value: String, _ force: Bool) async throws
                -> CommandResult
            {
                var arguments = ["apply", "--server-side", "--field-manager", manager, "-f", "-"]
                if force { arguments.append("--force-conflicts") }
                return try await fixture.kubectl(
                    arguments, input: manifest + "\"data\":{\"a\":\"\(value)\"}}", program: program)
            }
            #expect(try await apply("one", "1", false).output == "configmap/c serverside-applied\n")
            let conflict = try await apply("two", "2", false)
            #expect(conflict.exitCode == 1)
            #expect(conflict.errorOutput.contains("conflict with \"one\": .data.a"))
            #expect(try await apply("two", "2", true).exitCode == 0)
            let unknown = try await kubectl.attempt(
                "apply", "-f", "-", input: Self.service.replacing("selector", with: "selectr"))
            #expect(unknown.exitCode == 1)
            #expect(unknown.errorOutput.contains("selectr"), "\(unknown.errorOutput)")
            let view = try await kubectl("apply", "view-last-applied", "svc/web", "-o", "json")
            #expect(view.contains("\"port\": 80"))
        }
    }

    @Test(arguments: ServerFixture.kubectls)
    func watchesAndShowsEvents(_ program: String) async throws {
        try await ServerFixture.run { fixture in
            let kubectl = Client(fixture: fixture, program: program)
            let follower = try RunningCommand(
                [program, "--kubeconfig", fixture.adminPath, "get", "cm", "-w", "-o", "name"],
                environment: ["HOME": fixture.directory])
            defer { follower.stop() }
            for index in 0..<5 {
                try await kubectl("create", "configmap", "w\(index)", "--from-literal=a=b")
            }
            try eventually("the watch shows them") {
                follower.outputSoFar.contains("configmap/w4")
            }
            try await kubectl(
                "create", "-f", "-",
                input: """
                    {"apiVersion":"v1","kind":"Event","metadata":{"name":"e"},"type":"Warning",
                    "involvedObject":{"apiVersion":"v1","kind":"ConfigMap","namespace":"default","name":"w1"},
                    "reason":"Leaking","message":"water","lastTimestamp":"2026-01-01T00:00:00Z"}
                    """)
            #expect(try await kubectl("get", "events").contains("Leaking"))
            #expect(try await kubectl("describe", "cm", "w1").contains("Events:"))
            if !kubectl.isOld {
                #expect(
                    try await kubectl("events", "--for", "configmap/w1").contains("Leaking"))
            }
        }
    }
}

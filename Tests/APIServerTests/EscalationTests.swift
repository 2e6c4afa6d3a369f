import Informer
import JSON
import KubernetesAPI
import TestSupport
import Testing

@testable import APIServer

/// Nobody gives away what he does not have.
@Suite(.offPool) struct EscalationTests {
    // MARK: - Rules

    private static func rule(
        _ verbs: [String], _ groups: [String], _ resources: [String], names: [String] = []
    ) -> RBACRule {
        RBACRule(verbs: verbs, groups: groups, resources: resources, resourceNames: names)
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var held: [RBACRule]
        var wanted: RBACRule
        /// What is missing, as the refusal says it; empty where nothing is.
        var missing: String
        var testDescription: String { missing.isEmpty ? "\(wanted)" : missing }
    }

    static let cases: [Case] = [
        Case(
            held: [rule(["*"], ["*"], ["*"])], wanted: rule(["get"], [""], ["secrets"]),
            missing: ""),
        Case(
            held: [rule(["get"], [""], ["pods"]), rule(["list"], [""], ["pods"])],
            wanted: rule(["get", "list"], [""], ["pods"]), missing: ""),
        Case(
            held: [rule(["get"], [""], ["pods"])],
            wanted: rule(["get", "list", "watch"], [""], ["pods"]),
            missing: #"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#),
        Case(
            held: [rule(["get"], [""], ["*/log"])], wanted: rule(["get"], [""], ["pods/log"]),
            missing: ""),
        Case(
            held: [rule(["get"], [""], ["pods"])], wanted: rule(["get"], [""], ["pods/log"]),
            missing: #"{APIGroups:[""], Resources:["pods/log"], Verbs:["get"]}"#),
        // A right to some names gives no right to all, but the reverse does.
        Case(
            held: [rule(["get"], [""], ["pods"], names: ["a"])],
            wanted: rule(["get"], [""], ["pods"]),
            missing: #"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#),
        Case(
            held: [rule(["get"], [""], ["pods"])],
            wanted: rule(["get"], [""], ["pods"], names: ["a"]), missing: ""),
        Case(
            held: [rule(["get"], [""], ["pods"], names: ["a"])],
            wanted: rule(["get"], [""], ["pods"], names: ["a", "b"]),
            missing:
                #"{APIGroups:[""], Resources:["pods"], ResourceNames:["b"], Verbs:["get"]}"#),
        Case(
            held: [RBACRule(verbs: ["get"], paths: ["/api/*"])],
            wanted: RBACRule(verbs: ["get"], paths: ["/api/v1", "/metrics"]),
            missing: #"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#),
        // Some verbs, however many, are not all verbs.
        Case(
            held: [rule(["get", "list"], [""], ["pods"])], wanted: rule(["*"], [""], ["pods"]),
            missing: #"{APIGroups:[""], Resources:["pods"], Verbs:["*"]}"#),
    ]

    @Test(arguments: cases) func rights(_ example: Case) {
        let missing = RBACEscalation.uncovered([example.wanted], by: example.held)
        #expect(missing.isEmpty == example.missing.isEmpty)
        guard !missing.isEmpty else { return }
        let text = RBACEscalation.refusal(UserInfo(name: "jane", groups: ["a", "b"]), missing)
        #expect(
            text == "user \"jane\" (groups=[\"a\" \"b\"]) is attempting to grant RBAC permissions "
                + "not currently held:\n" + example.missing)
    }

    // MARK: - kubectl

    /// Jane may edit roles and bindings everywhere and see pods, and no more.
    private func withJane(
        _ body: @Sendable (ServerFixture, _ jane: String) async throws -> Void
    ) async throws {
        try await ServerFixture.run { fixture in
            try await fixture.check(
                ["apply", "-f", "-"],
                input: """
                    apiVersion: rbac.authorization.k8s.io/v1
                    kind: ClusterRole
                    metadata: {name: rbac-editor}
                    rules:
                    - {apiGroups: [rbac.authorization.k8s.io], resources: ["*"],
                       verbs: [get, list, create, update, patch, delete]}
                    - {apiGroups: [""], resources: [pods], verbs: [get, list]}
                    """)
            try await fixture.check([
                "create", "clusterrolebinding", "jane", "--clusterrole=rbac-editor", "--user=jane",
            ])
            let path = "\(fixture.directory)/jane.kubeconfig"
            try fixture.kubeconfig(user: "jane", groups: []).write(to: path)
            try await eventually("the binding is known") {
                try await fixture.kubectl(["get", "pods"], kubeconfig: path).exitCode == 0
            }
            try await body(fixture, path)
        }
    }

    @Test func rolesGrantNoMoreThanTheirWriterHas() async throws {
        try await withJane { fixture, jane in
            func role(_ name: String, _ extra: String...) async throws -> CommandResult {
                try await fixture.kubectl(
                    ["create", "role", name] + extra, kubeconfig: jane)
            }
            #expect(try await role("viewer", "--verb=get", "--resource=pods").exitCode == 0)
            let refused = try await role("thief", "--verb=get", "--resource=secrets")
            #expect(
                refused.errorOutput.contains(
                    "roles.rbac.authorization.k8s.io \"thief\" is forbidden: user \"jane\" "
                        + "(groups=[\"system:authenticated\"]) is attempting to grant RBAC "
                        + "permissions not currently held:\n"
                        + "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"),
                "\(refused.errorOutput)")
            // Widening a role by any kind of patch is refused the same; other fields are not.
            for type in ["merge", "json", "strategic"] {
                let patch =
                    type == "json"
                    ? #"[{"op":"add","path":"/rules/0/resources/-","value":"secrets"}]"#
                    : #"{"rules":[{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}]}"#
                let result = try await fixture.kubectl(
                    ["patch", "role", "viewer", "--type", type, "-p", patch], kubeconfig: jane)
                #expect(result.errorOutput.contains("not currently held"), "\(type)")
            }
            let applied = try await fixture.kubectl(
                ["apply", "--server-side", "--force-conflicts", "-f", "-"],
                input: """
                    {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role",
                    "metadata":{"name":"viewer"},
                    "rules":[{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}]}
                    """, kubeconfig: jane)
            #expect(applied.errorOutput.contains("not currently held"), "\(applied)")
            let labelled = try await fixture.kubectl(
                ["label", "role", "viewer", "x=y"], kubeconfig: jane)
            #expect(labelled.exitCode == 0, "\(labelled.errorOutput)")
            let aggregated = try await fixture.kubectl(
                ["create", "clusterrole", "all", "--aggregation-rule=a=b"], kubeconfig: jane)
            #expect(aggregated.errorOutput.contains("not currently held"))

            try await fixture.check([
                "create", "clusterrole", "escalator", "--verb=escalate",
                "--resource=roles.rbac.authorization.k8s.io",
            ])
            try await fixture.check([
                "create", "clusterrolebinding", "e", "--clusterrole=escalator", "--user=jane",
            ])
            try await eventually("who may escalate is not held to what he has") {
                try await role("thief", "--verb=get", "--resource=secrets").exitCode == 0
            }
        }
    }

    @Test func bindingsGrantNoMoreThanTheirWriterHas() async throws {
        try await withJane { fixture, jane in
            func bind(_ name: String, _ role: String) async throws -> CommandResult {
                try await fixture.kubectl(
                    ["create", "rolebinding", name, "--clusterrole=\(role)", "--user=joe"],
                    kubeconfig: jane)
            }
            #expect(try await bind("same", "rbac-editor").exitCode == 0)
            let refused = try await bind("admin", "cluster-admin")
            #expect(
                refused.errorOutput.contains(
                    "rolebindings.rbac.authorization.k8s.io \"admin\" is forbidden: user \"jane\""
                ), "\(refused.errorOutput)")
            #expect(refused.errorOutput.contains("{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}"))
            let missing = try await bind("nothing", "nowhere")
            #expect(
                missing.errorOutput.contains(
                    "clusterroles.rbac.authorization.k8s.io \"nowhere\" not found"))
            try await fixture.check([
                "create", "clusterrole", "binder", "--verb=bind",
                "--resource=clusterroles.rbac.authorization.k8s.io",
                "--resource-name=cluster-admin",
            ])
            try await fixture.check([
                "create", "clusterrolebinding", "b", "--clusterrole=binder", "--user=jane",
            ])
            try await eventually("who may bind a role is not held to what he has") {
                try await bind("admin", "cluster-admin").exitCode == 0
            }
            // That one, and no other.
            #expect(try await bind("edit", "edit").errorOutput.contains("not currently held"))
        }
    }
}

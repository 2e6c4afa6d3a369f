import Informer
import JSON
import KubernetesAPI
import TestSupport
import Testing

@testable import APIServer

/// What a node's certificate opens, and what it does not.
@Suite(.offPool) struct NodeAccessTests {
    /// Two nodes with a pod each, `mine` on n1 and `other` on n2.
    private func withNode(
        _ body: @Sendable (ServerFixture, _ n1: String) async throws -> Void
    ) async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            for (name, node) in [("mine", "n1"), ("other", "n2")] {
                _ = try await client.create(
                    .secrets, ["metadata": ["name": .string("s-\(name)"), "namespace": "default"]])
                _ = try await client.create(
                    .serviceAccounts,
                    ["metadata": ["name": .string("sa-\(name)"), "namespace": "default"]])
                _ = try await client.create(
                    .pods,
                    [
                        "metadata": ["name": .string(name), "namespace": "default"],
                        "spec": [
                            "nodeName": .string(node),
                            "serviceAccountName": .string("sa-\(name)"),
                            "volumes": [
                                ["name": "v", "secret": ["secretName": .string("s-\(name)")]]
                            ], "containers": [["name": "c", "image": "x"]],
                        ],
                    ])
                _ = try await client.create(.nodes, ["metadata": ["name": .string(node)]])
            }
            let path = "\(fixture.directory)/n1.kubeconfig"
            try fixture.kubeconfig(user: "system:node:n1", groups: ["system:nodes"]).write(to: path)
            try await body(fixture, path)
        }
    }

    @Test func readsTheSecretsOfItsPods() async throws {
        try await withNode { fixture, n1 in
            func get(_ arguments: String...) async throws -> CommandResult {
                try await fixture.kubectl(["get"] + arguments, kubeconfig: n1)
            }
            #expect(try await get("secret", "s-mine").exitCode == 0)
            let refused = try await get("secret", "s-other")
            #expect(
                refused.errorOutput.contains(
                    "secrets \"s-other\" is forbidden: User \"system:node:n1\" cannot get resource "
                        + "\"secrets\" in API group \"\" in the namespace \"default\""))
            #expect(try await get("secrets").exitCode == 1)
            #expect(try await get("secrets", "-A").exitCode == 1)
            #expect(
                try await get("secrets", "--field-selector", "metadata.name=s-mine").exitCode == 0)
            #expect(
                try await get("secrets", "--field-selector", "metadata.name!=x").exitCode == 1)
            // The authority that its pods' token volumes carry.
            let root = try await get("configmap", "kube-root-ca.crt")
            #expect(root.errorOutput.contains("NotFound"), "\(root.errorOutput)")
        }
    }

    private static func lease(_ name: String, _ namespace: String) -> String {
        """
        {"apiVersion":"coordination.k8s.io/v1","kind":"Lease",
        "metadata":{"name":"\(name)","namespace":"\(namespace)"},"spec":{}}
        """
    }

    @Test func writesItsOwnObjectsOnly() async throws {
        try await withNode { fixture, n1 in
            func fault(_ arguments: String..., input: String = "") async throws -> String {
                let result = try await fixture.kubectl(arguments, input: input, kubeconfig: n1)
                return result.exitCode == 0 ? "" : result.errorOutput
            }
            let other = try await fault(
                "create", "-f", "-",
                input: #"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n3"}}"#)
            #expect(
                other.contains(
                    "nodes \"n3\" is forbidden: node \"n1\" is not allowed to modify node \"n3\""))
            #expect(try await fault("label", "node", "n1", "zone=a") == "")
            #expect(try await fault("label", "node", "n2", "zone=a").contains("forbidden"))
            #expect(
                try await fault("label", "node", "n1", "node-restriction.kubernetes.io/x=y")
                    .contains(
                        "is not allowed to modify labels: node-restriction.kubernetes.io/x"))
            #expect(
                try await fault("taint", "node", "n1", "a=b:NoSchedule")
                    .contains("is not allowed to modify taints"))
            #expect(
                try await fault("create", "-f", "-", input: Self.lease("n1", "kube-node-lease"))
                    == "")
            #expect(
                try await fault("create", "-f", "-", input: Self.lease("n2", "kube-node-lease"))
                    .contains(
                        "can only access node lease with the same name as the requesting node"))
            #expect(
                try await fault("create", "-f", "-", input: Self.lease("n1", "default")).contains(
                    "forbidden"))
            func patch(_ pod: String, _ body: String) async throws -> String {
                try await fault(
                    "patch", "pod", pod, "--subresource=status", "--type=merge", "-p", body)
            }
            let ready = #"{"status":{"message":"m"}}"#
            #expect(try await patch("mine", ready) == "")
            #expect(try await patch("other", ready).contains("forbidden"))
            #expect(
                try await patch("mine", #"{"metadata":{"labels":{"a":"b"}}}"#)
                    .contains("cannot update labels through pod status"))
            #expect(try await fault("label", "pod", "mine", "a=b").contains("forbidden"))
        }
    }

    @Test func getsTokensOfItsPodsOnly() async throws {
        try await withNode { fixture, n1 in
            let client = fixture.server.client
            func token(_ name: String, boundTo pod: String?) async throws -> CommandResult {
                var arguments = ["create", "token", "sa-\(name)"]
                if let pod {
                    let uid = try await client.get(.pods, namespace: "default", name: pod)[
                        "metadata", "uid"]?.string
                    arguments += [
                        "--bound-object-kind=Pod", "--bound-object-name=\(pod)",
                        "--bound-object-uid=\(uid ?? "")",
                    ]
                }
                return try await fixture.kubectl(arguments, kubeconfig: n1)
            }
            let mine = try await token("mine", boundTo: "mine")
            #expect(mine.exitCode == 0, "\(mine.errorOutput)")
            #expect(
                try await token("mine", boundTo: nil).errorOutput.contains(
                    "node requested token not bound to a pod"))
            #expect(
                try await token("mine", boundTo: "other").errorOutput.contains(
                    "node requested token bound to a pod scheduled on a different node"))
            #expect(try await token("other", boundTo: "other").errorOutput.contains("forbidden"))

            // The token says whose it is, and ends with its pod.
            let bearer = ["-H", "Authorization: Bearer \(mine.trimmedOutput)"]
            func ask() async throws -> JSONValue {
                try JSONValue(
                    parsing: await fixture.curl(
                        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                        bearer + [
                            "-X", "POST", "-H", "Content-Type: application/json", "-d", "{}",
                        ], withCertificate: false
                    ).output)
            }
            let who = try await ask()
            #expect(
                who["status", "userInfo", "username"] == "system:serviceaccount:default:sa-mine")
            #expect(
                who["status", "userInfo", "extra"]?["authentication.kubernetes.io/pod-name"] == [
                    "mine"
                ])
            try await client.delete(
                .pods, namespace: "default", name: "mine", options: ["gracePeriodSeconds": 0])
            #expect(try await ask()["code"] == 401)
        }
    }
}

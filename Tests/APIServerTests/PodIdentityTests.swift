import Informer
import JSON
import KubernetesAPI
import Store
import TestSupport
import Testing

@testable import APIServer

/// The service account that every pod gets.
@Suite(.offPool) struct PodIdentityTests {
    private static func pod(_ name: String, _ spec: JSONValue = [:]) -> JSONValue {
        var spec = spec
        if spec["containers"] == nil {
            spec["containers"] = [["name": "a", "image": "x"], ["name": "b", "image": "x"]]
        }
        return ["metadata": ["name": .string(name), "namespace": "default"], "spec": spec]
    }

    private static func mounts(_ pod: JSONValue) -> [String] {
        let containers =
            (pod["spec", "containers"]?.array ?? []) + (pod["spec", "initContainers"]?.array ?? [])
        return containers.flatMap { $0["volumeMounts"]?.array ?? [] }
            .filter { $0["mountPath"]?.string == PodIdentity.mountPath }
            .compactMap { $0["name"]?.string }
    }

    @Test func containersGetATokenOfTheDefaultAccount() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            let made = try await client.create(
                .pods,
                Self.pod("p", ["initContainers": [["name": "i", "image": "x"]]]))
            #expect(made["spec", "serviceAccountName"] == "default")
            let names = Self.mounts(made)
            #expect(names.count == 3 && Set(names).count == 1)
            let name = try #require(names.first)
            #expect(name.hasPrefix("kube-api-access-"))
            let volumes = made["spec", "volumes"]?.array ?? []
            #expect(volumes.map { $0["name"]?.string } == [name])
            let sources = volumes[0]["projected", "sources"]
            #expect(sources?[0]?["serviceAccountToken", "expirationSeconds"] == 3607)
            #expect(sources?[1]?["configMap", "name"] == "kube-root-ca.crt")
            #expect(
                sources?[2]?["downwardAPI", "items"]?[0]?["fieldRef", "fieldPath"]
                    == "metadata.namespace")
            _ = try await client.create(
                .serviceAccounts, ["metadata": ["name": "old", "namespace": "default"]])
            let older = try await client.create(.pods, Self.pod("o", ["serviceAccount": "old"]))
            #expect(older["spec", "serviceAccountName"] == "old")
            // The namespace has its account from the first pod on.
            _ = try await client.get(.serviceAccounts, namespace: "default", name: "default")
        }
    }

    @Test func saysNoWherePodOrAccountDo() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            let no = try await client.create(
                .pods, Self.pod("no", ["automountServiceAccountToken": false]))
            #expect(Self.mounts(no) == [] && no["spec", "volumes"] == nil)
            _ = try await client.create(
                .serviceAccounts,
                [
                    "metadata": ["name": "quiet", "namespace": "default"],
                    "automountServiceAccountToken": false,
                    "imagePullSecrets": [["name": "registry"]],
                ])
            let quiet = try await client.create(
                .pods, Self.pod("quiet", ["serviceAccountName": "quiet"]))
            #expect(Self.mounts(quiet) == [])
            #expect(quiet["spec", "imagePullSecrets"] == [["name": "registry"]])
            // The pod's own word counts for more.
            let loud = try await client.create(
                .pods,
                Self.pod(
                    "loud", ["serviceAccountName": "quiet", "automountServiceAccountToken": true]))
            #expect(Self.mounts(loud).count == 2)
            // What is mounted there already stays.
            let own: JSONValue = [
                "volumes": [["name": "mine", "emptyDir": [:]]],
                "containers": [
                    [
                        "name": "a", "image": "x",
                        "volumeMounts": [
                            ["name": "mine", "mountPath": .string(PodIdentity.mountPath)]
                        ],
                    ]
                ],
            ]
            let kept = try await client.create(.pods, Self.pod("kept", own))
            #expect(Self.mounts(kept) == ["mine"])
            #expect(kept["spec", "volumes"]?.array?.count == 1)
        }
    }

    @Test func anAccountThatIsMissingIsNamed() async throws {
        try await ServerFixture.run { fixture in
            let error = await #expect(throws: StatusError.self) {
                try await fixture.server.client.create(
                    .pods, Self.pod("p", ["serviceAccountName": "nobody"]))
            }
            #expect(
                error?.message == "pods \"p\" is forbidden: error looking up service account "
                    + "default/nobody: serviceaccount \"nobody\" not found")
            let before = fixture.store.revision
            let dry = try await fixture.check([
                "run", "d", "--image=x", "--dry-run=server", "-o", "yaml",
            ])
            #expect(dry.contains("kube-api-access-"))
            #expect(fixture.store.revision == before)
        }
    }
}

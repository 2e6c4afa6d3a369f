import JSON
import KubernetesAPI
import NIOHTTP1
import Store
import TestSupport
import Testing

@testable import APIServer

/// Who may do what.
@Suite(.offPool) struct AccessTests {
    @Test func tokensOfServiceAccountsAreHeldToTheirRoles() async throws {
        try await ServerFixture.run { fixture in
            try await fixture.check(["create", "serviceaccount", "viewer"])
            try await fixture.check([
                "create", "rolebinding", "v", "--clusterrole=view",
                "--serviceaccount=default:viewer",
            ])
            let text = try await fixture.check(["create", "token", "viewer"])
            let token = String(text.prefix { $0 != "\n" })
            func ask(_ path: String, _ extra: String...) async throws -> JSONValue {
                try JSONValue(
                    parsing: await fixture.curl(
                        path, ["-H", "Authorization: Bearer \(token)"] + extra,
                        withCertificate: false
                    ).output)
            }
            try await eventually("the role is known") {
                try await ask("/api/v1/namespaces/default/pods")["kind"] == "PodList"
            }
            #expect(try await ask("/api/v1/namespaces/default/secrets")["code"] == 403)
            #expect(try await ask("/api/v1/namespaces/kube-system/pods")["code"] == 403)
            #expect(
                try await ask("/api/v1/namespaces/default/pods/x", "-X", "DELETE")["code"] == 403)
            #expect(try await ask("/apis")["kind"] == "APIGroupList")
            let who = try await ask(
                "/apis/authentication.k8s.io/v1/selfsubjectreviews", "-X", "POST", "-H",
                "Content-Type: application/json", "-d", "{}")
            #expect(
                who["status", "userInfo", "username"] == "system:serviceaccount:default:viewer")
            try await fixture.check(["delete", "serviceaccount", "viewer"])
            #expect(try await ask("/api/v1/namespaces/default/pods")["code"] == 401)
        }
    }

    @Test func actsAsOthersWhereAllowed() async throws {
        try await ServerFixture.run { fixture in
            func can(_ verb: String, _ resource: String, as user: String) async throws -> String {
                try await fixture.kubectl(["auth", "can-i", verb, resource, "--as", user])
                    .trimmedOutput
            }
            #expect(try await can("get", "pods", as: "jane") == "no")
            try await fixture.check([
                "create", "clusterrolebinding", "jane", "--clusterrole=edit", "--user=jane",
            ])
            try await eventually("the binding is known") {
                try await can("create", "pods", as: "jane") == "yes"
            }
            #expect(try await can("create", "clusterroles", as: "jane") == "no")
        }
    }

    // MARK: - Nodes

    /// Two pods, `mine` on n1 and `other` on n2, with a secret and a ConfigMap each.
    private static func bindPods(_ store: Store) async throws {
        for (name, node) in [("mine", "n1"), ("other", "n2")] {
            let pod: JSONValue = [
                "metadata": ["name": .string(name), "namespace": "a"],
                "spec": [
                    "nodeName": .string(node), "serviceAccountName": .string("sa-\(name)"),
                    "volumes": [["secret": ["secretName": .string("volume-\(name)")]]],
                    "containers": [
                        ["envFrom": [["configMapRef": ["name": .string("map-\(name)")]]]]
                    ],
                ],
            ]
            _ = try await store.write { transaction in
                try transaction.create(
                    StoreKey(resource: "pods", namespace: "a", name: name), pod)
            }
        }
    }

    private static func node(
        _ verb: String, _ path: String, _ pods: BoundPods
    ) -> AccessDecision {
        let parts = path.split(separator: "?", maxSplits: 1).map(String.init)
        var info = RequestInfo(
            method: .GET, path: parts[0],
            query: QueryItems(parsing: parts.count > 1 ? parts[1] : ""))
        info.verb = verb
        let user = UserInfo(name: "system:node:n1", groups: ["system:nodes"])
        return NodeRules(node: "n1", pods: pods).decide(AccessAttributes(user: user, info))
    }

    @Test(arguments: [
        ("watch", "/api/v1/services", true), ("list", "/apis/apps/v1/deployments", false),
        ("patch", "/api/v1/nodes/n1/status", true), ("patch", "/api/v1/nodes/n2/status", false),
        ("patch", "/api/v1/namespaces/a/pods/mine/status", true),
        ("patch", "/api/v1/namespaces/a/pods/other/status", false),
        ("delete", "/api/v1/namespaces/a/pods/mine", true),
        ("delete", "/api/v1/namespaces/a/pods/other", false),
        ("create", "/api/v1/namespaces/a/events", true),
        ("create", "/api/v1/namespaces/a/services", false),
        ("update", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", true),
        ("update", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2", false),
        ("delete", "/api/v1/nodes/n1", false), ("get", "/metrics", false),
        ("create", "/apis/coordination.k8s.io/v1/namespaces/a/leases", false),
        ("get", "/api/v1/namespaces/a/secrets/volume-mine", true),
        ("get", "/api/v1/namespaces/a/secrets/volume-other", false),
        ("get", "/api/v1/namespaces/b/secrets/volume-mine", false),
        ("list", "/api/v1/namespaces/a/secrets", false), ("list", "/api/v1/secrets", false),
        ("watch", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dvolume-mine", true),
        (
            "list", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dvolume-other",
            false
        ),
        ("get", "/api/v1/namespaces/a/configmaps/map-mine", true),
        ("get", "/api/v1/namespaces/a/configmaps/map-other", false),
        ("get", "/api/v1/namespaces/kube-system/configmaps/coredns", true),
        ("update", "/api/v1/namespaces/a/secrets/volume-mine", false),
        ("create", "/api/v1/namespaces/a/serviceaccounts/sa-mine/token", true),
        ("create", "/api/v1/namespaces/a/serviceaccounts/sa-other/token", false),
    ])
    func nodesReadAndWriteOnlyWhatIsTheirs(
        _ verb: String, _ path: String, _ isAllowed: Bool
    ) async throws {
        let file = "/tmp/bound-pods-\(UInt64.random(in: 0 ... .max)).db"
        let store = try Store(path: file)
        defer {
            store.close()
            _ = try? Command.run(["rm", "-f", file, file + "-wal"])
        }
        try await Self.bindPods(store)
        #expect(Self.node(verb, path, BoundPods(store: store)).isAllowed == isAllowed)
    }

    // MARK: - Paths

    @Test func readsPaths() {
        func info(_ method: String, _ path: String, _ query: String = "") -> RequestInfo {
            RequestInfo(
                method: .init(rawValue: method), path: path, query: QueryItems(parsing: query))
        }
        let exec = info("POST", "/api/v1/namespaces/a/pods/p/exec", "command=ls")
        #expect(exec.namespace == "a" && exec.resource == "pods" && exec.name == "p")
        #expect(exec.subresource == "exec" && exec.verb == "create")
        let namespace = info("GET", "/api/v1/namespaces/a")
        #expect(namespace.resource == "namespaces" && namespace.name == "a")
        let finalize = info("PUT", "/api/v1/namespaces/a/finalize")
        #expect(finalize.resource == "namespaces" && finalize.subresource == "finalize")
        let list = info("GET", "/apis/apps/v1/deployments", "watch=1")
        #expect(list.group == "apps" && list.verb == "watch" && list.namespace == nil)
        #expect(info("DELETE", "/api/v1/namespaces/a/pods").verb == "deletecollection")
        #expect(!info("GET", "/apis/apps/v1").isResource)
        let proxy = info("GET", "/api/v1/namespaces/a/services/s:http/proxy/x/y%2Fz")
        #expect(proxy.name == "s:http" && proxy.rest == "x/y%2Fz")
    }
}

import JSON
import KubernetesAPI
import NIOHTTP1
import TestSupport
import Testing

@testable import APIServer

/// The small pure parts.
@Suite(.offPool) struct SmallPartsTests {
    @Test func readsYAMLAsJSONDoes() throws {
        let json = try YAMLText.parse(
            Array("a: 1\nb: \"1\"\nc: yes\nd: [1.5, null, x]\ne: {f: -3}\n".utf8))
        #expect(json["a"] == 1)
        #expect(json["b"] == "1")
        #expect(json["d"] == [.number("1.5"), .null, "x"])
        #expect(json["e", "f"] == -3)
        #expect(throws: StatusError.self) { try YAMLText.parse(Array("a: [".utf8)) }
    }

    @Test func identifiersAreRandomUUIDs() {
        #expect(
            ObjectUID.text(high: 0x0123_4567_89AB_CDEF, low: 0xFEDC_BA98_7654_3210)
                == "01234567-89ab-4def-bedc-ba9876543210")
        #expect(ObjectUID.text(high: 0, low: 0) == "00000000-0000-4000-8000-000000000000")
        #expect(Set((0..<1_000).map { _ in ObjectUID.make() }).count == 1_000)
    }

    @Test(arguments: [
        ("", ResponseForm.object), ("*/*", .object), ("application/json", .object),
        ("application/vnd.kubernetes.protobuf,application/json", .object),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", .table(version: "v1")),
        (
            "application/json;as=Table;v=v9;g=meta.k8s.io,application/json;as=Table;v=v1beta1;"
                + "g=meta.k8s.io,application/json", .table(version: "v1beta1")
        ),
        ("application/json;as=PartialObjectMetadata;v=v1", .metadata(version: "v1")),
    ])
    func choosesTheForm(_ accept: String, _ form: ResponseForm) throws {
        let headers = accept.isEmpty ? HTTPHeaders() : HTTPHeaders([("Accept", accept)])
        #expect(try ResponseForm(accept: headers) == form)
    }

    @Test func signsTokensThatNobodyElseCan() throws {
        let directory = "/tmp/api-test-pki-\(UInt64.random(in: 0...UInt64.max))"
        defer { _ = try? Command.run(["rm", "-rf", directory]) }
        let authority = try CertificateAuthority(directory: directory)
        let again = try CertificateAuthority(directory: directory)
        #expect(authority.certificatePEM == again.certificatePEM)
        let mode = try Command.check(["stat", "-c", "%a", "\(directory)/ca.key"]).trimmedOutput
        #expect(mode == "600")
        let keys = try (0..<2).map { try authority.issueClient(user: "\($0)", groups: []) }
        let tokens = try keys.map { try ServiceAccountTokens(privateKeyPEM: $0.privateKeyPEM) }
        let claims = ServiceAccountTokens.Claims(
            namespace: "n", serviceAccount: "s", uid: "u", audiences: ["a"], issuedAtSeconds: 1000,
            expiresAtSeconds: 2000)
        let token = try tokens[0].sign(claims)
        #expect(tokens[0].verify(token, nowSeconds: 1500) == claims)
        #expect(tokens[0].verify(token, nowSeconds: 2000) == nil)
        #expect(tokens[1].verify(token, nowSeconds: 1500) == nil)
        #expect(tokens[0].verify(token + "x", nowSeconds: 1500) == nil)
        #expect(tokens[0].verify("a.b.c", nowSeconds: 1500) == nil)
    }

    @Test func readsProxiedNames() throws {
        #expect(try ProxiedName(parsing: "web").name == "web")
        #expect(try ProxiedName(parsing: "web:http").port == "http")
        #expect(try ProxiedName(parsing: "http:web:80") == ProxiedName(parsing: "web:80"))
        #expect(try ProxiedName(parsing: "https:web:80").isTLS)
        #expect(throws: StatusError.self) { try ProxiedName(parsing: "gopher:web:80") }
    }

    @Test func decodesQueries() {
        let query = QueryItems(parsing: "a=1&b=%2Fx%zz&command=ls&command=-l&c=a+b&d")
        #expect(query["a"] == "1")
        #expect(query["b"] == "/x%zz")
        #expect(query.values("command") == ["ls", "-l"])
        #expect(query["c"] == "a b")
        #expect(query["d"] == "")
    }

    @Test func asksRBAC() {
        let index = RBACIndex(
            clusterRoles: [
                [
                    "metadata": ["name": "reader", "labels": ["agg": "true"]],
                    "rules": [
                        ["verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/log"]]
                    ],
                ],
                [
                    "metadata": ["name": "sum"],
                    "aggregationRule": [
                        "clusterRoleSelectors": [["matchLabels": ["agg": "true"]]]
                    ],
                ],
            ], roles: [], clusterRoleBindings: [],
            roleBindings: [
                [
                    "metadata": ["name": "b", "namespace": "n"],
                    "roleRef": ["kind": "ClusterRole", "name": "sum"],
                    "subjects": [["kind": "User", "name": "jane"]],
                ]
            ])
        func allows(_ verb: String, _ path: String, _ user: String = "jane") -> Bool {
            var info = RequestInfo(method: .GET, path: path, query: QueryItems())
            info.verb = verb
            return index.decide(
                AccessAttributes(user: UserInfo(name: user, groups: []), info)
            ).isAllowed
        }
        #expect(allows("get", "/api/v1/namespaces/n/pods/p"))
        #expect(allows("get", "/api/v1/namespaces/n/pods/p/log"))
        #expect(!allows("get", "/api/v1/namespaces/n/pods/p/exec"))
        #expect(!allows("delete", "/api/v1/namespaces/n/pods/p"))
        #expect(!allows("get", "/api/v1/namespaces/m/pods/p"))
        #expect(!allows("get", "/api/v1/pods"))
        #expect(!allows("get", "/api/v1/namespaces/n/pods/p", "joe"))
    }
}

import JSON
import KubernetesAPI
import TestSupport
import Testing

@testable import APIServer

/// Every kind that is served, through kubectl: names, columns, subresources, warnings.
@Suite(.offPool) struct KindTableTests {
    struct Case: Sendable, CustomTestStringConvertible {
        /// The plural name with the group, as kubectl takes it.
        var resource: String
        /// `apiVersion` and `kind`.
        var type: String
        /// What stands beside type and metadata, as JSON members.
        var body: String
        var shortName = ""
        /// The titles of `kubectl get`.
        var columns: String
        var hasStatus = false
        var hasScale = false
        /// What the `Warning:` header of a create says; empty for none.
        var warning = ""
        var name = "x"
        var testDescription: String { resource }

        var manifest: String {
            let parts = type.split(separator: " ")
            return """
                {"apiVersion":"\(parts[0])","kind":"\(parts[1])","metadata":{"name":"\(name)"}\
                \(body.isEmpty ? "" : "," + body)}
                """
        }
    }

    private static let template = """
        "template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}
        """
    private static let selecting =
        #""spec":{"selector":{"matchLabels":{"a":"b"}},\#(template)}"#

    static let cases: [Case] = [
        Case(
            resource: "services", type: "v1 Service", body: #""spec":{"ports":[{"port":80}]}"#,
            shortName: "svc", columns: "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE",
            hasStatus: true),
        Case(
            resource: "endpoints", type: "v1 Endpoints", body: "", shortName: "ep",
            columns: "NAME ENDPOINTS AGE",
            warning: "v1 Endpoints is deprecated"),
        Case(
            resource: "endpointslices.discovery.k8s.io",
            type: "discovery.k8s.io/v1 EndpointSlice",
            body: #""addressType":"IPv4","endpoints":[]"#,
            columns: "NAME ADDRESSTYPE PORTS ENDPOINTS AGE"),
        Case(
            resource: "pods", type: "v1 Pod",
            body: #""spec":{"containers":[{"name":"c","image":"i"}]}"#, shortName: "po",
            columns: "NAME READY STATUS RESTARTS AGE", hasStatus: true),
        Case(
            resource: "nodes", type: "v1 Node", body: "", shortName: "no",
            columns: "NAME STATUS ROLES AGE VERSION", hasStatus: true),
        Case(
            resource: "namespaces", type: "v1 Namespace", body: "", shortName: "ns",
            columns: "NAME STATUS AGE", hasStatus: true),
        Case(
            resource: "configmaps", type: "v1 ConfigMap", body: "", shortName: "cm",
            columns: "NAME DATA AGE"),
        Case(
            resource: "secrets", type: "v1 Secret", body: "", columns: "NAME TYPE DATA AGE"),
        Case(
            resource: "serviceaccounts", type: "v1 ServiceAccount", body: "", shortName: "sa",
            columns: "NAME SECRETS AGE"),
        Case(
            resource: "leases.coordination.k8s.io", type: "coordination.k8s.io/v1 Lease",
            body: #""spec":{}"#, columns: "NAME HOLDER AGE"),
        Case(
            resource: "deployments.apps", type: "apps/v1 Deployment", body: selecting,
            shortName: "deploy", columns: "NAME READY UP-TO-DATE AVAILABLE AGE", hasStatus: true,
            hasScale: true),
        Case(
            resource: "replicasets.apps", type: "apps/v1 ReplicaSet", body: selecting,
            shortName: "rs", columns: "NAME DESIRED CURRENT READY AGE", hasStatus: true,
            hasScale: true),
        Case(
            resource: "daemonsets.apps", type: "apps/v1 DaemonSet", body: selecting,
            shortName: "ds",
            columns: "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE",
            hasStatus: true),
        Case(
            resource: "statefulsets.apps", type: "apps/v1 StatefulSet", body: selecting,
            shortName: "sts", columns: "NAME READY AGE", hasStatus: true, hasScale: true,
            warning: "starts no pods"),
        Case(
            resource: "replicationcontrollers", type: "v1 ReplicationController",
            body: #""spec":{"selector":{"a":"b"},\#(template)}"#, shortName: "rc",
            columns: "NAME DESIRED CURRENT READY AGE", hasStatus: true, hasScale: true,
            warning: "starts no pods"),
        Case(
            resource: "jobs.batch", type: "batch/v1 Job",
            body: #""spec":{"template":{"spec":{"restartPolicy":"Never","#
                + #""containers":[{"name":"c","image":"i"}]}}}"#,
            columns: "NAME STATUS COMPLETIONS DURATION AGE", hasStatus: true,
            warning: "starts no pod"),
        Case(
            resource: "ingresses.networking.k8s.io", type: "networking.k8s.io/v1 Ingress",
            body: #""spec":{"defaultBackend":{"service":{"name":"s","port":{"number":80}}}}"#,
            shortName: "ing", columns: "NAME CLASS HOSTS ADDRESS PORTS AGE", hasStatus: true,
            warning: "routes nothing"),
        Case(
            resource: "ingressclasses.networking.k8s.io",
            type: "networking.k8s.io/v1 IngressClass",
            body: #""spec":{"controller":"example.com/c"}"#,
            columns: "NAME CONTROLLER PARAMETERS AGE"),
        Case(
            resource: "networkpolicies.networking.k8s.io",
            type: "networking.k8s.io/v1 NetworkPolicy", body: #""spec":{"podSelector":{}}"#,
            shortName: "netpol", columns: "NAME POD-SELECTOR AGE", warning: "blocks nothing"),
        Case(
            resource: "servicecidrs.networking.k8s.io",
            type: "networking.k8s.io/v1 ServiceCIDR", body: #""spec":{"cidrs":["10.9.0.0/24"]}"#,
            columns: "NAME CIDRS AGE", hasStatus: true),
        Case(
            resource: "ipaddresses.networking.k8s.io", type: "networking.k8s.io/v1 IPAddress",
            body: #""spec":{"parentRef":{"resource":"gateways","name":"g","group":"x.y"}}"#,
            shortName: "ip", columns: "NAME PARENTREF AGE", name: "10.96.4.4"),
        Case(
            resource: "poddisruptionbudgets.policy", type: "policy/v1 PodDisruptionBudget",
            body: #""spec":{"minAvailable":1}"#, shortName: "pdb",
            columns: "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE",
            hasStatus: true),
        Case(
            resource: "roles.rbac.authorization.k8s.io",
            type: "rbac.authorization.k8s.io/v1 Role", body: #""rules":[]"#,
            columns: "NAME CREATED AT"),
        Case(
            resource: "rolebindings.rbac.authorization.k8s.io",
            type: "rbac.authorization.k8s.io/v1 RoleBinding",
            body: #""roleRef":{"kind":"ClusterRole","name":"view"}"#, columns: "NAME ROLE AGE"),
        Case(
            resource: "clusterroles.rbac.authorization.k8s.io",
            type: "rbac.authorization.k8s.io/v1 ClusterRole", body: #""rules":[]"#,
            columns: "NAME CREATED AT"),
        Case(
            resource: "clusterrolebindings.rbac.authorization.k8s.io",
            type: "rbac.authorization.k8s.io/v1 ClusterRoleBinding",
            body: #""roleRef":{"kind":"ClusterRole","name":"view"}"#, columns: "NAME ROLE AGE"),
    ]

    @Test func kubectlKnowsThemAll() async throws {
        try await ServerFixture.run { fixture in
            for example in Self.cases { try await check(example, fixture) }
        }
    }

    private func check(_ example: Case, _ fixture: ServerFixture) async throws {
        let resource = example.resource
        let made = try await fixture.kubectl(["create", "-f", "-"], input: example.manifest)
        #expect(made.exitCode == 0, "\(resource): \(made.errorOutput)")
        if example.warning.isEmpty {
            #expect(!made.errorOutput.contains("Warning"), "\(resource): \(made.errorOutput)")
        } else {
            #expect(
                made.errorOutput.hasPrefix("Warning: ")
                    && made.errorOutput.contains(example.warning),
                "\(resource): \(made.errorOutput)")
        }
        let name = example.shortName.isEmpty ? resource : example.shortName
        let table = try await fixture.check(["get", name, example.name])
        let titles = table.prefix { $0 != "\n" }.split(separator: " ").joined(separator: " ")
        #expect(titles == example.columns, "\(resource)")
        #expect(table.contains("\n\(example.name) "), "\(table)")
        for (part, isServed, patch) in [
            ("status", example.hasStatus, #"{"metadata":{"annotations":{"a":"b"}}}"#),
            ("scale", example.hasScale, #"{"spec":{"replicas":3}}"#),
        ] {
            let result = try await fixture.kubectl([
                "patch", resource, example.name, "--subresource=\(part)", "--type=merge", "-p",
                patch,
            ])
            #expect((result.exitCode == 0) == isServed, "\(resource)/\(part): \(result)")
        }
        if example.hasScale {
            let replicas = try await fixture.check([
                "get", resource, example.name, "-o", "jsonpath={.spec.replicas}",
            ])
            #expect(replicas == "3")
        }
        for arguments in [["explain", resource], ["get", resource, "-o", "wide"]] {
            let result = try await fixture.kubectl(arguments)
            #expect(result.exitCode == 0, "\(arguments): \(result.errorOutput)")
        }
        let described = try await fixture.kubectl(["describe", resource, example.name])
        #expect(described.exitCode == 0, "\(resource): \(described.errorOutput)")
        if example.resource != "namespaces" {
            let deleted = try await fixture.kubectl([
                "delete", resource, example.name, "--wait=false",
            ])
            #expect(deleted.exitCode == 0, "\(resource): \(deleted.errorOutput)")
        }
    }

    @Test func reviewsAnswer() async throws {
        try await ServerFixture.run { fixture in
            func ask(_ path: String, _ body: String) async throws -> JSONValue {
                try JSONValue(
                    parsing: await fixture.curl(
                        path, ["-H", "Content-Type: application/json", "-d", body]
                    ).output)
            }
            let groups = "/apis/authorization.k8s.io/v1"
            let spec =
                #"{"spec":{"user":"jane","resourceAttributes":{"verb":"get","resource":"pods"}}}"#
            let other = try await ask("\(groups)/subjectaccessreviews", spec)
            #expect(other["status", "allowed"] == false)
            let own = try await ask("\(groups)/selfsubjectaccessreviews", spec)
            #expect(own["status", "allowed"] == true)
            let local = try await ask(
                "\(groups)/namespaces/default/localsubjectaccessreviews",
                #"{"spec":{"groups":["system:masters"],"user":"x","#
                    + #""resourceAttributes":{"namespace":"default","verb":"get","resource":"pods"}}}"#
            )
            #expect(local["status", "allowed"] == true)
            let rules = try await ask(
                "\(groups)/selfsubjectrulesreviews", #"{"spec":{"namespace":"default"}}"#)
            #expect(rules["status", "resourceRules"]?[0]?["verbs"] == ["*"])
            let identity = "/apis/authentication.k8s.io/v1"
            let who = try await ask("\(identity)/selfsubjectreviews", "{}")
            #expect(who["status", "userInfo", "username"] == "admin")
            let nobody = try await ask("\(identity)/tokenreviews", #"{"spec":{"token":"x"}}"#)
            #expect(nobody["status", "authenticated"] == nil)
            try await fixture.check(["create", "serviceaccount", "s"])
            let token = try await fixture.check(["create", "token", "s"])
            let known = try await ask(
                "\(identity)/tokenreviews",
                #"{"spec":{"token":"\#(token.prefix { $0 != "\n" })"}}"#)
            #expect(
                known["status", "user", "username"] == "system:serviceaccount:default:s")
        }
    }
}

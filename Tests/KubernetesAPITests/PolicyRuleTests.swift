import JSON
import KubernetesAPI
import NetworkTypes
import Testing

/// What is refused of kinds that are kept for others to act on, in Kubernetes' words.
@Suite struct PolicyRuleTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var apiVersion: String
        var kind: String
        /// The spec as JSON.
        var spec: String
        /// The faults, one a line; empty where it is sound.
        var faults: String
        var testDescription: String { "\(kind) \(spec)" }
    }

    private static func backend(_ port: String) -> String {
        #"{"service":{"name":"web","port":\#(port)}}"#
    }

    private static func ingress(_ spec: String, _ faults: String) -> Case {
        Case(apiVersion: "networking.k8s.io/v1", kind: "Ingress", spec: spec, faults: faults)
    }

    private static func policy(_ spec: String, _ faults: String) -> Case {
        Case(
            apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", spec: spec, faults: faults)
    }

    private static func budget(_ spec: String, _ faults: String) -> Case {
        Case(apiVersion: "policy/v1", kind: "PodDisruptionBudget", spec: spec, faults: faults)
    }

    private static func path(_ text: String, _ type: String) -> String {
        #"{"rules":[{"host":"a.example","http":{"paths":[{"path":"\#(text)","pathType":"\#(type)","#
            + #""backend":\#(backend(#"{"number":80}"#))}]}}]}"#
    }

    static let cases: [Case] = [
        ingress(#"{"defaultBackend":\#(backend(#"{"number":80}"#))}"#, ""),
        ingress(
            "{}",
            "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"),
        ingress(
            #"{"defaultBackend":\#(backend("{}"))}"#,
            "spec.defaultBackend: Required value: port name or number is required"),
        ingress(
            #"{"defaultBackend":\#(backend(#"{"number":80,"name":"http"}"#))}"#,
            #"spec.defaultBackend: Invalid value: "": cannot set both port name & port number"#),
        ingress(path("/", "Prefix"), ""),
        ingress(path("", "ImplementationSpecific"), ""),
        ingress(
            path("x", "Exact"),
            #"spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path"#),
        ingress(
            #"{"rules":[{"host":"10.0.0.1"}]}"#,
            #"spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address"#
        ),
        policy(#"{"podSelector":{}}"#, ""),
        policy(
            #"{"podSelector":{},"policyTypes":["Sideways"]}"#,
            #"spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Egress", "#
                + #""Ingress""#),
        policy(
            #"{"podSelector":{},"ingress":[{"from":[{}]}]}"#,
            "spec.ingress[0].from[0]: Required value: must specify a peer"),
        policy(
            #"{"podSelector":{},"egress":[{"ports":[{"port":90,"endPort":80}]}]}"#,
            "spec.egress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to "
                + "`port`"),
        policy(
            #"{"podSelector":{},"egress":[{"to":[{"ipBlock":{"cidr":"10.0.0.0/8","#
                + #""except":["11.0.0.0/24"]}}]}]}"#,
            #"spec.egress[0].to[0].ipBlock.except[0]: Invalid value: "11.0.0.0/24": must be a "#
                + "strict subset of `cidr`"),
        budget(#"{"minAvailable":1}"#, ""), budget(#"{"maxUnavailable":"30%"}"#, ""),
        budget(
            #"{"maxUnavailable":1,"minAvailable":1}"#,
            #"spec: Invalid value: {"maxUnavailable":1,"minAvailable":1}: minAvailable and "#
                + "maxUnavailable cannot be both set"),
        budget(
            #"{"minAvailable":-1}"#,
            "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"),
        budget(
            #"{"minAvailable":"130%"}"#,
            #"spec.minAvailable: Invalid value: "130%": must not be greater than 100%"#),
        Case(
            apiVersion: "networking.k8s.io/v1", kind: "IngressClass", spec: "{}",
            faults: "spec.controller: Required value"),
        Case(
            apiVersion: "networking.k8s.io/v1", kind: "IngressClass",
            spec: #"{"controller":"example.com/x"}"#, faults: ""),
        Case(
            apiVersion: "v1", kind: "ReplicationController",
            spec: #"{"selector":{"a":"b"},"template":{"metadata":{"labels":{"a":"c"}},"#
                + #""spec":{"containers":[{"name":"c","image":"x"}]}}}"#,
            faults:
                #"spec.template.metadata.labels: Invalid value: {"a":"c"}: `selector` does not "#
                + "match template `labels`"),
        Case(
            apiVersion: "batch/v1", kind: "Job",
            spec: #"{"parallelism":-1,"template":{"spec":{"restartPolicy":"Never","#
                + #""containers":[{"name":"c","image":"x"}]}}}"#,
            faults: "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
    ]

    @Test(arguments: cases) func specs(_ example: Case) throws {
        let json: JSONValue = [
            "apiVersion": .string(example.apiVersion), "kind": .string(example.kind),
            "metadata": ["name": "x", "namespace": "default"],
            "spec": try JSONValue(parsing: example.spec),
        ]
        let (_, errors, unknown) = try created(json)
        #expect(errors.map(\.description).joined(separator: "\n") == example.faults)
        #expect(unknown.isEmpty)
    }

    @Test func statefulSetsChangeInSomeFieldsOnly() throws {
        let old = try created(
            [
                "apiVersion": "apps/v1", "kind": "StatefulSet",
                "metadata": ["name": "x", "namespace": "default"],
                "spec": [
                    "serviceName": "a", "selector": ["matchLabels": ["a": "b"]],
                    "template": [
                        "metadata": ["labels": ["a": "b"]],
                        "spec": ["containers": [["name": "c", "image": "x"]]],
                    ],
                ],
            ]
        ).object
        let kind = try kind(of: old)
        var new = old
        new["spec", "replicas"] = 3
        #expect(kind.validateUpdate(old: old, new: new).isEmpty)
        new["spec", "serviceName"] = "b"
        let faults = kind.validateUpdate(old: old, new: new).map(\.description)
        #expect(faults.count == 1)
        #expect(
            faults.first?.hasPrefix(
                "spec: Forbidden: updates to statefulset spec for fields other than 'replicas'")
                == true)
    }

    // MARK: - Repair

    @Test func repairFindsPortsThatAreTwiceOrOutside() throws {
        func node(_ name: String, _ port: Int64, _ health: Int64? = nil) -> JSONValue {
            service(name) {
                $0["spec", "type"] = "LoadBalancer"
                $0["spec", "ports"] = [["port": 80, "nodePort": .integer(port)]]
                $0["spec", "clusterIPs"] = []
                $0["spec", "healthCheckNodePort"] = health.map { .integer($0) }
            }
        }
        let repair = ServiceRepair(
            ranges: [try #require(Prefix("10.96.0.0/16"))], nodePortRange: 30000...32767)
        let faults = repair.faults(
            services: [
                node("a", 30001, 30002), node("b", 30002), node("c", 29999), node("d", 30001),
            ], addresses: [])
        #expect(
            faults.map { "\($0.service.name) \($0.kind.rawValue) \($0.value)" } == [
                "b port_duplicate 30002", "c port_out_of_range 29999", "d port_duplicate 30001",
            ])
        #expect(
            faults.first?.event.message
                == "Port 30002 was assigned to multiple services; please recreate service")
        #expect(repair.faults(services: [node("a", 30001)], addresses: []).isEmpty)
    }
}

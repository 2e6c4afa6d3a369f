import JSON
import Testing

@testable import KubernetesAPI

@Suite struct KindTests {
    @Test func theSchemaTablesAreSound() {
        #expect(BuiltInKinds.library.faults.isEmpty)
        for kind in KindRegistry.builtIn.all {
            #expect(kind.schema.form == .object, "\(kind.resource) has no schema")
            #expect(kind.schema.field("metadata") != nil)
            #expect(
                kind.printedRow(["metadata": ["name": "x"]], now: Timestamp(seconds: 0)).count
                    == kind.columns.count, "\(kind.resource): cells do not match the columns")
        }
    }

    @Test func lookUps() throws {
        let registry = KindRegistry.builtIn
        let kind = try #require(registry[apiVersion: "apps/v1", kind: "Deployment"])
        #expect(kind.resource == .deployments)
        #expect(registry[group: "apps", version: "v1", plural: "deployments"] != nil)
        #expect(registry[group: "apps", version: "v2", plural: "deployments"] == nil)
        #expect(registry[.services]?.shortNames == ["svc"])
        #expect(registry.groups.first?.group == "")
    }

    @Test func aDeploymentGetsItsDefaults() throws {
        let (object, errors, unknown) = try created([
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": ["name": "web"],
            "spec": [
                "selector": ["matchLabels": ["app": "web"]],
                "template": [
                    "metadata": ["labels": ["app": "web"]],
                    "spec": [
                        "containers": [
                            [
                                "name": "a", "image": "portolan/hostname",
                                "ports": [["containerPort": 80]],
                                "readinessProbe": ["httpGet": ["port": 80]],
                            ]
                        ]
                    ],
                ],
            ],
        ])
        #expect(errors.isEmpty)
        #expect(unknown.isEmpty)
        #expect(object["spec", "replicas"] == 1)
        #expect(object["metadata", "generation"] == 1)
        #expect(object["spec", "strategy", "type"] == "RollingUpdate")
        #expect(object["spec", "strategy", "rollingUpdate", "maxSurge"] == "25%")
        let pod = object["spec", "template", "spec"]
        #expect(pod?["restartPolicy"] == "Always")
        #expect(pod?["terminationGracePeriodSeconds"] == 30)
        let container = pod?["containers"]?[0]
        #expect(container?["imagePullPolicy"] == "Always")
        #expect(container?["ports"]?[0]?["protocol"] == "TCP")
        #expect(container?["readinessProbe", "periodSeconds"] == 10)
        #expect(container?["readinessProbe", "httpGet", "scheme"] == "HTTP")
    }

    @Test func unknownFieldsAreNamedAndDropped() throws {
        let (object, _, unknown) = try created(
            service {
                $0["spec", "foo"] = 1
                $0["spec", "ports"] = [["port": 80, "bar": true]]
            })
        #expect(unknown.sorted() == ["spec.foo", "spec.ports[0].bar"])
        #expect(object["spec", "foo"] == nil)
        let error = try #require(
            StrictDecoder.strictError(.services, unknown: ["spec.foo"], duplicates: []))
        #expect(
            error.message == "Service in version \"v1\" cannot be handled as a Service: "
                + "strict decoding error: unknown field \"spec.foo\"")
        #expect(error.code == 400)
    }

    /// A Service with a value of a wrong type at `path`.
    struct WrongType: Sendable {
        let path: [String]
        let value: JSONValue
        let text: String
    }

    static let wrongTypes: [WrongType] = [
        WrongType(
            path: ["spec", "ports"], value: [["port": "80"]],
            text: "string into Go struct field ServicePort.spec.ports.port of type int32"),
        WrongType(
            path: ["spec", "ports"], value: [["port": JSONValue.number("80.5")]],
            text: "number 80.5 into Go struct field ServicePort.spec.ports.port of type int32"),
        WrongType(
            path: ["spec", "type"], value: 5,
            text: "number into Go struct field ServiceSpec.spec.type of type string"),
        WrongType(
            path: ["spec", "ports"], value: "x",
            text: "string into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort"),
        WrongType(
            path: ["metadata", "labels"], value: ["a": 1],
            text: "number into Go struct field ObjectMeta.metadata.labels.a of type string"),
    ]

    @Test(arguments: wrongTypes) func wrongTypesAreNamedAsGoDoes(_ example: WrongType) throws {
        var object = service()
        object.set(example.value, at: example.path)
        let kind = try kind(of: object)
        let error = #expect(throws: StatusError.self) { try kind.decode(object) }
        #expect(error?.code == 400)
        #expect(
            error?.message == "Service in version \"v1\" cannot be handled as a Service: json: "
                + "cannot unmarshal " + example.text)
    }
}

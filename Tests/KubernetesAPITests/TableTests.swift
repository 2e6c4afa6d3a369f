import JSON
import Testing

@testable import KubernetesAPI

@Suite struct TableTests {
    let now = Timestamp(seconds: 1_800_000_000)

    private func cells(_ resource: Resource, _ text: String) throws -> [String] {
        let kind = try #require(KindRegistry.builtIn[resource])
        return kind.printedRow(try JSONValue(parsing: text), now: now).map {
            $0.string ?? $0.serializedText
        }
    }

    @Test func services() throws {
        #expect(
            try cells(
                .services,
                #"""
                {"metadata":{"name":"web","creationTimestamp":"2027-01-15T07:58:30Z"},
                 "spec":{"type":"NodePort","clusterIPs":["10.96.0.5"],
                 "ports":[{"port":8080,"nodePort":31000,"protocol":"TCP"}],
                 "selector":{"b":"2","a":"1"}}}
                """#)
                == ["web", "NodePort", "10.96.0.5", "<none>", "8080:31000/TCP", "90s", "a=1,b=2"])
        #expect(
            try cells(.services, #"{"metadata":{"name":"l"},"spec":{"type":"LoadBalancer"}}"#)
                == ["l", "LoadBalancer", "<none>", "<pending>", "<none>", "<unknown>", "<none>"])
        #expect(
            try cells(
                .services,
                #"{"metadata":{"name":"e"},"spec":{"type":"ExternalName","externalName":"a.b"}}"#
            )[3] == "a.b")
    }

    struct PodCase: Sendable {
        let status: String
        let ready: String
        let reason: String
    }

    static let podCases: [PodCase] = [
        PodCase(status: #"{"phase":"Pending"}"#, ready: "0/1", reason: "Pending"),
        PodCase(
            status: #"""
                {"phase":"Running","containerStatuses":[{"name":"a","ready":true,
                "state":{"running":{}}}]}
                """#, ready: "1/1", reason: "Running"),
        PodCase(
            status: #"""
                {"phase":"Pending","containerStatuses":[{"name":"a","ready":false,
                "state":{"waiting":{"reason":"ErrImagePull"}}}]}
                """#, ready: "0/1", reason: "ErrImagePull"),
        PodCase(
            status: #"""
                {"phase":"Failed","containerStatuses":[{"name":"a",
                "state":{"terminated":{"exitCode":3}}}]}
                """#, ready: "0/1", reason: "ExitCode:3"),
        PodCase(
            status: #"""
                {"phase":"Pending","initContainerStatuses":[{"name":"i",
                "state":{"waiting":{"reason":"PodInitializing"}}}]}
                """#, ready: "0/1", reason: "Init:0/1"),
    ]

    @Test(arguments: podCases) func pods(_ example: PodCase) throws {
        let cells = try cells(
            .pods,
            #"""
            {"metadata":{"name":"p"},"spec":{"containers":[{"name":"a"}],
            "initContainers":[{"name":"i"}]},"status":
            """# + example.status + "}")
        #expect(cells[1] == example.ready)
        #expect(cells[2] == example.reason)
    }

    @Test func aPodThatIsBeingDeletedIsTerminating() throws {
        let cells = try cells(
            .pods,
            #"""
            {"metadata":{"deletionTimestamp":"2027-01-15T07:58:30Z"},
             "status":{"phase":"Running"}}
            """#
        )
        #expect(cells[2] == "Terminating")
    }

    @Test(arguments: [
        (Int64(-5), "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (599, "9m59s"),
        (600, "10m"), (10_799, "179m"), (10_800, "3h"), (11_000, "3h3m"), (28_800, "8h"),
        (172_799, "47h"), (172_800, "2d"), (180_000, "2d2h"), (691_200, "8d"),
        (63_072_000, "2y"), (70_000_000, "2y80d"), (252_288_000, "8y"),
    ])
    func durations(seconds: Int64, text: String) {
        #expect(Cells.duration(seconds: seconds) == text)
    }

    @Test func tablesHaveColumnsAndRows() throws {
        let kind = try #require(KindRegistry.builtIn[.endpointSlices])
        let object: JSONValue = [
            "metadata": ["name": "web-x"], "addressType": "IPv4", "ports": [["port": 80]],
            "endpoints": [
                ["addresses": ["10.0.0.1"]], ["addresses": ["10.0.0.2"]],
                ["addresses": ["10.0.0.3"]], ["addresses": ["10.0.0.4"]],
            ],
        ]
        let table = kind.table(
            [object], listMetadata: ["resourceVersion": "7"], version: "v1beta1", now: now)
        #expect(table["apiVersion"] == "meta.k8s.io/v1beta1")
        #expect(table["columnDefinitions"]?[0]?["format"] == "name")
        #expect(
            table["rows"]?[0]?["cells"]?.array?.prefix(4)
                == ["web-x", "IPv4", "80", "10.0.0.1,10.0.0.2,10.0.0.3 + 1 more..."])
        #expect(table["rows"]?[0]?["object", "kind"] == "PartialObjectMetadata")
    }

    @Test func timesReadAndWrite() {
        for text in ["2026-01-02T03:04:05Z", "1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z"] {
            #expect(Timestamp(text)?.description == text)
        }
        #expect(
            Timestamp("2026-01-02T03:04:05.678901Z")?.microTimeText == "2026-01-02T03:04:05.678901Z"
        )
        #expect(Timestamp("2026-01-02T03:04:05+02:00")?.description == "2026-01-02T01:04:05Z")
        for text in ["", "2026", "2026-01-02 03:04:05Z", "2026-13-02T03:04:05Z", "x"] {
            #expect(Timestamp(text) == nil)
        }
    }
}

@Suite struct CustomResourceTests {
    @Test func aDefinitionMakesAKind() throws {
        let definition = try JSONValue(
            parsing: #"""
                {"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
                 "metadata":{"name":"boats.example.com"},"spec":{"group":"example.com",
                 "scope":"Namespaced","names":{"plural":"boats","kind":"Boat","shortNames":["bt"]},
                 "versions":[{"name":"v1","served":true,"storage":true,
                 "subresources":{"status":{},"scale":{"specReplicasPath":".spec.oars",
                 "statusReplicasPath":".status.oars"}},
                 "additionalPrinterColumns":[
                 {"name":"Oars","type":"integer","jsonPath":".spec.oars"}],
                 "schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object",
                 "required":["oars"],"properties":{"oars":{"type":"integer","minimum":1},
                 "colour":{"type":"string","default":"red","enum":["red","blue"]}}},
                 "status":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}]}}
                """#)
        let (object, errors, unknown) = try created(definition)
        #expect(errors.isEmpty && unknown.isEmpty)
        #expect(object["spec", "names", "listKind"] == "BoatList")
        var registry = KindRegistry.builtIn
        for kind in CustomResourceRules.kinds(of: object) { registry.add(kind) }
        let boat: JSONValue = [
            "apiVersion": "example.com/v1", "kind": "Boat", "metadata": ["name": "b"],
            "spec": ["oars": 4, "sail": true],
        ]
        let made = try created(boat, registry: registry)
        #expect(made.errors.isEmpty)
        #expect(made.unknown == ["spec.sail"])
        #expect(made.object["spec", "colour"] == "red")
        let kind = try #require(registry[group: "example.com", version: "v1", plural: "boats"])
        #expect(
            kind.printedRow(made.object, now: Timestamp(seconds: 0)) == ["b", 4])
        #expect(kind.scale?.specReplicas == ["spec", "oars"])
        var bad = boat
        bad["spec"] = ["oars": 0, "colour": "green"]
        #expect(try created(bad, registry: registry).errors.count == 2)
        #expect(OpenAPI.v3Document(registry, path: "apis/example.com/v1") != nil)
        registry.remove(qualifiedName: "boats.example.com")
        #expect(registry[apiVersion: "example.com/v1", kind: "Boat"] == nil)
    }
}

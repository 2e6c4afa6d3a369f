import JSON
import Testing

@testable import KubernetesAPI

@Suite struct OpenAPITests {
    @Test func theIndexNamesEveryDocument() throws {
        let paths = try #require(OpenAPI.v3Index(.builtIn)["paths"]?.object)
        #expect(paths["api/v1"] != nil)
        #expect(paths["apis/apps/v1"] != nil)
        #expect(OpenAPI.v3Document(.builtIn, path: "apis/none/v1") == nil)
    }

    @Test func everyReferenceIsDefined() throws {
        let registry = KindRegistry.builtIn
        for path in OpenAPI.v3Paths(registry) {
            let document = try #require(OpenAPI.v3Document(registry, path: path))
            let components = try #require(document["components"]?.object)
            for reference in references(document) {
                // #/components/PART/NAME
                let parts = reference.split(separator: "/", maxSplits: 3).map(String.init)
                #expect(
                    components[parts[2]]?[parts[3]] != nil, "\(path): \(reference) is nowhere")
            }
        }
        let document = OpenAPI.v2Document(registry)
        let defined = Set(document["definitions"]?.object?.keys ?? [])
        for reference in references(document) {
            #expect(defined.contains(String(reference.dropFirst("#/definitions/".count))))
        }
    }

    private func references(_ value: JSONValue) -> Set<String> {
        switch value {
        case .object(let members):
            var found: Set<String> = []
            for (key, member) in members {
                if key == "$ref", let text = member.string { found.insert(text) }
                found.formUnion(references(member))
            }
            return found
        case .array(let elements): return Set(elements.flatMap(references))
        default: return []
        }
    }

    @Test func patchesAdvertiseFieldValidationAndDryRun() throws {
        let document = try #require(OpenAPI.v3Document(.builtIn, path: "api/v1"))
        let patch = try #require(
            document["paths"]?["/api/v1/namespaces/{namespace}/services/{name}"]?["patch"])
        let names = (patch["parameters"]?.array ?? []).compactMap { $0["name"]?.string }
        #expect(names.contains("fieldValidation") && names.contains("dryRun"))
        #expect(patch["x-kubernetes-action"] == "patch")
        #expect(patch["x-kubernetes-group-version-kind", "kind"] == "Service")
        let ports = document["components", "schemas"]?["io.k8s.api.core.v1.ServiceSpec"]?[
            "properties", "ports"]
        #expect(ports?["x-kubernetes-patch-merge-key"] == "port")
        #expect(ports?["x-kubernetes-list-map-keys"] == ["port", "protocol"])
        #expect(ports?["x-kubernetes-patch-strategy"] == "merge")
    }

    @Test func protobufGoldenBytes() {
        let document: JSONValue = [
            "swagger": "2.0", "info": ["title": "K", "version": "v"],
            "definitions": ["A": ["type": "string", "x-a": true]],
        ]
        let expected: [UInt8] = [
            0x0A, 3, 0x32, 0x2E, 0x30,  // swagger = 1: "2.0"
            0x12, 6, 0x0A, 1, 0x4B, 0x12, 1, 0x76,  // info = 2: title = 1, version = 2
            0x42, 0,  // paths = 8: none
            0x4A, 35,  // definitions = 9
            0x0A, 33,  // additional_properties = 1
            0x0A, 1, 0x41,  // name = 1: "A"
            0x12, 28,  // value = 2: a Schema
            0xB2, 1, 8,  // type = 22
            0x0A, 6, 0x73, 0x74, 0x72, 0x69, 0x6E, 0x67,  // value = 1: "string"
            0xFA, 1, 14,  // vendor_extension = 31
            0x0A, 3, 0x78, 0x2D, 0x61,  // name = 1: "x-a"
            0x12, 7,  // value = 2: an Any
            0x12, 5, 0x74, 0x72, 0x75, 0x65, 0x0A,  // yaml = 2: "true" and a line feed
        ]
        #expect(OpenAPIProtobuf.encode(document) == expected)
        #expect(OpenAPI.v2Protobuf(.builtIn).count > 10_000)
    }
}

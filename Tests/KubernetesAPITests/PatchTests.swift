import JSON
import KubernetesAPI
import Testing

/// Golden examples of the three patches: object, patch, result.
@Suite struct PatchTests {
    struct Example: Sendable, CustomTestStringConvertible {
        let name: String
        let object: String
        let patch: String
        let result: String
        var testDescription: String { name }
    }

    static let mergeExamples: [Example] = [
        Example(
            name: "nested members merge, null removes", object: #"{"a":{"b":1,"c":2},"d":3}"#,
            patch: #"{"a":{"b":null,"e":[1]},"d":"x"}"#, result: #"{"a":{"c":2,"e":[1]},"d":"x"}"#),
        Example(
            name: "nulls do not survive in new members", object: "{}",
            patch: #"{"a":{"b":null,"c":{"d":null}}}"#, result: #"{"a":{"c":{}}}"#),
        Example(
            name: "arrays are replaced", object: #"{"a":[1,2]}"#, patch: #"{"a":[3]}"#,
            result: #"{"a":[3]}"#),
    ]

    @Test(arguments: mergeExamples) func merge(_ example: Example) throws {
        let result = Patch.mergePatch(
            try JSONValue(parsing: example.patch), to: try JSONValue(parsing: example.object))
        #expect(result == (try JSONValue(parsing: example.result)))
    }

    static let jsonExamples: [Example] = [
        Example(
            name: "add, replace, remove", object: #"{"a":{"b":[1,3]},"c":1}"#,
            patch: #"""
                [{"op":"add","path":"/a/b/1","value":2},{"op":"add","path":"/a/b/-","value":4},
                 {"op":"replace","path":"/c","value":{"x":null}},{"op":"remove","path":"/a/b/0"}]
                """#,
            result: #"{"a":{"b":[2,3,4]},"c":{"x":null}}"#),
        Example(
            name: "escaped names, test, move, copy", object: #"{"a/b":1,"m~n":[2]}"#,
            patch: #"""
                [{"op":"test","path":"/a~1b","value":1},{"op":"move","from":"/a~1b","path":"/c"},
                 {"op":"copy","from":"/m~0n/0","path":"/m~0n/-"}]
                """#,
            result: #"{"m~n":[2,2],"c":1}"#),
    ]

    @Test(arguments: jsonExamples) func json(_ example: Example) throws {
        let result = try Patch.jsonPatch(
            try JSONValue(parsing: example.patch), to: try JSONValue(parsing: example.object))
        #expect(result == (try JSONValue(parsing: example.result)))
    }

    @Test(arguments: [
        (#"[{"op":"remove","path":"/x"}]"#, 422), (#"[{"op":"test","path":"/a","value":2}]"#, 422),
        (#"[{"op":"replace","path":"/x","value":1}]"#, 422), (#"{"op":"add"}"#, 400),
        (#"[{"op":"grow","path":"/a"}]"#, 400), (#"[{"op":"add","path":"a","value":1}]"#, 400),
        (#"[{"op":"add","path":"/l/3","value":1}]"#, 422),
        (#"[{"op":"add","path":"/l/01","value":1}]"#, 422),
        (#"[{"op":"move","from":"/o","path":"/o/p"}]"#, 422),
    ])
    func unfitJSONPatches(patch: String, code: Int) throws {
        let object: JSONValue = ["a": 1, "l": [1], "o": [:]]
        let patch = try JSONValue(parsing: patch)
        #expect(throws: StatusError.self) { try Patch.jsonPatch(patch, to: object) }
        do { _ = try Patch.jsonPatch(patch, to: object) } catch { #expect(error.code == code) }
    }

    // MARK: - Strategic merge

    static let strategicExamples: [Example] = [
        Example(
            name: "containers merge by name",
            object: #"{"spec":{"containers":[{"name":"a","image":"x"},{"name":"b","image":"y"}]}}"#,
            patch: #"{"spec":{"containers":[{"name":"b","image":"z"},{"name":"c"}]}}"#,
            result: #"""
                {"spec":{"containers":[{"name":"a","image":"x"},{"name":"b","image":"z"},
                {"name":"c"}]}}
                """#),
        Example(
            name: "an element is deleted by directive",
            object: #"{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}"#,
            patch: #"{"spec":{"containers":[{"$patch":"delete","name":"a"}]}}"#,
            result: #"{"spec":{"containers":[{"name":"b"}]}}"#),
        Example(
            name: "a list is replaced by directive",
            object: #"{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}"#,
            patch: #"{"spec":{"containers":[{"name":"c"},{"$patch":"replace"}]}}"#,
            result: #"{"spec":{"containers":[{"name":"c"}]}}"#),
        Example(
            name: "an object is replaced by directive",
            object: #"{"spec":{"securityContext":{"runAsUser":1,"fsGroup":2}}}"#,
            patch: #"{"spec":{"securityContext":{"$patch":"replace","runAsUser":3}}}"#,
            result: #"{"spec":{"securityContext":{"runAsUser":3}}}"#),
        Example(
            name: "retainKeys drops the others",
            object: #"{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}}"#,
            patch: #"""
                {"spec":{"volumes":[{"$retainKeys":["name","hostPath"],"name":"v",
                "hostPath":{"path":"/x"}}]}}
                """#,
            result: #"{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/x"}}]}}"#),
        Example(
            name: "scalars merge and are deleted",
            object: #"{"metadata":{"finalizers":["a","b"]}}"#,
            patch: #"""
                {"metadata":{"finalizers":["c"],"$deleteFromPrimitiveList/finalizers":["a"]}}
                """#,
            result: #"{"metadata":{"finalizers":["b","c"]}}"#),
        Example(
            name: "the order is set, others keep their places",
            object: #"{"spec":{"containers":[{"name":"a"},{"name":"s"},{"name":"b"}]}}"#,
            patch: #"""
                {"spec":{"$setElementOrder/containers":[{"name":"c"},{"name":"b"},{"name":"a"}],
                "containers":[{"name":"c"}]}}
                """#,
            result: #"""
                {"spec":{"containers":[{"name":"s"},{"name":"c"},{"name":"b"},{"name":"a"}]}}
                """#),
        Example(
            name: "atomic lists are replaced",
            object: #"{"spec":{"tolerations":[{"key":"a"}]}}"#,
            patch: #"{"spec":{"tolerations":[{"key":"b"}]}}"#,
            result: #"{"spec":{"tolerations":[{"key":"b"}]}}"#),
        Example(
            name: "null removes", object: #"{"spec":{"nodeName":"x","hostname":"y"}}"#,
            patch: #"{"spec":{"nodeName":null}}"#, result: #"{"spec":{"hostname":"y"}}"#),
    ]

    @Test(arguments: strategicExamples) func strategic(_ example: Example) throws {
        let kind = try #require(KindRegistry.builtIn[.pods])
        let result = try Patch.apply(
            .strategicMerge, try JSONValue(parsing: example.patch),
            to: try JSONValue(parsing: example.object), kind: kind)
        #expect(result == (try JSONValue(parsing: example.result)), "\(result.serializedText)")
    }

    @Test func portsOfOneNumberAreToldApartByProtocol() throws {
        let kind = try #require(KindRegistry.builtIn[.services])
        let object = try JSONValue(
            parsing:
                #"{"spec":{"ports":[{"port":53,"protocol":"TCP"},{"port":53,"protocol":"UDP"}]}}"#)
        let patch = try JSONValue(
            parsing: #"{"spec":{"ports":[{"port":53,"protocol":"UDP","name":"dns"}]}}"#)
        let result = try Patch.apply(.strategicMerge, patch, to: object, kind: kind)
        #expect(result["spec", "ports"]?[0]?["name"] == nil)
        #expect(result["spec", "ports"]?[1]?["name"] == "dns")
    }

    @Test func anElementNeedsItsMergeKey() throws {
        let kind = try #require(KindRegistry.builtIn[.pods])
        let patch: JSONValue = ["spec": ["containers": [["image": "x"]]]]
        #expect(throws: StatusError.self) {
            try Patch.apply(.strategicMerge, patch, to: ["spec": [:]], kind: kind)
        }
    }

    @Test func aMergePatchOfADifferenceRestoresTheTarget() {
        var generator = SeededGenerator(seed: 42)
        for _ in 0..<500 {
            let source = JSONValue.random(depth: 4, using: &generator)
            let target = JSONValue.random(depth: 4, using: &generator)
            let patch = difference(from: source, to: target)
            #expect(Patch.mergePatch(patch, to: source) == target)
        }
    }
}

/// The merge patch that makes `target` of `source` (objects without nulls).
private func difference(from source: JSONValue, to target: JSONValue) -> JSONValue {
    guard case .object(let old) = source, case .object(let new) = target else { return target }
    var patch = JSONObject()
    for key in old.keys where new[key] == nil { patch[key] = .null }
    for (key, value) in new where old[key] != value {
        patch[key] = difference(from: old[key] ?? [:], to: value)
    }
    return .object(patch)
}

/// A generator whose numbers a seed decides (splitmix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

extension JSONValue {
    /// An object of small values without nulls.
    static func random(depth: Int, using generator: inout SeededGenerator) -> JSONValue {
        var members = JSONObject()
        for _ in 0..<Int.random(in: 0...4, using: &generator) {
            let key = String(UnicodeScalar(UInt8.random(in: 97...102, using: &generator)))
            switch Int.random(in: 0...(depth > 0 ? 4 : 3), using: &generator) {
            case 0: members[key] = .integer(Int64.random(in: 0...3, using: &generator))
            case 1: members[key] = .string("s\(Int.random(in: 0...3, using: &generator))")
            case 2: members[key] = .array([true, .integer(1)])
            case 3: members[key] = .bool(Bool.random(using: &generator))
            default: members[key] = random(depth: depth - 1, using: &generator)
            }
        }
        return .object(members)
    }
}

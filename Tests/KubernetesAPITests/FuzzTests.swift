import Glibc
import JSON
import KubernetesAPI
import NetworkTypes
import Testing

/// Mutated texts through everything that reads what clients send: nothing may crash, and what was
/// accepted once must be accepted again. `PORTOLAN_SOAK=1` makes it a soak.
@Suite struct FuzzTests {
    static let count = getenv("PORTOLAN_SOAK") == nil ? 2_000 : 500_000

    private static let objects: [String] = [
        #"""
        {"apiVersion":"v1","kind":"Service","metadata":{"name":"web","labels":{"a":"b"}},
        "spec":{"type":"LoadBalancer","ports":[{"name":"a","port":80,"targetPort":"http"}],
        "externalTrafficPolicy":"Local","sessionAffinity":"ClientIP","clusterIP":"10.96.0.9",
        "ipFamilyPolicy":"PreferDualStack","loadBalancerSourceRanges":["10.0.0.0/8"]}}
        """#,
        #"""
        {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":3,
        "selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{
        "containers":[{"name":"c","image":"x:y","ports":[{"containerPort":80}],
        "resources":{"limits":{"cpu":"100m"}},"env":[{"name":"E","value":"1"}]}]}}}}
        """#,
        #"""
        {"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"s"},
        "addressType":"IPv4","ports":[{"port":80}],"endpoints":[{"addresses":["10.0.0.1"],
        "conditions":{"ready":true},"hints":{"forZones":[{"name":"z"}]}}]}
        """#,
    ]
    private static let selectors = ["a=b,c!=d,e in (f,g),!h,i>3", "metadata.name=a,spec.type!=b"]

    @Test func mutatedObjects() throws {
        var generator = SeededGenerator(seed: 7)
        let prefix = try #require(Prefix("10.96.0.0/16"))
        let allocator = ServiceAllocator(clusterRanges: [prefix])
        var accepted = 0
        for index in 0..<Self.count {
            let original = Self.objects[index % Self.objects.count]
            let bytes = Self.mutated(Array(original.utf8), using: &generator)
            guard let json = try? JSONValue(parsing: bytes) else { continue }
            #expect(try JSONValue(parsing: json.serializedBytes) == json)
            let source = try JSONValue(parsing: original)
            let kind = try kind(of: source)
            _ = Patch.mergePatch(json, to: source)
            _ = try? Patch.apply(.strategicMerge, json, to: source, kind: kind)
            _ = try? Patch.apply(.json, json, to: source, kind: kind)
            guard let decoded = try? kind.decode(json) else { continue }
            let object = kind.defaulted(decoded.object)
            #expect(kind.defaulted(object) == object, "defaults are not idempotent")
            let now = Timestamp(seconds: 1)
            _ = kind.printedRow(object, now: now)
            _ = try? ServerSideApply.apply(
                decoded.object, to: source, kind: kind, manager: "m", force: true, now: now)
            var new = object
            kind.prepareForUpdate(old: source, new: &new)
            if kind.resource == .services {
                ServiceRules.prepareForUpdate(old: source, new: &new)
                _ = try? allocator.plan(new, old: source)
                _ = try? Service(json: new)
            }
            ManagedFields.track(old: source, new: &new, kind: kind, manager: "m", now: now)
            if kind.validateUpdate(old: source, new: new).isEmpty { accepted += 1 }
        }
        #expect(accepted > 0)
    }

    @Test func mutatedSelectors() throws {
        var generator = SeededGenerator(seed: 8)
        for index in 0..<Self.count {
            let bytes = Self.mutated(
                Array(Self.selectors[index % 2].utf8), using: &generator)
            let text = String(decoding: bytes, as: UTF8.self)
            _ = try? FieldSelector(parsing: text)
            _ = JSONPath(text)?.values(in: ["a": ["b": [1, 2]]])
            _ = Timestamp(text)
            _ = Base64.decode(text)
            guard let selector = try? LabelSelector(parsing: text) else { continue }
            let again = try LabelSelector(parsing: selector.description)
            #expect(again.description == selector.description, "\(text)")
        }
    }

    /// A few bytes changed, removed, doubled or replaced by what parsers stumble over.
    private static func mutated(
        _ bytes: [UInt8], using generator: inout SeededGenerator
    ) -> [UInt8] {
        let snippets = [
            "null", "{}", "[]", "-1", "99999999999999999999", "1e999", "\"\"", "\"None\"", "true",
            "\"\\u0000\"", "[[[[", "\"$patch\":\"delete\"", "\"a/b/c\"", "{\"op\":\"add\"}",
        ]
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...3, using: &generator) {
            guard !bytes.isEmpty else { break }
            let place = Int.random(in: 0..<bytes.count, using: &generator)
            let end = min(bytes.count, place + Int.random(in: 0...6, using: &generator))
            switch Int.random(in: 0...4, using: &generator) {
            case 0: bytes[place] = UInt8.random(in: 32...126, using: &generator)
            case 1: bytes.removeSubrange(place..<end)
            case 2: bytes.insert(contentsOf: bytes[place..<end], at: place)
            default: replaceValue(near: place, in: &bytes, snippets, &generator)
            }
        }
        return bytes
    }

    /// Puts a snippet in place of the value after the next colon, so that the text often stays JSON.
    private static func replaceValue(
        near place: Int, in bytes: inout [UInt8], _ snippets: [String],
        _ generator: inout SeededGenerator
    ) {
        guard let colon = bytes[place...].firstIndex(of: UInt8(ascii: ":")),
            let snippet = snippets.randomElement(using: &generator)
        else { return }
        let stops = Array(",}]".utf8)
        let end = bytes[(colon + 1)...].firstIndex { stops.contains($0) } ?? bytes.endIndex
        bytes.replaceSubrange((colon + 1)..<end, with: Array(snippet.utf8))
    }
}

import FuzzSupport
import Glibc
import JSON
import KubernetesAPI
import SPDY

// Feeds what reads clients' bytes with COUNT mutated inputs, made from a seed, and checks what must
// hold of each: no crash, JSON and selectors come back as they were read, a merge patch applied twice
// is one applied once, and SPDY makes no more events than it got bytes. The HTTP surface itself is
// fuzzed by `HTTPFuzzTests` of the main package, which can reach it.
//
//     APIFuzz [COUNT] [SEED] [CORPUS-DIRECTORY]
//
// An input that breaks a rule is written to the corpus directory and the exit code is 1. Every file
// that is in the directory at the start is tried first, so that a fault once found stays fixed. The
// first byte of an input says what reads it, so the files fit libFuzzer as well.

let arguments = CommandLine.arguments
let count = arguments.count > 1 ? Int(arguments[1]) ?? 1_000_000 : 1_000_000
let seed = arguments.count > 2 ? UInt64(arguments[2]) ?? 1 : 1
let corpus = Corpus(directory: arguments.count > 3 ? arguments[3] : nil)
var mutator = Mutator(seed: seed)
let readers = try Readers()
var failures = 0

for input in corpus.inputs { run(input) }
for _ in 0..<count { run(mutator.next()) }
print("\(count) inputs, seed \(seed): \(failures) broke a rule")
if failures > 0 { exit(1) }

@MainActor func run(_ input: [UInt8]) {
    guard let rule = readers.check(input) else { return }
    failures += 1
    print("\(rule): \(String(decoding: input.dropFirst(), as: UTF8.self))")
    corpus.keep(input, name: "fault-\(seed)-\(failures)")
}

/// What reads an input, by its first byte.
struct Readers {
    private let kinds: [Kind]
    private let objects: [JSONValue]

    init() throws {
        objects = try Mutator.objects.map { try JSONValue(parsing: $0) }
        kinds = objects.compactMap { object in
            KindRegistry.builtIn.all.first {
                $0.resource.apiVersion == object["apiVersion"]?.string
                    && $0.resource.kind == object["kind"]?.string
            }
        }
    }

    /// The rule that an input makes the code break; nil for none.
    func check(_ input: [UInt8]) -> String? {
        guard let first = input.first else { return nil }
        let bytes = Array(input.dropFirst())
        switch first % 4 {
        case 0: return checkJSON(bytes)
        case 1: return checkSelector(String(decoding: bytes, as: UTF8.self))
        case 2: return checkPatch(bytes, which: Int(first / 4) % kinds.count)
        default: return checkSession(bytes)
        }
    }

    private func checkJSON(_ bytes: [UInt8]) -> String? {
        guard let json = try? JSONValue(parsing: bytes) else { return nil }
        guard (try? JSONValue(parsing: json.serializedBytes)) == json else {
            return "JSON does not come back"
        }
        for kind in kinds {
            guard let decoded = try? kind.decode(json) else { continue }
            let object = kind.defaulted(decoded.object)
            if kind.defaulted(object) != object { return "defaults are not idempotent" }
        }
        return nil
    }

    private func checkSelector(_ text: String) -> String? {
        _ = try? FieldSelector(parsing: text)
        guard let selector = try? LabelSelector(parsing: text) else { return nil }
        let again = try? LabelSelector(parsing: selector.description)
        return again?.description == selector.description ? nil : "a selector does not come back"
    }

    private func checkPatch(_ bytes: [UInt8], which: Int) -> String? {
        guard let patch = try? JSONValue(parsing: bytes) else { return nil }
        let (kind, object) = (kinds[which], objects[which])
        for type in [PatchType.strategicMerge, .json] {
            _ = try? Patch.apply(type, patch, to: object, kind: kind)
        }
        let once = Patch.mergePatch(patch, to: object)
        return Patch.mergePatch(patch, to: once) == once ? nil : "a merge patch is not idempotent"
    }

    private func checkSession(_ bytes: [UInt8]) -> String? {
        guard var session = try? ServerSession() else { return "no memory" }
        let events = (try? session.receive(bytes)) ?? []
        let answer = session.takeOutput()
        if events.count > bytes.count { return "more events than bytes" }
        return answer.count > bytes.count * 64 ? "an answer of \(answer.count) bytes" : nil
    }
}

/// Makes inputs: a seed with a few bytes changed, cut, doubled or replaced by what parsers stumble
/// over.
struct Mutator {
    static let objects = [
        #"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","labels":{"a":"b"}},"#
            + #""spec":{"type":"NodePort","ports":[{"name":"a","port":80,"targetPort":"http"}],"#
            + #""sessionAffinity":"ClientIP","clusterIP":"10.96.0.9"}}"#,
        #"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"#
            + #""selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"#
            + #""spec":{"containers":[{"name":"c","image":"x:y","env":[{"name":"E"}]}]}}}}"#,
    ]
    private static let patches = [
        #"{"spec":{"ports":[{"$patch":"delete","port":80},{"port":81}],"$retainKeys":["ports"]}}"#,
        #"[{"op":"add","path":"/spec/ports/-","value":{"port":1}},{"op":"move","path":"/a","#
            + #""from":"/spec"},{"op":"test","path":"","value":null}]"#,
        #"{"metadata":{"finalizers":null,"$deleteFromPrimitiveList/finalizers":["x"]}}"#,
    ]
    private static let selectors = ["a=b,c!=d,e in (f,g),!h,i>3", "metadata.name=a,spec.type!=b"]
    /// SYN_STREAM with Go's compressor, a ping, a piece of data.
    private static let session: [UInt8] = [
        0x80, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x29, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x78, 0xF9, 0xE3, 0xC6, 0xA7, 0xC2, 0x62, 0x60, 0x60, 0x60, 0x04, 0xA7,
        0xB3, 0x92, 0xA2, 0xD4, 0xC4, 0x5C, 0x68, 0x51, 0xC2, 0x9A, 0x0A, 0x0A, 0x68, 0x00, 0x00,
        0x00, 0x00, 0xFF, 0xFF, 0x80, 0x03, 0x00, 0x06, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00,
        0x01, 0x00, 0x00, 0x00, 0x01, 0x01, 0x00, 0x00, 0x02, 0x68, 0x69,
    ]
    private static let snippets = [
        "null", "{}", "[]", "-1", "99999999999999999999", "1e999", "\"\"", "true", "\"\\u0000\"",
        "[[[[", "\"$patch\":\"replace\",", "\"a/b/c\"", "\\ud800", "\u{FEFF}",
    ]

    private var numbers: RandomNumbers

    init(seed: UInt64) { numbers = RandomNumbers(seed: seed) }

    private mutating func random(_ bound: Int) -> Int { numbers.next(below: bound) }

    mutating func next() -> [UInt8] {
        let reader = UInt8(random(4))
        let which = UInt8(random(2))
        var bytes: [UInt8]
        switch reader {
        case 0: bytes = Array(Self.objects[random(Self.objects.count)].utf8)
        case 1: bytes = Array(Self.selectors[random(Self.selectors.count)].utf8)
        case 2: bytes = Array(Self.patches[random(Self.patches.count)].utf8)
        default: bytes = Self.session
        }
        for _ in 0...random(5) {
            guard !bytes.isEmpty else { break }
            let place = random(bytes.count)
            let end = min(bytes.count, place + random(8))
            switch random(6) {
            case 0: bytes[place] = UInt8(random(256))
            case 1: bytes.removeSubrange(place..<end)
            case 2: bytes.insert(contentsOf: bytes[place..<end], at: place)
            case 3: bytes[place] ^= 1 << UInt8(random(8))
            case 4: bytes.insert(
                contentsOf: Array(Self.snippets[random(Self.snippets.count)].utf8), at: place)
            default: replaceValue(near: place, in: &bytes)
            }
        }
        return [which * 4 + reader] + bytes
    }

    /// Puts a snippet in place of the value after the next colon, so that the text often stays JSON.
    private mutating func replaceValue(near place: Int, in bytes: inout [UInt8]) {
        guard let colon = bytes[place...].firstIndex(of: UInt8(ascii: ":")) else { return }
        let stops = Array(",}]".utf8)
        let end = bytes[(colon + 1)...].firstIndex { stops.contains($0) } ?? bytes.endIndex
        let snippet = Array(Self.snippets[random(Self.snippets.count)].utf8)
        bytes.replaceSubrange((colon + 1)..<end, with: snippet)
    }
}

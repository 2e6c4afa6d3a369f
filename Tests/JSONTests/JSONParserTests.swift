import JSON
import Testing

@Suite struct JSONParserTests {
    @Test func valuesOfEveryKind() throws {
        let value = try JSONValue(
            parsing:
                #"""
                 {"a":[1,-2,3.5,1e9,true,false,null],
                 "b":{"c":"x\n\"é\u00e9😀\ud83d\ude00"}} 
                """#)
        #expect(
            value["a"]
                == [1, -2, JSONValue.number("3.5"), JSONValue.number("1e9"), true, false, nil])
        #expect(value["b", "c"] == "x\n\"éé😀😀")
    }

    @Test(arguments: [
        "9223372036854775807", "-9223372036854775808", "9223372036854775808", "0", "-0.5",
        "1E+2", "123456789012345678901234567890", #""\u0001""#, #"{"z":1,"a":{"b":[]}}"#,
    ])
    func textsReadBackAsTheyWere(text: String) throws {
        #expect(try JSONValue(parsing: text).serializedText == text)
    }

    @Test(arguments: [
        ("", "unexpected end of JSON input at byte 0"),
        ("{", "expected a member name in quotes at byte 1"),
        ("[1", "expected ',' or ']' at byte 2"), ("01", "a number may not begin with 0 at byte 2"),
        ("1 2", "unexpected text after the value at byte 2"),
        ("\"a", "unexpected end of JSON input in a string at byte 2"),
        ("\"\n\"", "control character in a string at byte 1"), ("tru", "invalid literal at byte 0"),
        ("{\"a\" 1}", "expected ':' at byte 5"),
        ("\"\\x\"", "invalid escape in a string at byte 3"),
        ("1.", "expected a digit after '.' at byte 2"),
        ("1e", "expected a digit in the exponent at byte 2"),
        ("\"\\u12\"", "incomplete \\u escape at byte 3"),
        ("[1,]", "invalid character, expected a value at byte 3"),
    ])
    func faultsAreNamedWithTheirPlace(text: String, message: String) {
        let error = #expect(throws: JSONParseError.self) { try JSONValue(parsing: text) }
        #expect(error?.description == message)
    }

    @Test func invalidUTF8IsRefused() {
        #expect(throws: JSONParseError.self) { try JSONValue(parsing: [0x22, 0xFF, 0x22]) }
        #expect(throws: JSONParseError.self) {
            try JSONValue(parsing: [0x22, 0x5C, 0x6E, 0xC3, 0x22])
        }
    }

    @Test func deepNestingIsRefused() {
        let text = String(repeating: "[", count: 100_000)
        #expect(throws: JSONParseError.self) { try JSONValue(parsing: text) }
    }

    @Test func duplicatesAreReportedWithTheirPaths() throws {
        let (value, duplicates) = try JSONValue.parse(
            #"{"a":1,"a":2,"b":{"c":[{"d":1},{"d":1,"d":2}],"c2":1,"c2":1}}"#.utf8)
        #expect(value["a"] == 2)
        #expect(duplicates.sorted() == ["a", "b.c2", "b.c[1].d"])
        let many = "{" + Array(repeating: "\"x\":1", count: 1000).joined(separator: ",") + "}"
        #expect(try JSONValue.parse(many.utf8).duplicateFields.count == 32)
    }

    @Test func loneSurrogatesBecomeReplacements() throws {
        #expect(try JSONValue(parsing: #""\ud800x\udc00""#) == "\u{FFFD}x\u{FFFD}")
    }

    /// Random values survive writing and reading; random cuts of their text never crash.
    @Test func randomValuesReadBack() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<300 {
            let value = Self.random(depth: 5, using: &generator)
            let bytes = value.serializedBytes
            #expect(try JSONValue(parsing: bytes) == value)
            let cut = Int.random(in: 0..<bytes.count, using: &generator)
            _ = try? JSONValue(parsing: bytes[..<cut])
            var broken = bytes
            broken[cut] = UInt8.random(in: 0...255, using: &generator)
            _ = try? JSONValue(parsing: broken)
        }
    }

    private static func random(
        depth: Int, using generator: inout some RandomNumberGenerator
    ) -> JSONValue {
        switch Int.random(in: 0...(depth > 0 ? 7 : 5), using: &generator) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &generator))
        case 2: return .integer(Int64.random(in: .min ... .max, using: &generator))
        case 3: return .number("\(Int.random(in: 0...99, using: &generator)).25")
        case 4, 5:
            let scalars = (0..<Int.random(in: 0...20, using: &generator)).compactMap { _ in
                UnicodeScalar(UInt32.random(in: 0...0x10FFF, using: &generator))
            }
            var text = ""
            text.unicodeScalars.append(contentsOf: scalars)
            return .string(text)
        case 6:
            return .array(
                (0..<Int.random(in: 0...5, using: &generator)).map { _ in
                    random(depth: depth - 1, using: &generator)
                })
        default:
            var members = JSONObject()
            for _ in 0..<Int.random(in: 0...40, using: &generator) {
                members["k\(Int.random(in: 0...60, using: &generator))"] = random(
                    depth: depth - 1, using: &generator)
            }
            return .object(members)
        }
    }
}

@Suite struct JSONObjectTests {
    @Test(arguments: [3, 23, 24, 100]) func largeAndSmallObjectsBehaveAlike(count: Int) {
        var object = JSONObject()
        for index in 0..<count { object["k\(index)"] = .integer(Int64(index)) }
        #expect(object.count == count)
        object["k1"] = "changed"
        #expect(object["k1"] == "changed")
        #expect(object.removeValue(forKey: "k0") == 0)
        #expect(object["k0"] == nil)
        #expect(object.keys.first == "k1")
        for index in 2..<count { #expect(object["k\(index)"]?.int == index) }
        object["k1"] = nil
        #expect(object.count == count - 2)
    }

    @Test func orderDoesNotMatterForEquality() {
        let left: JSONValue = ["a": 1, "b": ["c": 2, "d": 3]]
        let right: JSONValue = ["b": ["d": 3, "c": 2], "a": 1]
        #expect(left == right)
        #expect(left.hashValue == right.hashValue)
        #expect(left != ["a": 1, "b": ["c": 2, "e": 3]])
        #expect(left != ["a": 1, "c": ["c": 2, "d": 3]])
    }

    @Test func pathsReadAndWrite() {
        var value: JSONValue = [:]
        value["a", "b", "c"] = 1
        #expect(value == ["a": ["b": ["c": 1]]])
        #expect(value["a", "b", "c"]?.int == 1)
        value["a", "b", "c"] = nil
        #expect(value["a", "b"] == [:])
        value["x", "y"] = nil
        #expect(value["x"] == nil)
        value.set("z", at: ["a"])
        #expect(value["a"] == "z")
        value["m", "n"] = 1
        let copy = value
        value["m", "n"] = 2
        value["m", "o"] = 3
        #expect(copy["m"] == ["n": 1] && value["m"] == ["n": 2, "o": 3])
        value["m", "n"] = nil
        #expect(value["m"] == ["o": 3])
    }
}

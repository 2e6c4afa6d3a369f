/// Why a text is not JSON, and where.
public struct JSONParseError: Error, Equatable, CustomStringConvertible {
    /// What is wrong.
    public let message: String
    /// The position of the offending byte, from 0.
    public let offset: Int

    /// The message with its position.
    public var description: String { "\(message) at byte \(offset)" }
}

extension JSONValue {
    /// Parses one JSON text (RFC 8259), refusing anything after it but white space.
    /// - Throws: `JSONParseError` with the position of the first fault.
    public init(parsing bytes: some Sequence<UInt8>) throws(JSONParseError) {
        self = try Self.parse(bytes).value
    }

    /// As above, for bytes that lie in an array.
    /// - Throws: `JSONParseError` with the position of the first fault.
    public init(parsing bytes: [UInt8]) throws(JSONParseError) {
        self = try bytes.withUnsafeBufferPointer(Self.result).get().value
    }

    /// Parses a JSON text given as a string.
    /// - Throws: `JSONParseError` with the position of the first fault.
    public init(parsing text: String) throws(JSONParseError) {
        self = try Self.parse(text.utf8).value
    }

    /// Parses a JSON text and reports the names that an object has twice, as dotted paths
    /// (`spec.ports[0].port`). The last value of such a name holds, as in encoding/json.
    /// - Throws: `JSONParseError` with the position of the first fault.
    public static func parse(
        _ bytes: some Sequence<UInt8>
    ) throws(JSONParseError) -> (value: JSONValue, duplicateFields: [String]) {
        let result =
            bytes.withContiguousStorageIfAvailable(Self.result)
            ?? Array(bytes).withUnsafeBufferPointer(Self.result)
        return try result.get()
    }

    /// As above, for bytes that lie together; they are read during the call alone.
    /// - Throws: `JSONParseError` with the position of the first fault.
    public static func parse(
        _ buffer: UnsafeBufferPointer<UInt8>
    ) throws(JSONParseError) -> (value: JSONValue, duplicateFields: [String]) {
        try result(buffer).get()
    }

    private static func result(
        _ buffer: UnsafeBufferPointer<UInt8>
    ) -> Result<(value: JSONValue, duplicateFields: [String]), JSONParseError> {
        var parser = JSONParser(bytes: buffer)
        do throws(JSONParseError) {
            let value = try parser.parseDocument()
            return .success((value, parser.duplicateFields))
        } catch {
            return .failure(error)
        }
    }
}

/// A recursive-descent parser over one buffer. The buffer is borrowed for the length of the call
/// that made the parser and never escapes; every access is checked against `bytes.count`.
struct JSONParser {
    /// kubectl and client-go never nest deeper than some dozens; a bound keeps the stack safe.
    static let depthLimit = 256

    private let bytes: UnsafeBufferPointer<UInt8>
    private var offset = 0
    /// Names that came twice, as paths from the value being read: each level puts its own name
    /// before them, so that texts without duplicates pay nothing.
    private(set) var duplicateFields: [String] = []
    /// Duplicates are reported up to a bound, so that a hostile body cannot make the list grow.
    private static let duplicateLimit = 32

    init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

    mutating func parseDocument() throws(JSONParseError) -> JSONValue {
        skipSpace()
        let value = try parseValue(depth: 0)
        skipSpace()
        guard offset == bytes.count else { throw failure("unexpected text after the value") }
        return value
    }

    private mutating func parseValue(depth: Int) throws(JSONParseError) -> JSONValue {
        guard depth < Self.depthLimit else { throw failure("nested too deeply") }
        guard offset < bytes.count else { throw failure("unexpected end of JSON input") }
        switch bytes[offset] {
        case UInt8(ascii: "{"): return .object(try parseObject(depth: depth))
        case UInt8(ascii: "["): return .array(try parseArray(depth: depth))
        case UInt8(ascii: "\""): return .string(try parseString())
        case UInt8(ascii: "t"): return try parseWord("true", .bool(true))
        case UInt8(ascii: "f"): return try parseWord("false", .bool(false))
        case UInt8(ascii: "n"): return try parseWord("null", .null)
        default: return try parseNumber()
        }
    }

    private mutating func parseObject(depth: Int) throws(JSONParseError) -> JSONObject {
        offset += 1
        var object = JSONObject()
        skipSpace()
        if consume(UInt8(ascii: "}")) { return object }
        while true {
            skipSpace()
            guard offset < bytes.count, bytes[offset] == UInt8(ascii: "\"") else {
                throw failure("expected a member name in quotes")
            }
            let key = try parseString()
            skipSpace()
            guard consume(UInt8(ascii: ":")) else { throw failure("expected ':'") }
            skipSpace()
            let known = duplicateFields.count
            let value = try parseValue(depth: depth + 1)
            if duplicateFields.count > known { prefixDuplicates(from: known, with: key) }
            if object.position(of: key) != nil {
                if duplicateFields.count < Self.duplicateLimit { duplicateFields.append(key) }
                object[key] = value
            } else {
                object.append(key, value)
            }
            skipSpace()
            if consume(UInt8(ascii: ",")) { continue }
            if consume(UInt8(ascii: "}")) { return object }
            throw failure("expected ',' or '}'")
        }
    }

    private mutating func parseArray(depth: Int) throws(JSONParseError) -> [JSONValue] {
        offset += 1
        var elements: [JSONValue] = []
        skipSpace()
        if consume(UInt8(ascii: "]")) { return elements }
        while true {
            skipSpace()
            let known = duplicateFields.count
            elements.append(try parseValue(depth: depth + 1))
            if duplicateFields.count > known {
                prefixDuplicates(from: known, with: "[\(elements.count - 1)]")
            }
            skipSpace()
            if consume(UInt8(ascii: ",")) { continue }
            if consume(UInt8(ascii: "]")) { return elements }
            throw failure("expected ',' or ']'")
        }
    }

    private mutating func parseWord(
        _ word: StaticString, _ value: JSONValue
    ) throws(JSONParseError) -> JSONValue {
        let text = word.description.utf8
        guard bytes.count - offset >= text.count,
            bytes[offset..<offset + text.count].elementsEqual(text)
        else { throw failure("invalid literal") }
        offset += text.count
        return value
    }

    private mutating func prefixDuplicates(from start: Int, with name: String) {
        for index in start..<duplicateFields.count {
            let rest = duplicateFields[index]
            duplicateFields[index] = rest.hasPrefix("[") ? name + rest : "\(name).\(rest)"
        }
    }

    private mutating func skipSpace() {
        while offset < bytes.count {
            switch bytes[offset] {
            case 0x20, 0x0A, 0x0D, 0x09: offset += 1
            default: return
            }
        }
    }

    private mutating func consume(_ byte: UInt8) -> Bool {
        guard offset < bytes.count, bytes[offset] == byte else { return false }
        offset += 1
        return true
    }

    private func failure(_ message: String) -> JSONParseError {
        JSONParseError(message: message, offset: offset)
    }
}

// MARK: - Numbers

extension JSONParser {
    private mutating func parseNumber() throws(JSONParseError) -> JSONValue {
        let start = offset
        _ = consume(UInt8(ascii: "-"))
        let digitsStart = offset
        let digits = skipDigits()
        guard digits > 0 else { throw failure("invalid character, expected a value") }
        guard digits == 1 || bytes[digitsStart] != UInt8(ascii: "0") else {
            throw failure("a number may not begin with 0")
        }
        var isInteger = true
        if consume(UInt8(ascii: ".")) {
            isInteger = false
            guard skipDigits() > 0 else { throw failure("expected a digit after '.'") }
        }
        if offset < bytes.count, bytes[offset] | 0x20 == UInt8(ascii: "e") {
            isInteger = false
            offset += 1
            if offset < bytes.count, [UInt8(ascii: "+"), UInt8(ascii: "-")].contains(bytes[offset])
            {
                offset += 1
            }
            guard skipDigits() > 0 else { throw failure("expected a digit in the exponent") }
        }
        if isInteger, let value = integer(from: start) { return .integer(value) }
        return .number(String(decoding: bytes[start..<offset], as: UTF8.self))
    }

    /// The integer between `start` and the current offset, or nil where it exceeds 64 bits.
    private func integer(from start: Int) -> Int64? {
        let negative = bytes[start] == UInt8(ascii: "-")
        var value: Int64 = 0
        for byte in bytes[(negative ? start + 1 : start)..<offset] {
            let digit = Int64(byte - UInt8(ascii: "0"))
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, overflowed) =
                negative
                ? product.subtractingReportingOverflow(digit)
                : product.addingReportingOverflow(digit)
            if overflow || overflowed { return nil }
            value = sum
        }
        return value
    }

    private mutating func skipDigits() -> Int {
        let start = offset
        while offset < bytes.count, bytes[offset] &- UInt8(ascii: "0") <= 9 { offset += 1 }
        return offset - start
    }
}

// MARK: - Strings

extension JSONParser {
    private mutating func parseString() throws(JSONParseError) -> String {
        offset += 1
        let start = offset
        var isASCII = true
        while offset < bytes.count {
            let byte = bytes[offset]
            switch byte {
            case UInt8(ascii: "\""):
                let text = try decode(start..<offset, isASCII: isASCII)
                offset += 1
                return text
            case UInt8(ascii: "\\"):
                return try parseEscapedString(from: start)
            case 0..<0x20:
                throw failure("control character in a string")
            default:
                if byte >= 0x80 { isASCII = false }
                offset += 1
            }
        }
        throw failure("unexpected end of JSON input in a string")
    }

    private func decode(_ range: Range<Int>, isASCII: Bool) throws(JSONParseError) -> String {
        let slice = UnsafeBufferPointer(rebasing: bytes[range])
        if isASCII { return String(decoding: slice, as: UTF8.self) }
        guard let text = String(validating: slice, as: UTF8.self) else {
            throw failure("invalid UTF-8 in a string")
        }
        return text
    }

    private mutating func parseEscapedString(from start: Int) throws(JSONParseError) -> String {
        var buffer = Array(bytes[start..<offset])
        while offset < bytes.count {
            let byte = bytes[offset]
            offset += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: buffer, as: UTF8.self) else {
                    throw failure("invalid UTF-8 in a string")
                }
                return text
            case UInt8(ascii: "\\"): try parseEscape(into: &buffer)
            case 0..<0x20: throw failure("control character in a string")
            default: buffer.append(byte)
            }
        }
        throw failure("unexpected end of JSON input in a string")
    }

    private mutating func parseEscape(into buffer: inout [UInt8]) throws(JSONParseError) {
        guard offset < bytes.count else { throw failure("unexpected end of JSON input") }
        let byte = bytes[offset]
        offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): buffer.append(byte)
        case UInt8(ascii: "b"): buffer.append(0x08)
        case UInt8(ascii: "f"): buffer.append(0x0C)
        case UInt8(ascii: "n"): buffer.append(0x0A)
        case UInt8(ascii: "r"): buffer.append(0x0D)
        case UInt8(ascii: "t"): buffer.append(0x09)
        case UInt8(ascii: "u"):
            let scalar = try parseUnicodeEscape()
            buffer.append(contentsOf: Array(String(scalar).utf8))
        default: throw failure("invalid escape in a string")
        }
    }

    /// Lone surrogates become U+FFFD, as encoding/json does.
    private mutating func parseUnicodeEscape() throws(JSONParseError) -> Unicode.Scalar {
        let replacement: Unicode.Scalar = "\u{FFFD}"
        let first = try parseHexQuad()
        guard (0xD800..<0xE000).contains(first) else {
            return Unicode.Scalar(first) ?? replacement
        }
        guard first < 0xDC00, offset + 1 < bytes.count, bytes[offset] == UInt8(ascii: "\\"),
            bytes[offset + 1] == UInt8(ascii: "u")
        else { return replacement }
        let rewind = offset
        offset += 2
        let second = try parseHexQuad()
        guard (0xDC00..<0xE000).contains(second) else {
            offset = rewind
            return replacement
        }
        return Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00)) ?? replacement
    }

    private mutating func parseHexQuad() throws(JSONParseError) -> UInt32 {
        guard bytes.count - offset >= 4 else { throw failure("incomplete \\u escape") }
        var value: UInt32 = 0
        for byte in bytes[offset..<offset + 4] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw failure("invalid \\u escape")
            }
            value = value << 4 | UInt32(digit)
        }
        offset += 4
        return value
    }
}

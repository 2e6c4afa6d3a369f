public import NetworkTypes

/// A domain name in wire form (RFC 1035, 3.1): labels with a length octet each, then the root's 0.
///
/// Names compare and hash without regard to ASCII case (RFC 4343); the bytes keep the case they
/// were made with.
public struct DNSName: Hashable, Sendable, CustomStringConvertible {
    /// The wire form, at most 255 octets, ending in 0.
    public let wire: [UInt8]

    /// The longest name, in octets of wire form (RFC 1035, 2.3.4).
    public static let maximumLength = 255
    /// The longest label, in octets (RFC 1035, 2.3.4).
    public static let maximumLabelLength = 63
    /// The name of the root zone, `.`.
    public static let root = DNSName(unchecked: [0])

    /// Takes bytes that are known to be a well-formed name.
    init(unchecked wire: [UInt8]) { self.wire = wire }

    /// Takes an uncompressed wire name; nil unless all of `wire` is one well-formed name.
    public init?(wire: [UInt8]) {
        guard let length = Self.length(ofNameIn: wire.span, at: 0), length == wire.count else {
            return nil
        }
        self.wire = wire
    }

    /// Parses presentation form, with `\.` and `\DDD` escapes (RFC 1035, 5.1). A trailing dot is
    /// allowed and means nothing. Nil for empty labels and for labels or names that are too long.
    public init?(_ text: some StringProtocol) {
        let bytes = Array(text.utf8)
        if bytes == [UInt8(ascii: ".")] || bytes.isEmpty {
            self = .root
            return
        }
        var wire: [UInt8] = [0]
        var lengthIndex = 0
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            if byte == UInt8(ascii: ".") {
                guard wire[lengthIndex] > 0 else { return nil }
                lengthIndex = wire.count
                wire.append(0)
                continue
            }
            var value = byte
            if byte == UInt8(ascii: "\\") {
                guard let escaped = Self.escape(bytes, &index) else { return nil }
                value = escaped
            }
            guard wire[lengthIndex] < Self.maximumLabelLength else { return nil }
            wire[lengthIndex] += 1
            wire.append(value)
        }
        if wire[lengthIndex] > 0 { wire.append(0) }
        guard wire.count <= Self.maximumLength else { return nil }
        self.wire = wire
    }

    /// Makes a name of labels given as text without escapes, before `parent`; nil if one is empty or
    /// too long or the whole is.
    public init?(labels: [String], parent: DNSName = .root) {
        var wire: [UInt8] = []
        wire.reserveCapacity(labels.reduce(parent.wire.count) { $0 + $1.utf8.count + 1 })
        for label in labels {
            let bytes = label.utf8
            guard (1...Self.maximumLabelLength).contains(bytes.count) else { return nil }
            wire.append(UInt8(bytes.count))
            wire.append(contentsOf: bytes)
        }
        wire += parent.wire
        guard wire.count <= Self.maximumLength else { return nil }
        self.wire = wire
    }

    /// The number of labels, the root not counted.
    public var labelCount: Int {
        var count = 0
        var index = 0
        while wire[index] != 0 {
            index += Int(wire[index]) + 1
            count += 1
        }
        return count
    }

    /// The labels as bytes, leftmost first.
    public var labels: [ArraySlice<UInt8>] {
        var result: [ArraySlice<UInt8>] = []
        var index = 0
        while wire[index] != 0 {
            let end = index + 1 + Int(wire[index])
            result.append(wire[(index + 1)..<end])
            index = end
        }
        return result
    }

    /// The name without its leftmost label; the root's parent is the root.
    public var parent: DNSName {
        wire[0] == 0 ? self : DNSName(unchecked: Array(wire[(Int(wire[0]) + 1)...]))
    }

    /// True where this name is `ancestor` or below it.
    public func isWithin(_ ancestor: DNSName) -> Bool {
        guard wire.count >= ancestor.wire.count else { return false }
        let start = wire.count - ancestor.wire.count
        var index = 0
        while index < start { index += Int(wire[index]) + 1 }
        guard index == start else { return false }
        return zip(wire[start...], ancestor.wire).allSatisfy {
            asciiLowercased($0) == asciiLowercased($1)
        }
    }

    /// The labels of this name to the left of `ancestor`, before `replacement`; nil if the name is
    /// not within `ancestor` or the result is too long.
    public func replacing(_ ancestor: DNSName, by replacement: DNSName) -> DNSName? {
        guard isWithin(ancestor) else { return nil }
        let head = wire[..<(wire.count - ancestor.wire.count)]
        guard head.count + replacement.wire.count <= Self.maximumLength else { return nil }
        return DNSName(unchecked: Array(head) + replacement.wire)
    }

    /// The name with ASCII letters in lower case.
    public var lowercased: DNSName {
        let isLower = wire.allSatisfy { $0 &- 65 >= 26 }
        return isLower ? self : DNSName(unchecked: wire.map(asciiLowercased))
    }

    /// Presentation form with a trailing dot; unprintable octets as `\DDD`.
    public var description: String {
        guard wire[0] != 0 else { return "." }
        var text = ""
        for label in labels {
            for byte in label {
                switch byte {
                case UInt8(ascii: "."), UInt8(ascii: "\\"):
                    text += "\\" + String(UnicodeScalar(byte))
                case 0x21...0x7E:
                    text.unicodeScalars.append(UnicodeScalar(byte))
                default:
                    let digits = String(byte)
                    text += "\\" + String(repeating: "0", count: 3 - digits.count) + digits
                }
            }
            text += "."
        }
        return text
    }

    /// Equal but for the case of ASCII letters.
    public static func == (left: DNSName, right: DNSName) -> Bool {
        left.wire.count == right.wire.count
            && zip(left.wire, right.wire).allSatisfy {
                asciiLowercased($0) == asciiLowercased($1)
            }
    }

    /// Hashes the lower-case bytes, eight at a time.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(NameHash.process.hash(wire))
    }

    /// The length in octets of the uncompressed name at `offset`, root octet included; nil where
    /// the bytes end too early, a length is above 63, or the name exceeds 255 octets.
    static func length(ofNameIn bytes: borrowing Span<UInt8>, at offset: Int) -> Int? {
        var index = offset
        while index < bytes.count {
            let length = Int(bytes[index])
            if length == 0 {
                let total = index + 1 - offset
                return total <= maximumLength ? total : nil
            }
            guard length <= maximumLabelLength else { return nil }
            index += length + 1
            if index - offset >= maximumLength { return nil }
        }
        return nil
    }

    private static func escape(_ bytes: [UInt8], _ index: inout Int) -> UInt8? {
        guard index < bytes.count else { return nil }
        let first = bytes[index]
        index += 1
        guard (48...57).contains(first) else { return first }
        guard index + 1 < bytes.count, (48...57).contains(bytes[index]),
            (48...57).contains(bytes[index + 1])
        else { return nil }
        let value = Int(first - 48) * 100 + Int(bytes[index] - 48) * 10 + Int(bytes[index + 1] - 48)
        index += 2
        return UInt8(exactly: value)
    }
}

// MARK: - Reverse names

extension DNSName {
    /// The name that a PTR question for `address` asks (RFC 1035, 3.5 and RFC 3596, 2.5).
    public init(reverse address: IPAddress) {
        var wire: [UInt8] = []
        switch address {
        case .v4(let value):
            for shift in [UInt32(0), 8, 16, 24] {
                let octet = String(value >> shift & 255).utf8
                wire.append(UInt8(octet.count))
                wire.append(contentsOf: octet)
            }
            wire += Self.inAddrArpa.wire
        case .v6(let value):
            for nibble in 0..<32 {
                let digit = UInt8(truncatingIfNeeded: value >> (4 * UInt128(nibble)) & 15)
                wire.append(1)
                wire.append(digit < 10 ? 48 + digit : 87 + digit)
            }
            wire += Self.ip6Arpa.wire
        }
        self.init(unchecked: wire)
    }

    /// The address that this reverse name stands for; nil for any other name.
    public var reverseAddress: IPAddress? {
        if isWithin(Self.inAddrArpa) {
            // Octets as decimal labels, the last one first.
            var value: UInt32 = 0
            var index = 0
            for shift in [UInt32(0), 8, 16, 24] {
                let end = index + 1 + Int(wire[index])
                var octet: UInt32 = 0
                guard (1...3).contains(wire[index]) else { return nil }
                for byte in wire[(index + 1)..<end] {
                    guard (48...57).contains(byte) else { return nil }
                    octet = octet * 10 + UInt32(byte - 48)
                }
                guard octet <= 255, wire[index] == 1 || wire[index + 1] != 48 else { return nil }
                value |= octet << shift
                index = end
            }
            return wire.count - index == Self.inAddrArpa.wire.count ? .v4(value) : nil
        }
        let labels = self.labels
        guard isWithin(Self.ip6Arpa), labels.count == 34 else { return nil }
        var value: UInt128 = 0
        for label in labels[..<32].reversed() {
            guard label.count == 1, let byte = label.first,
                let digit = Character(UnicodeScalar(byte)).hexDigitValue
            else { return nil }
            value = value << 4 | UInt128(digit)
        }
        return .v6(value)
    }

    /// in-addr.arpa
    public static let inAddrArpa = DNSName(
        unchecked: [7] + Array("in-addr".utf8) + [4] + Array("arpa".utf8) + [0])
    /// ip6.arpa
    public static let ip6Arpa = DNSName(
        unchecked: [3] + Array("ip6".utf8) + [4] + Array("arpa".utf8) + [0])
}

/// The byte with `A`–`Z` turned to lower case.
@inline(__always)
func asciiLowercased(_ byte: UInt8) -> UInt8 {
    byte &- 65 < 26 ? byte | 0x20 : byte
}

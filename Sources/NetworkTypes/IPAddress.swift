/// An IPv4 or IPv6 address, kept as an integer in host order so that it hashes and compares fast.
public enum IPAddress: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// An IPv4 address; the first octet is in the highest eight bits.
    case v4(UInt32)
    /// An IPv6 address; the first group is in the highest sixteen bits.
    case v6(UInt128)

    /// The address families a Service can have, as `spec.ipFamilies` spells them.
    public enum Family: String, Sendable, Hashable, CaseIterable {
        case ipv4 = "IPv4"
        case ipv6 = "IPv6"

        /// The length of an address of this family, in bits.
        public var bitCount: Int { self == .ipv4 ? 32 : 128 }
    }

    /// The family this address belongs to.
    public var family: Family {
        switch self {
        case .v4: .ipv4
        case .v6: .ipv6
        }
    }

    /// The address as a number, IPv4 in the low 32 bits.
    public var numericValue: UInt128 {
        switch self {
        case .v4(let value): UInt128(value)
        case .v6(let value): value
        }
    }

    /// Makes an address of `family` from its numeric value, cut to the family's length.
    public init(family: Family, numericValue: UInt128) {
        switch family {
        case .ipv4: self = .v4(UInt32(truncatingIfNeeded: numericValue))
        case .ipv6: self = .v6(numericValue)
        }
    }

    /// Makes an address from 4 or 16 bytes in network order; nil for any other count.
    public init?(networkBytes bytes: some Collection<UInt8>) {
        switch bytes.count {
        case 4: self = .v4(bytes.reduce(0) { $0 << 8 | UInt32($1) })
        case 16: self = .v6(bytes.reduce(0) { $0 << 8 | UInt128($1) })
        default: return nil
        }
    }

    /// The 4 or 16 bytes of the address in network order.
    public var networkBytes: [UInt8] {
        switch self {
        case .v4(let value):
            return (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * UInt32($0))) }
        case .v6(let value):
            return (0..<16).map { UInt8(truncatingIfNeeded: value >> (120 - 8 * UInt128($0))) }
        }
    }

    /// IPv4 sorts before IPv6; within a family by number.
    public static func < (left: IPAddress, right: IPAddress) -> Bool {
        switch (left, right) {
        case (.v4(let a), .v4(let b)): a < b
        case (.v6(let a), .v6(let b)): a < b
        case (.v4, .v6): true
        case (.v6, .v4): false
        }
    }

    /// True for 0.0.0.0 and ::.
    public var isUnspecified: Bool { numericValue == 0 }

    /// True for 127.0.0.0/8 (RFC 1122, 3.2.1.3) and ::1 (RFC 4291, 2.5.3).
    public var isLoopback: Bool {
        switch self {
        case .v4(let value): value >> 24 == 127
        case .v6(let value): value == 1
        }
    }

    /// True for 169.254.0.0/16 (RFC 3927) and fe80::/10 (RFC 4291, 2.5.6).
    public var isLinkLocalUnicast: Bool {
        switch self {
        case .v4(let value): value >> 16 == 0xA9FE
        case .v6(let value): value >> 118 == 0x3FA
        }
    }

    /// True for 224.0.0.0/4 (RFC 5771) and ff00::/8 (RFC 4291, 2.7).
    public var isMulticast: Bool {
        switch self {
        case .v4(let value): value >> 28 == 0xE
        case .v6(let value): value >> 120 == 0xFF
        }
    }

    /// The address `offset` places further, or nil where that leaves the family's space.
    public func advanced(by offset: Int64) -> IPAddress? {
        switch self {
        case .v4(let value):
            let sum = Int64(value) + offset
            return UInt32(exactly: sum).map(IPAddress.v4)
        case .v6(let value):
            let magnitude = UInt128(offset.magnitude)
            let (sum, overflow) =
                offset < 0
                ? value.subtractingReportingOverflow(magnitude)
                : value.addingReportingOverflow(magnitude)
            return overflow ? nil : .v6(sum)
        }
    }
}

// MARK: - Text

extension IPAddress {
    /// Parses the text forms of RFC 4291, 2.2 and dotted quads; leading zeros in a quad are refused
    /// because readers disagree whether they mean octal. Zones (`%eth0`) are refused.
    public init?(_ text: some StringProtocol) {
        if text.utf8.contains(UInt8(ascii: ":")) {
            guard let value = Self.parseIPv6(Array(text.utf8)) else { return nil }
            self = .v6(value)
        } else {
            guard let value = Self.parseIPv4(Array(text.utf8)[...]) else { return nil }
            self = .v4(value)
        }
    }

    /// The canonical text: dotted quad, or RFC 5952 for IPv6.
    public var description: String {
        switch self {
        case .v4(let value):
            return "\(value >> 24).\(value >> 16 & 255).\(value >> 8 & 255).\(value & 255)"
        case .v6(let value):
            return Self.formatIPv6(value)
        }
    }

    private static func parseIPv4(_ bytes: ArraySlice<UInt8>) -> UInt32? {
        var value: UInt32 = 0
        var (octet, digits, dots): (UInt32, Int, Int) = (0, 0, 0)
        for byte in bytes {
            if byte == UInt8(ascii: ".") {
                guard digits > 0, dots < 3 else { return nil }
                value = value << 8 | octet
                (octet, digits, dots) = (0, 0, dots + 1)
                continue
            }
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            // No octet has a leading zero, which some programs take for octal.
            guard digits == 0 || octet != 0 else { return nil }
            octet = octet * 10 + UInt32(byte - UInt8(ascii: "0"))
            digits += 1
            guard octet <= 255 else { return nil }
        }
        return dots == 3 && digits > 0 ? value << 8 | octet : nil
    }

    private static func parseIPv6(_ bytes: [UInt8]) -> UInt128? {
        guard bytes.count <= 45 else { return nil }
        let colon = UInt8(ascii: ":")
        var gapIndex: Int?
        for index in bytes.indices.dropLast() where bytes[index] == colon {
            if bytes[index + 1] == colon {
                guard gapIndex == nil else { return nil }
                gapIndex = index
            }
        }
        guard let gapIndex else {
            guard let groups = parseGroups(bytes[...]), groups.count == 8 else { return nil }
            return groups.reduce(0) { $0 << 16 | UInt128($1) }
        }
        guard let head = parseGroups(bytes[..<gapIndex]),
            let tail = parseGroups(bytes[(gapIndex + 2)...]),
            head.count + tail.count <= 7
        else { return nil }
        let gap = [UInt16](repeating: 0, count: 8 - head.count - tail.count)
        return (head + gap + tail).reduce(0) { $0 << 16 | UInt128($1) }
    }

    /// Reads `a:b:c`, where the last group may be a dotted quad; nil for an empty group.
    private static func parseGroups(_ bytes: ArraySlice<UInt8>) -> [UInt16]? {
        if bytes.isEmpty { return [] }
        var groups: [UInt16] = []
        let parts = bytes.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        for (position, part) in parts.enumerated() {
            if position == parts.count - 1, part.contains(UInt8(ascii: ".")) {
                guard let quad = parseIPv4(part) else { return nil }
                groups += [UInt16(quad >> 16), UInt16(truncatingIfNeeded: quad)]
                continue
            }
            guard (1...4).contains(part.count) else { return nil }
            var group: UInt16 = 0
            for byte in part {
                guard let digit = hexadecimalDigit(byte) else { return nil }
                group = group << 4 | UInt16(digit)
            }
            groups.append(group)
        }
        return groups
    }

    private static func formatIPv6(_ value: UInt128) -> String {
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: value >> (112 - 16 * UInt128($0))) }
        if groups[0..<5].allSatisfy({ $0 == 0 }), groups[5] == 0xFFFF {
            return "::ffff:" + IPAddress.v4(UInt32(truncatingIfNeeded: value)).description
        }
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > best.count, end - start > 1 { best = start..<end }
            start = end + 1
        }
        let head = groups[..<best.lowerBound].map { String($0, radix: 16) }.joined(separator: ":")
        if best.isEmpty { return groups.map { String($0, radix: 16) }.joined(separator: ":") }
        let tail = groups[best.upperBound...].map { String($0, radix: 16) }.joined(separator: ":")
        return head + "::" + tail
    }
}

/// The value of an ASCII hexadecimal digit, or nil.
func hexadecimalDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}

public import NetworkTypes

/// A run of addresses of one family, as a pool lists them: `10.1.0.0/24` or `10.1.0.2-10.1.0.100`.
public struct AddressRange: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The lowest address.
    public let first: IPAddress
    /// The highest address, itself part of the range.
    public let last: IPAddress

    /// Makes a range; nil where the families differ or `last` is lower than `first`.
    public init?(first: IPAddress, last: IPAddress) {
        guard first.family == last.family, first <= last else { return nil }
        self.first = first
        self.last = last
    }

    /// The range that a prefix covers, network and broadcast address included, as MetalLB has it.
    public init(_ prefix: Prefix) {
        first = prefix.address
        last = prefix.lastAddress
    }

    /// The family of both ends.
    public var family: IPAddress.Family { first.family }

    /// The number of addresses, capped at `UInt64.max`.
    public var addressCount: UInt64 {
        let span = last.numericValue - first.numericValue
        return span >= UInt128(UInt64.max) ? .max : UInt64(span) + 1
    }

    /// True where `address` lies within the range.
    public func contains(_ address: IPAddress) -> Bool {
        address.family == family && first <= address && address <= last
    }

    /// True where the two ranges share an address.
    public func overlaps(_ other: AddressRange) -> Bool {
        family == other.family && first <= other.last && other.first <= last
    }

    /// The fewest prefixes that cover the range exactly, lowest first.
    public var prefixes: [Prefix] {
        var covered: [Prefix] = []
        var next = first.numericValue
        let end = last.numericValue
        while true {
            var hostBits = min(next.trailingZeroBitCount, family.bitCount)
            while hostBits > 0, next | Self.hostMask(hostBits) > end { hostBits -= 1 }
            let address = IPAddress(family: family, numericValue: next)
            if let prefix = Prefix(address, length: family.bitCount - hostBits) {
                covered.append(prefix)
            }
            let lastCovered = next | Self.hostMask(hostBits)
            guard lastCovered < end else { return covered }
            next = lastCovered + 1
        }
    }

    private static func hostMask(_ bits: Int) -> UInt128 {
        bits >= 128 ? .max : (1 << UInt128(bits)) - 1
    }

    /// `first-last`, or the prefix where the range is one.
    public var description: String {
        let covered = prefixes
        return covered.count == 1 ? covered[0].description : "\(first)-\(last)"
    }

    /// Sorts by the lowest address, then the highest.
    public static func < (left: Self, right: Self) -> Bool {
        (left.first, left.last) < (right.first, right.last)
    }
}

// MARK: - Text

extension AddressRange {
    /// Why a text is no range, with what to write instead.
    public struct ParseError: Error, Hashable, CustomStringConvertible {
        /// The fault and its remedy.
        public let description: String
    }

    /// Reads `address/length` or `first-last`; blanks around either end do not matter.
    /// - Throws: `ParseError` with the fault and its remedy.
    public init(parsing text: String) throws(ParseError) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false).map(trimmed)
        switch parts.count {
        case 1:
            if let prefix = Prefix(parts[0]) {
                self.init(prefix)
                return
            }
            if let address = IPAddress(parts[0]) {
                throw ParseError(
                    description: "\"\(text)\" has no length: write "
                        + "\"\(address)/\(address.family.bitCount)\" for one address")
            }
            throw ParseError(
                description: "\"\(text)\" is neither a CIDR (10.1.0.0/24) nor a range "
                    + "(10.1.0.2-10.1.0.100)")
        case 2:
            guard let first = IPAddress(parts[0]) else {
                throw ParseError(
                    description: "\"\(text)\": the first address \"\(parts[0])\" is none")
            }
            guard let last = IPAddress(parts[1]) else {
                throw ParseError(
                    description: "\"\(text)\": the last address \"\(parts[1])\" is none")
            }
            guard first.family == last.family else {
                throw ParseError(
                    description: "\"\(text)\": both ends must be of one family (IPv4 or IPv6)")
            }
            guard let range = Self(first: first, last: last) else {
                throw ParseError(
                    description: "\"\(text)\": the first address is higher than the last; "
                        + "write \"\(last)-\(first)\"")
            }
            self = range
        default:
            throw ParseError(
                description: "\"\(text)\" has more than one \"-\": list each range by itself")
        }
    }
}

/// `text` without blanks at its ends.
func trimmed(_ text: some StringProtocol) -> String {
    let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0 == "\n" || $0 == "\r" }
    var rest = Substring(text).drop(while: isBlank)
    while let character = rest.last, isBlank(character) { rest.removeLast() }
    return String(rest)
}

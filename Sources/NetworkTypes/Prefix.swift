/// A network prefix (CIDR): an address with the host bits cleared, and a length in bits.
public struct Prefix: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The first address of the prefix.
    public let address: IPAddress
    /// The number of leading bits that are fixed: 0–32 or 0–128.
    public let length: Int

    /// Makes a prefix; host bits of `address` are cleared. Nil if `length` does not fit the family.
    public init?(_ address: IPAddress, length: Int) {
        guard (0...address.family.bitCount).contains(length) else { return nil }
        let hostBits = address.family.bitCount - length
        let value = hostBits >= 128 ? 0 : (address.numericValue >> hostBits) << hostBits
        self.address = IPAddress(family: address.family, numericValue: value)
        self.length = length
    }

    /// Parses `address/length`; nil where the text is not a prefix. Host bits may be set: they are
    /// cleared, as Go's ParseCIDR does.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPAddress(parts[0]),
            let length = Int(parts[1]), parts[1].utf8.allSatisfy({ (48...57).contains($0) })
        else { return nil }
        self.init(address, length: length)
    }

    /// The prefix that holds one address only.
    public init(host address: IPAddress) {
        self.address = address
        self.length = address.family.bitCount
    }

    /// The family of the prefix.
    public var family: IPAddress.Family { address.family }

    /// The highest address of the prefix (the broadcast address of an IPv4 network).
    public var lastAddress: IPAddress {
        IPAddress(family: family, numericValue: address.numericValue | hostMask)
    }

    /// The number of addresses, capped at `UInt64.max`.
    public var addressCount: UInt64 {
        let hostBits = family.bitCount - length
        return hostBits >= 64 ? .max : 1 << UInt64(hostBits)
    }

    /// True where `candidate` has this family and lies within the prefix.
    public func contains(_ candidate: IPAddress) -> Bool {
        candidate.family == family && candidate.numericValue & ~hostMask == address.numericValue
    }

    /// True where the two prefixes share an address.
    public func overlaps(_ other: Prefix) -> Bool {
        contains(other.address) || other.contains(address)
    }

    /// The address `index` places after the first, or nil outside the prefix.
    public func address(at index: UInt64) -> IPAddress? {
        guard UInt128(index) <= hostMask else { return nil }
        return IPAddress(
            family: family, numericValue: address.numericValue + UInt128(index))
    }

    /// The text `address/length`.
    public var description: String { "\(address)/\(length)" }

    /// Sorts by address, then shorter lengths first.
    public static func < (left: Prefix, right: Prefix) -> Bool {
        (left.address, left.length) < (right.address, right.length)
    }

    private var hostMask: UInt128 {
        let hostBits = family.bitCount - length
        return hostBits >= 128 ? .max : (1 << UInt128(hostBits)) - 1
    }
}

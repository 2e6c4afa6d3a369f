/// A 48-bit Ethernet address (IEEE 802).
public struct MACAddress: Hashable, Sendable, CustomStringConvertible {
    /// The address in the low 48 bits, first octet highest.
    public let value: UInt64

    /// Makes an address from the low 48 bits of `value`.
    public init(_ value: UInt64) { self.value = value & 0xFFFF_FFFF_FFFF }

    /// Makes an address from six bytes in transmission order; nil for any other count.
    public init?(networkBytes bytes: some Collection<UInt8>) {
        guard bytes.count == 6 else { return nil }
        self.init(bytes.reduce(0) { $0 << 8 | UInt64($1) })
    }

    /// Parses `aa:bb:cc:dd:ee:ff`; nil for anything else.
    public init?(_ text: some StringProtocol) {
        let parts = text.utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard parts.count == 6 else { return nil }
        var value: UInt64 = 0
        for part in parts {
            guard part.count == 2 else { return nil }
            for byte in part {
                guard let digit = hexadecimalDigit(byte) else { return nil }
                value = value << 4 | UInt64(digit)
            }
        }
        self.init(value)
    }

    /// ff:ff:ff:ff:ff:ff
    public static let broadcast = MACAddress(0xFFFF_FFFF_FFFF)
    /// 00:00:00:00:00:00
    public static let zero = MACAddress(0)

    /// The six bytes in transmission order.
    public var networkBytes: [UInt8] {
        (0..<6).map { UInt8(truncatingIfNeeded: value >> (40 - 8 * UInt64($0))) }
    }

    /// Lower-case hexadecimal octets with colons.
    public var description: String {
        networkBytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
    }
}

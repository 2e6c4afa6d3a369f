import NetworkTypes

/// A cursor over bytes that answers nil rather than read past the end.
struct ByteReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
        guard count >= 0, count <= rest.count else { return nil }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    mutating func remainder() -> ArraySlice<UInt8> {
        defer { rest = rest.dropFirst(rest.count) }
        return rest
    }

    mutating func byte() -> UInt8? { rest.popFirst() }

    mutating func integer<Value: FixedWidthInteger>(_: Value.Type) -> Value? {
        take(Value.bitWidth / 8)?.reduce(0) { $0 << 8 | Value(truncatingIfNeeded: $1) }
    }

    /// Every prefix to the end (RFC 4271 §4.3); nil when one is malformed. Bits after a prefix's
    /// length are irrelevant, so they are cleared.
    mutating func prefixes(_ family: IPAddress.Family) -> [Prefix]? {
        var found: [Prefix] = []
        while let length = byte() {
            let bits = Int(length)
            guard bits <= family.bitCount, let head = take((bits + 7) / 8) else { return nil }
            let padding = [UInt8](repeating: 0, count: family.bitCount / 8 - head.count)
            guard let address = IPAddress(networkBytes: Array(head) + padding) else { return nil }
            guard let prefix = Prefix(address, length: bits) else { return nil }
            found.append(prefix)
        }
        return found
    }
}

extension [UInt8] {
    mutating func append<Value: FixedWidthInteger>(integer value: Value) {
        for shift in stride(from: Value.bitWidth - 8, through: 0, by: -8) {
            append(UInt8(truncatingIfNeeded: value >> Value(shift)))
        }
    }

    mutating func append(prefixes: [Prefix]) {
        for prefix in prefixes {
            append(UInt8(clamping: prefix.length))
            append(contentsOf: prefix.address.networkBytes.prefix((prefix.length + 7) / 8))
        }
    }
}

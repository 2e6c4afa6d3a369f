public import NetworkTypes

/// Server cookies: RFC 7873's, in the interoperable form of RFC 9018, 4.
public struct ServerCookie: Sendable {
    private let key0: UInt64
    private let key1: UInt64
    /// How old a cookie may be, in seconds (RFC 9018, 4.3).
    private static let maximumAgeSeconds: UInt32 = 3600
    /// How far in the future a cookie may be, in seconds.
    private static let maximumSkewSeconds: UInt32 = 300

    /// Makes a generator with a 128-bit secret.
    public init(key0: UInt64, key1: UInt64) {
        self.key0 = key0
        self.key1 = key1
    }

    /// The 24 octets to answer: the client's 8 as they came, version, time, and the hash that ties
    /// them to the client's address.
    ///
    /// - Parameters:
    ///   - client: the client cookie's 8 octets, as they lie in memory.
    ///   - address: the client's address.
    ///   - nowSeconds: seconds since 1970, modulo 2³².
    public func make(
        client: UInt64, address: IPAddress, nowSeconds: UInt32
    ) -> (UInt64, UInt64, UInt64) {
        // Version 1, three octets reserved, the time in network order: as they lie in memory.
        let middle = UInt64(bigEndian: 0x0100_0000_0000_0000 | UInt64(nowSeconds))
        return (client, middle, hash(client, middle, address))
    }

    /// Whether the server's part of a cookie is one that `make` gave this client not long ago.
    public func isValid(
        client: UInt64, middle: UInt64, hash: UInt64, address: IPAddress, nowSeconds: UInt32
    ) -> Bool {
        guard UInt64(bigEndian: middle) >> 56 == 1 else { return false }
        let time = UInt32(truncatingIfNeeded: UInt64(bigEndian: middle))
        let age = nowSeconds &- time
        guard age <= Self.maximumAgeSeconds || time &- nowSeconds <= Self.maximumSkewSeconds else {
            return false
        }
        return self.hash(client, middle, address) == hash
    }

    /// The hash over client cookie, version, reserved octets, time and address (RFC 9018, 4.4).
    private func hash(_ client: UInt64, _ middle: UInt64, _ address: IPAddress) -> UInt64 {
        var state = SipHash24(key0, key1)
        state.absorb(UInt64(littleEndian: client))
        state.absorb(UInt64(littleEndian: middle))
        switch address {
        case .v4(let value):
            // 20 octets: the last word holds the address and the length.
            return state.finish(UInt64(value.byteSwapped), length: 20).littleEndian
        case .v6(let value):
            state.absorb(UInt64(truncatingIfNeeded: value >> 64).byteSwapped)
            state.absorb(UInt64(truncatingIfNeeded: value).byteSwapped)
            return state.finish(0, length: 32).littleEndian
        }
    }
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012), word by word.
struct SipHash24 {
    private var v0: UInt64
    private var v1: UInt64
    private var v2: UInt64
    private var v3: UInt64

    @inline(__always)
    init(_ key0: UInt64, _ key1: UInt64) {
        v0 = key0 ^ 0x736F_6D65_7073_6575
        v1 = key1 ^ 0x646F_7261_6E64_6F6D
        v2 = key0 ^ 0x6C79_6765_6E65_7261
        v3 = key1 ^ 0x7465_6462_7974_6573
    }

    @inline(__always)
    mutating func absorb(_ word: UInt64) {
        v3 ^= word
        round()
        round()
        v0 ^= word
    }

    /// The hash after the octets that do not fill a word, lowest first, and the length of all.
    @inline(__always)
    mutating func finish(_ rest: UInt64, length: UInt64) -> UInt64 {
        absorb(rest | length << 56)
        v2 ^= 0xFF
        for _ in 0..<4 { round() }
        return v0 ^ v1 ^ v2 ^ v3
    }

    @inline(__always)
    private mutating func round() {
        v0 &+= v1
        v1 = Self.rotate(v1, 13) ^ v0
        v0 = Self.rotate(v0, 32)
        v2 &+= v3
        v3 = Self.rotate(v3, 16) ^ v2
        v0 &+= v3
        v3 = Self.rotate(v3, 21) ^ v0
        v2 &+= v1
        v1 = Self.rotate(v1, 17) ^ v2
        v2 = Self.rotate(v2, 32)
    }

    @inline(__always)
    private static func rotate(_ value: UInt64, _ bits: UInt64) -> UInt64 {
        value << bits | value >> (64 - bits)
    }
}

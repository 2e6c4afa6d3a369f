import BGP
import NetworkTypes
import Testing

/// SplitMix64, so that a failure can be repeated.
private struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    mutating func numbers(_ range: ClosedRange<Int>) -> [UInt32] {
        (0..<Int.random(in: range, using: &self)).map { _ in
            UInt32.random(in: 1 ... .max, using: &self)
        }
    }

    mutating func prefixes(_ family: IPAddress.Family) -> [Prefix] {
        (0..<Int.random(in: 0...5, using: &self)).compactMap { _ in
            let value = UInt128.random(in: 0 ... .max, using: &self)
            let address = IPAddress(
                family: family, numericValue: family == .ipv4 ? value >> 96 : value)
            return Prefix(address, length: Int.random(in: 0...family.bitCount, using: &self))
        }
    }

    mutating func update() -> Update {
        let hop = IPAddress(family: .ipv4, numericValue: 0x0A00_0001)
        let hop6 = IPAddress(family: .ipv6, numericValue: UInt128(next()) + 1)
        let large = numbers(0...5).map { LargeCommunity($0, $0 / 2, $0 / 3) }
        let extras: [PathAttribute] = [
            .localPreference(UInt32(truncatingIfNeeded: next())), .communities(numbers(0...100)),
            .largeCommunities(large), .unreachIPv6(prefixes(.ipv6)),
            .reachIPv6(
                nextHop: hop6, linkLocal: Bool.random(using: &self) ? hop6 : nil, prefixes(.ipv6)),
            .other(flags: 0xC0, type: 200, value: numbers(0...9).map { UInt8($0 & 0xFF) }),
        ]
        let path = [ASPathSegment(numbers(1...9)), ASPathSegment(isSet: true, numbers(1...90))]
        let chosen = extras.filter { _ in Bool.random(using: &self) }.shuffled(using: &self)
        return Update(
            withdrawn: prefixes(.ipv4),
            attributes: [.origin(.egp), .asPath(path), .nextHop(hop)] + chosen,
            announced: prefixes(.ipv4))
    }
}

@Suite struct PropertyTests {
    @Test func updatesRoundTrip() throws {
        var generator = Generator(state: 1)
        for _ in 0..<1000 {
            let message = BGPMessage.update(generator.update())
            #expect(try BGPMessage(decoding: message.encoded()[...]) == message)
        }
    }

    /// Random bodies after a right header, and right messages with a few bytes changed: what is
    /// read is refused or can be written.
    @Test func randomBytesNeverTrap() throws {
        var generator = Generator(state: 2)
        var read = 0
        for round in 0..<20_000 {
            var bytes: [UInt8]
            if round.isMultiple(of: 2) {
                let count = Int.random(in: 0...60, using: &generator)
                bytes = [UInt8](repeating: 0xFF, count: 16)
                bytes += [0, UInt8(19 + count), UInt8.random(in: 1...4, using: &generator)]
                bytes += (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            } else {
                bytes = try BGPMessage.update(generator.update()).encoded()
                for _ in 0..<3 {
                    let index = Int.random(in: 19..<bytes.count, using: &generator)
                    bytes[index] = UInt8.random(in: 0...255, using: &generator)
                }
            }
            guard let message = try? BGPMessage(decoding: bytes[...]) else { continue }
            read += 1
            #expect(throws: Never.self) { try message.encoded() }
        }
        #expect(read > 0)
    }
}

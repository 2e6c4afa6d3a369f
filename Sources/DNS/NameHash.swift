/// The hash of lower-case wire names: eight bytes at a time, folded by 64×64→128 bit products.
///
/// The seed is drawn at start, so that nobody outside can prepare names that collide.
public struct NameHash: Sendable {
    /// The secret that sets this process' hashes apart.
    public let seed: UInt64

    /// Makes a hash function; tests pass a fixed seed.
    public init(seed: UInt64) { self.seed = seed }

    /// The hash of this process, with a seed drawn when it is first used.
    public static let process = NameHash(seed: UInt64.random(in: 0...UInt64.max))

    @inline(__always)
    static func mix(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        return product.high ^ product.low
    }

    /// The first state, before any word.
    @inline(__always)
    var start: UInt64 { seed ^ 0x9E37_79B9_7F4A_7C15 }

    /// The state after one more word.
    @inline(__always)
    static func step(_ state: UInt64, _ word: UInt64) -> UInt64 {
        mix(state ^ word, 0xA076_1D64_78BD_642F)
    }

    /// The hash after the last word; never 0.
    @inline(__always)
    static func finish(_ state: UInt64, length: Int) -> UInt64 {
        mix(state ^ UInt64(length), 0xE703_7ED1_A0B4_28DB) | 1
    }

    /// Lower-cases `length` bytes from `source` to `target` and hashes them on the way. `target`
    /// must have room for `length` rounded up to eight; the bytes past `length` become 0.
    @inline(__always)
    func lowercase(
        _ source: UnsafePointer<UInt8>, _ length: Int, to target: UnsafeMutablePointer<UInt8>
    ) -> UInt64 {
        var state = start
        var index = 0
        let raw = UnsafeRawPointer(source)
        let out = UnsafeMutableRawPointer(target)
        while index + 8 <= length {
            let word = Self.lowercased(raw.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            out.storeBytes(of: word, toByteOffset: index, as: UInt64.self)
            state = Self.step(state, word)
            index += 8
        }
        if index < length {
            var word: UInt64 = 0
            var shift: UInt64 = 0
            for position in index..<length {
                word |= UInt64(source[position]) << shift
                shift += 8
            }
            word = Self.lowercased(word).littleEndian
            out.storeBytes(of: word, toByteOffset: index, as: UInt64.self)
            state = Self.step(state, word)
        }
        return Self.finish(state, length: length)
    }

    /// The hash of bytes that are lower case already.
    public func hash(_ bytes: [UInt8]) -> UInt64 {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 264) { scratch in
            guard let target = scratch.baseAddress, bytes.count <= 256 else { return 1 }
            return bytes.withUnsafeBufferPointer { source in
                guard let base = source.baseAddress else { return 1 }
                return lowercase(base, bytes.count, to: target)
            }
        }
    }

    /// The hash of `length` bytes, at most 256, whatever their case.
    func hash(_ bytes: UnsafePointer<UInt8>, _ length: Int) -> UInt64 {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 264) { scratch in
            guard let target = scratch.baseAddress, length <= 256 else { return 1 }
            return lowercase(bytes, length, to: target)
        }
    }

    /// Sets bit 5 of each of the eight bytes that is `A`–`Z`; the rest is untouched. Length octets
    /// are at most 63 and so never look like a letter.
    @inline(__always)
    static func lowercased(_ word: UInt64) -> UInt64 {
        let low7 = word & 0x7F7F_7F7F_7F7F_7F7F
        let atLeastA = low7 &+ 0x3F3F_3F3F_3F3F_3F3F
        let aboveZ = low7 &+ 0x2525_2525_2525_2525
        let isUpper = atLeastA & ~aboveZ & ~word & 0x8080_8080_8080_8080
        return word | isUpper >> 2
    }
}

/// Identifiers of objects: random UUIDs (RFC 9562, version 4) in lower case, as Kubernetes writes
/// them. Foundation's open a file for each, which was 3 % of a create.
enum ObjectUID {
    /// Makes a new one from the system's random numbers.
    static func make() -> String {
        var generator = SystemRandomNumberGenerator()
        return text(high: generator.next(), low: generator.next())
    }

    /// The text of 128 bits, once version and variant are set in them.
    static func text(high: UInt64, low: UInt64) -> String {
        let high = high & ~0xF000 | 0x4000
        let low = low & ~(0b11 << 62) | 0b10 << 62
        // Safe: 32 digits and 4 dashes fill the 36 bytes asked for, each before they are counted.
        return String(unsafeUninitializedCapacity: 36) { buffer in
            var position = 0
            for digit in 0..<32 {
                if (8...20).contains(digit), digit % 4 == 0 {
                    buffer[position] = UInt8(ascii: "-")
                    position += 1
                }
                let half = digit < 16 ? high : low
                let value = UInt8(half >> UInt64(60 - digit % 16 * 4) & 15)
                buffer[position] =
                    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
                position += 1
            }
            return position
        }
    }
}

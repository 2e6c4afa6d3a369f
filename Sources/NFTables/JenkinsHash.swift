/// Bob Jenkins' lookup3 as the kernel has it (linux/jhash.h), over bytes in the machine's order.
func jenkinsHash(_ bytes: [UInt8], seed: UInt32) -> UInt32 {
    let initial = 0xDEAD_BEEF &+ UInt32(truncatingIfNeeded: bytes.count) &+ seed
    var (a, b, c) = (initial, initial, initial)
    var offset = 0

    func word(_ position: Int) -> UInt32 {
        (0..<4).reduce(0) { sum, index in
            let at = position + index
            return at < bytes.count ? sum | UInt32(bytes[at]) << UInt32(8 * index) : sum
        }
    }
    func rotate(_ value: UInt32, _ count: UInt32) -> UInt32 {
        value << count | value >> (32 - count)
    }

    while bytes.count - offset > 12 {
        a = a &+ word(offset)
        b = b &+ word(offset + 4)
        c = c &+ word(offset + 8)
        a = (a &- c) ^ rotate(c, 4)
        c = c &+ b
        b = (b &- a) ^ rotate(a, 6)
        a = a &+ c
        c = (c &- b) ^ rotate(b, 8)
        b = b &+ a
        a = (a &- c) ^ rotate(c, 16)
        c = c &+ b
        b = (b &- a) ^ rotate(a, 19)
        a = a &+ c
        c = (c &- b) ^ rotate(b, 4)
        b = b &+ a
        offset += 12
    }
    guard offset < bytes.count else { return c }
    a = a &+ word(offset)
    b = b &+ word(offset + 4)
    c = c &+ word(offset + 8)
    c = (c ^ b) &- rotate(b, 14)
    a = (a ^ c) &- rotate(c, 11)
    b = (b ^ a) &- rotate(a, 25)
    c = (c ^ b) &- rotate(b, 16)
    a = (a ^ c) &- rotate(c, 4)
    b = (b ^ a) &- rotate(a, 14)
    c = (c ^ b) &- rotate(b, 24)
    return c
}

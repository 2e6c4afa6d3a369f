/// Big-endian reads from untrusted bytes. Callers check bounds first; Span traps otherwise.
extension Span where Element == UInt8 {
    /// The 16-bit number at `offset`, network order.
    @inline(__always)
    func u16(_ offset: Int) -> UInt16 { UInt16(self[offset]) << 8 | UInt16(self[offset + 1]) }

    /// The 32-bit number at `offset`, network order.
    @inline(__always)
    func u32(_ offset: Int) -> UInt32 { UInt32(u16(offset)) << 16 | UInt32(u16(offset + 2)) }
}

extension UnsafeMutablePointer where Pointee == UInt8 {
    /// Stores a 16-bit number in network order.
    @inline(__always)
    func store16(_ value: UInt16, at offset: Int) {
        UnsafeMutableRawPointer(self + offset).storeBytes(of: value.bigEndian, as: UInt16.self)
    }

    /// Stores a 32-bit number in network order.
    @inline(__always)
    func store32(_ value: UInt32, at offset: Int) {
        UnsafeMutableRawPointer(self + offset).storeBytes(of: value.bigEndian, as: UInt32.self)
    }
}

extension Array where Element == UInt8 {
    /// Appends a 16-bit number in network order.
    mutating func append16(_ value: UInt16) {
        append(UInt8(truncatingIfNeeded: value >> 8))
        append(UInt8(truncatingIfNeeded: value))
    }

    /// Appends a 32-bit number in network order.
    mutating func append32(_ value: UInt32) {
        append16(UInt16(truncatingIfNeeded: value >> 16))
        append16(UInt16(truncatingIfNeeded: value))
    }
}

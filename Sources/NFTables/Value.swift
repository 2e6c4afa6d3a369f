import Netlink
public import NetworkTypes

/// The bytes of a key, of a map's data or of a constant, as the kernel's registers hold them.
///
/// A register is 4 bytes wide. A value of one field has the field's own length; in a concatenation
/// of several, each field is padded with zeros to a multiple of 4 bytes (nft's rule, `nft(8)`
/// CONCATENATIONS). Appending fields keeps that layout, so a value built field by field is ready
/// for the wire:
///
///     let key = Value(.address(vip), .transport(.tcp), .port(80))
///
/// Up to 32 bytes are kept inline, so that hundreds of thousands of keys cost no allocation.
public struct Value: Hashable, Sendable {
    /// The number of bytes: at most 64, what sixteen registers hold.
    public private(set) var byteCount: Int = 0
    private var word0: UInt64 = 0
    private var word1: UInt64 = 0
    private var word2: UInt64 = 0
    private var word3: UInt64 = 0
    /// The bytes after the 32nd; empty for nearly every key.
    private var overflow: [UInt8] = []

    /// One field of a value.
    public enum Field: Hashable, Sendable {
        /// An address, 4 or 16 bytes in network order.
        case address(IPAddress)
        /// The protocol number of an IP header, one byte.
        case transport(TransportProtocol)
        /// A port, two bytes in network order.
        case port(UInt16)
        /// A 32-bit number in the machine's order, as marks, indexes and numgen have it.
        case number(UInt32)
        /// One byte: a protocol number, a direction.
        case byte(UInt8)
        /// A link's name, 16 bytes, padded with zeros (IFNAMSIZ); cut to 15 bytes.
        case interfaceName(String)
        /// Anything else, as it appears in the packet.
        case bytes([UInt8])
    }

    /// An empty value, to append to.
    public init() {}

    /// Makes a value of one field, or the concatenation of several.
    public init(_ fields: Field...) {
        for field in fields { append(field) }
    }

    /// Makes a value of one field, or the concatenation of several.
    public init(_ fields: [Field]) {
        for field in fields { append(field) }
    }

    /// Makes a value of the bytes as they are, without padding; those after the 64th are dropped.
    public init(bytes: some Sequence<UInt8>) {
        for byte in bytes { put(UInt64(byte), count: 1) }
    }

    /// Makes a value of received bytes.
    init(view: ByteView) {
        let count = min(view.count, Self.maximumByteCount)
        var offset = 0
        while offset + 4 <= count {
            put(UInt64(view.uint32(at: offset)), count: 4)
            offset += 4
        }
        while offset < count {
            put(UInt64(view.uint8(at: offset)), count: 1)
            offset += 1
        }
    }

    /// Appends a field. From the second field on, each is padded to a multiple of 4 bytes.
    public mutating func append(_ field: Field) {
        let isConcatenation = byteCount > 0
        pad()
        switch field {
        case .address(.v4(let value)):
            put(UInt64(value.byteSwapped.littleEndian), count: 4)
        case .address(.v6(let value)):
            put(UInt64(truncatingIfNeeded: value >> 64).byteSwapped, count: 8)
            put(UInt64(truncatingIfNeeded: value).byteSwapped, count: 8)
        case .transport(let transport): put(UInt64(transport.number), count: 1)
        case .port(let port): put(UInt64(port.byteSwapped), count: 2)
        case .number(let number): put(UInt64(number), count: 4)
        case .byte(let byte): put(UInt64(byte), count: 1)
        case .interfaceName(let name):
            let start = byteCount
            for byte in name.utf8.prefix(15) { put(UInt64(byte), count: 1) }
            while byteCount < start + 16, byteCount < Self.maximumByteCount { put(0, count: 1) }
        case .bytes(let bytes): for byte in bytes { put(UInt64(byte), count: 1) }
        }
        if isConcatenation { pad() }
    }

    /// The most bytes a value can have (NFT_DATA_VALUE_MAXLEN).
    public static let maximumByteCount = 64

    /// The bytes, in the order of the wire.
    public var bytes: [UInt8] { (0..<byteCount).map { self[$0] } }

    /// The byte at `index`, which must be less than `byteCount`; zero beyond.
    public subscript(index: Int) -> UInt8 {
        if index >= 32 { return index - 32 < overflow.count ? overflow[index - 32] : 0 }
        return UInt8(truncatingIfNeeded: word(index >> 3) >> UInt64((index & 7) * 8))
    }

    /// Four bytes from `offset` on, as a number in the machine's order; missing bytes are zero.
    public func number(at offset: Int = 0) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(self[offset + $1]) << UInt32(8 * $1) }
    }

    /// Two bytes from `offset` on, in network order, as a port.
    public func port(at offset: Int) -> UInt16 {
        UInt16(self[offset]) << 8 | UInt16(self[offset + 1])
    }

    /// The address of `family` whose bytes begin at `offset`.
    public func address(_ family: IPAddress.Family, at offset: Int = 0) -> IPAddress {
        var numeric: UInt128 = 0
        for index in 0..<(family.bitCount / 8) {
            numeric = numeric << 8 | UInt128(self[offset + index])
        }
        return IPAddress(family: family, numericValue: numeric)
    }

    /// Writes the bytes to `destination`, which must have room for `byteCount` of them.
    func write(to destination: UnsafeMutableRawPointer) {
        var offset = 0
        while offset + 8 <= byteCount, offset < 32 {
            destination.storeBytes(
                of: word(offset >> 3).littleEndian, toByteOffset: offset, as: UInt64.self)
            offset += 8
        }
        while offset < byteCount {
            destination.storeBytes(of: self[offset], toByteOffset: offset, as: UInt8.self)
            offset += 1
        }
    }

    /// The value one greater, reading all bytes as one number in network order; nil where every
    /// bit is set. An interval's end is the first value after it.
    func successor() -> Value? {
        var bytes = self.bytes
        for index in bytes.indices.reversed() {
            bytes[index] &+= 1
            if bytes[index] != 0 { return Value(bytes: bytes) }
        }
        return nil
    }

    /// The value one less, in the same reading; nil for zero.
    func predecessor() -> Value? {
        var bytes = self.bytes
        for index in bytes.indices.reversed() {
            bytes[index] &-= 1
            if bytes[index] != 0xFF { return Value(bytes: bytes) }
        }
        return nil
    }

    private func word(_ index: Int) -> UInt64 {
        switch index {
        case 0: word0
        case 1: word1
        case 2: word2
        default: word3
        }
    }

    private mutating func merge(_ bits: UInt64, intoWord index: Int) {
        switch index {
        case 0: word0 |= bits
        case 1: word1 |= bits
        case 2: word2 |= bits
        default: word3 |= bits
        }
    }

    private mutating func pad() {
        while byteCount & 3 != 0 { put(0, count: 1) }
    }

    /// Appends the low `count` bytes of `chunk`, the lowest first.
    private mutating func put(_ chunk: UInt64, count: Int) {
        guard byteCount + count <= Self.maximumByteCount else { return }
        if byteCount + count <= 32 {
            let shift = UInt64((byteCount & 7) * 8)
            merge(chunk << shift, intoWord: byteCount >> 3)
            if Int(shift) + 8 * count > 64 {
                merge(chunk >> (64 - shift), intoWord: byteCount >> 3 + 1)
            }
            byteCount += count
            return
        }
        for index in 0..<count {
            let byte = UInt8(truncatingIfNeeded: chunk >> UInt64(8 * index))
            if byteCount < 32 {
                merge(UInt64(byte) << UInt64((byteCount & 7) * 8), intoWord: byteCount >> 3)
            } else {
                overflow.append(byte)
            }
            byteCount += 1
        }
    }
}

extension Value: CustomStringConvertible {
    /// The bytes in hexadecimal, a dot after each register.
    public var description: String {
        var text = ""
        for (index, byte) in bytes.enumerated() {
            if index > 0, index & 3 == 0 { text += "." }
            text += (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        return text
    }
}

/// A stretch of received bytes. Reads past its end yield zero or nothing, so that a short or
/// malformed message can't read what is not its own.
public struct ByteView: Sendable {
    private let storage: [UInt8]
    private let start: Int
    /// The number of bytes.
    public let count: Int

    /// All bytes of an array.
    public init(_ bytes: [UInt8]) {
        storage = bytes
        start = 0
        count = bytes.count
    }

    private init(storage: [UInt8], start: Int, count: Int) {
        self.storage = storage
        self.start = start
        self.count = count
    }

    /// The bytes from `offset` on, at most `byteCount` of them.
    public func dropFirst(_ offset: Int, byteCount: Int = .max) -> ByteView {
        let skipped = min(max(offset, 0), count)
        let length = min(max(byteCount, 0), count - skipped)
        return ByteView(storage: storage, start: start + skipped, count: length)
    }

    /// A copy of the bytes.
    public var bytes: [UInt8] { Array(storage[start..<(start + count)]) }

    /// The byte at `offset`; zero past the end.
    public func uint8(at offset: Int = 0) -> UInt8 {
        offset >= 0 && offset < count ? storage[start + offset] : 0
    }

    /// Two bytes in the machine's order.
    public func uint16(at offset: Int = 0) -> UInt16 {
        if offset >= 0, offset + 2 <= count {
            return storage.withUnsafeBytes {
                $0.loadUnaligned(fromByteOffset: start + offset, as: UInt16.self)
            }
        }
        return UInt16(uint8(at: offset)) | UInt16(uint8(at: offset + 1)) << 8
    }

    /// Four bytes in the machine's order.
    public func uint32(at offset: Int = 0) -> UInt32 {
        if offset >= 0, offset + 4 <= count {
            return storage.withUnsafeBytes {
                $0.loadUnaligned(fromByteOffset: start + offset, as: UInt32.self)
            }
        }
        return UInt32(uint16(at: offset)) | UInt32(uint16(at: offset + 2)) << 16
    }

    /// Two bytes in network order.
    public func uint16BigEndian(at offset: Int = 0) -> UInt16 { uint16(at: offset).byteSwapped }

    /// Four bytes in network order.
    public func uint32BigEndian(at offset: Int = 0) -> UInt32 { uint32(at: offset).byteSwapped }

    /// Eight bytes in network order.
    public func uint64BigEndian(at offset: Int = 0) -> UInt64 {
        UInt64(uint32BigEndian(at: offset)) << 32 | UInt64(uint32BigEndian(at: offset + 4))
    }

    /// The text up to the first zero byte, repaired where it is not UTF-8.
    public var string: String {
        let bytes = storage[start..<(start + count)]
        return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }

    // MARK: - Attributes

    /// Calls `body` with each attribute (struct nlattr) from `offset` on, flags cut from the type.
    /// Stops at the first whose length does not fit.
    public func forEachAttribute(
        from offset: Int = 0, _ body: (_ type: UInt16, _ payload: ByteView) throws -> Void
    ) rethrows {
        var position = offset
        while position + 4 <= count {
            let length = Int(uint16(at: position))
            guard length >= 4, position + length <= count else { return }
            try body(
                uint16(at: position + 2) & 0x3FFF,
                dropFirst(position + 4, byteCount: length - 4))
            position += (length + 3) & ~3
        }
    }

    /// The payload of the first attribute of the type, from `offset` on.
    public func attribute(_ type: some AttributeNumber, from offset: Int = 0) -> ByteView? {
        let number = type.attributeNumber
        var found: ByteView?
        forEachAttribute(from: offset) { candidate, payload in
            if candidate == number, found == nil { found = payload }
        }
        return found
    }
}

/// A netlink message that was received.
public struct Message: Sendable {
    /// What it is; its meaning depends on the family of the socket.
    public let type: UInt16
    /// NLM_F_*.
    public let flags: UInt16
    /// The number of the request it answers.
    public let sequence: UInt32
    /// What follows the header.
    public let payload: ByteView

    /// Cuts a datagram into its messages; stops at the first whose length does not fit.
    public static func parse(_ datagram: ByteView) -> [Message] {
        var messages: [Message] = []
        var position = 0
        while position + 16 <= datagram.count {
            let length = Int(datagram.uint32(at: position))
            guard length >= 16, position + length <= datagram.count else { break }
            messages.append(
                Message(
                    type: datagram.uint16(at: position + 4),
                    flags: datagram.uint16(at: position + 6),
                    sequence: datagram.uint32(at: position + 8),
                    payload: datagram.dropFirst(position + 16, byteCount: length - 16)))
            position += (length + 3) & ~3
        }
        return messages
    }
}

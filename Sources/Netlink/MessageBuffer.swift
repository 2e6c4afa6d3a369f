/// A number that names a netlink attribute.
public protocol AttributeNumber {
    /// The number as the wire has it, without flags.
    var attributeNumber: UInt16 { get }
}

extension UInt16: AttributeNumber {
    /// The number itself.
    @inlinable public var attributeNumber: UInt16 { self }
}

extension Int: AttributeNumber {
    /// The low sixteen bits: anonymous C enumerators import as `Int`.
    @inlinable public var attributeNumber: UInt16 { UInt16(truncatingIfNeeded: self) }
}

extension AttributeNumber where Self: RawRepresentable, RawValue == UInt32 {
    /// The low sixteen bits: named C enumerators import with a `UInt32` raw value.
    @inlinable public var attributeNumber: UInt16 { UInt16(truncatingIfNeeded: rawValue) }
}

/// Netlink messages side by side in one growing stretch of memory, ready for one send.
///
/// Sequence numbers stay zero until `NetlinkSocket` sends the buffer. Lengths are patched when a
/// message or a nested attribute ends, so nothing is copied or allocated for an attribute.
/// Not safe for use from two threads at once; `removeAll` keeps the memory for the next batch.
public final class MessageBuffer {
    /// The number of bytes written.
    public private(set) var count = 0
    /// Where each message begins.
    public private(set) var messageOffsets: [Int] = []
    private var storage: UnsafeMutableRawPointer
    private var capacity: Int
    private var isMessageOpen = false

    /// An empty buffer with room for `capacity` bytes before it grows.
    public init(capacity: Int = 16384) {
        self.capacity = max(capacity, 64)
        storage = .allocate(byteCount: self.capacity, alignment: 16)
    }

    deinit { storage.deallocate() }

    /// The bytes written so far.
    public var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

    /// True where no message was begun.
    public var isEmpty: Bool { messageOffsets.isEmpty }

    /// Forgets all messages but keeps the memory.
    public func removeAll() {
        count = 0
        messageOffsets.removeAll(keepingCapacity: true)
        isMessageOpen = false
    }

    /// Lends the bytes for the length of the call.
    public func withUnsafeBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        endMessage()
        return try body(UnsafeRawBufferPointer(start: storage, count: count))
    }

    // MARK: - Messages

    /// Begins a message (struct nlmsghdr), ending the one before.
    public func beginMessage(type: UInt16, flags: UInt16) {
        endMessage()
        messageOffsets.append(count)
        isMessageOpen = true
        let start = grow(by: 16)
        store(UInt32(16), at: start)
        store(type, at: start + 4)
        store(flags, at: start + 6)
        store(UInt32(0), at: start + 8)
        store(UInt32(0), at: start + 12)
    }

    /// Ends the open message: its length is written. No effect where none is open.
    public func endMessage() {
        guard isMessageOpen, let start = messageOffsets.last else { return }
        isMessageOpen = false
        store(UInt32(truncatingIfNeeded: count - start), at: start)
    }

    /// Adds flags to a message that was begun.
    public func addFlags(_ flags: UInt16, toMessage index: Int) {
        let offset = messageOffsets[index] + 6
        store(storage.load(fromByteOffset: offset, as: UInt16.self) | flags, at: offset)
    }

    /// Numbers the messages from `first` on.
    func assignSequenceNumbers(from first: UInt32) {
        for (index, offset) in messageOffsets.enumerated() {
            store(first &+ UInt32(truncatingIfNeeded: index), at: offset + 8)
        }
    }

    /// Appends a message's fixed header, which must be a C struct without pointers.
    public func putStruct<Struct: BitwiseCopyable>(_ value: Struct) {
        let start = grow(by: (MemoryLayout<Struct>.size + 3) & ~3)
        storage.storeBytes(of: value, toByteOffset: start, as: Struct.self)
    }

    // MARK: - Attributes

    /// Appends an attribute of one byte.
    @inlinable
    public func put8(_ type: some AttributeNumber, _ value: UInt8) {
        let start = beginAttribute(type.attributeNumber, byteCount: 1)
        store(value, at: start)
    }

    /// Appends an attribute of two bytes in the machine's order.
    @inlinable
    public func put16(_ type: some AttributeNumber, _ value: UInt16) {
        let start = beginAttribute(type.attributeNumber, byteCount: 2)
        store(value, at: start)
    }

    /// Appends an attribute of four bytes in the machine's order.
    @inlinable
    public func put32(_ type: some AttributeNumber, _ value: UInt32) {
        let start = beginAttribute(type.attributeNumber, byteCount: 4)
        store(value, at: start)
    }

    /// Appends an attribute of two bytes in network order.
    @inlinable
    public func put16BigEndian(_ type: some AttributeNumber, _ value: UInt16) {
        put16(type, value.bigEndian)
    }

    /// Appends an attribute of four bytes in network order, as netfilter has them.
    @inlinable
    public func put32BigEndian(_ type: some AttributeNumber, _ value: UInt32) {
        put32(type, value.bigEndian)
    }

    /// Appends an attribute of eight bytes in network order.
    @inlinable
    public func put64BigEndian(_ type: some AttributeNumber, _ value: UInt64) {
        let start = beginAttribute(type.attributeNumber, byteCount: 8)
        store(value.bigEndian, at: start)
    }

    /// Appends an attribute without a payload.
    public func putFlag(_ type: some AttributeNumber) {
        _ = beginAttribute(type.attributeNumber, byteCount: 0)
    }

    /// Appends text with a closing zero.
    public func putString(_ type: some AttributeNumber, _ value: String) {
        var value = value
        value.withUTF8 { utf8 in
            let start = beginAttribute(type.attributeNumber, byteCount: utf8.count + 1)
            if let base = utf8.baseAddress {
                (storage + start).copyMemory(from: base, byteCount: utf8.count)
            }
            store(UInt8(0), at: start + utf8.count)
        }
    }

    /// Appends bytes as they are.
    public func putBytes(_ type: some AttributeNumber, _ bytes: [UInt8]) {
        let start = beginAttribute(type.attributeNumber, byteCount: bytes.count)
        bytes.withUnsafeBytes { source in
            if let base = source.baseAddress {
                (storage + start).copyMemory(from: base, byteCount: source.count)
            }
        }
    }

    /// Appends an attribute of `byteCount` bytes, which `fill` must write in full.
    public func putUninitialized(
        _ type: some AttributeNumber, byteCount: Int, fill: (UnsafeMutableRawPointer) -> Void
    ) {
        let start = beginAttribute(type.attributeNumber, byteCount: byteCount)
        fill(storage + start)
    }

    /// Appends a nested attribute (NLA_F_NESTED) with what `body` appends.
    public func nest(_ type: some AttributeNumber, _ body: () -> Void) {
        let start = beginNest(type.attributeNumber | 0x8000)
        body()
        endNest(start)
    }

    /// Begins a nested attribute; `type` carries NLA_F_NESTED where the kernel wants it. Give the
    /// returned offset to `endNest`.
    public func beginNest(_ type: UInt16) -> Int {
        let start = grow(by: 4)
        store(UInt16(4), at: start)
        store(type, at: start + 2)
        return start
    }

    /// Ends the nested attribute that began at `start`. One longer than 65,535 bytes cannot be
    /// expressed: callers that fill lists look at `count` and start another in time.
    public func endNest(_ start: Int) {
        store(UInt16(truncatingIfNeeded: count - start), at: start)
    }

    // MARK: - Memory

    // Safe: every offset written to comes from `grow`, which makes room first, or from a message or
    // nest that began at such an offset; `removeAll` forgets those together with `count`.

    /// Appends an attribute's header and room for its padded payload; returns where that begins.
    @usableFromInline
    func beginAttribute(_ type: UInt16, byteCount: Int) -> Int {
        let padded = (byteCount + 3) & ~3
        let start = grow(by: 4 + padded)
        store(UInt16(truncatingIfNeeded: byteCount + 4), at: start)
        store(type, at: start + 2)
        // The last word holds the padding, which must not leak what the memory held before.
        if padded != byteCount { store(UInt32(0), at: start + padded) }
        return start + 4
    }

    @usableFromInline
    func store<Number: FixedWidthInteger & BitwiseCopyable>(_ value: Number, at offset: Int) {
        storage.storeBytes(of: value, toByteOffset: offset, as: Number.self)
    }

    private func grow(by byteCount: Int) -> Int {
        let start = count
        if start + byteCount > capacity {
            capacity = max(capacity * 2, start + byteCount)
            let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
            larger.copyMemory(from: storage, byteCount: start)
            storage.deallocate()
            storage = larger
        }
        count = start + byteCount
        return start
    }
}

/// Cuts the bytes of a session into frames. It holds no more than one control frame: data is given
/// out as it comes.
public struct FrameDecoder: ~Copyable {
    /// The longest control frame that is read: a stream's headers are far below.
    public static let controlLimit = 16 * 1024

    private struct DataFrame {
        var id: UInt32
        var isLast: Bool
        var remaining: Int
    }

    private let inflater: HeaderInflater
    private var buffer: [UInt8] = []
    private var start = 0
    private var dataFrame: DataFrame?

    /// Makes a decoder for one direction of a session.
    /// - Throws: where zlib has no memory.
    public init() throws(SPDYError) { self.init(try HeaderInflater()) }

    init(_ inflater: HeaderInflater) { self.inflater = inflater }

    /// Takes bytes in.
    public mutating func append(_ bytes: some Collection<UInt8>) {
        if start > 0 {
            buffer.removeFirst(start)
            start = 0
        }
        buffer += bytes
    }

    /// The next whole frame or piece of data; nil until more bytes are here.
    /// - Throws: what ends the session.
    public mutating func next() throws(SPDYError) -> SPDYFrame? {
        if let frame = dataFrame { return piece(of: frame) }
        guard buffer.count - start >= SPDYFrame.headerByteCount else { return nil }
        var reader = Reader(buffer[start...])
        let word = try reader.word()
        let flagsAndLength = try reader.word()
        let flags = UInt8(flagsAndLength >> 24)
        let length = Int(flagsAndLength & 0xFF_FFFF)
        guard word >> 31 == 1 else {
            guard word != 0 else { throw .malformed("data on stream 0") }
            start += SPDYFrame.headerByteCount
            let frame = DataFrame(
                id: word, isLast: flags & SPDYFrame.lastFlag != 0, remaining: length)
            dataFrame = frame
            return piece(of: frame)
        }
        let version = UInt16(word >> 16 & 0x7FFF)
        guard version == SPDYFrame.version else { throw .version(version) }
        guard length <= Self.controlLimit else { throw .tooLong(length) }
        let end = start + SPDYFrame.headerByteCount + length
        guard buffer.count >= end else { return nil }
        let payload = buffer[(start + SPDYFrame.headerByteCount)..<end]
        start = end
        return try control(UInt16(word & 0xFFFF), flags, payload)
    }

    private mutating func piece(of frame: DataFrame) -> SPDYFrame? {
        let count = min(frame.remaining, buffer.count - start)
        guard count > 0 || frame.remaining == 0 else { return nil }
        let bytes = Array(buffer[start..<(start + count)])
        start += count
        let isOver = count == frame.remaining
        dataFrame = isOver ? nil : frame
        dataFrame?.remaining -= count
        return .data(id: frame.id, isLast: frame.isLast && isOver, bytes: bytes)
    }

    private func control(
        _ type: UInt16, _ flags: UInt8, _ payload: ArraySlice<UInt8>
    ) throws(SPDYError) -> SPDYFrame {
        var reader = Reader(payload)
        let isLast = flags & SPDYFrame.lastFlag != 0
        switch type {
        case SPDYFrame.ControlType.synStream:
            let (id, associated) = (try reader.streamID(), try reader.word() & 0x7FFF_FFFF)
            let priority = try reader.byte() >> 5
            _ = try reader.byte()  // a slot for credentials, which nobody uses
            return .synStream(
                id: id, associatedTo: associated, priority: priority, isLast: isLast,
                isUnidirectional: flags & SPDYFrame.unidirectionalFlag != 0,
                headers: try headers(reader.rest))
        case SPDYFrame.ControlType.synReply:
            let id = try reader.streamID()
            return .synReply(id: id, isLast: isLast, headers: try headers(reader.rest))
        case SPDYFrame.ControlType.headers:
            let id = try reader.streamID()
            return .headers(id: id, isLast: isLast, headers: try headers(reader.rest))
        case SPDYFrame.ControlType.reset:
            let id = try reader.streamID()
            return .reset(id: id, status: .init(rawValue: try reader.word()))
        case SPDYFrame.ControlType.settings: return .settings
        case SPDYFrame.ControlType.ping: return .ping(id: try reader.word())
        case SPDYFrame.ControlType.goAway:
            let id = try reader.word() & 0x7FFF_FFFF
            return .goAway(lastGoodID: id, status: try reader.word())
        case SPDYFrame.ControlType.windowUpdate:
            let id = try reader.word() & 0x7FFF_FFFF
            return .windowUpdate(id: id, byteCount: try reader.word() & 0x7FFF_FFFF)
        default: return .unknown(type: type)
        }
    }

    /// A header block (2.6.10): a count, then names and values, each with its length before it.
    private func headers(_ block: ArraySlice<UInt8>) throws(SPDYError) -> [SPDYHeader] {
        let inflated = try inflater.inflate(block)
        var reader = Reader(inflated[...])
        let count = Int(try reader.word())
        // A pair takes eight bytes at least, so a count that lies is found before memory is taken.
        guard count <= inflated.count / 8 else { throw .malformed("\(count) headers") }
        var headers: [SPDYHeader] = []
        for _ in 0..<count {
            let name = try reader.text()
            guard !name.isEmpty else { throw .malformed("a header without a name") }
            headers.append(SPDYHeader(name, try reader.text()))
        }
        return headers
    }
}

/// Reads numbers, most significant byte first.
private struct Reader {
    private(set) var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    mutating func byte() throws(SPDYError) -> UInt8 {
        guard let byte = rest.popFirst() else { throw .malformed("it is cut short") }
        return byte
    }

    mutating func word() throws(SPDYError) -> UInt32 {
        guard rest.count >= 4 else { throw .malformed("it is cut short") }
        defer { rest = rest.dropFirst(4) }
        return rest.prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
    }

    mutating func streamID() throws(SPDYError) -> UInt32 {
        let id = try word() & 0x7FFF_FFFF
        guard id != 0 else { throw .malformed("stream 0") }
        return id
    }

    mutating func text() throws(SPDYError) -> String {
        let count = Int(try word())
        guard count <= rest.count else { throw .malformed("a text is cut short") }
        defer { rest = rest.dropFirst(count) }
        return String(decoding: rest.prefix(count), as: UTF8.self)
    }
}

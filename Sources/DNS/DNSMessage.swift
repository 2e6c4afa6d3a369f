/// A question (RFC 1035, 4.1.2).
public struct DNSQuestion: Hashable, Sendable {
    /// The name asked for.
    public var name: DNSName
    /// The type asked for.
    public var type: RecordType
    /// The class; 1 is the Internet.
    public var questionClass: UInt16

    /// Makes a question in the Internet class.
    public init(name: DNSName, type: RecordType, questionClass: UInt16 = internetClass) {
        self.name = name
        self.type = type
        self.questionClass = questionClass
    }
}

/// A resource record (RFC 1035, 4.1.3).
public struct ResourceRecord: Equatable, Sendable {
    /// The owner.
    public var name: DNSName
    /// The type.
    public var type: RecordType
    /// The class; for OPT, the sender's datagram limit.
    public var recordClass: UInt16
    /// The time to live in seconds; for OPT, extended code, version and flags.
    public var timeToLiveSeconds: UInt32
    /// The data, names in it uncompressed.
    public var data: [UInt8]

    /// Makes a record in the Internet class.
    public init(
        name: DNSName, type: RecordType, recordClass: UInt16 = internetClass,
        timeToLiveSeconds: UInt32, data: [UInt8]
    ) {
        self.name = name
        self.type = type
        self.recordClass = recordClass
        self.timeToLiveSeconds = timeToLiveSeconds
        self.data = data
    }
}

/// A whole message, decoded: for forwarding, tests and tools. The zone's answers never pass here.
public struct DNSMessage: Equatable, Sendable {
    /// The message ID.
    public var id: UInt16
    /// The second word of the header.
    public var flags: UInt16
    /// The question section.
    public var questions: [DNSQuestion]
    /// The answer section.
    public var answers: [ResourceRecord]
    /// The authority section.
    public var authorities: [ResourceRecord]
    /// The additional section, OPT included.
    public var additionals: [ResourceRecord]

    /// Makes a message; what is left out is empty.
    public init(
        id: UInt16, flags: UInt16, questions: [DNSQuestion] = [], answers: [ResourceRecord] = [],
        authorities: [ResourceRecord] = [], additionals: [ResourceRecord] = []
    ) {
        self.id = id
        self.flags = flags
        self.questions = questions
        self.answers = answers
        self.authorities = authorities
        self.additionals = additionals
    }

    /// The response code, with EDNS' upper bits where there is an OPT.
    public var responseCode: ResponseCode {
        let low = flags & HeaderFlags.responseCodeMask
        let high = additionals.first { $0.type == .opt }.map { $0.timeToLiveSeconds >> 24 } ?? 0
        return ResponseCode(rawValue: UInt16(high) << 4 | low)
    }

    /// The TC bit.
    public var isTruncated: Bool { flags & HeaderFlags.truncated != 0 }
}

/// Why bytes are not a message.
public enum DNSDecodeError: Error, Equatable, Sendable {
    /// The bytes end inside the part named.
    case truncated(String)
    /// A label's length octet has its upper bits set to a reserved value.
    case reservedLabelType
    /// A compression pointer does not point to an earlier octet.
    case forwardPointer
    /// A name is longer than 255 octets.
    case nameTooLong
    /// A record's data does not have the form of its type.
    case malformedData(RecordType)
}

// MARK: - Decoding

extension DNSMessage {
    /// Decodes untrusted bytes. Bytes after the last record are ignored, as other servers do.
    public init(decoding bytes: Span<UInt8>) throws(DNSDecodeError) {
        guard bytes.count >= WireSize.header else { throw .truncated("header") }
        self.init(id: bytes.u16(0), flags: bytes.u16(2))
        var offset = WireSize.header
        for _ in 0..<bytes.u16(4) {
            let name = try Self.name(bytes, &offset)
            guard offset + 4 <= bytes.count else { throw .truncated("question") }
            questions.append(
                DNSQuestion(
                    name: name, type: RecordType(rawValue: bytes.u16(offset)),
                    questionClass: bytes.u16(offset + 2)))
            offset += 4
        }
        answers = try Self.records(bytes, &offset, count: bytes.u16(6))
        authorities = try Self.records(bytes, &offset, count: bytes.u16(8))
        additionals = try Self.records(bytes, &offset, count: bytes.u16(10))
    }

    private static func records(
        _ bytes: borrowing Span<UInt8>, _ offset: inout Int, count: UInt16
    ) throws(DNSDecodeError) -> [ResourceRecord] {
        var records: [ResourceRecord] = []
        for _ in 0..<count {
            let name = try name(bytes, &offset)
            guard offset + 10 <= bytes.count else { throw .truncated("record") }
            let type = RecordType(rawValue: bytes.u16(offset))
            let length = Int(bytes.u16(offset + 8))
            let start = offset + 10
            guard start + length <= bytes.count else { throw .truncated("record data") }
            records.append(
                ResourceRecord(
                    name: name, type: type, recordClass: bytes.u16(offset + 2),
                    timeToLiveSeconds: bytes.u32(offset + 4),
                    data: try data(bytes, type, start, length)))
            offset = start + length
        }
        return records
    }

    /// Copies a record's data, with names expanded in the types that may have them compressed
    /// (RFC 3597, 4, and SRV as RFC 2052 had it).
    private static func data(
        _ bytes: borrowing Span<UInt8>, _ type: RecordType, _ start: Int, _ length: Int
    ) throws(DNSDecodeError) -> [UInt8] {
        guard let layout = DataLayout(type) else {
            var copy: [UInt8] = []
            copy.reserveCapacity(length)
            for index in start..<(start + length) { copy.append(bytes[index]) }
            if type == .a, length != 4 { throw .malformedData(type) }
            if type == .aaaa, length != 16 { throw .malformedData(type) }
            return copy
        }
        let end = start + length
        var offset = start + layout.prefix
        guard offset <= end else { throw .malformedData(type) }
        var result: [UInt8] = []
        for index in start..<offset { result.append(bytes[index]) }
        for _ in 0..<layout.nameCount {
            let name = try name(bytes, &offset)
            guard offset <= end else { throw .malformedData(type) }
            result += name.wire
        }
        guard end - offset == layout.suffix else { throw .malformedData(type) }
        for index in offset..<end { result.append(bytes[index]) }
        return result
    }

    /// Reads a name that may be compressed. Each pointer must point before the label sequence it
    /// ends, so that the walk ends (RFC 1035, 4.1.4: "a prior occurrence").
    static func name(
        _ bytes: borrowing Span<UInt8>, _ offset: inout Int
    ) throws(DNSDecodeError) -> DNSName {
        var wire: [UInt8] = []
        var index = offset
        var sequenceStart = offset
        var end: Int?
        while true {
            guard index < bytes.count else { throw .truncated("name") }
            let length = Int(bytes[index])
            switch length & 0xC0 {
            case 0x00:
                guard index + length < bytes.count else { throw .truncated("name") }
                guard wire.count + length + 1 <= DNSName.maximumLength else { throw .nameTooLong }
                for position in index...(index + length) { wire.append(bytes[position]) }
                index += length + 1
                if length == 0 {
                    offset = end ?? index
                    return DNSName(unchecked: wire)
                }
            case 0xC0:
                guard index + 1 < bytes.count else { throw .truncated("name") }
                let target = (length & 0x3F) << 8 | Int(bytes[index + 1])
                guard target < sequenceStart else { throw .forwardPointer }
                if end == nil { end = index + 2 }
                index = target
                sequenceStart = target
            default:
                throw .reservedLabelType
            }
        }
    }
}

/// Where the names are in the data of the types that have compressible ones.
struct DataLayout {
    /// Octets before the first name.
    let prefix: Int
    /// How many names follow each other.
    let nameCount: Int
    /// Octets after the last name.
    let suffix: Int
    /// Whether the writer may compress them (RFC 3597, 4: only the types of RFC 1035).
    let compresses: Bool

    init?(_ type: RecordType) {
        switch type {
        case .ns, .cname, .ptr: (prefix, nameCount, suffix, compresses) = (0, 1, 0, true)
        case .mx: (prefix, nameCount, suffix, compresses) = (2, 1, 0, true)
        case .soa: (prefix, nameCount, suffix, compresses) = (0, 2, 20, true)
        case .srv: (prefix, nameCount, suffix, compresses) = (6, 1, 0, false)
        // DNAME (RFC 6672, 2.5: not to be compressed).
        case RecordType(rawValue: 39): (prefix, nameCount, suffix, compresses) = (0, 1, 0, false)
        default: return nil
        }
    }
}

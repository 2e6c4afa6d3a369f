/// What a datagram asks, as plain numbers: reading it allocates nothing.
public struct ParsedQuery {
    /// The message ID.
    public var id: UInt16 = 0
    /// The second word of the header, as it came.
    public var flags: UInt16 = 0
    /// The length of the question's name in octets, root included; the name begins at octet 12.
    public var nameLength = 0
    /// The question's type.
    public var type: UInt16 = 0
    /// The question's class.
    public var questionClass: UInt16 = 0
    /// The hash of the lower-case name.
    public var hash: UInt64 = 0
    /// Whether there was an OPT record.
    public var hasEDNS = false
    /// The EDNS version.
    public var ednsVersion: UInt8 = 0
    /// The DO bit (RFC 3225).
    public var dnssecOK = false
    /// The largest answer the client takes over UDP; 512 without EDNS.
    public var datagramLimit = WireSize.plainDatagram
    /// Where the COOKIE option's data begins in the message; 0 for none.
    public var cookieOffset = 0
    /// The length of the COOKIE option's data, in octets.
    public var cookieLength = 0
    /// Whether the client asked for the server's name (RFC 5001).
    public var wantsServerID = false
    /// Whether the query was padded, and so wants its answer padded (RFC 7830).
    public var wantsPadding = false

    /// An empty query, to be filled by `parse`.
    public init() {}

    /// The octet after the question.
    public var questionEnd: Int { WireSize.header + nameLength + 4 }
    /// The operation asked for; 0 is QUERY.
    public var opcode: UInt16 { (flags & HeaderFlags.opcodeMask) >> 11 }
    /// The RD bit.
    public var recursionDesired: Bool { flags & HeaderFlags.recursionDesired != 0 }
}

/// What to do with a datagram after parsing.
public enum QueryVerdict: Equatable, Sendable {
    /// The query is well formed and can be answered.
    case query
    /// Not a question, or too short to answer: say nothing, lest two servers answer each other.
    case drop
    /// Answer with this code and no more than header and (if it was readable) question.
    case refuse(ResponseCode)
}

/// Reads questions out of untrusted datagrams.
public struct QueryParser: Sendable {
    /// The hash that the zone's table uses.
    public let nameHash: NameHash

    /// Makes a parser whose hashes match those of a table with the same function.
    public init(nameHash: NameHash) { self.nameHash = nameHash }

    /// Reads header, question and OPT of `bytes` into `query`. The name goes to `lowercased` in
    /// lower case; it must have room for 264 octets.
    ///
    /// Records in the answer and authority sections of a query are stepped over (IXFR and UPDATE
    /// have some); a second OPT, a bad OPT owner or lengths that overrun give FORMERR
    /// (RFC 6891, 6.1.1).
    public func parse(
        _ bytes: UnsafeBufferPointer<UInt8>, lowercased: UnsafeMutablePointer<UInt8>,
        into query: inout ParsedQuery
    ) -> QueryVerdict {
        query = ParsedQuery()
        let span = bytes.span
        guard span.count >= WireSize.header, let base = bytes.baseAddress else { return .drop }
        query.id = span.u16(0)
        query.flags = span.u16(2)
        guard query.flags & HeaderFlags.response == 0 else { return .drop }
        guard query.opcode == 0 else { return .refuse(.notImplemented) }
        guard span.u16(4) == 1 else { return .refuse(.formatError) }
        guard let length = DNSName.length(ofNameIn: span, at: WireSize.header),
            WireSize.header + length + 4 <= span.count
        else { return .refuse(.formatError) }
        query.nameLength = length
        query.type = span.u16(WireSize.header + length)
        query.questionClass = span.u16(WireSize.header + length + 2)
        query.hash = nameHash.lowercase(base + WireSize.header, length, to: lowercased)
        let recordCount = Int(span.u16(6)) + Int(span.u16(8)) + Int(span.u16(10))
        if recordCount == 0 { return .query }
        return readRecords(span, count: recordCount, into: &query) ? .query : .refuse(.formatError)
    }

    private func readRecords(
        _ span: borrowing Span<UInt8>, count: Int, into query: inout ParsedQuery
    ) -> Bool {
        var offset = query.questionEnd
        for _ in 0..<count {
            let owner = offset
            guard let next = skipName(span, at: offset), next + 10 <= span.count else {
                return false
            }
            let dataLength = Int(span.u16(next + 8))
            let dataStart = next + 10
            guard dataStart + dataLength <= span.count else { return false }
            if span.u16(next) == RecordType.opt.rawValue {
                guard !query.hasEDNS, span[owner] == 0 else { return false }
                query.hasEDNS = true
                query.datagramLimit = max(WireSize.plainDatagram, Int(span.u16(next + 2)))
                query.ednsVersion = span[next + 5]
                query.dnssecOK = span[next + 6] & 0x80 != 0
                guard readOptions(span, dataStart, dataStart + dataLength, &query) else {
                    return false
                }
            }
            offset = dataStart + dataLength
        }
        return true
    }

    /// Reads the options of an OPT record (RFC 6891, 6.1.2). A cookie of a length that RFC 7873,
    /// 5.2.2 does not allow makes the query malformed.
    private func readOptions(
        _ span: borrowing Span<UInt8>, _ start: Int, _ end: Int, _ query: inout ParsedQuery
    ) -> Bool {
        var offset = start
        while offset < end {
            guard offset + 4 <= end else { return false }
            let code = span.u16(offset)
            let length = Int(span.u16(offset + 2))
            guard offset + 4 + length <= end else { return false }
            switch code {
            case EDNSOption.cookie:
                guard length == 8 || (16...40).contains(length) else { return false }
                query.cookieOffset = offset + 4
                query.cookieLength = length
            case EDNSOption.serverID:
                query.wantsServerID = true
            case EDNSOption.padding:
                query.wantsPadding = true
            default:
                break
            }
            offset += 4 + length
        }
        return true
    }

    /// The offset after a name that may end in a compression pointer; the pointer is not followed.
    private func skipName(_ span: borrowing Span<UInt8>, at start: Int) -> Int? {
        var offset = start
        while offset < span.count {
            let length = Int(span[offset])
            if length == 0 { return offset + 1 }
            if length & 0xC0 == 0xC0 { return offset + 2 }
            guard length <= DNSName.maximumLabelLength else { return nil }
            offset += length + 1
            if offset - start > DNSName.maximumLength { return nil }
        }
        return nil
    }
}

/// EDNS option codes (IANA "DNS EDNS0 Option Codes").
public enum EDNSOption {
    /// Name server identifier (RFC 5001).
    public static let serverID: UInt16 = 3
    /// DNS cookie (RFC 7873).
    public static let cookie: UInt16 = 10
    /// Padding (RFC 7830).
    public static let padding: UInt16 = 12
    /// Extended DNS error (RFC 8914).
    public static let extendedError: UInt16 = 15
}

/// How far messages over encrypted transports are filled up (RFC 8467, 4.1).
public enum Padding {
    /// Queries, in octets.
    public static let queryBlock = 128
    /// Answers, in octets.
    public static let responseBlock = 468
}

import Glibc

/// Writes answers into a caller's buffer: header, the question as it came, rendered records, OPT.
/// Nothing here allocates.
public struct ResponseWriter {
    /// The buffer; it must have room for `WireSize.largestMessage` octets.
    public let output: UnsafeMutablePointer<UInt8>
    /// Octets written.
    public private(set) var length = 0
    /// The most octets the records may take, OPT included.
    private let limit: Int
    private let reserve: Int

    /// Begins an answer: `limit` is the transport's, `reserve` what OPT will take at the end.
    @inline(__always)
    public init(output: UnsafeMutablePointer<UInt8>, limit: Int, reserve: Int) {
        self.output = output
        self.limit = limit
        self.reserve = reserve
    }

    /// Goes on with an answer of `length` octets that others wrote, to add OPT.
    public init(resuming output: UnsafeMutablePointer<UInt8>, length: Int) {
        self.output = output
        self.length = length
        limit = WireSize.largestMessage
        reserve = 0
    }

    /// Octets that records can still take.
    @inline(__always)
    public var room: Int { limit - reserve - length }

    /// Copies ID and question of `message` and sets the header. RD and CD come back as they were.
    @inline(__always)
    public mutating func begin(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>, code: ResponseCode,
        setting flags: UInt16
    ) {
        let kept =
            query.flags
            & (HeaderFlags.opcodeMask | HeaderFlags.recursionDesired
                | HeaderFlags.checkingDisabled)
        output.store16(query.id, at: 0)
        output.store16(
            kept | HeaderFlags.response | flags
                | code.rawValue & HeaderFlags.responseCodeMask, at: 2)
        let hasQuestion = query.nameLength > 0
        output.store16(hasQuestion ? 1 : 0, at: 4)
        output.store16(0, at: 6)
        output.store32(0, at: 8)
        length = WireSize.header
        guard hasQuestion else { return }
        memcpy(output + length, message + length, query.nameLength + 4)
        length += query.nameLength + 4
    }

    /// Sets TC: the answer did not fit (RFC 2181, 9).
    @inline(__always)
    public mutating func markTruncated() { output[2] |= UInt8(HeaderFlags.truncated >> 8) }

    /// Copies records that are rendered for this place into the answer section.
    @inline(__always)
    public mutating func append(
        answers bytes: UnsafeRawPointer, count: Int, recordCount: Int
    ) {
        memcpy(output + length, bytes, count)
        length += count
        add(recordCount, at: 6)
    }

    /// Copies records into the authority section.
    public mutating func append(
        authorities bytes: UnsafeRawPointer, count: Int, recordCount: Int
    ) {
        memcpy(output + length, bytes, count)
        length += count
        add(recordCount, at: 8)
    }

    /// Copies records into the additional section.
    @inline(__always)
    public mutating func append(
        additionals bytes: UnsafeRawPointer, count: Int, recordCount: Int
    ) {
        memcpy(output + length, bytes, count)
        length += count
        add(recordCount, at: 10)
    }

    /// Copies the records of all three sections at once and returns where they begin; nil, with TC
    /// set, where they do not fit.
    public mutating func append(
        sections bytes: UnsafeRawPointer, count: Int, answerCount: Int, authorityCount: Int,
        additionalCount: Int
    ) -> UnsafeMutablePointer<UInt8>? {
        guard count <= room else {
            markTruncated()
            return nil
        }
        let start = output + length
        memcpy(start, bytes, count)
        length += count
        add(answerCount, at: 6)
        add(authorityCount, at: 8)
        add(additionalCount, at: 10)
        return start
    }

    /// Puts an HINFO that says ANY is not answered in full (RFC 8482, 4.2).
    public mutating func appendMinimalAny(timeToLiveSeconds: UInt32) {
        let data: StaticString = "\u{7}RFC8482\u{0}"
        output.store16(0xC00C, at: length)
        output.store16(RecordType.hinfo.rawValue, at: length + 2)
        output.store16(internetClass, at: length + 4)
        output.store32(timeToLiveSeconds, at: length + 6)
        output.store16(UInt16(data.utf8CodeUnitCount), at: length + 10)
        memcpy(output + length + 12, data.utf8Start, data.utf8CodeUnitCount)
        length += 12 + data.utf8CodeUnitCount
        add(1, at: 6)
    }

    /// Puts an SOA of the zone whose apex is the last `zoneLength` octets of the question's name,
    /// into the authority section, or among the answers where SOA was asked for.
    mutating func appendSOA(
        zoneOffset: Int, serial: UInt32, timeToLiveSeconds: UInt32, asAnswer: Bool
    ) {
        let apex = 0xC000 | UInt16(truncatingIfNeeded: zoneOffset)
        let labels: StaticString = "\u{2}ns\u{3}dns"
        let mailbox: StaticString = "\u{0A}hostmaster"
        output.store16(apex, at: length)
        output.store16(RecordType.soa.rawValue, at: length + 2)
        output.store16(internetClass, at: length + 4)
        output.store32(timeToLiveSeconds, at: length + 6)
        let dataStart = length + 12
        var end = dataStart
        for text in [labels, mailbox] {
            memcpy(output + end, text.utf8Start, text.utf8CodeUnitCount)
            end += text.utf8CodeUnitCount
            output.store16(apex, at: end)
            end += 2
        }
        output.store32(serial, at: end)
        output.store32(7200, at: end + 4)
        output.store32(1800, at: end + 8)
        output.store32(86400, at: end + 12)
        output.store32(timeToLiveSeconds, at: end + 16)
        end += 20
        output.store16(UInt16(end - dataStart), at: length + 10)
        length = end
        add(1, at: asAnswer ? 6 : 8)
    }

    /// Appends an OPT record (RFC 6891, 6.1) with the options that `edns` has.
    public mutating func appendOPT(_ edns: ResponseOPT, code: ResponseCode) {
        output[length] = 0
        output.store16(RecordType.opt.rawValue, at: length + 1)
        output.store16(UInt16(WireSize.safeDatagram), at: length + 3)
        output[length + 5] = UInt8(truncatingIfNeeded: code.rawValue >> 4)
        output[length + 6] = 0
        output.store16(edns.dnssecOK ? 0x8000 : 0, at: length + 7)
        let lengthPlace = length + 9
        length += WireSize.emptyOPT
        if let cookie = edns.cookie {
            output.store16(EDNSOption.cookie, at: length)
            output.store16(24, at: length + 2)
            withUnsafeBytes(of: cookie) { bytes in
                if let base = bytes.baseAddress { memcpy(output + length + 4, base, 24) }
            }
            length += 28
        }
        if let identifier = edns.serverID, !identifier.isEmpty {
            let octets = identifier.utf8
            output.store16(EDNSOption.serverID, at: length)
            output.store16(UInt16(truncatingIfNeeded: octets.count), at: length + 2)
            length += 4
            for octet in octets {
                output[length] = octet
                length += 1
            }
        }
        if edns.isPadded { appendPadding() }
        output.store16(UInt16(length - lengthPlace - 2), at: lengthPlace)
        add(1, at: 10)
    }

    /// Fills the message up to whole blocks; the longest messages get what room there is.
    private mutating func appendPadding() {
        let block = Padding.responseBlock
        let wanted = (length + 4 + block - 1) / block * block
        let count = min(wanted, WireSize.largestMessage) - length - 4
        guard count >= 0 else { return }
        output.store16(EDNSOption.padding, at: length)
        output.store16(UInt16(count), at: length + 2)
        memset(output + length + 4, 0, count)
        length += 4 + count
    }

    @inline(__always)
    private func add(_ count: Int, at offset: Int) {
        let old = Int(output[offset]) << 8 | Int(output[offset + 1])
        output.store16(UInt16(truncatingIfNeeded: old + count), at: offset)
    }
}

/// What the OPT record of an answer holds.
public struct ResponseOPT {
    /// The DO bit, copied from the query (RFC 3225, 3).
    public var dnssecOK: Bool
    /// The client's cookie and the server's, 24 octets.
    public var cookie: (UInt64, UInt64, UInt64)?
    /// The server's name for NSID; nil leaves the option out.
    public var serverID: String?
    /// Whether the message is filled up to a multiple of `Padding.responseBlock`.
    public var isPadded: Bool

    /// Makes an OPT's content.
    public init(
        dnssecOK: Bool, cookie: (UInt64, UInt64, UInt64)? = nil, serverID: String? = nil,
        isPadded: Bool = false
    ) {
        self.dnssecOK = dnssecOK
        self.cookie = cookie
        self.serverID = serverID
        self.isPadded = isPadded
    }

    /// The octets that `appendOPT` will take, padding left out: that takes what room there is.
    @inline(__always)
    public var size: Int {
        WireSize.emptyOPT + (cookie == nil ? 0 : 28)
            + (serverID.map { 4 + $0.utf8.count } ?? 0)
    }
}

import Glibc
public import NetworkTypes
import Synchronization

/// What the zone said to a query.
public enum ZoneOutcome: Equatable, Sendable {
    /// The answer is written, with this code.
    case answered(ResponseCode)
    /// A CNAME is written; its target's records are still to be found.
    case alias
    /// The name does not exist in the zone; an NXDOMAIN with SOA is written. Whoever completes
    /// search paths may put another answer in its place.
    case missing
    /// The name is not the zone's; nothing is written.
    case outside
}

extension Zone {
    /// Answers `query` from the zone into `writer`, without allocating. The calling thread is an
    /// online reader of `table.epochs`.
    ///
    /// - Parameters:
    ///   - message: the query's bytes, for the question in its own case.
    ///   - lowercased: the question's name, as `QueryParser` left it.
    ///   - flags: further header flags, such as RA.
    ///   - rotation: any number; address records begin with the one it picks.
    @inline(__always)
    public func answer(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>,
        lowercased: UnsafePointer<UInt8>, setting flags: UInt16, rotation: UInt32,
        into writer: inout ResponseWriter
    ) -> ZoneOutcome {
        guard let block = NameTable.find(shards, query.hash, lowercased, query.nameLength) else {
            return answerMissing(query, message, lowercased, flags, &writer)
        }
        let authoritative = flags | HeaderFlags.authoritative
        if let set = block.set(type: query.type), query.type != 0 {
            writer.begin(query, message, code: .noError, setting: authoritative)
            write(set, of: block, rotation, &writer)
            return .answered(.noError)
        }
        return answerOther(block, query, message, lowercased, authoritative, &writer)
    }

    @inline(__always)
    private func write(
        _ set: NameBlock.Set, of block: NameBlock, _ rotation: UInt32,
        _ writer: inout ResponseWriter
    ) {
        let records = UnsafeRawPointer(block.memory) + set.offset
        guard set.answerLength <= writer.room else {
            return writeWhatFits(set, records, &writer)
        }
        if set.stride > 0, set.answerCount > 1 {
            let first = Int(rotation % UInt32(set.answerCount))
            let head = first * set.stride
            writer.append(
                answers: records + head, count: set.answerLength - head,
                recordCount: set.answerCount)
            if head > 0 { writer.append(answers: records, count: head, recordCount: 0) }
        } else {
            writer.append(
                answers: records, count: set.answerLength, recordCount: set.answerCount)
        }
        // Additional records that do not fit are left out without TC (RFC 2181, 9).
        if set.additionalCount > 0, set.additionalLength <= writer.room {
            writer.append(
                additionals: records + set.answerLength, count: set.additionalLength,
                recordCount: set.additionalCount)
        }
    }

    /// Puts as many whole records as there is room for, and TC.
    private func writeWhatFits(
        _ set: NameBlock.Set, _ records: UnsafeRawPointer, _ writer: inout ResponseWriter
    ) {
        var length = 0
        var count = 0
        while count < set.answerCount {
            let data = (records + length).load(fromByteOffset: 10, as: UInt8.self)
            let low = (records + length).load(fromByteOffset: 11, as: UInt8.self)
            let next = length + 12 + Int(data) << 8 + Int(low)
            if next > writer.room { break }
            length = next
            count += 1
        }
        writer.append(answers: records, count: length, recordCount: count)
        writer.markTruncated()
    }

    /// A name that exists, without records of the type asked for.
    private func answerOther(
        _ block: NameBlock, _ query: ParsedQuery, _ message: UnsafePointer<UInt8>,
        _ lowercased: UnsafePointer<UInt8>, _ flags: UInt16, _ writer: inout ResponseWriter
    ) -> ZoneOutcome {
        let suffix = zoneLength(lowercased, query.nameLength)
        guard suffix > 0 else { return .outside }
        let type = RecordType(rawValue: query.type)
        if type == .axfr || type == .ixfr {
            writer.begin(query, message, code: .refused, setting: flags & ~0x0400)
            return .answered(.refused)
        }
        writer.begin(query, message, code: .noError, setting: flags)
        let ttl = configuration.timeToLiveSeconds
        if type == .any {
            writer.appendMinimalAny(timeToLiveSeconds: ttl)
            return .answered(.noError)
        }
        if block.flags.contains(.alias), block.setCount > 0 {
            write(block.set(0), of: block, 0, &writer)
            return .alias
        }
        writer.appendSOA(
            zoneOffset: WireSize.header + query.nameLength - suffix,
            serial: serial.load(ordering: .relaxed), timeToLiveSeconds: ttl,
            asAnswer: suffix == query.nameLength && type == .soa)
        return .answered(.noError)
    }

    /// The octets of the zone that the lower-case name is in, the longest where several would do;
    /// 0 where it is in none.
    private func zoneLength(_ name: UnsafePointer<UInt8>, _ length: Int) -> Int {
        var longest = clusterLength(name, length)
        for zone in configuration.reverseZones where zone.wire.count > longest {
            if ends(name, length, zone) { longest = zone.wire.count }
        }
        return longest
    }

    /// The octets of the cluster domain that the lower-case name is in; 0 where it is in none.
    private func clusterLength(_ name: UnsafePointer<UInt8>, _ length: Int) -> Int {
        var longest = ends(name, length, configuration.name) ? configuration.name.wire.count : 0
        for zone in configuration.furtherNames where zone.wire.count > longest {
            if ends(name, length, zone) { longest = zone.wire.count }
        }
        return longest
    }

    // MARK: - Names that are not in the table

    private func answerMissing(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>,
        _ lowercased: UnsafePointer<UInt8>, _ flags: UInt16, _ writer: inout ResponseWriter
    ) -> ZoneOutcome {
        if configuration.podRecords == .insecure {
            let domain = clusterLength(lowercased, query.nameLength)
            if domain > 0, answerPod(query, message, lowercased, domain, flags, &writer) {
                return .answered(.noError)
            }
        }
        let suffix = zoneLength(lowercased, query.nameLength)
        guard suffix > 0,
            !configuration.fallthroughZones.contains(where: {
                ends(lowercased, query.nameLength, $0)
            })
        else { return .outside }
        let authoritative = flags | HeaderFlags.authoritative
        let type = RecordType(rawValue: query.type)
        if type == .axfr || type == .ixfr {
            writer.begin(query, message, code: .refused, setting: flags)
            return .answered(.refused)
        }
        writer.begin(query, message, code: .nameError, setting: authoritative)
        writer.appendSOA(
            zoneOffset: WireSize.header + query.nameLength - suffix,
            serial: serial.load(ordering: .relaxed),
            timeToLiveSeconds: configuration.timeToLiveSeconds, asAnswer: false)
        return .missing
    }

    /// Answers `a-b-c-d.<namespace>.pod.<zone>` with the address that the label spells, where the
    /// namespace exists. The zone's name has `apexLength` octets.
    private func answerPod(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>,
        _ lowercased: UnsafePointer<UInt8>, _ apexLength: Int, _ flags: UInt16,
        _ writer: inout ResponseWriter
    ) -> Bool {
        let labelLength = Int(lowercased[0])
        let parentStart = labelLength + 1
        let namespaceEnd = parentStart + 1 + Int(lowercased[parentStart])
        // What follows the namespace is `pod` and the zone.
        guard namespaceEnd + 4 + apexLength == query.nameLength,
            lowercased[namespaceEnd] == 3, lowercased[namespaceEnd + 1] == UInt8(ascii: "p"),
            lowercased[namespaceEnd + 2] == UInt8(ascii: "o"),
            lowercased[namespaceEnd + 3] == UInt8(ascii: "d"),
            isKnownParent(lowercased + parentStart, query.nameLength - parentStart)
        else { return false }
        var label = (UInt64(0), UInt64(0))
        let addressLength = withUnsafeMutableBytes(of: &label) { buffer in
            buffer.baseAddress.map {
                Self.parseDashed(
                    lowercased + 1, labelLength, $0.assumingMemoryBound(to: UInt8.self))
            } ?? 0
        }
        guard addressLength > 0 else { return false }
        writer.begin(
            query, message, code: .noError, setting: flags | HeaderFlags.authoritative)
        let type: RecordType = addressLength == 4 ? .a : .aaaa
        guard query.type == type.rawValue else {
            writer.appendSOA(
                zoneOffset: WireSize.header + query.nameLength - apexLength,
                serial: serial.load(ordering: .relaxed),
                timeToLiveSeconds: configuration.timeToLiveSeconds, asAnswer: false)
            return true
        }
        writer.appendAddress(
            type, &label, addressLength, timeToLiveSeconds: configuration.timeToLiveSeconds)
        return true
    }

    private func isKnownParent(_ name: UnsafePointer<UInt8>, _ length: Int) -> Bool {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 264) { scratch in
            guard let copy = scratch.baseAddress else { return false }
            let hash = table.nameHash.lowercase(name, length, to: copy)
            return table.find(hash, copy, length) != nil
        }
    }

    /// Reads `10-0-0-1` or `2001-db8--1` into network bytes: 4, 16, or 0 where it is neither.
    private static func parseDashed(
        _ label: UnsafePointer<UInt8>, _ length: Int, _ out: UnsafeMutablePointer<UInt8>
    ) -> Int {
        guard length > 0, length <= 45 else { return 0 }
        var octets = 0
        var value = -1
        var isIPv4 = true
        for index in 0...length {
            let byte = index < length ? label[index] : UInt8(ascii: "-")
            if byte == UInt8(ascii: "-") {
                guard value >= 0, octets < 4 else {
                    isIPv4 = false
                    break
                }
                out[octets] = UInt8(value)
                octets += 1
                value = -1
            } else if byte >= 48, byte <= 57, value != 0 {
                value = max(0, value) * 10 + Int(byte - 48)
                if value > 255 { isIPv4 = false }
            } else {
                isIPv4 = false
            }
            if !isIPv4 { break }
        }
        if isIPv4, octets == 4 { return 4 }
        // IPv6 is rare enough that this path may allocate.
        let text = String(
            decoding: UnsafeBufferPointer(start: label, count: length).map {
                $0 == UInt8(ascii: "-") ? UInt8(ascii: ":") : $0
            }, as: UTF8.self)
        guard let address = IPAddress(text), address.family == .ipv6 else { return 0 }
        for (index, byte) in address.networkBytes.enumerated() { out[index] = byte }
        return 16
    }

    /// Whether the lower-case name ends in `suffix`, at a label's border.
    func ends(_ name: UnsafePointer<UInt8>, _ length: Int, _ suffix: DNSName) -> Bool {
        suffix.wire.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress, length >= buffer.count else { return false }
            let start = length - buffer.count
            var index = 0
            while index < start { index += Int(name[index]) + 1 }
            return index == start && memcmp(name + start, base, buffer.count) == 0
        }
    }

    /// The namespace of the pod at `address` as a wire label sequence, where it is known.
    public func clientNamespace(_ address: IPAddress) -> DNSName? {
        guard let block = table.find(Self.clientKey(address)), block.setCount > 0 else {
            return nil
        }
        let set = block.set(0)
        let data = UnsafeRawBufferPointer(
            start: block.memory + set.offset + 12, count: set.answerLength - 12)
        return DNSName(wire: Array(data))
    }
}

extension ResponseWriter {
    /// Puts one address record at the question's name.
    mutating func appendAddress(
        _ type: RecordType, _ address: inout (UInt64, UInt64), _ count: Int,
        timeToLiveSeconds: UInt32
    ) {
        var record: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        withUnsafeMutableBytes(of: &record) { buffer in
            guard let base = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
            base.store16(0xC00C, at: 0)
            base.store16(type.rawValue, at: 2)
            base.store16(internetClass, at: 4)
            base.store32(timeToLiveSeconds, at: 6)
            base.store16(UInt16(count), at: 10)
            withUnsafeBytes(of: &address) { bytes in
                if let source = bytes.baseAddress { memcpy(base + 12, source, count) }
            }
        }
        withUnsafeBytes(of: &record) { buffer in
            if let base = buffer.baseAddress {
                append(answers: base, count: 12 + count, recordCount: 1)
            }
        }
    }
}

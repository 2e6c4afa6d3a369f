/// Encodes messages, compressing names (RFC 1035, 4.1.4).
public struct MessageEncoder {
    /// The bytes so far.
    public private(set) var bytes: [UInt8] = []
    /// Where the TTLs of records other than OPT are in `bytes`.
    public private(set) var timeToLiveOffsets: [Int] = []
    /// Where names begin that later ones can point to; lower case.
    private var names: [ArraySlice<UInt8>: Int] = [:]

    /// An encoder without bytes.
    public init() {}

    /// Encodes a whole message.
    public static func encode(_ message: DNSMessage) -> [UInt8] {
        var encoder = MessageEncoder()
        encoder.encode(message)
        return encoder.bytes
    }

    /// Encodes `message`; call once. Counts and lengths are cut to sixteen bits.
    public mutating func encode(_ message: DNSMessage) {
        bytes.reserveCapacity(512)
        bytes.append16(message.id)
        bytes.append16(message.flags)
        for count in [
            message.questions.count, message.answers.count, message.authorities.count,
            message.additionals.count,
        ] { bytes.append16(UInt16(truncatingIfNeeded: count)) }
        for question in message.questions {
            append(question.name, compressing: true)
            bytes.append16(question.type.rawValue)
            bytes.append16(question.questionClass)
        }
        for section in [message.answers, message.authorities, message.additionals] {
            for record in section { append(record) }
        }
    }

    private mutating func append(_ record: ResourceRecord) {
        append(record.name, compressing: true)
        bytes.append16(record.type.rawValue)
        bytes.append16(record.recordClass)
        if record.type != .opt { timeToLiveOffsets.append(bytes.count) }
        bytes.append32(record.timeToLiveSeconds)
        let lengthPlace = bytes.count
        bytes.append16(0)
        if let layout = DataLayout(record.type), layout.compresses,
            record.data.count > layout.prefix + layout.suffix
        {
            bytes += record.data[..<layout.prefix]
            var offset = layout.prefix
            for _ in 0..<layout.nameCount {
                guard let length = DNSName.length(ofNameIn: record.data.span, at: offset) else {
                    break
                }
                append(
                    DNSName(unchecked: Array(record.data[offset..<(offset + length)])),
                    compressing: true)
                offset += length
            }
            bytes += record.data[offset...]
        } else {
            bytes += record.data
        }
        let length = bytes.count - lengthPlace - 2
        bytes[lengthPlace] = UInt8(truncatingIfNeeded: length >> 8)
        bytes[lengthPlace + 1] = UInt8(truncatingIfNeeded: length)
    }

    private mutating func append(_ name: DNSName, compressing: Bool) {
        let lower = name.lowercased.wire
        var index = 0
        while name.wire[index] != 0 {
            if let known = names[lower[index...]] {
                bytes.append16(0xC000 | UInt16(known))
                return
            }
            if bytes.count < 0x4000 { names[lower[index...]] = bytes.count }
            let end = index + 1 + Int(name.wire[index])
            bytes += name.wire[index..<end]
            index = end
        }
        bytes.append(0)
    }
}

extension DNSMessage {
    /// A query for one name, as a client or forwarder sends it.
    public static func query(
        id: UInt16, _ question: DNSQuestion, recursionDesired: Bool = true,
        datagramLimit: UInt16? = UInt16(WireSize.safeDatagram), dnssecOK: Bool = false
    ) -> DNSMessage {
        var message = DNSMessage(
            id: id, flags: recursionDesired ? HeaderFlags.recursionDesired : 0,
            questions: [question])
        if let datagramLimit {
            message.additionals.append(
                ResourceRecord(
                    name: .root, type: .opt, recordClass: datagramLimit,
                    timeToLiveSeconds: dnssecOK ? 0x8000 : 0, data: []))
        }
        return message
    }

    /// The message with a Padding option (RFC 7830) that makes it as long as a multiple of `block`
    /// octets; itself where it has no OPT.
    public func padded(toMultipleOf block: Int) -> DNSMessage {
        guard let index = additionals.firstIndex(where: { $0.type == .opt }) else { return self }
        let count = MessageEncoder.encode(self).count + 4
        var message = self
        var option: [UInt8] = []
        let padding = (count + block - 1) / block * block - count
        option.append16(EDNSOption.padding)
        option.append16(UInt16(truncatingIfNeeded: padding))
        option += Array(repeating: 0, count: padding)
        message.additionals[index].data += option
        return message
    }
}

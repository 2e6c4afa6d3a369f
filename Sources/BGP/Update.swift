public import NetworkTypes

/// An UPDATE message (RFC 4271 §4.3). IPv6 routes are in the attributes (RFC 4760).
public struct Update: Hashable, Sendable {
    /// IPv4 prefixes no longer reachable.
    public var withdrawn: [Prefix]
    /// The path attributes, in the order of the message.
    public var attributes: [PathAttribute]
    /// IPv4 prefixes reachable by the attributes' path (the NLRI field).
    public var announced: [Prefix]

    /// An update; announcing needs ORIGIN, AS_PATH and NEXT_HOP (RFC 4271 §5).
    public init(
        withdrawn: [Prefix] = [], attributes: [PathAttribute] = [], announced: [Prefix] = []
    ) {
        self.withdrawn = withdrawn
        self.attributes = attributes
        self.announced = announced
    }

    init(body: inout ByteReader) throws(BGPError) {
        guard let withdrawnLength = body.integer(UInt16.self),
            let withdrawnBytes = body.take(Int(withdrawnLength)),
            let attributesLength = body.integer(UInt16.self),
            let attributeBytes = body.take(Int(attributesLength))
        else { throw .update(1) }
        var withdrawnReader = ByteReader(withdrawnBytes)
        guard let withdrawn = withdrawnReader.prefixes(.ipv4) else { throw .update(10) }
        var reader = ByteReader(attributeBytes)
        var attributes: [PathAttribute] = []
        var types: Set<UInt8> = []
        while !reader.isAtEnd {
            let attribute = try PathAttribute(from: &reader)
            guard types.insert(attribute.type).inserted else { throw .update(1) }
            attributes.append(attribute)
        }
        guard let announced = body.prefixes(.ipv4) else { throw .update(10) }
        var required: [UInt8] = announced.isEmpty ? [] : [1, 2, 3]
        if types.contains(14) { required += [1, 2] }
        for type in required where !types.contains(type) { throw .update(3, [type]) }
        self.init(withdrawn: withdrawn, attributes: attributes, announced: announced)
    }

    func body() throws(BGPError) -> [UInt8] {
        let foreign = (withdrawn + announced).contains { $0.family != .ipv4 }
        guard !foreign else { throw .update(10) }
        var withdrawnBytes: [UInt8] = []
        withdrawnBytes.append(prefixes: withdrawn)
        var attributeBytes: [UInt8] = []
        for attribute in attributes { attributeBytes += try attribute.encoded() }
        // Clamped lengths are those of messages beyond 4096 bytes, which the caller refuses.
        var bytes: [UInt8] = []
        bytes.append(integer: UInt16(clamping: withdrawnBytes.count))
        bytes += withdrawnBytes
        bytes.append(integer: UInt16(clamping: attributeBytes.count))
        bytes += attributeBytes
        bytes.append(prefixes: announced)
        return bytes
    }
}

public import NetworkTypes

/// Something a rule can look at: a header field, a property of the packet or its connection, a
/// number drawn, what a map holds for other selectors. Concatenate by listing several.
///
/// No dependency is implied: in an `inet` table match `.networkProtocol` before an address of one
/// family, and match `.transportProtocol` before ports.
public indirect enum Selector: Hashable, Sendable {
    /// Packet bytes.
    case payload(PayloadBase, offset: Int, byteCount: Int)
    /// A property of the packet.
    case meta(MetaKey)
    /// A property of the connection.
    case ct(CTKey, CTDirection?)
    /// What the routing table says.
    case fib(FIBInputs, FIBResult)
    /// `socket wildcard`: whether the socket that would get the packet is bound to any address.
    case socketWildcard
    /// A number below the modulus, plus the offset.
    case numberGenerator(NumberGenerator, modulus: UInt32, offset: UInt32)
    /// A hash of selectors below the modulus, plus the offset.
    case hash([Selector], modulus: UInt32, seed: UInt32, offset: UInt32)
    /// What a named map holds for a key, with the fields of its data.
    case map([Selector], name: String, fields: [FieldType])
    /// `(selector & mask) ^ xor`.
    case bitwise(Selector, mask: Value, xor: Value)
    /// A constant.
    case constant(Value)

    /// `ip saddr`
    public static let ipSource = Selector.payload(.network, offset: 12, byteCount: 4)
    /// `ip daddr`
    public static let ipDestination = Selector.payload(.network, offset: 16, byteCount: 4)
    /// `ip6 saddr`
    public static let ip6Source = Selector.payload(.network, offset: 8, byteCount: 16)
    /// `ip6 daddr`
    public static let ip6Destination = Selector.payload(.network, offset: 24, byteCount: 16)
    /// `th sport`: the source port of TCP, UDP and SCTP.
    public static let sourcePort = Selector.payload(.transport, offset: 0, byteCount: 2)
    /// `th dport`
    public static let destinationPort = Selector.payload(.transport, offset: 2, byteCount: 2)
    /// `meta l4proto`
    public static let transportProtocol = Selector.meta(.transportProtocol)
    /// `meta nfproto`
    public static let networkProtocol = Selector.meta(.networkProtocol)
    /// `meta mark`
    public static let mark = Selector.meta(.mark)
    /// `meta priority`
    public static let priority = Selector.meta(.priority)
    /// `iifname`
    public static let inputName = Selector.meta(.inputName)
    /// `oifname`
    public static let outputName = Selector.meta(.outputName)
    /// `ct state`
    public static let ctState = Selector.ct(.state, nil)
    /// `ct status`
    public static let ctStatus = Selector.ct(.status, nil)
    /// `ct direction`
    public static let ctDirection = Selector.ct(.direction, nil)
    /// `ct mark`
    public static let ctMark = Selector.ct(.mark, nil)
    /// `ct original proto-dst`
    public static let ctOriginalDestinationPort = Selector.ct(.destinationPort, .original)
    /// `ct reply proto-src`: after DNAT, the endpoint's port.
    public static let ctReplySourcePort = Selector.ct(.sourcePort, .reply)
    /// `fib daddr type`
    public static let destinationType = Selector.fib(.destinationAddress, .addressType)
    /// `fib saddr type`
    public static let sourceType = Selector.fib(.sourceAddress, .addressType)

    /// `ip saddr` or `ip6 saddr`
    public static func source(_ family: IPAddress.Family) -> Selector {
        family == .ipv4 ? .ipSource : .ip6Source
    }

    /// `ip daddr` or `ip6 daddr`
    public static func destination(_ family: IPAddress.Family) -> Selector {
        family == .ipv4 ? .ipDestination : .ip6Destination
    }

    /// `ct original ip daddr`: where the client sent the first packet.
    public static func ctOriginalDestination(_ family: IPAddress.Family) -> Selector {
        .ct(family == .ipv4 ? .destinationIPv4 : .destinationIPv6, .original)
    }

    /// `ct original ip saddr`: the client.
    public static func ctOriginalSource(_ family: IPAddress.Family) -> Selector {
        .ct(family == .ipv4 ? .sourceIPv4 : .sourceIPv6, .original)
    }

    /// `ct reply ip saddr`: after DNAT, the endpoint.
    public static func ctReplySource(_ family: IPAddress.Family) -> Selector {
        .ct(family == .ipv4 ? .sourceIPv4 : .sourceIPv6, .reply)
    }

    /// `numgen random mod N offset O`
    public static func random(modulus: UInt32, offset: UInt32 = 0) -> Selector {
        .numberGenerator(.random, modulus: modulus, offset: offset)
    }

    /// `selector & mask`
    public func masked(_ mask: Value) -> Selector {
        .bitwise(self, mask: mask, xor: Value(bytes: [UInt8](repeating: 0, count: byteCount)))
    }

    /// The length of the value in bytes.
    public var byteCount: Int {
        switch self {
        case .payload(_, _, let byteCount): byteCount
        case .meta(let key): key.byteCount
        case .ct(let key, _): key.byteCount
        case .fib(_, let result): result == .outputName ? 16 : 4
        case .socketWildcard: 1
        case .numberGenerator, .hash: 4
        case .map(_, _, let fields): fields.valueByteCount
        case .bitwise(let selector, _, _): selector.byteCount
        case .constant(let value): value.byteCount
        }
    }

    /// How many registers the value takes.
    var registerCount: UInt32 { UInt32((byteCount + 3) / 4) }

    /// Appends the expressions that load the value from register `index` on. A map's or a hash's
    /// key is loaded into the same registers: the kernel reads the key before it writes the result.
    func load(into index: UInt32, _ expressions: inout [Expression]) {
        let register = Register(index)
        switch self {
        case .payload(let base, let offset, let byteCount):
            expressions.append(
                .payload(base, offset: offset, byteCount: byteCount, into: register))
        case .meta(let key):
            expressions.append(.meta(key, into: register))
        case .ct(let key, let direction):
            expressions.append(.ct(key, direction: direction, into: register))
        case .fib(let inputs, let result):
            expressions.append(.fib(inputs, result, into: register))
        case .socketWildcard:
            expressions.append(.socketWildcard(into: register))
        case .numberGenerator(let generator, let modulus, let offset):
            expressions.append(
                .numberGenerator(generator, modulus: modulus, offset: offset, into: register))
        case .hash(let selectors, let modulus, let seed, let offset):
            let end = Selector.load(selectors, into: index, &expressions)
            expressions.append(
                .hash(
                    from: register, byteCount: Int(end - index) * 4, modulus: modulus,
                    seed: seed, offset: offset, into: register))
        case .map(let selectors, let name, _):
            Selector.load(selectors, into: index, &expressions)
            expressions.append(.map(name, key: register, into: register))
        case .bitwise(let selector, let mask, let xor):
            selector.load(into: index, &expressions)
            expressions.append(.bitwise(from: register, into: register, mask: mask, xor: xor))
        case .constant(let value):
            expressions.append(.immediate(value, into: register))
        }
    }

    /// Loads selectors side by side from register `index` on; returns the first free register.
    @discardableResult
    static func load(
        _ selectors: [Selector], into index: UInt32, _ expressions: inout [Expression]
    ) -> UInt32 {
        var next = index
        for selector in selectors {
            selector.load(into: next, &expressions)
            next += selector.registerCount
        }
        return next
    }
}

public import NetworkTypes

/// A path attribute (RFC 4271 §5).
public enum PathAttribute: Hashable, Sendable {
    /// Where the route comes from (RFC 4271 §5.1.1).
    case origin(Origin)
    /// The ASes that the route passed, numbers of four octets (RFC 4271 §5.1.2, RFC 6793).
    case asPath([ASPathSegment])
    /// The IPv4 router to send to (RFC 4271 §5.1.3).
    case nextHop(IPAddress)
    /// The degree of preference inside an AS; more is better (RFC 4271 §5.1.5).
    case localPreference(UInt32)
    /// Communities, the AS in the upper 16 bits (RFC 1997).
    case communities([UInt32])
    /// Large communities (RFC 8092).
    case largeCommunities([LargeCommunity])
    /// IPv6 unicast routes and their router, perhaps with its link-local address (RFC 4760 §3,
    /// RFC 2545 §3).
    case reachIPv6(nextHop: IPAddress, linkLocal: IPAddress?, [Prefix])
    /// IPv6 unicast routes no longer reachable (RFC 4760 §4).
    case unreachIPv6([Prefix])
    /// Any other: flags without the extended length bit, the type code, and the value's bytes.
    case other(flags: UInt8, type: UInt8, value: [UInt8])

    /// The value of ORIGIN (RFC 4271 §4.3).
    public enum Origin: UInt8, Hashable, Sendable, CaseIterable {
        /// Interior to the originating AS, learned from EGP, or by some other means.
        case igp, egp, incomplete
    }

    /// The attribute's type code (RFC 4271 §4.3).
    public var type: UInt8 {
        switch self {
        case .origin: 1
        case .asPath: 2
        case .nextHop: 3
        case .localPreference: 5
        case .communities: 8
        case .reachIPv6: 14
        case .unreachIPv6: 15
        case .largeCommunities: 32
        case .other(_, let type, _): type
        }
    }
}

/// A segment of an AS_PATH (RFC 4271 §4.3).
public struct ASPathSegment: Hashable, Sendable {
    /// Whether the order of the ASes means nothing (AS_SET) or is the path's (AS_SEQUENCE).
    public var isSet: Bool
    /// The AS numbers, 1 to 255 of them.
    public var numbers: [UInt32]

    /// A segment; an AS_SEQUENCE unless said otherwise.
    public init(isSet: Bool = false, _ numbers: [UInt32]) {
        self.isSet = isSet
        self.numbers = numbers
    }
}

/// A large community (RFC 8092 §3).
public struct LargeCommunity: Hashable, Sendable {
    /// The AS that defines the meaning.
    public var globalAdministrator: UInt32
    /// The first part that it defines.
    public var localData1: UInt32
    /// The second part that it defines.
    public var localData2: UInt32

    /// A large community of its three parts.
    public init(_ globalAdministrator: UInt32, _ localData1: UInt32, _ localData2: UInt32) {
        self.globalAdministrator = globalAdministrator
        self.localData1 = localData1
        self.localData2 = localData2
    }
}

// MARK: - Decoding

private let optionalBit: UInt8 = 0x80
private let transitiveBit: UInt8 = 0x40
private let extendedBit: UInt8 = 0x10

extension PathAttribute {
    init(from reader: inout ByteReader) throws(BGPError) {
        guard let flags = reader.byte(), let type = reader.byte(), let first = reader.byte() else {
            throw .update(1)
        }
        var length = Int(first)
        var whole = [flags, type, first]
        if flags & extendedBit != 0 {
            guard let second = reader.byte() else { throw .update(1) }
            length = length << 8 | Int(second)
            whole.append(second)
        }
        guard let value = reader.take(length) else { throw .update(1) }
        whole += value
        if let expected = Self.flags(type) {
            let bits = flags & (optionalBit | transitiveBit)
            let mayBePartial = expected == optionalBit | transitiveBit
            guard bits == expected, mayBePartial || flags & 0x20 == 0 else {
                throw .update(4, whole)
            }
        } else if flags & optionalBit == 0 {
            throw .update(2, whole)
        }
        self = try Self.decode(flags: flags, type: type, value: value, whole: whole)
    }

    /// The optional and transitive bits of a known type; nil for an unknown one.
    private static func flags(_ type: UInt8) -> UInt8? {
        switch type {
        case 1, 2, 3, 5, 6: transitiveBit
        case 4, 14, 15: optionalBit
        case 7, 8, 32: optionalBit | transitiveBit
        default: nil
        }
    }

    private static func decode(
        flags: UInt8, type: UInt8, value: ArraySlice<UInt8>, whole: [UInt8]
    ) throws(BGPError) -> PathAttribute {
        var reader = ByteReader(value)
        let lengthError = BGPError.update(5, whole)
        switch type {
        case 1:
            guard value.count == 1, let byte = reader.byte() else { throw lengthError }
            guard let origin = Origin(rawValue: byte) else { throw .update(6, whole) }
            return .origin(origin)
        case 2: return .asPath(try segments(&reader))
        case 3:
            guard value.count == 4, let hop = IPAddress(networkBytes: value) else {
                throw lengthError
            }
            guard !hop.isUnspecified, !hop.isMulticast else { throw .update(8, whole) }
            return .nextHop(hop)
        case 5:
            guard value.count == 4, let number = reader.integer(UInt32.self) else {
                throw lengthError
            }
            return .localPreference(number)
        case 8:
            guard value.count.isMultiple(of: 4) else { throw lengthError }
            var list: [UInt32] = []
            while let community = reader.integer(UInt32.self) { list.append(community) }
            return .communities(list)
        case 32:
            guard value.count.isMultiple(of: 12) else { throw lengthError }
            var list: [LargeCommunity] = []
            while let global = reader.integer(UInt32.self), let one = reader.integer(UInt32.self),
                let two = reader.integer(UInt32.self)
            { list.append(LargeCommunity(global, one, two)) }
            return .largeCommunities(list)
        case 14, 15:
            guard let family = reader.integer(UInt16.self), let kind = reader.byte() else {
                throw .update(9, whole)
            }
            guard family == 2, kind == 1 else { break }
            return try multiprotocol(type, &reader, whole)
        case 4: guard value.count == 4 else { throw lengthError }
        case 6: guard value.isEmpty else { throw lengthError }
        case 7: guard value.count == 8 else { throw lengthError }
        default: break
        }
        return .other(flags: flags & ~extendedBit, type: type, value: Array(value))
    }

    private static func segments(_ reader: inout ByteReader) throws(BGPError) -> [ASPathSegment] {
        var found: [ASPathSegment] = []
        while let kind = reader.byte() {
            guard kind == 1 || kind == 2, let count = reader.byte(), count > 0 else {
                throw .update(11)
            }
            var segment = ASPathSegment(isSet: kind == 1, [])
            for _ in 0..<count {
                guard let number = reader.integer(UInt32.self) else { throw .update(11) }
                segment.numbers.append(number)
            }
            found.append(segment)
        }
        return found
    }

    private static func multiprotocol(
        _ type: UInt8, _ reader: inout ByteReader, _ whole: [UInt8]
    ) throws(BGPError) -> PathAttribute {
        let malformed = BGPError.update(9, whole)
        if type == 15 {
            guard let prefixes = reader.prefixes(.ipv6) else { throw malformed }
            return .unreachIPv6(prefixes)
        }
        guard let length = reader.byte(), length == 16 || length == 32,
            let hops = reader.take(Int(length)), reader.byte() != nil,
            let hop = IPAddress(networkBytes: hops.prefix(16)),
            let prefixes = reader.prefixes(.ipv6)
        else { throw malformed }
        let linkLocal = length == 32 ? IPAddress(networkBytes: hops.dropFirst(16)) : nil
        return .reachIPv6(nextHop: hop, linkLocal: linkLocal, prefixes)
    }
}

// MARK: - Encoding

extension PathAttribute {
    func encoded() throws(BGPError) -> [UInt8] {
        let value = try self.value()
        var flags = Self.flags(type) ?? optionalBit
        if case .other(let own, _, _) = self { flags = own & ~extendedBit }
        guard let length = UInt16(exactly: value.count) else { throw .badLength(value.count) }
        guard length > 255 else { return [flags, type, UInt8(length)] + value }
        return [flags | extendedBit, type, UInt8(length >> 8), UInt8(length & 0xFF)] + value
    }

    private func value() throws(BGPError) -> [UInt8] {
        var bytes: [UInt8] = []
        switch self {
        case .origin(let origin): bytes = [origin.rawValue]
        case .asPath(let segments):
            for segment in segments {
                guard let count = UInt8(exactly: segment.numbers.count), count > 0 else {
                    throw .update(11)
                }
                bytes += [segment.isSet ? 1 : 2, count]
                for number in segment.numbers { bytes.append(integer: number) }
            }
        case .nextHop(let hop):
            guard hop.family == .ipv4 else { throw .update(8) }
            bytes = hop.networkBytes
        case .localPreference(let number): bytes.append(integer: number)
        case .communities(let list): for item in list { bytes.append(integer: item) }
        case .largeCommunities(let list):
            for item in list {
                bytes.append(integer: item.globalAdministrator)
                bytes.append(integer: item.localData1)
                bytes.append(integer: item.localData2)
            }
        case .reachIPv6(let hop, let linkLocal, let prefixes):
            let hops = hop.networkBytes + (linkLocal?.networkBytes ?? [])
            let families = prefixes.map(\.family) + [hop.family, linkLocal?.family ?? .ipv6]
            guard families.allSatisfy({ $0 == .ipv6 }) else { throw .update(9) }
            bytes = [0, 2, 1, UInt8(clamping: hops.count)] + hops + [0]
            bytes.append(prefixes: prefixes)
        case .unreachIPv6(let prefixes):
            guard prefixes.allSatisfy({ $0.family == .ipv6 }) else { throw .update(9) }
            bytes = [0, 2, 1]
            bytes.append(prefixes: prefixes)
        case .other(_, _, let value): bytes = value
        }
        return bytes
    }
}

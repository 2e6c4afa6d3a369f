public import NetworkTypes

/// A BGP-4 message (RFC 4271 §4) of a session that negotiated four-octet AS numbers (RFC 6793).
public enum BGPMessage: Hashable, Sendable {
    /// Opens a session (RFC 4271 §4.2).
    case open(Open)
    /// Announces and withdraws routes (RFC 4271 §4.3).
    case update(Update)
    /// Closes a session with a reason (RFC 4271 §4.5).
    case notification(BGPError)
    /// Keeps a session alive (RFC 4271 §4.4).
    case keepalive

    /// The header's length in bytes, and so the shortest message's (RFC 4271 §4.1).
    public static let headerLength = 19
    /// The longest message's length in bytes (RFC 4271 §4.1).
    public static let maximumLength = 4096

    /// The length in bytes of the message that begins with these bytes, or nil when fewer than a
    /// header's 19 have come. Throws when the header is wrong (RFC 4271 §6.1), so that a reader
    /// never waits for the rest of such a message.
    public static func length(of bytes: ArraySlice<UInt8>) throws(BGPError) -> Int? {
        var reader = ByteReader(bytes)
        guard let marker = reader.take(16), let field = reader.integer(UInt16.self),
            let type = reader.byte()
        else { return nil }
        guard marker.allSatisfy({ $0 == 0xFF }) else { throw .notSynchronized }
        let length = Int(field)
        guard (headerLength...maximumLength).contains(length) else { throw .badLength(length) }
        let allowed: ClosedRange<Int>
        switch type {
        case 1: allowed = 29...maximumLength
        case 2: allowed = 23...maximumLength
        case 3: allowed = 21...maximumLength
        case 4: allowed = headerLength...headerLength
        default: throw .badType(type)
        }
        guard allowed.contains(length) else { throw .badLength(length) }
        return length
    }

    /// Reads exactly one message. Throws the error whose NOTIFICATION is to be sent (RFC 4271 §6).
    public init(decoding bytes: ArraySlice<UInt8>) throws(BGPError) {
        guard let length = try Self.length(of: bytes), length == bytes.count else {
            throw .badLength(bytes.count)
        }
        let type = bytes[bytes.startIndex + 18]
        var body = ByteReader(bytes.dropFirst(Self.headerLength))
        switch type {
        case 1: self = .open(try Open(body: &body))
        case 2: self = .update(try Update(body: &body))
        case 3:
            guard let code = body.byte(), let subcode = body.byte() else {
                throw .badLength(length)
            }
            let data = Array(body.remainder())
            self = .notification(BGPError(code: code, subcode: subcode, data: data))
        default: self = .keepalive
        }
    }

    /// The message's bytes. Throws a bad length (RFC 4271 §6.1) when they would be more than 4096,
    /// or when a field is longer than its length can say: split such an update.
    public func encoded() throws(BGPError) -> [UInt8] {
        let type: UInt8
        var body: [UInt8] = []
        switch self {
        case .open(let open):
            type = 1
            body = try open.body()
        case .update(let update):
            type = 2
            body = try update.body()
        case .notification(let error):
            type = 3
            body = [error.code, error.subcode] + error.data
        case .keepalive: type = 4
        }
        let length = Self.headerLength + body.count
        guard length <= Self.maximumLength else { throw .badLength(length) }
        var bytes = [UInt8](repeating: 0xFF, count: 16)
        bytes.append(integer: UInt16(clamping: length))
        bytes.append(type)
        return bytes + body
    }
}

// MARK: - OPEN

/// An OPEN message of BGP version 4 (RFC 4271 §4.2).
public struct Open: Hashable, Sendable {
    /// What the My Autonomous System field says when the number needs four octets (RFC 6793 §9).
    public static let transitionAS: UInt16 = 23456

    /// The sender's AS number: the four-octet capability's where there is one (RFC 6793 §4.1).
    public var autonomousSystem: UInt32
    /// The hold time proposed, in seconds: 0 for none, otherwise 3 or more (RFC 4271 §4.2).
    public var holdTimeSeconds: UInt16
    /// The BGP Identifier, written as an IPv4 address; never 0 (RFC 6286 §2.1).
    public var identifier: IPAddress
    /// The capabilities offered, in the order of the message (RFC 5492).
    public var capabilities: [Capability]

    /// An OPEN; see the properties for what each value must be.
    public init(
        autonomousSystem: UInt32, holdTimeSeconds: UInt16, identifier: IPAddress,
        capabilities: [Capability]
    ) {
        self.autonomousSystem = autonomousSystem
        self.holdTimeSeconds = holdTimeSeconds
        self.identifier = identifier
        self.capabilities = capabilities
    }

    init(body: inout ByteReader) throws(BGPError) {
        guard let version = body.byte(), let shortAS = body.integer(UInt16.self),
            let hold = body.integer(UInt16.self), let router = body.integer(UInt32.self),
            let optionalLength = body.byte()
        else { throw .open(0) }
        guard version == 4 else { throw .open(1, [0, 4]) }
        guard let optional = body.take(Int(optionalLength)), body.isAtEnd else { throw .open(0) }
        var parameters = ByteReader(optional)
        capabilities = []
        while let type = parameters.byte() {
            guard let length = parameters.byte(), let value = parameters.take(Int(length)) else {
                throw .open(0)
            }
            guard type == 2 else { throw .open(4) }
            capabilities += try Capability.list(value)
        }
        autonomousSystem = UInt32(shortAS)
        for case .fourOctetAS(let number) in capabilities { autonomousSystem = number }
        guard autonomousSystem != 0 else { throw .open(2) }
        guard router != 0 else { throw .open(3) }
        guard hold == 0 || hold >= 3 else { throw .open(6) }
        holdTimeSeconds = hold
        identifier = IPAddress(family: .ipv4, numericValue: UInt128(router))
    }

    func body() throws(BGPError) -> [UInt8] {
        var bytes: [UInt8] = [4]
        bytes.append(integer: UInt16(exactly: autonomousSystem) ?? Self.transitionAS)
        bytes.append(integer: holdTimeSeconds)
        bytes.append(integer: UInt32(truncatingIfNeeded: identifier.numericValue))
        var list: [UInt8] = []
        for capability in capabilities {
            let value = capability.value
            guard let length = UInt8(exactly: value.count) else { throw .badLength(value.count) }
            list += [capability.code, length] + value
        }
        guard !list.isEmpty else { return bytes + [0] }
        guard list.count <= 253 else { throw .badLength(list.count) }
        return bytes + [UInt8(list.count + 2), 2, UInt8(list.count)] + list
    }
}

/// A capability (RFC 5492 §4).
public enum Capability: Hashable, Sendable {
    /// Unicast routes of a family (RFC 4760 §8).
    case unicast(IPAddress.Family)
    /// AS numbers of four octets, and the sender's own (RFC 6793 §3).
    case fourOctetAS(UInt32)
    /// Any other, as its bytes.
    case other(code: UInt8, value: [UInt8])

    static func list(_ bytes: ArraySlice<UInt8>) throws(BGPError) -> [Capability] {
        var reader = ByteReader(bytes)
        var found: [Capability] = []
        while let code = reader.byte() {
            guard let length = reader.byte(), let value = reader.take(Int(length)) else {
                throw .open(0)
            }
            var content = ByteReader(value)
            switch (code, Array(value)) {
            case (1, [0, 1, 0, 1]): found.append(.unicast(.ipv4))
            case (1, [0, 2, 0, 1]): found.append(.unicast(.ipv6))
            case (65, _):
                guard value.count == 4, let number = content.integer(UInt32.self) else {
                    throw .open(0)
                }
                found.append(.fourOctetAS(number))
            case (_, let bytes): found.append(.other(code: code, value: bytes))
            }
        }
        return found
    }

    var code: UInt8 {
        switch self {
        case .unicast: 1
        case .fourOctetAS: 65
        case .other(let code, _): code
        }
    }

    var value: [UInt8] {
        switch self {
        case .unicast(let family): return [0, family == .ipv4 ? 1 : 2, 0, 1]
        case .fourOctetAS(let number):
            var bytes: [UInt8] = []
            bytes.append(integer: number)
            return bytes
        case .other(_, let value): return value
        }
    }
}

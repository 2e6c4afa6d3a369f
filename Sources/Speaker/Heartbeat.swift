import Crypto
import NetworkTypes

/// The key that speakers authenticate each other by.
public struct HeartbeatKey: Hashable, Sendable {
    let bytes: [UInt8]

    /// Derives a key from a secret, kept apart from any other use of it by its name.
    public init(secret: [UInt8]) {
        var hash = SHA256()
        hash.update(data: Array("portolan speaker heartbeat 1".utf8))
        hash.update(data: secret)
        bytes = Array(hash.finalize())
    }

    func authenticationCode(_ message: some Collection<UInt8>) -> [UInt8] {
        Array(
            HMAC<SHA256>.authenticationCode(for: Array(message), using: SymmetricKey(data: bytes)))
    }

    func authenticates(_ message: ArraySlice<UInt8>, _ code: ArraySlice<UInt8>) -> Bool {
        HMAC<SHA256>.isValidAuthenticationCode(
            Array(code), authenticating: Array(message), using: SymmetricKey(data: bytes))
    }
}

/// What a speaker says to another: "I live", and what it has heard of the other, which proves to
/// the other that this is no recording.
public struct Heartbeat: Hashable, Sendable {
    /// The sender's node name.
    public var name: String
    /// A number drawn when the sender started.
    public var boot: UInt64
    /// Grows with each datagram of one boot.
    public var counter: UInt64
    /// The receiver's boot that the sender last heard; 0 for none.
    public var heardBoot: UInt64
    /// The receiver's highest counter that the sender heard.
    public var heardCounter: UInt64
    /// True for the last words before a stop in order.
    public var isLeaving: Bool
    /// Where the sender announces.
    public var interfaces: [SpeakerInterface]

    /// The longest datagram, which fits any link without fragments.
    public static let byteLimit = 1200
    private static let magic = Array("PTLN".utf8)
    private static let version: UInt8 = 1
    private static let codeLength = 32
    private static let interfaceLimit = 8
    private static let prefixLimit = 8

    /// Why a datagram is not heeded.
    public enum DecodingError: Error, Hashable, Sendable {
        /// No heartbeat of this version.
        case otherProtocol
        /// The code does not fit: another key, or a forgery.
        case unauthenticated
        /// Rightly signed, yet not well-formed.
        case malformed
    }

    /// Encodes and signs. Fields in network order: magic 4, version 1, flags 1, boot 8, counter 8,
    /// heard boot 8, heard counter 8, name (length 1, text), interfaces (count 1, each: name,
    /// count 1 of prefixes, each: bits 1, length 1, address), HMAC-SHA256 over all before.
    public func encode(_ key: HeartbeatKey) -> [UInt8] {
        var bytes = Self.magic + [Self.version, isLeaving ? 1 : 0]
        for value in [boot, counter, heardBoot, heardCounter] {
            bytes += (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * UInt64($0))) }
        }
        Self.append(name, to: &bytes)
        let shown = interfaces.prefix(Self.interfaceLimit)
        bytes.append(UInt8(shown.count))
        for interface in shown {
            Self.append(interface.name, to: &bytes)
            let prefixes = interface.prefixes.prefix(Self.prefixLimit)
            bytes.append(UInt8(prefixes.count))
            for prefix in prefixes {
                bytes += [prefix.family == .ipv4 ? 32 : 128, UInt8(prefix.length)]
                bytes += prefix.address.networkBytes
            }
        }
        return bytes + key.authenticationCode(bytes)
    }

    /// Checks the code under any of `keys`, and only then reads.
    public init(_ bytes: [UInt8], keys: [HeartbeatKey]) throws(DecodingError) {
        guard bytes.count > Self.codeLength + 6, bytes.count <= Self.byteLimit,
            bytes.starts(with: Self.magic), bytes[4] == Self.version
        else { throw .otherProtocol }
        let message = bytes.dropLast(Self.codeLength)
        let code = bytes.suffix(Self.codeLength)
        guard keys.contains(where: { $0.authenticates(message, code) }) else {
            throw .unauthenticated
        }
        var reader = Reader(rest: message.dropFirst(5))
        isLeaving = try reader.byte() & 1 != 0
        boot = try reader.number()
        counter = try reader.number()
        heardBoot = try reader.number()
        heardCounter = try reader.number()
        name = try reader.text()
        interfaces = []
        for _ in 0..<(try reader.byte()) {
            var interface = SpeakerInterface(name: try reader.text(), prefixes: [])
            for _ in 0..<(try reader.byte()) { interface.prefixes.append(try reader.prefix()) }
            interfaces.append(interface)
        }
        guard reader.rest.isEmpty, !name.isEmpty, boot != 0 else { throw .malformed }
    }

    /// Makes a heartbeat.
    public init(
        name: String, boot: UInt64, counter: UInt64, heardBoot: UInt64 = 0,
        heardCounter: UInt64 = 0, isLeaving: Bool = false, interfaces: [SpeakerInterface] = []
    ) {
        self.name = name
        self.boot = boot
        self.counter = counter
        self.heardBoot = heardBoot
        self.heardCounter = heardCounter
        self.isLeaving = isLeaving
        self.interfaces = interfaces
    }

    private static func append(_ text: String, to bytes: inout [UInt8]) {
        let part = text.utf8.prefix(253)
        bytes.append(UInt8(part.count))
        bytes += part
    }

    private struct Reader {
        var rest: ArraySlice<UInt8>

        mutating func take(_ count: Int) throws(DecodingError) -> ArraySlice<UInt8> {
            guard rest.count >= count else { throw .malformed }
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count)
        }

        mutating func byte() throws(DecodingError) -> UInt8 {
            try take(1).first ?? 0
        }

        mutating func number() throws(DecodingError) -> UInt64 {
            try take(8).reduce(0) { $0 << 8 | UInt64($1) }
        }

        mutating func text() throws(DecodingError) -> String {
            let count = Int(try byte())
            guard let text = String(validating: try take(count), as: UTF8.self) else {
                throw .malformed
            }
            return text
        }

        mutating func prefix() throws(DecodingError) -> Prefix {
            let bits = try byte()
            let length = Int(try byte())
            guard bits == 32 || bits == 128,
                let address = IPAddress(networkBytes: try take(Int(bits) / 8)),
                let prefix = Prefix(address, length: length)
            else { throw .malformed }
            return prefix
        }
    }
}

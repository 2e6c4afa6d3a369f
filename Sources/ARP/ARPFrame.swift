public import NetworkTypes

/// An Ethernet frame that carries ARP for IPv4 (RFC 826): 14 bytes of header and 28 of ARP.
public struct ARPFrame: Hashable, Sendable {
    /// The Ethernet destination.
    public var destination: MACAddress
    /// The Ethernet source.
    public var source: MACAddress
    /// Request or reply.
    public var operation: Operation
    /// The sender's hardware address, as ARP itself says it.
    public var senderHardware: MACAddress
    /// The sender's IPv4 address; 0.0.0.0 in a probe (RFC 5227, 1.1).
    public var senderAddress: IPAddress
    /// The target's hardware address; zero in a request.
    public var targetHardware: MACAddress
    /// The IPv4 address that is asked for, or that the reply goes to.
    public var targetAddress: IPAddress

    /// The operations of RFC 826 that IPv4 over Ethernet uses.
    public enum Operation: UInt16, Sendable, Hashable {
        case request = 1
        case reply = 2
    }

    /// The length of an encoded frame; interfaces pad it to Ethernet's 60.
    public static let byteCount = 42
    /// The type in the Ethernet header (IEEE 802 numbers).
    public static let etherType: UInt16 = 0x0806

    /// Makes a frame.
    public init(
        destination: MACAddress, source: MACAddress, operation: Operation,
        senderHardware: MACAddress, senderAddress: IPAddress, targetHardware: MACAddress,
        targetAddress: IPAddress
    ) {
        self.destination = destination
        self.source = source
        self.operation = operation
        self.senderHardware = senderHardware
        self.senderAddress = senderAddress
        self.targetHardware = targetHardware
        self.targetAddress = targetAddress
    }

    /// True for a request from a host that has not got its address yet (RFC 5227, 1.1).
    public var isProbe: Bool { operation == .request && senderAddress.isUnspecified }

    /// True where the sender speaks of its own address to all (RFC 5227, 3).
    public var isGratuitous: Bool {
        senderAddress == targetAddress && !senderAddress.isUnspecified
    }
}

// MARK: - The frames that are sent

extension ARPFrame {
    /// The answer to `request`, sent by the owner of the address it asks for.
    public static func reply(to request: ARPFrame, hardware: MACAddress) -> ARPFrame {
        ARPFrame(
            destination: request.senderHardware, source: hardware, operation: .reply,
            senderHardware: hardware, senderAddress: request.targetAddress,
            targetHardware: request.senderHardware, targetAddress: request.senderAddress)
    }

    /// "Who has `address`?", asked by the holder of `sender`.
    public static func request(
        for address: IPAddress, sender: IPAddress, hardware: MACAddress
    ) -> ARPFrame {
        ARPFrame(
            destination: .broadcast, source: hardware, operation: .request,
            senderHardware: hardware, senderAddress: sender, targetHardware: .zero,
            targetAddress: address)
    }

    /// An ARP probe (RFC 5227, 2.1.1): asks without laying claim, so that no cache changes.
    public static func probe(for address: IPAddress, hardware: MACAddress) -> ARPFrame {
        request(for: address, sender: .v4(0), hardware: hardware)
    }

    /// An ARP announcement (RFC 5227, 2.3): a request for one's own address. Caches that have an
    /// entry take the new hardware address (RFC 826, "Packet Reception").
    public static func announcement(of address: IPAddress, hardware: MACAddress) -> ARPFrame {
        request(for: address, sender: address, hardware: hardware)
    }

    /// The same as an unasked-for reply, for the devices that learn from replies alone.
    public static func gratuitousReply(of address: IPAddress, hardware: MACAddress) -> ARPFrame {
        ARPFrame(
            destination: .broadcast, source: hardware, operation: .reply,
            senderHardware: hardware, senderAddress: address, targetHardware: .broadcast,
            targetAddress: address)
    }
}

// MARK: - Bytes

/// Why bytes are no frame of a protocol that is spoken here.
public enum FrameError: Error, Hashable, Sendable {
    /// Fewer bytes than the protocol needs.
    case tooShort(byteCount: Int)
    /// Another protocol, or another kind of address than MAC and IP.
    case otherProtocol
    /// A value that the protocol does not allow.
    case invalid
}

extension ARPFrame {
    /// Decodes a frame; what follows the ARP part is padding.
    /// - Throws: `FrameError`, without having read beyond the bytes.
    public init(_ bytes: Span<UInt8>) throws(FrameError) {
        guard bytes.count >= Self.byteCount else { throw .tooShort(byteCount: bytes.count) }
        // Hardware type 1 is Ethernet, protocol type 0x0800 IPv4 (IANA "ARP Parameters").
        guard readUInt16(bytes, 12) == Self.etherType, readUInt16(bytes, 14) == 1,
            readUInt16(bytes, 16) == 0x0800, bytes[18] == 6, bytes[19] == 4
        else { throw .otherProtocol }
        guard let operation = Operation(rawValue: readUInt16(bytes, 20)) else { throw .invalid }
        self.init(
            destination: readMAC(bytes, 0), source: readMAC(bytes, 6), operation: operation,
            senderHardware: readMAC(bytes, 22), senderAddress: .v4(readUInt32(bytes, 28)),
            targetHardware: readMAC(bytes, 32), targetAddress: .v4(readUInt32(bytes, 38)))
    }

    /// The 42 bytes of the frame.
    public var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.byteCount)
        bytes += destination.networkBytes
        bytes += source.networkBytes
        appendUInt16(Self.etherType, to: &bytes)
        appendUInt16(1, to: &bytes)
        appendUInt16(0x0800, to: &bytes)
        bytes += [6, 4]
        appendUInt16(operation.rawValue, to: &bytes)
        bytes += senderHardware.networkBytes
        bytes += senderAddress.networkBytes
        bytes += targetHardware.networkBytes
        bytes += targetAddress.networkBytes
        return bytes
    }
}

func readUInt16(_ bytes: Span<UInt8>, _ offset: Int) -> UInt16 {
    UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
}

func readUInt32(_ bytes: Span<UInt8>, _ offset: Int) -> UInt32 {
    UInt32(readUInt16(bytes, offset)) << 16 | UInt32(readUInt16(bytes, offset + 2))
}

func readMAC(_ bytes: Span<UInt8>, _ offset: Int) -> MACAddress {
    MACAddress(UInt64(readUInt16(bytes, offset)) << 32 | UInt64(readUInt32(bytes, offset + 2)))
}

func appendUInt16(_ value: UInt16, to bytes: inout [UInt8]) {
    bytes.append(UInt8(value >> 8))
    bytes.append(UInt8(truncatingIfNeeded: value))
}

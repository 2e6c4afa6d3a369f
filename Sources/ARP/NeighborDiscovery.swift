public import NetworkTypes

/// A neighbour solicitation or advertisement (RFC 4861, 4.3 and 4.4) in its Ethernet frame: what
/// ARP is for IPv6.
public struct NeighborFrame: Hashable, Sendable {
    /// The Ethernet destination.
    public var destination: MACAddress
    /// The Ethernet source.
    public var source: MACAddress
    /// The IPv6 source; unspecified in duplicate address detection (RFC 4862, 5.4.2).
    public var sourceAddress: IPAddress
    /// The IPv6 destination.
    public var destinationAddress: IPAddress
    /// What is asked or said.
    public var message: Message
    /// The address that is asked for or spoken of.
    public var target: IPAddress
    /// The link-layer address option: the asker's in a solicitation, the target's in an
    /// advertisement.
    public var linkLayerAddress: MACAddress?

    /// The two messages.
    public enum Message: Hashable, Sendable {
        /// ICMPv6 type 135.
        case solicitation
        /// ICMPv6 type 136. `isSolicited` marks an answer; `overrides` makes caches that have
        /// another link-layer address take the new one.
        case advertisement(isSolicited: Bool, overrides: Bool)
    }

    /// The type in the Ethernet header.
    public static let etherType: UInt16 = 0x86DD
    /// ff02::1, every node on the link.
    public static let allNodes = IPAddress.v6(0xFF02 << 112 | 1)

    /// Makes a frame.
    public init(
        destination: MACAddress, source: MACAddress, sourceAddress: IPAddress,
        destinationAddress: IPAddress, message: Message, target: IPAddress,
        linkLayerAddress: MACAddress?
    ) {
        self.destination = destination
        self.source = source
        self.sourceAddress = sourceAddress
        self.destinationAddress = destinationAddress
        self.message = message
        self.target = target
        self.linkLayerAddress = linkLayerAddress
    }

    /// The answer to `solicitation`, sent by the owner of its target. Where the asker has no
    /// address yet, the answer goes to everybody and is not marked as solicited (7.2.4).
    public static func advertisement(
        answering solicitation: NeighborFrame, hardware: MACAddress
    ) -> NeighborFrame {
        let isToAll = solicitation.sourceAddress.isUnspecified
        return NeighborFrame(
            destination: isToAll ? multicast(allNodes) : solicitation.source, source: hardware,
            sourceAddress: solicitation.target,
            destinationAddress: isToAll ? allNodes : solicitation.sourceAddress,
            message: .advertisement(isSolicited: !isToAll, overrides: true),
            target: solicitation.target, linkLayerAddress: hardware)
    }

    /// An unsolicited advertisement with Override set (7.2.6), for taking an address over.
    public static func announcement(
        of address: IPAddress, hardware: MACAddress
    ) -> NeighborFrame {
        NeighborFrame(
            destination: multicast(allNodes), source: hardware, sourceAddress: address,
            destinationAddress: allNodes,
            message: .advertisement(isSolicited: false, overrides: true), target: address,
            linkLayerAddress: hardware)
    }

    /// A solicitation of duplicate address detection: asks without laying claim.
    public static func probe(for address: IPAddress, hardware: MACAddress) -> NeighborFrame {
        let group = solicitedNodeGroup(of: address)
        return NeighborFrame(
            destination: multicast(group), source: hardware, sourceAddress: .v6(0),
            destinationAddress: group, message: .solicitation, target: address,
            linkLayerAddress: nil)
    }

    /// ff02::1:ffXX:XXXX, where solicitations for `address` go (RFC 4291, 2.7.1).
    public static func solicitedNodeGroup(of address: IPAddress) -> IPAddress {
        .v6(0xFF02 << 112 | 0x1_FF00_0000 | address.numericValue & 0xFF_FFFF)
    }

    /// The Ethernet group of an IPv6 group: 33:33 and its last 32 bits (RFC 2464, 7).
    public static func multicast(_ group: IPAddress) -> MACAddress {
        MACAddress(0x3333 << 32 | UInt64(group.numericValue & 0xFFFF_FFFF))
    }
}

// MARK: - Bytes

extension NeighborFrame {
    private static let ethernetLength = 14
    private static let ipv6Length = 40
    private static let icmpOffset = 54
    /// ICMPv6 header of 4, flags of 4, target of 16.
    private static let messageLength = 24
    private static let nextHeaderICMPv6: UInt8 = 58

    /// Decodes a frame; checksum, hop limit and code are checked as 7.1 demands.
    /// - Throws: `FrameError`, without having read beyond the bytes.
    public init(_ bytes: Span<UInt8>) throws(FrameError) {
        guard bytes.count >= Self.icmpOffset + Self.messageLength else {
            throw .tooShort(byteCount: bytes.count)
        }
        guard readUInt16(bytes, 12) == Self.etherType, bytes[14] >> 4 == 6,
            bytes[20] == Self.nextHeaderICMPv6
        else { throw .otherProtocol }
        let type = bytes[Self.icmpOffset]
        guard type == 135 || type == 136 else { throw .otherProtocol }
        let length = Int(readUInt16(bytes, 18))
        let end = Self.icmpOffset + length
        guard length >= Self.messageLength, end <= bytes.count else {
            throw .tooShort(byteCount: bytes.count)
        }
        // A hop limit of 255 proves that no router has passed the packet on.
        guard bytes[21] == 255, bytes[Self.icmpOffset + 1] == 0,
            Self.checksum(bytes, length: length) == 0
        else { throw .invalid }
        let flags = bytes[Self.icmpOffset + 4]
        destination = readMAC(bytes, 0)
        source = readMAC(bytes, 6)
        sourceAddress = Self.readAddress(bytes, 22)
        destinationAddress = Self.readAddress(bytes, 38)
        target = Self.readAddress(bytes, Self.icmpOffset + 8)
        message =
            type == 135
            ? .solicitation
            : .advertisement(isSolicited: flags & 0x40 != 0, overrides: flags & 0x20 != 0)
        guard !target.isMulticast else { throw .invalid }
        linkLayerAddress = try Self.option(
            type == 135 ? 1 : 2, in: bytes, from: Self.icmpOffset + Self.messageLength, to: end)
    }

    /// The bytes of the frame.
    public var bytes: [UInt8] {
        let hasOption = linkLayerAddress != nil
        let length = Self.messageLength + (hasOption ? 8 : 0)
        var bytes = destination.networkBytes + source.networkBytes
        appendUInt16(Self.etherType, to: &bytes)
        bytes += [0x60, 0, 0, 0]
        appendUInt16(UInt16(length), to: &bytes)
        bytes += [Self.nextHeaderICMPv6, 255]
        bytes += sourceAddress.networkBytes + destinationAddress.networkBytes
        switch message {
        case .solicitation: bytes += [135, 0, 0, 0, 0, 0, 0, 0]
        case .advertisement(let isSolicited, let overrides):
            let flags: UInt8 = (isSolicited ? 0x40 : 0) | (overrides ? 0x20 : 0)
            bytes += [136, 0, 0, 0, flags, 0, 0, 0]
        }
        bytes += target.networkBytes
        if let linkLayerAddress {
            bytes += [message == .solicitation ? 1 : 2, 1] + linkLayerAddress.networkBytes
        }
        let checksum = Self.checksum(bytes.span, length: length)
        bytes[Self.icmpOffset + 2] = UInt8(checksum >> 8)
        bytes[Self.icmpOffset + 3] = UInt8(truncatingIfNeeded: checksum)
        return bytes
    }

    /// The checksum over the pseudo-header and the ICMPv6 message (RFC 4443, 2.3); 0 over a
    /// message that carries its right checksum.
    private static func checksum(_ bytes: Span<UInt8>, length: Int) -> UInt16 {
        var sum = UInt32(length) + UInt32(nextHeaderICMPv6)
        var offset = 22
        let end = icmpOffset + length
        while offset < end {
            let low = offset + 1 < end ? UInt32(bytes[offset + 1]) : 0
            sum += UInt32(bytes[offset]) << 8 | low
            offset += 2
        }
        while sum >> 16 != 0 { sum = sum & 0xFFFF + sum >> 16 }
        return ~UInt16(sum)
    }

    private static func readAddress(_ bytes: Span<UInt8>, _ offset: Int) -> IPAddress {
        var value: UInt128 = 0
        for index in offset..<offset + 16 { value = value << 8 | UInt128(bytes[index]) }
        return .v6(value)
    }

    /// The link-layer address in option `type`, or nil; a length of zero is refused (4.6).
    private static func option(
        _ type: UInt8, in bytes: Span<UInt8>, from start: Int, to end: Int
    ) throws(FrameError) -> MACAddress? {
        var offset = start
        while offset + 2 <= end {
            let length = Int(bytes[offset + 1]) * 8
            guard length > 0, offset + length <= end else { throw .invalid }
            if bytes[offset] == type { return readMAC(bytes, offset + 2) }
            offset += length
        }
        return nil
    }
}

public import NetworkTypes

/// A packet as rules see it: enough of its headers, and how it came.
public struct Packet: Hashable, Sendable {
    /// The sender.
    public var source: IPAddress
    /// The receiver.
    public var destination: IPAddress
    /// The IP header's protocol.
    public var protocolNumber: UInt8
    /// Zero for protocols without ports.
    public var sourcePort: UInt16
    /// Zero for protocols without ports.
    public var destinationPort: UInt16
    /// The packet's mark.
    public var mark: UInt32 = 0
    /// The queueing priority (`skb->priority`).
    public var priority: UInt32 = 0
    /// The link it came by; empty for the machine's own.
    public var inputName = ""
    /// The link it leaves by; empty before routing and for packets to the machine.
    public var outputName = ""
    /// Its length, for counters.
    public var byteCount = 60

    /// Describes a packet. Both addresses are of one family.
    public init(
        _ transport: TransportProtocol, from source: IPAddress, _ sourcePort: UInt16,
        to destination: IPAddress, _ destinationPort: UInt16, mark: UInt32 = 0,
        inputName: String = "", outputName: String = ""
    ) {
        self.source = source
        self.destination = destination
        protocolNumber = transport.number
        self.sourcePort = sourcePort
        self.destinationPort = destinationPort
        self.mark = mark
        self.inputName = inputName
        self.outputName = outputName
    }

    /// The family of the addresses.
    public var family: IPAddress.Family { destination.family }

    /// The network header, as far as rules load it (RFC 791, RFC 8200).
    var networkHeader: [UInt8] {
        switch family {
        case .ipv4:
            let length = UInt16(clamping: byteCount)
            return [0x45, 0, UInt8(length >> 8), UInt8(length & 0xFF), 0, 0, 0, 0, 64]
                + [protocolNumber, 0, 0] + source.networkBytes + destination.networkBytes
        case .ipv6:
            return [0x60, 0, 0, 0, 0, 0, protocolNumber, 64] + source.networkBytes
                + destination.networkBytes
        }
    }

    /// The first bytes of the transport header: the ports.
    var transportHeader: [UInt8] {
        [sourcePort, destinationPort].flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
            + [0, 0, 0, 0]
    }
}

/// A connection as connection tracking knows it. Keep it between the packets of a flow.
public struct Connection: Hashable, Sendable {
    /// An address and a port that took the place of another.
    public struct Translation: Hashable, Sendable {
        /// The new address; nil for the address of the link that masquerades.
        public var address: IPAddress?
        /// The new port; nil where the port stays.
        public var port: UInt16?

        /// Describes a translation.
        public init(address: IPAddress?, port: UInt16?) {
            self.address = address
            self.port = port
        }
    }

    /// The first packet, before any translation.
    public let original: Packet
    /// What `ct state` says of the next packet.
    public var state: CTState
    /// Which way the next packet goes.
    public var direction: CTDirection
    /// The connection's mark.
    public var mark: UInt32 = 0
    /// The destination's translation, where there is one.
    public var destinationTranslation: Translation?
    /// The source's translation, where there is one.
    public var sourceTranslation: Translation?
    /// True where the source is translated to the link's own address.
    public var isMasqueraded = false
    /// True once `notrack` was met.
    public var isUntracked = false
    var hasDestinationDecision = false
    var hasSourceDecision = false

    /// A connection whose first packet is about to be seen.
    public init(first packet: Packet) {
        original = packet
        state = .new
        direction = .original
    }

    /// Bits of `ct status`.
    public var status: CTStatus {
        var status: CTStatus = []
        if state == .established { status.formUnion([.seenReply, .confirmed]) }
        if destinationTranslation != nil { status.insert(.dnat) }
        if sourceTranslation != nil || isMasqueraded { status.insert(.snat) }
        return status
    }

    /// What later packets of the same direction see: established, all decisions made.
    public mutating func establish() {
        state = .established
        hasDestinationDecision = true
        hasSourceDecision = true
    }

    /// The tuple of a direction: source, its port, destination, its port.
    func tuple(_ direction: CTDirection) -> (IPAddress, UInt16, IPAddress, UInt16) {
        if direction == .original {
            return (
                original.source, original.sourcePort, original.destination,
                original.destinationPort
            )
        }
        return (
            destinationTranslation?.address ?? original.destination,
            destinationTranslation?.port ?? original.destinationPort,
            sourceTranslation?.address ?? original.source,
            sourceTranslation?.port ?? original.sourcePort
        )
    }
}

/// What the rules cannot know of the machine.
public struct PacketEnvironment: Sendable {
    /// RTN_* of an address: 1 unicast, 2 local, 3 broadcast, 5 multicast.
    public var addressType: @Sendable (IPAddress) -> UInt32
    /// A number below the modulus, for `numgen random`.
    public var random: @Sendable (_ modulus: UInt32) -> UInt32
    /// Whether a socket of the machine is bound to a packet's destination.
    public var isListening: @Sendable (Packet) -> Bool = { _ in false }

    /// An environment with these addresses of the machine's own; 127.0.0.0/8 and ::1 are local
    /// anyway. The default generator always yields 0.
    public init(
        localAddresses: Set<IPAddress> = [],
        random: @escaping @Sendable (_ modulus: UInt32) -> UInt32 = { _ in 0 }
    ) {
        self.init(
            addressType: { address in
                if address.isLoopback || localAddresses.contains(address) { return 2 }
                return address.isMulticast ? 5 : 1
            }, random: random)
    }

    /// An environment of functions.
    public init(
        addressType: @escaping @Sendable (IPAddress) -> UInt32,
        random: @escaping @Sendable (_ modulus: UInt32) -> UInt32
    ) {
        self.addressType = addressType
        self.random = random
    }
}

/// What became of a packet at the hooks it was taken through.
public struct PacketOutcome: Sendable {
    /// How it ended.
    public enum Fate: Hashable, Sendable {
        case accepted
        case dropped
        case rejected(Reject)
    }

    /// A rule that was run to its end, or a policy that was applied.
    public struct Step: Hashable, Sendable {
        /// The chain.
        public var table: Table
        /// The chain's name.
        public var chain: String
        /// The rule's handle; nil for a chain's policy.
        public var handle: UInt64?
        /// The rule's remark.
        public var comment: String?
        /// The verdict, where it made one.
        public var verdict: Verdict?
    }

    /// How it ended.
    public var fate: Fate
    /// The packet, translated and marked.
    public var packet: Packet
    /// Its connection, with what the rules decided.
    public var connection: Connection
    /// The rules that held, in order.
    public var steps: [Step]
}

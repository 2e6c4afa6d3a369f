/// One of the sixteen 4-byte registers a rule's expressions pass values through.
public struct Register: Hashable, Sendable, Comparable {
    /// 0–15.
    public let index: UInt32

    /// Names a register; an index past 15 means the last.
    public init(_ index: UInt32) { self.index = min(index, 15) }

    /// The first register.
    public static let first = Register(0)

    /// The kernel's number: NFT_REG32_00 + index.
    var number: UInt32 { 8 + index }

    /// Reads a register of either numbering: NFT_REG_1…4 (16 bytes) or NFT_REG32_00…15.
    init?(number: UInt32) {
        switch number {
        case 1...4: self.init((number - 1) * 4)
        case 8...23: self.init(number - 8)
        default: return nil
        }
    }

    /// Sorts by index.
    public static func < (left: Self, right: Self) -> Bool { left.index < right.index }
}

/// What becomes of a packet, or where its evaluation goes on.
public enum Verdict: Hashable, Sendable {
    /// Ends this base chain; later ones still see the packet.
    case accept
    /// Ends the packet.
    case drop
    /// Goes on with the next rule.
    case `continue`
    /// Goes back to the chain that jumped here; in a base chain, applies its policy.
    case `return`
    /// Evaluates a chain and comes back.
    case jump(String)
    /// Evaluates a chain in place of this one.
    case goto(String)
}

/// One instruction of a rule, as the kernel runs it (linux/netfilter/nf_tables.h). Users write
/// `Statement`s, which choose the registers; these are for what statements lack, and for reading.
public enum Expression: Hashable, Sendable {
    /// Loads packet bytes; breaks the rule where the packet is too short.
    case payload(PayloadBase, offset: Int, byteCount: Int, into: Register)
    /// Loads a property of the packet that is in none of its headers.
    case meta(MetaKey, into: Register)
    /// Sets such a property.
    case setMeta(MetaKey, from: Register)
    /// Loads a property of the packet's connection; addresses and ports need a direction.
    case ct(CTKey, direction: CTDirection?, into: Register)
    /// Sets a property of the connection.
    case setCT(CTKey, from: Register)
    /// Breaks the rule unless the register compares so.
    case compare(Register, Comparison, Value)
    /// Breaks the rule unless the register lies in the range (or outside where inverted).
    case range(Register, first: Value, last: Value, isInverted: Bool)
    /// `into = (from & mask) ^ xor`.
    case bitwise(from: Register, into: Register, mask: Value, xor: Value)
    /// Swaps bytes between the machine's order and the network's, in units of `unitByteCount`.
    case byteOrder(
        from: Register, into: Register, byteCount: Int, unitByteCount: Int, toNetwork: Bool)
    /// Breaks the rule unless the set holds the key (or holds it, where inverted).
    case lookup(set: String, key: Register, isInverted: Bool)
    /// Loads what the map has for the key; breaks the rule where it has nothing.
    case map(String, key: Register, into: Register)
    /// Takes the verdict the map has for the key; breaks the rule where it has none.
    case verdictMap(String, key: Register)
    /// Loads a constant.
    case immediate(Value, into: Register)
    /// Ends the rule.
    case verdict(Verdict)
    /// Translates an address, a port, or both.
    case nat(NAT)
    /// Translates the source to an address of the link the packet leaves by.
    case masquerade(NATFlags)
    /// Translates the destination to this machine.
    case redirect(port: Register?, NATFlags)
    /// Ends the packet and tells its sender.
    case reject(Reject)
    /// Loads `offset + n`, n random or counting up, below `modulus`.
    case numberGenerator(NumberGenerator, modulus: UInt32, offset: UInt32, into: Register)
    /// Loads `offset + hash % modulus` of registers (Jenkins).
    case hash(
        from: Register, byteCount: Int, modulus: UInt32, seed: UInt32, offset: UInt32,
        into: Register)
    /// Counts packets and bytes; the numbers are the counter's start, or its reading.
    case counter(packetCount: UInt64, byteCount: UInt64)
    /// Counts in a named counter.
    case namedCounter(String)
    /// Counts in the counter the object map has for the key; breaks the rule where it has none.
    case counterMap(String, key: Register)
    /// Adds, refreshes or deletes an element.
    case dynamicSet(DynamicSet)
    /// Loads what the routing table says of an address.
    case fib(FIBInputs, FIBResult, into: Register)
    /// Loads one byte about the socket of this machine that would get the packet: 0 where it is
    /// bound to the packet's destination, 1 where to any address. Breaks the rule where there is
    /// no such socket. In the output hook it is the sender's own socket.
    case socketWildcard(into: Register)
    /// Breaks the rule above the rate (or below it, where inverted).
    case limit(Limit)
    /// Writes to the kernel's log, or to an NFLOG group.
    case log(prefix: String, group: UInt16?)
    /// Takes the packet out of connection tracking (raw priority only).
    case notrack
}

// MARK: - What expressions name

/// Where an offset counts from (enum nft_payload_bases).
public enum PayloadBase: UInt32, Hashable, Sendable {
    case link = 0
    case network = 1
    case transport = 2
}

/// Properties of a packet (enum nft_meta_keys).
public enum MetaKey: UInt32, Hashable, Sendable {
    /// Bytes, 4.
    case length = 0
    /// EtherType, 2 bytes in network order.
    case linkProtocol = 1
    case priority = 2
    case mark = 3
    case inputIndex = 4
    case outputIndex = 5
    case inputName = 6
    case outputName = 7
    case packetType = 14
    /// NFPROTO_*, one byte.
    case networkProtocol = 15
    /// The IP header's protocol, one byte.
    case transportProtocol = 16
    /// Pseudo-random 32 bits.
    case random = 24

    /// The length of the value in bytes.
    public var byteCount: Int {
        switch self {
        case .length, .priority, .mark, .inputIndex, .outputIndex, .random: 4
        case .linkProtocol: 2
        case .inputName, .outputName: 16
        case .packetType, .networkProtocol, .transportProtocol: 1
        }
    }
}

/// Properties of a connection (enum nft_ct_keys).
public enum CTKey: UInt32, Hashable, Sendable {
    /// Bits of `CTState`, 4 bytes.
    case state = 0
    /// 0 for the direction of the connection's first packet, 1 for replies; one byte.
    case direction = 1
    /// Bits of `CTStatus`, 4 bytes.
    case status = 2
    case mark = 3
    case l3protocol = 7
    case transportProtocol = 10
    /// A port of a tuple, 2 bytes.
    case sourcePort = 11
    case destinationPort = 12
    case id = 23
    /// An IPv4 address of a tuple, in tables of any family.
    case sourceIPv4 = 19
    case destinationIPv4 = 20
    case sourceIPv6 = 21
    case destinationIPv6 = 22

    /// The length of the value in bytes.
    public var byteCount: Int {
        switch self {
        case .state, .status, .mark, .id, .sourceIPv4, .destinationIPv4: 4
        case .direction, .l3protocol, .transportProtocol: 1
        case .sourcePort, .destinationPort: 2
        case .sourceIPv6, .destinationIPv6: 16
        }
    }
}

/// Which tuple of a connection (enum ip_conntrack_dir).
public enum CTDirection: UInt8, Hashable, Sendable {
    case original = 0
    case reply = 1
}

/// Bits of `ct state` (NF_CT_STATE_BIT).
public struct CTState: OptionSet, Hashable, Sendable {
    /// The kernel's bits.
    public let rawValue: UInt32
    /// Makes a state from the kernel's bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// The packet belongs to no connection and fits none.
    public static let invalid = CTState(rawValue: 1)
    /// The packet belongs to a connection that has seen both directions.
    public static let established = CTState(rawValue: 2)
    /// The packet starts a connection another one announced, or is an ICMP error about one.
    public static let related = CTState(rawValue: 4)
    /// The packet starts a connection.
    public static let new = CTState(rawValue: 8)
    /// `notrack` took the packet out of tracking.
    public static let untracked = CTState(rawValue: 64)
}

/// Bits of `ct status` (enum ip_conntrack_status).
public struct CTStatus: OptionSet, Hashable, Sendable {
    /// The kernel's bits.
    public let rawValue: UInt32
    /// Makes a status from the kernel's bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Both directions were seen.
    public static let seenReply = CTStatus(rawValue: 1 << 1)
    /// The connection is not dropped early when the table is full.
    public static let assured = CTStatus(rawValue: 1 << 2)
    /// The first packet has left.
    public static let confirmed = CTStatus(rawValue: 1 << 3)
    /// The source is translated.
    public static let snat = CTStatus(rawValue: 1 << 4)
    /// The destination is translated.
    public static let dnat = CTStatus(rawValue: 1 << 5)
}

/// How `compare` compares, both sides read as numbers in network order (enum nft_cmp_ops).
public enum Comparison: UInt32, Hashable, Sendable {
    case equal = 0
    case notEqual = 1
    case less = 2
    case lessOrEqual = 3
    case greater = 4
    case greaterOrEqual = 5
}

/// An address translation; registers that are nil leave that part alone.
public struct NAT: Hashable, Sendable {
    /// Which side is translated (enum nft_nat_types).
    public enum Kind: UInt32, Hashable, Sendable {
        case source = 0
        case destination = 1
    }

    /// Which side is translated.
    public var kind: Kind
    /// The family of the address: `.ip` or `.ip6`.
    public var family: Family
    /// Holds the address.
    public var address: Register?
    /// Holds the port, in network order.
    public var port: Register?
    /// Options.
    public var flags: NATFlags

    /// Describes a translation.
    public init(
        _ kind: Kind, family: Family, address: Register?, port: Register?, flags: NATFlags = []
    ) {
        self.kind = kind
        self.family = family
        self.address = address
        self.port = port
        self.flags = flags
    }
}

/// Options of translations (NF_NAT_RANGE_*).
public struct NATFlags: OptionSet, Hashable, Sendable {
    /// The kernel's bits.
    public let rawValue: UInt32
    /// Makes flags from the kernel's bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Ports at random.
    public static let random = NATFlags(rawValue: 1 << 2)
    /// The same address for all of a client's connections.
    public static let persistent = NATFlags(rawValue: 1 << 3)
    /// Ports at random, without the hash that tries to keep them.
    public static let fullyRandom = NATFlags(rawValue: 1 << 4)
}

/// How a packet's sender is told (enum nft_reject_types).
public enum Reject: Hashable, Sendable {
    /// A TCP segment with RST; the rule must have matched TCP.
    case tcpReset
    /// An ICMP or ICMPv6 "destination unreachable" of the packet's own family.
    case icmp(Reason)

    /// Reasons that both ICMP versions can express (enum nft_reject_inet_code).
    public enum Reason: UInt8, Hashable, Sendable {
        case noRoute = 0
        case portUnreachable = 1
        case hostUnreachable = 2
        case adminProhibited = 3
    }
}

/// Where `numberGenerator` has its numbers from (enum nft_ng_types).
public enum NumberGenerator: UInt32, Hashable, Sendable {
    case incremental = 0
    case random = 1
}

/// A change that a rule makes to a set.
public struct DynamicSet: Hashable, Sendable {
    /// What is done (enum nft_dynset_ops).
    public enum Action: UInt32, Hashable, Sendable {
        /// Adds what is not there; leaves what is.
        case add = 0
        /// Adds, or starts the timeout anew.
        case update = 1
        case delete = 2
    }

    /// What is done.
    public var action: Action
    /// The set's name.
    public var set: String
    /// Holds the key.
    public var key: Register
    /// Holds the data, for a map. An update of a map keeps the data that is there.
    public var data: Register?
    /// How long the element lives, in milliseconds; 0 for the set's timeout.
    public var timeoutMilliseconds: UInt64
    /// Run for each element with state of its own: counters, limits.
    public var expressions: [Expression]

    /// Describes a change.
    public init(
        _ action: Action, set: String, key: Register, data: Register? = nil,
        timeoutMilliseconds: UInt64 = 0, expressions: [Expression] = []
    ) {
        self.action = action
        self.set = set
        self.key = key
        self.data = data
        self.timeoutMilliseconds = timeoutMilliseconds
        self.expressions = expressions
    }
}

/// What a routing lookup goes by (NFTA_FIB_F_*).
public struct FIBInputs: OptionSet, Hashable, Sendable {
    /// The kernel's bits.
    public let rawValue: UInt32
    /// Makes inputs from the kernel's bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// The packet's source address.
    public static let sourceAddress = FIBInputs(rawValue: 1)
    /// The packet's destination address.
    public static let destinationAddress = FIBInputs(rawValue: 2)
    /// The packet's mark as well.
    public static let mark = FIBInputs(rawValue: 4)
    /// The link the packet came by as well.
    public static let inputLink = FIBInputs(rawValue: 8)
    /// The link the packet leaves by as well.
    public static let outputLink = FIBInputs(rawValue: 16)
}

/// What a routing lookup yields (enum nft_fib_result).
public enum FIBResult: UInt32, Hashable, Sendable {
    case outputIndex = 1
    case outputName = 2
    /// RTN_*, 4 bytes in the machine's order: 1 unicast, 2 local, 3 broadcast.
    case addressType = 3
}

/// A token bucket.
public struct Limit: Hashable, Sendable {
    /// What a token pays for.
    public enum Unit: UInt32, Hashable, Sendable {
        case packets = 0
        case bytes = 1
    }

    /// Tokens gained each interval.
    public var rate: UInt64
    /// The interval, in seconds.
    public var intervalSeconds: UInt64
    /// Tokens that may be saved up.
    public var burst: UInt32
    /// What a token pays for.
    public var unit: Unit
    /// True where the rule goes on only above the rate.
    public var isInverted: Bool

    /// Describes a limit.
    public init(
        rate: UInt64, intervalSeconds: UInt64 = 1, burst: UInt32 = 5, unit: Unit = .packets,
        isInverted: Bool = false
    ) {
        self.rate = rate
        self.intervalSeconds = intervalSeconds
        self.burst = burst
        self.unit = unit
        self.isInverted = isInverted
    }
}

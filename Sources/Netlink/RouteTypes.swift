public import NetworkTypes

/// A network link as the kernel reports it.
public struct Link: Hashable, Sendable {
    /// The kernel's number, unique in the namespace.
    public var index: Int32
    /// The name.
    public var name: String
    /// The hardware address, where it is an Ethernet one.
    public var address: MACAddress?
    /// The largest packet, in bytes.
    public var mtuByteCount: UInt32
    /// True where the link was set up (IFF_UP).
    public var isUp: Bool
    /// True where the link is up and has a carrier (IFF_LOWER_UP).
    public var hasCarrier: Bool
    /// True for `lo`.
    public var isLoopback: Bool
    /// The index of the bridge the link is a port of.
    public var masterIndex: Int32?
    /// `veth`, `bridge`, `dummy`, …; nil for hardware.
    public var kind: String?
    /// The number this namespace has for the namespace of the other end, where that is another.
    public var peerNamespaceNumber: Int32?
}

/// What a new link is.
public enum LinkKind: Hashable, Sendable {
    case bridge
    case dummy
    /// A pair; the peer is made in the namespace of the descriptor, or beside the link.
    case veth(peer: String, peerAddress: MACAddress?, peerNamespace: Int32?)
}

/// An address on a link.
public struct LinkAddress: Hashable, Sendable {
    /// The address.
    public var address: IPAddress
    /// The length of the network's prefix, in bits.
    public var prefixLength: Int
    /// The link's index.
    public var linkIndex: Int32
    /// RT_SCOPE_*: 0 universe, 253 link, 254 host.
    public var scope: UInt8
    /// True where the kernel will not use it until duplicate detection ends (IPv6).
    public var isTentative: Bool

    /// Describes an address.
    public init(
        _ address: IPAddress, prefixLength: Int, linkIndex: Int32, scope: UInt8 = 0,
        isTentative: Bool = false
    ) {
        self.address = address
        self.prefixLength = prefixLength
        self.linkIndex = linkIndex
        self.scope = scope
        self.isTentative = isTentative
    }
}

/// A route.
public struct Route: Hashable, Sendable {
    /// What the kernel does with packets for it (RTN_*).
    public enum Kind: UInt8, Hashable, Sendable {
        case unicast = 1
        case local = 2
        case broadcast = 3
        case anycast = 4
        case multicast = 5
        case blackhole = 6
        case unreachable = 7
        case prohibit = 8
    }

    /// The protocol number by which Portolan's own routes are told from others (RTPROT_*; numbers
    /// above 4 mean nothing to the kernel, and iproute2's table has no 111).
    public static let portolanProtocol: UInt8 = 111
    /// The table that is searched for most packets (RT_TABLE_MAIN).
    public static let mainTable: UInt32 = 254

    /// The destinations; length 0 is the default route.
    public var destination: Prefix
    /// The next hop, nil where destinations are on the link.
    public var gateway: IPAddress?
    /// The index of the link.
    public var linkIndex: Int32?
    /// The address the machine's own packets have as their source.
    public var preferredSource: IPAddress?
    /// The table.
    public var table: UInt32
    /// Among equal destinations the lowest is used.
    public var metric: UInt32
    /// What is done with packets.
    public var kind: Kind
    /// Who made the route (RTPROT_*).
    public var protocolNumber: UInt8
    /// True where the gateway is taken to be on the link, whatever its address.
    public var isOnLink: Bool

    /// Describes a route.
    public init(
        to destination: Prefix, via gateway: IPAddress? = nil, linkIndex: Int32? = nil,
        preferredSource: IPAddress? = nil, table: UInt32 = Route.mainTable, metric: UInt32 = 0,
        kind: Kind = .unicast, protocolNumber: UInt8 = Route.portolanProtocol,
        isOnLink: Bool = false
    ) {
        self.destination = destination
        self.gateway = gateway
        self.linkIndex = linkIndex
        self.preferredSource = preferredSource
        self.table = table
        self.metric = metric
        self.kind = kind
        self.protocolNumber = protocolNumber
        self.isOnLink = isOnLink
    }
}

/// An entry of the ARP or neighbour discovery table.
public struct Neighbour: Hashable, Sendable {
    /// The address on the network.
    public var address: IPAddress
    /// The address on the link, where it is known.
    public var linkAddress: MACAddress?
    /// The link's index.
    public var linkIndex: Int32
    /// NUD_*: 2 reachable, 4 stale, 0x20 failed, 0x80 permanent.
    public var state: UInt16
    /// True for an address that is answered for another (NTF_PROXY).
    public var isProxy: Bool

    /// Describes a neighbour; without a state it is permanent.
    public init(
        _ address: IPAddress, linkAddress: MACAddress?, linkIndex: Int32, state: UInt16 = 0x80,
        isProxy: Bool = false
    ) {
        self.address = address
        self.linkAddress = linkAddress
        self.linkIndex = linkIndex
        self.state = state
        self.isProxy = isProxy
    }
}

/// A rule that chooses a routing table.
public struct RoutingRule: Hashable, Sendable {
    /// The family of packets.
    public var family: IPAddress.Family
    /// Rules are tried by ascending priority.
    public var priority: UInt32
    /// The table to search.
    public var table: UInt32
    /// Packets from these sources only.
    public var source: Prefix?
    /// Packets to these destinations only.
    public var destination: Prefix?
    /// Packets with this mark only.
    public var mark: UInt32?
    /// The bits of the mark that count; nil for all.
    public var markMask: UInt32?

    /// Describes a rule.
    public init(
        _ family: IPAddress.Family, priority: UInt32, table: UInt32, source: Prefix? = nil,
        destination: Prefix? = nil, mark: UInt32? = nil, markMask: UInt32? = nil
    ) {
        self.family = family
        self.priority = priority
        self.table = table
        self.source = source
        self.destination = destination
        self.mark = mark
        self.markMask = markMask
    }
}

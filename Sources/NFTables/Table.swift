/// The address family a table works on (NFPROTO_*, linux/netfilter.h).
public enum Family: UInt8, Hashable, Sendable, CaseIterable {
    /// IPv4 and IPv6 in one table.
    case inet = 1
    /// IPv4.
    case ip = 2
    /// Packets of one device, before routing.
    case netdev = 5
    /// IPv6.
    case ip6 = 10

    /// The name in nft's language.
    public var name: String {
        switch self {
        case .inet: "inet"
        case .ip: "ip"
        case .netdev: "netdev"
        case .ip6: "ip6"
        }
    }
}

/// A table: a family and a name hold everything else.
public struct Table: Hashable, Sendable, CustomStringConvertible {
    /// The family.
    public let family: Family
    /// The name, unique in the family; at most 255 bytes.
    public let name: String

    /// Names a table.
    public init(_ family: Family, _ name: String) {
        self.family = family
        self.name = name
    }

    /// `ip portolan`, as nft writes it.
    public var description: String { "\(family.name) \(name)" }
}

// MARK: - Chains

/// A chain of rules: a base chain where it has a hook, else one to jump to.
public struct Chain: Hashable, Sendable {
    /// The table that holds it.
    public var table: Table
    /// The name, unique in the table; at most 255 bytes.
    public var name: String
    /// Where the kernel enters the chain; nil for a chain reached by jump or goto.
    public var hook: ChainHook?
    /// The kernel's handle; set on chains that were read back.
    public var handle: UInt64?

    /// A chain that rules and verdict maps jump to.
    public init(_ name: String, in table: Table) {
        self.table = table
        self.name = name
    }

    /// A base chain, entered at `hook`.
    public init(_ name: String, in table: Table, hook: ChainHook) {
        self.table = table
        self.name = name
        self.hook = hook
    }
}

/// How a base chain is attached.
public struct ChainHook: Hashable, Sendable {
    /// What its rules may do.
    public enum Kind: String, Hashable, Sendable {
        /// Accept and drop.
        case filter
        /// Translate addresses; only a connection's first packet enters.
        case nat
        /// Reroute packets whose mark or address changed (output only).
        case route
    }

    /// The place in the packet's way (NF_INET_*).
    public enum Point: UInt32, Hashable, Sendable, CaseIterable {
        case prerouting = 0
        case input = 1
        case forward = 2
        case output = 3
        case postrouting = 4
    }

    /// What happens at the end of the chain.
    public enum Policy: UInt32, Hashable, Sendable {
        case drop = 0
        case accept = 1
    }

    /// What its rules may do.
    public var kind: Kind
    /// The place in the packet's way.
    public var point: Point
    /// Chains of a hook run by ascending priority; connection tracking is at -200, dstnat at -100,
    /// filter at 0, srcnat at 100 (linux/netfilter_ipv4.h).
    public var priority: Int32
    /// What happens at the end of the chain.
    public var policy: Policy

    /// Describes a hook.
    public init(_ kind: Kind, _ point: Point, priority: Int32, policy: Policy = .accept) {
        self.kind = kind
        self.point = point
        self.priority = priority
        self.policy = policy
    }
}

// MARK: - Stateful objects

/// A named counter, quota-free and shared by rules and object maps.
public struct NamedCounter: Hashable, Sendable {
    /// The table that holds it.
    public var table: Table
    /// The name, unique among the table's counters.
    public var name: String
    /// Packets counted so far.
    public var packetCount: UInt64
    /// Bytes counted so far.
    public var byteCount: UInt64

    /// Declares a counter, with a start value where one is to be carried over.
    public init(_ name: String, in table: Table, packetCount: UInt64 = 0, byteCount: UInt64 = 0) {
        self.table = table
        self.name = name
        self.packetCount = packetCount
        self.byteCount = byteCount
    }
}

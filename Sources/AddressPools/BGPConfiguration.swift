public import KubernetesAPI
public import NetworkTypes

/// The BGP half of MetalLB's configuration: read and checked whole, so that a mistake shows.
public struct BGPConfiguration: Hashable, Sendable {
    /// The routers to speak with.
    public var peers: [BGPPeer] = []
    /// What to tell them.
    public var advertisements: [BGPAdvertisement] = []
    /// BFD timers by name.
    public var bfdProfiles: [BFDProfile] = []
    /// Names for communities.
    public var communities: [String: BGPCommunity] = [:]

    /// Makes an empty configuration.
    public init() {}

    /// True where nothing is configured.
    public var isEmpty: Bool {
        peers.isEmpty && advertisements.isEmpty && bfdProfiles.isEmpty && communities.isEmpty
    }
}

/// A BGP neighbour (BGPPeer v1beta2, or an entry of `peers` in the ConfigMap).
public struct BGPPeer: Hashable, Sendable {
    /// The name; in the ConfigMap, its place in the list.
    public var name: String
    /// Our autonomous system.
    public var myASN: UInt32
    /// The neighbour's; nil with `dynamicASN`.
    public var peerASN: UInt32?
    /// `internal` or `external`, where the neighbour's number is learned.
    public var dynamicASN: String?
    /// Another number of ours to show this neighbour.
    public var localASN: UInt32?
    /// The neighbour's address; nil where an interface is named.
    public var peerAddress: IPAddress?
    /// The interface of an unnumbered session.
    public var interface: String?
    /// The address to speak from.
    public var sourceAddress: IPAddress?
    /// 179 unless told.
    public var peerPort: UInt16 = 179
    /// 0, or 3 and more (RFC 4271, 4.2); 90 unless told.
    public var holdTimeSeconds: Int = 90
    /// A third of the hold time unless told.
    public var keepaliveTimeSeconds: Int?
    /// Seconds between tries to connect.
    public var connectTimeSeconds: Int?
    /// Our identifier (RFC 4271, 4.2).
    public var routerID: IPAddress?
    /// The nodes that speak; any selector suffices, and none means every node.
    public var nodeSelectors: [LabelSelector] = []
    /// The TCP MD5 password (RFC 2385); empty where there is none.
    public var password = ""
    /// The Secret that holds the password.
    public var passwordSecret: ObjectKey?
    /// The BFD profile by name.
    public var bfdProfile: String?
    /// RFC 4724.
    public var enableGracefulRestart = false
    /// The neighbour is more than one hop away.
    public var ebgpMultiHop = false
    /// The VRF to speak in.
    public var vrf: String?
    /// Both families over this session.
    public var dualStackAddressFamily = false

    /// Makes a peer.
    public init(name: String, myASN: UInt32) {
        self.name = name
        self.myASN = myASN
    }
}

/// How the addresses of pools are told to BGP neighbours.
public struct BGPAdvertisement: Hashable, Sendable {
    /// The name, for messages.
    public var name: String
    /// The pools by name.
    public var pools: [String] = []
    /// The pools by label. Neither names nor selectors means every pool.
    public var poolSelectors: [LabelSelector] = []
    /// The length of the prefix told for an IPv4 address.
    public var aggregationLength = 32
    /// The length of the prefix told for an IPv6 address.
    public var aggregationLengthV6 = 128
    /// LOCAL_PREF (RFC 4271, 5.1.5).
    public var localPreference: UInt32?
    /// The communities, with names resolved.
    public var communities: [BGPCommunity] = []
    /// The nodes; any selector suffices, and none means every node.
    public var nodeSelectors: [LabelSelector] = []
    /// The peers by name; none means every one.
    public var peers: [String] = []
    /// The Services; any selector suffices, and none means every Service.
    public var serviceSelectors: [LabelSelector] = []

    /// Makes an advertisement.
    public init(name: String) { self.name = name }
}

/// A community: RFC 1997 (`64512:100`) or large, RFC 8092 (`large:64512:1:2`).
public enum BGPCommunity: Hashable, Sendable, CustomStringConvertible {
    /// Two halves of 16 bits.
    case standard(UInt16, UInt16)
    /// Three parts of 32 bits.
    case large(UInt32, UInt32, UInt32)

    /// Reads either form; nil for anything else.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        if parts.count == 2, let high = UInt16(parts[0]), let low = UInt16(parts[1]) {
            self = .standard(high, low)
        } else if parts.count == 4, parts[0] == "large", let global = UInt32(parts[1]),
            let first = UInt32(parts[2]), let second = UInt32(parts[3])
        {
            self = .large(global, first, second)
        } else {
            return nil
        }
    }

    /// The form that `init` reads.
    public var description: String {
        switch self {
        case .standard(let high, let low): "\(high):\(low)"
        case .large(let global, let first, let second): "large:\(global):\(first):\(second)"
        }
    }
}

/// Timers of Bidirectional Forwarding Detection (RFC 5880).
public struct BFDProfile: Hashable, Sendable {
    /// The name that a peer asks for.
    public var name: String
    /// 10–60000.
    public var receiveIntervalMilliseconds = 300
    /// 10–60000.
    public var transmitIntervalMilliseconds = 300
    /// 2–255.
    public var detectMultiplier = 3
    /// 10–60000.
    public var echoIntervalMilliseconds = 50
    /// RFC 5880, 6.4.
    public var echoMode = false
    /// Wait for the neighbour to begin.
    public var passiveMode = false
    /// 1–254 (RFC 5883).
    public var minimumTTL = 254

    /// Makes a profile with the usual timers.
    public init(name: String) { self.name = name }
}

import NetworkTypes

/// Names and addresses of everything a standalone cluster puts on the machine: a pure function of
/// the options, so that `down` finds what `up` made.
struct Topology: Hashable, Sendable {
    let name: String
    let lan: Prefix
    let services: Prefix
    /// Where ClusterIPs of the second family come from; nil for one family.
    let secondaryServices: Prefix?
    /// The ranges of ClusterIPs, one a family.
    var serviceRanges: [Prefix] { [services] + [secondaryServices].compactMap(\.self) }
    let pods: Prefix
    let nodePorts: ClosedRange<UInt16>
    let apiPort: UInt16
    let clusterDomain: String
    /// The machine's address on the LAN, `.1`.
    let machineAddress: IPAddress
    /// The first address of the service range: the API's own Service.
    let apiServiceAddress: IPAddress
    /// The tenth address of the service range.
    let dnsAddress: IPAddress
    let nodes: [NodePlan]

    /// One virtual node.
    struct NodePlan: Hashable, Sendable {
        /// Counted from 1.
        let number: Int
        /// `NAME-node-N`, also the name of its network namespace.
        let name: String
        let address: IPAddress
        let podCIDR: Prefix
    }

    /// The range has no room for an address that the plan needs.
    struct RangeTooSmall: Error, CustomStringConvertible {
        let description: String
    }

    /// Lays the cluster out.
    /// - Throws: `RangeTooSmall` naming the range.
    init(
        name: String, nodeCount: Int, lan: Prefix, services: Prefix,
        secondaryServices: Prefix? = nil, pods: Prefix,
        nodePorts: ClosedRange<UInt16>, apiPort: UInt16, clusterDomain: String
    ) throws {
        func address(_ prefix: Prefix, _ index: UInt64) throws -> IPAddress {
            guard let address = prefix.address(at: index), address != prefix.lastAddress else {
                throw RangeTooSmall(description: "\(prefix) has no address number \(index)")
            }
            return address
        }
        self.name = name
        self.lan = lan
        self.services = services
        self.secondaryServices = secondaryServices
        self.pods = pods
        self.nodePorts = nodePorts
        self.apiPort = apiPort
        self.clusterDomain = clusterDomain
        machineAddress = try address(lan, 1)
        apiServiceAddress = try address(services, 1)
        dnsAddress = try address(services, 10)
        nodes = try (1...nodeCount).map { number in
            let podBase = try address(pods, UInt64(number - 1) << 8)
            guard let podCIDR = Prefix(podBase, length: 24) else {
                throw RangeTooSmall(description: "\(pods) has no /24 number \(number)")
            }
            return NodePlan(
                number: number, name: "\(name)-node-\(number)",
                address: try address(lan, UInt64(10 + number)), podCIDR: podCIDR)
        }
    }

    /// The namespace that holds the LAN's bridge.
    var lanNamespace: String { "\(name)-lan" }

    /// The machine's link into the LAN.
    var machineLink: String { Self.linkName("\(name)-lan") }

    /// The table on the machine that lets nodes and pods reach the world outside.
    var machineTable: String { "\(name)-machine" }

    /// Every namespace of a node of this cluster begins so.
    var nodePrefix: String { "\(name)-node-" }

    /// `text` where it fits a link's name (IFNAMSIZ less one), else a short name that stays
    /// distinct: the beginning and a hash (FNV-1a, 32 bits).
    static func linkName(_ text: String) -> String {
        guard text.utf8.count > 15 else { return text }
        var hash: UInt32 = 0x811C_9DC5
        for byte in text.utf8 { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
        let digits = String(hash, radix: 16)
        let padding = String(repeating: "0", count: 8 - digits.count)
        return "\(text.prefix(6))-\(padding)\(digits)"
    }
}

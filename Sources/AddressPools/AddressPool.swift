public import KubernetesAPI
public import NetworkTypes

/// A pool of addresses for Services of type LoadBalancer, wherever it was configured.
public struct AddressPool: Hashable, Sendable {
    /// The name, which the annotation `metallb.io/address-pool` asks for.
    public var name: String
    /// The labels that an advertisement's `ipAddressPoolSelectors` look at.
    public var labels: [String: String]
    /// The addresses, in the order of the configuration.
    public var ranges: [AddressRange]
    /// False where addresses are given only to Services that ask for the pool or the address.
    public var autoAssign: Bool
    /// True where IPv4 addresses that end in .0 and .255 are left out, which some old routers drop.
    public var avoidBuggyIPs: Bool
    /// nil where any Service may have the addresses without asking.
    public var serviceAllocation: PoolServiceAllocation?
    /// The object that says so, for messages and events.
    public var source: ConfigurationSource

    /// Makes a pool.
    public init(
        name: String, labels: [String: String] = [:], ranges: [AddressRange],
        autoAssign: Bool = true, avoidBuggyIPs: Bool = false,
        serviceAllocation: PoolServiceAllocation? = nil, source: ConfigurationSource = .configMap
    ) {
        self.name = name
        self.labels = labels
        self.ranges = ranges
        self.autoAssign = autoAssign
        self.avoidBuggyIPs = avoidBuggyIPs
        self.serviceAllocation = serviceAllocation
        self.source = source
    }

    /// True where the pool may give `address` away.
    public func offers(_ address: IPAddress) -> Bool {
        guard ranges.contains(where: { $0.contains(address) }) else { return false }
        return !(avoidBuggyIPs && Self.isBuggy(address))
    }

    /// The number of addresses of `family` that the pool can give away, capped at `UInt64.max`.
    public func addressCount(_ family: IPAddress.Family) -> UInt64 {
        ranges.filter { $0.family == family }.reduce(0) { sum, range in
            var count = range.addressCount
            if avoidBuggyIPs { count -= Self.buggyCount(in: range) }
            let (total, overflow) = sum.addingReportingOverflow(count)
            return overflow ? .max : total
        }
    }

    /// IPv4 addresses that end in .0 or .255.
    public static func isBuggy(_ address: IPAddress) -> Bool {
        guard case .v4(let value) = address else { return false }
        return value & 0xFF == 0 || value & 0xFF == 0xFF
    }

    private static func buggyCount(in range: AddressRange) -> UInt64 {
        guard case .v4(let first) = range.first, case .v4(let last) = range.last else { return 0 }
        /// How many of the addresses 0…value end in .0 or .255.
        func upTo(_ value: Int64) -> Int64 {
            guard value >= 0 else { return 0 }
            return (value + 256) >> 8 + (value + 1) >> 8
        }
        return UInt64(upTo(Int64(last)) - upTo(Int64(first) - 1))
    }
}

/// `spec.serviceAllocation` of an IPAddressPool: for whom the pool is pinned.
public struct PoolServiceAllocation: Hashable, Sendable {
    /// Lower comes first; 0, the lack of one, comes last.
    public var priority: Int
    /// The namespaces by name.
    public var namespaces: Set<String>
    /// The namespaces by label; any selector suffices.
    public var namespaceSelectors: [LabelSelector]
    /// The Services by label; any selector suffices, and none means every Service.
    public var serviceSelectors: [LabelSelector]

    /// Makes an allocation rule.
    public init(
        priority: Int = 0, namespaces: Set<String> = [], namespaceSelectors: [LabelSelector] = [],
        serviceSelectors: [LabelSelector] = []
    ) {
        self.priority = priority
        self.namespaces = namespaces
        self.namespaceSelectors = namespaceSelectors
        self.serviceSelectors = serviceSelectors
    }

    /// True where the rule admits a Service with `labels` in `namespace`.
    public func admits(
        labels: [String: String], namespace: String, namespaceLabels: [String: String]
    ) -> Bool {
        let isNamespaceFree = namespaces.isEmpty && namespaceSelectors.isEmpty
        let isNamespaceMet =
            isNamespaceFree || namespaces.contains(namespace)
            || namespaceSelectors.contains { $0.matches(namespaceLabels) }
        let isServiceMet =
            serviceSelectors.isEmpty || serviceSelectors.contains { $0.matches(labels) }
        return isNamespaceMet && isServiceMet
    }
}

/// Which nodes and interfaces answer ARP and neighbour discovery for which pools and Services.
public struct L2Advertisement: Hashable, Sendable {
    /// The name, for messages.
    public var name: String
    /// The pools by name.
    public var pools: [String]
    /// The pools by label. Neither names nor selectors means every pool.
    public var poolSelectors: [LabelSelector]
    /// The nodes; any selector suffices, and none means every node.
    public var nodeSelectors: [LabelSelector]
    /// The interfaces; none means every one.
    public var interfaces: [String]
    /// The Services; any selector suffices, and none means every Service.
    public var serviceSelectors: [LabelSelector]
    /// Nodes to prefer, with a weight from 1 to 100; the weights of those that match add up.
    public var preferredNodes: [PreferredNode]

    /// One entry of `preferredNodeSelectors`.
    public struct PreferredNode: Hashable, Sendable {
        /// 1–100.
        public var weight: Int
        /// The nodes it holds for.
        public var selector: LabelSelector

        /// Makes a preference.
        public init(weight: Int, selector: LabelSelector) {
            self.weight = weight
            self.selector = selector
        }
    }

    /// Makes an advertisement; without restrictions it holds for everything.
    public init(
        name: String, pools: [String] = [], poolSelectors: [LabelSelector] = [],
        nodeSelectors: [LabelSelector] = [], interfaces: [String] = [],
        serviceSelectors: [LabelSelector] = [], preferredNodes: [PreferredNode] = []
    ) {
        self.name = name
        self.pools = pools
        self.poolSelectors = poolSelectors
        self.nodeSelectors = nodeSelectors
        self.interfaces = interfaces
        self.serviceSelectors = serviceSelectors
        self.preferredNodes = preferredNodes
    }

    /// True where the advertisement speaks of `pool`.
    public func covers(_ pool: AddressPool) -> Bool {
        if pools.isEmpty && poolSelectors.isEmpty { return true }
        return pools.contains(pool.name) || poolSelectors.contains { $0.matches(pool.labels) }
    }

    /// True where the advertisement lets a node with `labels` announce.
    public func admits(nodeLabels labels: [String: String]) -> Bool {
        nodeSelectors.isEmpty || nodeSelectors.contains { $0.matches(labels) }
    }

    /// True where the advertisement holds for a Service with `labels`.
    public func admits(serviceLabels labels: [String: String]) -> Bool {
        serviceSelectors.isEmpty || serviceSelectors.contains { $0.matches(labels) }
    }

    /// The weights of the preferences that a node with `labels` meets, added up.
    public func preference(nodeLabels labels: [String: String]) -> Int {
        preferredNodes.reduce(0) { $0 + ($1.selector.matches(labels) ? $1.weight : 0) }
    }
}

/// The object a piece of configuration came from.
public struct ConfigurationSource: Hashable, Sendable, CustomStringConvertible {
    /// Its kind.
    public let kind: String
    /// Its namespace and name.
    public let key: ObjectKey

    /// Names an object.
    public init(kind: String, key: ObjectKey) {
        self.kind = kind
        self.key = key
    }

    /// MetalLB's ConfigMap of versions up to 0.12.
    public static let configMap = ConfigurationSource(
        kind: "ConfigMap", key: ObjectKey(namespace: "metallb-system", name: "config"))

    /// `ConfigMap metallb-system/config`
    public var description: String { "\(kind) \(key)" }
}

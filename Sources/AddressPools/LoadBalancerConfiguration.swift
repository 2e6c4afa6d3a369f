import JSON
public import KubernetesAPI
public import NetworkTypes

/// Everything that configures load-balancer addresses, from MetalLB's ConfigMap of versions up to
/// 0.12 and from objects of metallb.io. Both may be there at once: they add up.
public struct LoadBalancerConfiguration: Hashable, Sendable {
    /// The pools, those of the ConfigMap first, then objects by name.
    public var pools: [AddressPool] = []
    /// Who answers ARP for what.
    public var l2Advertisements: [L2Advertisement] = []
    /// What BGP speakers would be told.
    public var bgp = BGPConfiguration()
    /// What is valid but surprising, with the object it is about.
    public var warnings: [Warning] = []

    /// The objects that say something about BGP.
    var bgpSources: Set<ConfigurationSource> = []

    /// One surprising thing.
    public struct Warning: Hashable, Sendable {
        /// The object it is about.
        public var source: ConfigurationSource
        /// The sentence for people.
        public var message: String
    }

    /// Makes an empty configuration: no pool, no advertisement.
    public init() {}

    /// Reads and merges a whole configuration.
    /// - Parameters:
    ///   - configMapText: the key `config` of ConfigMap metallb-system/config; nil without it.
    ///   - objects: objects of metallb.io in any order; other kinds are left alone.
    /// - Throws: `ConfigurationError` with every fault found, each with its object and place.
    public init(configMapText: String?, objects: [Object]) throws(ConfigurationError) {
        var error = ConfigurationError()
        if let configMapText {
            let reader = ConfigurationReader()
            do throws(ConfigurationFault) {
                let root = try ConfigurationNode(yaml: configMapText)
                readConfigMap(root, reader)
                if !bgp.isEmpty { bgpSources.insert(.configMap) }
            } catch {
                reader.fault(
                    ConfigurationNode(json: .null, path: error.field, line: error.line),
                    error.message)
            }
            error.add(reader, .configMap)
        }
        let ordered = objects.sorted { ($0.kind, $0.metadata.key) < ($1.kind, $1.metadata.key) }
        // Communities come first, since advertisements refer to them by name.
        for object in ordered where object.kind == "Community" { readObject(object, &error) }
        for object in ordered where object.kind != "Community" { readObject(object, &error) }
        checkPools(&error)
        guard error.isEmpty else { throw error }
        addWarnings()
    }

    /// The pool that offers `address`, or nil.
    public func pool(offering address: IPAddress) -> AddressPool? {
        pools.first { $0.offers(address) }
    }

    /// The pool called `name`, or nil.
    public func pool(named name: String) -> AddressPool? { pools.first { $0.name == name } }

    /// The advertisements that hold for a Service with `serviceLabels` and an address of `pool`.
    public func l2Advertisements(
        for pool: AddressPool, serviceLabels: [String: String]
    ) -> [L2Advertisement] {
        l2Advertisements.filter { $0.covers(pool) && $0.admits(serviceLabels: serviceLabels) }
    }

    /// The prefixes of all pools, sorted: what a router in front would have on-link.
    public var prefixes: [Prefix] {
        Set(pools.flatMap { $0.ranges.flatMap(\.prefixes) }).sorted()
    }
}

/// A configuration that cannot be used, with every fault that was found.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The faults by object, in the order they were found.
    public private(set) var entries: [Entry] = []

    /// One fault of one object.
    public struct Entry: Hashable, Sendable, CustomStringConvertible {
        /// The object.
        public var source: ConfigurationSource
        /// The fault.
        public var fault: ConfigurationFault

        /// `ConfigMap metallb-system/config: line 5: address-pools[0].name: required`
        public var description: String { "\(source): \(fault)" }
    }

    init() {}

    var isEmpty: Bool { entries.isEmpty }

    mutating func add(_ source: ConfigurationSource, _ fault: ConfigurationFault) {
        entries.append(Entry(source: source, fault: fault))
    }

    mutating func add(_ reader: ConfigurationReader, _ source: ConfigurationSource) {
        for fault in reader.faults { add(source, fault) }
        if reader.omittedFaultCount > 0 {
            add(
                source,
                ConfigurationFault(
                    field: "", message: "and \(reader.omittedFaultCount) more faults"))
        }
    }

    /// The objects at fault, each once.
    public var sources: [ConfigurationSource] {
        entries.reduce(into: []) { sources, entry in
            if !sources.contains(entry.source) { sources.append(entry.source) }
        }
    }

    /// The faults, separated by semicolons.
    public var description: String { entries.map(\.description).joined(separator: "; ") }
}

// MARK: - Checks across objects

extension LoadBalancerConfiguration {
    /// Pools must have different names and no address in common, whoever configured them.
    private func checkPools(_ error: inout ConfigurationError) {
        var names: [String: AddressPool] = [:]
        var ranges: [(range: AddressRange, pool: AddressPool)] = []
        for pool in pools {
            if let other = names[pool.name] {
                error.add(
                    pool.source,
                    ConfigurationFault(
                        field: "name",
                        message: "pool \"\(pool.name)\" is already defined in \(other.source)"))
            }
            names[pool.name] = pool
            ranges += pool.ranges.map { ($0, pool) }
        }
        ranges.sort { $0.range < $1.range }
        // Sorted by first address, a range overlaps an earlier one only if it overlaps the one
        // that reaches furthest so far.
        var furthest: (range: AddressRange, pool: AddressPool)?
        for entry in ranges {
            if let before = furthest, before.range.overlaps(entry.range) {
                error.add(
                    entry.pool.source,
                    ConfigurationFault(
                        field: "addresses",
                        message: "\(entry.range) of pool \"\(entry.pool.name)\" overlaps "
                            + "\(before.range) of pool \"\(before.pool.name)\""))
            }
            if let before = furthest, before.range.family == entry.range.family,
                before.range.last >= entry.range.last
            {
                continue
            }
            furthest = entry
        }
    }

    private mutating func addWarnings() {
        for advertisement in l2Advertisements {
            for name in advertisement.pools where pool(named: name) == nil {
                warnings.append(
                    Warning(
                        source: ConfigurationSource(
                            kind: "L2Advertisement",
                            key: ObjectKey(
                                namespace: "metallb-system", name: advertisement.name)),
                        message: "there is no pool \"\(name)\": create it or correct "
                            + "spec.ipAddressPools"))
            }
        }
        guard !bgp.isEmpty else { return }
        let names = bgp.peers.map(\.name) + bgp.advertisements.map(\.name)
        for source in bgpSources.sorted(by: { $0.description < $1.description }) {
            warnings.append(
                Warning(
                    source: source,
                    message: "BGP is read but not yet acted on "
                        + "(\(names.prefix(8).joined(separator: ", "))): addresses are allocated "
                        + "and announced on layer 2 only, where an L2Advertisement covers the "
                        + "pool"))
        }
    }

    /// Begins the names of things that the ConfigMap leaves nameless; no object can be called so.
    static let configMapMark = "config:"
}

extension ConfigurationNode {
    init(json: JSONValue, path: String, line: Int?) {
        self.init(json: json, path: path)
        self.line = line
    }
}

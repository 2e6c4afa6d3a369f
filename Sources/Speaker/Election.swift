public import AddressPools
public import KubernetesAPI
public import NetworkTypes

/// Why a node announces an address or not; the raw values are MetalLB's where it has one.
public enum AnnouncementReason: String, Hashable, Sendable {
    case announced
    /// Another node was chosen.
    case notOwner
    /// No L2Advertisement covers the pool, the Service and the node.
    case noMatchingAdvertisement
    /// The Service has no ready or serving endpoint.
    case noEndpoints
    /// externalTrafficPolicy is Local and no endpoint is on the node.
    case noLocalEndpoints
    case nodeNetworkUnavailable
    case nodeLabeledExcludeBalancers
    /// The address is of no pool.
    case ipNotAllowed
    /// The advertisement names interfaces that the node has not got.
    case noInterface
    /// Another node has an interface in the address's network and this one has not.
    case notInSubnet
    /// The node's speaker is not heard of.
    case speakerNotLive
    /// The Service has no address yet.
    case noAddress
    /// MetalLB's own speaker runs.
    case steppedAside
}

/// What the speakers of a cluster decide by. Every one of them comes to the same decision from the
/// same inputs, so nothing has to be agreed upon.
public struct ElectionInputs: Sendable {
    /// Pools and advertisements.
    public var configuration = LoadBalancerConfiguration()
    /// Services of type LoadBalancer with an address.
    public var services: [ObjectKey: Service] = [:]
    /// The nodes with a ready or serving endpoint, per Service; endpoints without a node count
    /// under an empty name.
    public var servingNodes: [ObjectKey: Set<String>] = [:]
    /// The nodes by name.
    public var nodes: [String: Node] = [:]
    /// The interfaces of the nodes whose speakers are live.
    public var speakers: [String: [SpeakerInterface]] = [:]

    /// Makes empty inputs.
    public init() {}
}

/// An interface on which a speaker announces.
public struct SpeakerInterface: Hashable, Sendable {
    /// Its name, such as `eth0`.
    public var name: String
    /// The networks it is in.
    public var prefixes: [Prefix]

    /// Makes a description.
    public init(name: String, prefixes: [Prefix]) {
        self.name = name
        self.prefixes = prefixes
    }
}

/// Who announces which address.
public struct Election: Hashable, Sendable {
    /// What was decided about one address.
    public struct Decision: Hashable, Sendable {
        /// The node that announces it; nil where none may.
        public var owner: String?
        /// The Services that hold it, sorted.
        public var services: [ObjectKey]
        /// True where every node that could announce it is labelled as excluded; announcing then
        /// beats silence, and deserves a warning.
        public var isEveryNodeExcluded = false
        /// Why each Service keeps each node from announcing; a node that is not here may.
        public var refusals: [ObjectKey: [String: AnnouncementReason]] = [:]
    }

    /// The decisions by address.
    public private(set) var decisions: [IPAddress: Decision] = [:]

    /// How far above the average a node's share may be, in quarters: 5/4.
    private static let loadQuarters = 5

    /// Makes an election without addresses.
    public init() {}

    /// Decides for every address. Each has the nodes ranked by a hash of its own (rendezvous
    /// hashing), so that the loss of a node moves only that node's addresses; and no node gets
    /// more than 5/4 of its share. The share is counted over the addresses before, oldest Service
    /// first: a new address never moves an older one.
    public init(_ inputs: ElectionInputs) {
        var holders: [IPAddress: [Service]] = [:]
        for service in inputs.services.values {
            for address in Set(service.ingress.compactMap(\.address)) {
                holders[address, default: []].append(service)
            }
        }
        let ordered = holders.map { address, services in
            (
                address: address,
                services: services.sorted { $0.key < $1.key },
                since: services.map(\.metadata.creationTimestamp).min() ?? ""
            )
        }.sorted { ($0.since, $0.address) < ($1.since, $1.address) }
        var loads: [String: Int] = [:]
        var count = 0
        for entry in ordered {
            let (candidates, outcome) = Self.candidates(entry.address, entry.services, inputs)
            var decision = outcome
            if !candidates.isEmpty {
                count += 1
                let owner = Self.choose(
                    entry.address, candidates, loads: loads, count: count,
                    speakerCount: inputs.speakers.count)
                decision.owner = owner
                loads[owner, default: 0] += 1
            }
            decisions[entry.address] = decision
        }
    }

    /// Why `node` announces `address` for `service` or not.
    public func reason(
        _ address: IPAddress, _ service: ObjectKey, node: String
    ) -> AnnouncementReason {
        guard let decision = decisions[address] else { return .noAddress }
        if let refusal = decision.refusals[service]?[node] { return refusal }
        return decision.owner == node ? .announced : .notOwner
    }

    // MARK: - Candidates

    /// The nodes that may announce an address, with the preference of the advertisement.
    private static func candidates(
        _ address: IPAddress, _ services: [Service], _ inputs: ElectionInputs
    ) -> ([String: Int], Decision) {
        var decision = Decision(services: services.map(\.key))
        var candidates: [String: Int] = [:]
        for service in services {
            var refusals: [String: AnnouncementReason] = [:]
            for (name, node) in inputs.nodes {
                switch eligibility(address, service, node, inputs) {
                case .success(let preference):
                    candidates[name] = max(candidates[name] ?? 0, preference)
                case .failure(let refusal): refusals[name] = refusal.reason
                }
            }
            decision.refusals[service.key] = refusals
        }
        func drop(_ names: [String], _ reason: AnnouncementReason) {
            for name in names {
                candidates[name] = nil
                for service in services { decision.refusals[service.key]?[name] = reason }
            }
        }
        let excluded = candidates.keys.filter {
            inputs.nodes[$0]?.isExcludedFromLoadBalancers == true
        }
        if !excluded.isEmpty {
            decision.isEveryNodeExcluded = excluded.count == candidates.count
            if !decision.isEveryNodeExcluded { drop(excluded, .nodeLabeledExcludeBalancers) }
        }
        let outside = candidates.keys.filter { name in
            !(inputs.speakers[name] ?? []).contains { interface in
                interface.prefixes.contains { $0.contains(address) }
            }
        }
        // An address outside every node's network is reached by a route, and anybody will do.
        if outside.count < candidates.count { drop(outside, .notInSubnet) }
        return (candidates, decision)
    }

    private struct Refusal: Error {
        var reason: AnnouncementReason
    }

    private static func eligibility(
        _ address: IPAddress, _ service: Service, _ node: Node, _ inputs: ElectionInputs
    ) -> Result<Int, Refusal> {
        func refuse(_ reason: AnnouncementReason) -> Result<Int, Refusal> {
            .failure(Refusal(reason: reason))
        }
        guard let pool = inputs.configuration.pool(offering: address) else {
            return refuse(.ipNotAllowed)
        }
        let covering = inputs.configuration.l2Advertisements(
            for: pool, serviceLabels: service.metadata.labels)
        let name = node.metadata.name
        let labels = node.metadata.labels
        let admitting = covering.filter { $0.admits(nodeLabels: labels) }
        guard !admitting.isEmpty else { return refuse(.noMatchingAdvertisement) }
        let serving = inputs.servingNodes[service.key] ?? []
        guard !serving.isEmpty else { return refuse(.noEndpoints) }
        if service.externalTrafficPolicy == .local, !serving.contains(name) {
            return refuse(.noLocalEndpoints)
        }
        guard !node.isNetworkUnavailable else { return refuse(.nodeNetworkUnavailable) }
        guard let interfaces = inputs.speakers[name] else { return refuse(.speakerNotLive) }
        let reaching = admitting.filter { advertisement in
            advertisement.interfaces.isEmpty
                || interfaces.contains { advertisement.interfaces.contains($0.name) }
        }
        guard !reaching.isEmpty else { return refuse(.noInterface) }
        return .success(reaching.map { $0.preference(nodeLabels: labels) }.max() ?? 0)
    }

    // MARK: - Choice

    private static func choose(
        _ address: IPAddress, _ candidates: [String: Int], loads: [String: Int], count: Int,
        speakerCount: Int
    ) -> String {
        let addressHash = hash(address.networkBytes)
        let ranked = candidates.map { name, preference in
            (name: name, preference: preference, weight: mix(addressHash ^ hash(name.utf8)))
        }.sorted { left, right in
            (right.preference, right.weight, right.name) < (left.preference, left.weight, left.name)
        }
        let nodeCount = max(1, speakerCount)
        let limit = (count * loadQuarters + 4 * nodeCount - 1) / (4 * nodeCount)
        // Preferences were asked for by name, and come before balance.
        let best = ranked[0].preference
        let preferred = ranked.filter { $0.preference == best }
        let chosen = preferred.first { loads[$0.name, default: 0] < limit }
        return (chosen ?? preferred.first ?? ranked[0]).name
    }

    /// FNV-1a, the same on every machine and in every process.
    private static func hash(_ bytes: some Sequence<UInt8>) -> UInt64 {
        mix(bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 })
    }

    /// The finalizer of SplitMix64: every bit of the input moves every bit of the output.
    private static func mix(_ input: UInt64) -> UInt64 {
        var value = input
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}

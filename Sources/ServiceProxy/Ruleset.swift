import NFTables
import NetworkTypes

/// What shapes the rules, as opposed to the elements: it changes with the configuration, never with
/// a Service.
struct RulesetOptions: Hashable, Sendable {
    var tableName: String
    /// Ranges of cluster IPs: what no Service holds there is refused.
    var serviceCIDRs: [Prefix]
    /// Where pods' addresses come from; sources outside are masqueraded on their way to a cluster
    /// IP, because the answer might not come back through this node otherwise.
    var podCIDRs: [Prefix]
    var locallyServedAddresses: Set<IPAddress>
    /// The bit of the packet mark that asks for masquerading; undone before the packet leaves.
    var masqueradeBit: UInt32
    var masqueradesAll: Bool
    /// Where not nil, node ports answer only at the node's addresses within these.
    var nodePortPrefixes: [Prefix]?
    /// Drops forwarded packets that connection tracking cannot place: untranslated, an answer
    /// among them would make its receiver reset the connection. Costs every packet a rule; not
    /// needed where connection tracking is liberal about TCP windows.
    var dropsInvalidPackets = false
}

/// The tables, sets, chains and rules of one address family.
///
/// A new connection meets, in the nat hooks only: `services` (address, protocol, port → number of a
/// treatment), `treatments` (number → chain), and in that chain `endpoints` (address, protocol,
/// port, random slot → endpoint). Established connections meet no rule at all, because the nat
/// hooks are for first packets. Services are elements; a chain is made when the first Service needs
/// a number of endpoints, or a policy, that none needed before.
struct Ruleset: Sendable {
    let family: IPAddress.Family
    let options: RulesetOptions

    /// Counts changes of the layout that an older table could not take over element by element.
    static let layoutVersion = 3

    var table: Table { Table(family == .ipv4 ? .ip : .ip6, options.tableName) }

    /// The addresses to leave alone although nodes hold them.
    private var loopback: Prefix {
        family == .ipv4
            ? Prefix(host: .v4(0x7F00_0001)).widened(to: 8) : Prefix(host: .v6(1))
    }

    /// What a table that was found must say in order to be taken over with its chains as they are.
    var fingerprint: String {
        var text = "\(Self.layoutVersion)"
        for prefix in options.serviceCIDRs + [nil] + options.podCIDRs {
            text += prefix.map { " \($0)" } ?? " |"
        }
        text += " | \(options.masqueradeBit) \(options.masqueradesAll)"
        if options.dropsInvalidPackets { text += " invalid" }
        for prefix in options.nodePortPrefixes ?? [] { text += " \(prefix)" }
        if options.nodePortPrefixes != nil { text += " ports" }
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a; comments hold 128 bytes at most
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return "portolan layout \(Self.layoutVersion) \(String(hash, radix: 16))"
    }

    // MARK: - Sets

    private var address: FieldType { family == .ipv4 ? .ipv4Address : .ipv6Address }

    /// (address, protocol, port) → number of a treatment. Counts connections.
    var services: NamedSet {
        declare(
            "services", [address, .inetProtocol, .inetService], .value([.classID]), counts: true)
    }
    /// (protocol, port) → number of a treatment. Counts connections.
    var nodePorts: NamedSet {
        declare("node-ports", [.inetProtocol, .inetService], .value([.classID]), counts: true)
    }
    /// Number of a treatment → chain. A map of its own so that adding a Service adds no jump, which
    /// would make the kernel walk all of them for loops.
    var treatments: NamedSet { declare("treatments", [.classID], .verdict) }
    /// The same for packets that passed the guard: the kernel sees a loop where one map leads both
    /// to the guard and from it.
    var guardedTreatments: NamedSet { declare("guarded-treatments", [.classID], .verdict) }
    /// The same for packets that are short-circuited.
    var shortCircuitTreatments: NamedSet {
        declare("short-circuit-treatments", [.classID], .verdict)
    }

    /// (address, protocol, port, slot) → endpoint.
    var endpoints: NamedSet {
        declare(
            "endpoints", [address, .inetProtocol, .inetService, .mark],
            .value([address, .inetService]))
    }
    /// (protocol, port, slot) → endpoint.
    var nodePortEndpoints: NamedSet {
        declare(
            "node-port-endpoints", [.inetProtocol, .inetService, .mark],
            .value([address, .inetService]))
    }
    /// What pods and the node use of Services with an external Local policy.
    var shortCircuits: NamedSet {
        declare("short-circuits", [address, .inetProtocol, .inetService], .value([.classID]))
    }
    var nodePortShortCircuits: NamedSet {
        declare("node-port-short-circuits", [.inetProtocol, .inetService], .value([.classID]))
    }
    /// The treatment of load-balancer addresses with source ranges, for sources let through.
    var guarded: NamedSet {
        declare("guarded", [address, .inetProtocol, .inetService], .value([.classID]))
    }
    /// (address, protocol, port, source range)
    var allowedSources: NamedSet {
        var set = declare(
            "allowed-sources", [address, .inetProtocol, .inetService, address], .none)
        set.flags = [.interval]
        return set
    }
    /// (endpoint, endpoint) for every endpoint on this node.
    var hairpins: NamedSet { declare("hairpins", [address, address], .none) }
    /// Service addresses that the node itself answers.
    var locallyServed: NamedSet { declare("locally-served", [address], .none) }
    /// (source, address, protocol, port) → endpoint, learned by the rules themselves.
    var affinity: NamedSet {
        var set = declare(
            "affinity", [address, address, .inetProtocol, .inetService],
            .value([address, .inetService]))
        set.flags = [.dynamic, .timeout]
        set.maximumElementCount = Self.affinityLimit
        return set
    }
    var nodePortAffinity: NamedSet {
        var set = declare(
            "node-port-affinity", [address, .inetProtocol, .inetService],
            .value([address, .inetService]))
        set.flags = [.dynamic, .timeout]
        set.maximumElementCount = Self.affinityLimit
        return set
    }

    /// (address, protocol, port) of frontends with affinity → how clients are remembered.
    var sticky: NamedSet {
        declare("sticky", [address, .inetProtocol, .inetService], .value([.classID]))
    }
    /// The same for node ports.
    var nodePortSticky: NamedSet {
        declare("node-port-sticky", [.inetProtocol, .inetService], .value([.classID]))
    }
    /// How clients are remembered → chain.
    var rememberers: NamedSet { declare("rememberers", [.classID], .verdict) }

    /// Clients remembered in a family; those beyond are balanced without affinity.
    static let affinityLimit: UInt32 = 1 << 20

    /// Every set, in the order they are made.
    var sets: [NamedSet] {
        [
            treatments, guardedTreatments, shortCircuitTreatments, services, nodePorts, endpoints,
            nodePortEndpoints, shortCircuits,
            nodePortShortCircuits, guarded, allowedSources, hairpins, locallyServed, sticky,
            nodePortSticky,
            rememberers, affinity,
            nodePortAffinity,
        ]
    }

    private func declare(
        _ name: String, _ key: [FieldType], _ content: NamedSet.Content, counts: Bool = false
    ) -> NamedSet {
        NamedSet(name, in: table, key: key, content: content, countsPackets: counts)
    }

    // MARK: - Fixed chains

    /// Where packets that nothing is to become of are counted, by reason.
    enum Ending: String, CaseIterable, Sendable {
        case noEndpoints = "no-endpoints"
        case unallocated = "unallocated"
        case noLocalEndpoints = "no-local-endpoints"
        case sourceNotAllowed = "source-not-allowed"
        case invalid = "invalid"
    }

    var counters: [NamedCounter] { Ending.allCases.map { NamedCounter($0.rawValue, in: table) } }

    /// The chains whose rules depend on the options alone, in an order in which each refers to
    /// earlier ones only. Base chains come last.
    var fixedChains: [Chain] {
        Ending.allCases.map { Chain($0.rawValue, in: table) }
            + ["service-range", "short-circuit", "node-port-short-circuit", "guard", "remember"].map
        {
            Chain($0, in: table)
        } + forwardChain + [
            Chain(
                "postrouting", in: table, hook: ChainHook(.nat, .postrouting, priority: 100)),
            Chain("input", in: table, hook: ChainHook(.nat, .input, priority: 100)),
            Chain("prerouting", in: table, hook: ChainHook(.nat, .prerouting, priority: -100)),
            Chain("output", in: table, hook: ChainHook(.nat, .output, priority: -100)),
        ]
    }

    private var forwardChain: [Chain] {
        guard options.dropsInvalidPackets else { return [] }
        return [Chain("forward", in: table, hook: ChainHook(.filter, .forward, priority: 0))]
    }

    /// The rules of `fixedChains`, in order.
    /// - Parameter refusesUnknown: false while the first Services are being loaded, so that those
    ///   not loaded yet are not refused.
    func fixedRules(refusesUnknown: Bool) -> [Rule] {
        var rules: [Rule] = []
        for ending in [Ending.noEndpoints, .unallocated] {
            rules += refusal(ending)
        }
        for ending in [Ending.noLocalEndpoints, .sourceNotAllowed, .invalid] {
            rules.append(
                rule(ending.rawValue, [.namedCounter(ending.rawValue), .verdict(.drop)]))
        }
        rules.append(
            rule(
                "service-range",
                [.lookup([destination], in: locallyServed.name), .verdict(.return)]))
        rules.append(
            rule("service-range", [.verdict(.goto(Ending.unallocated.rawValue))]))
        for (chain, kind, map) in [
            ("short-circuit", FrontendKind.address, shortCircuits),
            ("node-port-short-circuit", .nodePort, nodePortShortCircuits),
        ] {
            rules.append(
                rule(chain, treatment(key(kind), through: map, to: shortCircuitTreatments)))
        }
        rules.append(
            rule(
                "guard",
                [.lookup(key(.address) + [source], in: allowedSources.name)]
                    + treatment(key(.address), through: guarded, to: guardedTreatments)))
        rules.append(rule("guard", [.verdict(.goto(Ending.sourceNotAllowed.rawValue))]))
        rules += rememberRules
        rules += postroutingRules
        // A connection to an endpoint in the node's own network ends here.
        rules.append(remembering("input"))
        if options.dropsInvalidPackets {
            rules.append(
                rule(
                    "forward",
                    [.match(anyOf: .invalid), .verdict(.goto(Ending.invalid.rawValue))]))
        }
        for chain in ["prerouting", "output"] {
            rules.append(dispatch(chain, .address, through: services))
            if refusesUnknown { rules += serviceRangeRules(chain) }
            rules.append(dispatch(chain, .nodePort, through: nodePorts))
        }
        return rules
    }

    /// Sends what is left of the service ranges to its end. Node ports must come after this, so
    /// that a node port's number on an unknown service address is refused as well.
    func serviceRangeRules(_ chain: String) -> [Rule] {
        options.serviceCIDRs.filter { $0.family == family }.map {
            rule(chain, [.match(destination, in: $0), .verdict(.goto("service-range"))])
        }
    }

    /// A connection whose destination was translated is masqueraded where a rule asked for it, or
    /// where it would come back to its own source. The first rule carries the fingerprint.
    private var postroutingRules: [Rule] {
        [
            rule(
                "postrouting", [.match(noneOf: .dnat), .verdict(.accept)], comment: fingerprint),
            remembering("postrouting"),
            rule("postrouting", [.setMeta(.priority, .constant(Value(.number(0))))]),
            rule(
                "postrouting",
                [
                    .match(mark: options.masqueradeBit), .clearMark(bits: options.masqueradeBit),
                    .masquerade(.fullyRandom),
                ]),
            rule(
                "postrouting",
                [.lookup([source, destination], in: hairpins.name), .masquerade(.fullyRandom)]),
        ]
    }

    /// TCP learns of it by a reset, which unlike ICMP errors is not rate-limited.
    private func refusal(_ ending: Ending) -> [Rule] {
        [
            rule(
                ending.rawValue,
                [.namedCounter(ending.rawValue), .match(.tcp), .reject(.tcpReset)]),
            rule(ending.rawValue, [.reject(.icmp(.portUnreachable))]),
        ]
    }

    // MARK: - Pieces of rules

    var source: Selector { .source(family) }
    var destination: Selector { .destination(family) }

    /// What a frontend of the kind is looked up by.
    func key(_ kind: FrontendKind) -> [Selector] {
        switch kind {
        case .address: [destination, .transportProtocol, .destinationPort]
        case .nodePort: [.transportProtocol, .destinationPort]
        }
    }

    func rule(_ chain: String, _ statements: [Statement], comment: String? = nil) -> Rule {
        Rule(chain, in: table, statements, comment: comment)
    }

    /// Looks the packet up in `map` and goes to the chain of the treatment found.
    private func dispatch(_ chain: String, _ kind: FrontendKind, through map: NamedSet) -> Rule {
        rule(chain, treatment(key(kind), through: map, to: treatments))
    }

    /// The number travels in the packet's priority: `nft` cannot print a map whose key is another
    /// map's value, and a mark is for the administrator's own rules.
    private func treatment(
        _ key: [Selector], through map: NamedSet, to verdicts: NamedSet
    ) -> [Statement] {
        [
            .setMeta(.priority, .map(key, name: map.name, fields: [.classID])),
            .verdictMap([.priority], name: verdicts.name),
        ]
    }

    /// Leaves node ports alone at addresses that are not the node's or may not answer them.
    var nodeAddressMatch: [[Statement]] {
        var exits: [[Statement]] = [
            [.compare(.destinationType, .notEqual, Value(.number(2))), .verdict(.return)],
            [.match(destination, in: loopback), .verdict(.return)],
        ]
        if let prefixes = options.nodePortPrefixes {
            exits.append(
                prefixes.filter { $0.family == family }.map {
                    .match(destination, in: $0, isInverted: true)
                } + [.verdict(.return)])
        }
        return exits
    }
}

extension Prefix {
    /// The prefix of `length` that holds this one; the same one where it is wider already.
    fileprivate func widened(to length: Int) -> Prefix {
        length < self.length ? Prefix(address, length: length) ?? self : self
    }
}

import NFTables
import NetworkTypes

extension Dispatch {
    /// The name of the chain that treats packets so. It says all there is to know, so that a chain
    /// found in the kernel can be read back.
    var chainName: String {
        switch treatment {
        case .reject: return Ruleset.Ending.noEndpoints.rawValue + suffix
        case .drop: return Ruleset.Ending.noLocalEndpoints.rawValue + suffix
        case .guarded: return "guard"
        case .cluster, .external, .local, .direct, .served:
            var name = kind == .nodePort ? "port-" : "to-"
            name += "\(treatment.rawValue)-\(range.offset)-\(range.count)"
            if let affinityTimeoutSeconds { name += "-\(affinityTimeoutSeconds)" }
            return name
        }
    }

    private var suffix: String { kind == .nodePort ? "-port" : "" }

    /// Reads a name back; nil where it is none of a treatment's.
    init?(chainName: String) {
        for kind in FrontendKind.allCases {
            for treatment in [Treatment.reject, .drop, .guarded] {
                let dispatch = Dispatch.without(treatment, kind: kind)
                if dispatch.chainName == chainName {
                    self = dispatch
                    return
                }
            }
        }
        let parts = chainName.split(separator: "-", omittingEmptySubsequences: false)
        guard (4...5).contains(parts.count), ["to", "port"].contains(parts[0]),
            let treatment = Treatment(rawValue: String(parts[1])),
            let offset = Int(parts[2]), let count = Int(parts[3])
        else { return nil }
        self.init(
            kind: parts[0] == "port" ? .nodePort : .address, treatment: treatment,
            range: SlotRange(offset: offset, count: count),
            affinityTimeoutSeconds: parts.count == 5 ? Int(parts[4]) : nil)
        guard self.chainName == chainName else { return nil }
    }

    /// True where the chain is one of `Ruleset.fixedChains`.
    var isFixed: Bool {
        switch treatment {
        case .guarded: true
        case .reject, .drop: kind == .address
        case .cluster, .external, .local, .direct, .served: false
        }
    }
}

extension Ruleset {
    /// The rules of the chain of a treatment; empty for a fixed chain.
    func rules(for dispatch: Dispatch) -> [Rule] {
        guard !dispatch.isFixed else { return [] }
        let name = dispatch.chainName
        var statements: [[Statement]] = dispatch.kind == .nodePort ? nodeAddressMatch : []
        switch dispatch.treatment {
        case .reject: statements.append([.verdict(.goto(Ending.noEndpoints.rawValue))])
        case .drop: statements.append([.verdict(.goto(Ending.noLocalEndpoints.rawValue))])
        case .cluster: statements += markUnlessPod
        case .served: statements += unlessAnsweredHere + markUnlessPod
        case .external: statements.append([.setMark(bits: options.masqueradeBit)])
        case .local: statements += shortCircuitStatements(dispatch.kind)
        case .direct, .guarded: break
        }
        if dispatch.range.count > 0 {
            statements += translation(dispatch)
        } else if dispatch.treatment == .local {
            statements.append([.verdict(.goto(Ending.noLocalEndpoints.rawValue))])
        }
        return statements.map { rule(name, $0) }
    }

    private var markUnlessPod: [[Statement]] {
        let mark = Statement.setMark(bits: options.masqueradeBit)
        if options.masqueradesAll { return [[mark]] }
        let prefixes = options.podCIDRs.filter { $0.family == family }
        // Without a pod range there is no telling who is outside: then nobody is masqueraded.
        if prefixes.isEmpty { return [] }
        return [prefixes.map { .match(source, in: $0, isInverted: true) } + [mark]]
    }

    /// The node's own programs reach what has the address while the node has it: in their hook the
    /// kernel would look at the sender's socket.
    private var unlessAnsweredHere: [[Statement]] {
        [
            [.sourceIsLocal, .destinationIsLocal, .verdict(.return)],
            [
                .compare(.sourceType, .notEqual, Value(.number(2))), .destinationHasSocket,
                .verdict(.return),
            ],
        ]
    }

    private func shortCircuitStatements(_ kind: FrontendKind) -> [[Statement]] {
        let chain = kind == .address ? "short-circuit" : "node-port-short-circuit"
        return options.podCIDRs.filter { $0.family == family }.map {
            [.match(source, in: $0), .verdict(.goto(chain))]
        } + [[.sourceIsLocal, .setMark(bits: options.masqueradeBit), .verdict(.goto(chain))]]
    }

    // MARK: - Translation

    private func translation(_ dispatch: Dispatch) -> [[Statement]] {
        let isAddress = dispatch.kind == .address
        let map = Selector.map(
            key(dispatch.kind) + [
                .random(
                    modulus: UInt32(dispatch.range.count), offset: UInt32(dispatch.range.offset))
            ],
            name: isAddress ? endpoints.name : nodePortEndpoints.name,
            fields: [family == .ipv4 ? .ipv4Address : .ipv6Address, .inetService])
        let plain: [Statement] = [.destinationNAT(table.family, to: map)]
        guard dispatch.affinityTimeoutSeconds != nil else { return [plain] }
        let remembered = Selector.map(
            [source] + key(dispatch.kind), name: isAddress ? affinity.name : nodePortAffinity.name,
            fields: [family == .ipv4 ? .ipv4Address : .ipv6Address, .inetService])
        return [
            [.setMark(bits: options.rememberBit)],
            [.destinationNAT(table.family, to: remembered)],
            plain,
        ]
    }
}

import NFTables
import NetworkTypes

/// What a burst of changes asks of the kernel: elements and chains in one transaction, then, once
/// that is in force, flows and remembered clients that still lead to endpoints that are gone.
struct PlannedChanges: Sendable {
    var elements = ElementChanges()
    var newTreatments: [(IPAddress.Family, Dispatch, UInt32)] = []
    /// UDP frontends whose endpoints changed, with the endpoints whose flows may stay.
    private(set) var udpFrontends: [Frontend: Set<Backend>] = [:]
    /// Frontends with affinity, with the endpoints to forget; nil for all.
    private(set) var forgotten: [Frontend: Set<Backend>?] = [:]

    /// Services whose pods' connections may take the fast path, and how they change, in order.
    private(set) var fastPath: [FastPathChange] = []

    var isEmpty: Bool { elements.isEmpty && newTreatments.isEmpty }

    mutating func noteFastPath(_ frontend: Frontend, old: FastPathService?, new: FastPathService?) {
        guard elements.isKept, old != new else { return }
        fastPath.append(FastPathChange(frontend: frontend, old: old, new: new))
    }

    /// Remembers that flows to a UDP frontend must be looked at. A UDP client sends from one port
    /// for as long as it likes, so that its flow never ends by itself.
    mutating func noteFlows(_ frontend: Frontend, old: PortRules?, new: PortRules?) {
        guard frontend.port.transport == .udp else { return }
        let may = new.map { Set($0.slots).union($0.retained) } ?? []
        let might = old.map { Set($0.slots).union($0.retained) }
        if new == nil, udpFrontends[frontend] != nil { return }
        if might != may || new == nil { udpFrontends[frontend] = may }
    }

    mutating func forgetClients(of frontend: Frontend, sentTo backends: Set<Backend>? = nil) {
        switch (forgotten[frontend], backends) {
        case (nil, _): forgotten[frontend] = .some(backends)
        case (.some(let present?), let more?): forgotten[frontend] = present.union(more)
        case (.some, _): forgotten[frontend] = .some(nil)
        }
    }

    /// The transactions that bring the changes about, chains before elements that lead to them.
    func transactions(
        _ ruleset: (IPAddress.Family) -> Ruleset, limit: Int = .max
    ) -> [Transaction] {
        var parts = elements.transactions(ruleset, limit: limit)
        guard !newTreatments.isEmpty else { return parts }
        var first = Transaction()
        for (family, dispatch, number) in newTreatments {
            ruleset(family).add(dispatch, number, to: &first)
        }
        if let next = parts.first {
            first.append(next)
            parts[0] = first
        } else {
            parts = [first]
        }
        return parts
    }
}

extension Ruleset {
    /// Makes the chain of a treatment and the element that leads to it.
    func add(_ dispatch: Dispatch, _ number: UInt32, to transaction: inout Transaction) {
        if !dispatch.isFixed {
            transaction.add(Chain(dispatch.chainName, in: table))
            transaction.flush(chain: dispatch.chainName, in: table)
            for rule in rules(for: dispatch) { transaction.add(rule) }
        }
        if let remembering = dispatch.remembering { add(remembering, to: &transaction) }
        for set in treatmentMaps(of: dispatch) {
            transaction.add([treatmentElement(dispatch, number)], to: set)
        }
    }

    /// Takes away the elements that lead to the chain of a treatment.
    func remove(_ dispatch: Dispatch, _ number: UInt32, from transaction: inout Transaction) {
        for set in treatmentMaps(of: dispatch) {
            transaction.delete([treatmentElement(dispatch, number)], from: set)
        }
    }

    /// The maps that lead to a treatment's chain. Which those are follows from the treatment, so
    /// that no map leads back to where it is looked up.
    func treatmentMaps(of dispatch: Dispatch) -> [NamedSet] {
        switch dispatch.treatment {
        case .guarded: [treatments]
        case .direct: [shortCircuitTreatments]
        case .cluster, .served, .external, .local, .drop, .reject: [treatments, guardedTreatments]
        }
    }

    func treatmentElement(_ dispatch: Dispatch, _ number: UInt32) -> Element {
        Element(Value(.number(number)), .verdict(.goto(dispatch.chainName)))
    }

    /// Makes everything but Services: the table, its sets and fixed chains. Chains that are there
    /// have their rules replaced; elements stay.
    func addFrame(refusesUnknown: Bool, to transaction: inout Transaction) {
        transaction.add(table)
        for counter in counters { transaction.add(counter) }
        for set in sets { transaction.add(set) }
        if !options.dropsInvalidPackets {
            let chain = Chain("forward", in: table, hook: ChainHook(.filter, .forward, priority: 0))
            transaction.add(chain)
            transaction.flush(chain: chain.name, in: table)
            transaction.delete(chain: chain.name, in: table)
        }
        for chain in fixedChains {
            transaction.add(chain)
            transaction.flush(chain: chain.name, in: table)
        }
        for rule in fixedRules(refusesUnknown: refusesUnknown) { transaction.add(rule) }
    }
}

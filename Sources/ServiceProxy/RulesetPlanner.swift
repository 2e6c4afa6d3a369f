import KubernetesAPI
import NFTables
import NetworkTypes

/// Keeps what the kernel should hold, and says for every change of a Service which elements and
/// chains differ. Pure: it asks nobody and does nothing.
struct RulesetPlanner: Sendable {
    private(set) var options: RulesetOptions
    private let rulesets: [IPAddress.Family: Ruleset]
    /// The families that have a table.
    let families: [IPAddress.Family]

    private(set) var services: [ObjectKey: ProxyRules] = [:]
    /// Who has each frontend.
    private(set) var owners: [Frontend: ObjectKey] = [:]
    /// Other Services that claim a frontend: they get it when the owner goes.
    private(set) var contenders: [Frontend: Set<ObjectKey>] = [:]
    /// The health checks that Services ask for.
    private(set) var healthChecks: [ObjectKey: ProxyRules.HealthCheck] = [:]
    /// One more with each change of `healthChecks`, so that nobody need compare them all.
    private(set) var healthCheckChangeCount: Int
    /// Ports under Local policies that have endpoints, but none here.
    private(set) var localGaps = ProxyRules.LocalGaps()
    /// How many ports have each local endpoint.
    private var hairpinUses: [IPAddress: Int] = [:]
    private var treatments: [IPAddress.Family: TreatmentNumbers] = [:]

    /// - Parameter healthCheckChangeCount: what to count on from.
    init(
        _ options: RulesetOptions, families: [IPAddress.Family], healthCheckChangeCount: Int = 0
    ) {
        self.options = options
        self.healthCheckChangeCount = healthCheckChangeCount
        self.families = families
        var rulesets: [IPAddress.Family: Ruleset] = [:]
        for family in IPAddress.Family.allCases {
            rulesets[family] = Ruleset(family: family, options: options)
            treatments[family] = TreatmentNumbers()
        }
        self.rulesets = rulesets
    }

    /// The tables of a family.
    func ruleset(_ family: IPAddress.Family) -> Ruleset {
        rulesets[family] ?? Ruleset(family: family, options: options)
    }

    /// The numbers of the treatments in use, or once in use, in a family.
    func numbers(_ family: IPAddress.Family) -> [Dispatch: UInt32] {
        treatments[family]?.numbers ?? [:]
    }

    /// Takes over numbers that a table in the kernel has.
    mutating func adopt(_ numbers: [Dispatch: UInt32], _ family: IPAddress.Family) {
        treatments[family]?.adopt(numbers)
    }

    /// Puts `rules` in the place of what the Service had; nil takes everything of it away.
    mutating func set(_ rules: ProxyRules?, for key: ObjectKey, _ changes: inout PlannedChanges) {
        let old = services[key]
        guard old != rules else { return }
        services[key] = rules
        // Kept as sums, so that a change costs the same however many Services there are.
        if old?.healthCheck != rules?.healthCheck {
            healthChecks[key] = rules?.healthCheck
            healthCheckChangeCount += 1
        }
        localGaps.replace(old?.portsWithoutLocalEndpoints, by: rules?.portsWithoutLocalEndpoints)
        guard old != nil else {
            if let rules { add(rules, for: key, &changes) }
            return
        }
        let before = Self.byFrontend(old)
        let after = Self.byFrontend(rules)
        for (frontend, entry) in before where after[frontend] == nil {
            release(frontend, entry, of: key, &changes)
        }
        for (frontend, entry) in after {
            if let previous = before[frontend] {
                if owners[frontend] == key {
                    replace(previous, with: entry, &changes)
                    reconsider(frontend, &changes)
                }
            } else {
                claim(frontend, entry, for: key, &changes)
            }
        }
        let oldLocals = Set(old?.hairpinAddresses ?? [])
        let newLocals = Set(rules?.hairpinAddresses ?? [])
        for address in newLocals.subtracting(oldLocals) { useHairpin(address, &changes) }
        for address in oldLocals.subtracting(newLocals) { dropHairpin(address, &changes) }
    }

    /// Adds a Service that was not there: at a start that is every one.
    private mutating func add(
        _ rules: ProxyRules, for key: ObjectKey, _ changes: inout PlannedChanges
    ) {
        for port in rules.ports {
            for frontend in port.frontends where owners[frontend.frontend] != key {
                claim(frontend.frontend, Entry(rules: frontend, port: port), for: key, &changes)
            }
        }
        for address in rules.hairpinAddresses { useHairpin(address, &changes) }
    }

    /// Makes room for so many Services more, so that tables need not grow again and again.
    mutating func reserveCapacity(_ count: Int) {
        services.reserveCapacity(services.count + count)
        owners.reserveCapacity(owners.count + count)
    }

    /// Every element that should be there now.
    func allElements() -> [ElementID: Value] {
        var all: [ElementID: Value] = [:]
        for family in families {
            forEachFrontend(family) { for (id, value) in $0 { all[id] = value } }
        }
        return all
    }

    /// Calls `body` with the elements of every frontend of a family, those without frontend first.
    func forEachFrontend(
        _ family: IPAddress.Family, _ body: ([(ElementID, Value)]) throws -> Void
    ) rethrows {
        try body(
            hairpinUses.keys.filter { $0.family == family }.map { (hairpin($0), Value()) }
                + options.locallyServedAddresses.filter { $0.family == family }.map {
                    (
                        ElementID(
                            family: family, set: .locallyServed, key: Value(.address($0))), Value()
                    )
                })
        for (key, rules) in services {
            for port in rules.ports where port.family == family {
                for frontend in port.frontends where owners[frontend.frontend] == key {
                    try body(elements(Entry(rules: frontend, port: port)))
                }
            }
        }
    }

    /// The endpoints that clients of each frontend with affinity may be sent to, by the key of the
    /// maps that remember clients.
    func rememberedBackends(_ family: IPAddress.Family) -> [Value: Set<Value>] {
        var allowed: [Value: Set<Value>] = [:]
        for (key, rules) in services {
            for port in rules.ports where port.family == family {
                for frontend in port.frontends
                where owners[frontend.frontend] == key && frontend.remembersClients {
                    allowed[frontend.frontend.key] = Set(port.slots.map(\.value))
                }
            }
        }
        return allowed
    }

    /// Treatments no frontend uses any more; their chains can go.
    mutating func forgetUnusedTreatments() -> [(IPAddress.Family, Dispatch, UInt32)] {
        families.flatMap { family in
            (treatments[family]?.removeUnused() ?? []).map { (family, $0.0, $0.1) }
        }
    }

    // MARK: - Frontends

    /// A frontend with what its port gives it.
    private struct Entry: Equatable {
        var rules: FrontendRules
        var port: PortRules

        /// The endpoints that its elements lead to.
        var slots: [Backend] {
            switch rules.dispatch.treatment {
            case .reject, .drop, .guarded: []
            case .cluster, .served, .external, .local, .direct: port.slots
            }
        }
    }

    private static func byFrontend(_ rules: ProxyRules?) -> [Frontend: Entry] {
        guard let rules else { return [:] }
        var entries: [Frontend: Entry] = [:]
        for port in rules.ports {
            for frontend in port.frontends where entries[frontend.frontend] == nil {
                entries[frontend.frontend] = Entry(rules: frontend, port: port)
            }
        }
        return entries
    }

    private func entry(_ frontend: Frontend, of key: ObjectKey) -> Entry? {
        for port in services[key]?.ports ?? [] {
            for rules in port.frontends where rules.frontend == frontend {
                return Entry(rules: rules, port: port)
            }
        }
        return nil
    }

    private mutating func claim(
        _ frontend: Frontend, _ entry: Entry, for key: ObjectKey, _ changes: inout PlannedChanges
    ) {
        guard owners[frontend] != nil else {
            owners[frontend] = key
            add(entry, &changes)
            return
        }
        contenders[frontend, default: []].insert(key)
        reconsider(frontend, &changes)
    }

    private mutating func release(
        _ frontend: Frontend, _ entry: Entry, of key: ObjectKey, _ changes: inout PlannedChanges
    ) {
        guard owners[frontend] == key else {
            contenders[frontend]?.remove(key)
            if contenders[frontend]?.isEmpty == true { contenders[frontend] = nil }
            return
        }
        owners[frontend] = nil
        remove(entry, &changes)
        let heirs = contenders[frontend] ?? []
        guard let heir = heirs.min(by: isBefore), let next = self.entry(frontend, of: heir) else {
            return
        }
        contenders[frontend] = heirs.count > 1 ? heirs.subtracting([heir]) : nil
        owners[frontend] = heir
        add(next, &changes)
    }

    /// Gives the frontend to a contender that comes before the owner.
    private mutating func reconsider(_ frontend: Frontend, _ changes: inout PlannedChanges) {
        guard let owner = owners[frontend], let rivals = contenders[frontend],
            let best = rivals.min(by: isBefore), isBefore(best, owner),
            let old = entry(frontend, of: owner), let new = entry(frontend, of: best)
        else { return }
        contenders[frontend] = rivals.subtracting([best]).union([owner])
        owners[frontend] = best
        remove(old, &changes)
        add(new, &changes)
    }

    private func isBefore(_ left: ObjectKey, _ right: ObjectKey) -> Bool {
        guard let a = services[left]?.precedence, let b = services[right]?.precedence else {
            return services[left] != nil
        }
        return a < b
    }

    // MARK: - Elements

    private mutating func add(_ entry: Entry, _ changes: inout PlannedChanges) {
        guard families.contains(entry.rules.frontend.family) else { return }
        use(entry.rules, &changes)
        if changes.elements.isKept {
            for (id, value) in elements(entry) { changes.elements.add(id, value) }
        }
        changes.noteFlows(entry.rules.frontend, old: nil, new: entry.port)
        changes.noteFastPath(entry.rules.frontend, old: nil, new: fastPathService(entry))
    }

    /// What the fast path may do for a frontend; nil where it is left to the rules. Endpoints other
    /// than pods are: the way to them may take smaller packets, and connection tracking alone
    /// translates the ICMP errors that say so.
    private func fastPathService(_ entry: Entry) -> FastPathService? {
        guard !options.masqueradesAll,
            let service = FastPathService(entry.rules, entry.port),
            service.backends.allSatisfy({ backend in
                options.podCIDRs.contains { $0.contains(backend.address) }
            })
        else { return nil }
        return service
    }

    /// Calls `body` with every frontend that the fast path may serve.
    func forEachFastPathService(
        _ body: (Frontend, FastPathService) throws -> Void
    ) rethrows {
        for (key, rules) in services {
            for port in rules.ports where families.contains(port.family) {
                for frontend in port.frontends where owners[frontend.frontend] == key {
                    if let service = fastPathService(Entry(rules: frontend, port: port)) {
                        try body(frontend.frontend, service)
                    }
                }
            }
        }
    }

    private mutating func remove(_ entry: Entry, _ changes: inout PlannedChanges) {
        guard families.contains(entry.rules.frontend.family) else { return }
        for (id, value) in elements(entry) { changes.elements.remove(id, value) }
        disuse(entry.rules)
        changes.noteFlows(entry.rules.frontend, old: entry.port, new: nil)
        changes.noteFastPath(entry.rules.frontend, old: fastPathService(entry), new: nil)
        if entry.rules.remembersClients { changes.forgetClients(of: entry.rules.frontend) }
    }

    private mutating func replace(
        _ old: Entry, with new: Entry, _ changes: inout PlannedChanges
    ) {
        guard old != new, families.contains(new.rules.frontend.family) else { return }
        let frontend = new.rules.frontend
        use(new.rules, &changes)
        if old.rules != new.rules {
            for (id, value) in heads(old.rules) { changes.elements.remove(id, value) }
            for (id, value) in heads(new.rules) { changes.elements.add(id, value) }
        }
        disuse(old.rules)
        let (before, after) = (old.slots, new.slots)
        if before != after {
            for slot in 0..<max(before.count, after.count) {
                let was = slot < before.count ? before[slot] : nil
                let willBe = slot < after.count ? after[slot] : nil
                guard was != willBe else { continue }
                let id = slotID(frontend, slot)
                if let was { changes.elements.remove(id, was.value) }
                if let willBe { changes.elements.add(id, willBe.value) }
            }
        }
        changes.noteFlows(frontend, old: old.port, new: new.port)
        changes.noteFastPath(frontend, old: fastPathService(old), new: fastPathService(new))
        noteClients(frontend, old, new, &changes)
    }

    /// Clients of endpoints that are gone must be forgotten, or they would be sent there still;
    /// where the treatment changed, all are.
    private func noteClients(
        _ frontend: Frontend, _ old: Entry, _ new: Entry, _ changes: inout PlannedChanges
    ) {
        guard old.rules.remembersClients else { return }
        let isSameTreatment =
            old.rules.dispatch.treatment == new.rules.dispatch.treatment
            && old.rules.dispatch.affinityTimeoutSeconds
                == new.rules.dispatch.affinityTimeoutSeconds
        guard isSameTreatment else {
            changes.forgetClients(of: frontend)
            return
        }
        let gone = Set(old.slots).subtracting(new.slots)
        if !gone.isEmpty { changes.forgetClients(of: frontend, sentTo: gone) }
    }

    private func elements(_ entry: Entry) -> [(ElementID, Value)] {
        let frontend = entry.rules.frontend
        guard families.contains(frontend.family) else { return [] }
        return heads(entry.rules)
            + entry.slots.enumerated().map { (slotID(frontend, $0), $1.value) }
    }

    private func slotID(_ frontend: Frontend, _ slot: Int) -> ElementID {
        ElementID(
            frontend.kind == .address ? .endpoints : .nodePortEndpoints, frontend, slot: slot)
    }

    /// The elements that choose a treatment.
    private func heads(_ rules: FrontendRules) -> [(ElementID, Value)] {
        let frontend = rules.frontend
        let isAddress = frontend.kind == .address
        var heads: [(ElementID, Value)] = []
        func lead(_ set: ElementSet, to dispatch: Dispatch) {
            heads.append(
                (ElementID(set, frontend), Value(.number(number(dispatch, frontend.family)))))
        }
        if let sources = rules.allowedSources {
            lead(.services, to: .without(.guarded, kind: .address))
            lead(.guarded, to: rules.dispatch)
            for prefix in sources {
                var id = ElementID(.allowedSources, frontend)
                var last = id.key
                id.key.append(.address(prefix.address))
                last.append(.address(prefix.lastAddress))
                heads.append((id, last))
            }
        } else {
            lead(isAddress ? .services : .nodePorts, to: rules.dispatch)
        }
        if let remembering = rules.remembering {
            heads.append(
                (
                    ElementID(isAddress ? .sticky : .nodePortSticky, frontend),
                    Value(.number(remembering.number))
                ))
        }
        if let shortCircuit = rules.shortCircuit {
            lead(isAddress ? .shortCircuits : .nodePortShortCircuits, to: shortCircuit)
        }
        return heads
    }

    private func number(_ dispatch: Dispatch, _ family: IPAddress.Family) -> UInt32 {
        treatments[family]?.numbers[dispatch] ?? 0
    }

    private mutating func use(_ rules: FrontendRules, _ changes: inout PlannedChanges) {
        let family = rules.frontend.family
        for dispatch in rules.dispatches {
            if let number = treatments[family]?.use(dispatch) {
                changes.newTreatments.append((family, dispatch, number))
            }
        }
    }

    private mutating func disuse(_ rules: FrontendRules) {
        for dispatch in rules.dispatches { treatments[rules.frontend.family]?.disuse(dispatch) }
    }

    private func hairpin(_ address: IPAddress) -> ElementID {
        ElementID(
            family: address.family, set: .hairpins,
            key: Value(.address(address), .address(address)))
    }

    private mutating func useHairpin(_ address: IPAddress, _ changes: inout PlannedChanges) {
        guard families.contains(address.family) else { return }
        hairpinUses[address, default: 0] += 1
        if hairpinUses[address] == 1 { changes.elements.add(hairpin(address), Value()) }
    }

    private mutating func dropHairpin(_ address: IPAddress, _ changes: inout PlannedChanges) {
        guard families.contains(address.family), let uses = hairpinUses[address] else { return }
        hairpinUses[address] = uses > 1 ? uses - 1 : nil
        if uses == 1 { changes.elements.remove(hairpin(address), Value()) }
    }
}

extension FrontendRules {
    /// Every treatment the frontend's elements lead to.
    var dispatches: [Dispatch] {
        var dispatches = [dispatch]
        if allowedSources != nil { dispatches.append(.without(.guarded, kind: .address)) }
        if let shortCircuit { dispatches.append(shortCircuit) }
        return dispatches
    }

    /// True where the kernel remembers which client went to which endpoint.
    var remembersClients: Bool {
        dispatch.affinityTimeoutSeconds != nil || shortCircuit?.affinityTimeoutSeconds != nil
    }
}

/// The numbers that stand for treatments in the kernel's maps.
struct TreatmentNumbers: Sendable {
    private(set) var numbers: [Dispatch: UInt32] = [:]
    private var uses: [Dispatch: Int] = [:]
    private var next: UInt32 = 1

    mutating func adopt(_ numbers: [Dispatch: UInt32]) {
        for (dispatch, number) in numbers {
            self.numbers[dispatch] = number
            next = max(next, number &+ 1)
        }
    }

    /// Counts a use; returns a number where the treatment is new to the kernel.
    mutating func use(_ dispatch: Dispatch) -> UInt32? {
        uses[dispatch, default: 0] += 1
        guard numbers[dispatch] == nil else { return nil }
        defer { next += 1 }
        numbers[dispatch] = next
        return next
    }

    mutating func disuse(_ dispatch: Dispatch) {
        guard let count = uses[dispatch] else { return }
        uses[dispatch] = count > 1 ? count - 1 : nil
    }

    mutating func removeUnused() -> [(Dispatch, UInt32)] {
        let unused = numbers.filter { uses[$0.key] == nil }
        for dispatch in unused.keys { numbers[dispatch] = nil }
        return unused.map { ($0.key, $0.value) }
    }
}

import KubernetesAPI
import NFTables
import Netlink
import NetworkTypes

/// Everything between objects and kernel, synchronous and for one thread: objects come in, `flush`
/// brings the kernel to what they say. Tests drive it with plain objects.
final class ProxyEngine {
    private let backend: any NFTablesBackend
    private let flows: ConntrackSocket?
    /// Where pods' connections go past the rules; nil where they do not.
    let fastPath: FastPath?
    /// True where the fast path holds no Services, or others than it should.
    private var isFastPathStale = true
    private(set) var compiler: ServiceCompiler
    private(set) var planner: RulesetPlanner
    private(set) var statistics = ProxyStatistics()

    private var services: [ObjectKey: Shared<Service>] = [:]
    /// By Service, then by slice.
    private var slices: [ObjectKey: [ObjectKey: Shared<EndpointSlice>]] = [:]
    /// The Service each slice belongs to.
    private var sliceOwners: [ObjectKey: ObjectKey] = [:]
    private var dirty: Set<ObjectKey> = []
    /// True once the kernel is known to hold what memory says.
    private(set) var isLoaded = false

    /// Elements in one transaction while everything is loaded.
    static let chunkLimit = 20_000

    /// - Parameters:
    ///   - flows: connection tracking; nil leaves flows alone.
    ///   - findsSockets: whether the kernel has `socket` expressions.
    ///   - fastPath: the programs at pods' links, where there are any.
    init(
        options: RulesetOptions, families: [IPAddress.Family], node: NodeContext,
        backend: any NFTablesBackend, flows: ConntrackSocket?, findsSockets: Bool = true,
        fastPath: FastPath? = nil
    ) {
        planner = RulesetPlanner(options, families: families)
        compiler = ServiceCompiler(node: node, findsSockets: findsSockets)
        self.backend = backend
        self.flows = flows
        self.fastPath = fastPath
    }

    // MARK: - Objects

    /// True where `flush` has something to do.
    var hasWork: Bool { !isLoaded || !dirty.isEmpty }

    /// Takes a Service as it is now; nil where it is gone.
    func note(_ key: ObjectKey, service: Service?) {
        note(key, sharedService: service.map(Shared.init))
    }

    /// Takes a slice as it is now; nil where it is gone.
    func note(_ key: ObjectKey, slice: EndpointSlice?) {
        note(key, sharedSlice: slice.map(Shared.init))
    }

    /// Takes a Service that others keep as well.
    func note(_ key: ObjectKey, sharedService service: Shared<Service>?) {
        services[key] = service
        dirty.insert(key)
    }

    /// Takes a slice that others keep as well.
    func note(_ key: ObjectKey, sharedSlice slice: Shared<EndpointSlice>?) {
        if let owner = sliceOwners[key], owner != slice?.value.serviceKey || slice == nil {
            slices[owner]?[key] = nil
            if slices[owner]?.isEmpty == true { slices[owner] = nil }
            sliceOwners[key] = nil
            dirty.insert(owner)
        }
        guard let slice, let owner = slice.value.serviceKey else { return }
        sliceOwners[key] = owner
        slices[owner, default: [:]][key] = slice
        dirty.insert(owner)
    }

    /// Takes what is new about the node; every Service is looked at again.
    func note(node: NodeContext) {
        guard node != compiler.node else { return }
        compiler.node = node
        dirty.formUnion(services.keys)
    }

    /// Takes other options: rules are rewritten in place, elements stay.
    func note(options: RulesetOptions) {
        guard options != planner.options else { return }
        let old = planner
        planner = RulesetPlanner(
            options, families: old.families, healthCheckChangeCount: old.healthCheckChangeCount)
        var changes = PlannedChanges()
        for (key, rules) in old.services { planner.set(rules, for: key, &changes) }
        invalidate()
    }

    /// Makes the next `flush` read the kernel and bring all of it to what memory says: after a
    /// failure nobody knows what the kernel holds.
    func invalidate() { isLoaded = false }

    /// The health checks that Services ask for.
    var healthChecks: [ObjectKey: ProxyRules.HealthCheck] { planner.healthChecks }

    /// The rules of a Service as they are programmed.
    func rules(of key: ObjectKey) -> ProxyRules? { planner.services[key] }

    // MARK: - Kernel

    /// Brings the kernel to what the objects say: at first everything, later what changed.
    /// - Throws: what the backend throws. Then call `repair` before the next `flush`.
    func flush() throws {
        guard isLoaded else { return try load() }
        var changes = PlannedChanges()
        compileDirty(&changes)
        guard !changes.isEmpty else { return finish(changes) }
        for transaction in changes.transactions(planner.ruleset) {
            try apply(transaction)
        }
        if !isFastPathStale {
            try withFastPath { isFastPathStale = try $0.apply(changes.fastPath) }
        }
        finish(changes)
    }

    private func compileDirty(_ changes: inout PlannedChanges) {
        if dirty.count > planner.services.count { planner.reserveCapacity(dirty.count) }
        // Only their own earlier rules: to hold all of them here would copy all at the first change.
        let job = CompilationJob(
            dirty.map { ($0, planner.services[$0]) }, compiler, services: services, slices: slices)
        dirty = []
        job.forEachResult { planner.set($1, for: $0, &changes) }
    }

    /// Loads everything, into tables that are there already where that is possible: their rules
    /// hold until the moment each is replaced.
    private func load() throws {
        // What it holds may be another agent's, and old; the rules serve all that it does not.
        isFastPathStale = true
        try fastPath?.clear()
        var readings: [IPAddress.Family: KernelReading] = [:]
        for family in planner.families {
            let reading = try KernelReading(
                planner.ruleset(family), from: backend, keepsElements: false)
            readings[family] = reading
            planner.adopt(reading.numbers, family)
        }
        var changes = PlannedChanges()
        changes.elements.isKept = false
        compileDirty(&changes)
        for family in planner.families {
            let reading = readings[family] ?? KernelReading()
            if reading.exists {
                try load(family, over: reading)
            } else {
                try loadFresh(family)
            }
        }
        isLoaded = true
        finish(changes)
        try reconcileAllFlows()
        try reconcileAllClients()
    }

    /// Fills tables that are not there yet, in chunks. Unknown addresses are refused only in the
    /// end, so that no Service is refused because its turn has not come.
    private func loadFresh(_ family: IPAddress.Family) throws {
        let ruleset = planner.ruleset(family)
        var frame = Transaction()
        ruleset.addFrame(refusesUnknown: false, to: &frame)
        for (dispatch, number) in planner.numbers(family) {
            ruleset.add(dispatch, number, to: &frame)
        }
        try apply(frame)
        let ahead = ApplyAhead(backend)
        var chunk = ElementChunk()
        func send() throws {
            let transaction = chunk.take(ruleset)
            try ahead.apply(transaction)
            count(transaction)
        }
        try planner.forEachFrontend(family) { elements in
            chunk.append(elements)
            if chunk.count >= Self.chunkLimit { try send() }
        }
        try send()
        try ahead.finish()
        var last = Transaction()
        ruleset.addFrame(refusesUnknown: true, to: &last)
        try apply(last)
    }

    /// Brings tables that are there to what memory says: in place where the layout is the same,
    /// else all at once.
    private func load(_ family: IPAddress.Family, over reading: KernelReading) throws {
        let ruleset = planner.ruleset(family)
        var frame = Transaction()
        if !reading.hasCurrentLayout { frame.destroy(ruleset.table) }
        ruleset.addFrame(refusesUnknown: true, to: &frame)
        for (dispatch, number) in planner.numbers(family) {
            ruleset.add(dispatch, number, to: &frame)
        }
        guard reading.hasCurrentLayout else {
            let changes = KernelReading().difference(to: planner.allElements(), family)
            for part in changes.transactions(planner.ruleset) { frame.append(part) }
            return try apply(frame)
        }
        try apply(frame)
        let changes = try differences(family, reading)
        for part in changes.transactions(planner.ruleset, limit: Self.chunkLimit) {
            try apply(part)
        }
    }

    /// What must change in a table. Most of the time nothing does, which a sum over its elements
    /// tells: to hold them all takes many times the memory that a proxy needs otherwise.
    private func differences(
        _ family: IPAddress.Family, _ reading: KernelReading
    ) throws -> ElementChanges {
        var expected = ElementDigest()
        planner.forEachFrontend(family) { for (id, value) in $0 { expected.add(id, value) } }
        guard reading.digest != expected else { return ElementChanges() }
        return try KernelReading(planner.ruleset(family), from: backend)
            .difference(to: planner.allElements(), family)
    }

    private func apply(_ transaction: Transaction) throws {
        try backend.apply(transaction)
        count(transaction)
    }

    private func count(_ transaction: Transaction) {
        statistics.transactionCount += 1
        statistics.changedElementCount += transaction.changeCount
    }

    // MARK: - Fast path

    /// Fills the fast path after everything was loaded, or where it needs more room: nobody need
    /// wait for that.
    func accelerate() throws {
        guard isLoaded, isFastPathStale else { return }
        isFastPathStale = false
        try withFastPath {
            try $0.refreshLinks()
            try $0.fill(sources: planner.options.podCIDRs, planner)
        }
    }

    /// Leaves every Service to the rules where the fast path cannot be had; the next audit tries
    /// again.
    /// - Throws: where even that fails, so that old endpoints would stay in use.
    private func withFastPath(_ body: (FastPath) throws -> Void) throws {
        guard let fastPath else { return }
        do { try body(fastPath) } catch {
            statistics.fastPathFailureCount += 1
            statistics.fastPathError = "\(error)"
            try fastPath.clear()
        }
    }

    // MARK: - Audit

    /// Compares the kernel with memory, and repairs what differs.
    /// - Returns: how many elements, chains and rules differed.
    @discardableResult
    func audit() throws -> Int {
        var differences = 0
        for family in planner.families {
            let ruleset = planner.ruleset(family)
            let reading = try KernelReading(ruleset, from: backend, keepsElements: false)
            var repair = Transaction()
            var isFrameIntact = reading.exists && reading.fingerprint == ruleset.fingerprint
            if isFrameIntact { isFrameIntact = try chainsAgree(ruleset, reading) }
            if !isFrameIntact {
                differences += 1
                if reading.exists, !reading.hasCurrentLayout { repair.destroy(ruleset.table) }
                ruleset.addFrame(refusesUnknown: true, to: &repair)
            }
            for (dispatch, number) in planner.numbers(family)
            where !isFrameIntact || reading.numbers[dispatch] != number {
                if isFrameIntact { differences += 1 }
                ruleset.add(dispatch, number, to: &repair)
            }
            let changes = try self.differences(family, reading)
            differences += changes.count
            for part in changes.transactions(planner.ruleset) { repair.append(part) }
            if !repair.isEmpty { try apply(repair) }
        }
        try sweepUnusedTreatments()
        try withFastPath {
            differences += try $0.audit(sources: planner.options.podCIDRs, planner)
        }
        // What a clean-up after a change left over, because it failed.
        try reconcileAllFlows()
        try reconcileAllClients()
        statistics.auditCount += 1
        statistics.repairedDifferenceCount += differences
        return differences
    }

    /// True where every chain has the rules it should have, counters aside.
    private func chainsAgree(_ ruleset: Ruleset, _ reading: KernelReading) throws -> Bool {
        var wanted = ruleset.fixedRules(refusesUnknown: true)
        var rememberings: Set<Remembering> = []
        for dispatch in planner.numbers(ruleset.family).keys {
            wanted += ruleset.rules(for: dispatch)
            if let remembering = dispatch.remembering { rememberings.insert(remembering) }
        }
        wanted += rememberings.map(ruleset.rule(for:))
        let present = try backend.rules(in: ruleset.table, chain: nil)
        guard present.count == wanted.count, present.allSatisfy(\.isComplete) else { return false }
        let byChain = Dictionary(grouping: present.map(\.rule), by: \.chain)
        for (chain, rules) in Dictionary(grouping: wanted, by: \.chain)
        where byChain[chain]?.map(\.expressions) != rules.map(\.expressions) {
            return false
        }
        return true
    }

    private func sweepUnusedTreatments() throws {
        let unused = planner.forgetUnusedTreatments()
        for (family, dispatch, number) in unused {
            let ruleset = planner.ruleset(family)
            var transaction = Transaction()
            ruleset.remove(dispatch, number, from: &transaction)
            if !dispatch.isFixed {
                transaction.delete(chain: dispatch.chainName, in: ruleset.table)
            }
            try apply(transaction)
        }
        for family in planner.families {
            let gone = Set(unused.filter { $0.0 == family }.compactMap(\.1.remembering))
            let used = Set(planner.numbers(family).keys.compactMap(\.remembering))
            for remembering in gone.subtracting(used) {
                var transaction = Transaction()
                planner.ruleset(family).remove(remembering, from: &transaction)
                try apply(transaction)
            }
        }
    }

    // MARK: - Flows and clients

    private func finish(_ changes: PlannedChanges) {
        do {
            try forgetClients(changes.forgotten)
            try deleteFlows(changes.udpFrontends)
        } catch {
            // The rules are in force; what is left over is found by the next audit.
            statistics.followUpFailureCount += 1
        }
    }

    private func deleteFlows(_ frontends: [Frontend: Set<Backend>]) throws {
        guard let flows, !frontends.isEmpty else { return }
        let start = monotonicNanoseconds()
        defer { statistics.conntrackSyncs.observe(Double(monotonicNanoseconds() - start) / 1e9) }
        for family in Set(frontends.keys.map(\.family)) {
            let stale = StaleFlows(frontends: frontends, family: family)
            statistics.deletedFlowCount += try flows.deleteFlows(
                ConntrackFilter(family, transport: .udp), where: stale.contains)
        }
    }

    /// Looks at every UDP flow there is: at start nobody knows what changed since.
    private func reconcileAllFlows() throws {
        var frontends: [Frontend: Set<Backend>] = [:]
        for (key, rules) in planner.services {
            for port in rules.ports where port.port.transport == .udp {
                for frontend in port.frontends where planner.owners[frontend.frontend] == key {
                    frontends[frontend.frontend] = Set(port.slots).union(port.retained)
                }
            }
        }
        try deleteFlows(frontends)
    }

    /// Ports under Local policies that have endpoints, but none here.
    var localGaps: ProxyRules.LocalGaps { planner.localGaps }

    /// Reads the counters that the kernel keeps.
    func counters() throws -> KernelCounters {
        var counters = KernelCounters()
        let fast = try fastPath?.connections() ?? [:]
        for family in planner.families {
            let ruleset = planner.ruleset(family)
            for counter in try backend.counters(in: ruleset.table) {
                counters.endings[counter.name, default: 0] += counter.packetCount
            }
            var packets: [Value: UInt64] = [:]
            for set in [ruleset.services, ruleset.nodePorts] {
                for element in try backend.elements(of: set) {
                    packets[element.key] = element.packetCount ?? 0
                }
            }
            for (key, rules) in planner.services {
                for (port, frontend) in rules.frontends
                where frontend.frontend.family == family
                    && planner.owners[frontend.frontend] == key
                {
                    counters.connections.append(
                        .init(
                            service: key, port: "\(port.port)", role: frontend.role.rawValue,
                            packets: (packets[frontend.frontend.key] ?? 0)
                                + (fast[frontend.frontend] ?? 0)))
                }
            }
        }
        counters.fastPath = fastPath?.statistics
        counters.invalidPackets = Self.invalidPacketCount()
        return counters
    }

    /// The column `invalid` of the namespace's connection tracking statistics, over all CPUs.
    private static func invalidPacketCount() -> UInt64 {
        guard let text = try? ProcFile.read("/proc/thread-self/net/stat/nf_conntrack") else {
            return 0
        }
        let lines = text.split(separator: "\n").map { $0.split(separator: " ") }
        guard let column = lines.first?.firstIndex(of: "invalid") else { return 0 }
        return lines.dropFirst().reduce(0) { sum, fields in
            sum + (column < fields.count ? UInt64(fields[column], radix: 16) ?? 0 : 0)
        }
    }

    /// How many clients the rules remember for session affinity.
    func rememberedClientCount() throws -> Int {
        try planner.families.reduce(0) { sum, family in
            let ruleset = planner.ruleset(family)
            return try sum + backend.elements(of: ruleset.affinity).count
                + backend.elements(of: ruleset.nodePortAffinity).count
        }
    }

    private func forgetClients(_ frontends: [Frontend: Set<Backend>?]) throws {
        guard !frontends.isEmpty else { return }
        for family in planner.families {
            let ruleset = planner.ruleset(family)
            for (kind, set) in [
                (FrontendKind.address, ruleset.affinity), (.nodePort, ruleset.nodePortAffinity),
            ] {
                let keys = Dictionary(
                    uniqueKeysWithValues: frontends.filter {
                        $0.key.kind == kind && $0.key.family == family
                    }.map { ($0.key.key, $0.value) })
                guard !keys.isEmpty else { continue }
                let stale = try backend.elements(of: set).filter { element in
                    guard let backends = keys[element.key.withoutSource(family)] else {
                        return false
                    }
                    guard let backends else { return true }
                    return backends.contains { .value($0.value) == element.content }
                }
                try forget(stale, of: set)
            }
        }
    }

    /// Forgets every client that the rules would send where its Service has no endpoint: those that
    /// a proxy which was killed had no time to forget, and those of Services that went meanwhile.
    private func reconcileAllClients() throws {
        for family in planner.families {
            let ruleset = planner.ruleset(family)
            let affinity = try backend.elements(of: ruleset.affinity)
            let nodePortAffinity = try backend.elements(of: ruleset.nodePortAffinity)
            guard !affinity.isEmpty || !nodePortAffinity.isEmpty else { continue }
            let allowed = planner.rememberedBackends(family)
            for (set, elements) in [
                (ruleset.affinity, affinity), (ruleset.nodePortAffinity, nodePortAffinity),
            ] {
                let stale = elements.filter { element in
                    guard case .value(let value) = element.content else { return false }
                    let backends = allowed[element.key.withoutSource(family)]
                    return backends?.contains(value) != true
                }
                try forget(stale, of: set)
            }
        }
    }

    /// One at a time: an element may expire between the reading and the deletion.
    private func forget(_ elements: [Element], of set: NamedSet) throws {
        for element in elements {
            var transaction = Transaction()
            transaction.delete([Element(element.key)], from: set)
            do { try backend.apply(transaction) } catch let error as TransactionError
                where error.isMissingElement
            { continue }
            statistics.forgottenClientCount += 1
        }
    }
}

/// Decides which UDP flows lead to endpoints that do not serve.
struct StaleFlows {
    var frontends: [Frontend: Set<Backend>]
    var family: IPAddress.Family

    /// True where the flow was sent to a frontend and is answered by none of its endpoints.
    func contains(_ flow: ConntrackFlow) -> Bool {
        let port = ProtocolPort(.udp, flow.original.destinationPort)
        let answering = Backend(address: flow.reply.source, port: flow.reply.sourcePort)
        if let may = frontends[.address(flow.original.destination, port)] {
            return !may.contains(answering)
        }
        // A flow to the port on another machine passes through and is none of ours: only
        // translated ones can lead to an endpoint that is gone.
        guard let may = frontends[.nodePort(family, port)] else { return false }
        return flow.status & CTStatus.dnat.rawValue != 0 && !may.contains(answering)
    }
}

/// Counts of what the engine did.
struct ProxyStatistics: Sendable {
    var transactionCount = 0
    var changedElementCount = 0
    var auditCount = 0
    var repairedDifferenceCount = 0
    var followUpFailureCount = 0
    var fastPathFailureCount = 0
    /// Why the fast path failed last.
    var fastPathError: String?
    /// Seconds spent to find and delete stale flows.
    var conntrackSyncs = Histogram()
    var deletedFlowCount = 0
    var forgottenClientCount = 0
}

extension Value {
    /// A key of an affinity map without the client's address, which comes first.
    fileprivate func withoutSource(_ family: IPAddress.Family) -> Value {
        let key = Value(bytes: bytes.dropFirst(family.bitCount / 8))
        return key
    }
}

extension TransactionError {
    /// True where the only fault is that an element was gone already.
    fileprivate var isMissingElement: Bool { failures.allSatisfy { $0.errorNumber == 2 } }
}

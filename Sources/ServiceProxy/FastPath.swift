import BPF
import Logging
import Netlink
import NetworkTypes

/// Takes connections of this node's pods to cluster IPs past the rules: BPF programs at the pods'
/// links rewrite them (`FastPathProgram`). Connection tracking and routing need not be asked for
/// every packet, and between pods of the node not at all.
///
/// It only ever makes faster what the rules do too. Maps and programs stay when the agent ends, so
/// that connections live on, and the next agent takes them over. For one thread, as the engine.
final class FastPath {
    /// What was done and is there.
    struct Statistics: Sendable {
        var serviceCount = 0
        var linkCount = 0
        var flowCount = 0
        /// Services left to the rules because a map was full.
        var fullCount = 0
        /// Entries of connections that ended, or whose pod is gone.
        var expiredFlowCount = 0
        var repairCount = 0
    }

    private(set) var statistics = Statistics()
    private let families: [FastPathProgram.Maps]
    private let links: BPFMap
    private let programs: [Classifier.Direction: BPFProgram]
    private let routes: RouteSocket
    private let monitor: RouteMonitor
    private let name: String
    private let logger: Logger
    private var present = PodLinks()
    private var lastSweepNanoseconds: UInt64 = 0

    /// Before those of other projects, which see what pods meant to say otherwise.
    private static let priority: UInt16 = 1
    /// One more with every change of what maps hold.
    private static let layoutVersion = 1
    static let sweepPeriodNanoseconds: UInt64 = 10_000_000_000

    /// Opens the fast path in the calling thread's namespace, over the maps that an agent before
    /// left there. No Service takes it yet.
    /// - Throws: `BPFError` or `NetlinkError` where the kernel lacks something.
    init(
        tableName: String, families: [IPAddress.Family], mode: ProxyAgent.FastPathMode,
        logger: Logger
    ) throws {
        name = Self.classifierName(tableName)
        self.logger = logger
        monitor = try RouteMonitor([.links, .addresses, .routes])
        routes = try RouteSocket()
        let left = try Self.mapsLeft(name, routes)
        func open(_ shape: BPFMap.Shape) throws -> BPFMap {
            if let map = left[shape.name], map.shape == shape { return map }
            return try BPFMap(shape)
        }
        let links = try open(FastPathLayout.links)
        self.links = links
        self.families = try families.map { family in
            let layout = FastPathLayout(family: family)
            return try FastPathProgram.Maps(
                layout: layout, services: open(layout.services), flows: open(layout.flows),
                pods: open(layout.pods), sources: open(layout.sources),
                counts: open(layout.counts), links: links)
        }
        let seed = UInt64.random(in: .min ... .max)
        var programs: [Classifier.Direction: BPFProgram] = [:]
        for (direction, place) in [
            (FastPathProgram.Direction.fromPod, Classifier.Direction.ingress), (.toPod, .egress),
        ] {
            programs[place] = try BPFProgram(
                "portolan",
                FastPathProgram.instructions(
                    direction, self.families, redirects: mode == .redirect, seed: seed))
        }
        self.programs = programs
    }

    /// Lets no new connection take a fast path that an agent before left in the calling thread's
    /// namespace; those there are live on.
    static func retire(tableName: String) throws {
        let maps = try mapsLeft(classifierName(tableName), RouteSocket())
        for (name, map) in maps where name.hasPrefix("services") { try map.removeAll() }
    }

    private static func classifierName(_ tableName: String) -> String {
        "\(tableName)/\(layoutVersion)"
    }

    private static func mapsLeft(
        _ name: String, _ routes: RouteSocket
    ) throws -> [String: BPFMap] {
        for link in try routes.links() where link.kind == "veth" {
            for classifier in try routes.classifiers(linkIndex: link.index, .ingress)
            where classifier.name == name {
                if let number = classifier.programNumber {
                    return BPFProgram.maps(ofProgram: number)
                }
            }
        }
        return [:]
    }

    // MARK: - Services

    /// Leaves all Services to the rules.
    func clear() throws {
        for maps in families { try maps.services.removeAll() }
        statistics.serviceCount = 0
    }

    /// Puts all Services in, after `clear`, and says whose sources they are for.
    func fill(sources: [Prefix], _ planner: RulesetPlanner) throws {
        try set(sources: sources)
        for maps in families {
            var keys: [UInt8] = []
            var values: [UInt8] = []
            try planner.forEachFastPathService { frontend, service in
                guard frontend.family == maps.layout.family,
                    case .address(let address, let port) = frontend
                else { return }
                for (id, value) in entries(maps.layout, address, port.port, service) {
                    keys += id
                    values += value
                }
                let head = maps.layout.serviceKey(address, port.port, slot: FastPathLayout.headSlot)
                try maps.counts.set(head, [UInt8](repeating: 0, count: 8), .add)
                statistics.serviceCount += 1
                if keys.count > 1 << 20 {
                    try maps.services.set(keys: keys, values: values)
                    keys.removeAll(keepingCapacity: true)
                    values.removeAll(keepingCapacity: true)
                }
            }
            try maps.services.set(keys: keys, values: values)
        }
    }

    /// Brings changes about, in order. A Service for which there is no room is left to the rules.
    func apply(_ changes: [FastPathChange]) throws {
        for change in changes {
            guard case .address(let address, let port) = change.frontend,
                let maps = families.first(where: { $0.layout.family == change.frontend.family })
            else { continue }
            do {
                try apply(change, maps, address, port.port)
            } catch let error as BPFError where error.isFull {
                statistics.fullCount += 1
                try maps.services.remove(
                    maps.layout.serviceKey(address, port.port, slot: FastPathLayout.headSlot))
            }
        }
    }

    /// Endpoints come before the count that makes them found, and go after it.
    private func apply(
        _ change: FastPathChange, _ maps: FastPathProgram.Maps, _ address: IPAddress,
        _ port: UInt16
    ) throws {
        let layout = maps.layout
        let old = change.old?.backends ?? []
        let new = change.new?.backends ?? []
        for slot in 0..<new.count {
            let backend = new[new.startIndex + slot]
            if slot < old.count, old[old.startIndex + slot] == backend { continue }
            try maps.services.set(
                layout.serviceKey(address, port, slot: UInt16(slot)), layout.endpoint(backend))
        }
        let head = layout.serviceKey(address, port, slot: FastPathLayout.headSlot)
        if change.new != nil {
            if change.old == nil {
                try maps.counts.set(head, [UInt8](repeating: 0, count: 8), .add)
                statistics.serviceCount += 1
            }
            if old.count != new.count {
                try maps.services.set(head, layout.head(count: new.count))
            }
        } else {
            try maps.services.remove(head)
            try maps.counts.remove(head)
            statistics.serviceCount -= 1
        }
        for slot in new.count..<max(new.count, old.count) {
            try maps.services.remove(layout.serviceKey(address, port, slot: UInt16(slot)))
        }
    }

    private func entries(
        _ layout: FastPathLayout, _ address: IPAddress, _ port: UInt16,
        _ service: FastPathService
    ) -> [([UInt8], [UInt8])] {
        service.backends.enumerated().map { slot, backend in
            (layout.serviceKey(address, port, slot: UInt16(slot)), layout.endpoint(backend))
        } + [
            (
                layout.serviceKey(address, port, slot: FastPathLayout.headSlot),
                layout.head(count: service.backends.count)
            )
        ]
    }

    private func set(sources: [Prefix]) throws {
        for maps in families {
            let wanted = Set(
                sources.filter { $0.family == maps.layout.family }.map(maps.layout.source))
            var there: Set<[UInt8]> = []
            // A trie cannot be listed in stretches by every kernel; it is small.
            for key in try maps.sources.keys() { there.insert(key) }
            for key in there.subtracting(wanted) { try maps.sources.remove(key) }
            for key in wanted.subtracting(there) { try maps.sources.set(key, [0, 0, 0, 0]) }
        }
    }

    /// Compares the kernel's map of Services with what it should hold, and begins anew where it
    /// differs.
    /// - Returns: 1 where it differed.
    func audit(sources: [Prefix], _ planner: RulesetPlanner) throws -> Int {
        try refreshLinks(isAudit: true)
        var differs = false
        for maps in families {
            var wanted = 0
            planner.forEachFastPathService { frontend, service in
                guard frontend.family == maps.layout.family,
                    case .address(let address, let port) = frontend
                else { return }
                for (key, value) in entries(maps.layout, address, port.port, service) {
                    wanted &+= Self.digest(key[...], value[...])
                }
            }
            var there = 0
            let (keySize, valueSize) = (maps.layout.serviceKeySize, maps.layout.serviceValueSize)
            try maps.services.forEachStretch { keys, values in
                for index in 0..<(keys.count / keySize) {
                    there &+= Self.digest(
                        keys[(index * keySize)..<((index + 1) * keySize)],
                        values[(index * valueSize)..<((index + 1) * valueSize)])
                }
            }
            if wanted != there { differs = true }
        }
        guard differs else { return 0 }
        statistics.repairCount += 1
        try clear()
        try fill(sources: sources, planner)
        return 1
    }

    private static func digest(_ key: ArraySlice<UInt8>, _ value: ArraySlice<UInt8>) -> Int {
        var hasher = Hasher()
        key.withUnsafeBytes { hasher.combine(bytes: $0) }
        value.withUnsafeBytes { hasher.combine(bytes: $0) }
        return hasher.finalize()
    }

    /// Connections that took the fast path, by frontend.
    func connections() throws -> [Frontend: UInt64] {
        var connections: [Frontend: UInt64] = [:]
        for maps in families {
            for (key, value) in try maps.counts.entries() {
                let size = maps.layout.addressSize
                guard let address = IPAddress(networkBytes: key[..<size]) else { continue }
                let port = UInt16(key[size]) << 8 | UInt16(key[size + 1])
                connections[.address(address, ProtocolPort(.tcp, port))] = value.withUnsafeBytes {
                    $0.loadUnaligned(as: UInt64.self)
                }
            }
        }
        return connections
    }

    // MARK: - Links

    /// Readable where links, addresses or routes changed.
    var descriptor: Int32 { monitor.descriptor }

    /// Reads what changed of links, and puts programs at those that lead to pods.
    func noteLinkChanges() throws {
        // A change is read anew in whole: the events only say that there is one.
        var isNew = false
        while true {
            let events = try monitor.events()
            if events.isEmpty { break }
            isNew = true
        }
        if isNew { try refreshLinks() }
    }

    /// Puts programs at the links that lead to pods, and knows the pods.
    func refreshLinks(isAudit: Bool = false) throws {
        let found = PodLinks(
            links: try routes.links(), addresses: try routes.addresses(),
            routes: try families.flatMap { try routes.routes($0.layout.family) })
        var attached = found
        for (index, number) in found.links {
            if isAudit || present.links[index] != number || present.links.isEmpty {
                do { try attach(index, number) } catch let error as NetlinkError {
                    // Gone between the reading and now, most of the time: the next event tells.
                    logger.debug(
                        "a pod's link cannot have the fast path",
                        metadata: ["link": "\(index)", "error": "\(error)"])
                    attached.links[index] = nil
                    attached.pods = attached.pods.filter { $0.value != index }
                }
            }
        }
        let gone = present.links.keys.filter { found.links[$0] == nil }
        for index in gone {
            try links.remove(Self.key(index))
            _ = try routes.attempt(
                Classifier.Direction.allCases.map { .deleteClassifier(classifier(index, $0)) })
        }
        try set(pods: attached.pods)
        present = attached
        statistics.linkCount = attached.links.count
        if !gone.isEmpty { try sweep(now: monotonicNanoseconds()) }
    }

    private func classifier(_ index: Int32, _ direction: Classifier.Direction) -> Classifier {
        Classifier(linkIndex: index, direction, priority: Self.priority, name: name)
    }

    /// Answers must be known before questions are sent: the way to the pod first.
    private func attach(_ index: Int32, _ namespaceNumber: Int32) throws {
        let number = withUnsafeBytes(of: namespaceNumber, Array.init)
        try links.set(Self.key(index), number)
        // There is one already where this, or another, has been here before.
        _ = try routes.attempt([.addClassifierHook(linkIndex: index)])
        for direction in [Classifier.Direction.egress, .ingress] {
            guard let program = programs[direction] else { continue }
            try routes.perform(
                .setClassifier(classifier(index, direction), program: program.descriptor))
        }
    }

    private func set(pods: [IPAddress: Int32]) throws {
        for maps in families {
            let wanted = Dictionary(
                uniqueKeysWithValues: pods.filter { $0.key.family == maps.layout.family }.map {
                    ($0.key.networkBytes, Self.key($0.value))
                })
            let there = try maps.pods.entries()
            for key in there.keys where wanted[key] == nil { try maps.pods.remove(key) }
            for (key, value) in wanted where there[key] != value {
                try maps.pods.set(key, value)
            }
        }
    }

    private static func key(_ index: Int32) -> [UInt8] { withUnsafeBytes(of: index, Array.init) }

    // MARK: - Flows

    /// Forgets connections that ended, where it is time to.
    func sweepIfDue(now: UInt64) throws {
        guard now >= lastSweepNanoseconds + Self.sweepPeriodNanoseconds else { return }
        try sweep(now: now)
    }

    /// Forgets connections that ended, were silent too long, or whose pod is gone.
    private func sweep(now: UInt64) throws {
        lastSweepNanoseconds = now
        let seconds = UInt32(truncatingIfNeeded: now >> 30)
        let wasCrowded = statistics.flowCount
        statistics.flowCount = 0
        for maps in families {
            let isCrowded = wasCrowded > maps.flows.shape.capacity / 2
            var expired: [FlowEntry] = []
            try forEachFlow(maps) { entry in
                statistics.flowCount += 1
                let isStranded = entry.link != 0 && present.links[Int32(entry.link)] == nil
                if isStranded
                    || entry.kind == .forward
                        && entry.isExpired(now: seconds, isCrowded: isCrowded)
                {
                    expired.append(entry)
                }
            }
            for entry in expired { try forget(entry, maps) }
        }
    }

    /// Both directions of a connection, unless it was begun anew meanwhile.
    private func forget(_ entry: FlowEntry, _ maps: FastPathProgram.Maps) throws {
        guard let value = try maps.flows.take(entry.key) else { return }
        if FlowEntry(maps.layout, key: entry.key[...], value: value[...]) != entry {
            try maps.flows.set(entry.key, value, .add)
            return
        }
        try maps.flows.remove(entry.partnerKey)
        statistics.expiredFlowCount += 1
    }

    private func forEachFlow(
        _ maps: FastPathProgram.Maps, _ body: (FlowEntry) throws -> Void
    ) throws {
        let (keySize, valueSize) = (maps.layout.flowKeySize, maps.layout.flowValueSize)
        try maps.flows.forEachStretch { keys, values in
            for index in 0..<(keys.count / keySize) {
                let entry = FlowEntry(
                    maps.layout, key: keys[(index * keySize)..<((index + 1) * keySize)],
                    value: values[(index * valueSize)..<((index + 1) * valueSize)])
                if let entry { try body(entry) }
            }
        }
    }
}

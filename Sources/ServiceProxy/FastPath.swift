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

    var statistics = Statistics()
    private(set) var families: [FastPathProgram.Maps]
    let links: BPFMap
    private(set) var programs: [Classifier.Direction: BPFProgram] = [:]
    let routes: RouteSocket
    let monitor: RouteMonitor
    let name: String
    let logger: Logger
    /// The links that have the programs.
    var present = PodLinks()
    var knowsLinks = false
    /// True where links changed since they were read, and when they may be read again.
    var hasLinkChanges = false
    var nextRefreshNanoseconds: UInt64 = 0
    var lastSweepNanoseconds: UInt64 = 0
    private let seed = UInt64.random(in: .min ... .max)

    /// One more with every change of what maps hold.
    private static let layoutVersion = 1

    /// Opens the fast path of a namespace, the calling thread's by default, over the maps that an
    /// agent before left there. No Service takes it before `fill`.
    /// - Throws: `BPFError` or `NetlinkError` where the kernel lacks something.
    init(
        tableName: String, families: [IPAddress.Family],
        in namespace: NamespaceDescriptor? = nil, logger: Logger
    ) throws {
        name = Self.classifierName(tableName)
        self.logger = logger
        let namespace = try namespace ?? NetworkNamespace.current()
        monitor = try RouteMonitor([.links, .addresses, .routes], in: namespace)
        routes = try RouteSocket(in: namespace)
        let left = try Self.mapsLeft(name, routes)
        func open(_ shape: BPFMap.Shape) throws -> BPFMap {
            if let map = left[shape.name], map.shape == shape { return map }
            return try BPFMap(shape)
        }
        let links = try open(FastPathLayout.links)
        self.links = links
        self.families = try families.map { family in
            let layout = FastPathLayout(family: family)
            let capacity =
                left[layout.services(0).name]?.shape.capacity
                ?? FastPathLayout.leastServiceCapacity
            return try FastPathProgram.Maps(
                layout: layout, services: open(layout.services(capacity)),
                flows: open(layout.flows), pods: open(layout.pods), sources: open(layout.sources),
                counts: open(layout.counts(capacity)), links: links)
        }
        try loadPrograms()
    }

    private func loadPrograms() throws {
        for (direction, place) in [
            (FastPathProgram.Direction.fromPod, Classifier.Direction.ingress), (.toPod, .egress),
        ] {
            programs[place] = try BPFProgram(
                "portolan", FastPathProgram.instructions(direction, families, seed: seed))
        }
    }

    /// Lets no new connection take a fast path that an agent before left in the calling thread's
    /// namespace; those there are live on.
    static func retire(tableName: String) throws {
        let maps = try mapsLeft(classifierName(tableName), RouteSocket())
        for (name, map) in maps where name.hasPrefix("services") { try map.removeAll() }
    }

    static func classifierName(_ tableName: String) -> String {
        "\(tableName)/\(layoutVersion)"
    }

    /// The maps of the programs at pods' links; none where there are none.
    static func mapsLeft(
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

    /// Puts all Services in, and says whose sources they are for.
    func fill(sources: [Prefix], _ planner: RulesetPlanner) throws {
        try clear()
        if sources.isEmpty {
            logger.warning(
                """
                the fast path serves nobody: the range of pods' addresses is not known; give \
                --pod-cidr, or clusterCIDR in the KubeProxyConfiguration
                """)
        }
        try makeRoom(planner)
        try set(sources: sources)
        for maps in families {
            let counted = try maps.counts.entries()
            try forEachStretch(maps.layout, planner) { entries in
                try maps.services.set(keys: entries.keys, values: entries.values)
                let heads = entries.headKeys
                statistics.serviceCount += heads.count
                let new = heads.filter { counted[$0] == nil }
                try maps.counts.set(
                    keys: new.flatMap(\.self), values: [UInt8](repeating: 0, count: new.count * 8))
            }
        }
    }

    /// Calls `body` with all that the map of Services should hold, a few thousand entries at a time.
    private func forEachStretch(
        _ layout: FastPathLayout, _ planner: RulesetPlanner,
        _ body: (ServiceEntries) throws -> Void
    ) rethrows {
        var entries = ServiceEntries(layout)
        try planner.forEachFastPathService { frontend, service in
            guard frontend.family == layout.family, case .address(let address, let port) = frontend
            else { return }
            entries.append(address, port.port, service)
            if entries.count >= 4096 {
                try body(entries)
                entries.removeAll()
            }
        }
        if entries.count > 0 { try body(entries) }
    }

    /// Puts larger maps in the place of those that would be full, and programs that use them.
    private func makeRoom(_ planner: RulesetPlanner) throws {
        var hasGrown = false
        for (index, maps) in families.enumerated() {
            var count = 0
            planner.forEachFastPathService { frontend, service in
                if frontend.family == maps.layout.family { count += service.backends.count + 1 }
            }
            let capacity = FastPathLayout.serviceCapacity(for: count)
            guard capacity > maps.services.shape.capacity else { continue }
            let counts = try BPFMap(maps.layout.counts(capacity))
            for (key, value) in try maps.counts.entries() { try counts.set(key, value) }
            families[index].services = try BPFMap(maps.layout.services(capacity))
            families[index].counts = counts
            hasGrown = true
        }
        guard hasGrown else { return }
        try loadPrograms()
        try refreshLinks(isAudit: true)
    }

    /// Brings changes about, in order. A Service for which there is no room is left to the rules.
    /// - Returns: true where `fill` could make room for more.
    func apply(_ changes: [FastPathChange]) throws -> Bool {
        var needsRoom = false
        for change in changes {
            guard case .address(let address, let port) = change.frontend,
                let maps = families.first(where: { $0.layout.family == change.frontend.family })
            else { continue }
            do {
                try apply(change, maps, address, port.port)
            } catch let error as BPFError where error.isFull {
                statistics.fullCount += 1
                if maps.services.shape.capacity < FastPathLayout.largestServiceCapacity {
                    needsRoom = true
                }
                if try maps.services.remove(maps.layout.headKey(address, port.port)) {
                    statistics.serviceCount -= 1
                }
            }
        }
        return needsRoom
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
        let head = layout.headKey(address, port)
        if change.new != nil {
            if change.old == nil {
                try maps.counts.set(head, [UInt8](repeating: 0, count: 8), .add)
            }
            if old.count != new.count {
                try maps.services.set(head, layout.head(count: new.count))
                if change.old == nil { statistics.serviceCount += 1 }
            }
        } else {
            if try maps.services.remove(head) { statistics.serviceCount -= 1 }
            try maps.counts.remove(head)
        }
        for slot in new.count..<max(new.count, old.count) {
            try maps.services.remove(layout.serviceKey(address, port, slot: UInt16(slot)))
        }
    }

    private func set(sources: [Prefix]) throws {
        for maps in families {
            let wanted = Set(
                sources.filter { $0.family == maps.layout.family }.map(maps.layout.source))
            let there = Set(try maps.sources.keys())
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
            forEachStretch(maps.layout, planner) { wanted &+= $0.digest }
            var there = 0
            try maps.services.forEachStretch { keys, values in
                there &+= ServiceEntries.digest(keys, values, maps.layout)
            }
            if wanted != there { differs = true }
        }
        guard differs else { return 0 }
        statistics.repairCount += 1
        try fill(sources: sources, planner)
        return 1
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
}

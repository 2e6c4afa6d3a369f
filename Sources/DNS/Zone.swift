public import NetworkTypes
import Synchronization

/// How pod records (`a-b-c-d.<namespace>.pod.<zone>`) are answered.
public enum PodRecordMode: String, Sendable {
    /// No pod records.
    case disabled
    /// Any address in a namespace that exists; what kubeadm clusters ship.
    case insecure
    /// Only addresses of pods that are in the namespace.
    case verified
}

/// What a zone is made with.
public struct ZoneConfiguration: Sendable {
    /// The cluster domain.
    public var name: DNSName
    /// Further domains under which the same names are answered; PTR records lead to `name` alone.
    public var furtherNames: [DNSName]
    /// The reverse zones that are this server's: their names have PTR records, and are denied where
    /// nothing here holds them.
    public var reverseZones: [DNSName]
    /// The TTL of every record but dns-version's, and of negative answers.
    public var timeToLiveSeconds: UInt32
    /// The addresses that `ns.dns.<zone>` has: the DNS Service's.
    public var serverAddresses: [IPAddress]
    /// How pod records are answered.
    public var podRecords: PodRecordMode
    /// Zones whose names are asked upstream where nothing here holds them, in place of a denial.
    public var fallthroughZones: [DNSName]
    /// The SOA's first serial; seconds since 1970 keep it rising over restarts.
    public var serial: UInt32
    /// The secret of the name hash.
    public var hashSeed: UInt64

    /// Makes a configuration; the defaults are those of a kubeadm cluster's Corefile.
    public init(
        name: DNSName, furtherNames: [DNSName] = [],
        reverseZones: [DNSName] = [.inAddrArpa, .ip6Arpa], timeToLiveSeconds: UInt32 = 30,
        serverAddresses: [IPAddress] = [], podRecords: PodRecordMode = .insecure,
        fallthroughZones: [DNSName] = [.inAddrArpa, .ip6Arpa], serial: UInt32 = 1,
        hashSeed: UInt64 = NameHash.process.seed
    ) {
        self.name = name.lowercased
        self.furtherNames = furtherNames.map(\.lowercased).filter { $0 != name }
        self.reverseZones = reverseZones.map(\.lowercased)
        self.timeToLiveSeconds = timeToLiveSeconds
        self.serverAddresses = serverAddresses
        self.podRecords = podRecords
        self.fallthroughZones = fallthroughZones.map(\.lowercased)
        self.serial = serial
        self.hashSeed = hashSeed
    }

    /// Every cluster domain, the one that PTR records lead to first.
    var names: [DNSName] { [name] + furtherNames }

    /// Whether the address's reverse name is in one of the reverse zones.
    func answersReverse(_ address: IPAddress) -> Bool {
        // Both zones whole is the rule, and Services with many endpoints ask for each of them.
        if reverseZones == [.inAddrArpa, .ip6Arpa] { return true }
        let name = DNSName(reverse: address)
        return reverseZones.contains { name.isWithin($0) }
    }
}

/// The cluster's zone: every name's records, rendered, for any number of threads to read.
///
/// Changes come one Service, namespace or pod at a time and replace only the slots of the names
/// that changed. Safe to share: configuration is immutable, readers use only the table, writers
/// hold `state`'s lock.
public final class Zone: @unchecked Sendable {
    /// What the zone was made with.
    public let configuration: ZoneConfiguration
    /// The table that readers use.
    public let table: NameTable
    /// The table's shards; `table` keeps them alive.
    let shards: UnsafeMutablePointer<Atomic<UInt>>
    /// The SOA's serial, one more with each change.
    let serial: Atomic<UInt32>
    let state = Mutex(State())

    /// The writer's memory of who owns which names.
    struct State {
        var numbers: [ServiceKey: UInt32] = [:]
        var owned: [UInt32: OwnedNames] = [:]
        var lastNumber: UInt32 = 0
        var namespaces: [String: NamespaceState] = [:]
        var pods: [ServiceKey: [DNSName]] = [:]
        var podNameCounts: [DNSName: Int] = [:]
        /// Names of pods that a snapshot brought, until `retainListedPods`.
        var restoredPodNames: Set<DNSName> = []
        /// What a snapshot brought and nobody has needed yet: whose names are whose.
        var unread: UnreadServices?
    }

    /// The names a Service has in the table.
    struct OwnedNames {
        var blocks: [UInt] = []
        var reverse: [IPAddress] = []
    }

    /// Why a namespace's name exists.
    struct NamespaceState {
        var isDeclared = false
        var serviceCount = 0
    }

    /// Makes a zone with nothing but its own furniture: apex, `svc`, `pod`, `dns-version`, `ns.dns`.
    public convenience init(configuration: ZoneConfiguration) {
        let hash = NameHash(seed: configuration.hashSeed)
        self.init(configuration: configuration, table: NameTable(nameHash: hash))
    }

    /// Makes a zone of a table's names and its own furniture. The table's hash is that of the
    /// configuration.
    init(configuration: ZoneConfiguration, table: NameTable) {
        self.configuration = configuration
        self.table = table
        shards = table.shards
        serial = Atomic(configuration.serial)
        state.withLock { _ in
            for zone in configuration.names { insertFurniture(of: zone) }
        }
    }

    /// How many names the zone has.
    public var nameCount: Int { state.withLock { _ in table.count } }

    /// How many Services have records or had an input.
    public var serviceCount: Int {
        state.withLock { state in
            readServices(&state)
            return state.numbers.count
        }
    }

    // MARK: - Changes

    /// Puts the records of `input` in place of what the Service had; nil takes them away. Names
    /// whose records stay the same are not touched.
    /// - Returns: the number of names that changed.
    @discardableResult
    public func apply(_ key: ServiceKey, _ input: ServiceRecordInput?) -> Int {
        let (names, reverse) = input.map(render) ?? ([], [])
        return state.withLock { state in
            readServices(&state)
            if input == nil, state.numbers[key] == nil { return 0 }
            let number = number(of: key, &state)
            var changes = replaceNames(names, number, &state)
            changes += replaceReverse(reverse, number, &state)
            if input == nil {
                state.numbers[key] = nil
                state.owned[number] = nil
                updateNamespace(key.namespace, &state) { $0.serviceCount -= 1 }
            }
            if changes > 0 { serial.wrappingAdd(1, ordering: .relaxed) }
            table.epochs.reclaim()
            return changes
        }
    }

    /// Says whether a namespace exists; its `svc` and `pod` names answer accordingly. A namespace
    /// with Services exists in any case.
    public func applyNamespace(_ name: String, exists: Bool) {
        state.withLock { state in
            updateNamespace(name, &state) { $0.isDeclared = exists }
            table.epochs.reclaim()
        }
    }

    /// A Service's names below each of the zone's domains, and its reverse names.
    private func render(_ input: ServiceRecordInput) -> ([NameRecords], [ReverseRecord]) {
        let seconds = configuration.timeToLiveSeconds
        let first = ServiceRecords(
            input, zone: configuration.name, timeToLiveSeconds: seconds)
        var names = first.names
        for zone in configuration.furtherNames {
            names += ServiceRecords(input, zone: zone, timeToLiveSeconds: seconds).names
        }
        return (names, first.reverse.filter { configuration.answersReverse($0.address) })
    }

    /// Puts a pod's addresses, for verified pod records; an empty list takes the pod away.
    public func applyPod(_ key: ServiceKey, addresses: [IPAddress]) {
        state.withLock { state in
            readServices(&state)
            let wanted = addresses.flatMap { address in
                configuration.names.compactMap { zone in
                    DNSName(
                        labels: [ServiceRecords.dashed(address), key.namespace, "pod"],
                        parent: zone
                    ).map { (name: $0.lowercased, address: address) }
                }
            }
            let old = state.pods[key] ?? []
            for (name, address) in wanted where !old.contains(name) {
                state.podNameCounts[name, default: 0] += 1
                let set = RecordSet(
                    type: address.family == .ipv4 ? .a : .aaaa,
                    timeToLiveSeconds: configuration.timeToLiveSeconds,
                    data: [address.networkBytes])
                put(NameRecords(name: name, flags: .pod, sets: [set]), owner: 0)
            }
            let names = wanted.map(\.name)
            for name in old where !names.contains(name) {
                let count = (state.podNameCounts[name] ?? 1) - 1
                state.podNameCounts[name] = count > 0 ? count : nil
                if count <= 0, let block = table.find(name.wire) { table.remove(block) }
            }
            state.pods[key] = names.isEmpty ? nil : names
            table.epochs.reclaim()
        }
    }

    /// Takes away pods that a snapshot remembered and a complete list no longer has.
    public func retainListedPods() {
        state.withLock { state in
            readServices(&state)
            for name in state.restoredPodNames where state.podNameCounts[name] == nil {
                if let block = table.find(name.wire) { table.remove(block) }
            }
            state.restoredPodNames = []
            table.epochs.reclaim()
        }
    }

    /// Says which namespace the pod at `address` is in, for completing its search path; nil where
    /// no running pod of this node has the address.
    public func applyClient(_ address: IPAddress, namespace: String?) {
        state.withLock { _ in
            let name = DNSName(unchecked: Self.clientKey(address))
            if let namespace, let label = DNSName(labels: [namespace])?.lowercased {
                let set = RecordSet(
                    type: RecordType(rawValue: 0), timeToLiveSeconds: 0, data: [label.wire])
                put(NameRecords(name: name, flags: .furniture, sets: [set]), owner: 0)
            } else if let block = table.find(name.wire) {
                table.remove(block)
            }
            table.epochs.reclaim()
        }
    }

    /// Takes away Services that are not in `keys` and namespaces not in `namespaces`: what a
    /// snapshot remembered and a complete list no longer has.
    public func retain(services keys: Set<ServiceKey>, namespaces: Set<String>) {
        let (gone, goneNamespaces) = state.withLock { state in
            readServices(&state)
            return (
                state.numbers.keys.filter { !keys.contains($0) },
                state.namespaces.filter { $0.value.isDeclared && !namespaces.contains($0.key) }
                    .map(\.key)
            )
        }
        for key in gone { apply(key, nil) }
        for name in goneNamespaces { applyNamespace(name, exists: false) }
    }

    // MARK: - Names of a Service

    private func number(of key: ServiceKey, _ state: inout State) -> UInt32 {
        if let number = state.numbers[key] { return number }
        state.lastNumber += 1
        state.numbers[key] = state.lastNumber
        updateNamespace(key.namespace, &state) { $0.serviceCount += 1 }
        return state.lastNumber
    }

    private func replaceNames(
        _ names: [NameRecords], _ number: UInt32, _ state: inout State
    ) -> Int {
        var changes = 0
        var current: [UInt] = []
        current.reserveCapacity(names.count)
        let old = state.owned[number]?.blocks ?? []
        // The old blocks that stay or were replaced, which are retired, not freed, until the end
        // of this change.
        var kept: [UInt] = []
        kept.reserveCapacity(names.count)
        for records in names {
            if let existing = table.find(records.name.lowercased.wire),
                existing.isCurrent(records, owner: number)
            {
                let address = UInt(bitPattern: existing.memory)
                kept.append(address)
                current.append(address)
                continue
            }
            let fresh = NameBlock.make(records, owner: number, nameHash: table.nameHash)
            if let existing = table.find(fresh.hash, fresh.namePointer, fresh.nameLength) {
                kept.append(UInt(bitPattern: existing.memory))
                if existing.isIdentical(to: fresh) {
                    fresh.memory.deallocate()
                    current.append(UInt(bitPattern: existing.memory))
                    continue
                }
            }
            table.insert(fresh)
            current.append(UInt(bitPattern: fresh.memory))
            changes += 1
        }
        if kept != old {
            let known = Set(kept)
            for address in old where !known.contains(address) {
                guard let memory = UnsafeMutableRawPointer(bitPattern: address) else { continue }
                table.remove(NameBlock(memory: memory))
                changes += 1
            }
        }
        state.owned[number, default: OwnedNames()].blocks = current
        return changes
    }

    private func replaceReverse(
        _ records: [ReverseRecord], _ number: UInt32, _ state: inout State
    ) -> Int {
        let old = state.owned[number]?.reverse ?? []
        let addresses = records.map(\.address)
        // Most names have what they should have: only the others are gathered by address.
        var changed: Set<IPAddress> = []
        for record in records {
            let existing = table.find(DNSName(reverse: record.address).wire)
            if existing?.isSoleContribution(record, of: number) != true {
                changed.insert(record.address)
            }
        }
        if addresses != old { changed.formUnion(Set(old).subtracting(addresses)) }
        var changes = 0
        if !changed.isEmpty {
            var own: [IPAddress: [ReverseRecord]] = [:]
            for record in records where changed.contains(record.address) {
                own[record.address, default: []].append(record)
            }
            for address in changed where replaceReverse(address, own[address] ?? [], number) {
                changes += 1
            }
        }
        state.owned[number, default: OwnedNames()].reverse = addresses
        return changes
    }

    /// Sets what `number` contributes to one reverse name, keeping others' contributions.
    func replaceReverse(
        _ address: IPAddress, _ records: [ReverseRecord], _ number: UInt32
    ) -> Bool {
        let name = DNSName(reverse: address)
        let existing = table.find(name.wire)
        if let existing, records.count == 1, let only = records.first,
            existing.isSoleContribution(only, of: number)
        {
            return false
        }
        var contributions = (existing?.reverseContributions ?? []).filter { $0.owner != number }
        for record in records {
            contributions.append(
                ReverseContribution(
                    owner: number, target: record.target.wire, isChosen: record.isChosen))
        }
        guard !contributions.isEmpty else {
            if let existing { table.remove(existing) }
            return existing != nil
        }
        let reverse = NameRecords.reverse(
            name, contributions, timeToLiveSeconds: configuration.timeToLiveSeconds)
        return put(reverse, owner: 0)
    }

    /// Renders and inserts `records` unless the table has just that.
    @discardableResult
    func put(_ records: NameRecords, owner: UInt32) -> Bool {
        if let existing = table.find(records.name.lowercased.wire),
            existing.isCurrent(records, owner: owner)
        {
            return false
        }
        let fresh = NameBlock.make(records, owner: owner, nameHash: table.nameHash)
        if let existing = table.find(fresh.hash, fresh.namePointer, fresh.nameLength),
            existing.isIdentical(to: fresh)
        {
            fresh.memory.deallocate()
            return false
        }
        table.insert(fresh)
        return true
    }

    // MARK: - Furniture

    func updateNamespace(
        _ name: String, _ state: inout State, _ change: (inout NamespaceState) -> Void
    ) {
        var entry = state.namespaces[name] ?? NamespaceState()
        change(&entry)
        let exists = entry.isDeclared || entry.serviceCount > 0
        state.namespaces[name] = exists ? entry : nil
        for zone in configuration.names {
            for branch in ["svc", "pod"] {
                guard let owner = DNSName(labels: [name, branch], parent: zone) else { continue }
                if exists {
                    put(NameRecords(name: owner, flags: .furniture), owner: 0)
                } else if let block = table.find(owner.lowercased.wire) {
                    table.remove(block)
                }
            }
        }
    }

    private func insertFurniture(of zone: DNSName) {
        func below(_ labels: String...) -> DNSName { DNSName(labels: labels, parent: zone) ?? zone }
        let server = below("ns", "dns")
        let ttl = configuration.timeToLiveSeconds
        put(
            NameRecords(
                name: zone, flags: .furniture,
                sets: [
                    RecordSet(
                        type: .ns, timeToLiveSeconds: ttl, data: [server.wire],
                        additionals: configuration.serverAddresses.map {
                            AdditionalAddress(record: 0, address: $0)
                        })
                ]), owner: 0)
        let version = "1.1.0"
        let text = RecordSet(
            type: .txt, timeToLiveSeconds: 28800,
            data: [[UInt8(version.utf8.count)] + Array(version.utf8)])
        put(
            NameRecords(name: below("dns-version"), flags: .furniture, sets: [text]), owner: 0)
        for name in [below("svc"), below("pod"), below("dns")] {
            put(NameRecords(name: name, flags: .furniture), owner: 0)
        }
        var sets: [RecordSet] = []
        for type in [RecordType.a, .aaaa] {
            let data = configuration.serverAddresses.map(\.networkBytes).filter {
                $0.count == (type == .a ? 4 : 16)
            }
            if !data.isEmpty {
                sets.append(RecordSet(type: type, timeToLiveSeconds: ttl, data: data))
            }
        }
        put(NameRecords(name: server, flags: .furniture, sets: sets), owner: 0)
    }

    /// The key of a client's entry. It begins with an octet that no wire name begins with, so no
    /// question can reach it; nibbles are below any letter, so lower-casing leaves them alone.
    static func clientKey(_ address: IPAddress) -> [UInt8] {
        let family: UInt8 = address.family == .ipv4 ? 4 : 6
        return [0xFF, family] + address.networkBytes.flatMap { [$0 >> 4, $0 & 15] }
    }
}

import NetworkTypes
import Synchronization

/// The Services of a snapshot: whose names are whose. Answering does not need it, so it is read
/// when the first change comes.
struct UnreadServices {
    var memory: SnapshotMemory
    var offset: Int
}

extension Zone {
    /// Makes a zone of a snapshot. Every block is checked before it is used; the zone's names are
    /// hashed with the snapshot's seed, whatever the configuration says.
    /// - Throws: `SnapshotError`.
    public static func restored(
        from memory: SnapshotMemory, configuration: ZoneConfiguration
    ) throws(SnapshotError) -> Zone {
        let bytes = UnsafeRawBufferPointer(memory.bytes)
        guard bytes.count >= 40, bytes.prefix(8).elementsEqual(snapshotMagic) else {
            throw .unknownFormat
        }
        var checksum = SnapshotChecksum()
        checksum.add(UnsafeRawBufferPointer(rebasing: bytes.dropLast(8)))
        guard bytes.count % 8 == 0,
            bytes.load(fromByteOffset: bytes.count - 8, as: UInt64.self) == checksum.value
        else { throw .corrupt }
        var reader = SnapshotReader(
            bytes: UnsafeRawBufferPointer(rebasing: bytes.dropLast(8)), offset: 8)
        guard let seed = reader.number(), let ttl = reader.number(), let hasPods = reader.number(),
            let zones = reader.data(), let namespaces = reader.namespaces()
        else { throw .corrupt }
        guard ttl == UInt64(configuration.timeToLiveSeconds),
            zones.elementsEqual(configuration.zoneWires)
        else { throw .otherZone }
        var shards: [NameTable.RestoredShard] = []
        for index in 0..<NameTable.shardCount {
            reader.align(to: 32)
            guard let shard = restoredShard(index, memory.bytes, &reader) else { throw .corrupt }
            shards.append(shard)
        }
        var fresh = configuration
        fresh.hashSeed = seed
        let table = NameTable(
            nameHash: NameHash(seed: seed), restored: shards, snapshot: memory)
        let zone = Zone(configuration: fresh, table: table)
        zone.adopt(namespaces, UnreadServices(memory: memory, offset: reader.offset))
        // Pods of a configuration that verified them, which this one does not.
        if hasPods != 0, configuration.podRecords != .verified { zone.retainListedPods() }
        return zone
    }

    private func adopt(_ namespaces: [String: NamespaceState], _ services: UnreadServices) {
        state.withLock { state in
            for (name, entry) in namespaces { updateNamespace(name, &state) { $0 = entry } }
            state.unread = services
        }
    }

    /// Checks one shard and turns its slots' offsets into addresses; nil where it does not hold
    /// together.
    private static func restoredShard(
        _ index: Int, _ bytes: UnsafeMutableRawBufferPointer, _ reader: inout SnapshotReader
    ) -> NameTable.RestoredShard? {
        let start = reader.offset
        guard let size = reader.number(), let live = reader.number(), let slots = reader.number(),
            let base = bytes.baseAddress, size <= UInt64(reader.bytes.count - start)
        else { return nil }
        let end = start + Int(size)
        guard slots >= 16, slots & (slots - 1) == 0, slots <= size / 8, live <= slots,
            live * 4 <= slots * 3
        else { return nil }
        let first = start + 16 + NameTable.slotsOffset
        let blocks = first + Int(slots) * 8
        guard blocks <= end, (end - start) % 32 == 0 else { return nil }
        var found: UInt64 = 0
        for place in stride(from: first, to: blocks, by: 8) {
            let word = bytes.load(fromByteOffset: place, as: UInt.self)
            guard word != 0 else { continue }
            let offset = Int(word & NameTable.addressMask)
            guard offset >= blocks, offset % 8 == 0, offset + NameBlock.headerSize <= end else {
                return nil
            }
            let block = NameBlock(memory: base + offset)
            let length = block.size
            guard length <= end - offset, block.hash & 63 == UInt64(index),
                NameTable.tag(block.hash) == word & ~NameTable.addressMask,
                NameBlock.isSound(UnsafeRawBufferPointer(start: block.memory, count: length))
            else { return nil }
            bytes.storeBytes(
                of: NameTable.tag(block.hash) | UInt(bitPattern: block.memory),
                toByteOffset: place, as: UInt.self)
            found += 1
        }
        guard found == live else { return nil }
        reader.offset = end
        return NameTable.RestoredShard(memory: base + start + 16, liveCount: Int(live))
    }

    // MARK: - Whose names are whose

    /// Reads the Services that a snapshot brought, if that is still to be done. Names of Services
    /// that it does not list, because they came or went while it was written, are taken away.
    func readServices(_ state: inout State) {
        guard let unread = state.unread else { return }
        state.unread = nil
        let bytes = UnsafeRawBufferPointer(unread.memory.bytes)
        var reader = SnapshotReader(
            bytes: UnsafeRawBufferPointer(rebasing: bytes.dropLast(8)), offset: unread.offset)
        reader.align(to: 32)
        let services = reader.services()
        for (number, key) in services {
            state.numbers[key] = number
            state.lastNumber = max(state.lastNumber, number)
        }
        // By number, which a dictionary for each of the names would make slow.
        var owned = OwnersByNumber(services.map(\.0))
        var orphans: [NameBlock] = []
        var orphanAddresses: [(IPAddress, UInt32)] = []
        table.forEachBlock { block in
            if block.flags.contains(.reverse) {
                Self.readReverse(block, &owned, &orphanAddresses)
            } else if block.flags.contains(.pod) {
                state.restoredPodNames.insert(DNSName(unchecked: block.name))
            } else if block.owner != 0, !owned.add(block, to: block.owner) {
                orphans.append(block)
            }
        }
        for (number, _) in services { state.owned[number] = owned.names(of: number) }
        for block in orphans { table.remove(block) }
        for (address, number) in orphanAddresses { _ = replaceReverse(address, [], number) }
        countServices(&state)
    }

    private static func readReverse(
        _ block: NameBlock, _ owned: inout OwnersByNumber, _ orphans: inout [(IPAddress, UInt32)]
    ) {
        guard let address = DNSName(unchecked: block.name).reverseAddress else { return }
        for index in 0..<block.ownerCount {
            let number = block.contributor(index) & ~NameBlock.chosenMark
            if !owned.add(address, to: number) { orphans.append((address, number)) }
        }
    }

    /// Sets how many Services each namespace has to what was read.
    private func countServices(_ state: inout State) {
        var counts: [String: Int] = [:]
        for key in state.numbers.keys { counts[key.namespace, default: 0] += 1 }
        let known = Set(state.namespaces.keys).union(counts.keys)
        for name in known where state.namespaces[name]?.serviceCount != counts[name] {
            updateNamespace(name, &state) { $0.serviceCount = counts[name] ?? 0 }
        }
    }
}

/// The names of each Service while a snapshot is read.
private struct OwnersByNumber {
    private var indexes: [UInt32: Int] = [:]
    private var owned: [Zone.OwnedNames]
    /// The last one that was looked up: a Service's names are often together.
    private var last: (number: UInt32, index: Int) = (0, 0)

    init(_ numbers: [UInt32]) {
        owned = Array(repeating: Zone.OwnedNames(), count: numbers.count)
        indexes.reserveCapacity(numbers.count)
        for (index, number) in numbers.enumerated() { indexes[number] = index }
    }

    private mutating func index(of number: UInt32) -> Int? {
        if last.number == number, number != 0 { return last.index }
        guard let index = indexes[number] else { return nil }
        last = (number, index)
        return index
    }

    /// Adds a block; false where no such Service is known.
    mutating func add(_ block: NameBlock, to number: UInt32) -> Bool {
        guard let index = index(of: number) else { return false }
        owned[index].blocks.append(UInt(bitPattern: block.memory))
        return true
    }

    /// Adds a reverse name's address; false where no such Service is known.
    mutating func add(_ address: IPAddress, to number: UInt32) -> Bool {
        guard let index = index(of: number) else { return false }
        if owned[index].reverse.last != address { owned[index].reverse.append(address) }
        return true
    }

    func names(of number: UInt32) -> Zone.OwnedNames {
        indexes[number].map { owned[$0] } ?? Zone.OwnedNames()
    }
}

extension NameBlock {
    /// Whether bytes from a snapshot have lengths that fit each other, so that reading the block
    /// never leaves it.
    static func isSound(_ buffer: UnsafeRawBufferPointer) -> Bool {
        guard buffer.count >= headerSize,
            buffer.loadUnaligned(fromByteOffset: 8, as: UInt32.self) == UInt32(buffer.count)
        else { return false }
        let nameLength = Int(buffer.loadUnaligned(fromByteOffset: 16, as: UInt16.self))
        let setCount = Int(buffer[18])
        let owners = Int(buffer.loadUnaligned(fromByteOffset: 20, as: UInt32.self))
        guard owners <= buffer.count / 4 else { return false }
        let nameOffset = headerSize + setCount * setSize + owners * 4
        guard nameLength <= DNSName.maximumLength, nameOffset + nameLength <= buffer.count
        else { return false }
        let bytes = buffer.bindMemory(to: UInt8.self)
        guard DNSName.length(ofNameIn: bytes.span, at: nameOffset) == nameLength else {
            return false
        }
        var records = 0
        for index in 0..<setCount {
            let base = headerSize + index * setSize
            let count = Int(buffer.loadUnaligned(fromByteOffset: base + 2, as: UInt16.self))
            let stride = Int(buffer.loadUnaligned(fromByteOffset: base + 6, as: UInt16.self))
            let offset = Int(buffer.loadUnaligned(fromByteOffset: base + 8, as: UInt32.self))
            let answers = Int(buffer.loadUnaligned(fromByteOffset: base + 12, as: UInt32.self))
            let extras = Int(buffer.loadUnaligned(fromByteOffset: base + 16, as: UInt32.self))
            guard offset >= nameOffset + nameLength, offset + answers + extras <= buffer.count,
                stride == 0 || stride * count == answers,
                hasWholeRecords(buffer, offset, answers, count)
            else { return false }
            records += count
        }
        return owners == 0 || owners == records
    }

    private static func hasWholeRecords(
        _ buffer: UnsafeRawBufferPointer, _ start: Int, _ length: Int, _ count: Int
    ) -> Bool {
        var offset = start
        for _ in 0..<count {
            guard offset + 12 <= start + length else { return false }
            offset += 12 + Int(buffer[offset + 10]) << 8 + Int(buffer[offset + 11])
        }
        return offset == start + length
    }
}

/// Reads what the writer wrote; nil at the end or where a length leaves the bytes.
private struct SnapshotReader {
    let bytes: UnsafeRawBufferPointer
    var offset: Int

    mutating func number() -> UInt64? {
        guard offset + 8 <= bytes.count else { return nil }
        defer { offset += 8 }
        return bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    mutating func data() -> UnsafeRawBufferPointer? {
        guard let length = number(), length <= UInt64(bytes.count - offset) else { return nil }
        defer { offset += Int(length) }
        return UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + Int(length))])
    }

    mutating func string() -> String? { data().map { String(decoding: $0, as: UTF8.self) } }

    mutating func align(to multiple: Int) {
        offset = (offset + multiple - 1) / multiple * multiple
    }

    mutating func namespaces() -> [String: Zone.NamespaceState]? {
        guard let count = number(), count <= UInt64(bytes.count) else { return nil }
        var result: [String: Zone.NamespaceState] = [:]
        for _ in 0..<count {
            guard let name = string(), let isDeclared = number(), let services = number() else {
                return nil
            }
            result[name] = Zone.NamespaceState(
                isDeclared: isDeclared != 0, serviceCount: Int(clamping: services))
        }
        return result
    }

    /// The Services; as many as can be read.
    mutating func services() -> [(UInt32, ServiceKey)] {
        var result: [(UInt32, ServiceKey)] = []
        for _ in 0..<(number() ?? 0) {
            guard let value = number(), let namespace = string(), let name = string() else {
                break
            }
            result.append(
                (UInt32(truncatingIfNeeded: value), ServiceKey(namespace: namespace, name: name)))
        }
        return result
    }
}

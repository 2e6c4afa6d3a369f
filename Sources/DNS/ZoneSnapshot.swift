import Synchronization

/// Why bytes are not a snapshot of this zone.
public enum SnapshotError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The bytes do not begin as a snapshot, or are of another version of the format.
    case unknownFormat
    /// The checksum does not fit: the file was cut or changed.
    case corrupt
    /// The snapshot was made for another cluster domain or TTL.
    case otherZone

    /// One line for the log.
    public var description: String {
        switch self {
        case .unknownFormat: "it is in a format this version does not read"
        case .corrupt: "its checksum does not fit"
        case .otherZone: "it is of another cluster domain or TTL"
        }
    }
}

/// The snapshot's format is the table's own layout, so that names are answered from the bytes as
/// they were read: nothing is hashed, copied or inserted at start.
///
/// Sections in order, each filled up with zeros to a multiple of 32 octets: head (magic, hash
/// seed, TTL, whether pods are in it, names of cluster domains and reverse zones, namespaces), the 64 shards (octets of the section u64, live names u64,
/// capacity u64, unused u64, slots u64 each, blocks at multiples of 8), the Services with their
/// numbers. The last 8 octets are the checksum. A slot holds its block's offset in the file where
/// in memory it holds the address. Numbers are in the order of the machine that wrote it.
///
/// The seed of the name hash is kept in the file, which only root may read.
extension Zone {
    static let snapshotMagic: [UInt8] = Array("PDNSZ003".utf8)

    /// Gives the zone as bytes to `sink`, section by section. Taken shard by shard, so that
    /// changes wait for no more than one shard and no more than one is in memory twice.
    public func writeSnapshot(_ sink: (UnsafeRawBufferPointer) throws -> Void) rethrows {
        var checksum = SnapshotChecksum()
        var offset = 0
        func put(_ writer: inout SnapshotWriter) throws {
            writer.pad(to: 32)
            try writer.bytes.withUnsafeBytes { bytes in
                checksum.add(bytes)
                try sink(bytes)
            }
            offset += writer.bytes.count
        }
        var head = snapshotHead()
        try put(&head)
        for shard in 0..<NameTable.shardCount {
            var section = state.withLock { _ in snapshotShard(shard, at: offset) }
            try put(&section)
        }
        var services = state.withLock { state in
            readServices(&state)
            return snapshotServices(state)
        }
        try put(&services)
        try withUnsafeBytes(of: checksum.value) { try sink($0) }
    }

    /// The zone as bytes in one piece; for tests and small zones.
    public func snapshot() -> [UInt8] {
        var bytes: [UInt8] = []
        writeSnapshot { bytes.append(contentsOf: $0) }
        return bytes
    }

    private func snapshotHead() -> SnapshotWriter {
        var head = SnapshotWriter(bytes: Self.snapshotMagic)
        head.append(configuration.hashSeed)
        head.append(UInt64(configuration.timeToLiveSeconds))
        head.append(UInt64(configuration.podRecords == .verified ? 1 : 0))
        head.append(configuration.zoneWires)
        let namespaces = state.withLock { $0.namespaces }
        head.append(UInt64(namespaces.count))
        for (name, entry) in namespaces {
            head.append(Array(name.utf8))
            head.append(UInt64(entry.isDeclared ? 1 : 0))
            head.append(UInt64(entry.serviceCount))
        }
        return head
    }

    private func snapshotShard(_ shard: Int, at offset: Int) -> SnapshotWriter {
        var blocks: [NameBlock] = []
        table.forEachBlock(inShard: shard) { block in
            let flags = block.flags
            if !flags.contains(.furniture) { blocks.append(block) }
        }
        // Room for the zone's furniture and for some changes before the shard must grow.
        var capacity = 16
        while blocks.count * 2 + 8 > capacity { capacity *= 2 }
        var slots = [UInt64](repeating: 0, count: capacity)
        var place = offset + 16 + NameTable.slotsOffset + capacity * 8
        let start = place
        for block in blocks {
            var index = Int(truncatingIfNeeded: block.hash >> 6) & (capacity - 1)
            while slots[index] != 0 { index = (index + 1) & (capacity - 1) }
            slots[index] = UInt64(NameTable.tag(block.hash)) | UInt64(place)
            place += (block.size + 7) & ~7
        }
        var section = SnapshotWriter()
        let size = place - start + 16 + NameTable.slotsOffset + capacity * 8
        section.bytes.reserveCapacity(size + 32)
        section.append(UInt64((size + 31) & ~31))
        section.append(UInt64(blocks.count))
        section.append(UInt64(capacity))
        section.append(UInt64(0))
        for slot in slots { section.append(slot) }
        for block in blocks {
            section.bytes.append(
                contentsOf: UnsafeRawBufferPointer(start: block.memory, count: block.size))
            section.pad(to: 8)
        }
        return section
    }

    private func snapshotServices(_ state: borrowing State) -> SnapshotWriter {
        var section = SnapshotWriter()
        section.append(UInt64(state.numbers.count))
        for (key, number) in state.numbers {
            section.append(UInt64(number))
            section.append(Array(key.namespace.utf8))
            section.append(Array(key.name.utf8))
        }
        return section
    }
}

extension ZoneConfiguration {
    /// The names of the cluster domains, an empty label, and those of the reverse zones. A name ends
    /// in the root's label, so each list of names has bytes of its own.
    var zoneWires: [UInt8] { names.flatMap(\.wire) + [0] + reverseZones.flatMap(\.wire) }
}

/// Appends numbers and length-prefixed bytes, in the machine's order.
private struct SnapshotWriter {
    var bytes: [UInt8] = []

    mutating func append(_ number: UInt64) {
        withUnsafeBytes(of: number) { bytes.append(contentsOf: $0) }
    }

    mutating func append(_ data: [UInt8]) {
        append(UInt64(data.count))
        bytes.append(contentsOf: data)
    }

    mutating func pad(to multiple: Int) {
        let rest = bytes.count % multiple
        if rest > 0 { bytes.append(contentsOf: repeatElement(0, count: multiple - rest)) }
    }
}

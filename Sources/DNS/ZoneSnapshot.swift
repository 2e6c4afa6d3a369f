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

/// The snapshot's format: magic, checksum, hash seed, TTL, zone name, namespaces, Services with
/// their numbers, then each block as it lies in memory. Numbers are little-endian; it is read only
/// on the kind of machine that wrote it.
extension Zone {
    private static let magic: [UInt8] = Array("PDNSZ001".utf8)

    /// The zone as bytes. Taken shard by shard, so that changes wait for no more than one shard.
    public func snapshot() -> [UInt8] {
        var body = SnapshotWriter()
        body.append(UInt64(configuration.timeToLiveSeconds))
        body.append(configuration.name.wire)
        state.withLock { state in
            let namespaces = state.namespaces.filter { $0.value.isDeclared }.map(\.key)
            body.append(UInt64(namespaces.count))
            for name in namespaces { body.append(Array(name.utf8)) }
            body.append(UInt64(state.numbers.count))
            for (key, number) in state.numbers {
                body.append(UInt64(number))
                body.append(Array(key.namespace.utf8))
                body.append(Array(key.name.utf8))
            }
        }
        for shard in 0..<NameTable.shardCountForWriters {
            state.withLock { _ in
                table.forEachBlock(inShard: shard) { block in
                    let flags = block.flags
                    guard !flags.contains(.furniture), !flags.contains(.pod) else { return }
                    body.append(UnsafeRawBufferPointer(start: block.memory, count: block.size))
                }
            }
        }
        var bytes = Self.magic
        withUnsafeBytes(of: Self.checksum(body.bytes[...]).littleEndian) {
            bytes.append(contentsOf: $0)
        }
        return bytes + body.bytes
    }

    /// Fills the zone from a snapshot. Blocks are checked before they are used.
    /// - Throws: `SnapshotError`; the zone is then as it was.
    public func restore(_ bytes: [UInt8]) throws(SnapshotError) {
        guard bytes.count > 16, bytes[..<8] == Self.magic[...] else { throw .unknownFormat }
        let sum = bytes[8..<16].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard sum == Self.checksum(bytes[16...]) else { throw .corrupt }
        let failure = bytes.withUnsafeBytes { restoreBody(SnapshotReader(bytes: $0, offset: 16)) }
        if let failure { throw failure }
    }

    private func restoreBody(_ start: SnapshotReader) -> SnapshotError? {
        var reader = start
        guard let ttl = reader.number(), let name = reader.data() else { return .corrupt }
        guard ttl == UInt64(configuration.timeToLiveSeconds),
            DNSName(wire: Array(name)) == configuration.name
        else { return .otherZone }
        guard let namespaces = reader.strings() else { return .corrupt }
        guard let services = reader.services() else { return .corrupt }
        state.withLock { state in
            for name in namespaces { updateNamespace(name, &state) { $0.isDeclared = true } }
            var numbers: [UInt32: UInt32] = [:]
            for (number, key) in services {
                numbers[number] = adoptNumber(key, &state)
            }
            while let block = reader.data() { restore(block, numbers, &state) }
            table.epochs.reclaim()
        }
        return nil
    }

    private func adoptNumber(_ key: ServiceKey, _ state: inout State) -> UInt32 {
        if let number = state.numbers[key] { return number }
        state.lastNumber += 1
        state.numbers[key] = state.lastNumber
        updateNamespace(key.namespace, &state) { $0.serviceCount += 1 }
        return state.lastNumber
    }

    /// Puts one block of a snapshot in the table, with its owner's new number and this process'
    /// hash. A block that does not hold together is left out.
    private func restore(
        _ bytes: UnsafeRawBufferPointer, _ numbers: [UInt32: UInt32], _ state: inout State
    ) {
        guard NameBlock.isSound(bytes) else { return }
        let block = NameBlock.copy(bytes)
        let owner = numbers[block.owner] ?? 0
        let isReverse = block.flags.contains(.reverse)
        guard isReverse || owner != 0 else {
            block.memory.deallocate()
            return
        }
        let hash = table.nameHash.hash(block.namePointer, block.nameLength)
        block.memory.storeBytes(of: hash, as: UInt64.self)
        block.memory.storeBytes(of: owner, toByteOffset: 12, as: UInt32.self)
        if isReverse {
            guard let address = DNSName(unchecked: block.name).reverseAddress,
                block.renumberContributors({ numbers[$0] })
            else {
                block.memory.deallocate()
                return
            }
            for index in 0..<block.ownerCount {
                let number = block.contributor(index) & ~NameBlock.chosenMark
                if state.owned[number]?.reverse.last != address {
                    state.owned[number, default: OwnedNames()].reverse.append(address)
                }
            }
        } else {
            state.owned[owner, default: OwnedNames()].blocks.append(
                UInt(bitPattern: block.memory))
        }
        table.insert(block)
    }

    /// Sixty-four bits over all bytes; finds cut files and flipped bits, not forgery.
    static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.withUnsafeBytes { buffer in
            var state = NameHash(seed: 0x706F_7274_6F6C_616E).start
            var offset = 0
            while offset + 8 <= buffer.count {
                state = NameHash.step(
                    state, buffer.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                offset += 8
            }
            var rest: UInt64 = 0
            for index in offset..<buffer.count { rest = rest << 8 | UInt64(buffer[index]) }
            return NameHash.finish(NameHash.step(state, rest), length: buffer.count)
        }
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
            let offset = Int(buffer.loadUnaligned(fromByteOffset: base + 8, as: UInt32.self))
            let answers = Int(buffer.loadUnaligned(fromByteOffset: base + 12, as: UInt32.self))
            let extras = Int(buffer.loadUnaligned(fromByteOffset: base + 16, as: UInt32.self))
            guard offset >= nameOffset + nameLength, offset + answers + extras <= buffer.count,
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

    /// Gives contributors the numbers they have in this process; false where one is unknown.
    func renumberContributors(_ number: (UInt32) -> UInt32?) -> Bool {
        let base = Self.headerSize + setCount * Self.setSize
        for index in 0..<ownerCount {
            let old = contributor(index)
            guard let fresh = number(old & ~Self.chosenMark) else { return false }
            memory.storeBytes(
                of: fresh | old & Self.chosenMark, toByteOffset: base + index * 4, as: UInt32.self)
        }
        return true
    }
}

/// Appends numbers and length-prefixed bytes.
private struct SnapshotWriter {
    var bytes: [UInt8] = []

    mutating func append(_ number: UInt64) {
        withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func append(_ data: [UInt8]) { data.withUnsafeBytes { append($0) } }

    mutating func append(_ data: UnsafeRawBufferPointer) {
        withUnsafeBytes(of: UInt32(data.count).littleEndian) { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: data)
    }
}

/// Reads what `SnapshotWriter` wrote; nil at the end or where a length leaves the bytes.
private struct SnapshotReader {
    let bytes: UnsafeRawBufferPointer
    var offset: Int

    mutating func number() -> UInt64? {
        guard offset + 8 <= bytes.count else { return nil }
        defer { offset += 8 }
        return UInt64(
            littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    mutating func data() -> UnsafeRawBufferPointer? {
        guard offset + 4 <= bytes.count else { return nil }
        let length = Int(
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
        guard offset + 4 + length <= bytes.count else { return nil }
        defer { offset += 4 + length }
        return UnsafeRawBufferPointer(rebasing: bytes[(offset + 4)..<(offset + 4 + length)])
    }

    mutating func string() -> String? { data().map { String(decoding: $0, as: UTF8.self) } }

    mutating func strings() -> [String]? {
        guard let count = number(), count <= UInt64(bytes.count) else { return nil }
        var result: [String] = []
        for _ in 0..<count {
            guard let text = string() else { return nil }
            result.append(text)
        }
        return result
    }

    mutating func services() -> [(UInt32, ServiceKey)]? {
        guard let count = number(), count <= UInt64(bytes.count) else { return nil }
        var result: [(UInt32, ServiceKey)] = []
        for _ in 0..<count {
            guard let value = number(), let namespace = string(), let name = string() else {
                return nil
            }
            result.append(
                (UInt32(truncatingIfNeeded: value), ServiceKey(namespace: namespace, name: name)))
        }
        return result
    }
}

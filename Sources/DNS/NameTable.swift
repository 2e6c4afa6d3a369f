import Synchronization

/// A hash table from names to blocks of records that any number of threads read without waiting,
/// while one writer replaces single slots.
///
/// It is cut into shards, each an open-addressed array of words. A word holds a block's address
/// in its low 48 bits and 16 bits of the hash above, so that a probe touches a foreign block only
/// once in 65,536 times. A shard that fills up is copied to one of twice the size and swapped.
///
/// Safe to share: shards and slots are atomics, what they point to is immutable after it is
/// published, and memory is freed through `epochs` when no reader can see it. Writers must hold
/// the owner's lock.
public final class NameTable: @unchecked Sendable {
    static let shardCount = 64
    static let addressMask: UInt = 0xFFFF_FFFF_FFFF
    private static let tombstone: UInt = 1

    /// When memory taken out of this table may be freed.
    public let epochs: ReadEpochs
    /// The hash of the names in this table.
    public let nameHash: NameHash
    /// The shards' addresses; readers keep a copy of this pointer, which lives as long as the table.
    let shards: UnsafeMutablePointer<Atomic<UInt>>
    private var counts: [Count]

    private struct Count {
        var live = 0
        var used = 0
    }

    /// Before a shard's slots: the capacity, a power of two, and eight octets for snapshots.
    static let slotsOffset = 16

    /// A shard that a snapshot brought, its slots already pointing to its blocks.
    struct RestoredShard {
        var memory: UnsafeMutableRawPointer
        var liveCount: Int
    }

    /// Makes a table; `restored` has one entry a shard, in memory that `snapshot` keeps.
    init(
        nameHash: NameHash, restored: [RestoredShard] = [], snapshot: SnapshotMemory? = nil
    ) {
        self.nameHash = nameHash
        epochs = ReadEpochs(restored: snapshot)
        shards = .allocate(capacity: Self.shardCount)
        counts = Array(repeating: Count(), count: Self.shardCount)
        for index in 0..<Self.shardCount {
            var shard: UnsafeMutableRawPointer
            if index < restored.count {
                shard = restored[index].memory
                counts[index] = Count(
                    live: restored[index].liveCount, used: restored[index].liveCount)
            } else {
                shard = Self.makeShard(capacity: 16)
            }
            (shards + index).initialize(to: Atomic(UInt(bitPattern: shard)))
        }
    }

    deinit {
        forEachBlock { epochs.free(UInt(bitPattern: $0.memory)) }
        for index in 0..<Self.shardCount { epochs.free(shards[index].load(ordering: .relaxed)) }
        shards.deinitialize(count: Self.shardCount)
        shards.deallocate()
    }

    /// The number of names.
    var count: Int { counts.reduce(0) { $0 + $1.live } }

    /// The block of the lower-case name of `length` octets at `name`, or nil. The caller is an
    /// online reader, or the writer; the block is valid until the reader is offline.
    @inline(__always)
    func find(_ hash: UInt64, _ name: UnsafePointer<UInt8>, _ length: Int) -> NameBlock? {
        Self.find(shards, hash, name, length)
    }

    /// The same without the table's object, so that the hot path counts no references.
    @inline(__always)
    static func find(
        _ shards: UnsafeMutablePointer<Atomic<UInt>>, _ hash: UInt64,
        _ name: UnsafePointer<UInt8>, _ length: Int
    ) -> NameBlock? {
        let shard = shards[Int(truncatingIfNeeded: hash & 63)].load(ordering: .acquiring)
        guard let base = UnsafeRawPointer(bitPattern: shard) else { return nil }
        let mask = base.load(as: UInt.self) &- 1
        let slots = Self.slots(base)
        let tag = Self.tag(hash)
        var index = UInt(truncatingIfNeeded: hash >> 6) & mask
        while true {
            let word = slots[Int(index)].load(ordering: .acquiring)
            if word == 0 { return nil }
            if word & ~Self.addressMask == tag, let block = Self.block(word),
                block.matches(hash, name, length)
            {
                return block
            }
            index = (index &+ 1) & mask
        }
    }

    /// Finds a lower-case name given as an array; for the writer and for tests.
    func find(_ name: [UInt8]) -> NameBlock? {
        let hash = nameHash.hash(name)
        return name.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.flatMap { find(hash, $0, buffer.count) }
        }
    }

    /// Puts `block` in its name's slot, in one atomic store, and retires the block it replaces.
    func insert(_ block: NameBlock) {
        let shardIndex = Int(truncatingIfNeeded: block.hash & 63)
        growIfNeeded(shardIndex)
        let word = UInt(bitPattern: block.memory) | Self.tag(block.hash)
        let (slots, mask) = shardSlots(shardIndex)
        var index = UInt(truncatingIfNeeded: block.hash >> 6) & mask
        var grave: UInt?
        while true {
            let current = slots[Int(index)].load(ordering: .relaxed)
            if current == 0 { break }
            if current == Self.tombstone {
                if grave == nil { grave = index }
            } else if let old = Self.block(current), old.hasSameName(as: block) {
                slots[Int(index)].store(word, ordering: .sequentiallyConsistent)
                epochs.retire(old.memory)
                return
            }
            index = (index &+ 1) & mask
        }
        counts[shardIndex].live += 1
        if grave == nil { counts[shardIndex].used += 1 }
        slots[Int(grave ?? index)].store(word, ordering: .sequentiallyConsistent)
    }

    /// Empties the slot of `block` and retires it; nothing happens where it is not in the table.
    func remove(_ block: NameBlock) {
        let shardIndex = Int(truncatingIfNeeded: block.hash & 63)
        let (slots, mask) = shardSlots(shardIndex)
        var index = UInt(truncatingIfNeeded: block.hash >> 6) & mask
        while true {
            let current = slots[Int(index)].load(ordering: .relaxed)
            if current == 0 { return }
            if let found = Self.block(current), found.memory == block.memory { break }
            index = (index &+ 1) & mask
        }
        slots[Int(index)].store(Self.tombstone, ordering: .sequentiallyConsistent)
        counts[shardIndex].live -= 1
        epochs.retire(block.memory)
    }

    /// Calls `body` with every block; for the writer only.
    func forEachBlock(_ body: (NameBlock) throws -> Void) rethrows {
        for shard in 0..<Self.shardCount { try forEachBlock(inShard: shard, body) }
    }

    /// Calls `body` with the blocks of one shard; for the writer only.
    func forEachBlock(inShard shard: Int, _ body: (NameBlock) throws -> Void) rethrows {
        let (slots, mask) = shardSlots(shard)
        for index in 0...Int(mask) {
            if let block = Self.block(slots[index].load(ordering: .relaxed)) { try body(block) }
        }
    }

    // MARK: - Shards

    private func growIfNeeded(_ shard: Int) {
        let (slots, mask) = shardSlots(shard)
        let capacity = Int(mask) + 1
        guard (counts[shard].used + 1) * 4 > capacity * 3 else { return }
        let wanted = (counts[shard].live + 1) * 2 > capacity ? capacity * 2 : capacity
        let fresh = Self.makeShard(capacity: wanted)
        let target = Self.slots(UnsafeRawPointer(fresh))
        let targetMask = UInt(wanted - 1)
        for index in 0..<capacity {
            let word = slots[index].load(ordering: .relaxed)
            guard let block = Self.block(word) else { continue }
            var place = UInt(truncatingIfNeeded: block.hash >> 6) & targetMask
            while target[Int(place)].load(ordering: .relaxed) != 0 {
                place = (place &+ 1) & targetMask
            }
            target[Int(place)].store(word, ordering: .relaxed)
        }
        counts[shard].used = counts[shard].live
        let old = shards[shard].exchange(
            UInt(bitPattern: fresh), ordering: .sequentiallyConsistent)
        if let memory = UnsafeMutableRawPointer(bitPattern: old) { epochs.retire(memory) }
    }

    private func shardSlots(_ shard: Int) -> (UnsafeMutablePointer<Atomic<UInt>>, UInt) {
        let address = shards[shard].load(ordering: .acquiring)
        // A shard's address is never null: it is set in init and only exchanged for a fresh one.
        let base = UnsafeRawPointer(bitPattern: address) ?? UnsafeRawPointer(shards)
        return (Self.slots(base), base.load(as: UInt.self) &- 1)
    }

    private static func makeShard(capacity: Int) -> UnsafeMutableRawPointer {
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: slotsOffset + capacity * 8, alignment: 16)
        memory.storeBytes(of: UInt(capacity), as: UInt.self)
        let slots = (memory + slotsOffset).bindMemory(to: Atomic<UInt>.self, capacity: capacity)
        for index in 0..<capacity { (slots + index).initialize(to: Atomic(0)) }
        return memory
    }

    @inline(__always)
    private static func slots(_ base: UnsafeRawPointer) -> UnsafeMutablePointer<Atomic<UInt>> {
        UnsafeMutableRawPointer(mutating: base + slotsOffset)
            .assumingMemoryBound(to: Atomic<UInt>.self)
    }

    @inline(__always)
    static func tag(_ hash: UInt64) -> UInt {
        UInt(truncatingIfNeeded: hash) & ~addressMask
    }

    @inline(__always)
    private static func block(_ word: UInt) -> NameBlock? {
        guard word > tombstone, let memory = UnsafeMutableRawPointer(bitPattern: word & addressMask)
        else { return nil }
        return NameBlock(memory: memory)
    }
}

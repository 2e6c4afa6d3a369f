import Glibc
import NetworkTypes

/// All records of one name, rendered as wire bytes in one immutable piece of memory.
///
/// Answers begin at octet 12 + name + 4 of a message, because the question that precedes them is
/// this block's name; so compression pointers are rendered once, and an answer is a copy.
///
/// Layout, in native byte order: hash u64, size u32, owner u32, name length u16, set count u8,
/// flags u8, owner count u32; then 20 octets a set (type, answers, additionals, stride: u16;
/// offset, answer octets, additional octets: u32); owners u32 each; name; rendered records.
struct NameBlock {
    /// The block's memory, allocated by `make` and freed through the table's epochs.
    let memory: UnsafeMutableRawPointer

    static let headerSize = 24
    static let setSize = 20

    @inline(__always) var hash: UInt64 { memory.load(as: UInt64.self) }
    @inline(__always) var size: Int { Int(memory.load(fromByteOffset: 8, as: UInt32.self)) }
    /// The number of the Service the name belongs to; 0 for the zone's own names.
    @inline(__always) var owner: UInt32 { memory.load(fromByteOffset: 12, as: UInt32.self) }
    @inline(__always) var nameLength: Int { Int(memory.load(fromByteOffset: 16, as: UInt16.self)) }
    @inline(__always) var setCount: Int { Int(memory.load(fromByteOffset: 18, as: UInt8.self)) }
    @inline(__always) var flags: BlockFlags {
        BlockFlags(rawValue: memory.load(fromByteOffset: 19, as: UInt8.self))
    }
    @inline(__always) var ownerCount: Int { Int(memory.load(fromByteOffset: 20, as: UInt32.self)) }

    @inline(__always) private var ownersOffset: Int { Self.headerSize + setCount * Self.setSize }
    @inline(__always) private var nameOffset: Int { ownersOffset + ownerCount * 4 }

    /// The lower-case wire name.
    @inline(__always) var namePointer: UnsafePointer<UInt8> {
        UnsafePointer((memory + nameOffset).assumingMemoryBound(to: UInt8.self))
    }

    /// The name as an array.
    var name: [UInt8] { Array(UnsafeBufferPointer(start: namePointer, count: nameLength)) }

    /// The owner of the contribution at `index`.
    func contributor(_ index: Int) -> UInt32 {
        memory.load(fromByteOffset: ownersOffset + index * 4, as: UInt32.self)
    }

    /// One record set of the block.
    struct Set {
        let type: UInt16
        let answerCount: Int
        let additionalCount: Int
        /// The length of each record where all are equal and order is free; otherwise 0.
        let stride: Int
        let offset: Int
        let answerLength: Int
        let additionalLength: Int
    }

    /// The set at `index`.
    @inline(__always)
    func set(_ index: Int) -> Set {
        let base = Self.headerSize + index * Self.setSize
        return Set(
            type: memory.load(fromByteOffset: base, as: UInt16.self),
            answerCount: Int(memory.load(fromByteOffset: base + 2, as: UInt16.self)),
            additionalCount: Int(memory.load(fromByteOffset: base + 4, as: UInt16.self)),
            stride: Int(memory.load(fromByteOffset: base + 6, as: UInt16.self)),
            offset: Int(memory.load(fromByteOffset: base + 8, as: UInt32.self)),
            answerLength: Int(memory.load(fromByteOffset: base + 12, as: UInt32.self)),
            additionalLength: Int(memory.load(fromByteOffset: base + 16, as: UInt32.self)))
    }

    /// The set of `type`, or nil.
    @inline(__always)
    func set(type: UInt16) -> Set? {
        var index = 0
        while index < setCount {
            let base = Self.headerSize + index * Self.setSize
            if memory.load(fromByteOffset: base, as: UInt16.self) == type { return set(index) }
            index += 1
        }
        return nil
    }

    /// Whether this is the block of the lower-case name at `other`.
    @inline(__always)
    func matches(_ hash: UInt64, _ other: UnsafePointer<UInt8>, _ length: Int) -> Bool {
        self.hash == hash && nameLength == length && memcmp(namePointer, other, length) == 0
    }

    /// Whether both blocks are of one name.
    func hasSameName(as other: NameBlock) -> Bool {
        matches(other.hash, other.namePointer, other.nameLength)
    }

    /// Whether both blocks are equal to the byte.
    func isIdentical(to other: NameBlock) -> Bool {
        size == other.size && memcmp(memory, other.memory, size) == 0
    }
}

/// What sets a block apart from plain records.
struct BlockFlags: OptionSet {
    let rawValue: UInt8
    /// The name is an alias: its only set is a CNAME.
    static let alias = BlockFlags(rawValue: 1)
    /// A reverse name, whose records come from several owners.
    static let reverse = BlockFlags(rawValue: 2)
    /// A namespace, or the zone's own furniture.
    static let furniture = BlockFlags(rawValue: 4)
    /// A pod's own name.
    static let pod = BlockFlags(rawValue: 8)
}

extension NameBlock {
    /// Whether rendering `records` for `owner` would give this block again. Says no where that
    /// would take rendering to find out; sets with additional records are such.
    func isCurrent(_ records: NameRecords, owner: UInt32) -> Bool {
        guard self.owner == owner, flags == records.flags, setCount == records.sets.count,
            ownerCount == records.contributors.count
        else { return false }
        for (index, contributor) in records.contributors.enumerated()
        where self.contributor(index) != contributor { return false }
        for (index, wanted) in records.sets.enumerated() {
            let found = set(index)
            guard found.type == wanted.type.rawValue, found.answerCount == wanted.data.count,
                found.additionalCount == 0, wanted.additionals.isEmpty,
                holds(wanted, at: found.offset)
            else { return false }
        }
        return true
    }

    private func holds(_ wanted: RecordSet, at start: Int) -> Bool {
        var offset = start
        for data in wanted.data {
            let record = memory + offset
            let ttl = record.loadUnaligned(fromByteOffset: 6, as: UInt32.self)
            let length = record.loadUnaligned(fromByteOffset: 10, as: UInt16.self)
            guard UInt32(bigEndian: ttl) == wanted.timeToLiveSeconds,
                Int(UInt16(bigEndian: length)) == data.count,
                data.withUnsafeBytes({ bytes in
                    bytes.baseAddress.map { memcmp($0, record + 12, data.count) == 0 } ?? true
                })
            else { return false }
            offset += 12 + data.count
        }
        return true
    }
}

// MARK: - Rendering

/// Records of one type at one name, before rendering.
struct RecordSet: Equatable {
    var type: RecordType
    var timeToLiveSeconds: UInt32
    /// The data of each record, names in it uncompressed.
    var data: [[UInt8]]
    /// Addresses of names that the data mentions.
    var additionals: [AdditionalAddress] = []
    /// Where the name that additionals refer to begins in each record's data: 6 in SRV.
    var targetOffset = 0
}

/// An address record for the additional section.
struct AdditionalAddress: Equatable {
    /// The place of the record that mentions the owner.
    var record: Int
    var address: IPAddress
}

/// A name with its records, before rendering.
struct NameRecords {
    var name: DNSName
    var flags: BlockFlags = []
    var sets: [RecordSet] = []
    /// One for each record in order, on reverse names only.
    var contributors: [UInt32] = []
}

extension NameBlock {
    /// Renders `records`; the caller owns the memory until the block is in a table.
    static func make(_ records: NameRecords, owner: UInt32, nameHash: NameHash) -> NameBlock {
        let name = records.name.lowercased.wire
        let ownersOffset = headerSize + records.sets.count * setSize
        let nameOffset = ownersOffset + records.contributors.count * 4
        let prefix = nameOffset + name.count
        var payload: [UInt8] = []
        let dataSize = records.sets.reduce(0) { sum, set in
            sum + set.data.reduce(0) { $0 + 12 + $1.count } + set.additionals.count * 28
        }
        payload.reserveCapacity(dataSize)
        var ends: [(start: Int, answerLength: Int, additionalCount: Int)] = []
        for set in records.sets {
            let start = payload.count
            let rendered = render(set, nameLength: name.count, into: &payload)
            ends.append((start, rendered.answerLength, rendered.additionalCount))
        }
        let size = prefix + payload.count
        let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 8)
        memory.storeBytes(of: nameHash.hash(name), as: UInt64.self)
        memory.storeBytes(of: UInt32(size), toByteOffset: 8, as: UInt32.self)
        memory.storeBytes(of: owner, toByteOffset: 12, as: UInt32.self)
        memory.storeBytes(of: UInt16(name.count), toByteOffset: 16, as: UInt16.self)
        let setCount = UInt8(truncatingIfNeeded: records.sets.count)
        memory.storeBytes(of: setCount, toByteOffset: 18, as: UInt8.self)
        memory.storeBytes(of: records.flags.rawValue, toByteOffset: 19, as: UInt8.self)
        let owners = UInt32(records.contributors.count)
        memory.storeBytes(of: owners, toByteOffset: 20, as: UInt32.self)
        for (index, set) in records.sets.enumerated() {
            let next = index + 1 < ends.count ? ends[index + 1].start : payload.count
            let additionalLength = next - ends[index].start - ends[index].answerLength
            let base = memory + headerSize + index * setSize
            let isAddress = set.type == .a || set.type == .aaaa
            let stride = UInt16(isAddress ? 12 + (set.data.first?.count ?? 0) : 0)
            let additionals = UInt16(truncatingIfNeeded: ends[index].additionalCount)
            base.storeBytes(of: set.type.rawValue, as: UInt16.self)
            base.storeBytes(
                of: UInt16(truncatingIfNeeded: set.data.count), toByteOffset: 2, as: UInt16.self)
            base.storeBytes(of: additionals, toByteOffset: 4, as: UInt16.self)
            base.storeBytes(of: stride, toByteOffset: 6, as: UInt16.self)
            base.storeBytes(
                of: UInt32(prefix + ends[index].start), toByteOffset: 8, as: UInt32.self)
            base.storeBytes(
                of: UInt32(ends[index].answerLength), toByteOffset: 12, as: UInt32.self)
            base.storeBytes(of: UInt32(additionalLength), toByteOffset: 16, as: UInt32.self)
        }
        for (index, contributor) in records.contributors.enumerated() {
            memory.storeBytes(
                of: contributor, toByteOffset: ownersOffset + index * 4, as: UInt32.self)
        }
        (memory + nameOffset).copyMemory(from: name, byteCount: name.count)
        (memory + prefix).copyMemory(from: payload, byteCount: payload.count)
        return NameBlock(memory: memory)
    }

    private static func render(
        _ set: RecordSet, nameLength: Int, into payload: inout [UInt8]
    ) -> (answerLength: Int, additionalCount: Int) {
        let start = payload.count
        let messageStart = WireSize.header + nameLength + 4
        // Where each record's target stands in the message, for additionals to point to.
        var targets: [Int] = []
        for data in set.data {
            payload += [0xC0, UInt8(WireSize.header)]
            payload.append16(set.type.rawValue)
            payload.append16(internetClass)
            payload.append32(set.timeToLiveSeconds)
            payload.append16(UInt16(truncatingIfNeeded: data.count))
            if !set.additionals.isEmpty {
                targets.append(messageStart + payload.count - start + set.targetOffset)
            }
            payload += data
        }
        let answerLength = payload.count - start
        for extra in set.additionals {
            if targets[extra.record] < 0x4000 {
                payload.append16(0xC000 | UInt16(targets[extra.record]))
            } else {
                payload += set.data[extra.record][set.targetOffset...]
            }
            let bytes = extra.address.networkBytes
            payload.append16(bytes.count == 4 ? RecordType.a.rawValue : RecordType.aaaa.rawValue)
            payload.append16(internetClass)
            payload.append32(set.timeToLiveSeconds)
            payload.append16(UInt16(bytes.count))
            payload += bytes
        }
        return (answerLength, set.additionals.count)
    }
}

import DNS
import Glibc

/// What tells one cached answer from another besides its name.
struct AnswerKey: Hashable {
    var type: UInt16
    /// Bit 0: DO; bit 1: CD.
    var flags: UInt16

    init(type: UInt16, dnssecOK: Bool, checkingDisabled: Bool) {
        self.type = type
        flags = (dnssecOK ? 1 : 0) | (checkingDisabled ? 2 : 0)
    }
}

/// An answer from upstream, ready to be copied behind any question of its name: one piece of memory.
///
/// Layout, native byte order: hash u64; stored, lifetime, hits: u32; type, name length: u16;
/// record octets u32; header flags, three section counts, TTL count, key flags: u16; size u32;
/// then the lower-case name, the records, and the TTLs' offsets in them, u32 each.
struct CachedAnswer {
    let memory: UnsafeMutableRawPointer

    static let headerSize = 48

    @inline(__always) var hash: UInt64 { memory.load(as: UInt64.self) }
    @inline(__always) var storedSeconds: UInt32 { load(8) }
    @inline(__always) var lifetimeSeconds: UInt32 { load(12) }
    @inline(__always) var hits: UInt32 {
        get { load(16) }
        nonmutating set { memory.storeBytes(of: newValue, toByteOffset: 16, as: UInt32.self) }
    }
    @inline(__always) var type: UInt16 { load(20) }
    @inline(__always) var nameLength: Int { Int(load(22) as UInt16) }
    @inline(__always) var recordLength: Int { Int(load(24) as UInt32) }
    @inline(__always) var headerFlags: UInt16 { load(28) }
    @inline(__always) var answerCount: Int { Int(load(30) as UInt16) }
    @inline(__always) var authorityCount: Int { Int(load(32) as UInt16) }
    @inline(__always) var additionalCount: Int { Int(load(34) as UInt16) }
    @inline(__always) var timeToLiveCount: Int { Int(load(36) as UInt16) }
    @inline(__always) var keyFlags: UInt16 { load(38) }
    @inline(__always) var size: Int { Int(load(40) as UInt32) }
    @inline(__always) var expiresSeconds: UInt32 { storedSeconds &+ lifetimeSeconds }
    var code: ResponseCode {
        ResponseCode(rawValue: headerFlags & HeaderFlags.responseCodeMask)
    }

    @inline(__always)
    private func load<Value: FixedWidthInteger>(_ offset: Int) -> Value {
        memory.load(fromByteOffset: offset, as: Value.self)
    }

    @inline(__always) var name: UnsafePointer<UInt8> {
        UnsafePointer((memory + Self.headerSize).assumingMemoryBound(to: UInt8.self))
    }
    @inline(__always) private var records: UnsafeRawPointer {
        UnsafeRawPointer(memory) + Self.headerSize + nameLength
    }

    @inline(__always)
    func matches(_ query: ParsedQuery, _ lowercased: UnsafePointer<UInt8>, _ key: AnswerKey)
        -> Bool
    {
        hash == query.hash && type == key.type && keyFlags == key.flags
            && nameLength == query.nameLength && memcmp(name, lowercased, nameLength) == 0
    }

    /// Writes the answer to `query`, its TTLs less the time it has been kept; a stale answer's are
    /// 30 s (RFC 8767, 4).
    func write(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>, nowSeconds: UInt32,
        into writer: inout ResponseWriter
    ) {
        let flags = headerFlags & ~HeaderFlags.responseCodeMask
        writer.begin(query, message, code: code, setting: flags | HeaderFlags.recursionAvailable)
        guard
            let start = writer.append(
                sections: records, count: recordLength, answerCount: answerCount,
                authorityCount: authorityCount, additionalCount: additionalCount)
        else { return }
        let age = nowSeconds &- storedSeconds
        let offsets = records + recordLength
        for index in 0..<timeToLiveCount {
            let offset = Int(offsets.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self))
            let place = UnsafeMutableRawPointer(start) + offset
            let original = UInt32(bigEndian: place.loadUnaligned(as: UInt32.self))
            let left = age >= lifetimeSeconds ? min(30, original) : original - min(age, original)
            place.storeBytes(of: left.bigEndian, as: UInt32.self)
        }
    }

    /// Renders `message` (without OPT) for keeping. TTLs are cut to `lifetimeSeconds`. nil where it
    /// does not fit a message.
    static func make(
        _ message: DNSMessage, hash: UInt64, key: AnswerKey, lifetimeSeconds: UInt32,
        nowSeconds: UInt32
    ) -> CachedAnswer? {
        guard let question = message.questions.first else { return nil }
        var plain = message
        plain.questions = [question]
        plain.additionals.removeAll { $0.type == .opt }
        for path in [\DNSMessage.answers, \.authorities, \.additionals] {
            for index in plain[keyPath: path].indices {
                let limit = min(plain[keyPath: path][index].timeToLiveSeconds, lifetimeSeconds)
                plain[keyPath: path][index].timeToLiveSeconds = limit
            }
        }
        var encoder = MessageEncoder()
        encoder.encode(plain)
        guard encoder.bytes.count <= WireSize.largestMessage else { return nil }
        let name = question.name.lowercased.wire
        let recordStart = WireSize.header + name.count + 4
        var bytes: [UInt8] = []
        append(&bytes, hash)
        append(&bytes, nowSeconds)
        append(&bytes, lifetimeSeconds)
        append(&bytes, UInt32(0))
        append(&bytes, question.type.rawValue)
        append(&bytes, UInt16(name.count))
        append(&bytes, UInt32(encoder.bytes.count - recordStart))
        let kept = HeaderFlags.responseCodeMask | HeaderFlags.authenticData
        append(&bytes, message.flags & kept)
        append(&bytes, UInt16(truncatingIfNeeded: plain.answers.count))
        append(&bytes, UInt16(truncatingIfNeeded: plain.authorities.count))
        append(&bytes, UInt16(truncatingIfNeeded: plain.additionals.count))
        append(&bytes, UInt16(truncatingIfNeeded: encoder.timeToLiveOffsets.count))
        append(&bytes, key.flags)
        append(&bytes, UInt32(0))
        append(&bytes, UInt32(0))
        bytes += name
        bytes += encoder.bytes[recordStart...]
        for offset in encoder.timeToLiveOffsets { append(&bytes, UInt32(offset - recordStart)) }
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes.count, alignment: 8)
        memory.copyMemory(from: bytes, byteCount: bytes.count)
        memory.storeBytes(of: UInt32(bytes.count), toByteOffset: 40, as: UInt32.self)
        return CachedAnswer(memory: memory)
    }

    private static func append<Value: FixedWidthInteger>(_ bytes: inout [UInt8], _ value: Value) {
        withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    }
}

/// A bounded cache of one thread: eight places a bucket; a full bucket gives up the entry that
/// expires first. Finding an answer neither allocates nor counts references.
final class AnswerCache {
    private static let ways = 8
    private let bucketMask: Int
    private let slots: UnsafeMutablePointer<UInt>
    private let byteLimit: Int
    private(set) var bytes = 0
    private(set) var successCount = 0
    private(set) var denialCount = 0
    private(set) var evictions: UInt64 = 0

    /// A cache of about `entries` answers (rounded up to a power of two) and at most `byteLimit`
    /// octets.
    init(entries: Int = 9984, byteLimit: Int = 32 << 20) {
        var buckets = 1
        while buckets * Self.ways < entries { buckets *= 2 }
        bucketMask = buckets - 1
        self.byteLimit = byteLimit
        slots = .allocate(capacity: buckets * Self.ways)
        slots.initialize(repeating: 0, count: buckets * Self.ways)
    }

    deinit {
        removeAll()
        slots.deallocate()
    }

    /// The answer, fresh or not; nil where there is none.
    @inline(__always)
    func find(
        _ query: ParsedQuery, _ lowercased: UnsafePointer<UInt8>, _ key: AnswerKey
    ) -> CachedAnswer? {
        let bucket = slots + bucketIndex(query.hash)
        for way in 0..<Self.ways {
            guard let memory = UnsafeMutableRawPointer(bitPattern: bucket[way]) else { continue }
            let answer = CachedAnswer(memory: memory)
            if answer.matches(query, lowercased, key) { return answer }
        }
        return nil
    }

    /// Keeps `answer` in place of an older one, an expired one, or the one that expires first.
    func insert(_ answer: CachedAnswer, nowSeconds: UInt32) {
        guard answer.size <= byteLimit / 8 else {
            answer.memory.deallocate()
            return
        }
        let start = bucketIndex(answer.hash)
        var place = start
        var soonest = Int64.max
        for way in start..<(start + Self.ways) {
            guard let memory = UnsafeMutableRawPointer(bitPattern: slots[way]) else {
                if soonest > Int64.min {
                    soonest = Int64.min
                    place = way
                }
                continue
            }
            let other = CachedAnswer(memory: memory)
            if other.hash == answer.hash, other.type == answer.type,
                other.keyFlags == answer.keyFlags, other.nameLength == answer.nameLength,
                memcmp(other.name, answer.name, answer.nameLength) == 0
            {
                place = way
                break
            }
            let left = Int64(other.expiresSeconds) - Int64(nowSeconds)
            if left < soonest {
                soonest = left
                place = way
            }
        }
        if slots[place] != 0, soonest > 0 { evictions += 1 }
        free(place)
        slots[place] = UInt(bitPattern: answer.memory)
        bytes += answer.size
        count(answer, by: 1)
        shrink(keeping: place)
    }

    /// Forgets everything.
    func removeAll() {
        for index in 0..<((bucketMask + 1) * Self.ways) { free(index) }
    }

    private func shrink(keeping kept: Int) {
        var index = kept
        let total = (bucketMask + 1) * Self.ways
        while bytes > byteLimit {
            index = (index + 1) % total
            if index == kept { break }
            if slots[index] != 0 {
                evictions += 1
                free(index)
            }
        }
    }

    private func free(_ index: Int) {
        guard let memory = UnsafeMutableRawPointer(bitPattern: slots[index]) else { return }
        let answer = CachedAnswer(memory: memory)
        bytes -= answer.size
        count(answer, by: -1)
        memory.deallocate()
        slots[index] = 0
    }

    private func count(_ answer: CachedAnswer, by difference: Int) {
        if answer.code == .noError, answer.answerCount > 0 {
            successCount += difference
        } else {
            denialCount += difference
        }
    }

    @inline(__always)
    private func bucketIndex(_ hash: UInt64) -> Int {
        (Int(truncatingIfNeeded: hash >> 6) & bucketMask) * Self.ways
    }
}

/// How long an answer is kept (RFC 2308 for denials), or nil where it is not.
func cacheLifetimeSeconds(_ message: DNSMessage, _ policy: CachePolicy) -> UInt32? {
    switch message.responseCode {
    case .serverFailure:
        return policy.failureSeconds > 0 ? policy.failureSeconds : nil
    case .noError where !message.answers.isEmpty:
        let least = (message.answers + message.authorities).map(\.timeToLiveSeconds).min() ?? 0
        return clamp(least, policy.minimumSeconds, policy.maximumSeconds)
    case .noError, .nameError:
        guard let authority = message.authorities.first(where: { $0.type == .soa }) else {
            // A denial without SOA may not be cached (RFC 2308, 5), but a short while spares the
            // upstream a storm; CoreDNS does the same.
            return policy.maximumDenialSeconds > 0 ? policy.minimumSeconds : nil
        }
        let minimum = authority.data.suffix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return clamp(
            min(minimum, authority.timeToLiveSeconds), policy.minimumSeconds,
            policy.maximumDenialSeconds)
    default:
        return nil
    }
}

private func clamp(_ value: UInt32, _ low: UInt32, _ high: UInt32) -> UInt32? {
    high == 0 ? nil : min(max(value, low), high)
}

import DNS
public import NetworkTypes

/// Token buckets by client network, in a table of fixed size: response rate limiting.
///
/// Two networks that share a place share its tokens; the table is large enough that a flood finds
/// few others there.
struct ResponseLimiter {
    /// What to do with an answer.
    enum Decision {
        case send
        case sendTruncated
        case drop
    }

    private struct Bucket {
        var tokens: Int32
        var second: UInt32
        var refused: UInt32
    }

    private let limit: RateLimit
    private var buckets: [Bucket]

    init(_ limit: RateLimit) {
        self.limit = limit
        buckets = Array(
            repeating: Bucket(
                tokens: Int32(clamping: limit.responsesPerSecond), second: 0, refused: 0),
            count: 16384)
    }

    /// Whether `address` is outside the networks that are never limited.
    func limits(_ address: IPAddress) -> Bool {
        if limit.exemptsPrivateAddresses, Self.isPrivate(address) { return false }
        return !limit.exempt.contains { $0.contains(address) }
    }

    /// Whether the address is private, shared, loopback or link-local.
    @inline(__always)
    static func isPrivate(_ address: IPAddress) -> Bool {
        switch address {
        case .v4(let value):
            value >> 24 == 10 || value >> 24 == 127 || value >> 20 == 0xAC1
                || value >> 16 == 0xC0A8 || value >> 22 == 0x191 || value >> 16 == 0xA9FE
        case .v6(let value):
            value >> 121 == 0x7E || value >> 118 == 0x3FA || value == 1
        }
    }

    /// Decides about one answer to `address`.
    mutating func decide(_ address: IPAddress, nowSeconds: UInt32) -> Decision {
        let network: UInt64 =
            switch address {
            case .v4(let value): UInt64(value >> 8)
            case .v6(let value): UInt64(truncatingIfNeeded: value >> 72) | 1 << 63
            }
        let mixed = network &* 0x9E37_79B9_7F4A_7C15
        let index = Int(mixed >> 50) & (buckets.count - 1)
        if buckets[index].second != nowSeconds {
            buckets[index].second = nowSeconds
            buckets[index].tokens = Int32(clamping: limit.responsesPerSecond)
        }
        if buckets[index].tokens > 0 {
            buckets[index].tokens -= 1
            return .send
        }
        buckets[index].refused &+= 1
        guard limit.slip > 0, buckets[index].refused % UInt32(limit.slip) == 0 else { return .drop }
        return .sendTruncated
    }
}

extension Worker {
    /// Whether the answer at `index` of the batch may go out. One that slips through the limit is
    /// cut to a truncated header and question.
    @inline(__always)
    func admits(_ index: Int, _ output: UnsafeMutablePointer<UInt8>, _ length: Int) -> Bool {
        if talkers != nil { countTalker(index) }
        return limiter == nil ? true : admitsLimited(index, output)
    }

    private func admitsLimited(_ index: Int, _ output: UnsafeMutablePointer<UInt8>) -> Bool {
        guard let address = SocketAddress(batch.name(index))?.address,
            limiter?.limits(address) == true
        else { return true }
        let message = batch.message(index)
        var query = ParsedQuery()
        if let bytes = message.baseAddress,
            parser.parse(message, lowercased: lowercased, into: &query) == .query,
            hasValidCookie(query, bytes, .datagram(index, listener: 0))
        {
            return true
        }
        let seconds = UInt32(truncatingIfNeeded: nowNanoseconds / 1_000_000_000)
        switch limiter?.decide(address, nowSeconds: seconds) ?? .send {
        case .send: return true
        case .drop:
            metrics.add(.rateLimited, 1)
            return false
        case .sendTruncated:
            metrics.add(.rateLimited, 1)
            output[2] |= UInt8(HeaderFlags.truncated >> 8)
            for offset in 6..<12 { output[offset] = 0 }
            truncatedLength = WireSize.header + query.nameLength + 4
            return true
        }
    }

    /// The length to send of an answer that `admits` let through.
    @inline(__always)
    func limitedLength(_ index: Int, _ length: Int) -> Int {
        guard truncatedLength > 0 else { return length }
        defer { truncatedLength = 0 }
        return min(length, truncatedLength)
    }

    private func countTalker(_ index: Int) {
        guard let address = SocketAddress(batch.name(index))?.address else { return }
        countTalker(address)
    }

    /// Counts a query, until the time for which counting was asked is over.
    func countTalker(_ address: IPAddress) {
        if nowNanoseconds >= talkersEndNanoseconds { talkers = nil }
        talkers?.count(address)
    }
}

/// The clients that ask most, by the space-saving algorithm (Metwally and others, 2005): a fixed
/// number of counters, each off by at most its `error`.
public struct TopTalkers: Sendable {
    /// One client's count.
    public struct Entry: Sendable, Equatable {
        /// The client.
        public var address: IPAddress
        /// Queries counted, at most `error` too many.
        public var count: UInt64
        /// By how much the count may be too high.
        public var error: UInt64
    }

    private var entries: [IPAddress: Entry] = [:]
    private let capacity: Int

    /// Counts with `capacity` counters.
    public init(capacity: Int = 64) { self.capacity = capacity }

    /// Counts one query.
    public mutating func count(_ address: IPAddress) {
        if entries[address] != nil {
            entries[address]?.count += 1
        } else if entries.count < capacity {
            entries[address] = Entry(address: address, count: 1, error: 0)
        } else if let least = entries.values.min(by: { $0.count < $1.count }) {
            entries[least.address] = nil
            entries[address] = Entry(address: address, count: least.count + 1, error: least.count)
        }
    }

    /// The clients, the busiest first.
    public var ranking: [Entry] {
        entries.values.sorted { ($1.count, $0.address) < ($0.count, $1.address) }
    }
}

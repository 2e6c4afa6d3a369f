import DNS
import Synchronization

/// Which part answered; the names are those of CoreDNS' plugins.
enum AnswerSource: Int, CaseIterable {
    case none
    case kubernetes
    case cache
    case forward
    case hosts
    case autopath

    /// The `plugin` label.
    var label: String { self == .none ? "" : "\(self)" }
}

/// Counters of one thread. The thread adds, anybody reads.
///
/// Safe to share: `cells` is allocated once and holds only atomics.
final class WorkerMetrics: @unchecked Sendable {
    /// Plain counters.
    enum Counter: Int, CaseIterable {
        case dropped
        case sendFailures
        case rateLimited
        case cacheHits
        case cacheDenialHits
        case cacheMisses
        case cacheStale
        case cachePrefetches
        case cacheEvictions
        case cacheSuccessEntries
        case cacheDenialEntries
        case connectionsClosedAtBound
        case connections
        case pipelineStalls
        case forwardRejects
        case forwardMismatches
        case forwardAllDown
        case loops
        case searchPathsCompleted
    }

    /// Types that are counted by name; the rest is `other`.
    static let types: [RecordType] = [
        .a, .aaaa, .ptr, .srv, .txt, .ns, .soa, .mx, .cname, .https, .any,
    ]
    static let codes: [ResponseCode] = [
        .noError, .formatError, .serverFailure, .nameError, .notImplemented, .refused, .badVersion,
        .badCookie,
    ]
    /// Upper bounds of the duration histogram: 250 µs doubling, as CoreDNS has them.
    static let durationBounds: [UInt64] = (0..<16).map { 250_000 << UInt64($0) }
    /// Upper bounds of the size histograms, in octets.
    static let sizeBounds = [
        0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000,
    ]

    private static let requestBase = Counter.allCases.count
    private static let requestCount = 2 * (types.count + 1)
    private static let responseBase = requestBase + requestCount
    private static let responseCount = (codes.count + 1) * AnswerSource.allCases.count
    private static let durationBase = responseBase + responseCount
    private static let requestSizeBase = durationBase + durationBounds.count + 3
    private static let responseSizeBase = requestSizeBase + sizeBounds.count + 2
    private static let cellCount = responseSizeBase + sizeBounds.count + 2

    private let cells: UnsafeMutablePointer<Atomic<UInt64>>
    private let typeIndex: UnsafeMutablePointer<UInt8>

    init() {
        cells = .allocate(capacity: Self.cellCount)
        for index in 0..<Self.cellCount { (cells + index).initialize(to: Atomic(0)) }
        typeIndex = .allocate(capacity: 256)
        typeIndex.initialize(repeating: UInt8(Self.types.count), count: 256)
        for (index, type) in Self.types.enumerated() where type.rawValue < 256 {
            typeIndex[Int(type.rawValue)] = UInt8(index)
        }
    }

    deinit {
        cells.deinitialize(count: Self.cellCount)
        cells.deallocate()
        typeIndex.deallocate()
    }

    @inline(__always)
    private func add(at index: Int, _ value: UInt64) {
        // Only one thread writes, so a load and a store do.
        let old = cells[index].load(ordering: .relaxed)
        cells[index].store(old &+ value, ordering: .relaxed)
    }

    @inline(__always)
    func add(_ counter: Counter, _ value: UInt64) { add(at: counter.rawValue, value) }

    func set(_ counter: Counter, _ value: UInt64) {
        cells[counter.rawValue].store(value, ordering: .relaxed)
    }

    @inline(__always)
    func count(_ type: UInt16, isStream: Bool, requestLength: Int) {
        let index = type < 256 ? Int(typeIndex[Int(type)]) : Self.indexOther
        add(at: requestBase(isStream) + index, 1)
        add(at: requestLength <= 100 ? sizeBucket1 : sizeBucket(requestLength), 1)
        add(at: Self.requestSizeBase + Self.sizeBoundCount + 1, UInt64(requestLength))
    }

    @inline(__always)
    func count(_ code: ResponseCode, _ source: AnswerSource, length: Int) {
        let value = Int(code.rawValue)
        let index = value <= 5 ? value : value == 16 ? 6 : value == 23 ? 7 : 8
        add(at: Self.responseBase + index * 6 + source.rawValue, 1)
        add(at: Self.responseSizeBase + boundIndex(length), 1)
        add(at: Self.responseSizeBase + Self.sizeBoundCount + 1, UInt64(length))
    }

    /// Counts `count` queries that took `nanoseconds` from the batch's arrival to its answers.
    @inline(__always)
    func observeDurations(_ nanoseconds: UInt64, count: UInt64) {
        var index = 0
        var bound: UInt64 = 250_000
        while index < 16, nanoseconds > bound {
            bound <<= 1
            index += 1
        }
        add(at: Self.durationBase + index, count)
        add(at: Self.durationBase + 17, nanoseconds &* count)
    }

    private static let indexOther = 11
    private static let sizeBoundCount = 14
    private var sizeBucket1: Int { Self.requestSizeBase + 1 }

    @inline(__always)
    private func requestBase(_ isStream: Bool) -> Int {
        Self.requestBase + (isStream ? Self.indexOther + 1 : 0)
    }

    private func sizeBucket(_ length: Int) -> Int { Self.requestSizeBase + boundIndex(length) }

    @inline(__always)
    private func boundIndex(_ length: Int) -> Int {
        if length <= 400 { return (length + 99) / 100 }
        switch length {
        case ...511: return 5
        case ...1023: return 6
        case ...2047: return 7
        case ...4095: return 8
        case ...8291: return 9
        case ...16000: return 10
        case ...32000: return 11
        case ...48000: return 12
        case ...64000: return 13
        default: return 14
        }
    }

    // MARK: - Reading

    func value(_ counter: Counter) -> UInt64 { cell(counter.rawValue) }

    func requests(typeIndex: Int, isStream: Bool) -> UInt64 {
        cell(requestBase(isStream) + typeIndex)
    }

    func responses(codeIndex: Int, _ source: AnswerSource) -> UInt64 {
        cell(Self.responseBase + codeIndex * 6 + source.rawValue)
    }

    /// The counts of the duration buckets, the last one without bound, and the sum in nanoseconds.
    var durations: (counts: [UInt64], sum: UInt64) {
        ((0..<17).map { cell(Self.durationBase + $0) }, cell(Self.durationBase + 17))
    }

    /// The counts of a size histogram's buckets and the sum in octets.
    func sizes(ofResponses: Bool) -> (counts: [UInt64], sum: UInt64) {
        let base = ofResponses ? Self.responseSizeBase : Self.requestSizeBase
        return (
            (0...Self.sizeBoundCount).map { cell(base + $0) }, cell(base + Self.sizeBoundCount + 1)
        )
    }

    private func cell(_ index: Int) -> UInt64 { cells[index].load(ordering: .relaxed) }
}

import Synchronization

/// A number of things under way, bounded by whoever enters; counts those that were turned away.
final class BoundedGauge: Sendable {
    private let current = Atomic<Int>(0)
    private let refused = Atomic<Int>(0)

    var value: Int { current.load(ordering: .relaxed) }
    var refusedTotal: Int { refused.load(ordering: .relaxed) }

    func enter(limit: Int) -> Bool {
        if current.add(1, ordering: .relaxed).newValue <= limit { return true }
        current.subtract(1, ordering: .relaxed)
        refused.add(1, ordering: .relaxed)
        return false
    }

    func leave() { current.subtract(1, ordering: .relaxed) }
}

/// A number that only grows.
final class Counter: Sendable {
    private let total = Atomic<Int>(0)

    var value: Int { total.load(ordering: .relaxed) }

    func increment() { total.add(1, ordering: .relaxed) }
}

/// What `/metrics` shows of the HTTP edge.
final class ServerCounters: Sendable {
    let requests = BoundedGauge()
    let streams = BoundedGauge()
    let connections = BoundedGauge()
    let requestsTotal = Counter()
    let unauthorizedTotal = Counter()
    let forbiddenTotal = Counter()
    let watchesOverflowedTotal = Counter()
}

import Informer
import Logging
import Synchronization
import Testing

@Suite struct WorkQueueTests {
    private struct Failure: Error {}

    private static func queue(maximumTries: Int = 20) -> WorkQueue<Int> {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return WorkQueue(
            "test", backoff: Backoff(initialMilliseconds: 1, limitMilliseconds: 2),
            maximumTries: maximumTries, logger: logger)
    }

    /// Runs a queue while `body` lasts.
    private static func running(
        _ queue: WorkQueue<Int>, workers: Int,
        _ process: @Sendable @escaping (Int) async throws -> Void,
        _ body: @Sendable @escaping () async throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await queue.run(workers: workers, process) }
            try await body()
            group.cancelAll()
            try await group.waitForAll()
        }
    }

    @Test func keysAreWorkedOnOneAtATimeAndNeverLost() async throws {
        let queue = Self.queue()
        let active = Mutex<[Int: Int]>([:])
        let overlaps = Atomic<Int>(0)
        let versions = Mutex<[Int: Int]>([:])
        let seen = Mutex<[Int: Int]>([:])
        try await Self.running(
            queue, workers: 8,
            { key in
                let count = active.withLock { active in
                    active[key, default: 0] += 1
                    return active[key, default: 0]
                }
                if count > 1 { overlaps.add(1, ordering: .relaxed) }
                let version = versions.withLock { $0[key] ?? 0 }
                await Task.yield()
                seen.withLock { $0[key] = version }
                active.withLock { $0[key, default: 1] -= 1 }
            },
            {
                for round in 1...2000 {
                    let key = round % 17
                    versions.withLock { $0[key] = round }
                    queue.add(key)
                    if round % 50 == 0 { await Task.yield() }
                }
                try await eventually("the last versions were not seen") {
                    queue.isIdle && seen.withLock({ $0 }) == versions.withLock { $0 }
                }
            })
        #expect(overlaps.load(ordering: .relaxed) == 0)
        #expect(queue.counters.added == 2000)
        #expect(queue.counters.processed <= 2000)
    }

    @Test func waitingKeysAreNotDoubled() async throws {
        let queue = Self.queue()
        let count = Atomic<Int>(0)
        for _ in 0..<100 { queue.add(1) }
        #expect(queue.counters.waiting == 1)
        try await Self.running(
            queue, workers: 2, { _ in count.add(1, ordering: .relaxed) },
            { try await eventually("not worked on") { queue.isIdle } })
        #expect(count.load(ordering: .relaxed) == 1)
    }

    @Test func failuresAreRetriedUpToTheLimit() async throws {
        let queue = Self.queue(maximumTries: 4)
        let tries = Mutex<[Int: Int]>([:])
        try await Self.running(
            queue, workers: 2,
            { key in
                let count = tries.withLock { tries in
                    tries[key, default: 0] += 1
                    return tries[key, default: 0]
                }
                if key == 1 || count < 3 { throw Failure() }
            },
            {
                queue.add(1)
                queue.add(2)
                try await eventually("tries do not end") {
                    queue.isIdle && tries.withLock { $0.count } == 2
                }
            })
        #expect(tries.withLock { $0 } == [1: 4, 2: 3])
        #expect(queue.counters.abandoned == 1)
        #expect(queue.counters.processed == 1)
        #expect(queue.counters.retried == 5)
    }

    @Test func ofSeveralPausesTheEarliestCounts() async throws {
        let queue = Self.queue()
        queue.add(1, after: .seconds(3600))
        queue.add(1, after: .milliseconds(1))
        queue.add(1, after: .seconds(3600))
        try await Self.running(
            queue, workers: 1, { _ in },
            { try await eventually("the pause does not end") { queue.counters.processed == 1 } })
        #expect(queue.isIdle)
    }

    @Test func cancellationEndsARunThatWaits() async throws {
        let queue = Self.queue()
        let run = Task { await queue.run(workers: 3) { _ in } }
        queue.add(5)
        try await eventually("not worked on") { queue.counters.processed == 1 }
        run.cancel()
        await run.value
        queue.add(6)
        #expect(queue.counters.waiting == 0)
    }
}

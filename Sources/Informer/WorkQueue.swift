public import Logging
import Synchronization

/// What a `WorkQueue` counts.
public struct WorkQueueCounters: Hashable, Sendable {
    /// Keys added, those that were waiting already included.
    public var added = 0
    /// Keys worked on without an error.
    public var processed = 0
    /// Tries that failed and were put back.
    public var retried = 0
    /// Keys given up after the last try; they come again with their next change.
    public var abandoned = 0
    /// Keys waiting now.
    public var waiting = 0
}

/// A queue of keys with the guarantees that controllers are built on: a key waits at most once, no
/// key is worked on by two workers at a time, and a key added while it is being worked on comes
/// again afterwards. Failed keys return with growing pauses, up to a limit of tries.
/// Its length is bounded by the number of distinct keys.
public final class WorkQueue<Key: Hashable & Sendable>: Sendable {
    private struct Delayed {
        var deadline: ContinuousClock.Instant
        var timer: Task<Void, Never>
    }

    private struct State {
        var fifo: [Key] = []
        var head = 0
        var queued: Set<Key> = []
        var active: Set<Key> = []
        /// Added while active.
        var again: Set<Key> = []
        var attempts: [Key: Int] = [:]
        var delayed: [Key: Delayed] = [:]
        var sleepers: [CheckedContinuation<Key?, Never>] = []
        var isClosed = false
        var counters = WorkQueueCounters()

        mutating func popFirst() -> Key? {
            guard head < fifo.count else { return nil }
            let key = fifo[head]
            head += 1
            if head == fifo.count {
                fifo.removeAll(keepingCapacity: fifo.count < 1024)
                head = 0
            } else if head >= 1024, head * 2 >= fifo.count {
                fifo.removeFirst(head)
                head = 0
            }
            queued.remove(key)
            active.insert(key)
            return key
        }
    }

    private let name: String
    private let backoff: Backoff
    private let maximumTries: Int
    private let logger: Logger
    private let state = Mutex(State())

    /// Makes a queue; `name` marks its log lines.
    public init(
        _ name: String,
        backoff: Backoff = Backoff(initialMilliseconds: 5, limitMilliseconds: 30_000),
        maximumTries: Int = 20, logger: Logger
    ) {
        self.name = name
        self.backoff = backoff
        self.maximumTries = maximumTries
        self.logger = logger
    }

    /// The counts so far.
    public var counters: WorkQueueCounters {
        state.withLock { state in
            var counters = state.counters
            counters.waiting = state.queued.count
            return counters
        }
    }

    /// True where no key waits, is delayed or is being worked on.
    public var isIdle: Bool {
        state.withLock { $0.queued.isEmpty && $0.active.isEmpty && $0.delayed.isEmpty }
    }

    /// Adds a key; does nothing where it waits already.
    public func add(_ key: Key) {
        let sleeper = state.withLock { state -> (CheckedContinuation<Key?, Never>, Key)? in
            state.counters.added += 1
            state.delayed.removeValue(forKey: key)?.timer.cancel()
            return Self.enqueue(key, &state)
        }
        if let (sleeper, key) = sleeper { sleeper.resume(returning: key) }
    }

    /// Adds a key after a pause; of several pauses for one key the earliest end counts.
    public func add(_ key: Key, after pause: Duration) {
        guard pause > .zero else { return add(key) }
        let deadline = ContinuousClock.now + pause
        state.withLock { state in
            if state.isClosed || state.queued.contains(key) { return }
            if let present = state.delayed[key] {
                if present.deadline <= deadline { return }
                present.timer.cancel()
            }
            let timer = Task { [weak self] in
                try? await Task.sleep(until: deadline, clock: .continuous)
                if !Task.isCancelled { self?.add(key) }
            }
            state.delayed[key] = Delayed(deadline: deadline, timer: timer)
        }
    }

    /// Works on keys with `workers` tasks until the calling task is cancelled. An error of
    /// `process` puts the key back; a conflict is expected and not logged as a warning.
    public func run(
        workers: Int = 2, _ process: @Sendable @escaping (Key) async throws -> Void
    ) async {
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                for _ in 0..<max(workers, 1) {
                    group.addTask { [self] in
                        while let key = await next() { await work(key, process) }
                    }
                }
            }
        } onCancel: {
            close()
        }
    }

    private func work(_ key: Key, _ process: @Sendable (Key) async throws -> Void) async {
        do {
            try await process(key)
            finish(key)
        } catch {
            retry(key, after: error)
        }
    }

    private func next() async -> Key? {
        await withCheckedContinuation { continuation in
            let ready = state.withLock { state -> Key?? in
                if state.isClosed { return .some(nil) }
                if let key = state.popFirst() { return .some(key) }
                state.sleepers.append(continuation)
                return nil
            }
            if let ready { continuation.resume(returning: ready) }
        }
    }

    private func finish(_ key: Key) {
        let sleeper = state.withLock { state -> (CheckedContinuation<Key?, Never>, Key)? in
            state.counters.processed += 1
            state.attempts[key] = nil
            return Self.release(key, &state)
        }
        if let (sleeper, key) = sleeper { sleeper.resume(returning: key) }
    }

    private func retry(_ key: Key, after error: any Error) {
        let attempt = state.withLock { state in
            let attempt = state.attempts[key, default: 0] + 1
            state.attempts[key] = attempt < maximumTries ? attempt : nil
            if attempt < maximumTries {
                state.counters.retried += 1
            } else {
                state.counters.abandoned += 1
            }
            return attempt
        }
        let metadata: Logger.Metadata = ["key": "\(key)", "error": "\(error)", "try": "\(attempt)"]
        if attempt < maximumTries {
            logger.debug("\(name): trying again", metadata: metadata)
            // Before the key is released, so that the queue never looks idle in between.
            add(key, after: backoff.pause(attempt: attempt))
        } else if !isClosed {
            logger.error("\(name): gave up until the next change", metadata: metadata)
        }
        let sleeper = state.withLock { Self.release(key, &$0) }
        if let (sleeper, key) = sleeper { sleeper.resume(returning: key) }
    }

    private var isClosed: Bool { state.withLock { $0.isClosed } }

    private func close() {
        let (sleepers, timers) = state.withLock { state in
            state.isClosed = true
            defer {
                state.sleepers = []
                state.delayed = [:]
            }
            return (state.sleepers, state.delayed.values.map(\.timer))
        }
        for timer in timers { timer.cancel() }
        for sleeper in sleepers { sleeper.resume(returning: nil) }
    }

    private static func enqueue(
        _ key: Key, _ state: inout State
    ) -> (CheckedContinuation<Key?, Never>, Key)? {
        if state.isClosed || state.queued.contains(key) { return nil }
        if state.active.contains(key) {
            state.again.insert(key)
            return nil
        }
        state.queued.insert(key)
        state.fifo.append(key)
        guard !state.sleepers.isEmpty, let first = state.popFirst() else { return nil }
        return (state.sleepers.removeLast(), first)
    }

    private static func release(
        _ key: Key, _ state: inout State
    ) -> (CheckedContinuation<Key?, Never>, Key)? {
        state.active.remove(key)
        return state.again.remove(key) == nil ? nil : enqueue(key, &state)
    }
}

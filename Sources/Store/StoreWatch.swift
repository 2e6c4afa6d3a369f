import Synchronization

/// A stream of the changes of one resource, in order, in batches as they were committed. Read it
/// from one task; `cancel` or release it to end it.
public final class StoreWatch: AsyncSequence, Sendable {
    /// A batch of changes, never empty.
    public typealias Element = [StoreEvent]
    /// A watch that falls behind fails with `.overflow`.
    public typealias Failure = StoreError

    private let queue: WatchQueue
    private let onEnd: @Sendable () -> Void

    init(queue: WatchQueue, onEnd: @escaping @Sendable () -> Void) {
        self.queue = queue
        self.onEnd = onEnd
    }

    deinit { cancel() }

    /// Ends the stream: a waiting reader gets nil.
    public func cancel() {
        onEnd()
        queue.end(.cancelled)
    }

    /// The batches.
    public func makeAsyncIterator() -> Iterator { Iterator(watch: self) }

    /// Reads the batches of one watch.
    public struct Iterator: AsyncIteratorProtocol {
        let watch: StoreWatch

        /// The next batch; nil once the watch or the task is cancelled.
        /// - Throws: `.overflow` where the reader was too slow.
        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(StoreError) -> [StoreEvent]? {
            try await watch.queue.next()
        }

        /// The next batch; nil once the watch or the task is cancelled.
        public mutating func next() async throws(StoreError) -> [StoreEvent]? {
            try await watch.queue.next()
        }
    }
}

/// What lies between the writer and one watcher: a bounded buffer and at most one waiting reader.
final class WatchQueue: Sendable {
    enum End {
        case cancelled
        case overflow
    }
    typealias Reply = Result<[StoreEvent]?, StoreError>
    /// A waiting reader and what it has waited for; to be run outside every lock.
    struct Wake: Sendable {
        fileprivate let waiter: CheckedContinuation<Reply, Never>
        fileprivate let events: [StoreEvent]

        func run() { waiter.resume(returning: .success(events)) }
    }

    /// Events that may wait with their objects parsed.
    private static let parsedLimit = 256

    let namespace: String?
    private let limit: Int
    private let state: Mutex<State>

    private struct State {
        var buffer: [StoreEvent]
        var waiter: CheckedContinuation<Reply, Never>?
        var end: End?
    }

    init(namespace: String?, replay: [StoreEvent], limit: Int) {
        self.namespace = namespace
        self.limit = limit
        state = Mutex(State(buffer: replay))
    }

    /// Adds a batch. Returns how to wake the reader, or nil where none waits.
    func offer(_ events: [StoreEvent]) -> Wake? {
        let wanted =
            namespace.map { name in events.filter { $0.object.key.namespace == name } } ?? events
        guard !wanted.isEmpty else { return nil }
        return state.withLock { state -> Wake? in
            guard state.end == nil else { return nil }
            if let waiter = state.waiter {
                state.waiter = nil
                return Wake(waiter: waiter, events: wanted)
            }
            guard state.buffer.count + wanted.count <= limit else {
                state.end = .overflow
                state.buffer = []
                return nil
            }
            // Who reads closely shares the writer's parsed objects; a long queue of them would
            // take too much memory.
            state.buffer +=
                state.buffer.count < Self.parsedLimit ? wanted : wanted.map(\.compacted)
            return nil
        }
    }

    func end(_ end: End) {
        let waiter = state.withLock { state in
            if state.end == nil { state.end = end }
            state.buffer = []
            let waiter = state.waiter
            state.waiter = nil
            return waiter
        }
        waiter?.resume(returning: .success(nil))
    }

    func next() async throws(StoreError) -> [StoreEvent]? {
        let reply = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in wait(continuation) }
        } onCancel: {
            end(.cancelled)
        }
        return try reply.get()
    }

    private func wait(_ continuation: CheckedContinuation<Reply, Never>) {
        let reply = state.withLock { state -> Reply? in
            if !state.buffer.isEmpty {
                let events = state.buffer
                state.buffer = []
                return .success(events)
            }
            switch state.end {
            case .cancelled: return .success(nil)
            case .overflow: return .failure(.overflow(limit: limit))
            case nil: break
            }
            // A second reader would break the order that the first was promised.
            guard state.waiter == nil else { return .success(nil) }
            state.waiter = continuation
            return nil
        }
        if let reply { continuation.resume(returning: reply) }
    }
}

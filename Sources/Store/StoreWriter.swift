import Dispatch
import Glibc
import Synchronization

/// The thread that does every write: it takes what waits, runs the bodies one after the other,
/// commits them in one SQLite transaction with one sync, publishes, and resumes the callers.
final class StoreWriter: Sendable {
    /// Writes that may wait; more are refused.
    static let queueLimit = 65_536
    /// Writes of one batch, so that the first of them does not wait for too long.
    static let batchLimit = 1_024

    private struct Queue {
        var jobs: [any WriteJob] = []
        var isClosed = false
        var closers: [DispatchSemaphore] = []
    }

    private let state: StoreState
    private let database: StoreDatabase
    private let queue = Mutex(Queue())
    private let signal = DispatchSemaphore(value: 0)
    private let lastRowID: Mutex<Int64>

    init(state: StoreState, database: StoreDatabase, lastRowID: Int64) {
        self.state = state
        self.database = database
        self.lastRowID = Mutex(lastRowID)
    }

    /// Starts the thread, which holds this object until `close`.
    func start() throws(StoreError) {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self)
        let status = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                Unmanaged<StoreWriter>.fromOpaque(context).takeRetainedValue().run()
                return nil
            }, context.toOpaque())
        guard status == 0 else {
            context.release()
            throw .database("no thread for the writer: errno \(status)")
        }
        pthread_detach(thread)
    }

    func submit(_ job: any WriteJob) {
        let refusal = queue.withLock { queue -> StoreError? in
            guard !queue.isClosed else { return .closed }
            guard queue.jobs.count < Self.queueLimit else {
                return .overloaded(limit: Self.queueLimit)
            }
            queue.jobs.append(job)
            return nil
        }
        if let refusal { job.finish(failure: refusal) } else { signal.signal() }
    }

    /// Finishes what waits, closes the file and ends the thread; returns when that is done.
    func close() {
        let done = DispatchSemaphore(value: 0)
        let isFirst = queue.withLock { queue in
            defer { queue.isClosed = true }
            if !queue.isClosed { queue.closers.append(done) }
            return !queue.isClosed
        }
        guard isFirst else { return }
        signal.signal()
        done.wait()
    }

    // MARK: - The thread

    private func run() {
        while true {
            signal.wait()
            let (jobs, closers) = queue.withLock { queue in
                let jobs = Array(queue.jobs.prefix(Self.batchLimit))
                queue.jobs.removeFirst(jobs.count)
                return (jobs, queue.jobs.isEmpty && queue.isClosed ? queue.closers : [])
            }
            if !jobs.isEmpty { commit(jobs) }
            if !closers.isEmpty {
                database.close()
                for closer in closers { closer.signal() }
                return
            }
        }
    }

    private func commit(_ jobs: [any WriteJob]) {
        let batch = WriteBatch(state: state, lastRowID: lastRowID.withLock { $0 })
        for job in jobs {
            let mark = batch.events.count
            if !job.run(StoreTransaction(batch: batch)) { batch.rollBack(to: mark) }
        }
        var failure: StoreError?
        if !batch.events.isEmpty {
            do throws(StoreError) {
                try database.commit(batch.rowChanges(), revision: batch.revision)
                lastRowID.withLock { $0 = batch.lastRowID }
                state.publish(batch.events)
            } catch {
                failure = error
            }
        }
        for job in jobs { job.finish(failure: failure) }
    }
}

/// One write that waits for the writer thread.
protocol WriteJob: Sendable {
    /// Runs the body; false where its mutations must be undone.
    func run(_ transaction: StoreTransaction) -> Bool
    /// Resumes the caller with the body's outcome, or with `failure` where the commit failed.
    func finish(failure: StoreError?)
}

/// A write with its body, its outcome and its caller.
final class BodyJob<Value: Sendable>: WriteJob {
    typealias Body = @Sendable (inout StoreTransaction) throws -> Value

    private let isDryRun: Bool
    private let body: Body
    private let caller: CheckedContinuation<Value, any Error>
    private let outcome = Mutex<Result<Value, any Error>?>(nil)

    init(isDryRun: Bool, body: @escaping Body, caller: CheckedContinuation<Value, any Error>) {
        self.isDryRun = isDryRun
        self.body = body
        self.caller = caller
    }

    func run(_ transaction: StoreTransaction) -> Bool {
        var transaction = transaction
        do {
            let value = try body(&transaction)
            outcome.withLock { $0 = .success(value) }
            return !isDryRun
        } catch {
            outcome.withLock { $0 = .failure(error) }
            return false
        }
    }

    func finish(failure: StoreError?) {
        let outcome = outcome.withLock { $0 }
        switch (outcome, failure) {
        case (.failure(let error), _): caller.resume(throwing: error)
        case (.success(let value), nil): caller.resume(returning: value)
        case (.success(let value), _?) where isDryRun: caller.resume(returning: value)
        case (_, let failure): caller.resume(throwing: failure ?? .closed)
        }
    }
}

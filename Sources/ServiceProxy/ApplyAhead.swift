import Glibc
import NFTables

/// Applies transactions on another thread, in order and one at a time, while the caller makes the
/// next: at a start the kernel's work and ours take about the same time. At most two transactions
/// exist at once, the one being applied and the one being made.
final class ApplyAhead {
    /// One transaction on its way.
    ///
    /// Safe to share: the thread alone touches it until it was joined, the owner alone after that.
    private final class Job: @unchecked Sendable {
        let backend: any NFTablesBackend
        let transaction: Transaction
        var failure: (any Error)?

        init(_ backend: any NFTablesBackend, _ transaction: Transaction) {
            self.backend = backend
            self.transaction = transaction
        }

        func run() { do { try backend.apply(transaction) } catch { failure = error } }
    }

    private let backend: any NFTablesBackend
    private var running: (pthread_t, Job)?

    init(_ backend: any NFTablesBackend) { self.backend = backend }

    deinit { if let running { pthread_join(running.0, nil) } }

    /// Begins to apply, once what was given before is in force.
    /// - Throws: what the backend threw for the transaction before this one.
    func apply(_ transaction: Transaction) throws {
        try finish()
        let job = Job(backend, transaction)
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, Unmanaged.passRetained(job).toOpaque())
        guard code == 0 else {
            Unmanaged.passUnretained(job).release()
            return try backend.apply(transaction)
        }
        running = (thread, job)
    }

    /// Waits until everything is in force.
    /// - Throws: what the backend threw for the last transaction.
    func finish() throws {
        guard let (thread, job) = running else { return }
        running = nil
        pthread_join(thread, nil)
        if let failure = job.failure { throw failure }
    }
}

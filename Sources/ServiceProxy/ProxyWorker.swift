import CLinux
import Glibc
import KubernetesAPI
import Logging
import Synchronization

/// The thread that owns the engine. Changes gather in an inbox by object, so that the inbox is
/// never larger than the cluster; the thread takes all there are at once. So the first change goes
/// out immediately, and those that come while the kernel works go out together after it.
///
/// Safe to share: the engine is touched by the thread alone, after `start`; everything else is
/// constant or behind a mutex.
final class ProxyWorker: @unchecked Sendable {
    /// What informers deliver.
    struct Inbox {
        var services: [ObjectKey: Shared<Service>?] = [:]
        var slices: [ObjectKey: Shared<EndpointSlice>?] = [:]
        var node: NodeContext?
        var options: RulesetOptions?
        var auditPeriodSeconds: Int?
        var revisions = ProgrammedRevisions()
        /// When the oldest change in here came, on the monotonic clock.
        var oldestNanoseconds: UInt64?
        /// True once all first lists are in.
        var isComplete = false
        fileprivate var jobs: [(ProxyEngine) -> Void] = []
        fileprivate var isStopped = false
    }

    private let engine: ProxyEngine
    private let status: ProxyStatus
    /// The thread's own, once it runs.
    private var auditPeriodSeconds: Int
    private let logger: Logger
    private let inbox = Mutex(Inbox())
    private let wake: Int32
    private var thread = pthread_t()
    /// As of which change `onHealthChecks` was told; the thread's own.
    private var reportedHealthCheckChange = 0
    private var reportedFastPathFailureCount = 0
    private let startedAt = monotonicNanoseconds()
    /// What can be read without asking the thread.
    let metrics = ProxyMetrics()
    /// Told of the health checks there are after every change; called on the thread.
    var onHealthChecks: @Sendable ([ObjectKey: ProxyRules.HealthCheck]) -> Void = { _ in }

    /// Jobs beyond this are refused.
    private static let jobLimit = 64

    init(
        _ engine: ProxyEngine, status: ProxyStatus, auditPeriodSeconds: Int, logger: Logger
    ) throws {
        self.engine = engine
        self.status = status
        self.auditPeriodSeconds = auditPeriodSeconds
        self.logger = logger
        wake = eventfd(0, Int32(EFD_CLOEXEC))
        guard wake >= 0 else { throw ProxyError("no eventfd: errno \(errno)") }
    }

    deinit { close(wake) }

    /// Starts the thread.
    func start() throws {
        let code = pthread_create(
            &thread, nil,
            { argument in
                if let argument {
                    Unmanaged<ProxyWorker>.fromOpaque(argument).takeRetainedValue().loop()
                }
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        guard code == 0 else { throw ProxyError("cannot start a thread: errno \(code)") }
    }

    /// Ends the thread; the kernel keeps its rules.
    func stop() {
        post { $0.isStopped = true }
        pthread_join(thread, nil)
    }

    /// Adds to the inbox and wakes the thread.
    func post(_ change: (inout Inbox) -> Void) {
        inbox.withLock { inbox in
            change(&inbox)
            if inbox.oldestNanoseconds == nil { inbox.oldestNanoseconds = monotonicNanoseconds() }
        }
        var one: UInt64 = 1
        write(wake, &one, 8)
    }

    /// Runs `body` on the thread between changes; nil where it is stopped or has too much to do.
    func perform<Value: Sendable>(
        _ body: @Sendable @escaping (ProxyEngine) -> Value
    ) async -> Value? {
        await withCheckedContinuation { continuation in
            var isTaken = false
            post { inbox in
                guard !inbox.isStopped, inbox.jobs.count < Self.jobLimit else { return }
                inbox.jobs.append { continuation.resume(returning: body($0)) }
                isTaken = true
            }
            if !isTaken { continuation.resume(returning: nil) }
        }
    }

    // MARK: - The thread

    private func loop() {
        var nextAudit = monotonicNanoseconds() + UInt64(auditPeriodSeconds) * 1_000_000_000
        var retry: UInt64?
        var failures = 0
        var hasGarbage = false
        var nextSweep = UInt64.max
        while true {
            let deadline = min(nextAudit, retry ?? .max, nextSweep)
            if hasGarbage {
                // What a start or an audit took is many times what stays.
                _ = portolan_malloc_trim()
                hasGarbage = false
            }
            waitForWork(until: deadline)
            let taken = inbox.withLock { inbox in
                defer {
                    inbox = Inbox(
                        revisions: inbox.revisions, isComplete: inbox.isComplete,
                        isStopped: inbox.isStopped)
                }
                return inbox
            }
            deliver(taken)
            if let fastPath = engine.fastPath {
                nextSweep = look(after: fastPath)
            }
            if let seconds = taken.auditPeriodSeconds, seconds != auditPeriodSeconds {
                auditPeriodSeconds = seconds
                nextAudit = monotonicNanoseconds() + UInt64(seconds) * 1_000_000_000
            }
            let isDue = retry.map { $0 <= monotonicNanoseconds() } ?? true
            if taken.isComplete, engine.hasWork, isDue {
                hasGarbage = !engine.isLoaded
                if flush(taken) {
                    retry = nil
                    failures = 0
                } else {
                    failures += 1
                    let pause = min(UInt64(50_000_000) << UInt64(min(failures, 7)), 5_000_000_000)
                    retry = monotonicNanoseconds() + pause
                }
            } else if taken.isComplete, retry == nil, !engine.hasWork {
                status.advance(to: taken.revisions)
            }
            if monotonicNanoseconds() >= nextAudit {
                let start = monotonicNanoseconds()
                if taken.isComplete, retry == nil { audit() }
                hasGarbage = true
                // Changes wait while an audit runs: it takes a two-hundredth of the time at most.
                let end = monotonicNanoseconds()
                nextAudit =
                    end + max(UInt64(auditPeriodSeconds) * 1_000_000_000, (end - start) * 200)
            }
            for job in taken.jobs { job(engine) }
            if taken.isStopped {
                let late = inbox.withLock { inbox in
                    defer { inbox.jobs = [] }
                    return inbox.jobs
                }
                for job in late { job(engine) }
                return
            }
        }
    }

    private func waitForWork(until deadline: UInt64) {
        let now = monotonicNanoseconds()
        let milliseconds = deadline <= now ? 0 : Int32(clamping: (deadline - now) / 1_000_000 + 1)
        // A negative descriptor is passed over.
        var polls = [wake, engine.fastPath?.descriptor ?? -1].map {
            pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
        }
        guard Glibc.poll(&polls, nfds_t(polls.count), milliseconds) > 0,
            polls[0].revents != 0
        else { return }
        var count: UInt64 = 0
        read(wake, &count, 8)
    }

    private func deliver(_ inbox: Inbox) {
        if let options = inbox.options { engine.note(options: options) }
        if let node = inbox.node { engine.note(node: node) }
        for (key, service) in inbox.services { engine.note(key, sharedService: service) }
        for (key, slice) in inbox.slices { engine.note(key, sharedSlice: slice) }
        metrics.note(changes: inbox)
    }

    /// - Returns: when to look again.
    private func look(after fastPath: FastPath) -> UInt64 {
        let next = monotonicNanoseconds() + FastPath.sweepPeriodNanoseconds
        do {
            let refresh = try fastPath.noteLinkChanges()
            try fastPath.sweepIfDue(now: monotonicNanoseconds())
            return min(refresh ?? next, next)
        } catch {
            metrics.noteFailure()
            logger.error(
                "the fast path's links or flows cannot be read", metadata: ["error": "\(error)"])
            return next
        }
    }

    private func flush(_ taken: Inbox) -> Bool {
        let start = monotonicNanoseconds()
        let isFull = !engine.isLoaded
        do {
            try engine.flush()
        } catch {
            engine.invalidate()
            metrics.noteFailure()
            logger.error("the kernel refused the proxy's rules", metadata: ["error": "\(error)"])
            return false
        }
        // First of all: who waits for the kernel need not wait for the bookkeeping.
        status.advance(to: taken.revisions)
        metrics.noteSync(
            isFull: isFull, nanoseconds: monotonicNanoseconds() - start,
            engine: engine, inbox: taken)
        if engine.planner.healthCheckChangeCount != reportedHealthCheckChange {
            reportedHealthCheckChange = engine.planner.healthCheckChangeCount
            onHealthChecks(engine.healthChecks)
        }
        if isFull {
            logger.info(
                "Services are programmed",
                metadata: [
                    "services": "\(engine.planner.services.count)",
                    "milliseconds": "\((monotonicNanoseconds() - start) / 1_000_000)",
                ])
        }
        accelerate()
        return true
    }

    private func accelerate() {
        do {
            try engine.accelerate()
        } catch {
            engine.invalidate()
            metrics.noteFailure()
            logger.error("the fast path keeps old endpoints", metadata: ["error": "\(error)"])
        }
        if engine.statistics.fastPathFailureCount != reportedFastPathFailureCount {
            reportedFastPathFailureCount = engine.statistics.fastPathFailureCount
            logger.warning(
                "the fast path cannot be used; the rules serve every Service",
                metadata: ["error": "\(engine.statistics.fastPathError ?? "")"])
        }
    }

    private func audit() {
        do {
            let differences = try engine.audit()
            if differences > 0 {
                logger.warning(
                    "the kernel's tables differed and were repaired",
                    metadata: ["differences": "\(differences)"])
            }
            metrics.noteAudit(engine)
        } catch {
            engine.invalidate()
            metrics.noteFailure()
            logger.error("the audit failed", metadata: ["error": "\(error)"])
        }
    }
}

/// The monotonic clock, in nanoseconds.
func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

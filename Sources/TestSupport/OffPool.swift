import Glibc
import Synchronization
public import Testing

/// Runs the tests of a suite on threads of their own, where they may wait for programs and sockets.
///
/// Swift's own pool has one thread a core. Two tests that each hold one of two threads, waiting for
/// `dig` or `curl`, would keep the very server they ask from running. Tasks that a test starts with
/// `Task` stay on Swift's pool. A few such tests run at a time: each starts programs, and seventy
/// at once on two cores would all run into their time limits.
public struct OffPool: SuiteTrait, TestTrait, TestScoping {
    /// Holds for the tests of the suites within, too.
    public var isRecursive: Bool { true }

    /// Runs one test's body where it may block.
    public func provideScope(
        for test: Test, testCase: Test.Case?,
        performing function: @Sendable () async throws -> Void
    ) async throws {
        await Places.shared.take()
        defer { Places.shared.giveBack() }
        try await withTaskExecutorPreference(BlockingThreads.shared) { try await function() }
    }
}

extension Trait where Self == OffPool {
    /// The tests wait for programs or sockets with blocking calls.
    public static var offPool: OffPool { OffPool() }
}

/// How many tests run programs at a time; others wait their turn without holding a thread.
private final class Places: Sendable {
    static let shared = Places()

    private struct State {
        var free = 6
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    func take() async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                if state.free == 0 {
                    state.waiting.append(continuation)
                    return false
                }
                state.free -= 1
                return true
            }
            if isFree { continuation.resume() }
        }
    }

    func giveBack() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if state.waiting.isEmpty {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}

/// Threads that run tasks' steps and may block: one is started where none is idle.
final class BlockingThreads: TaskExecutor {
    static let shared = BlockingThreads()

    private struct State {
        var jobs: [UnownedJob] = []
        var idle = 0
        var threads = 0
    }

    /// More tests than these wait for a thread; each Swift Testing run starts far fewer.
    private static let mostThreads = 64

    private let state = Mutex(State())
    private let semaphore = Semaphore()

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let startsThread = state.withLock { state in
            state.jobs.append(job)
            let wanted = state.jobs.count > state.idle && state.threads < Self.mostThreads
            if wanted { state.threads += 1 }
            return wanted
        }
        if startsThread { startThread() }
        semaphore.signal()
    }

    private func startThread() {
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { _ in
                BlockingThreads.shared.work()
                return nil
            }, nil)
        if code == 0 {
            pthread_detach(thread)
        } else {
            state.withLock { $0.threads -= 1 }
        }
    }

    private func work() {
        while true {
            state.withLock { $0.idle += 1 }
            semaphore.wait()
            let job = state.withLock { state -> UnownedJob? in
                state.idle -= 1
                return state.jobs.isEmpty ? nil : state.jobs.removeFirst()
            }
            job?.runSynchronously(on: asUnownedTaskExecutor())
        }
    }
}

/// A counting semaphore of the C library.
private final class Semaphore: @unchecked Sendable {
    // Safe to share: sem_post and sem_wait may be called from any thread, and the memory stays
    // where it is until the object goes.
    private let pointer = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(pointer, 0, 0) }

    deinit {
        sem_destroy(pointer)
        pointer.deallocate()
    }

    func signal() { sem_post(pointer) }

    func wait() { while sem_wait(pointer) != 0 {} }
}

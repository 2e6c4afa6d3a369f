import Glibc
import Synchronization

/// Runs work that blocks (waiting for processes, mounts, files) on threads of its own, so that the
/// few threads that carry Swift's tasks never wait for the kernel. At most `limit` run at once;
/// more wait their turn.
enum Blocking {
    /// The number of blocking pieces of work that may run at once.
    static let limit = 32
    private static let slots = Slots(count: limit)

    /// Runs `work` on a thread of its own and returns what it returns.
    /// - Parameter slots: bounds the threads; by default all work together.
    static func run<Result: Sendable>(
        within slots: Slots = slots, _ work: @Sendable @escaping () throws -> Result
    ) async throws -> Result {
        await slots.take()
        defer { slots.give() }
        return try await withCheckedThrowingContinuation { continuation in
            let status = startThread {
                continuation.resume(with: Swift.Result { try work() })
            }
            if status != 0 {
                continuation.resume(throwing: SystemError(call: "pthread_create", code: status))
            }
        }
    }

    /// Starts a detached thread for work that lasts (a terminal's copying loop); 0 or an errno.
    static func startThread(_ body: @Sendable @escaping () -> Void) -> Int32 {
        let work = ThreadWork(body)
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        pthread_attr_setstacksize(&attributes, 512 * 1024)
        var thread = pthread_t()
        let pointer = Unmanaged.passRetained(work)
        let status = pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument else { return nil }
                Unmanaged<ThreadWork>.fromOpaque(argument).takeRetainedValue().body()
                return nil
            }, pointer.toOpaque())
        if status != 0 { pointer.release() }
        return status
    }
}

private final class ThreadWork: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @Sendable @escaping () -> Void) { self.body = body }
}

/// A counting semaphore whose waiters are tasks, first come first served.
final class Slots: Sendable {
    private struct State {
        var free: Int
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    /// Makes `count` slots.
    init(count: Int) { state = Mutex(State(free: count)) }

    /// Takes a slot, waiting for one.
    func take() async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                if state.free > 0 {
                    state.free -= 1
                    return true
                }
                state.waiters.append(continuation)
                return false
            }
            if isFree { continuation.resume() }
        }
    }

    /// Gives a slot back.
    func give() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if state.waiters.isEmpty {
                state.free += 1
                return nil
            }
            return state.waiters.removeFirst()
        }
        next?.resume()
    }
}

/// A system call that failed.
struct SystemError: Error, CustomStringConvertible {
    /// The call, and what it was about.
    let call: String
    /// The errno.
    let code: Int32

    /// Makes an error of the calling thread's errno.
    init(_ call: String) {
        self.call = call
        code = errno
    }

    /// Makes an error.
    init(call: String, code: Int32) {
        self.call = call
        self.code = code
    }

    /// `mount /x: No such file or directory`
    var description: String { "\(call): \(String(cString: strerror(code)))" }
}

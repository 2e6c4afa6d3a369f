import Synchronization

/// What the agent has reached, for those who wait and for health answers.
final class ProxyStatus: Sendable {
    private struct State {
        var isReady = false
        var programmedRevision: UInt64 = 0
        var waiters: [Int: Waiter] = [:]
        var nextWaiter = 0
    }

    private struct Waiter {
        var revision: UInt64?
        var continuation: CheckedContinuation<Bool, Never>
    }

    /// Waiters beyond this are told at once that they waited in vain.
    private static let waiterLimit = 4096

    private let state = Mutex(State())

    var isReady: Bool { state.withLock { $0.isReady } }
    var programmedRevision: UInt64 { state.withLock { $0.programmedRevision } }

    /// Notes that everything up to a revision is in force.
    func advance(to revision: UInt64) {
        let due = state.withLock { state in
            state.isReady = true
            state.programmedRevision = max(state.programmedRevision, revision)
            let reached = state.programmedRevision
            let due = state.waiters.filter { ($0.value.revision ?? 0) <= reached }
            for key in due.keys { state.waiters[key] = nil }
            return due.values.map(\.continuation)
        }
        for continuation in due { continuation.resume(returning: true) }
    }

    func waitUntilReady() async { _ = await wait(for: nil) }

    func waitUntilProgrammed(_ revision: UInt64, timeoutMilliseconds: Int) async -> Bool {
        await withTaskGroup(of: Bool.self) { group in
            group.addTask { await self.wait(for: revision) }
            group.addTask {
                try? await Task.sleep(for: .milliseconds(timeoutMilliseconds))
                return false
            }
            let isReached = await group.next() ?? false
            group.cancelAll()
            return isReached
        }
    }

    private func wait(for revision: UInt64?) async -> Bool {
        let identifier = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = state.withLock { state -> Bool? in
                    if state.isReady, (revision ?? 0) <= state.programmedRevision { return true }
                    if Task.isCancelled || state.waiters.count >= Self.waiterLimit { return false }
                    state.waiters[identifier] = Waiter(
                        revision: revision, continuation: continuation)
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiter = state.withLock { $0.waiters.removeValue(forKey: identifier) }
            waiter?.continuation.resume(returning: false)
        }
    }
}

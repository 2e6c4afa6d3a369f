import Synchronization

/// Up to which resourceVersion each collection is in force. They come by watches of their own, of
/// which either may be ahead: one number for both would promise what the slower one has yet to
/// bring.
public struct ProgrammedRevisions: Hashable, Sendable {
    /// That of Services.
    public var services: UInt64
    /// That of EndpointSlices.
    public var endpointSlices: UInt64

    /// Names revisions; 0 is reached by anything.
    public init(services: UInt64 = 0, endpointSlices: UInt64 = 0) {
        self.services = services
        self.endpointSlices = endpointSlices
    }

    /// True where both are as far as the other's, or further.
    public func reaches(_ other: Self) -> Bool {
        services >= other.services && endpointSlices >= other.endpointSlices
    }

    /// Raises each to the other's.
    mutating func advance(to other: Self) {
        services = max(services, other.services)
        endpointSlices = max(endpointSlices, other.endpointSlices)
    }
}

/// What the agent has reached, for those who wait and for health answers.
final class ProxyStatus: Sendable {
    private struct State {
        var isReady = false
        var programmedRevisions = ProgrammedRevisions()
        var waiters: [Int: Waiter] = [:]
        var nextWaiter = 0
    }

    private struct Waiter {
        var revisions: ProgrammedRevisions
        var continuation: CheckedContinuation<Bool, Never>
    }

    /// Waiters beyond this are told at once that they waited in vain.
    private static let waiterLimit = 4096

    private let state = Mutex(State())

    var isReady: Bool { state.withLock { $0.isReady } }
    var programmedRevisions: ProgrammedRevisions { state.withLock { $0.programmedRevisions } }

    /// Notes that everything up to the revisions is in force.
    func advance(to revisions: ProgrammedRevisions) {
        let due = state.withLock { state in
            state.isReady = true
            state.programmedRevisions.advance(to: revisions)
            let reached = state.programmedRevisions
            let due = state.waiters.filter { reached.reaches($0.value.revisions) }
            for key in due.keys { state.waiters[key] = nil }
            return due.values.map(\.continuation)
        }
        for continuation in due { continuation.resume(returning: true) }
    }

    func waitUntilReady() async { _ = await wait(for: ProgrammedRevisions()) }

    func waitUntilProgrammed(
        _ revisions: ProgrammedRevisions, timeoutMilliseconds: Int
    ) async -> Bool {
        await withTaskGroup(of: Bool.self) { group in
            group.addTask { await self.wait(for: revisions) }
            group.addTask {
                try? await Task.sleep(for: .milliseconds(timeoutMilliseconds))
                return false
            }
            let isReached = await group.next() ?? false
            group.cancelAll()
            return isReached
        }
    }

    private func wait(for revisions: ProgrammedRevisions) async -> Bool {
        let identifier = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = state.withLock { state -> Bool? in
                    if state.isReady, state.programmedRevisions.reaches(revisions) {
                        return true
                    }
                    if Task.isCancelled || state.waiters.count >= Self.waiterLimit { return false }
                    state.waiters[identifier] = Waiter(
                        revisions: revisions, continuation: continuation)
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

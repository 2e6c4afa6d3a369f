import KubernetesAPI
import Synchronization

/// Whatever reports a collection's objects and their changes to a component: an informer that runs
/// for others as well.
extension Informer {
    /// What a follower has not been told yet: one entry a key, whatever happened to it meanwhile.
    /// So the queue is bounded by the objects there are and those the follower knows of.
    struct Follower {
        /// Keys in the order in which they changed first; some may have been taken back since.
        private var order: [ObjectKey] = []
        private var head = 0
        /// By key, the object as the follower was last told of it.
        private var told: [ObjectKey: Shared<Object>?] = [:]
        var isToldSynced = false
        var toldRevision = ""
        var waiter: CheckedContinuation<Void, Never>?

        /// - Parameter keys: what it is to be told of first.
        init(expecting keys: [ObjectKey]) {
            order = keys
            told = Dictionary(keys.map { ($0, nil) }) { first, _ in first }
        }

        /// Objects it has yet to hear of.
        var pendingCount: Int { told.count }
        /// Places the queue takes.
        var queueLength: Int { order.count - head }

        /// Takes in that an object has changed.
        mutating func note(_ change: Change) {
            switch told[change.key] {
            case nil:
                told[change.key] = .some(change.sharedOld)
                order.append(change.key)
            case .some(nil) where change.sharedNew == nil:
                // It came and went before the follower heard of it.
                told.removeValue(forKey: change.key)
                compact()
            case .some: break
            }
        }

        /// Takes at most `limit` changes out.
        mutating func take(_ limit: Int, from objects: [ObjectKey: Shared<Object>]) -> [Change] {
            var changes: [Change] = []
            while head < order.count, changes.count < limit {
                let key = order[head]
                head += 1
                guard let old = told.removeValue(forKey: key) else { continue }
                let new = objects[key]
                if old != nil || new != nil {
                    changes.append(Change(key: key, old: old, new: new))
                }
            }
            if head == order.count {
                order = []
                head = 0
                told = [:]
            }
            return changes
        }

        private mutating func compact() {
            guard order.count - head > 2 * told.count + 64 else { return }
            order = order[head...].filter { told[$0] != nil }
            head = 0
        }
    }

    /// What a follower is to be told next.
    private enum Step {
        case changes([Change])
        case synced
        case reached(String)
        case wait
    }

    /// Changes that a follower is told of at once, so that none waits for memory that a whole
    /// cluster's would take.
    private static var batchLimit: Int { 256 }

    /// Reports everything there is, then every change, until the task is cancelled; `run` must be
    /// called as well, once, by whoever owns the informer. Followers do not wait for one another:
    /// who is slow is told the latest state of each object, with the one it knew before.
    /// - Parameters:
    ///   - isReplaying: false to hear of what changes from now on, only: nothing of what comes
    ///     after the notice `synced` is missed.
    ///   - reached: told of a revision once everything up to it has been reported.
    public func follow(
        replaying isReplaying: Bool = true,
        reached: @Sendable @escaping (String) async -> Void = { _ in },
        handler: @Sendable @escaping (Notice) async -> Void
    ) async {
        let number = state.withLock { state in
            state.nextFollower += 1
            state.followers[state.nextFollower] = Follower(
                expecting: isReplaying ? Array(state.objects.keys) : [])
            return state.nextFollower
        }
        while !Task.isCancelled {
            switch nextStep(number) {
            case .changes(let changes): await handler(.changes(changes))
            case .synced: await handler(.synced)
            case .reached(let revision): await reached(revision)
            case .wait: await waitForWork(number)
            }
        }
        state.withLock { $0.followers[number] = nil }
    }

    private func nextStep(_ number: Int) -> Step {
        state.withLock { state in
            // Read before the follower is borrowed: both are in the same state.
            let (objects, isSynced, revision) = (state.objects, state.isSynced, state.revision)
            guard let changes = state.followers[number]?.take(Self.batchLimit, from: objects) else {
                return .wait
            }
            if !changes.isEmpty { return .changes(changes) }
            guard isSynced else { return .wait }
            if state.followers[number]?.isToldSynced == false {
                state.followers[number]?.isToldSynced = true
                return .synced
            }
            if state.followers[number]?.toldRevision != revision {
                state.followers[number]?.toldRevision = revision
                return .reached(revision)
            }
            return .wait
        }
    }

    private func waitForWork(_ number: Int) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mayGoOn = state.withLock { state in
                    guard !Task.isCancelled, var follower = state.followers[number],
                        follower.pendingCount == 0,
                        !state.isSynced
                            || follower.isToldSynced && follower.toldRevision == state.revision
                    else { return true }
                    follower.waiter = continuation
                    state.followers[number] = follower
                    return false
                }
                if mayGoOn { continuation.resume() }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                defer { state.followers[number]?.waiter = nil }
                return state.followers[number]?.waiter
            }
            waiter?.resume()
        }
    }
}

extension Informer.State {
    /// Puts changes into every follower's queue; returns those who wait, to be woken.
    mutating func note(_ changes: [Informer.Change]) -> [CheckedContinuation<Void, Never>] {
        var waiting: [CheckedContinuation<Void, Never>] = []
        // A copy of the keys: a view would keep the dictionary from being changed in place.
        for number in Array(followers.keys) {
            for change in changes { followers[number]?.note(change) }
            if let waiter = followers[number]?.waiter {
                waiting.append(waiter)
                followers[number]?.waiter = nil
            }
        }
        return waiting
    }
}

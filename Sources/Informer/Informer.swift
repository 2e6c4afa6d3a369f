import JSON
public import KubernetesAPI
public import Logging
import Synchronization

/// A list and watch cache of one collection. It calls its handler with (key, old, new) for every
/// change, one at a time and in order, and says when the first list is complete. After a broken
/// watch it goes on from the last revision; after 410 it lists anew and reports the difference.
public final class Informer<Object: KubernetesObject>: Sendable {
    /// One change: old is nil for an added object, new is nil for a deleted one.
    public struct Change: Sendable {
        /// The key.
        public let key: ObjectKey
        /// The object before; nil where it was added.
        public let old: Object?
        /// The object after; nil where it was deleted.
        public let new: Object?
    }

    /// What the handler is told.
    public enum Notice: Sendable {
        /// Changes that belong together: a whole list, or what one watch event brought.
        case changes([Change])
        /// The first list has been delivered.
        case synced
    }

    private struct State {
        var objects: [ObjectKey: Object] = [:]
        var isSynced = false
        var hasEnded = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let client: any KubernetesClient
    private let resource: Resource
    private let options: ListOptions
    private let logger: Logger
    private let backoff: Backoff
    private let state = Mutex(State())

    /// Makes an informer; nothing happens before `run`.
    public init(
        _ resource: Resource, client: any KubernetesClient, options: ListOptions = ListOptions(),
        backoff: Backoff = Backoff(), logger: Logger
    ) {
        self.resource = resource
        self.client = client
        self.options = options
        self.backoff = backoff
        self.logger = logger
    }

    /// True once the first list has been delivered.
    public var isSynced: Bool { state.withLock { $0.isSynced } }

    /// The cached object, or nil.
    public func get(_ key: ObjectKey) -> Object? { state.withLock { $0.objects[key] } }

    /// Every cached object, in no order.
    public var objects: [Object] { state.withLock { Array($0.objects.values) } }

    /// Returns when the first list has been delivered, when `run` has ended, or when the task is
    /// cancelled.
    public func waitUntilSynced() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    let isOver = state.isSynced || state.hasEnded || Task.isCancelled
                    if !isOver { state.waiters.append(continuation) }
                    return isOver
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            // Who else waits asks again: `isSynced` tells whether the wait was in vain.
            release()
        }
    }

    private func release() {
        let waiters = state.withLock { state in
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Lists and watches until the task is cancelled. Failures are logged and retried with growing
    /// pauses; the cache keeps its last state meanwhile.
    public func run(_ handler: @Sendable @escaping (Notice) async -> Void) async {
        var attempt = 0
        var revision: String?
        while !Task.isCancelled {
            do {
                if revision == nil {
                    revision = try await relist(handler)
                }
                attempt = 0
                revision = try await follow(from: revision ?? "", handler)
            } catch let error as StatusError where error.isGone {
                revision = nil
                continue
            } catch is CancellationError {
                break
            } catch {
                if Task.isCancelled { break }
                attempt += 1
                logger.warning(
                    "\(resource): watch broken, trying again", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: backoff.pause(attempt: attempt))
            }
        }
        state.withLock { $0.hasEnded = true }
        release()
    }

    private func relist(_ handler: @Sendable (Notice) async -> Void) async throws -> String {
        let list = try await client.list(resource, options)
        var fresh: [ObjectKey: Object] = [:]
        for item in list.items {
            if let object = decode(item) { fresh[object.key] = object }
        }
        let old = state.withLock { $0.objects }
        var changes: [Change] = []
        for (key, object) in fresh {
            let before = old[key]
            let isSame = before.map {
                $0.metadata.resourceVersion == object.metadata.resourceVersion
                    && $0.metadata.uid == object.metadata.uid
            }
            if isSame != true { changes.append(Change(key: key, old: before, new: object)) }
        }
        for (key, object) in old where fresh[key] == nil {
            changes.append(Change(key: key, old: object, new: nil))
        }
        state.withLock { $0.objects = fresh }
        if !changes.isEmpty { await handler(.changes(changes)) }
        let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>]? in
            guard !state.isSynced else { return nil }
            state.isSynced = true
            defer { state.waiters = [] }
            return state.waiters
        }
        if let waiters {
            await handler(.synced)
            for waiter in waiters { waiter.resume() }
        }
        return list.resourceVersion
    }

    /// Follows one watch to its end and returns the revision reached.
    private func follow(
        from start: String, _ handler: @Sendable (Notice) async -> Void
    ) async throws -> String {
        var revision = start
        let events = try await client.watch(resource, options, resourceVersion: start)
        for try await event in events {
            if let version = event.object["metadata", "resourceVersion"]?.string {
                revision = version
            }
            guard event.type != .bookmark, let object = decode(event.object) else { continue }
            let new = event.type == .deleted ? nil : object
            let old = state.withLock { state in
                let old = state.objects[object.key]
                state.objects[object.key] = new
                return old
            }
            guard old != nil || new != nil else { continue }
            await handler(.changes([Change(key: object.key, old: old, new: new)]))
        }
        return revision
    }

    private func decode(_ json: JSONValue) -> Object? {
        do {
            return try Object(json: json)
        } catch {
            logger.error("\(resource): object left out", metadata: ["error": "\(error)"])
            return nil
        }
    }
}

/// Growing pauses between tries: doubling from `initialMilliseconds` to `limitMilliseconds`, each
/// with a random quarter less so that many agents do not return at one moment.
public struct Backoff: Sendable {
    /// The first pause.
    public var initialMilliseconds: Int
    /// The longest pause.
    public var limitMilliseconds: Int

    /// Makes a backoff.
    public init(initialMilliseconds: Int = 50, limitMilliseconds: Int = 5_000) {
        self.initialMilliseconds = initialMilliseconds
        self.limitMilliseconds = limitMilliseconds
    }

    /// The pause before try number `attempt`, counted from 1.
    public func pause(attempt: Int) -> Duration {
        let doubled = initialMilliseconds << min(max(attempt - 1, 0), 16)
        let bounded = min(doubled, limitMilliseconds)
        return .milliseconds(bounded - Int.random(in: 0...max(bounded / 4, 0)))
    }
}

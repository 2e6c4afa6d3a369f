import JSON
public import KubernetesAPI
public import Logging
import Synchronization

/// A list and watch cache of one collection. It calls its handler with (key, old, new) for every
/// change, one at a time and in order, and says when the first list is complete. After a broken
/// watch it goes on from the last revision; after 410 it lists anew and reports the difference.
///
/// Several components share one: whoever owns it calls `run`, and each of them `follow`.
public final class Informer<Object: KubernetesObject>: Sendable {
    /// One change: old is nil for an added object, new is nil for a deleted one.
    public struct Change: Sendable {
        /// The key.
        public let key: ObjectKey
        /// The object before, as the informer keeps it; nil where it was added.
        public let sharedOld: Shared<Object>?
        /// The object after, as the informer keeps it; nil where it was deleted.
        public let sharedNew: Shared<Object>?

        /// The object before; nil where it was added.
        public var old: Object? { sharedOld?.value }
        /// The object after; nil where it was deleted.
        public var new: Object? { sharedNew?.value }

        init(key: ObjectKey, old: Shared<Object>?, new: Shared<Object>?) {
            self.key = key
            sharedOld = old
            sharedNew = new
        }
    }

    /// What the handler is told.
    public enum Notice: Sendable {
        /// Changes that belong together: a whole list, or what one watch event brought.
        case changes([Change])
        /// The first list has been delivered.
        case synced
    }

    struct State {
        var objects: [ObjectKey: Shared<Object>] = [:]
        /// Everything up to here is in `objects`.
        var revision = ""
        var isSynced = false
        var hasEnded = false
        var waiters: [CheckedContinuation<Void, Never>] = []
        var followers: [Int: Follower] = [:]
        var nextFollower = 0
    }

    private let client: any KubernetesClient
    private let resource: Resource
    private let options: ListOptions
    private let logger: Logger
    private let backoff: Backoff
    private let strip: @Sendable (inout Object) -> Void
    let state = Mutex(State())

    /// Objects that are asked for at a time: a page is parsed whole, and a large cluster's list is
    /// many times the size of what is kept of it.
    private static var pageLimit: Int { 500 }

    /// Makes an informer; nothing happens before `run`.
    /// - Parameter strip: takes from an object what nobody will ask for, before it is kept.
    public init(
        _ resource: Resource, client: any KubernetesClient, options: ListOptions = ListOptions(),
        backoff: Backoff = Backoff(), logger: Logger,
        strip: @Sendable @escaping (inout Object) -> Void = { _ in }
    ) {
        self.resource = resource
        self.client = client
        self.options = options
        self.backoff = backoff
        self.logger = logger
        self.strip = strip
    }

    /// True once the first list has been delivered.
    public var isSynced: Bool { state.withLock { $0.isSynced } }

    /// The cached object, or nil.
    public func get(_ key: ObjectKey) -> Object? { state.withLock { $0.objects[key]?.value } }

    /// Every cached object, in no order.
    public var objects: [Object] { state.withLock { $0.objects.values.map(\.value) } }

    /// Returns when the first list has been delivered, when `run` has ended, or when the task is
    /// cancelled.
    public func waitUntilSynced() async {
        while !Task.isCancelled, state.withLock({ !$0.isSynced && !$0.hasEnded }) {
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
                // Wakes the others too: they look again.
                release()
            }
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
    public func run(_ handler: @Sendable @escaping (Notice) async -> Void = { _ in }) async {
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
        let (fresh, revision) = try await list()
        let (changes, waking) = state.withLock { state in
            let changes = Self.difference(from: state.objects, to: fresh)
            state.objects = fresh
            state.revision = revision
            return (changes, state.note(changes))
        }
        for waiter in waking { waiter.resume() }
        if !changes.isEmpty { await handler(.changes(changes)) }
        let (isFirst, waiters) = state.withLock { state in
            guard !state.isSynced else { return (false, [CheckedContinuation<Void, Never>]()) }
            state.isSynced = true
            defer { state.waiters = [] }
            return (true, state.waiters + state.note([]))
        }
        if isFirst { await handler(.synced) }
        for waiter in waiters { waiter.resume() }
        return revision
    }

    /// Lists page by page; every page is of the same revision.
    private func list() async throws -> ([ObjectKey: Shared<Object>], String) {
        var fresh: [ObjectKey: Shared<Object>] = [:]
        var options = options
        options.limit = Self.pageLimit
        while true {
            let page = try await client.list(resource, options)
            for item in page.items {
                if let object = decode(item) { fresh[object.key] = Shared(object) }
            }
            guard !page.continueToken.isEmpty else { return (fresh, page.resourceVersion) }
            options.continueToken = page.continueToken
        }
    }

    private static func difference(
        from old: [ObjectKey: Shared<Object>], to fresh: [ObjectKey: Shared<Object>]
    ) -> [Change] {
        var changes: [Change] = []
        for (key, object) in fresh {
            let before = old[key]
            let isSame = before.map {
                $0.value.metadata.resourceVersion == object.value.metadata.resourceVersion
                    && $0.value.metadata.uid == object.value.metadata.uid
            }
            if isSame != true { changes.append(Change(key: key, old: before, new: object)) }
        }
        for (key, object) in old where fresh[key] == nil {
            changes.append(Change(key: key, old: object, new: nil))
        }
        return changes
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
            let object = event.type == .bookmark ? nil : decode(event.object)
            let new = event.type == .deleted ? nil : object.map(Shared.init)
            let (change, waking) = state.withLock { state in
                state.revision = revision
                var change: Change?
                if let key = object?.key {
                    let old = state.objects[key]
                    state.objects[key] = new
                    if old != nil || new != nil { change = Change(key: key, old: old, new: new) }
                }
                return (change, state.note(change.map { [$0] } ?? []))
            }
            for waiter in waking { waiter.resume() }
            if let change { await handler(.changes([change])) }
        }
        return revision
    }

    private func decode(_ json: JSONValue) -> Object? {
        do {
            var object = try Object(json: json)
            strip(&object)
            return object
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

import Informer
import KubernetesAPI
import Logging
import Synchronization

/// A `Source`, whatever its values.
protocol AnySource: Sendable {
    /// Lists and watches until the task is cancelled.
    func run() async
    /// Returns when the first list has been delivered.
    func waitUntilSynced() async
}

/// An informer that many controllers share: it keeps indexes beside the cache, calls every
/// listener with each change, and lets a controller wait until the cache holds what it just wrote,
/// so that the next look at the cache never acts on an older state.
final class Source<Value: KubernetesObject>: AnySource {
    typealias Change = Informer<Value>.Change
    typealias Listener = @Sendable (Change) -> Void

    private struct Waiter {
        var isMet: @Sendable () -> Bool
        var continuation: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var index: [String: Set<ObjectKey>] = [:]
        var revision: Int64 = 0
        var listeners: [Listener] = []
        var waiters: [Int: Waiter] = [:]
        var nextWaiter = 0
    }

    /// A controller waits this long for its own write to come back before it tries again.
    private static var waitLimit: Duration { .seconds(5) }

    let resource: Resource
    private let informer: Informer<Value>
    private let indexed: @Sendable (Value) -> [String]
    private let state = Mutex(State())

    /// Makes a source; `indexed` gives the index entries under which a value is found.
    init(
        _ resource: Resource, client: any KubernetesClient, options: ListOptions = ListOptions(),
        logger: Logger, indexed: @Sendable @escaping (Value) -> [String] = { _ in [] }
    ) {
        self.resource = resource
        self.indexed = indexed
        informer = Informer(
            resource, client: client, options: options,
            backoff: Backoff(initialMilliseconds: 5, limitMilliseconds: 5_000), logger: logger)
    }

    /// Adds a listener; to be called before `run`.
    func onChange(_ listener: @escaping Listener) {
        state.withLock { $0.listeners.append(listener) }
    }

    /// Lists and watches until the task is cancelled.
    func run() async {
        await informer.run { [self] notice in
            if case .changes(let changes) = notice { take(changes) }
        }
    }

    func waitUntilSynced() async { await informer.waitUntilSynced() }

    /// True once the first list has been delivered.
    var isSynced: Bool { informer.isSynced }

    // MARK: - Reading

    func get(_ key: ObjectKey) -> Value? { informer.get(key) }

    /// Every cached value, in no order.
    var objects: [Value] { informer.objects }

    /// The values under one index entry, by key.
    func objects(_ entry: String) -> [Value] {
        let keys = state.withLock { $0.index[entry] } ?? []
        return keys.sorted().compactMap(informer.get)
    }

    /// The number of values under one index entry.
    func count(_ entry: String) -> Int { state.withLock { $0.index[entry]?.count ?? 0 } }

    /// The values in a namespace, by key.
    func objects(inNamespace namespace: String) -> [Value] { objects("namespace:\(namespace)") }

    // MARK: - Waiting for one's own writes

    /// Returns when the cache has seen the write that gave an object `resourceVersion`.
    /// - Throws: `CacheLagError` after five seconds.
    func waitUntilSeen(_ resourceVersion: String?) async throws {
        guard let revision = resourceVersion.flatMap({ Int64($0) }) else { return }
        try await wait { [self] in state.withLock { $0.revision } >= revision }
    }

    /// Returns when the cached value of `key` meets `condition`.
    /// - Throws: `CacheLagError` after five seconds.
    func wait(
        for key: ObjectKey, until condition: @Sendable @escaping (Value?) -> Bool
    ) async throws {
        try await wait { [self] in condition(get(key)) }
    }

    private func wait(until isMet: @Sendable @escaping () -> Bool) async throws {
        if isMet() { return }
        let identifier = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        let timer = Task { [self] in
            try? await Task.sleep(for: Self.waitLimit)
            resume(identifier, with: false)
        }
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                state.withLock {
                    $0.waiters[identifier] = Waiter(isMet: isMet, continuation: continuation)
                }
                // The change may have come between the first look and the registration.
                let isMetNow = isMet()
                if isMetNow || Task.isCancelled { resume(identifier, with: isMetNow) }
            }
        } onCancel: {
            resume(identifier, with: false)
        }
        timer.cancel()
        if !result { throw CacheLagError(resource: resource) }
    }

    private func resume(_ identifier: Int, with result: Bool) {
        let waiter = state.withLock { $0.waiters.removeValue(forKey: identifier) }
        waiter?.continuation.resume(returning: result)
    }

    // MARK: - Changes

    private func take(_ changes: [Change]) {
        let (listeners, waiters) = state.withLock { state in
            for change in changes { update(&state, change) }
            return (state.listeners, state.waiters)
        }
        for (identifier, waiter) in waiters where waiter.isMet() {
            resume(identifier, with: true)
        }
        for change in changes {
            for listener in listeners { listener(change) }
        }
    }

    private func update(_ state: inout State, _ change: Change) {
        let before = change.old.map(entries) ?? []
        let after = change.new.map(entries) ?? []
        if before != after {
            for entry in before {
                state.index[entry]?.remove(change.key)
                if state.index[entry]?.isEmpty == true { state.index[entry] = nil }
            }
            for entry in after { state.index[entry, default: []].insert(change.key) }
        }
        let text = (change.new ?? change.old)?.metadata.resourceVersion ?? ""
        state.revision = max(state.revision, Int64(text) ?? 0)
    }

    private func entries(_ value: Value) -> [String] {
        let namespace = value.metadata.namespace
        return (namespace.isEmpty ? [] : ["namespace:\(namespace)"]) + indexed(value)
    }
}

/// The cache did not show a write of ours in time; the key is tried again.
struct CacheLagError: Error, CustomStringConvertible {
    let resource: Resource
    var description: String { "\(resource): the cache lags behind the API server" }
}

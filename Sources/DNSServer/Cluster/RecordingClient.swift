import Informer
import JSON
import KubernetesAPI
import Synchronization

/// Passes everything on to another client and notes whether its watches are open: how stale what
/// DNS knows can be.
final class RecordingClient: KubernetesClient {
    private struct State {
        var openWatches = 0
        var lastContactNanoseconds = SystemClock.monotonicNanoseconds()
    }

    private let base: any KubernetesClient
    private let state = Mutex(State())

    init(_ base: any KubernetesClient) { self.base = base }

    /// 0 while a watch is open; otherwise the time since the last answer.
    var stalenessSeconds: Double {
        state.withLock { state in
            guard state.openWatches == 0 else { return 0 }
            let now = SystemClock.monotonicNanoseconds()
            return Double(now &- state.lastContactNanoseconds) / 1e9
        }
    }

    private func touch(_ difference: Int = 0) {
        state.withLock {
            $0.openWatches += difference
            $0.lastContactNanoseconds = SystemClock.monotonicNanoseconds()
        }
    }

    func get(_ resource: Resource, namespace: String?, name: String) async throws -> JSONValue {
        try await base.get(resource, namespace: namespace, name: name)
    }

    func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList {
        let list = try await base.list(resource, options)
        touch()
        return list
    }

    func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue {
        try await base.create(resource, object)
    }

    func update(
        _ resource: Resource, _ object: JSONValue, subresource: String?
    ) async throws -> JSONValue {
        try await base.update(resource, object, subresource: subresource)
    }

    func patch(
        _ resource: Resource, namespace: String?, name: String, subresource: String?,
        type: PatchType, _ patch: JSONValue
    ) async throws -> JSONValue {
        try await base.patch(
            resource, namespace: namespace, name: name, subresource: subresource, type: type, patch)
    }

    func delete(
        _ resource: Resource, namespace: String?, name: String, options: JSONValue?
    ) async throws {
        try await base.delete(resource, namespace: namespace, name: name, options: options)
    }

    func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
        let events = try await base.watch(resource, options, resourceVersion: resourceVersion)
        touch(1)
        let iterator = WatchIterator(events) { [weak self] in self?.touch(-1) }
        return AsyncThrowingStream { try await iterator.next() }
    }
}

/// Steps through a watch and says when it is over. One task at a time uses it, so the lock is only
/// there to prove it.
private final class WatchIterator: @unchecked Sendable {
    // Safe: the informer that asked for the watch is the only one that calls `next`, one call
    // after the other; `hasEnded` is an atomic.
    private var iterator: AsyncThrowingStream<WatchEvent, any Error>.AsyncIterator
    private let hasEnded = Atomic(false)
    private let onEnd: @Sendable () -> Void

    init(
        _ events: AsyncThrowingStream<WatchEvent, any Error>,
        onEnd: @escaping @Sendable () -> Void
    ) {
        iterator = events.makeAsyncIterator()
        self.onEnd = onEnd
    }

    deinit { end() }

    func next() async throws -> WatchEvent? {
        do {
            let event = try await iterator.next()
            if event == nil { end() }
            return event
        } catch {
            end()
            throw error
        }
    }

    private func end() {
        if !hasEnded.exchange(true, ordering: .relaxed) { onEnd() }
    }
}

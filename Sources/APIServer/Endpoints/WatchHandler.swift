import JSON
import KubernetesAPI
import NIOCore
import Store
import Synchronization

/// The times of watches, in seconds.
struct WatchClock: Sendable {
    /// How often an idle watch is told the revision it has reached.
    var bookmarkSeconds: Double = 30
    /// How long a watch lasts that does not say; kube-apiserver uses 30 to 60 minutes.
    var timeoutSeconds: Double = 2400
}

/// What a watch request asks for.
struct WatchQuery: Sendable {
    enum Start: Sendable, Hashable {
        /// The objects as they are, then changes.
        case current
        /// Changes from now on.
        case now
        /// Changes after a revision.
        case after(Int64)
    }

    var start: Start
    /// A bookmark says when the initial objects are complete (KEP-3157).
    var announcesInitialEnd = false
    var hasBookmarks: Bool
    var timeoutSeconds: Double

    /// - Throws: 400 and 422 in Kubernetes' words.
    init(_ query: QueryItems, clock: WatchClock) throws {
        hasBookmarks = query.flag("allowWatchBookmarks")
        timeoutSeconds =
            query["timeoutSeconds"].flatMap { Double($0) }.flatMap { $0 > 0 ? $0 : nil }
            ?? clock.timeoutSeconds
        let text = query["resourceVersion"] ?? ""
        guard text.isEmpty || Int64(text) != nil else {
            throw StatusError.badRequest("resourceVersion: Invalid value: \"\(text)\"")
        }
        let match = query["resourceVersionMatch"] ?? ""
        guard let initial = query["sendInitialEvents"], !initial.isEmpty else {
            guard match.isEmpty else {
                throw Self.invalid(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch "
                        + "unless sendInitialEvents is provided")
            }
            start = text.isEmpty || text == "0" ? .current : .after(Int64(text) ?? 0)
            return
        }
        guard match == "NotOlderThan" else {
            throw Self.invalid(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting "
                    + "resourceVersionMatch to NotOlderThan")
        }
        if query.flag("sendInitialEvents") {
            start = .current
            announcesInitialEnd = hasBookmarks
        } else {
            start = text.isEmpty || text == "0" ? .now : .after(Int64(text) ?? 0)
        }
    }

    private static func invalid(_ text: String) -> StatusError {
        StatusError(
            code: 422, reason: "Invalid",
            message: "ListOptions.meta.k8s.io \"\" is invalid: \(text)")
    }
}

extension APIHandler {
    func watch(_ call: ResourceRequest) throws -> APIResponse {
        let query = call.request.query
        let form = try ResponseForm(accept: call.request.headers)
        let asked = try WatchQuery(query, clock: clock)
        let filter = try ObjectFilter(
            call.kind, labelSelector: query["labelSelector"] ?? "",
            fieldSelector: query["fieldSelector"] ?? "", name: call.info.name)
        let encoder = WatchEncoder(
            kind: call.kind, form: form, filter: filter,
            includeObject: Self.includeObject(call), isShared: registry.isShared(call.kind))
        return .streaming { [self] stream in
            let warnings = call.kind.deprecation.map { [("Warning", APIReply.warningValue($0))] }
            try await stream.begin(contentType: "application/json", headers: warnings ?? [])
            do {
                try await follow(call, asked, encoder, stream)
            } catch let error as StoreError {
                if case .overflow = error { counters.watchesOverflowedTotal.increment() }
                try await stream.send(WatchEncoder.errorLine(Registry.status(error)))
            }
        }
    }

    private func follow(
        _ call: ResourceRequest, _ asked: WatchQuery, _ encoder: WatchEncoder,
        _ stream: ResponseStream
    ) async throws {
        let store = registry.store
        let resource = call.kind.resource
        let namespace = resource.isNamespaced ? call.info.namespace : nil
        var start: Int64
        switch asked.start {
        case .after(let revision): start = revision
        case .now: start = store.revision
        case .current:
            let list = store.list(resource: call.kind.storedName, namespace: namespace)
            start = list.revision
            // Opened before the list is sent, so that nothing can be compacted in between.
            let watch = try store.watch(
                resource: call.kind.storedName, namespace: namespace, from: start)
            for chunk in list.objects.chunks(of: 500) {
                let buffer = try encoder.initial(chunk)
                if buffer.readableBytes > 0 { try await stream.send(buffer) }
            }
            if asked.announcesInitialEnd {
                try await stream.send(encoder.bookmark(start, isInitialEnd: true))
            }
            try await pump(watch, from: start, asked, encoder, stream)
            return
        }
        let watch = try store.watch(
            resource: call.kind.storedName, namespace: namespace, from: start)
        try await pump(watch, from: start, asked, encoder, stream)
    }

    /// Pieces of a watch of which one at least waits until the socket has taken it.
    private static let unconfirmedLimit = 16

    private func pump(
        _ watch: StoreWatch, from start: Int64, _ asked: WatchQuery, _ encoder: WatchEncoder,
        _ stream: ResponseStream
    ) async throws {
        guard encoder.form == .object else {
            return try await relay(watch, from: start, asked, encoder, stream)
        }
        // Events are mostly bytes that are there already: where they are written, nothing is worth
        // a change of thread. Tables are made for each watcher, and hold up no loop.
        try await withTaskExecutorPreference(stream.executor) {
            try await relay(watch, from: start, asked, encoder, stream)
        }
    }

    private func relay(
        _ watch: StoreWatch, from start: Int64, _ asked: WatchQuery, _ encoder: WatchEncoder,
        _ stream: ResponseStream
    ) async throws {
        let reached = ReachedRevision(start)
        let bookmarkSeconds = clock.bookmarkSeconds
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                var postedCount = 0
                for try await events in watch {
                    let buffer = try encoder.lines(events)
                    if buffer.readableBytes > 0 {
                        postedCount += 1
                        if postedCount % Self.unconfirmedLimit == 0 || !stream.post(buffer) {
                            try await stream.send(buffer)
                        }
                    }
                    if let last = events.last { reached.set(last.revision) }
                }
            }
            group.addTask {
                var rest = asked.timeoutSeconds
                while rest > 0 {
                    let pause = asked.hasBookmarks ? min(rest, bookmarkSeconds) : rest
                    try await Task.sleep(for: .seconds(pause))
                    rest -= pause
                    if asked.hasBookmarks {
                        try await stream.send(encoder.bookmark(reached.value))
                    }
                }
            }
            defer {
                watch.cancel()
                group.cancelAll()
            }
            try await group.next()
        }
    }
}

/// The revision up to which a watcher has everything.
private final class ReachedRevision: Sendable {
    private let revision: Atomic<Int64>

    init(_ revision: Int64) { self.revision = Atomic(revision) }

    var value: Int64 { revision.load(ordering: .acquiring) }

    func set(_ value: Int64) { revision.store(value, ordering: .releasing) }
}

extension Array {
    func chunks(of size: Int) -> [ArraySlice<Element>] {
        stride(from: 0, to: count, by: size).map { self[$0..<Swift.min($0 + size, count)] }
    }
}

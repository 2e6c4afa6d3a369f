import Informer
import JSON
import KubernetesAPI
import Logging
import Synchronization
import Testing

/// The list-and-watch cache over a source that the test plays.
@Suite
struct InformerTests {
    /// What handlers were told, one line a change.
    private final class Told: Sendable {
        private let lines = Mutex<[String]>([])
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)

        func take(_ notice: Informer<Object>.Notice) {
            let new: [String]
            switch notice {
            case .synced: new = ["synced"]
            case .changes(let changes):
                new = changes.sorted { $0.key < $1.key }.map {
                    let old = $0.old?.metadata.resourceVersion ?? "-"
                    return "\($0.key.name) \(old)>\($0.new?.metadata.resourceVersion ?? "-")"
                }
            }
            lines.withLock { $0 += new }
            for _ in new { continuation.yield() }
        }

        /// The first `count` lines, once there are so many.
        func first(_ count: Int) async -> [String] {
            var iterator = stream.makeAsyncIterator()
            while lines.withLock({ $0.count }) < count, await iterator.next() != nil {}
            return lines.withLock { $0 }
        }
    }

    private func run(_ source: PlayedSource, lines: Int) async -> [String] {
        let told = Told()
        let informer = Informer<Object>(
            .configMaps, client: source,
            backoff: Backoff(initialMilliseconds: 1, limitMilliseconds: 2),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let task = Task { await informer.run { told.take($0) } }
        let found = await told.first(lines)
        task.cancel()
        await task.value
        return found
    }

    @Test func listThenEventsInOrder() async {
        let source = PlayedSource(
            lists: [(["a": 1, "b": 2], 2)],
            watches: [
                .events([(.added, "c", 3), (.modified, "a", 4), (.deleted, "b", 5)])
            ])
        #expect(
            await run(source, lines: 6) == ["a ->1", "b ->2", "synced", "c ->3", "a 1>4", "b 2>-"])
    }

    @Test func aWatchThatBreaksGoesOnFromTheLastRevision() async {
        let source = PlayedSource(
            lists: [(["a": 1], 1)],
            watches: [
                .events([(.modified, "a", 2), (.bookmark, "", 7)]),
                .failure(StatusError.internalError("gone away")),
                .events([(.modified, "a", 8)]),
            ])
        #expect(await run(source, lines: 4) == ["a ->1", "synced", "a 1>2", "a 2>8"])
        #expect(source.watchedFrom.prefix(3) == ["1", "7", "7"])
    }

    @Test func anExpiredRevisionListsAnewAndTellsTheDifference() async {
        let source = PlayedSource(
            lists: [(["a": 1, "b": 2, "c": 3], 3), (["a": 1, "b": 9, "d": 8], 9)],
            watches: [.failure(StatusError.expired("too old"))])
        #expect(
            await run(source, lines: 7) == [
                "a ->1", "b ->2", "c ->3", "synced", "b 2>9", "c 3>-", "d ->8",
            ])
    }

    @Test func followersAreToldEverythingAndTheRevisionReached() async {
        let source = PlayedSource(
            lists: [(["a": 1], 4)],
            watches: [.events([(.modified, "a", 6), (.bookmark, "", 9)])])
        let informer = Informer<Object>(
            .configMaps, client: source,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let running = Task { await informer.run() }
        await informer.waitUntilSynced()
        // Who comes late is told what there is; the other one only that it is complete.
        let (early, late) = (Told(), Told())
        let (reached, reach) = AsyncStream.makeStream(of: String.self)
        let following = Task {
            await informer.follow(reached: { reach.yield($0) }, handler: { early.take($0) })
        }
        let silent = Task { await informer.follow(replaying: false) { late.take($0) } }
        for await revision in reached where revision == "9" { break }
        let told = await early.first(2)
        #expect(told.first?.hasPrefix("a ") == true && told.contains("synced"))
        #expect(informer.get(ObjectKey(name: "a"))?.metadata.resourceVersion == "6")
        #expect(await late.first(1).contains { $0 == "synced" || $0 == "a 1>6" })
        for task in [running, following, silent] {
            task.cancel()
            await task.value
        }
    }

    @Test func aListOfManyPagesIsOneList() async {
        let source = PlayedSource(
            lists: [(["a": 1], 7), (["b": 2], 7), (["c": 3], 7)], watches: [],
            pageTokens: ["x", "y"])
        #expect(await run(source, lines: 4) == ["a ->1", "b ->2", "c ->3", "synced"])
        #expect(source.continuedWith == ["", "x", "y"])
        #expect(source.watchedFrom == ["7"])
    }

    @Test func waitingEndsWithTheTask() async {
        let source = PlayedSource(lists: [], watches: [])
        let informer = Informer<Object>(
            .configMaps, client: source,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let waiting = Task { await informer.waitUntilSynced() }
        waiting.cancel()
        await waiting.value
        #expect(!informer.isSynced)
    }

    @Test func pausesGrowToTheirBound() {
        let backoff = Backoff(initialMilliseconds: 100, limitMilliseconds: 1_000)
        for attempt in 1...40 {
            let most = min(100 << min(attempt - 1, 16), 1_000)
            let pause = backoff.pause(attempt: attempt)
            #expect(pause <= .milliseconds(most) && pause >= .milliseconds(most * 3 / 4))
        }
    }
}

/// Answers lists and watches from a script; after its end, watches stay open and silent.
private final class PlayedSource: KubernetesClient {
    enum Watch: Sendable {
        case events([(WatchEvent.EventType, String, Int)])
        case failure(StatusError)
    }

    private struct State {
        var lists: [([String: Int], Int)]
        var watches: [Watch]
        var watchedFrom: [String] = []
        var pageTokens: [String] = []
        var continuedWith: [String] = []
    }

    private let state: Mutex<State>

    /// - Parameter pageTokens: what the first lists say of a page after them.
    init(lists: [([String: Int], Int)], watches: [Watch], pageTokens: [String] = []) {
        state = Mutex(State(lists: lists, watches: watches, pageTokens: pageTokens))
    }

    var continuedWith: [String] { state.withLock { $0.continuedWith } }

    var watchedFrom: [String] { state.withLock { $0.watchedFrom } }

    private static func object(_ name: String, _ revision: Int) -> JSONValue {
        ["metadata": ["name": .string(name), "resourceVersion": .string("\(revision)")]]
    }

    func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList {
        try state.withLock { state in
            guard !state.lists.isEmpty else { throw StatusError.internalError("no more lists") }
            let (objects, revision) = state.lists.removeFirst()
            state.continuedWith.append(options.continueToken)
            let token = state.pageTokens.isEmpty ? "" : state.pageTokens.removeFirst()
            return ObjectList(
                items: objects.sorted { $0.key < $1.key }.map { Self.object($0.key, $0.value) },
                resourceVersion: "\(revision)", continueToken: token)
        }
    }

    func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
        let next = state.withLock { state -> Watch? in
            state.watchedFrom.append(resourceVersion)
            return state.watches.isEmpty ? nil : state.watches.removeFirst()
        }
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: WatchEvent.self)
        switch next {
        case .events(let events)?:
            for (type, name, revision) in events {
                continuation.yield(
                    WatchEvent(type: type, object: Self.object(name, revision)))
            }
            continuation.finish()
        case .failure(let error)?: throw error
        case nil: break
        }
        return stream
    }

    // What an informer never asks.
    func get(_ resource: Resource, namespace: String?, name: String) async throws -> JSONValue {
        throw StatusError.notFound(resource, name: name)
    }
    func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue {
        throw StatusError.badRequest("not asked by an informer")
    }
    func update(
        _ resource: Resource, _ object: JSONValue, subresource: String?
    ) async throws -> JSONValue { throw StatusError.badRequest("not asked by an informer") }
    func patch(
        _ resource: Resource, namespace: String?, name: String, subresource: String?,
        type: PatchType, _ patch: JSONValue
    ) async throws -> JSONValue { throw StatusError.badRequest("not asked by an informer") }
    func delete(
        _ resource: Resource, namespace: String?, name: String, options: JSONValue?
    ) async throws {}
}

import JSON
import Testing

@testable import Store

@Suite struct StoreWatchTests {
    let directory: TemporaryDirectory
    let path: String

    init() throws {
        directory = try TemporaryDirectory()
        path = directory.file("store.sqlite")
    }

    @Test func aWatchReplaysThenFollowsInOrder() async throws {
        let store = try Store(path: path)
        let start = store.revision
        try await store.write { _ = try $0.create(serviceKey("a"), object("a")) }
        let watch = try store.watch(resource: "services", namespace: "default", from: start)
        try await store.write { transaction in
            try transaction.create(serviceKey("x", namespace: "other"), object("x"))
            try transaction.create(StoreKey(resource: "pods", name: "p"), object("p"))
            try transaction.update(serviceKey("a"), object("a", mark: 1))
        }
        let deleted = try await store.write { try $0.delete(serviceKey("a")) }
        var events: [StoreEvent] = []
        for try await batch in watch {
            events += batch
            if events.count >= 3 { break }
        }
        #expect(events.map(\.kind) == [.added, .modified, .deleted])
        #expect(events.map(\.revision) == events.map(\.revision).sorted())
        #expect(events[1].previous?.revision == events[0].revision)
        #expect(events[2].revision == deleted.revision)
        let last = try events[2].object.decoded()
        #expect(last["metadata", "resourceVersion"]?.string == "\(deleted.revision)")
        #expect(last["mark"]?.int == 1)
    }

    @Test func aWaitingReaderIsWokenAndACancelledOneEnds() async throws {
        let store = try Store(path: path)
        let watch = try store.watch(resource: "services", namespace: nil, from: store.revision)
        let reader = Task {
            var names: [String] = []
            for try await batch in watch { names += batch.map(\.object.key.name) }
            return names
        }
        try await store.write { _ = try $0.create(serviceKey("a"), object("a")) }
        let second = try store.watch(
            resource: "services", namespace: nil, from: store.revision - 1)
        var iterator = second.makeAsyncIterator()
        #expect(try await iterator.next()?.count == 1)
        watch.cancel()
        let names = try await reader.value
        #expect(names.isEmpty || names == ["a"])
    }

    /// Readers that keep up share the writer's parsed object; those far behind and those that come
    /// later parse the bytes. All must see the same.
    @Test func everyReaderSeesTheSameObject() async throws {
        let store = try Store(path: path)
        let start = store.revision
        let watch = try store.watch(resource: "services", namespace: nil, from: start)
        let count = 600
        for index in 0..<count {
            try await store.write {
                _ = try $0.create(serviceKey("s\(index)"), object("s\(index)", mark: index))
            }
        }
        let late = try store.watch(resource: "services", namespace: nil, from: start)
        for reader in [watch, late] {
            var events: [StoreEvent] = []
            for try await batch in reader {
                events += batch
                if events.count >= count { break }
            }
            #expect(events.count == count)
            for event in events {
                let parsed = try event.object.decoded()
                #expect(try event.decoded() == parsed)
                #expect(parsed["metadata", "resourceVersion"]?.string == "\(event.revision)")
            }
        }
    }

    @Test func closingTheStoreEndsItsWatches() async throws {
        let store = try Store(path: path)
        let watch = try store.watch(resource: "services", namespace: nil, from: store.revision)
        let reader = Task { for try await _ in watch {} }
        store.close()
        try await reader.value
    }

    @Test func aSlowWatcherOverflows() async throws {
        var limits = StoreState.Limits()
        limits.eventsPerWatch = 10
        let store = try Store(path: path, limits: limits)
        let watch = try store.watch(resource: "services", namespace: nil, from: store.revision)
        for index in 0..<11 {
            try await store.write { _ = try $0.create(serviceKey("s\(index)"), object("s")) }
        }
        var iterator = watch.makeAsyncIterator()
        await #expect(throws: StoreError.overflow(limit: 10)) { _ = try await iterator.next() }
    }

    @Test func compactedRevisionsAreRefused() async throws {
        var limits = StoreState.Limits()
        limits.eventsPerResource = 5
        let store = try Store(path: path, limits: limits)
        let start = store.revision
        for index in 0..<20 {
            try await store.write { _ = try $0.create(serviceKey("s\(index)"), object("s")) }
        }
        #expect(throws: StoreError.self) {
            try store.watch(resource: "services", namespace: nil, from: start)
        }
        let recent = try store.watch(resource: "services", namespace: nil, from: start + 15)
        var iterator = recent.makeAsyncIterator()
        #expect(try await iterator.next()?.count == 5)
        // A quiet resource has lost nothing.
        _ = try store.watch(resource: "pods", namespace: nil, from: start)
        store.compact(before: store.revision)
        #expect(throws: StoreError.self) {
            try store.watch(resource: "pods", namespace: nil, from: start)
        }
        _ = try store.watch(resource: "services", namespace: nil, from: store.revision)
        #expect(throws: StoreError.self) {
            try store.watch(resource: "services", namespace: nil, from: store.revision + 1)
        }
    }

    @Test func theEventLogIsBoundedBySize() async throws {
        var limits = StoreState.Limits()
        limits.eventBytesPerResource = 1_000
        let store = try Store(path: path, limits: limits)
        let start = store.revision
        for index in 0..<20 {
            var large = object("s\(index)")
            large["padding"] = .string(String(repeating: "x", count: 300))
            let copy = large
            try await store.write { _ = try $0.create(serviceKey("s\(index)"), copy) }
        }
        #expect(throws: StoreError.self) {
            try store.watch(resource: "services", namespace: nil, from: start)
        }
        let recent = try store.watch(
            resource: "services", namespace: nil, from: store.revision - 2)
        var iterator = recent.makeAsyncIterator()
        #expect(try await iterator.next()?.count == 2)
    }

    @Test func aLineIsEncodedOnce() async throws {
        let store = try Store(path: path)
        let watch = try store.watch(resource: "services", namespace: nil, from: store.revision)
        try await store.write { _ = try $0.create(serviceKey("a"), object("a")) }
        var iterator = watch.makeAsyncIterator()
        let event = try #require(try await iterator.next()?.first)
        var calls = 0
        for _ in 0..<3 {
            let line = event.encodedLine(.added) {
                calls += 1
                return [1, 2]
            }
            #expect(line == [1, 2])
        }
        #expect(event.encodedLine(.deleted) { [3] } == [3])
        #expect(calls == 1)
    }
}

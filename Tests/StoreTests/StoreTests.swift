import Glibc
import JSON
import Testing

@testable import Store

@Suite struct StoreTests {
    let directory: TemporaryDirectory
    let path: String

    init() throws {
        directory = try TemporaryDirectory()
        path = directory.file("store.sqlite")
    }

    @Test func writesAreStampedReadBackAndKept() async throws {
        let store = try Store(path: path)
        let first = try await store.write { try $0.create(serviceKey("a"), object("a")) }
        let second = try await store.write { try $0.update(serviceKey("a"), object("a", mark: 7)) }
        #expect(second.revision == first.revision + 1)
        let decoded = try #require(try store.get(serviceKey("a"))?.decoded())
        #expect(decoded["metadata", "resourceVersion"]?.string == "\(second.revision)")
        #expect(decoded["mark"]?.int == 7)
        store.close()

        let reopened = try Store(path: path)
        #expect(reopened.revision == second.revision)
        #expect(reopened.get(serviceKey("a"))?.bytes == second.bytes)
        let gone = try await reopened.write { try $0.delete(serviceKey("a")) }
        #expect(gone.revision == second.revision + 1)
        #expect(reopened.get(serviceKey("a")) == nil)
        reopened.close()
        let third = try Store(path: path)
        #expect(third.revision == gone.revision)
        #expect(third.objectCounts.isEmpty)
    }

    @Test func listsAreSortedAndByNamespace() async throws {
        let store = try Store(path: path)
        try await store.write { transaction in
            for name in ["b", "a", "c"] {
                try transaction.create(serviceKey(name, namespace: "two"), object(name))
                try transaction.create(serviceKey(name, namespace: "one"), object(name))
            }
            try transaction.create(serviceKey("z", namespace: "onf"), object("z"))
            #expect(transaction.list(resource: "services", namespace: "one").count == 3)
        }
        let (all, revision) = store.list(resource: "services", namespace: nil)
        #expect(
            all.map(\.key.description) == [
                "services one/a", "services one/b", "services one/c", "services onf/z",
                "services two/a", "services two/b", "services two/c",
            ])
        #expect(revision == store.revision)
        #expect(store.list(resource: "services", namespace: "on").objects.isEmpty)
        #expect(store.list(resource: "services", namespace: "two").objects.count == 3)
        #expect(store.list(resource: "pods", namespace: nil).objects.isEmpty)
    }

    @Test func aThrowingBodyAndADryRunLeaveNothing() async throws {
        let store = try Store(path: path)
        let before = store.revision
        await #expect(throws: StoreError.alreadyExists(serviceKey("a"))) {
            try await store.write { transaction in
                try transaction.create(serviceKey("a"), object("a"))
                try transaction.create(serviceKey("a"), object("a"))
            }
        }
        let dry = try await store.write(dryRun: true) {
            try $0.create(serviceKey("a"), object("a"))
        }
        #expect(dry.key.name == "a")
        #expect(store.revision == before)
        #expect(store.get(serviceKey("a")) == nil)
        await #expect(throws: StoreError.notFound(serviceKey("a"))) {
            _ = try await store.write { try $0.update(serviceKey("a"), object("a")) }
        }
    }

    @Test func deletingAndCreatingInOneBodyKeepsTheNewObject() async throws {
        let store = try Store(path: path)
        try await store.write { _ = try $0.create(serviceKey("a"), object("a", mark: 1)) }
        try await store.write { transaction in
            try transaction.delete(serviceKey("a"))
            try transaction.create(serviceKey("a"), object("a", mark: 2))
            try transaction.create(serviceKey("b"), object("b"))
            try transaction.delete(serviceKey("b"))
        }
        store.close()
        let reopened = try Store(path: path)
        #expect(try reopened.get(serviceKey("a"))?.decoded()["mark"]?.int == 2)
        #expect(reopened.objectCounts == ["services": 1])
    }

    @Test func concurrentWritesSeeEachOtherAndKeepOrder() async throws {
        let store = try Store(path: path)
        try await store.write { _ = try $0.create(serviceKey("n"), object("n", mark: 0)) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<200 {
                group.addTask {
                    try await store.write { transaction in
                        let old = try transaction.get(serviceKey("n"))?.decoded()["mark"]?.int ?? 0
                        try transaction.update(serviceKey("n"), object("n", mark: old + 1))
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try store.get(serviceKey("n"))?.decoded()["mark"]?.int == 200)
    }

    // MARK: - Refusals

    @Test func aNewerSchemaIsRefused() throws {
        try Store(path: path).close()
        let database = try StoreDatabase(path: path)
        try database.setSchemaVersionForTests(StoreDatabase.schemaVersion + 1)
        database.close()
        #expect(
            throws: StoreError.newerSchema(
                path: path, found: StoreDatabase.schemaVersion + 1,
                supported: StoreDatabase.schemaVersion)
        ) { try Store(path: path) }
    }

    @Test func aSecondOpenerAndADamagedFileAreRefused() throws {
        let store = try Store(path: path)
        #expect(throws: StoreError.inUse(path: path)) { try Store(path: path) }
        store.close()
        let other = directory.file("other")
        let descriptor = open(other, O_CREAT | O_WRONLY, 0o600)
        let text = Array(String(repeating: "no database ", count: 100).utf8)
        #expect(write(descriptor, text, text.count) == text.count)
        close(descriptor)
        #expect(throws: StoreError.self) { try Store(path: other) }
    }

    @Test func writesAfterCloseFail() async throws {
        let store = try Store(path: path)
        store.close()
        await #expect(throws: StoreError.closed) { try await store.write { _ in } }
    }

    // MARK: - Backup

    @Test func aBackupRestoresWithLaterRevisions() async throws {
        let store = try Store(path: path)
        try await store.write { _ = try $0.create(serviceKey("a"), object("a", mark: 1)) }
        let backup = directory.file("backup")
        try store.backup(to: backup)
        #expect(throws: StoreError.self) { try store.backup(to: backup) }
        try await store.write { _ = try $0.update(serviceKey("a"), object("a", mark: 2)) }
        let last = store.revision
        #expect(throws: StoreError.inUse(path: path)) {
            try StoreBackup.restore(from: backup, to: path)
        }
        store.close()
        try StoreBackup.restore(from: backup, to: path)
        let restored = try Store(path: path)
        #expect(try restored.get(serviceKey("a"))?.decoded()["mark"]?.int == 1)
        #expect(restored.revision > last)
        #expect(throws: StoreError.self) {
            try restored.watch(resource: "services", namespace: nil, from: last)
        }
    }

    @Test func whatIsNoBackupIsNotTakenForAnEmptyOne() async throws {
        let store = try Store(path: path)
        try await store.write { _ = try $0.create(serviceKey("a"), object("a", mark: 1)) }
        let backup = directory.file("backup")
        let descriptor = try store.openBackup()
        #expect(lseek(descriptor, 0, SEEK_END) > 4096)
        close(descriptor)
        try store.backup(to: backup)
        store.close()
        let contents = try StoreBackup.contents(of: backup)
        #expect(contents == .init(objectCount: 1, revision: store.revision))

        for (name, bytes) in [
            ("empty", []), ("text", Array("no database".utf8)),
            ("foreign", Array("SQLite format 3\0".utf8) + [UInt8](repeating: 0, count: 4080)),
        ] {
            let file = directory.file(name)
            let descriptor = open(file, O_CREAT | O_WRONLY, 0o600)
            #expect(write(descriptor, bytes, bytes.count) == bytes.count)
            close(descriptor)
            #expect(throws: StoreError.self) { try StoreBackup.restore(from: file, to: path) }
        }
        // Cut in the middle: found before anything is replaced.
        #expect(truncate(backup, 4096) == 0)
        #expect(throws: StoreError.self) { try StoreBackup.restore(from: backup, to: path) }
        let kept = try Store(path: path)
        #expect(try kept.get(serviceKey("a"))?.decoded()["mark"]?.int == 1)
    }
}

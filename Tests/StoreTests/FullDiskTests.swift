import Glibc
import JSON
import Store
import TestSupport
import Testing

/// A store on a file system of its own that is filled up, then emptied.
@Suite(.offPool) struct FullDiskTests {
    @Test func aFullDiskRefusesWritesAndRoomLetsThemGoOn() async throws {
        let directory = try TemporaryDirectory()
        let disk = directory.file("disk")
        #expect(mkdir(disk, 0o700) == 0)
        #expect(mount("portolan-test", disk, "tmpfs", 0, "size=4m") == 0, "needs root")
        defer {
            umount2(disk, Int32(MNT_DETACH))
            rmdir(disk)
        }
        let path = disk + "/store.sqlite"
        let store = try Store(path: path)
        try await store.write { _ = try $0.create(serviceKey("kept"), object("kept")) }
        let padding = JSONValue.string(String(repeating: "x", count: 50_000))
        var written = 0
        var failure: (any Error)?
        while failure == nil, written < 200 {
            let name = "big\(written)"
            do {
                try await store.write { transaction in
                    var large = object(name)
                    large["padding"] = padding
                    try transaction.create(serviceKey(name), large)
                }
                written += 1
            } catch {
                failure = error
            }
        }
        #expect(failure as? StoreError == .diskFull)
        #expect(store.get(serviceKey("big\(written)")) == nil)
        #expect(store.get(serviceKey("kept")) != nil)

        #expect(mount("portolan-test", disk, "tmpfs", UInt(MS_REMOUNT), "size=32m") == 0)
        try await store.write { _ = try $0.create(serviceKey("after"), object("after")) }
        let revision = store.revision
        store.close()
        let reopened = try Store(path: path)
        #expect(reopened.revision == revision)
        #expect(reopened.get(serviceKey("after")) != nil)
        #expect(reopened.objectCounts["services"] == written + 2)
        reopened.close()
    }
}

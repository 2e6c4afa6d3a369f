import Glibc
import JSON
import Store
import TestSupport
import Testing

/// Kills a writing process at random moments: each write it acknowledged must be there, whole.
@Suite(.offPool) struct CrashTests {
    /// A sample; hundreds with `PORTOLAN_SOAK=1`.
    static let rounds = getenv("PORTOLAN_SOAK") == nil ? 6 : 300

    @Test(arguments: 0..<rounds) func everyAcknowledgedWriteSurvivesAKill(round: Int) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("store.sqlite")
        let journal = directory.file("acknowledged")
        let delayMicroseconds = UInt32.random(in: 0...60_000)
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [
                path = path as String, journal = journal as String,
                delay = delayMicroseconds as UInt32
            ] in
            try await writeUntilKilled(path: path, journal: journal, delayMicroseconds: delay)
        }
        let acknowledged = try readPairs(journal)
        #expect(!acknowledged.isEmpty)
        let store = try Store(path: path)
        var newest: Int64 = 0
        for index in acknowledged {
            // Each write makes two objects: both or none.
            for name in ["a\(index)", "b\(index)"] {
                let stored = try #require(store.get(serviceKey(name)), "\(name) is lost")
                #expect(try stored.decoded()["mark"]?.int == index)
                newest = max(newest, stored.revision)
            }
        }
        let names = store.list(resource: "services", namespace: nil).objects.map(\.key.name)
        for name in names where name.hasPrefix("a") {
            #expect(names.contains("b" + name.dropFirst()), "half of \(name) is there")
        }
        #expect(store.revision >= newest)
        _ = try await store.write { try $0.create(serviceKey("after"), object("after")) }
    }
}

private func writeUntilKilled(
    path: String, journal: String, delayMicroseconds: UInt32
) async throws {
    let store = try Store(path: path)
    let descriptor = open(journal, O_CREAT | O_WRONLY | O_APPEND, 0o600)
    try await writePair(0, to: store, journal: descriptor)
    let killer = Thread.detach {
        usleep(delayMicroseconds)
        kill(getpid(), SIGKILL)
    }
    try killer.get()
    try await withThrowingTaskGroup(of: Void.self) { group in
        for writer in 0..<8 {
            group.addTask {
                var index = writer + 1
                while true {
                    try await writePair(index, to: store, journal: descriptor)
                    index += 8
                }
            }
        }
        try await group.waitForAll()
    }
}

/// Writes two objects at once, and notes their number when that is acknowledged.
private func writePair(_ number: Int, to store: Store, journal: Int32) async throws {
    try await store.write { transaction in
        try transaction.create(serviceKey("a\(number)"), object("a", mark: number))
        try transaction.create(serviceKey("b\(number)"), object("b", mark: number))
    }
    let line = Array("\(number)\n".utf8)
    _ = write(journal, line, line.count)
}

/// A thread that outlives its maker, for the blow that ends the process.
private enum Thread {
    private final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    static func detach(_ body: @escaping @Sendable () -> Void) -> Result<Void, POSIXFailure> {
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                Unmanaged<Box>.fromOpaque(context).takeRetainedValue().body()
                return nil
            }, Unmanaged.passRetained(Box(body)).toOpaque())
        guard status == 0 else {
            return .failure(POSIXFailure(call: "pthread_create", code: status))
        }
        pthread_detach(thread)
        return .success(())
    }
}

/// The numbers of the whole lines of a file; none where there is no file yet.
private func readPairs(_ path: String) throws -> [Int] {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = read(descriptor, &chunk, chunk.count)
        guard count > 0 else { break }
        bytes += chunk[..<count]
    }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { Int($0) }
}

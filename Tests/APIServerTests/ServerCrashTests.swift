import Dispatch
import Glibc
import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes
import Store
import Synchronization
import TestSupport
import Testing

@testable import APIServer

/// Kills a server at random moments while clients write to it over HTTPS: each write that was
/// answered is there, with the address it was answered with, and no address is given out twice.
@Suite(.offPool) struct ServerCrashTests {
    /// A sample; hundreds with `PORTOLAN_SOAK=1`.
    static let rounds = getenv("PORTOLAN_SOAK") == nil ? 4 : 200

    @Test func everyAnsweredWriteSurvivesAKill() async throws {
        let directory = "/tmp/api-crash-\(getpid())"
        mkdir(directory, 0o700)
        defer { _ = try? Command.run(["rm", "-rf", directory]) }
        let (path, journal) = ("\(directory)/store.db", "\(directory)/answered")
        // The same store all the time: each start finds what the last blow left.
        for round in 0..<Self.rounds {
            let delay = UInt32.random(in: 0...300_000)
            await #expect(processExitsWith: .signal(SIGKILL)) {
                [
                    directory = directory as String, journal = journal as String,
                    round = round as Int, delay = delay as UInt32
                ] in
                try await writeUntilKilled(
                    directory: directory, journal: journal, round: round,
                    delayMicroseconds: delay)
            }
            try check(path: path, journal: journal)
        }
        #expect(try Command.check(["wc", "-l", journal]).output != "0 \(journal)\n")
    }

    private func check(path: String, journal: String) throws {
        let store = try Store(path: path)
        defer { store.close() }
        let text = try Command.check(["cat", journal]).output
        for line in text.split(separator: "\n") where line.hasSuffix(";") {
            let parts = line.dropLast().split(separator: " ").map(String.init)
            let key = StoreKey(resource: "services", namespace: "default", name: parts[0])
            let stored = try #require(store.get(key), "\(parts[0]) was answered, and is lost")
            #expect(try stored.decoded()["spec", "clusterIP"]?.string == parts[1])
        }
        var owners: [String: String] = [:]
        for object in store.list(resource: "services", namespace: nil).objects {
            let json = try object.decoded()
            // Whole: what the server allocates is there as well as what the client sent.
            let address = try #require(json["spec", "clusterIP"]?.string, "\(object.key) is half")
            #expect(json["spec", "ports"]?[0]?["port"]?.int != nil)
            #expect(json["metadata", "uid"]?.string != nil)
            let other = owners.updateValue(object.key.description, forKey: address)
            #expect(other == nil, "\(address) belongs to \(object.key) and \(other ?? "")")
        }
    }
}

/// Writes until the process is killed, some time after the first write was answered: however slow
/// the machine is, there is something to lose.
private func writeUntilKilled(
    directory: String, journal: String, round: Int, delayMicroseconds: UInt32
) async throws {
    try await ServerFixture.run(in: directory) { fixture in
        let configuration = try ClientConfiguration(kubeconfigPath: fixture.adminPath)
        let descriptor = open(journal, O_CREAT | O_WRONLY | O_APPEND, 0o600)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<8 {
                group.addTask {
                    let client = try RemoteClient(configuration)
                    for number in 0... {
                        let name = "s\(round)-\(writer)-\(number)"
                        let made = try await client.create(
                            .services,
                            [
                                "metadata": ["name": .string(name), "namespace": "default"],
                                "spec": ["ports": [["port": 80]]],
                            ])
                        let address = made["spec", "clusterIP"]?.string ?? "none"
                        let line = Array("\(name) \(address);\n".utf8)
                        _ = write(descriptor, line, line.count)
                        doom(afterMicroseconds: delayMicroseconds)
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}

/// Whether this process is to be killed already; only children that write ask.
private let isDoomed = Mutex(false)

/// Has this process killed after a while; from the second call on does nothing.
private func doom(afterMicroseconds delay: UInt32) {
    let isFirst = isDoomed.withLock { isDoomed in
        defer { isDoomed = true }
        return !isDoomed
    }
    guard isFirst else { return }
    DispatchQueue.global().asyncAfter(deadline: .now() + .microseconds(Int(delay))) {
        kill(getpid(), SIGKILL)
    }
}

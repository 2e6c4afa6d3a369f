import ArgumentParser
import Glibc
import Informer
import Store

/// `portolan backup FILE`: every object as of one moment, while the cluster goes on.
struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Write every object of the cluster to a file, while it runs or not.",
        discussion: "The file holds Secrets: it is readable by its owner alone. Certificates and "
            + "keys are not in it; they are in DATA-DIR/pki.")

    @OptionGroup var identity: IdentityOptions

    @Option(help: "The kubeconfig to use; DATA-DIR/admin.kubeconfig by default.")
    var kubeconfig: String?

    @Argument(help: "The file to write; it must not exist.")
    var file: String

    func run() async throws {
        guard access(file, F_OK) != 0 else {
            throw CommandFailure("\(file) exists already: name a new file")
        }
        umask(0o077)
        let data = DataDirectory(path: identity.dataDir)
        if kubeconfig != nil || RunDirectory(name: identity.name).supervisor() != nil {
            try await fetch(kubeconfig ?? data.adminKubeconfig)
        } else {
            try copy(data)
        }
        let contents = try Self.reporting { () throws(StoreError) in
            try StoreBackup.contents(of: file)
        }
        print("\(file): \(contents.objectCount) objects as of revision \(contents.revision)")
    }

    /// Nothing runs: the store is opened for as long as it takes, so that nothing can start.
    private func copy(_ data: DataDirectory) throws {
        guard access(data.store, F_OK) == 0 else {
            throw CommandFailure(
                "there is no \(data.store): name the cluster's --data-dir, or its --kubeconfig")
        }
        do {
            let store = try Store(path: data.store)
            defer { store.close() }
            try store.backup(to: file)
        } catch {
            throw CommandFailure("cannot back up \(data.store): \(error)")
        }
    }

    private func fetch(_ kubeconfig: String) async throws {
        let partial = file + ".partial"
        do {
            let client = try RemoteClient(ClientConfiguration(kubeconfigPath: kubeconfig))
            try await client.shutDownAfter {
                let output = try PrivateOutput(partial)
                try await client.download("/portolan/backup") { try output.write($0) }
                try output.finish()
            }
        } catch {
            unlink(partial)
            throw CommandFailure("cannot back up: \(error)")
        }
        // Not rename: that would replace a file that has appeared meanwhile.
        let result = link(partial, file)
        let code = errno
        unlink(partial)
        guard result == 0 else {
            throw CommandFailure("cannot write \(file): \(String(cString: strerror(code)))")
        }
    }

    static func reporting<Value>(
        _ work: () throws(StoreError) -> Value
    ) throws -> Value {
        do { return try work() } catch { throw CommandFailure("\(error)") }
    }
}

/// `portolan restore FILE`: puts a backup in the place of the objects of a cluster that is down.
struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Replace every object of a cluster that is down by those of a backup.",
        discussion: "The objects that were there stay in DATA-DIR/store.sqlite"
            + StoreBackup.replacedSuffix + ".")

    @OptionGroup var identity: IdentityOptions

    @Argument(help: "A file that portolan backup has written.")
    var file: String

    func run() async throws {
        guard geteuid() == 0 else {
            throw CommandFailure("portolan restore must run as root: try sudo portolan restore")
        }
        umask(0o077)
        let data = DataDirectory(path: identity.dataDir)
        // The lock of `up`: nothing runs now, and nothing can start meanwhile.
        let run = RunDirectory(name: identity.name)
        let lock = try run.lock()
        defer {
            run.removeIfUnused()
            close(lock)
        }
        try data.prepare(nodes: [])
        let contents = try BackupCommand.reporting { () throws(StoreError) in
            try StoreBackup.restore(from: file, to: data.store)
        }
        print(
            "\(data.path): \(contents.objectCount) objects of revision \(contents.revision) "
                + "restored; start with portolan up")
    }
}

/// A file that only its owner reads, written piece by piece and synced at the end.
private final class PrivateOutput {
    private let path: String
    private let descriptor: Int32

    init(_ path: String) throws {
        self.path = path
        descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure() }
    }

    deinit { close(descriptor) }

    func write(_ bytes: some Collection<UInt8>) throws {
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            guard count >= 0 || errno == EINTR else { throw failure() }
            rest = rest.dropFirst(max(count, 0))
        }
    }

    func finish() throws {
        guard fsync(descriptor) == 0 else { throw failure() }
    }

    private func failure() -> CommandFailure {
        CommandFailure("cannot write \(path): \(String(cString: strerror(errno)))")
    }
}

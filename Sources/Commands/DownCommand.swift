import ArgumentParser
import Glibc
import NFTables
import PodRuntime

/// `portolan down`: stops a cluster and takes everything of it from the machine.
struct DownCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "down",
        abstract: "Stop a standalone cluster and remove everything of it from this machine.",
        discussion: "Objects are kept, and the next `portolan up` has them again; "
            + "--purge deletes them, too.")

    @OptionGroup var identity: IdentityOptions

    @Flag(help: "Delete the data directory as well.")
    var purge = false

    func run() async throws {
        guard geteuid() == 0 else {
            throw CommandFailure("portolan down must run as root: try sudo portolan down")
        }
        let console = Console()
        let run = RunDirectory(name: identity.name)
        if let supervisor = run.supervisor() {
            kill(supervisor, SIGTERM)
            // `up` cleans up on its own at SIGTERM; pods get their grace period meanwhile.
            if !ChildProcess.waitForEnd(of: supervisor, milliseconds: 60_000) {
                kill(supervisor, SIGKILL)
                _ = ChildProcess.waitForEnd(of: supervisor, milliseconds: 5_000)
            }
        }
        // Again here: an `up` that was killed has cleaned nothing.
        try CleanUp.run(name: identity.name, data: DataDirectory(path: identity.dataDir))
        if purge { try CleanUp.purge(DataDirectory(path: identity.dataDir)) }
        console.line(
            "Portolan \"\(identity.name)\" is down."
                + (purge
                    ? " Its data is deleted." : " Its objects are kept in \(identity.dataDir)."))
    }
}

/// Takes a cluster from the machine, in the reverse of the order in which `up` builds it. Every
/// step is done even where an earlier one failed; the first failure is thrown at the end.
enum CleanUp {
    static func run(name: String, data: DataDirectory) throws {
        var failure: (any Error)?
        func attempt(_ step: () throws -> Void) {
            do { try step() } catch { failure = failure ?? error }
        }
        let runDirectory = RunDirectory(name: name)
        runDirectory.endLeftoverNodes()
        for node in RunDirectory.files(in: "\(data.path)/nodes") {
            NodeCleanup.removeEverything(namePrefix: name, dataDirectory: data.node(node))
        }
        NodeCleanup.removeNamespaces(namePrefix: name)
        attempt { try VirtualNetwork.tearDown(name: name) }
        attempt { try MachineNetwork.tearDown(name: name, backend: NFTablesKernel()) }
        runDirectory.remove()
        if let failure { throw CommandFailure("not everything could be removed: \(failure)") }
    }

    /// Deletes what Portolan keeps in the data directory, and the directory where nothing else is
    /// in it. Only names that Portolan makes are touched: the flag may point at a shared place.
    static func purge(_ data: DataDirectory) throws {
        for file in RunDirectory.files(in: data.path)
        where file.hasPrefix("store.sqlite") || file == "admin.kubeconfig"
            || file.hasPrefix("portolan.log")
        {
            FileSystem.removeFile("\(data.path)/\(file)")
        }
        for directory in ["pki", "nodes", "images"] { removeTree("\(data.path)/\(directory)") }
        rmdir(data.path)
    }

    /// Removes a directory and what is in it without following links or crossing mounts.
    static func removeTree(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        if status.st_mode & S_IFMT == S_IFDIR {
            for file in RunDirectory.files(in: path) { removeTree("\(path)/\(file)") }
            rmdir(path)
        } else {
            unlink(path)
        }
    }
}

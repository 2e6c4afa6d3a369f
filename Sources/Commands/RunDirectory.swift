import CLinux
import Glibc

/// What runs now, below /run/portolan: a lock a cluster, held by its `up`, and a file with the
/// process number of each node, so that a later `up` or `down` finds what a killed one left.
struct RunDirectory: Sendable {
    static let root = "/run/portolan"
    let name: String

    private var lockPath: String { "\(Self.root)/\(name).lock" }
    private var directory: String { "\(Self.root)/\(name)" }
    private func nodePath(_ node: String) -> String { "\(directory)/\(node).pid" }

    /// Takes the cluster's lock for as long as this process lives.
    /// - Throws: `CommandFailure` where another process holds it.
    func lock() throws -> Int32 {
        try FileSystem.makeDirectory(Self.root, mode: 0o755)
        try FileSystem.makeDirectory(directory, mode: 0o755)
        let descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw CommandFailure("cannot open \(lockPath): \(String(cString: strerror(errno)))")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            let holder = supervisor().map { " (process \($0))" } ?? ""
            throw CommandFailure(
                "a Portolan named \"\(name)\" is running already\(holder): stop it with "
                    + "portolan down --name \(name), or choose another --name")
        }
        ftruncate(descriptor, 0)
        let text = Array("\(getpid())\n".utf8)
        _ = text.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        return descriptor
    }

    /// The process that holds the lock, or nil where nobody does.
    func supervisor() -> pid_t? {
        let descriptor = open(lockPath, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return nil }
        return FileSystem.read(lockPath).flatMap(Self.processNumber)
    }

    /// Notes the process of a node.
    func record(node: String, _ processID: pid_t) throws {
        try FileSystem.writePrivate(nodePath(node), Array("\(processID)\n".utf8))
    }

    /// Forgets the process of a node.
    func forget(node: String) { FileSystem.removeFile(nodePath(node)) }

    /// Ends the node processes that an earlier `up` left, and waits until they are gone.
    func endLeftoverNodes() {
        for file in Self.files(in: directory) where file.hasSuffix(".pid") {
            let path = "\(directory)/\(file)"
            defer { FileSystem.removeFile(path) }
            guard let processID = FileSystem.read(path).flatMap(Self.processNumber),
                Self.isPortolan(processID)
            else { continue }
            kill(processID, SIGTERM)
            if !ChildProcess.waitForEnd(of: processID, milliseconds: 5_000) {
                kill(processID, SIGKILL)
                _ = ChildProcess.waitForEnd(of: processID, milliseconds: 5_000)
            }
        }
    }

    /// Removes the directory and the lock.
    func remove() {
        for file in Self.files(in: directory) { FileSystem.removeFile("\(directory)/\(file)") }
        rmdir(directory)
        FileSystem.removeFile(lockPath)
        rmdir(Self.root)
    }

    /// Removes the directory and the lock where no node's process is noted there.
    func removeIfUnused() {
        if Self.files(in: directory).isEmpty { remove() }
    }

    /// The names of the clusters that have a lock held now.
    static func runningNames() -> [String] {
        files(in: root).filter { $0.hasSuffix(".lock") }.map { String($0.dropLast(5)) }
            .filter { RunDirectory(name: $0).supervisor() != nil }
    }

    /// Runs the body while no other cluster's process does: for what clusters share.
    static func alone(_ body: () throws -> Void) throws {
        let descriptor = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer { if descriptor >= 0 { close(descriptor) } }
        // Without the directory no cluster runs.
        while descriptor >= 0, flock(descriptor, LOCK_EX) != 0, errno == EINTR {}
        try body()
    }

    private static func processNumber(_ bytes: [UInt8]) -> pid_t? {
        pid_t(String(decoding: bytes, as: UTF8.self).prefix { $0.isNumber })
    }

    /// Process numbers are reused: only a process that is named so is Portolan's.
    private static func isPortolan(_ processID: pid_t) -> Bool {
        FileSystem.read("/proc/\(processID)/comm").map { String(decoding: $0, as: UTF8.self) }
            == "portolan\n"
    }

    static func files(in directory: String) -> [String] {
        guard let handle = opendir(directory) else { return [] }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}

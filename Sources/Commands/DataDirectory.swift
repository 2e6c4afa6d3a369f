import Glibc

/// Where a standalone cluster keeps its things.
struct DataDirectory: Hashable, Sendable {
    /// The directory itself.
    let path: String

    var store: String { "\(path)/store.sqlite" }
    var pki: String { "\(path)/pki" }
    var adminKubeconfig: String { "\(path)/admin.kubeconfig" }
    var log: String { "\(path)/portolan.log" }
    var images: String { "\(path)/images" }
    func node(_ name: String) -> String { "\(path)/nodes/\(name)" }
    func nodeKubeconfig(_ name: String) -> String { "\(node(name))/kubeconfig" }
    func nodeLog(_ name: String) -> String { "\(node(name))/agent.log" }

    /// Makes the directory and one below it for each node, readable by root alone.
    func prepare(nodes: [String]) throws {
        for directory in [path, "\(path)/nodes"] + nodes.map(node) {
            try FileSystem.makeDirectory(directory, mode: 0o700)
        }
    }
}

/// The few file operations that the commands need.
enum FileSystem {
    /// Makes a directory and those above it; no error where it is there.
    static func makeDirectory(_ path: String, mode: mode_t) throws {
        var partial = ""
        for component in path.split(separator: "/") {
            partial += "/" + component
            let isLast = partial.utf8.count >= path.utf8.count - (path.hasSuffix("/") ? 1 : 0)
            if mkdir(partial, isLast ? mode : 0o755) != 0, errno != EEXIST {
                throw CommandFailure(
                    "cannot create \(partial): \(String(cString: strerror(errno)))")
            }
        }
    }

    /// Reads a file of at most 1 MiB; nil where there is none.
    static func read(_ path: String) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while bytes.count < 1 << 20 {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        return bytes
    }

    /// Writes a file that only root can read, replacing it at once and whole.
    static func writePrivate(_ path: String, _ bytes: [UInt8]) throws {
        let temporary = path + ".new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw CommandFailure("cannot write \(path): \(String(cString: strerror(errno)))")
        }
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes {
                write(descriptor, $0.baseAddress, $0.count)
            }
            guard count > 0 else { break }
            written += count
        }
        close(descriptor)
        guard written == bytes.count, rename(temporary, path) == 0 else {
            throw CommandFailure("cannot write \(path): \(String(cString: strerror(errno)))")
        }
    }

    /// Keeps one older generation of a log that has grown beyond 8 MiB.
    static func trimLog(_ path: String) throws {
        var status = stat()
        guard stat(path, &status) == 0, status.st_size > 8 << 20 else { return }
        guard rename(path, path + ".1") == 0 else {
            throw CommandFailure("cannot rename \(path): \(String(cString: strerror(errno)))")
        }
    }

    /// A pipe whose ends no child inherits.
    static func makePipe() throws -> (reading: Int32, writing: Int32) {
        var descriptors: [Int32] = [-1, -1]
        guard pipe(&descriptors) == 0 else {
            throw CommandFailure("cannot make a pipe: \(String(cString: strerror(errno)))")
        }
        for descriptor in descriptors { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        return (descriptors[0], descriptors[1])
    }

    /// Removes a file; no error where there is none.
    static func removeFile(_ path: String) { unlink(path) }
}

/// A failure that a command prints as one line, with what to do about it.
struct CommandFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

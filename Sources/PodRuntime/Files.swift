import Glibc

/// The few file operations that a node needs, each with an error that names the path.
enum Files {
    /// Reads a whole file.
    /// - Parameter limit: the file is refused where it is longer, in bytes.
    static func read(_ path: String, limit: Int = 16 * 1024 * 1024) throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw SystemError("read \(path)") }
            if count == 0 { return bytes }
            bytes += buffer[..<count]
            guard bytes.count <= limit else {
                throw SystemError(call: "read \(path)", code: EFBIG)
            }
        }
    }

    /// Reads a file as text, or nil where it cannot be read.
    static func text(_ path: String) -> String? {
        (try? read(path)).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Writes a file in place, making it where it is missing.
    static func write(_ path: String, _ bytes: some Collection<UInt8>, mode: mode_t = 0o644) throws
    {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw SystemError("write \(path)") }
        defer { close(descriptor) }
        try writeAll(descriptor, Array(bytes), path: path)
        guard fchmod(descriptor, mode) == 0 else { throw SystemError("chmod \(path)") }
    }

    /// Writes a file so that a reader, or a crash, sees the old content or the new one whole.
    static func replace(_ path: String, _ bytes: some Collection<UInt8>, mode: mode_t = 0o600)
        throws
    {
        try write(path + ".new", bytes, mode: mode)
        guard rename(path + ".new", path) == 0 else { throw SystemError("rename \(path)") }
    }

    /// Writes all of `bytes` to a descriptor.
    static func writeAll(_ descriptor: Int32, _ bytes: [UInt8], path: String) throws {
        var offset = 0
        while offset < bytes.count {
            let count = bytes[offset...].withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw SystemError("write \(path)") }
            offset += count
        }
    }

    /// Makes a directory and those above it.
    static func makeDirectories(_ path: String, mode: mode_t = 0o755) throws {
        if mkdir(path, mode) == 0 { return }
        if errno == EEXIST { return }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
            throw SystemError("mkdir \(path)")
        }
        try makeDirectories(String(path[..<slash]))
        guard mkdir(path, mode) == 0 || errno == EEXIST else { throw SystemError("mkdir \(path)") }
    }

    /// True where something is at `path`; links are followed.
    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// True where a directory is at `path`.
    static func isDirectory(_ path: String) -> Bool {
        var info = stat()
        return stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFDIR
    }

    /// The names in a directory, sorted; empty where it cannot be read.
    static func names(in path: String) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Removes a file, or a directory with all beneath it, never following a link and never leaving
    /// the file system it began in: what is still mounted beneath stays. Absent is fine.
    static func removeTree(_ path: String) {
        var info = stat()
        guard lstat(path, &info) == 0 else { return }
        removeTree(path, info, device: info.st_dev)
    }

    private static func removeTree(_ path: String, _ info: stat, device: dev_t) {
        guard info.st_dev == device else { return }
        guard info.st_mode & S_IFMT == S_IFDIR else {
            unlink(path)
            return
        }
        for name in names(in: path) {
            var inner = stat()
            let child = path + "/" + name
            if lstat(child, &inner) == 0 { removeTree(child, inner, device: device) }
        }
        rmdir(path)
    }
}

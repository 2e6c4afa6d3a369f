import Glibc

/// Why a file of secrets could not be read or written.
public struct PrivateFileError: Error, Hashable, CustomStringConvertible {
    /// What was tried.
    public let operation: String
    /// The file.
    public let path: String
    /// `errno` of the call that failed.
    public let code: Int32

    /// `cannot write /var/lib/portolan/pki/ca.key: Permission denied`
    public var description: String {
        "cannot \(operation) \(path): \(String(cString: strerror(code)))"
    }
}

/// Files that nobody but their owner may read.
enum PrivateFile {
    /// The text of the file, or nil where there is none.
    static func read(_ path: String) throws(PrivateFileError) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw PrivateFileError(operation: "read", path: path, code: errno)
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                throw PrivateFileError(operation: "read", path: path, code: errno)
            }
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(contentsOf: chunk[..<count])
        }
    }

    /// Replaces the file at once with one of mode 0600, making the folders above it (mode 0700)
    /// that are missing: a reader sees the old text or the new one, never a part.
    static func write(_ text: String, to path: String) throws(PrivateFileError) {
        if let slash = path.lastIndex(of: "/") { try makeFolders(String(path[..<slash])) }
        let temporary = "\(path).\(getpid()).new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw PrivateFileError(operation: "write", path: path, code: errno)
        }
        var failure: Int32?
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty, failure == nil {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                failure = errno
            }
        }
        if failure == nil, fchmod(descriptor, 0o600) != 0 || fsync(descriptor) != 0 {
            failure = errno
        }
        close(descriptor)
        if failure == nil, rename(temporary, path) != 0 { failure = errno }
        if let failure {
            unlink(temporary)
            throw PrivateFileError(operation: "write", path: path, code: failure)
        }
    }

    private static func makeFolders(_ path: String) throws(PrivateFileError) {
        guard !path.isEmpty, mkdir(path, 0o700) != 0, errno != EEXIST else { return }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/") else {
            throw PrivateFileError(operation: "make the folder", path: path, code: errno)
        }
        try makeFolders(String(path[..<slash]))
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
            throw PrivateFileError(operation: "make the folder", path: path, code: errno)
        }
    }
}

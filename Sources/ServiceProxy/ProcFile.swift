import Glibc

/// Files of /proc, which have no length.
enum ProcFile {
    /// Reads a file, or its first `limit` bytes.
    static func read(_ path: String, limit: Int = 1 << 16) throws -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw ProxyError("cannot read \(path): errno \(errno)") }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: limit)
        var count = 0
        while count < bytes.count {
            let part = bytes.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress.map { $0 + count }, $0.count - count)
            }
            guard part > 0 else { break }
            count += part
        }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}

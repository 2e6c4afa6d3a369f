import Glibc

/// Files of /proc, which have no length.
enum ProcFile {
    /// Reads a file of at most 64 KiB.
    static func read(_ path: String) throws -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw ProxyError("cannot read \(path): errno \(errno)") }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
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

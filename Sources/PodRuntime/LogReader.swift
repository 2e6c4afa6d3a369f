import Glibc

/// Reads log files piece by piece. Blocking.
enum LogReader {
    /// Bytes read at once.
    static let chunkByteCount = 64 * 1024

    /// Reads on from an offset, and moves it; empty at the end. A log that has begun anew is read
    /// from its start.
    static func read(_ path: String, from offset: inout Int) throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        defer { close(descriptor) }
        if Int(lseek(descriptor, 0, SEEK_END)) < offset { offset = 0 }
        var buffer = [UInt8](repeating: 0, count: chunkByteCount)
        let count = pread(descriptor, &buffer, buffer.count, off_t(offset))
        guard count >= 0 else { throw SystemError("read \(path)") }
        offset += count
        return Array(buffer[..<count])
    }

    /// Where the last `count` lines begin. Only as much of the end is read as holds them.
    static func tailOffset(_ count: Int, path: String) throws -> Int {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        defer { close(descriptor) }
        let size = Int(lseek(descriptor, 0, SEEK_END))
        var window = chunkByteCount
        while true {
            let begin = max(0, size - window)
            var bytes = [UInt8](repeating: 0, count: size - begin)
            let got = pread(descriptor, &bytes, bytes.count, off_t(begin))
            guard got >= 0 else { throw SystemError("read \(path)") }
            bytes.removeLast(bytes.count - got)
            if begin == 0 { return LogLines.tailOffset(count, of: bytes) }
            // The first line of a window may have begun before it.
            let first = (bytes.firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count - 1) + 1
            let whole = Array(bytes[first...])
            let offset = LogLines.tailOffset(count, of: whole)
            if offset > 0 { return begin + first + offset }
            window *= 4
        }
    }
}

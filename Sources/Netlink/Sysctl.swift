import Glibc

/// Kernel parameters. Those under `net` are the calling thread's network namespace's.
public enum Sysctl {
    /// Sets a parameter, named as a path below /proc/sys: `net/ipv4/ip_forward`.
    public static func write(_ path: String, _ value: String) throws {
        let descriptor = open("/proc/sys/" + path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw NetlinkError(currentErrorFor: "set the kernel parameter \(path)")
        }
        defer { close(descriptor) }
        var text = value
        let count = text.withUTF8 { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        guard count == value.utf8.count else {
            throw NetlinkError(currentErrorFor: "set the kernel parameter \(path) to \(value)")
        }
    }

    /// Reads a parameter, without the closing line feed.
    public static func read(_ path: String) throws -> String {
        let descriptor = open("/proc/sys/" + path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw NetlinkError(currentErrorFor: "read the kernel parameter \(path)")
        }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        guard count >= 0 else {
            throw NetlinkError(currentErrorFor: "read the kernel parameter \(path)")
        }
        let text = bytes[..<count]
        return String(decoding: text.last == 10 ? text.dropLast() : text, as: UTF8.self)
    }
}

public import DNS
import Glibc
import NetworkTypes

/// What resolv.conf(5) says.
public struct ResolverFile: Equatable, Sendable {
    /// `nameserver` lines.
    public var servers: [SocketAddress] = []
    /// The last `search` or `domain` line.
    public var searchDomains: [DNSName] = []
    /// `options ndots:N`: a name with fewer dots is tried with the search domains first.
    public var ndots = 1

    /// Reads the text of a resolv.conf; lines that make no sense are left out, as the C library
    /// does.
    public init(parsing text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            let words = line.split { $0 == " " || $0 == "\t" }
            guard let keyword = words.first, words.count > 1 else { continue }
            switch keyword {
            case "nameserver":
                // A zone (`%eth0`) cannot be followed from here.
                if let address = IPAddress(words[1]) { servers.append(SocketAddress(address)) }
            case "search", "domain":
                searchDomains = words.dropFirst().compactMap { DNSName($0) }
            case "options":
                for word in words.dropFirst() where word.hasPrefix("ndots:") {
                    // The C library takes at most 15 (resolv.conf(5)).
                    if let number = Int(word.dropFirst(6)), number >= 0 { ndots = min(number, 15) }
                }
            default:
                break
            }
        }
    }

    /// Reads the file at `path`; nil where it can't be read. At most 64 KiB are read.
    public static func read(path: String) -> ResolverFile? {
        readText(path: path, limit: 1 << 16).map(ResolverFile.init(parsing:))
    }
}

/// Reads a file of at most `limit` bytes; nil where it can't be read.
func readText(path: String, limit: Int) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while bytes.count < limit {
        let count = read(descriptor, &chunk, chunk.count)
        guard count >= 0 else { return nil }
        if count == 0 { break }
        bytes += chunk[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
}

/// Tells when a file has changed, by its identity, size and time.
struct FileStamp: Equatable {
    private let device: UInt
    private let inode: UInt
    private let size: Int
    private let seconds: Int
    private let nanoseconds: Int

    init?(path: String) {
        var information = stat()
        guard stat(path, &information) == 0 else { return nil }
        device = UInt(information.st_dev)
        inode = UInt(information.st_ino)
        size = Int(information.st_size)
        seconds = information.st_mtim.tv_sec
        nanoseconds = information.st_mtim.tv_nsec
    }
}

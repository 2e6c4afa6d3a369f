import CLinux
import Glibc

/// Gives memory back that a process does not use any more. A first list is parsed in pieces
/// many times the size of what is kept of them; glibc keeps what they took unless it is asked.
enum MemoryKeeper {
    /// How often the process is looked at, in seconds; at first more often, for what a start took
    /// (lists, the kernel's tables, the zone) is let go of piece by piece.
    private static let periodSeconds = 20
    private static let startPauseSeconds = [1, 1, 2, 4]
    /// It is worth the walk through all free memory where so much has been added since the last.
    private static let worthwhileByteCount = 8 << 20
    /// glibc makes eight arenas a core, each with its own free memory. The hot paths of a node
    /// (DNS answers, packets of the speaker) allocate nothing, so a few arenas are enough.
    private static let arenaCount: Int32 = 2

    /// To be called before the process has many threads: an arena that exists stays.
    static func limitArenas() { _ = portolan_malloc_limit_arenas(arenaCount) }

    /// Trims when it is called, and from then on whenever memory has grown, until the task is
    /// cancelled.
    static func run() async {
        var after = trim()
        for seconds in startPauseSeconds {
            try? await Task.sleep(for: .seconds(seconds))
            if Task.isCancelled { return }
            after = trim()
        }
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(periodSeconds))
            if Task.isCancelled { return }
            if residentByteCount - after > worthwhileByteCount { after = trim() }
        }
    }

    /// Trims and returns what is left.
    @discardableResult
    static func trim() -> Int {
        _ = portolan_malloc_trim()
        return residentByteCount
    }

    /// The resident set of this process (proc(5), statm field 2).
    private static var residentByteCount: Int {
        let text = FileSystem.read("/proc/self/statm").map { String(decoding: $0, as: UTF8.self) }
        let fields = (text ?? "").split(separator: " ")
        return (fields.count > 1 ? Int(fields[1]) ?? 0 : 0) * sysconf(Int32(_SC_PAGESIZE))
    }
}

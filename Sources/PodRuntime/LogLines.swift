import Informer
import KubernetesAPI

/// One line of a container's log in the format of the container runtime interface:
/// `TIME STREAM TAG TEXT`, where tag `P` stands for a line that goes on in the next entry
/// (kubernetes/design-proposals, kubelet-cri-logging).
struct LogLine: Hashable, Sendable {
    /// RFC 3339 with nanoseconds, as it is in the file.
    var time: String
    /// `stdout` or `stderr`
    var stream: String
    /// False where the next entry goes on with this line.
    var isWhole: Bool
    /// The text with its line feed, where it has one.
    var text: [UInt8]

    /// Reads one entry without its line feed; nil for one that is none.
    init?(_ entry: ArraySlice<UInt8>) {
        let space = UInt8(ascii: " ")
        guard let first = entry.firstIndex(of: space),
            let second = entry[(first + 1)...].firstIndex(of: space),
            let third = entry[(second + 1)...].firstIndex(of: space)
        else { return nil }
        time = String(decoding: entry[..<first], as: UTF8.self)
        stream = String(decoding: entry[(first + 1)..<second], as: UTF8.self)
        guard stream == "stdout" || stream == "stderr" else { return nil }
        isWhole = entry[(second + 1)..<third].first != UInt8(ascii: "P")
        text = Array(entry[(third + 1)...])
        if isWhole { text.append(UInt8(ascii: "\n")) }
    }
}

/// Which part of a log is asked for (core/v1.PodLogOptions).
struct LogOptions: Hashable, Sendable {
    var follows = false
    var hasTimestamps = false
    var isPrevious = false
    /// Lines from the end; nil for all.
    var tailLines: Int?
    /// Bytes at most; nil for all.
    var limitBytes: Int?
    /// Lines before this are left out.
    var since: Timestamp?
}

/// Turns the bytes of a log file into the bytes of an answer, piece by piece. Pure.
struct LogLines: Sendable {
    private let options: LogOptions
    private var rest: [UInt8] = []
    private var sentBytes = 0
    private var isLineStart = true

    /// An entry longer than this is cut, so that a broken file cannot fill the memory.
    static let entryLimit = 256 * 1024

    /// Starts before the first byte.
    init(_ options: LogOptions) { self.options = options }

    /// True once `limitBytes` are sent.
    var isFull: Bool { options.limitBytes.map { sentBytes >= $0 } ?? false }

    /// Takes bytes of the file in.
    /// - Returns: what the answer goes on with.
    mutating func read(_ bytes: [UInt8]) -> [UInt8] {
        var output: [UInt8] = []
        rest += bytes
        var start = 0
        while let end = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
            if let line = LogLine(rest[start..<end]) { output += render(line) }
            start = end + 1
        }
        rest.removeFirst(start)
        if rest.count > Self.entryLimit { rest = [] }
        if let limit = options.limitBytes {
            output = Array(output.prefix(max(0, limit - sentBytes)))
        }
        sentBytes += output.count
        return output
    }

    private mutating func render(_ line: LogLine) -> [UInt8] {
        if let since = options.since, let time = Timestamp(line.time), time < since { return [] }
        let needsTime = options.hasTimestamps && isLineStart
        isLineStart = line.isWhole
        return needsTime ? Array("\(line.time) ".utf8) + line.text : line.text
    }

    /// Where the last `count` whole lines of a file's bytes begin.
    static func tailOffset(_ count: Int, of bytes: [UInt8]) -> Int {
        guard count > 0 else { return bytes.count }
        var left = count
        var end = bytes.endIndex
        if bytes.last == UInt8(ascii: "\n") { end -= 1 }
        var begin = end
        while begin > 0 {
            let previous = bytes[..<begin].lastIndex(of: UInt8(ascii: "\n"))
            let start = previous.map { $0 + 1 } ?? 0
            // A line is whole where the entry before it does not go on into it.
            let isContinuation =
                previous.map { newline in
                    let before = bytes[..<newline].lastIndex(of: UInt8(ascii: "\n"))
                    return LogLine(bytes[(before.map { $0 + 1 } ?? 0)..<newline])?.isWhole == false
                } ?? false
            if !isContinuation {
                left -= 1
                if left == 0 { return start }
            }
            guard let previous else { return 0 }
            begin = previous
        }
        return 0
    }

    /// The texts of the last `count` lines.
    static func last(_ count: Int, of bytes: [UInt8]) -> [String] {
        bytes[tailOffset(count, of: bytes)...].split(separator: UInt8(ascii: "\n"))
            .compactMap { LogLine($0) }.map { String(decoding: $0.text, as: UTF8.self) }
    }
}

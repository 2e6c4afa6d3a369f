import CLinux
import Glibc
import Informer
import KubernetesAPI

/// A process to start: a path, arguments, an environment, and what its descriptors are.
struct Command: Sendable {
    /// The file to execute.
    var path: String
    /// The arguments after the program's own name.
    var arguments: [String]
    /// `NAME=value` each.
    var environment: [String]
    /// The parent's descriptor behind the child's 0, 1, 2, …; -1 stands for /dev/null. All others
    /// are closed in the child.
    var descriptors: [Int32] = [-1, -1, -1]
    /// True to make the child a session leader, which a terminal's owner must be.
    var startsSession = false
    /// Where the program writes the process id of a command that it starts elsewhere.
    var pidFile: String?

    /// The environment of helper programs: nothing of the parent's but the search path.
    static let plainEnvironment = [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
        "HOME=/root",
    ]

    /// Makes a command with a plain environment.
    init(_ path: String, _ arguments: [String], environment: [String] = plainEnvironment) {
        self.path = path
        self.arguments = arguments
        self.environment = environment
    }

    /// Starts the process, with default signal handling and an empty signal mask.
    /// - Throws: `SystemError` where the program cannot be executed.
    func spawn() throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (child, parent) in descriptors.enumerated() {
            if parent < 0 {
                posix_spawn_file_actions_addopen(&actions, Int32(child), "/dev/null", O_RDWR, 0)
            } else {
                posix_spawn_file_actions_adddup2(&actions, parent, Int32(child))
            }
        }
        posix_spawn_file_actions_addclosefrom_np(&actions, Int32(descriptors.count))
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var mask = sigset_t()
        sigemptyset(&mask)
        posix_spawnattr_setsigmask(&attributes, &mask)
        sigfillset(&mask)
        posix_spawnattr_setsigdefault(&attributes, &mask)
        // POSIX_SPAWN_SETSIGDEF 4, SETSIGMASK 8, SETSID 0x80 (spawn.h)
        posix_spawnattr_setflags(&attributes, Int16(4 | 8 | (startsSession ? 0x80 : 0)))
        var pid: pid_t = 0
        let status = Self.withCStrings([path] + arguments) { argumentPointers in
            Self.withCStrings(environment) { environmentPointers in
                posix_spawn(
                    &pid, path, &actions, &attributes, argumentPointers, environmentPointers)
            }
        }
        guard status == 0 else { throw SystemError(call: "run \(path)", code: status) }
        return pid
    }

    private static func withCStrings<Result>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
    ) -> Result {
        let pointers = strings.map { strdup($0) }
        defer { for pointer in pointers { free(pointer) } }
        return body(pointers + [nil])
    }
}

// MARK: - Running to the end

/// What a command left behind.
struct CommandResult: Sendable {
    /// The exit code, or 128 and the signal that ended it.
    var exitCode: Int32
    /// Standard output, cut at the limit asked for.
    var output: [UInt8]
    /// Standard error, cut likewise.
    var errorOutput: [UInt8]
    /// True where the command was killed because its time was up.
    var isTimedOut = false

    /// Standard error as a trimmed text, for messages.
    var errorText: String {
        trimmed(String(decoding: errorOutput, as: UTF8.self))
    }
}

/// `text` without white space at its ends.
func trimmed(_ text: String) -> String {
    let isSpace: (Character) -> Bool = { $0.isWhitespace }
    return String(text.drop(while: isSpace).reversed().drop(while: isSpace).reversed())
}

/// The message in the last line of what a program of Go's logrus wrote
/// (`time="…" level=fatal msg="…"`), or the line as it is.
func lastMessage(_ text: String) -> String {
    let line = text.split(separator: "\n").last.map(String.init) ?? "no reason given"
    guard let start = line.firstRange(of: "msg=\"")?.upperBound else { return line }
    var message = ""
    var isEscaped = false
    for character in line[start...] {
        if isEscaped {
            message.append(character)
            isEscaped = false
        } else if character == "\\" {
            isEscaped = true
        } else if character == "\"" {
            break
        } else {
            message.append(character)
        }
    }
    return message
}

extension Command {
    /// Runs the command to its end on a thread of its own.
    /// - Parameters:
    ///   - timeoutMilliseconds: the command is killed after so long.
    ///   - outputLimit: bytes kept of each output stream.
    func run(
        timeoutMilliseconds: Int = 60_000, outputLimit: Int = 64 * 1024
    ) async throws -> CommandResult {
        try await Blocking.run {
            try self.runBlocking(
                timeoutMilliseconds: timeoutMilliseconds, outputLimit: outputLimit)
        }
    }

    /// Runs the command to its end, blocking the calling thread.
    func runBlocking(
        timeoutMilliseconds: Int = 60_000, outputLimit: Int = 64 * 1024
    ) throws -> CommandResult {
        let output = try Pipe()
        let error = try Pipe()
        defer {
            output.close()
            error.close()
        }
        var command = self
        command.descriptors = [-1, output.writeEnd, error.writeEnd]
        let pid = try command.spawn()
        output.closeWriteEnd()
        error.closeWriteEnd()
        let pidDescriptor = portolan_pidfd_open(pid, 0)
        defer { if pidDescriptor >= 0 { Glibc.close(pidDescriptor) } }
        var result = CommandResult(exitCode: -1, output: [], errorOutput: [])
        let deadline = Timestamp.now.adding(seconds: Double(timeoutMilliseconds) / 1000)
        var entries = [
            pollfd(fd: pidDescriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: output.readEnd, events: Int16(POLLIN), revents: 0),
            pollfd(fd: error.readEnd, events: Int16(POLLIN), revents: 0),
        ]
        while true {
            let left = deadline.secondsSince(.now)
            if left <= 0, !result.isTimedOut {
                result.isTimedOut = true
                kill(pid, SIGKILL)
            }
            let wait = result.isTimedOut ? -1 : Int32(min(left * 1000 + 1, 1_000_000))
            let count = poll(&entries, nfds_t(entries.count), wait)
            if count < 0 && errno != EINTR { throw SystemError("poll") }
            if count <= 0 { continue }
            if entries[1].revents != 0, !drain(output.readEnd, &result.output, outputLimit) {
                entries[1].fd = -1
            }
            if entries[2].revents != 0, !drain(error.readEnd, &result.errorOutput, outputLimit) {
                entries[2].fd = -1
            }
            if entries[0].revents != 0 { break }
        }
        // What the process wrote before it ended is in the pipes now; a child it left behind may
        // hold them open, so they are read only as far as they are filled.
        if entries[1].fd >= 0 { _ = drain(output.readEnd, &result.output, outputLimit) }
        if entries[2].fd >= 0 { _ = drain(error.readEnd, &result.errorOutput, outputLimit) }
        result.exitCode = Self.reap(pid)
        return result
    }

    /// Waits for `pid` and returns its exit code, or 128 and the signal that ended it.
    static func reap(_ pid: pid_t) -> Int32 {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 {
            if errno != EINTR { return -1 }
        }
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }

    /// Reads what is there; false at the end of the stream.
    private func drain(_ descriptor: Int32, _ bytes: inout [UInt8], _ limit: Int) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count == 0 { return false }
            if count < 0 { return errno == EAGAIN || errno == EINTR }
            bytes += buffer[..<min(count, max(0, limit - bytes.count))]
        }
    }
}

/// A pipe whose ends close on exec; the end read here does not block.
final class Pipe {
    private(set) var readEnd: Int32 = -1
    private(set) var writeEnd: Int32 = -1

    /// Makes a pipe.
    /// - Parameter isReadBlocking: true for a reader that waits in `read`.
    init(isReadBlocking: Bool = false) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw SystemError("pipe") }
        readEnd = ends[0]
        writeEnd = ends[1]
        setCloseOnExec(readEnd)
        setCloseOnExec(writeEnd)
        if !isReadBlocking { setNonBlocking(readEnd) }
    }

    /// Hands the end that is written to the caller, who closes it.
    func takeWriteEnd() -> Int32 {
        defer { writeEnd = -1 }
        return writeEnd
    }

    /// Closes the end that is read.
    func closeReadEnd() {
        if readEnd >= 0 { Glibc.close(readEnd) }
        readEnd = -1
    }

    /// Closes the end that is written.
    func closeWriteEnd() {
        if writeEnd >= 0 { Glibc.close(writeEnd) }
        writeEnd = -1
    }

    /// Closes both ends.
    func close() {
        closeReadEnd()
        closeWriteEnd()
    }
}

/// Marks a descriptor to be closed on exec.
func setCloseOnExec(_ descriptor: Int32) { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }

/// Makes reads and writes return EAGAIN instead of waiting.
func setNonBlocking(_ descriptor: Int32) {
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
}

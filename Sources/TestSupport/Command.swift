import CLinux
import Glibc
public import Netlink
import Synchronization

/// What a command left behind.
public struct CommandResult: Sendable {
    /// The exit code, or 128 plus the signal's number.
    public var exitCode: Int32
    /// All of standard output, repaired where it is not UTF-8.
    public var output: String
    /// All of standard error.
    public var errorOutput: String

    /// Output without white space at either end.
    public var trimmedOutput: String {
        let isSpace: (Character) -> Bool = { $0.isWhitespace }
        guard let first = output.firstIndex(where: { !isSpace($0) }),
            let last = output.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(output[first...last])
    }
}

/// A test's tool or fixture failed.
public struct TestFailure: Error, CustomStringConvertible {
    /// What failed, and how.
    public let description: String
    /// Makes a failure.
    public init(_ description: String) { self.description = description }
}

/// Runs programs, where asked to inside a network namespace. Programs are found in PATH.
public enum Command {
    /// Runs a program to its end.
    /// - Parameters:
    ///   - input: given as standard input.
    ///   - timeoutSeconds: after this the program is killed and the call throws.
    /// - Throws: where the program cannot be started or is killed; not for an exit code.
    public static func run(
        _ arguments: [String], in namespace: NamespaceDescriptor? = nil, input: String = "",
        environment: [String: String] = [:], timeoutSeconds: Int = 30
    ) throws -> CommandResult {
        let process = try RunningCommand(
            arguments, in: namespace, input: input, environment: environment)
        return try process.finish(timeoutSeconds: timeoutSeconds)
    }

    /// Runs a program that must succeed.
    /// - Throws: with its error output where it does not.
    @discardableResult
    public static func check(
        _ arguments: [String], in namespace: NamespaceDescriptor? = nil, input: String = "",
        environment: [String: String] = [:], timeoutSeconds: Int = 30
    ) throws -> CommandResult {
        let result = try run(
            arguments, in: namespace, input: input, environment: environment,
            timeoutSeconds: timeoutSeconds)
        guard result.exitCode == 0 else {
            throw TestFailure(
                "\(arguments.joined(separator: " ")) ended with \(result.exitCode): "
                    + result.errorOutput + result.output)
        }
        return result
    }
}

/// A program that runs. It is killed when this object goes.
///
/// Output goes to files in memory, so a program that writes much never waits for a reader.
public final class RunningCommand: Sendable {
    private let arguments: [String]
    private let output: Int32
    private let errorOutput: Int32
    private let exitCode = Mutex(Int32?.none)
    /// The process.
    public let processID: Int32

    /// Starts a program, in the calling thread's namespace or the one given.
    public init(
        _ arguments: [String], in namespace: NamespaceDescriptor? = nil, input: String = "",
        environment: [String: String] = [:]
    ) throws {
        self.arguments = arguments
        let inputFile = portolan_memfd_create("stdin", PORTOLAN_MFD_CLOEXEC)
        output = portolan_memfd_create("stdout", PORTOLAN_MFD_CLOEXEC)
        errorOutput = portolan_memfd_create("stderr", PORTOLAN_MFD_CLOEXEC)
        defer { close(inputFile) }
        var text = input
        text.withUTF8 { _ = write(inputFile, $0.baseAddress, $0.count) }
        lseek(inputFile, 0, SEEK_SET)
        let files = [inputFile, output, errorOutput]
        do {
            if let namespace {
                processID = try NetworkNamespace.withThread(in: namespace) {
                    try Self.spawn(arguments, files, environment)
                }
            } else {
                processID = try Self.spawn(arguments, files, environment)
            }
        } catch {
            close(output)
            close(errorOutput)
            throw error
        }
    }

    deinit {
        exitCode.withLock { code in
            guard code == nil else { return }
            kill(processID, SIGKILL)
            var status: Int32 = 0
            waitpid(processID, &status, 0)
        }
        close(output)
        close(errorOutput)
    }

    /// Standard output so far.
    public var outputSoFar: String { Self.contents(output) }

    /// Standard error so far.
    public var errorOutputSoFar: String { Self.contents(errorOutput) }

    /// True while the program has not ended.
    public var isRunning: Bool { pollExit() == nil }

    /// Sends a signal.
    public func signal(_ number: Int32) {
        exitCode.withLock { code in
            if code == nil { kill(processID, number) }
        }
    }

    /// Sends SIGTERM, waits, then SIGKILL.
    @discardableResult
    public func stop(timeoutSeconds: Int = 10) -> CommandResult {
        signal(SIGTERM)
        if let result = try? finish(timeoutSeconds: timeoutSeconds) { return result }
        return CommandResult(
            exitCode: 128 + SIGKILL, output: outputSoFar, errorOutput: errorOutputSoFar)
    }

    /// Waits for the end; kills the program and throws when the time is over.
    public func finish(timeoutSeconds: Int) throws -> CommandResult {
        let descriptor = portolan_pidfd_open(processID, 0)
        if descriptor >= 0 {
            var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            _ = Glibc.poll(&poll, 1, Int32(clamping: timeoutSeconds * 1000))
            close(descriptor)
        }
        if let code = pollExit() {
            return CommandResult(
                exitCode: code, output: outputSoFar, errorOutput: errorOutputSoFar)
        }
        exitCode.withLock { code in
            kill(processID, SIGKILL)
            var status: Int32 = 0
            waitpid(processID, &status, 0)
            code = 128 + SIGKILL
        }
        throw TestFailure(
            "\(arguments.joined(separator: " ")) did not end within \(timeoutSeconds) s: "
                + errorOutputSoFar + outputSoFar)
    }

    private func pollExit() -> Int32? {
        exitCode.withLock { code in
            if let code { return code }
            var status: Int32 = 0
            guard waitpid(processID, &status, WNOHANG) == processID else { return nil }
            let signal = status & 0x7F
            code = signal == 0 ? (status >> 8) & 0xFF : 128 + signal
            return code
        }
    }

    private static func spawn(
        _ arguments: [String], _ files: [Int32], _ environment: [String: String]
    ) throws -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        // A test runner may ignore or block signals, which a child would inherit.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGDEF) | Int16(POSIX_SPAWN_SETSIGMASK))
        for (target, file) in files.enumerated() {
            posix_spawn_file_actions_adddup2(&actions, file, Int32(target))
        }
        var pairs: [String: String] = [:]
        var entry = environ
        while let pointer = entry.pointee {
            let parts = String(cString: pointer).split(separator: "=", maxSplits: 1)
            if parts.count == 2 { pairs[String(parts[0])] = String(parts[1]) }
            entry += 1
        }
        pairs.merge(environment) { $1 }
        let path = pairs["PATH"] ?? "/usr/bin:/bin"
        if !path.split(separator: ":").contains("/usr/sbin") { pairs["PATH"] = path + ":/usr/sbin" }
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        var envp: [UnsafeMutablePointer<CChar>?] = pairs.map { strdup("\($0)=\($1)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        guard let name = arguments.first else { throw TestFailure("no program was named") }
        var processID: pid_t = 0
        let code = posix_spawnp(&processID, name, &actions, &attributes, &argv, &envp)
        guard code == 0 else {
            throw TestFailure("cannot start \(name): \(NetlinkError.text(code))")
        }
        return processID
    }

    private static func contents(_ file: Int32) -> String {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = pread(file, &chunk, chunk.count, off_t(bytes.count))
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

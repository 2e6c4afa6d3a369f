import CLinux
import Glibc
import Informer
import JSON

/// A step of runc or conmon that failed.
struct RuntimeError: Error, CustomStringConvertible {
    let description: String
}

/// Containers by `runc`, each watched by a `conmon` of its own, which holds its output, writes its
/// log and its exit code, and outlives the node agent.
struct ContainerRuntime: Sendable {
    /// Where runc keeps its state.
    var stateDirectory: String
    /// Where conmon leaves an exit code, in a file named by the container.
    var exitDirectory: String
    /// The programs.
    var runcPath = "/usr/sbin/runc"
    var conmonPath = "/usr/bin/conmon"

    /// Where a container's log begins anew, in bytes.
    static let logByteLimit = 64 << 20
    /// Longest time a step of runc may take, in milliseconds.
    private static let stepTimeoutMilliseconds = 60_000

    // MARK: - Life of a container

    /// Creates a container of the bundle: its process waits to be started.
    /// - Returns: the process id of its first process, in the machine's numbering.
    func create(
        _ id: String, bundle: String, logPath: String, usesTerminal: Bool,
        input: ContainerSpecification.StandardInput
    ) async throws -> pid_t {
        try await Blocking.run {
            try createBlocking(
                id, bundle: bundle, logPath: logPath, usesTerminal: usesTerminal,
                input: input)
        }
    }

    private func createBlocking(
        _ id: String, bundle: String, logPath: String, usesTerminal: Bool,
        input: ContainerSpecification.StandardInput
    ) throws -> pid_t {
        unlink(exitDirectory + "/" + id)
        var arguments = [
            "--cid", id, "--cuuid", id, "--name", id, "--runtime", runcPath, "--bundle", bundle,
            "--container-pidfile", bundle + "/pid", "--conmon-pidfile", bundle + "/conmon.pid",
            "--log-path", "k8s-file:" + logPath, "--exit-dir", exitDirectory, "--full-attach",
            "--no-sync-log", "--log-size-max", String(Self.logByteLimit), "--runtime-arg", "--root",
            "--runtime-arg", stateDirectory,
        ]
        if usesTerminal { arguments.append("--terminal") }
        if input != .none { arguments.append("--stdin") }
        if input == .open { arguments.append("--leave-stdin-open") }
        var command = Command(
            conmonPath, arguments, environment: Command.plainEnvironment + ["_OCI_SYNCPIPE=3"])
        let sync = try Pipe()
        defer { sync.close() }
        command.descriptors = [-1, -1, -1, sync.writeEnd]
        let pid = try command.spawn()
        sync.closeWriteEnd()
        // conmon's first process ends at once; the one that stays is not this process's child.
        _ = Command.reap(pid)
        let answer = try readLine(sync.readEnd)
        guard let json = try? JSONValue(parsing: answer),
            let code = json["pid"]?.int ?? json["data"]?.int
        else {
            throw RuntimeError(
                description: "conmon gave no answer: " + String(decoding: answer, as: UTF8.self))
        }
        guard code > 0 else {
            throw RuntimeError(
                description: "runc could not create the container: "
                    + lastMessage(json["message"]?.string ?? "exit code \(code)"))
        }
        return pid_t(code)
    }

    /// Reads up to the line feed or the end, for a bounded time.
    private func readLine(_ descriptor: Int32) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while bytes.last != UInt8(ascii: "\n"), bytes.count < 65_536 {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let ready = poll(&entry, 1, Int32(Self.stepTimeoutMilliseconds))
            if ready < 0 && errno == EINTR { continue }
            guard ready > 0 else {
                throw RuntimeError(description: "conmon did not answer in time")
            }
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0 && (errno == EINTR || errno == EAGAIN) { continue }
            if count <= 0 { break }
            bytes += buffer[..<count]
        }
        return bytes
    }

    /// Starts the process of a created container.
    func start(_ id: String) async throws { try await step(["start", id], "start") }

    /// Sends a signal to the first process; a container that has ended is fine.
    func kill(_ id: String, signal: Int32) async throws {
        let result = try await run(["kill", id, String(signal)])
        let text = result.errorText
        guard
            result.exitCode == 0 || text.contains("not running") || text.contains("does not exist")
                || text.contains("already finished")
        else { throw RuntimeError(description: "runc kill \(id): \(text)") }
    }

    /// Removes what runc keeps of a container, killing what is left of it.
    func delete(_ id: String) async throws {
        try await step(["delete", "--force", id], "delete")
    }

    /// Removes a container, blocking the calling thread.
    func deleteBlocking(_ id: String) throws {
        _ = try runc(["delete", "--force", id])
            .runBlocking(timeoutMilliseconds: Self.stepTimeoutMilliseconds)
    }

    /// The names of all containers that runc knows here.
    func containerIDs() -> [String] { Files.names(in: stateDirectory) }

    /// The exit code that conmon has left, or nil while the container runs.
    func exitCode(_ id: String) -> Int32? {
        Files.text(exitDirectory + "/" + id).flatMap { Int32(trimmed($0)) }
    }

    private func step(_ arguments: [String], _ name: String) async throws {
        let result = try await run(arguments)
        guard result.exitCode == 0 else {
            throw RuntimeError(description: "runc \(name): \(lastMessage(result.errorText))")
        }
    }

    private func run(_ arguments: [String]) async throws -> CommandResult {
        try await runc(arguments).run(timeoutMilliseconds: Self.stepTimeoutMilliseconds)
    }

    // MARK: - Commands in a container

    /// runc with the node's state directory.
    func runc(_ arguments: [String]) -> Command {
        Command(runcPath, ["--root", stateDirectory] + arguments)
    }

    /// Runs a command in a container to its end, as probes and hooks do.
    func exec(
        _ id: String, _ command: [String], timeoutMilliseconds: Int, outputLimit: Int = 10 * 1024
    ) async throws -> CommandResult {
        try await execCommand(id, command, usesTerminal: false)
            .run(timeoutMilliseconds: timeoutMilliseconds, outputLimit: outputLimit)
    }

    /// The runc process that carries a command in a container.
    func execCommand(_ id: String, _ command: [String], usesTerminal: Bool) -> Command {
        // runc looks up the working directory and the variables in the container's bundle.
        runc(["exec"] + (usesTerminal ? ["--tty"] : []) + [id] + command)
    }

    /// As `execCommand`, for a session that may have to be ended: runc notes the process id of the
    /// command in a file of the container's directory.
    func sessionCommand(
        _ id: String, _ command: [String], usesTerminal: Bool, directory: String
    ) -> Command {
        let number = UInt64.random(in: 0 ... .max)
        let pidFile = directory + "/exec-" + String(number, radix: 16)
        var result = runc(
            ["exec", "--pid-file", pidFile] + (usesTerminal ? ["--tty"] : []) + [id] + command)
        result.pidFile = pidFile
        return result
    }
}

import CLinux
import Glibc
import Informer
import KubernetesAPI

/// A command in a container, or the container's own process, joined to a client's streams.
struct ContainerSession: StreamSession {
    /// What is joined.
    enum Kind: Sendable {
        /// A command that runc carries.
        case exec(Command)
        /// The process whose conmon listens in this directory.
        case attach(directory: String)
    }

    var kind: Kind
    var hasInput: Bool
    var usesTerminal: Bool

    /// Bytes of output that go into one message.
    private static let chunkByteCount = 32 * 1024

    /// Runs to the end, and tells the client how it ended.
    func run(_ streams: WebSocketStreams) async throws {
        streams.open(.output)
        switch kind {
        case .exec(let command):
            let exitCode =
                usesTerminal
                ? try await runInTerminal(command, streams) : try await runPlain(command, streams)
            streams.finish(exitCode: exitCode)
        case .attach(let directory):
            try await attach(directory, streams)
            streams.finish(exitCode: 0)
        }
    }

    // MARK: - Commands

    private func runPlain(_ command: Command, _ streams: WebSocketStreams) async throws -> Int32 {
        let input = try Pipe(isReadBlocking: true)
        let output = try Pipe()
        let error = try Pipe()
        defer {
            output.close()
            error.close()
            input.close()
        }
        var command = command
        command.descriptors = [
            hasInput ? input.readEnd : -1, output.writeEnd, error.writeEnd,
        ]
        let pid = try command.spawn()
        input.closeReadEnd()
        output.closeWriteEnd()
        error.closeWriteEnd()
        // The input's end closes when the client has said all.
        let writeEnd = input.takeWriteEnd()
        let (hasInput, pidFile) = (hasInput, command.pidFile)
        let pump = Task {
            if !hasInput { close(writeEnd) }
            var isOpen = hasInput
            for await message in streams.messages {
                switch message {
                case .input(let bytes) where isOpen:
                    _ = try? await Blocking.run {
                        try Files.writeAll(writeEnd, bytes, path: "standard input")
                    }
                    streams.consumed(bytes.count)
                case .input(let bytes): streams.consumed(bytes.count)
                case .endOfInput where isOpen:
                    close(writeEnd)
                    isOpen = false
                case .endOfInput, .resize: break
                }
            }
            if isOpen { close(writeEnd) }
            // The client is gone before the command has ended, or this is cancelled.
            if !Task.isCancelled { Self.killCommand(pid, pidFile) }
        }
        let (outputEnd, errorEnd) = (output.readEnd, error.readEnd)
        let exitCode = try await Self.onThread {
            Self.forward([(outputEnd, .output), (errorEnd, .errorOutput)], until: pid, streams)
        }
        pump.cancel()
        return exitCode
    }

    private func runInTerminal(
        _ command: Command, _ streams: WebSocketStreams
    ) async throws -> Int32 {
        let (main, side) = try Self.openTerminal()
        var command = command
        command.descriptors = [side, side, side]
        command.startsSession = true
        let pid: pid_t
        do {
            pid = try command.spawn()
        } catch {
            close(main)
            close(side)
            throw error
        }
        close(side)
        let pidFile = command.pidFile
        let pump = Task {
            for await message in streams.messages {
                switch message {
                case .input(let bytes):
                    _ = try? await Blocking.run {
                        try Self.writeWaiting(main, bytes)
                    }
                    streams.consumed(bytes.count)
                case .resize(let rows, let columns):
                    // runc is told by hand, for the terminal is not the one that controls it.
                    _ = portolan_set_window_size(main, rows, columns)
                    kill(pid, SIGWINCH)
                case .endOfInput: break
                }
            }
            if !Task.isCancelled { Self.killCommand(pid, pidFile) }
        }
        let exitCode = try await Self.onThread {
            Self.forward([(main, .output)], until: pid, streams)
        }
        pump.cancel()
        await pump.value
        close(main)
        return exitCode
    }

    /// Ends the command in the container and the runc that carries it.
    private static func killCommand(_ pid: pid_t, _ pidFile: String?) {
        if let pidFile, let inner = Files.text(pidFile).flatMap({ pid_t(trimmed($0)) }), inner > 1 {
            kill(inner, SIGKILL)
        } else {
            kill(pid, SIGKILL)
        }
    }

    /// Runs work that lasts as long as a session on a thread that is not one of the few.
    static func onThread<Result: Sendable>(
        _ work: @Sendable @escaping () -> Result
    ) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            let status = Blocking.startThread { continuation.resume(returning: work()) }
            if status != 0 {
                continuation.resume(throwing: SystemError(call: "pthread_create", code: status))
            }
        }
    }

    /// Sends what comes out of the descriptors to the client until the process has ended and its
    /// output is read. Blocking; the client's pace is the command's.
    /// - Returns: the exit code.
    private static func forward(
        _ sources: [(descriptor: Int32, stream: WebSocketStreams.Stream)], until pid: pid_t,
        _ streams: WebSocketStreams
    ) -> Int32 {
        let pidDescriptor = portolan_pidfd_open(pid, 0)
        defer { if pidDescriptor >= 0 { close(pidDescriptor) } }
        var entries = [pollfd(fd: pidDescriptor, events: Int16(POLLIN), revents: 0)]
        entries += sources.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        var hasEnded = false
        while true {
            // Once the process has ended, what it wrote is there; children that hold its output
            // open are not waited for.
            let count = poll(&entries, nfds_t(entries.count), hasEnded ? 0 : -1)
            if count < 0 && errno == EINTR { continue }
            var didRead = false
            for (index, source) in sources.enumerated() where entries[index + 1].revents != 0 {
                if copyChunk(source.descriptor, source.stream, streams) {
                    didRead = true
                } else {
                    entries[index + 1].fd = -1
                }
                entries[index + 1].revents = 0
            }
            if hasEnded && !didRead { break }
            if entries[0].revents != 0 {
                hasEnded = true
                entries[0].fd = -1
                entries[0].revents = 0
            }
        }
        return Command.reap(pid)
    }

    /// Copies what can be read at once; false at the end of the stream.
    private static func copyChunk(
        _ descriptor: Int32, _ stream: WebSocketStreams.Stream, _ streams: WebSocketStreams
    ) -> Bool {
        var buffer = [UInt8](repeating: 0, count: chunkByteCount)
        let count = read(descriptor, &buffer, buffer.count)
        if count < 0 { return errno == EINTR || errno == EAGAIN }
        guard count > 0 else { return false }
        // A client that is gone is noticed by who reads from it.
        try? streams.sendBlocking(stream, buffer[..<count])
        return true
    }

    // MARK: - Terminals

    private static func openTerminal() throws -> (main: Int32, side: Int32) {
        var side: Int32 = -1
        let main = portolan_open_terminal(&side)
        guard main >= 0 else { throw SystemError("open a terminal") }
        setNonBlocking(main)
        return (main, side)
    }

    /// Writes to a descriptor that does not block, waiting for room for a bounded time.
    static func writeWaiting(_ descriptor: Int32, _ bytes: [UInt8]) throws {
        var offset = 0
        while offset < bytes.count {
            let count = bytes[offset...].withUnsafeBytes {
                write(descriptor, $0.baseAddress, $0.count)
            }
            if count > 0 {
                offset += count
            } else if errno == EAGAIN {
                let deadline = Timestamp.now.adding(seconds: 60)
                guard waitFor(descriptor, Int16(POLLOUT), deadline) else {
                    throw SystemError(call: "write to the terminal", code: ETIMEDOUT)
                }
            } else if errno != EINTR {
                throw SystemError("write to the terminal")
            }
        }
    }

    // MARK: - Attaching

    /// Joins the client to the socket on which conmon hands out the container's streams: each
    /// packet's first byte is 2 for output, 3 for error output (conmon's pipes, counted from 1).
    private func attach(_ directory: String, _ streams: WebSocketStreams) async throws {
        let socket = try Self.connectAttach(directory)
        let hasInput = hasInput
        let pump = Task {
            for await message in streams.messages {
                switch message {
                case .input(let bytes):
                    if hasInput {
                        _ = try? await Blocking.run { try Self.writeWaiting(socket, bytes) }
                    }
                    streams.consumed(bytes.count)
                case .endOfInput: shutdown(socket, Int32(SHUT_WR))
                case .resize(let rows, let columns):
                    let text = "1 \(rows) \(columns)\n"
                    _ = try? Self.writeControl(directory + "/ctl", text)
                }
            }
            shutdown(socket, Int32(SHUT_RDWR))
        }
        try await Self.onThread {
            var buffer = [UInt8](repeating: 0, count: Self.chunkByteCount)
            while true {
                var entry = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
                if poll(&entry, 1, -1) < 0 && errno != EINTR { return }
                let count = recv(socket, &buffer, buffer.count, 0)
                if count < 0 && (errno == EINTR || errno == EAGAIN) { continue }
                guard count > 0 else { return }
                let stream: WebSocketStreams.Stream = buffer[0] == 3 ? .errorOutput : .output
                if (try? streams.sendBlocking(stream, buffer[1..<count])) == nil { return }
            }
        }
        pump.cancel()
        await pump.value
        close(socket)
    }

    private static func writeControl(_ path: String, _ text: String) throws {
        let descriptor = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        defer { close(descriptor) }
        try Files.writeAll(descriptor, Array(text.utf8), path: path)
    }

    private static func connectAttach(_ directory: String) throws -> Int32 {
        // A socket's path has 107 bytes at most: it is reached by way of its directory.
        let place = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard place >= 0 else { throw SystemError("open \(directory)") }
        defer { close(place) }
        let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_UNIX, type, 0)
        guard descriptor >= 0 else { throw SystemError("socket") }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = Array("/proc/self/fd/\(place)/attach".utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard status == 0 else {
            let error = SystemError("attach to the container")
            close(descriptor)
            throw error
        }
        setNonBlocking(descriptor)
        return descriptor
    }
}

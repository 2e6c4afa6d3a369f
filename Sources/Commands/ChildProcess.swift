import CLinux
import Glibc

/// A process that this one started, in a process group of its own, so that a terminal's Ctrl-C
/// reaches the supervisor alone.
struct ChildProcess: Sendable {
    let processID: pid_t

    /// POSIX_SPAWN_SETSID of glibc's spawn.h, which is hidden behind _GNU_SOURCE.
    private static let spawnInNewSession: Int32 = 0x80

    /// How a process ended.
    enum Exit: Hashable, Sendable {
        case exited(Int32)
        case killed(signal: Int32)
    }

    /// Starts a program with posix_spawn.
    /// - Parameters:
    ///   - logPath: where standard output and error are appended.
    ///   - readyDescriptor: passed on as descriptor 3, or nil.
    /// - Throws: `CommandFailure` where the program cannot be started.
    init(
        _ program: String, _ arguments: [String], logPath: String, readyDescriptor: Int32?,
        isNewSession: Bool = false
    ) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, logPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        if let readyDescriptor { posix_spawn_file_actions_adddup2(&actions, readyDescriptor, 3) }
        // The sockets on which this process listens are not its children's: they would keep the
        // ports taken after its end.
        posix_spawn_file_actions_addclosefrom_np(&actions, readyDescriptor == nil ? 3 : 4)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var emptyMask = sigset_t()
        sigemptyset(&emptyMask)
        posix_spawnattr_setsigmask(&attributes, &emptyMask)
        let session = isNewSession ? Self.spawnInNewSession : Int32(POSIX_SPAWN_SETPGROUP)
        posix_spawnattr_setflags(&attributes, Int16(session | Int32(POSIX_SPAWN_SETSIGMASK)))

        var identifier = pid_t()
        let texts = [program] + arguments
        let pointers = texts.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        // A crash must end at once: the supervisor restarts faster than a backtrace is printed.
        setenv("SWIFT_BACKTRACE", "enable=no", 0)
        let status = posix_spawn(&identifier, program, &actions, &attributes, pointers, environ)
        guard status == 0 else {
            throw CommandFailure("cannot start \(program): \(String(cString: strerror(status)))")
        }
        processID = identifier
    }

    /// Waits for the end of the process on a thread of its own.
    func exit() async -> Exit {
        await withCheckedContinuation { continuation in
            OneShotThread.start {
                var status: Int32 = 0
                while waitpid(processID, &status, 0) < 0, errno == EINTR {}
                let signal = status & 0x7F
                continuation.resume(
                    returning: signal == 0 ? .exited(status >> 8 & 0xFF) : .killed(signal: signal))
            }
        }
    }

    /// Sends a signal; no error where the process is gone.
    func send(_ signal: Int32) { kill(processID, signal) }

    /// Waits until a process that is no child of this one has ended.
    /// - Returns: false where it still runs after `milliseconds`.
    static func waitForEnd(of processID: pid_t, milliseconds: Int32) -> Bool {
        let descriptor = portolan_pidfd_open(processID, 0)
        guard descriptor >= 0 else { return true }
        defer { close(descriptor) }
        var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&poller, 1, milliseconds) > 0
    }
}

/// Runs one closure on a thread that ends with it.
enum OneShotThread {
    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    static func start(_ run: @escaping @Sendable () -> Void) {
        let body = Unmanaged.passRetained(Body(run))
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { argument in
                if let argument {
                    // Balanced with passRetained: the thread takes the one reference over.
                    Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                }
                return nil
            }, body.toOpaque())
        if status == 0 {
            pthread_detach(thread)
        } else {
            body.release()
            run()
        }
    }
}

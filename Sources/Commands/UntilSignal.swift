import Glibc
import Logging
import UnixSignals

/// Runs tasks until one fails or the process is asked to end (SIGTERM, SIGINT).
enum UntilSignal {
    /// Runs what `body` adds to the group. At a signal every task is cancelled and awaited.
    /// - Parameter overdue: called on a thread of its own where tasks have not ended some time after
    ///   they were cancelled; it must end the process.
    /// - Throws: the first failure of a task.
    static func run(
        overdue: @escaping @Sendable () -> Never = { exit(1) },
        _ body: (inout ThrowingTaskGroup<Void, any Error>) async throws -> Void
    ) async throws {
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        var failure: (any Error)?
        var watchdog: Watchdog?
        try await withThrowingTaskGroup(of: Void.self) { group in
            try await body(&group)
            group.addTask {
                for await _ in signals { throw SignalReceived() }
            }
            do {
                while try await group.next() != nil {}
            } catch {
                group.cancelAll()
                watchdog = try? Watchdog(graceSeconds, overdue)
                if !(error is SignalReceived) { failure = error }
                while let result = await group.nextResult() {
                    if case .failure(let error) = result, !(error is CancellationError) {
                        Console.error("portolan: while ending: \(error)")
                    }
                }
            }
        }
        watchdog?.dismiss()
        if let failure { throw failure }
    }

    /// Calls `overdue` on a thread of its own unless it is dismissed in time.
    private struct Watchdog: Sendable {
        private let writing: Int32

        init(_ seconds: Int32, _ overdue: @escaping @Sendable () -> Never) throws {
            let pipe = try FileSystem.makePipe()
            writing = pipe.writing
            OneShotThread.start {
                var poller = pollfd(fd: pipe.reading, events: Int16(POLLIN), revents: 0)
                let count = poll(&poller, 1, seconds * 1000)
                close(pipe.reading)
                guard count == 0 else { return }
                Console.error("portolan: not everything ended within \(seconds) s")
                overdue()
            }
        }

        func dismiss() { close(writing) }
    }

    /// Keeps a task alive until it is cancelled.
    static func sleepUntilCancelled() async {
        let (stream, continuation) = AsyncStream<Never>.makeStream()
        await withTaskCancellationHandler {
            for await _ in stream {}
        } onCancel: {
            continuation.finish()
        }
    }

    /// How long tasks may take to end, in seconds: pods get their grace period meanwhile.
    private static let graceSeconds: Int32 = 30

    private struct SignalReceived: Error {}
}

/// Where this program's file is.
enum Executable {
    /// The absolute path of the running program.
    static var path: String {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        return count > 0
            ? String(decoding: buffer[..<count], as: UTF8.self) : CommandLine.arguments[0]
    }
}

/// How the program logs.
enum Logging {
    /// A logger to standard error; `PORTOLAN_LOG` sets the level (`debug`, `info`, …).
    static func logger(_ label: String) -> Logger {
        var logger = Logger(label: label) { StreamLogHandler.standardError(label: $0) }
        let level = getenv("PORTOLAN_LOG").flatMap { Logger.Level(rawValue: String(cString: $0)) }
        logger.logLevel = level ?? .notice
        return logger
    }
}

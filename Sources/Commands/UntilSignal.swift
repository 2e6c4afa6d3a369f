import Glibc
import Logging
import UnixSignals

/// Runs tasks until one fails or the process is asked to end (SIGTERM, SIGINT).
enum UntilSignal {
    /// Runs what `body` adds to the group. At a signal every task is cancelled and awaited.
    /// - Throws: the first failure of a task.
    static func run(
        _ body: (inout ThrowingTaskGroup<Void, any Error>) async throws -> Void
    ) async throws {
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        var failure: (any Error)?
        try await withThrowingTaskGroup(of: Void.self) { group in
            try await body(&group)
            group.addTask {
                for await _ in signals { throw SignalReceived() }
            }
            do {
                while try await group.next() != nil {}
            } catch {
                group.cancelAll()
                if !(error is SignalReceived) { failure = error }
                while let result = await group.nextResult() {
                    if case .failure(let error) = result, !(error is CancellationError) {
                        Console.error("portolan: while ending: \(error)")
                    }
                }
            }
        }
        if let failure { throw failure }
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

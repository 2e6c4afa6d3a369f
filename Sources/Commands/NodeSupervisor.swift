import Glibc
import Logging
import Synchronization

/// Starts one `portolan node` process a node and starts it again when it ends, with growing pauses
/// where it ends at once. The kernel's rules outlive the process, so a restart costs no traffic.
final class NodeSupervisor: Sendable {
    /// What a node's process is started with.
    struct Node: Sendable {
        let name: String
        let arguments: [String]
        let logPath: String
    }

    private struct State {
        var running: [String: pid_t] = [:]
        var restartCounts: [String: Int] = [:]
        var isStopping = false
    }

    private let executable: String
    private let runDirectory: RunDirectory
    private let logger: Logger
    private let state = Mutex(State())

    /// A process that lived at least this long is restarted without a pause.
    private static let steadySeconds = 10
    private static let pauseLimitMilliseconds = 5_000

    init(executable: String, runDirectory: RunDirectory, logger: Logger) {
        self.executable = executable
        self.runDirectory = runDirectory
        self.logger = logger
    }

    /// Keeps the node's process running until `stop`. Calls `onReady` each time a process says it
    /// is ready.
    func supervise(_ node: Node, onReady: @escaping @Sendable () -> Void) async throws {
        var pauseMilliseconds = 0
        while !state.withLock({ $0.isStopping }) {
            let started = ContinuousClock.now
            let ending = try await runOnce(node, onReady: onReady)
            guard !state.withLock({ $0.isStopping }) else { return }
            state.withLock { $0.restartCounts[node.name, default: 0] += 1 }
            logger.error(
                "node process ended, starting it again",
                metadata: ["node": "\(node.name)", "exit": "\(ending)"])
            let livedLong = ContinuousClock.now - started > .seconds(Self.steadySeconds)
            pauseMilliseconds =
                livedLong || pauseMilliseconds == 0
                ? (livedLong ? 0 : 50) : min(pauseMilliseconds * 2, Self.pauseLimitMilliseconds)
            try await Task.sleep(for: .milliseconds(pauseMilliseconds))
        }
    }

    /// Asks every node process to end, and ends by force those that have not after `seconds`.
    func stop(seconds: Int32) {
        let processes = state.withLock { state in
            state.isStopping = true
            return state.running.values.sorted()
        }
        for process in processes { kill(process, SIGTERM) }
        for process in processes
        where !ChildProcess.waitForEnd(of: process, milliseconds: seconds * 1_000) {
            kill(process, SIGKILL)
        }
    }

    private func runOnce(
        _ node: Node, onReady: @escaping @Sendable () -> Void
    ) async throws -> ChildProcess.Exit {
        let (reading, writing) = try FileSystem.makePipe()
        let process: ChildProcess
        do {
            defer { close(writing) }
            process = try ChildProcess(
                executable, node.arguments, logPath: node.logPath, readyDescriptor: writing)
        } catch {
            close(reading)
            throw error
        }
        try runDirectory.record(node: node.name, process.processID)
        let isStopping = state.withLock { state in
            state.running[node.name] = process.processID
            return state.isStopping
        }
        if isStopping { process.send(SIGTERM) }
        OneShotThread.start {
            var byte: UInt8 = 0
            let count = read(reading, &byte, 1)
            close(reading)
            if count == 1 { onReady() }
        }
        let ending = await process.exit()
        state.withLock { $0.running[node.name] = nil }
        runDirectory.forget(node: node.name)
        return ending
    }
}

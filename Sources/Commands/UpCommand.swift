import APIServer
import ArgumentParser
import Glibc
import Informer
import KubernetesAPI
import Logging
import NFTables
import Store
import Synchronization

/// `portolan up`: a whole cluster on this machine, in the foreground unless told otherwise.
struct UpCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Run a standalone cluster on this machine.",
        discussion: "Needs root. Ends at Ctrl-C, SIGTERM or `portolan down`, and takes everything "
            + "but its data from the machine.")

    @OptionGroup var identity: IdentityOptions
    @OptionGroup var cluster: ClusterOptions

    @Flag(help: "Go on in the background once everything answers.")
    var detach = false

    @Option(help: .hidden)
    var mirrorDescriptor: Int32?

    func run() async throws {
        let topology = try cluster.topology(name: identity.name)
        if detach {
            try Detached.start(arguments: CommandLine.arguments, identity: identity)
            return
        }
        try await Standalone(
            topology: topology, data: DataDirectory(path: identity.dataDir),
            kubeconfigPath: cluster.kubeconfig, loadBalancer: cluster.loadBalancer == .builtin,
            localhost: cluster.localhost, fastPath: cluster.fastPath,
            console: Console(mirror: mirrorDescriptor)
        ).run()
    }
}

/// A standalone cluster from its first namespace to the end of its last process.
struct Standalone: Sendable {
    let topology: Topology
    let data: DataDirectory
    let kubeconfigPath: String?
    let loadBalancer: Bool
    let localhost: Bool
    let fastPath: Bool
    let console: Console

    func run() async throws {
        guard geteuid() == 0 else {
            throw CommandFailure("portolan up must run as root: try sudo portolan up")
        }
        let runDirectory = RunDirectory(name: topology.name)
        let lock = try runDirectory.lock()
        defer { close(lock) }
        runDirectory.endLeftoverNodes()
        if let problem = Preflight.problem(try Preflight.gather(topology), topology) {
            runDirectory.remove()
            throw CommandFailure(problem)
        }
        let logger = Logging.logger("portolan")
        let plane: ControlPlane
        do {
            try data.prepare(nodes: topology.nodes.map(\.name))
            plane = try ControlPlane(topology: topology, data: data, logger: logger)
        } catch {
            runDirectory.remove()
            throw error
        }
        console.step("objects loaded from \(data.path), revision \(plane.store.revision)")
        var failure: (any Error)?
        do {
            try VirtualNetwork(topology: topology).build()
            try MachineNetwork(topology: topology, backend: NFTablesKernel()).build()
            console.step("network \(topology.lan) with \(topology.nodes.count) nodes")
            try await serve(plane, runDirectory)
        } catch {
            failure = error
        }
        console.line("Stopping.")
        try CleanUp.run(name: topology.name, data: data)
        plane.store.close()
        if let failure { throw failure }
    }

    private func serve(_ plane: ControlPlane, _ runDirectory: RunDirectory) async throws {
        let supervisor = NodeSupervisor(
            executable: Executable.path, runDirectory: runDirectory, logger: plane.logger)
        let kubeconfig = kubeconfigPath ?? data.adminKubeconfig
        try plane.writeAdminKubeconfig(to: kubeconfig)
        let progress = NodeProgress(topology.nodes.count)
        let overdue: @Sendable () -> Never = {
            try? CleanUp.run(name: topology.name, data: data)
            exit(1)
        }
        try await UntilSignal.run(overdue: overdue) { group in
            plane.start(in: &group, loadBalancer: loadBalancer)
            if localhost, let node = topology.nodes.first {
                let forwarder = LocalhostForwarder(
                    client: plane.client, nodeAddress: node.address, logger: plane.logger)
                group.addTask { await forwarder.run() }
            }
            group.addTask {
                _ = try await plane.server.waitUntilListening()
                console.step("API server at https://127.0.0.1:\(topology.apiPort)")
            }
            for node in topology.nodes {
                let process = try plane.prepare(node, fastPath: fastPath)
                group.addTask {
                    try await withTaskCancellationHandler {
                        _ = try await plane.server.waitUntilListening()
                        try await supervisor.supervise(process) {
                            if progress.arrive(node.name) {
                                console.step("node \(node.name) at \(node.address)")
                            }
                        }
                    } onCancel: {
                        supervisor.stop(seconds: 10)
                    }
                }
            }
            group.addTask {
                await progress.waitForAll()
                await NodeReadiness.wait(for: topology.nodes.map(\.name), plane)
                guard !Task.isCancelled else { return }
                // What reading everything at the start has needed is not needed again.
                MemoryKeeper.trim()
                announce(kubeconfig)
                await UntilSignal.sleepUntilCancelled()
            }
        }
    }

    private func announce(_ kubeconfig: String) {
        console.line("")
        console.line("Portolan is ready. Use it with:")
        console.line("  export KUBECONFIG=\(kubeconfig)")
        console.line("  kubectl get nodes,services --all-namespaces")
        console.closeMirror()
    }
}

/// Counts the nodes that have said they are ready, and wakes who waits for all of them.
final class NodeProgress: Sendable {
    private struct State {
        var ready: Set<String> = []
        var isCancelled = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let expectedCount: Int
    private let state = Mutex(State())

    init(_ expectedCount: Int) { self.expectedCount = expectedCount }

    /// Notes a node; false where it was ready before (a restarted process).
    func arrive(_ name: String) -> Bool {
        let (isNew, waiters) = state.withLock { state in
            let isNew = state.ready.insert(name).inserted
            guard state.ready.count == expectedCount else {
                return (isNew, [CheckedContinuation<Void, Never>]())
            }
            defer { state.waiters = [] }
            return (isNew, state.waiters)
        }
        for waiter in waiters { waiter.resume() }
        return isNew
    }

    /// Returns once every node has arrived, or the task is cancelled.
    func waitForAll() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    let isOver = state.ready.count >= expectedCount || state.isCancelled
                    if !isOver { state.waiters.append(continuation) }
                    return isOver
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let waiters = state.withLock { state in
                state.isCancelled = true
                defer { state.waiters = [] }
                return state.waiters
            }
            for waiter in waiters { waiter.resume() }
        }
    }
}

/// Waits for nodes by watching them.
enum NodeReadiness {
    /// Returns once every named Node object says that it is ready.
    static func wait(for names: [String], _ plane: ControlPlane) async {
        let informer = Informer<Node>(.nodes, client: plane.client, logger: plane.logger)
        let waiting = Task {
            await informer.run { _ in
                let ready = Set(informer.objects.filter(\.isReady).map(\.metadata.name))
                if ready.isSuperset(of: names) { withUnsafeCurrentTask { $0?.cancel() } }
            }
        }
        await withTaskCancellationHandler {
            await waiting.value
        } onCancel: {
            waiting.cancel()
        }
    }
}

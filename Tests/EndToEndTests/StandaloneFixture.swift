import Glibc
import Netlink
import NetworkTypes
import Synchronization
import TestSupport

/// A standalone Portolan of its own for one test: its own name, ranges, port and data directory,
/// taken down and purged when the test ends.
final class StandaloneFixture: Sendable {
    /// A number from 1 to 50 that sets this cluster's ranges apart from others'.
    let number: Int
    /// Keeps the number from other test processes of the machine.
    private let reservation: Int32
    let name: String
    let dataDirectory: String
    let extraArguments: [String]
    private let process = Mutex<RunningCommand?>(nil)

    private static let numberCount = 50
    /// Where to look for a free number first: each time a little further.
    private static let counter = Mutex(Int(getpid()))

    var lan: String { "172.31.\(number)" }
    var apiPort: Int { 20_000 + number }
    var machineAddress: String { "\(lan).1" }
    func nodeAddress(_ node: Int) -> String { "\(lan).\(10 + node)" }
    func nodeName(_ node: Int) -> String { "\(name)-node-\(node)" }
    /// The first two octets of the cluster's ClusterIPs.
    var servicePrefix: String { "10.\(number + 100)" }
    var kubeconfig: String { "\(dataDirectory)/admin.kubeconfig" }

    private init(extraArguments: [String]) throws {
        (number, reservation) = try Self.reserveNumber()
        name = "e2e\(number)"
        dataDirectory = "/tmp/portolan-\(name)-\(getpid())"
        self.extraArguments = extraArguments
    }

    /// Takes a number that no test of the machine has; its file is locked as long as it is open.
    private static func reserveNumber() throws -> (Int, Int32) {
        for _ in 0..<numberCount {
            let number = counter.withLock { value in
                value += 1
                return value % numberCount + 1
            }
            let file = open(
                "/tmp/portolan-e2e-\(number).lock", O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
            guard file >= 0 else { throw TestFailure("no lock file: errno \(errno)") }
            if flock(file, LOCK_EX | LOCK_NB) == 0 { return (number, file) }
            close(file)
        }
        throw TestFailure("\(numberCount) clusters of tests are running already")
    }

    /// Starts a cluster, runs the body and takes the cluster down, also after a failure.
    static func run(
        _ extraArguments: [String] = [], _ body: (StandaloneFixture) throws -> Void
    ) throws {
        let fixture = try StandaloneFixture(extraArguments: extraArguments)
        defer { fixture.tearDown() }
        do {
            try fixture.up()
            try body(fixture)
        } catch {
            print("--- \(fixture.name): log of the failed cluster\n\(fixture.logTail)")
            throw error
        }
    }

    /// A cluster that is not started: for tests of what `up` refuses.
    static func unstarted(
        _ extraArguments: [String] = [], _ body: (StandaloneFixture) throws -> Void
    ) throws {
        let fixture = try StandaloneFixture(extraArguments: extraArguments)
        defer { fixture.tearDown() }
        try body(fixture)
    }

    /// The arguments of `up` for this cluster.
    var upArguments: [String] {
        [
            "up", "--name", name, "--data-dir", dataDirectory, "--api-port", "\(apiPort)",
            "--lan-cidr", "\(lan).0/24", "--service-cluster-ip-range", "\(servicePrefix).0.0/16",
            "--pod-cidr", "10.\(number + 160).0.0/16",
        ] + extraArguments
    }

    /// Starts the cluster and waits until it is ready.
    func up() throws {
        let command = try RunningCommand([try Self.portolan] + upArguments)
        process.withLock { $0 = command }
        try eventually("\(name) says that it is ready", withinSeconds: 60) {
            guard command.isRunning else {
                throw TestFailure(command.errorOutputSoFar + command.outputSoFar)
            }
            return command.outputSoFar.contains("\nPortolan is ready")
        }
    }

    /// Runs `portolan down`, which must succeed.
    func down(purge: Bool = false) throws {
        try Command.check(
            [try Self.portolan, "down", "--name", name, "--data-dir", dataDirectory]
                + (purge ? ["--purge"] : []), timeoutSeconds: 90)
        _ = try process.withLock { try $0?.finish(timeoutSeconds: 10) }
    }

    /// Ends every process of the cluster at once, as a power failure would end them.
    func killEverything() throws {
        let supervisor = process.withLock { $0?.processID } ?? 0
        kill(supervisor, SIGKILL)
        for pid in nodeProcesses { kill(pid, SIGKILL) }
        try eventually("the node processes are gone") { nodeProcesses.isEmpty }
    }

    /// The processes `portolan node` of this cluster.
    var nodeProcesses: [pid_t] {
        let result = try? Command.run(["pgrep", "-f", "portolan node .*--cluster-name \(name) "])
        return (result?.output.split(separator: "\n") ?? []).compactMap { pid_t($0) }
    }

    static var portolan: String {
        get throws { try BuiltProduct.path("portolan") }
    }

    /// What the cluster wrote lately, for a failed test.
    var logTail: String {
        let own = process.withLock { ($0?.outputSoFar ?? "") + ($0?.errorOutputSoFar ?? "") }
        let logs = try? Command.run([
            "sh", "-c", "tail -n 40 \(dataDirectory)/nodes/*/agent.log",
        ])
        let processes = try? Command.run(["pgrep", "-af", "portolan .*\(name)"])
        return own + (logs?.output ?? "") + (processes?.output ?? "")
    }

    private func tearDown() {
        try? down(purge: true)
        process.withLock { $0 = nil }
        close(reservation)
    }
}

// MARK: - Clients

extension StandaloneFixture {
    /// The newest stock kubectl of this machine that speaks WebSocket exec.
    static var kubectl: String {
        let newest = (27...36).reversed().map { "/usr/lib/google-cloud-sdk/bin/kubectl.1.\($0)" }
        return newest.first { access($0, X_OK) == 0 } ?? "kubectl"
    }

    /// Runs kubectl; it must succeed.
    @discardableResult
    func kubectl(_ arguments: String..., input: String = "") throws -> String {
        try Command.check(
            [Self.kubectl, "--kubeconfig", kubeconfig] + arguments, input: input,
            environment: ["HOME": dataDirectory], timeoutSeconds: 60
        ).trimmedOutput
    }

    /// Runs kubectl and returns how it ended.
    func tryKubectl(_ arguments: String..., input: String = "") throws -> CommandResult {
        try Command.run(
            [Self.kubectl, "--kubeconfig", kubeconfig] + arguments, input: input,
            environment: ["HOME": dataDirectory], timeoutSeconds: 60)
    }

    /// Runs a program inside a pod.
    func inPod(_ pod: String, _ command: String) throws -> String {
        try kubectl("exec", pod, "--", "sh", "-c", command)
    }

    /// Asks a URL from the machine, the world outside.
    func curl(_ url: String) throws -> String {
        try Command.check(["curl", "-sS", "--max-time", "15", url]).trimmedOutput
    }

    /// Runs a program in a node's namespace.
    func onNode(_ node: Int, _ command: String...) throws -> String {
        try Command.check(
            command, in: try NetworkNamespace.open(nodeName(node))
        ).trimmedOutput
    }

    /// The names of the pods that answer, over `count` requests.
    func answeringPods(_ count: Int = 40, _ ask: () throws -> String) throws -> Set<String> {
        var names: Set<String> = []
        for _ in 0..<count {
            let answer = try ask()
            guard answer.hasPrefix("Hello, I am "),
                let name = answer.split(separator: " ").dropFirst(3).first
            else { throw TestFailure("unexpected answer: \(answer)") }
            names.insert(String(name))
        }
        return names
    }

    /// Waits until the Deployment of the walkthrough has all its pods.
    func deployWebserver() throws {
        try kubectl("apply", "-f", Examples.path("hostname-deployment.yaml"))
        try kubectl("rollout", "status", "deployment/hostname-deployment", "--timeout=60s")
    }

    /// Starts the pod of the walkthrough from which Services are asked.
    func runDebugPod() throws {
        try kubectl(
            "run", "debug", "--image=portolan/shell", "--restart=Never", "--command", "--",
            "sleep", "1d")
        try kubectl("wait", "--for=condition=Ready", "pod/debug", "--timeout=60s")
    }
}

/// The manifests of the walkthrough.
enum Examples {
    static func path(_ file: String) -> String {
        let here = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
        return here.joined(separator: "/") + "/examples/" + file
    }
}

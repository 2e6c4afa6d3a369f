import Informer
import KubernetesAPI

/// What happens to one pod on its node: told what has happened, it says what to do next. No clock,
/// no process, no API; the worker does what it says and reports back.
struct PodMachine: Sendable {
    /// What is to be done.
    enum Action: Sendable, Hashable {
        /// Make the pod's network, namespaces and volumes.
        case prepareSandbox
        /// Start the container for the first time (attempt 0) or again.
        case start(container: String, attempt: Int)
        /// Run the container's preStop hook, ask it to end, and kill it after the grace period.
        case stop(container: String, graceSeconds: Int, message: String)
        /// Nothing runs any more: take network and namespaces away.
        case tearDown
        /// Ask again at this time.
        case wake(at: Timestamp)
    }

    /// Where network and namespaces stand.
    enum Sandbox: Sendable, Hashable {
        case absent(notBefore: Timestamp?)
        case preparing
        case ready
        case tearingDown
        case gone
    }

    var spec: PodSpecification
    var sandbox = Sandbox.absent(notBefore: nil)
    var containers: [String: ContainerRecord]
    /// Seconds containers get to end, once the pod is being deleted.
    private(set) var deletionGraceSeconds: Int?
    /// The pod was ended by the node: reason and message of its status.
    private(set) var failure: Failure?

    /// Why the node itself ended a pod.
    struct Failure: Sendable, Hashable {
        var reason: String
        var message: String
    }

    /// The first pause after a failure, and the longest one (kubelet's values), in seconds.
    static let initialBackoffSeconds = 10
    static let longestBackoffSeconds = 300
    /// A run this long clears the record of failures, in seconds.
    static let backoffResetSeconds = 600.0
    /// How long kubectl shows `ErrImagePull` before `ImagePullBackOff`, in seconds.
    static let pullErrorSeconds = 5.0

    /// Starts from nothing, or from what was kept on disk.
    init(spec: PodSpecification, containers: [String: ContainerRecord] = [:]) {
        self.spec = spec
        self.containers = containers
        for container in spec.allContainers where containers[container.name] == nil {
            var record = ContainerRecord()
            if !spec.initContainers.isEmpty {
                record.state = .waiting(reason: "PodInitializing", message: "")
            }
            self.containers[container.name] = record
        }
    }

    /// True once nothing of the pod runs and its sandbox is gone.
    var isDone: Bool { sandbox == .gone }

    /// True once the pod will never run anything again.
    var isEnding: Bool { deletionGraceSeconds != nil || failure != nil || hasFinished }

    // MARK: - What has happened

    /// The pod is being deleted; a shorter grace period than before counts.
    mutating func requestDeletion(graceSeconds: Int) {
        if let current = deletionGraceSeconds, current <= graceSeconds { return }
        if deletionGraceSeconds != nil {
            for name in containers.keys { containers[name]?.isStopping = false }
        }
        deletionGraceSeconds = graceSeconds
    }

    /// The node ends the pod.
    mutating func fail(reason: String, message: String) {
        if failure == nil { failure = Failure(reason: reason, message: message) }
    }

    /// The pod has these ephemeral containers now: none is ever taken away.
    mutating func setEphemeralContainers(_ list: [ContainerSpecification]) {
        spec.ephemeralContainers = list
        for container in list where containers[container.name] == nil {
            containers[container.name] = ContainerRecord()
        }
    }

    /// Network and namespaces are there, or could not be made.
    mutating func sandboxPrepared(error: String?, at now: Timestamp) {
        guard sandbox == .preparing else { return }
        guard let error else {
            sandbox = .ready
            return
        }
        sandbox = .absent(notBefore: now.adding(seconds: 2))
        for (name, record) in containers where !record.isActive && record.lastTermination == nil {
            containers[name]?.state = .waiting(reason: "ContainerCreating", message: error)
        }
    }

    /// Network and namespaces are gone.
    mutating func sandboxTornDown() { sandbox = .gone }

    /// A container runs.
    mutating func started(
        _ name: String, id: String, imageID: String, processID: Int32, processStart: UInt64,
        at now: Timestamp
    ) {
        guard var record = containers[name] else { return }
        let container = spec.container(name)
        record.state = .running(startedAt: now)
        record.id = id
        record.imageID = imageID
        record.processID = processID
        record.processStart = processStart
        record.isStarted = container?.startupProbe == nil
        record.isReady = record.isStarted && container?.readinessProbe == nil
        record.isStopping = false
        record.isPulling = false
        record.notBefore = nil
        containers[name] = record
    }

    /// A container could not be started.
    mutating func startFailed(
        _ name: String, reason: String, message: String, at now: Timestamp
    ) {
        guard var record = containers[name] else { return }
        record.state = .waiting(reason: reason, message: message)
        record.isPulling = reason == "ErrImagePull"
        // Registries are spared; what may pass soon (a ConfigMap to come, a busy machine) is tried
        // again soon.
        let isConfiguration = reason == "CreateContainerConfigError"
        let first = record.isPulling ? Self.initialBackoffSeconds : 1
        record.backoffSeconds =
            isConfiguration
            ? 2 : max(first, min(record.backoffSeconds * 2, Self.longestBackoffSeconds))
        record.notBefore = now.adding(seconds: Double(record.backoffSeconds))
        containers[name] = record
    }

    /// A container's process has ended.
    mutating func exited(
        _ name: String, id: String, exitCode: Int32, reason: String? = nil, message: String = "",
        at now: Timestamp
    ) {
        guard var record = containers[name], record.id == id, record.isRunning,
            case .running(let startedAt) = record.state
        else { return }
        let termination = ContainerRecord.Termination(
            exitCode: exitCode, reason: reason ?? (exitCode == 0 ? "Completed" : "Error"),
            message: message, startedAt: startedAt, finishedAt: now, id: id)
        record.state = .terminated(termination)
        record.isStarted = false
        record.isReady = false
        record.isStopping = false
        if now.secondsSince(startedAt) >= Self.backoffResetSeconds { record.backoffSeconds = 0 }
        // The first restart is immediate, as kubelet has it; the pauses come after that.
        let pause = record.backoffSeconds
        record.notBefore = pause == 0 ? nil : now.adding(seconds: Double(pause))
        record.backoffSeconds = Self.nextBackoff(pause)
        containers[name] = record
    }

    /// The startup probe succeeded.
    mutating func becameStarted(_ name: String) {
        guard containers[name]?.isRunning == true else { return }
        containers[name]?.isStarted = true
        containers[name]?.isReady = spec.container(name)?.readinessProbe == nil
    }

    /// The readiness probe's verdict.
    mutating func setReady(_ name: String, _ isReady: Bool) {
        guard containers[name]?.isRunning == true else { return }
        containers[name]?.isReady = isReady
    }

    private static func nextBackoff(_ seconds: Int) -> Int {
        seconds == 0 ? initialBackoffSeconds : min(seconds * 2, longestBackoffSeconds)
    }

    // MARK: - What to do

    /// What to do now. Everything it asks for counts as begun.
    mutating func decide(at now: Timestamp) -> [Action] {
        if sandbox == .gone || sandbox == .tearingDown { return [] }
        if isEnding { return decideEnd() }
        switch sandbox {
        case .absent(let notBefore?) where notBefore > now: return [.wake(at: notBefore)]
        case .absent:
            sandbox = .preparing
            return [.prepareSandbox]
        case .preparing, .tearingDown, .gone: return []
        case .ready: break
        }
        var actions: [Action] = []
        for container in spec.initContainers {
            let isRunning = isUp(container)
            if hasSucceeded(container) || isRunning { continue }
            // An init container that ran before the agent restarted does not run again once the
            // containers after it have begun.
            if !container.isSidecar, hasBegunContainers { continue }
            actions += decideStart(container, at: now)
            if container.isSidecar, hasBegunContainers { continue }
            return actions
        }
        for container in spec.containers + spec.ephemeralContainers {
            actions += decideStart(container, at: now)
        }
        return actions
    }

    /// A sidecar that has started lets the next ones go on.
    private func isUp(_ container: ContainerSpecification) -> Bool {
        guard container.isSidecar, let record = containers[container.name] else { return false }
        return record.isRunning && record.isStarted
    }

    private func hasSucceeded(_ container: ContainerSpecification) -> Bool {
        guard !container.isSidecar, case .terminated(let end)? = containers[container.name]?.state
        else { return false }
        return end.exitCode == 0
    }

    private var hasBegunContainers: Bool {
        spec.containers.contains { containers[$0.name]?.id.isEmpty == false }
    }

    private mutating func decideStart(
        _ container: ContainerSpecification, at now: Timestamp
    ) -> [Action] {
        guard var record = containers[container.name] else { return [] }
        defer { containers[container.name] = record }
        switch record.state {
        case .starting, .running: return []
        case .terminated(let end):
            let policy = spec.restartPolicy(for: container)
            guard policy.restarts(afterExitCode: end.exitCode) else { return [] }
            record.lastTermination = end
            record.restartCount += 1
            if let notBefore = record.notBefore, notBefore > now {
                let pause = Int(notBefore.secondsSince(end.finishedAt).rounded())
                record.state = .waiting(
                    reason: "CrashLoopBackOff",
                    message: "back-off \(pause)s restarting failed container=\(container.name) "
                        + "pod=\(spec.key.name)_\(spec.key.namespace)(\(spec.uid))")
                return [.wake(at: notBefore)]
            }
        case .waiting(let reason, let message):
            guard let notBefore = record.notBefore, notBefore > now else { break }
            if reason == "ErrImagePull" {
                let failedAt = notBefore.adding(seconds: -Double(record.backoffSeconds))
                let shownUntil = failedAt.adding(seconds: Self.pullErrorSeconds)
                if shownUntil > now { return [.wake(at: min(shownUntil, notBefore))] }
                record.state = .waiting(
                    reason: "ImagePullBackOff",
                    message: "Back-off pulling image \"\(container.image)\": \(message)")
            }
            return [.wake(at: notBefore)]
        }
        record.notBefore = nil
        record.state = .starting
        return [.start(container: container.name, attempt: record.restartCount)]
    }

    private mutating func decideEnd() -> [Action] {
        var actions: [Action] = []
        let grace = deletionGraceSeconds ?? spec.gracePeriodSeconds
        for container in spec.allContainers {
            guard let record = containers[container.name], record.isRunning, !record.isStopping
            else { continue }
            // It stays ready for as long as its probe says so: where every endpoint of a Service
            // ends, new connections go to those that still serve (KEP-1669).
            containers[container.name]?.isStopping = true
            actions.append(
                .stop(
                    container: container.name, graceSeconds: grace,
                    message: "Stopping container \(container.name)"))
        }
        let isBusy = containers.values.contains(where: \.isActive) || sandbox == .preparing
        if !isBusy {
            sandbox = .tearingDown
            actions.append(.tearDown)
        }
        return actions
    }

    /// A container is to be stopped because a probe says so; it runs again if its policy says so.
    mutating func stopForProbe(_ name: String, graceSeconds: Int, message: String) -> Action? {
        guard let record = containers[name], record.isRunning, !record.isStopping else {
            return nil
        }
        containers[name]?.isStopping = true
        containers[name]?.isReady = false
        return .stop(container: name, graceSeconds: graceSeconds, message: message)
    }

    // MARK: - The pod as a whole

    /// True where every container has ended for good, or an init container has failed for good.
    var hasFinished: Bool {
        if spec.initContainers.contains(where: hasFailedForGood) { return true }
        return !spec.containers.isEmpty && spec.containers.allSatisfy(hasEndedForGood)
    }

    private func hasEndedForGood(_ container: ContainerSpecification) -> Bool {
        guard case .terminated(let end)? = containers[container.name]?.state else { return false }
        return !spec.restartPolicy(for: container).restarts(afterExitCode: end.exitCode)
    }

    private func hasFailedForGood(_ container: ContainerSpecification) -> Bool {
        guard case .terminated(let end)? = containers[container.name]?.state else { return false }
        return end.exitCode != 0
            && !spec.restartPolicy(for: container).restarts(afterExitCode: end.exitCode)
    }

    /// The pod's phase, as kubelet's getPhase has it.
    var phase: String {
        if failure != nil { return "Failed" }
        if spec.initContainers.contains(where: hasFailedForGood) { return "Failed" }
        if deletionGraceSeconds == nil, !isInitialized { return "Pending" }
        let records = spec.containers.compactMap { containers[$0.name] }
        if records.contains(where: \.isRunning) {
            let isWaiting = records.contains { !$0.isRunning && $0.termination == nil }
            return isWaiting ? "Pending" : "Running"
        }
        let ends = records.compactMap(\.termination)
        guard ends.count == records.count, !ends.isEmpty else {
            return records.contains { $0.restartCount > 0 } ? "Running" : "Pending"
        }
        let isRestarting = deletionGraceSeconds == nil && !hasFinished
        if isRestarting { return "Running" }
        return ends.allSatisfy { $0.exitCode == 0 } ? "Succeeded" : "Failed"
    }

    /// True once every init container has done its part.
    var isInitialized: Bool {
        hasBegunContainers
            || spec.initContainers.allSatisfy { hasSucceeded($0) || isUp($0) }
    }

    /// True where every container that has to be ready is.
    var areContainersReady: Bool {
        spec.containers.allSatisfy { containers[$0.name]?.isReady == true }
            && spec.initContainers.filter(\.isSidecar)
                .allSatisfy { containers[$0.name]?.isReady == true }
    }
}

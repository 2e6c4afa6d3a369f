import CLinux
import Glibc
import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes

/// Runs one pod: asks its machine what to do, does it, and tells the API server how it goes.
actor PodWorker {
    let uid: String
    let shortID: String
    let context: NodeContext
    var pod: Pod
    var machine: PodMachine
    var address: IPAddress?
    private let startTime: Timestamp
    /// The paths of the pod's volumes, once they are laid out.
    var volumePaths: [String: String] = [:]
    let tokens = ProjectedTokens()
    private var probeTasks: [String: [ProbeKind: Task<Void, Never>]] = [:]
    private var operations: [Int: Task<Void, Never>] = [:]
    private var nextOperation = 0
    /// The agent ends; nothing more is begun.
    private var isSuspended = false
    private var preStopDone: Set<String> = []
    /// Waits until no node sends new connections here; nil before the pod is deleted.
    var drainTask: Task<Void, Never>?
    private var wakeTask: Task<Void, Never>?
    private var wakeTime: Timestamp?
    // Status: what the API server has been told, and what it is to be told.
    private var status: JSONValue
    private var pendingStatus: JSONValue?
    private var isPublishing = false
    /// The API object is gone, so nobody is told anything.
    private var isObjectGone = false
    private var isDeleting = false
    /// Called once when nothing is left of the pod.
    private let onGone: @Sendable (String) async -> Void

    init(
        pod: Pod, context: NodeContext, onGone: @escaping @Sendable (String) async -> Void
    ) {
        uid = pod.metadata.uid
        shortID = PodSpecification.shortID(uid: uid)
        self.pod = pod
        self.context = context
        self.onGone = onGone
        status = pod.json["status"] ?? [:]
        var spec = PodSpecification(pod)
        if spec.usesHostNetwork { spec.hostname = context.configuration.nodeName }
        let kept = PodState.read(context.podDirectory(uid))
        address = kept?.address
        startTime =
            kept?.startTime ?? pod.json["status", "startTime"]?.string.flatMap { Timestamp($0) }
            ?? .now
        machine = PodMachine(
            spec: spec, containers: kept?.containers ?? Self.recordsFromStatus(pod, spec))
    }

    /// What the API remembers of containers that this node has forgotten, as after `portolan down`:
    /// they run anew, counted as restarts.
    private static func recordsFromStatus(
        _ pod: Pod, _ spec: PodSpecification
    ) -> [String: ContainerRecord] {
        var records: [String: ContainerRecord] = [:]
        for status in pod.json["status", "containerStatuses"]?.array ?? [] {
            guard let name = status["name"]?.string, status["containerID"] != nil,
                spec.container(name) != nil
            else { continue }
            var record = ContainerRecord()
            record.restartCount = (status["restartCount"]?.int ?? 0) + 1
            records[name] = record
        }
        // Those run once.
        for status in pod.json["status", "ephemeralContainerStatuses"]?.array ?? [] {
            guard let name = status["name"]?.string, status["containerID"] != nil else { continue }
            var record = ContainerRecord()
            record.state = .terminated(
                .init(
                    exitCode: 137, reason: "ContainerStatusUnknown", finishedAt: .now, id: name))
            records[name] = record
        }
        return records
    }

    // MARK: - Messages

    /// Begins: adopts what still runs of the pod, and goes on from there.
    func begin() async {
        if pod.isFinished, PodState.read(context.podDirectory(uid)) == nil {
            machine.sandbox = .gone
        } else {
            await adopt()
        }
        if pod.isTerminating { requestDeletion() }
        step()
    }

    /// The API object has changed.
    func update(_ pod: Pod) {
        self.pod = pod
        let hostname = machine.spec.hostname
        machine.spec.json = pod.json
        machine.spec.hostname = hostname
        machine.setEphemeralContainers(PodSpecification.ephemeralContainers(pod))
        if pod.isTerminating { requestDeletion() }
        step()
    }

    /// The API object is gone: whatever runs ends at once.
    func objectDeleted() {
        isObjectGone = true
        machine.requestDeletion(graceSeconds: min(2, machine.spec.gracePeriodSeconds))
        drainTask?.cancel()
        step()
    }

    /// conmon has left an exit code.
    func containerExited(id: String) async {
        guard let name = containerName(id), let code = context.runtime.exitCode(id) else { return }
        await ended(name, id: id, exitCode: code)
    }

    /// Looks for processes that ended without a word, since their conmon was killed, and refreshes
    /// volumes made from the API.
    func audit() async {
        for (name, record) in machine.containers where record.isRunning {
            if let code = context.runtime.exitCode(record.id) {
                await ended(name, id: record.id, exitCode: code)
            } else if !isAlive(record) {
                // The exit code may be written just now; the next audit takes it as lost.
                if suspects.remove(record.id) != nil {
                    await ended(
                        name, id: record.id, exitCode: 137, reason: "ContainerStatusUnknown")
                } else {
                    suspects.insert(record.id)
                }
            } else if !hasMonitor(record) {
                // Nobody takes the container's output or will tell its end: it begins anew.
                kill(record.processID, SIGKILL)
                await ended(name, id: record.id, exitCode: 137, reason: "ContainerMonitorLost")
            }
        }
        if machine.sandbox == .ready, !machine.isEnding { _ = try? await prepareVolumes() }
        step()
    }
    private var suspects: Set<String> = []

    private func requestDeletion() {
        let grace =
            pod.json["metadata", "deletionGracePeriodSeconds"]?.int
            ?? machine.spec.gracePeriodSeconds
        machine.requestDeletion(graceSeconds: grace)
        beginDrain(graceSeconds: grace)
    }

    // MARK: - The loop

    /// Asks the machine what to do, begins it, keeps and publishes the state.
    func step() {
        guard !isSuspended else {
            // What was under way has ended: the next agent is to know.
            keep()
            return
        }
        let now = Timestamp.now
        if let limit = machine.spec.activeDeadlineSeconds, !machine.isEnding {
            let deadline = startTime.adding(seconds: Double(limit))
            if deadline <= now {
                machine.fail(
                    reason: "DeadlineExceeded",
                    message: "Pod was active on the node longer than the specified deadline")
            } else {
                wake(at: deadline)
            }
        }
        for action in machine.decide(at: now) { begin(action) }
        keep()
        publish()
        if machine.isDone, machine.deletionGraceSeconds != nil { deleteObject() }
    }

    func begin(_ action: PodMachine.Action) {
        switch action {
        case .wake(let time): wake(at: time)
        case .prepareSandbox: perform { await self.prepareSandbox() }
        case .start(let name, let attempt):
            perform { await self.start(name, attempt: attempt) }
        case .stop(let name, let grace, let message):
            event(.normal, "Killing", message)
            perform { await self.stop(name, graceSeconds: grace) }
        case .tearDown: perform { await self.tearDown() }
        }
    }

    /// Does something beside the worker's messages; the agent's end waits for it.
    private func perform(_ work: @Sendable @escaping () async -> Void) {
        nextOperation += 1
        let number = nextOperation
        operations[number] = Task {
            await work()
            self.operations[number] = nil
        }
    }

    /// The agent ends: what is under way is finished, nothing more is begun, containers run on.
    func suspend() async {
        isSuspended = true
        wakeTask?.cancel()
        drainTask?.cancel()
        for task in probeTasks.values.flatMap(\.values) { task.cancel() }
        for task in operations.values { task.cancel() }
        for task in operations.values { await task.value }
    }

    private func wake(at time: Timestamp) {
        if let wakeTime, wakeTime <= time, wakeTime > .now { return }
        wakeTask?.cancel()
        wakeTime = time
        wakeTask = Task {
            let pause = max(0, time.secondsSince(.now))
            try? await Task.sleep(for: .seconds(pause) + .milliseconds(2))
            if !Task.isCancelled {
                self.wakeTime = nil
                self.step()
            }
        }
    }

    func event(_ type: EventRecorder.EventType, _ reason: String, _ message: String) {
        context.record(type, reason, message, pod.metadata)
    }

    private func containerName(_ id: String) -> String? {
        machine.containers.first { $0.value.id == id }?.key
    }

    private func keep() {
        if machine.isDone, machine.deletionGraceSeconds != nil { return }
        let state = PodState(
            key: pod.key, uid: uid, address: address, startTime: startTime,
            containers: machine.containers)
        do {
            try state.write(context.podDirectory(uid))
        } catch {
            context.logger.error("pod state not kept", metadata: ["error": "\(error)"])
        }
    }

    // MARK: - Status

    private func publish() {
        guard !isObjectGone else { return }
        // A pod that had ended before this node knew of it keeps the status it has.
        if pod.isFinished, machine.containers.values.allSatisfy({ $0.id.isEmpty }) { return }
        let fresh = PodStatus.make(
            machine,
            PodStatus.Inputs(
                hostIP: context.configuration.lanAddress, podIP: address, startTime: startTime,
                previous: status, now: .now))
        guard fresh != status else { return }
        status = fresh
        pendingStatus = fresh
        guard !isPublishing else { return }
        isPublishing = true
        perform { await self.publishPending() }
    }

    private func publishPending() async {
        let backoff = Backoff()
        var attempt = 0
        while let next = pendingStatus, !isObjectGone, !isSuspended {
            pendingStatus = nil
            do {
                _ = try await context.client.patch(
                    .pods, namespace: pod.key.namespace, name: pod.key.name, subresource: "status",
                    type: .merge, ["metadata": ["uid": .string(uid)], "status": next])
                attempt = 0
            } catch let error as StatusError where error.isNotFound || error.isConflict {
                break
            } catch {
                context.logger.warning(
                    "pod status not written", metadata: ["pod": "\(pod.key)", "error": "\(error)"])
                if pendingStatus == nil { pendingStatus = next }
                attempt += 1
                try? await Task.sleep(for: backoff.pause(attempt: attempt))
            }
        }
        isPublishing = false
        if machine.isDone, machine.deletionGraceSeconds != nil { deleteObject() }
    }

    /// Takes the API object away once nothing of the pod is left.
    private func deleteObject() {
        guard !isPublishing || isObjectGone, !isDeleting else { return }
        isDeleting = true
        perform { await self.removeObject() }
    }

    private func removeObject() async {
        let backoff = Backoff()
        var attempt = 0
        while !isObjectGone, !isSuspended {
            do {
                try await context.client.delete(
                    .pods, namespace: pod.key.namespace, name: pod.key.name,
                    options: [
                        "gracePeriodSeconds": 0, "preconditions": ["uid": .string(uid)],
                    ])
                break
            } catch let error as StatusError where error.isNotFound || error.isConflict {
                break
            } catch {
                attempt += 1
                try? await Task.sleep(for: backoff.pause(attempt: attempt))
            }
        }
        guard !isSuspended else { return }
        wakeTask?.cancel()
        let directory = context.podDirectory(uid)
        _ = try? await Blocking.run {
            Mounts.unmountAll(beneath: directory)
            Files.removeTree(directory)
        }
        await onGone(uid)
    }

    // MARK: - Ends of containers

    private func ended(
        _ name: String, id: String, exitCode: Int32, reason: String? = nil
    ) async {
        guard let record = machine.containers[name], record.isRunning, record.id == id,
            let container = machine.spec.container(name)
        else { return }
        for task in (probeTasks.removeValue(forKey: name) ?? [:]).values { task.cancel() }
        let directory = containerDirectory(id)
        let isOutOfMemory = Files.exists(directory + "/oom")
        let message = terminationMessage(container, directory, record, exitCode: exitCode)
        machine.exited(
            name, id: id, exitCode: exitCode, reason: reason ?? (isOutOfMemory ? "OOMKilled" : nil),
            message: message, at: .now)
        if exitCode != 0, !machine.isEnding,
            machine.spec.restartPolicy(for: container).restarts(afterExitCode: exitCode),
            (machine.containers[name]?.notBefore ?? .now) > .now
        {
            event(
                .warning, "BackOff",
                "Back-off restarting failed container \(name) in pod \(pod.key.name)_"
                    + "\(pod.key.namespace)(\(uid))")
        }
        step()
        let runtime = context.runtime
        _ = try? await Blocking.run { Self.removeContainer(id, directory, runtime) }
    }

    /// Takes away what a run of a container leaves: runc's state, mounts, its directory. Blocking.
    static func removeContainer(_ id: String, _ directory: String, _ runtime: ContainerRuntime) {
        try? runtime.deleteBlocking(id)
        Mounts.unmount(directory + "/rootfs")
        Files.removeTree(directory)
        unlink(runtime.exitDirectory + "/" + id)
    }

    private func terminationMessage(
        _ container: ContainerSpecification, _ directory: String, _ record: ContainerRecord,
        exitCode: Int32
    ) -> String {
        let bytes = (try? Files.read(directory + "/termination-log", limit: 64 * 1024)) ?? []
        if !bytes.isEmpty { return String(decoding: bytes.suffix(4096), as: UTF8.self) }
        guard exitCode != 0,
            container.json["terminationMessagePolicy"]?.string == "FallbackToLogsOnError"
        else { return "" }
        let path = context.logPath(uid, container.name, attempt: record.restartCount)
        let lines = LogLines.last(80, of: (try? Files.read(path)) ?? [])
        return String(lines.joined().suffix(2048))
    }

    // MARK: - Probes

    func beginProbes(_ container: ContainerSpecification, id: String) {
        let earlier = probeTasks.removeValue(forKey: container.name) ?? [:]
        for task in earlier.values { task.cancel() }
        let isStarted = machine.containers[container.name]?.isStarted ?? false
        var tasks: [ProbeKind: Task<Void, Never>] = [:]
        func add(_ kind: ProbeKind, _ probe: ProbeSpecification?) {
            guard let probe else { return }
            tasks[kind] = Task { await self.runProbe(kind, probe, container, id: id) }
        }
        if !isStarted {
            add(.startup, container.startupProbe)
        } else {
            add(.liveness, container.livenessProbe)
            add(.readiness, container.readinessProbe)
        }
        probeTasks[container.name] = tasks
    }

    /// The three probes.
    enum ProbeKind: String, Sendable {
        case startup = "Startup"
        case liveness = "Liveness"
        case readiness = "Readiness"
    }

    private func runProbe(
        _ kind: ProbeKind, _ probe: ProbeSpecification, _ container: ContainerSpecification,
        id: String
    ) async {
        let prober = self.prober
        var counter = ProbeCounter(probe)
        try? await Task.sleep(for: .seconds(probe.initialDelaySeconds))
        // Before the first success, a server that comes up is asked at growing pauses rather than
        // after a whole period, so that it is ready soon; failures count at the period's pace only.
        var earlyPause = 50
        var sinceCounted = probe.periodSeconds * 1000
        var hasSucceeded = kind == .liveness
        while !Task.isCancelled {
            let result = await prober.run(
                probe.handler, container, id: id, timeoutSeconds: probe.timeoutSeconds)
            if Task.isCancelled { return }
            hasSucceeded = hasSucceeded || result.isSuccess
            if result.isSuccess || sinceCounted >= probe.periodSeconds * 1000 {
                sinceCounted = 0
                let verdict = counter.count(result.isSuccess)
                probed(kind, probe, container, result, verdict: verdict)
                if kind == .startup, verdict == true { return }
            }
            let pause = hasSucceeded ? probe.periodSeconds * 1000 : earlyPause
            let bounded = min(pause, max(10, probe.periodSeconds * 1000 - sinceCounted))
            earlyPause *= 2
            sinceCounted += bounded
            try? await Task.sleep(for: .milliseconds(bounded))
        }
    }

    private func probed(
        _ kind: ProbeKind, _ probe: ProbeSpecification, _ container: ContainerSpecification,
        _ result: ProbeResult, verdict: Bool?
    ) {
        let name = container.name
        if !result.isSuccess {
            event(.warning, "Unhealthy", "\(kind.rawValue) probe failed: \(result.message)")
        }
        guard let verdict else { return }
        switch (kind, verdict) {
        case (.startup, true):
            machine.becameStarted(name)
            if let id = machine.containers[name]?.id { beginProbes(container, id: id) }
        case (.readiness, let isReady): machine.setReady(name, isReady)
        case (.liveness, true): break
        case (.startup, false), (.liveness, false):
            let action = machine.stopForProbe(
                name, graceSeconds: probe.gracePeriodSeconds ?? machine.spec.gracePeriodSeconds,
                message: "Container \(name) failed \(kind.rawValue.lowercased()) probe, will be "
                    + "restarted")
            if let action { begin(action) }
        }
        step()
    }

    // MARK: - Stopping

    private func stop(_ name: String, graceSeconds: Int) async {
        guard let record = machine.containers[name], record.isRunning,
            let container = machine.spec.container(name)
        else { return }
        for (kind, task) in probeTasks[name] ?? [:] where kind != .readiness { task.cancel() }
        let deadline = Timestamp.now.adding(seconds: Double(graceSeconds))
        if let hook = container.json["lifecycle", "preStop"].flatMap(ProbeHandler.init(json:)),
            preStopDone.insert(record.id).inserted, graceSeconds > 0
        {
            await runPreStop(hook, container, record, graceSeconds: graceSeconds)
        }
        // A container that is stopped to run again (its probe failed) is not waited for.
        if graceSeconds > 0 { await drainTask?.value }
        // After the deadline the container is killed; if it ended before, nobody gets the signal.
        let end = Timestamp.now.adding(
            seconds: max(graceSeconds > 0 ? 0.1 : 0, deadline.secondsSince(.now)))
        await terminate(name, record, before: end)
        try? await Task.sleep(for: .seconds(max(0, end.secondsSince(.now))))
        // An agent that ends leaves the rest to the next one.
        if !isSuspended { send(SIGKILL, to: name, id: record.id) }
    }

    /// Sends SIGTERM. The first process of a container that has no handler for it (yet, as it may
    /// just be starting) does not get it at all: it is sent again when there is one.
    private func terminate(
        _ name: String, _ record: ContainerRecord, before deadline: Timestamp
    ) async {
        var isHeard = ProcessTable.heeds(SIGTERM, record.processID)
        send(SIGTERM, to: name, id: record.id)
        while !isHeard, !isSuspended, machine.containers[name]?.id == record.id,
            machine.containers[name]?.isRunning == true, Timestamp.now < deadline
        {
            try? await Task.sleep(for: .milliseconds(20))
            isHeard = ProcessTable.heeds(SIGTERM, record.processID)
            if isHeard { send(SIGTERM, to: name, id: record.id) }
        }
    }

    private func runPreStop(
        _ hook: ProbeHandler, _ container: ContainerSpecification, _ record: ContainerRecord,
        graceSeconds: Int
    ) async {
        let prober = self.prober
        let result = await withTaskGroup(of: ProbeResult.self) { group in
            group.addTask {
                await prober.run(hook, container, id: record.id, timeoutSeconds: graceSeconds)
            }
            group.addTask {
                try? await Task.sleep(for: .seconds(graceSeconds))
                return ProbeResult(isSuccess: false, message: "the grace period is over")
            }
            defer { group.cancelAll() }
            return await group.next() ?? ProbeResult(isSuccess: true)
        }
        if !result.isSuccess {
            event(.warning, "FailedPreStopHook", "PreStopHook failed: \(result.message)")
        }
    }

    private func send(_ signal: Int32, to name: String, id: String) {
        guard let record = machine.containers[name], record.isRunning, record.id == id,
            isAlive(record)
        else { return }
        kill(record.processID, signal)
    }

    /// True while the container's conmon runs.
    func hasMonitor(_ record: ContainerRecord) -> Bool {
        let file = containerDirectory(record.id) + "/conmon.pid"
        guard let pid = Files.text(file).flatMap({ pid_t(trimmed($0)) }) else { return false }
        return (Files.text("/proc/\(pid)/comm") ?? "").hasPrefix("conmon")
    }

    func isAlive(_ record: ContainerRecord) -> Bool {
        record.processID > 0
            && ProcessTable.startTime(record.processID) == record.processStart
    }
}

import Glibc
import KubernetesAPI
import Netlink

// What the node's server asks of a pod's worker.
extension PodWorker {
    /// Which run of a container a log is asked for.
    /// - Throws: `NodeRequestError` in kubelet's words where there is none.
    func logAttempt(_ name: String, isPrevious: Bool) throws -> Int {
        guard let record = machine.containers[name] else {
            throw NodeRequestError(
                400, "container \(name) is not valid for pod \(machine.spec.key.name)")
        }
        var attempt = record.restartCount
        // A restart is counted before the container of it is there.
        if !record.isRunning, record.termination != nil,
            !Files.exists(context.logPath(uid, name, attempt: attempt))
        {
            attempt -= 1
        }
        if isPrevious { attempt -= 1 }
        guard attempt >= 0, Files.exists(context.logPath(uid, name, attempt: attempt)) else {
            if isPrevious {
                throw NodeRequestError(
                    400,
                    "previous terminated container \"\(name)\" in pod \"\(machine.spec.key.name)\""
                        + " not found")
            }
            var reason = "ContainerCreating"
            if case .waiting(let text, _) = record.state { reason = text }
            throw NodeRequestError(
                400,
                "container \"\(name)\" in pod \"\(machine.spec.key.name)\" is waiting to start: "
                    + reason)
        }
        return attempt
    }

    /// True while this run of the container goes on.
    func isRunning(_ name: String, attempt: Int) -> Bool {
        guard let record = machine.containers[name] else { return false }
        return record.isRunning && record.restartCount == attempt
    }

    /// The name and the directory of a container that runs.
    func runningContainer(_ name: String) throws -> (id: String, directory: String) {
        guard let record = machine.containers[name] else {
            throw NodeRequestError(
                400, "container \(name) is not valid for pod \(machine.spec.key.name)")
        }
        guard record.isRunning else {
            throw NodeRequestError(400, "container \"\(name)\" is not running")
        }
        return (record.id, containerDirectory(record.id))
    }

    /// The network namespace in which the pod's ports are.
    /// - Throws: `NodeRequestError` where the pod has none yet.
    func networkNamespace() throws -> NodeNamespace {
        if machine.spec.usesHostNetwork { return context.network.node }
        let name = context.network.namespaceName(shortID)
        guard NetworkNamespace.exists(name) else {
            throw NodeRequestError(
                400, "pod \(machine.spec.key.name) has no network yet: it is not running")
        }
        return NodeNamespace(name: name)
    }
}

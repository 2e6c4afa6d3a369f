import Informer
import JSON
import KubernetesAPI
import NetworkTypes

/// The `status` of a pod, made from what its machine knows.
enum PodStatus {
    /// What the status depends on besides the machine.
    struct Inputs: Sendable {
        /// The node's address.
        var hostIP: IPAddress
        /// The pod's address; nil before its network is there.
        var podIP: IPAddress?
        /// When the node first saw the pod.
        var startTime: Timestamp
        /// The status before: conditions keep their time of change, foreign ones stay.
        var previous: JSONValue
        var now: Timestamp
    }

    /// The status object. The same inputs make the same object, whatever the time, unless a
    /// condition changes.
    static func make(_ machine: PodMachine, _ inputs: Inputs) -> JSONValue {
        var status: JSONValue = [
            "phase": .string(machine.phase),
            "conditions": .array(conditions(machine, inputs)),
            "hostIP": .string(inputs.hostIP.description),
            "hostIPs": [["ip": .string(inputs.hostIP.description)]],
            "startTime": .string(inputs.startTime.description),
            "containerStatuses": .array(
                machine.spec.containers.map { containerStatus($0, machine) }),
            "qosClass": .string(qualityOfService(machine.spec)),
        ]
        if let failure = machine.failure {
            status["reason"] = .string(failure.reason)
            status["message"] = .string(failure.message)
        }
        let address = machine.spec.usesHostNetwork ? inputs.hostIP : inputs.podIP
        if let address {
            status["podIP"] = .string(address.description)
            status["podIPs"] = [["ip": .string(address.description)]]
        }
        if !machine.spec.initContainers.isEmpty {
            status["initContainerStatuses"] = .array(
                machine.spec.initContainers.map { containerStatus($0, machine) })
        }
        if !machine.spec.ephemeralContainers.isEmpty {
            status["ephemeralContainerStatuses"] = .array(
                machine.spec.ephemeralContainers.map { containerStatus($0, machine) })
        }
        return status
    }

    // MARK: - Conditions

    private static func conditions(_ machine: PodMachine, _ inputs: Inputs) -> [JSONValue] {
        let previous = inputs.previous["conditions"]?.array ?? []
        let gates = (machine.spec.json["spec", "readinessGates"]?.array ?? [])
            .compactMap { $0["conditionType"]?.string }
        let areGatesOpen = gates.allSatisfy { gate in
            previous.contains { $0["type"]?.string == gate && $0["status"]?.string == "True" }
        }
        let isOver = machine.phase == "Succeeded"
        let unready = machine.spec.containers
            .filter { machine.containers[$0.name]?.isReady != true }.map(\.name)
        let areReady = machine.areContainersReady && machine.failure == nil
        let reason = isOver ? "PodCompleted" : "ContainersNotReady"
        let message =
            isOver || unready.isEmpty
            ? nil : "containers with unready status: [\(unready.joined(separator: " "))]"
        var wanted = [
            condition(
                "Initialized", machine.isInitialized || isOver,
                isOver ? "PodCompleted" : "ContainersNotInitialized", nil),
            condition(
                "Ready", areReady && areGatesOpen,
                areReady ? "ReadinessGatesNotReady" : reason,
                areReady ? "a readiness gate of the pod is not open" : message),
            condition("ContainersReady", areReady, reason, message),
            condition("PodScheduled", true, "", nil),
        ]
        for index in wanted.indices {
            let before = previous.first { $0["type"] == wanted[index]["type"] }
            let isSame = before.map { $0["status"] == wanted[index]["status"] } ?? false
            let time = isSame ? before?["lastTransitionTime"] : nil
            wanted[index]["lastTransitionTime"] = time ?? .string(inputs.now.description)
        }
        let foreign = previous.filter { entry in
            !wanted.contains { $0["type"] == entry["type"] }
        }
        return wanted + foreign
    }

    private static func condition(
        _ type: String, _ holds: Bool, _ reason: String, _ message: String?
    ) -> JSONValue {
        var value: JSONValue = [
            "type": .string(type), "status": holds ? "True" : "False", "lastProbeTime": .null,
        ]
        if !holds || reason == "PodCompleted" {
            value["reason"] = .string(reason)
            value["message"] = message.map(JSONValue.string)
        }
        return value
    }

    // MARK: - Containers

    private static func containerStatus(
        _ container: ContainerSpecification, _ machine: PodMachine
    ) -> JSONValue {
        let record = machine.containers[container.name] ?? ContainerRecord()
        let isFinishedInit: Bool =
            if container.isInit, !container.isSidecar, case .terminated(let end) = record.state {
                end.exitCode == 0
            } else {
                false
            }
        var value: JSONValue = [
            "name": .string(container.name), "image": .string(container.image),
            "imageID": .string(record.imageID),
            "restartCount": .integer(Int64(record.restartCount)),
            "ready": .bool(record.isReady || isFinishedInit),
            "started": .bool(record.isRunning && record.isStarted),
            "state": state(record), "lastState": [:],
        ]
        if !record.id.isEmpty { value["containerID"] = .string("runc://" + record.id) }
        if let last = record.lastTermination {
            value["lastState"] = ["terminated": terminated(last)]
        }
        return value
    }

    private static func state(_ record: ContainerRecord) -> JSONValue {
        switch record.state {
        case .running(let startedAt):
            return ["running": ["startedAt": .string(startedAt.description)]]
        case .terminated(let termination): return ["terminated": terminated(termination)]
        case .starting:
            return ["waiting": ["reason": record.isPulling ? "ErrImagePull" : "ContainerCreating"]]
        case .waiting(let reason, let message):
            var waiting: JSONValue = ["reason": .string(reason)]
            if !message.isEmpty { waiting["message"] = .string(message) }
            return ["waiting": waiting]
        }
    }

    private static func terminated(_ termination: ContainerRecord.Termination) -> JSONValue {
        var value: JSONValue = [
            "exitCode": .integer(Int64(termination.exitCode)),
            "reason": .string(termination.reason),
            "finishedAt": .string(termination.finishedAt.description),
            "containerID": .string("runc://" + termination.id),
        ]
        if let startedAt = termination.startedAt {
            value["startedAt"] = .string(startedAt.description)
        }
        if !termination.message.isEmpty { value["message"] = .string(termination.message) }
        return value
    }

    /// The quality-of-service class (kubelet's GetPodQOS) over CPU and memory.
    static func qualityOfService(_ spec: PodSpecification) -> String {
        var isAnySet = false
        var isGuaranteed = true
        for container in spec.initContainers + spec.containers {
            for resource in ["cpu", "memory"] {
                func quantity(_ kind: String) -> Int64? {
                    quantityText(container.json["resources", kind, resource])
                        .flatMap { Quantity($0) }?.thousandths
                }
                let (limit, request) = (quantity("limits"), quantity("requests"))
                if (limit ?? 0) > 0 || (request ?? 0) > 0 { isAnySet = true }
                if limit == nil || (request ?? limit) != limit { isGuaranteed = false }
            }
        }
        return !isAnySet ? "BestEffort" : isGuaranteed ? "Guaranteed" : "Burstable"
    }
}

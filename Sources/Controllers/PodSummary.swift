import Informer
import JSON
import KubernetesAPI
import NetworkTypes

/// A Pod stripped to what controllers decide by; the whole JSON of every pod would dominate the
/// memory of the control plane.
struct PodSummary: KubernetesObject, Hashable {
    var metadata: ObjectMeta
    var nodeName: String
    var phase: String
    var podIPs: [IPAddress]
    var hostname: String
    var subdomain: String
    /// The conditions Ready, ContainersReady and PodScheduled.
    var conditions: [Condition]
    var ports: [ContainerPort]
    var owners: [OwnerReference]
    /// The sum over all containers.
    var restartCount: Int
    var constraints: SchedulingConstraints
    /// `spec.schedulerName`; other schedulers' pods are left to them.
    var schedulerName: String

    struct Condition: Hashable, Sendable {
        var type: String
        var isTrue: Bool
        var reason: String
        var message: String
        var lastTransitionTime: String
    }

    struct ContainerPort: Hashable, Sendable {
        var name: String
        var transport: TransportProtocol
        var port: UInt16
        /// 0 where there is none.
        var hostPort: UInt16
        var hostIP: String
    }

    init(json: JSONValue) throws {
        let pod = try Pod(json: json)
        metadata = pod.metadata
        // Labels decide, annotations but one do not, and they can be large.
        metadata.annotations = metadata.annotations.filter { $0.key == Self.deletionCost }
        nodeName = pod.nodeName
        phase = pod.phase
        podIPs = pod.podIPs
        hostname = pod.hostname
        subdomain = pod.subdomain
        conditions = (json["status", "conditions"]?.array ?? []).compactMap { value in
            let type = value["type"]?.string ?? ""
            guard ["Ready", "ContainersReady", "PodScheduled"].contains(type) else { return nil }
            return Condition(
                type: type, isTrue: value["status"]?.string == "True",
                reason: value["reason"]?.string ?? "",
                message: value["message"]?.string ?? "",
                lastTransitionTime: value["lastTransitionTime"]?.string ?? "")
        }
        let sidecars = (json["spec", "initContainers"]?.array ?? [])
            .filter { $0["restartPolicy"]?.string == "Always" }
        ports = ((json["spec", "containers"]?.array ?? []) + sidecars)
            .flatMap { $0["ports"]?.array ?? [] }
            .map { value in
                ContainerPort(
                    name: value["name"]?.string ?? "",
                    transport: value["protocol"]?.string
                        .flatMap(TransportProtocol.init(rawValue:)) ?? .tcp,
                    port: UInt16(clamping: value["containerPort"]?.int ?? 0),
                    hostPort: UInt16(clamping: value["hostPort"]?.int ?? 0),
                    hostIP: value["hostIP"]?.string ?? "")
            }
        owners = OwnerReference.list(of: json)
        restartCount = (json["status", "containerStatuses"]?.array ?? [])
            .reduce(0) { $0 + ($1["restartCount"]?.int ?? 0) }
        constraints = SchedulingConstraints(podSpec: json["spec"] ?? [:])
        schedulerName = json["spec", "schedulerName"]?.string ?? Scheduler.schedulerName
    }

    /// Annotation by which users rank pods for deletion (KEP-2255).
    static let deletionCost = "controller.kubernetes.io/pod-deletion-cost"

    var isTerminating: Bool { metadata.deletionTimestamp != nil }
    /// True for phases `Succeeded` and `Failed`.
    var isFinished: Bool { phase == "Succeeded" || phase == "Failed" }
    /// True for pods that count as replicas.
    var isActive: Bool { !isFinished && !isTerminating }
    var isReady: Bool { condition("Ready")?.isTrue ?? false }
    var controller: OwnerReference? { owners.first { $0.isController } }

    func condition(_ type: String) -> Condition? { conditions.first { $0.type == type } }

    /// When the pod became ready; nil while it is not.
    var readySince: Timestamp? {
        condition("Ready").flatMap { $0.isTrue ? Timestamp($0.lastTransitionTime) : nil }
    }

    /// True where the pod has been ready for `minReadySeconds` at `now`.
    func isAvailable(minReadySeconds: Int, now: Timestamp) -> Bool {
        guard isReady else { return false }
        if minReadySeconds == 0 { return true }
        guard let readySince else { return false }
        return now.secondsSince(readySince) >= Double(minReadySeconds)
    }

    /// The container port called `name` with `transport`; nil if none.
    func containerPort(named name: String, _ transport: TransportProtocol) -> UInt16? {
        ports.first { $0.name == name && $0.transport == transport }?.port
    }

    /// Index entries: by owner's uid, by node, and by each label within the namespace.
    var indexEntries: [String] {
        var entries = owners.map { "owner:\($0.uid)" }
        entries.append("node:\(nodeName)")
        for (key, value) in metadata.labels {
            entries.append("label:\(metadata.namespace)/\(key)=\(value)")
        }
        return entries
    }
}

/// One entry of `metadata.ownerReferences`.
struct OwnerReference: Hashable, Sendable {
    var apiVersion: String
    var kind: String
    var name: String
    var uid: String
    var isController = false
    var blocksOwnerDeletion = false

    static func list(of object: JSONValue) -> [OwnerReference] {
        (object["metadata", "ownerReferences"]?.array ?? []).map { value in
            OwnerReference(
                apiVersion: value["apiVersion"]?.string ?? "", kind: value["kind"]?.string ?? "",
                name: value["name"]?.string ?? "", uid: value["uid"]?.string ?? "",
                isController: value["controller"]?.bool ?? false,
                blocksOwnerDeletion: value["blockOwnerDeletion"]?.bool ?? false)
        }
    }

    /// The reference of a controller to what it makes.
    static func controller(_ resource: Resource, _ metadata: ObjectMeta) -> OwnerReference {
        OwnerReference(
            apiVersion: resource.apiVersion, kind: resource.kind, name: metadata.name,
            uid: metadata.uid, isController: true, blocksOwnerDeletion: true)
    }

    var json: JSONValue {
        var value: JSONValue = [
            "apiVersion": .string(apiVersion), "kind": .string(kind), "name": .string(name),
            "uid": .string(uid),
        ]
        if isController { value["controller"] = true }
        if blocksOwnerDeletion { value["blockOwnerDeletion"] = true }
        return value
    }
}

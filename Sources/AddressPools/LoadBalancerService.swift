public import JSON
public import KubernetesAPI
import NetworkTypes

/// A Service with the conditions of its status, which the address controller writes.
public struct LoadBalancerService: KubernetesObject, Hashable {
    /// The Service.
    public var service: Service
    /// `status.conditions`, whole.
    public var conditions: [JSONValue]

    /// The metadata of the Service.
    public var metadata: ObjectMeta { service.metadata }

    /// Decodes a Service.
    public init(json: JSONValue) throws {
        service = try Service(json: json)
        conditions = json["status", "conditions"]?.array ?? []
    }

    /// The type of the condition that says whether the Service has an address that is announced.
    public static let conditionType = "portolan.io/LoadBalancerReady"

    var condition: JSONValue? {
        conditions.first { $0["type"]?.string == Self.conditionType }
    }

    /// True where the address controller has left its mark on the Service.
    var isMarked: Bool {
        condition != nil || metadata.annotations[AddressRequest.poolAnnotation] != nil
    }
}

/// What the status of a Service should say.
enum DesiredStatus: Hashable {
    /// Not of our concern any more: take our marks off and leave the rest alone.
    case unmarked
    /// It holds addresses; `problem` is set where nothing announces them.
    case assigned(AddressAllocator.Assignment, problem: AllocationProblem?)
    /// It waits.
    case waiting(AllocationProblem)
}

/// Why a Service is not reachable at an address of its own: one word and a sentence.
struct AllocationProblem: Hashable {
    var reason: String
    var message: String

    init(_ error: AllocationError) {
        reason = error.reason
        message = error.description
    }

    init(reason: String, message: String) {
        self.reason = reason
        self.message = message
    }
}

extension LoadBalancerService {
    /// The merge patch of subresource `status` that makes the Service say `desired`; nil where it
    /// does already.
    func statusPatch(_ desired: DesiredStatus, now: String) -> JSONValue? {
        var status: JSONValue = [:]
        switch desired {
        case .unmarked: break
        case .assigned(let assignment, _):
            let present = service.ingress.map(\.address)
            if present != assignment.addresses.map(Optional.some)
                || service.ingress.contains(where: { !$0.hostname.isEmpty })
            {
                let entries = assignment.addresses.map { JSONValue(["ip": $0.description]) }
                status["loadBalancer"] = ["ingress": .array(entries)]
            }
        case .waiting:
            if !service.ingress.isEmpty { status["loadBalancer"] = ["ingress": nil] }
        }
        let wanted = condition(desired, now: now)
        if !Self.isSame(condition, wanted) {
            var kept = conditions.filter { $0["type"]?.string != Self.conditionType }
            if let wanted { kept.append(wanted) }
            status["conditions"] = kept.isEmpty ? .null : .array(kept)
        }
        guard status.object?.isEmpty == false else { return nil }
        return ["metadata": ["uid": .string(metadata.uid)], "status": status]
    }

    /// The merge patch of the annotation; nil where it is right.
    func metadataPatch(_ desired: DesiredStatus) -> JSONValue? {
        var pool: String?
        if case .assigned(let assignment, _) = desired { pool = assignment.pool }
        guard metadata.annotations[AddressRequest.poolAnnotation] != pool else { return nil }
        let value = pool.map(JSONValue.string) ?? .null
        return [
            "metadata": [
                "uid": .string(metadata.uid),
                "annotations": .object([AddressRequest.poolAnnotation: value]),
            ]
        ]
    }

    private func condition(_ desired: DesiredStatus, now: String) -> JSONValue? {
        let status: String
        let problem: AllocationProblem
        switch desired {
        case .unmarked: return nil
        case .assigned(let assignment, nil):
            status = "True"
            let texts = assignment.addresses.map(\.description).joined(separator: ", ")
            problem = AllocationProblem(
                reason: "Allocated", message: "\(texts) from pool \"\(assignment.pool)\"")
        case .assigned(_, let found?), .waiting(let found):
            status = "False"
            problem = found
        }
        let hasSameStatus = condition?["status"]?.string == status
        let since = hasSameStatus ? condition?["lastTransitionTime"]?.string : nil
        return [
            "type": .string(Self.conditionType), "status": .string(status),
            "reason": .string(problem.reason), "message": .string(problem.message),
            "lastTransitionTime": .string(since ?? now),
        ]
    }

    private static func isSame(_ present: JSONValue?, _ wanted: JSONValue?) -> Bool {
        ["type", "status", "reason", "message"].allSatisfy { present?[$0] == wanted?[$0] }
    }
}

import Informer
import JSON
import KubernetesAPI

/// The list `status.conditions` of an object, as controllers edit it.
struct Conditions: Equatable {
    private(set) var list: [JSONValue]

    init(_ list: [JSONValue]) { self.list = list }

    init(of object: JSONValue) { list = object["status", "conditions"]?.array ?? [] }

    /// The condition of `type`, or nil.
    subscript(type: String) -> JSONValue? { list.first { $0["type"]?.string == type } }

    func isTrue(_ type: String) -> Bool { self[type]?["status"]?.string == "True" }

    /// Sets a condition. `lastTransitionTime` moves only with the status, `lastUpdateTime` (which
    /// Deployments have) with each change or where `touches` says so.
    mutating func set(
        _ type: String, _ status: String, reason: String, message: String, now: Timestamp,
        hasUpdateTime: Bool = false, touches: Bool = false
    ) {
        let old = self[type]
        let isSame =
            old?["status"]?.string == status && old?["reason"]?.string == reason
            && old?["message"]?.string == message
        if isSame && !touches { return }
        var value: JSONValue = old ?? ["type": .string(type)]
        if old?["status"]?.string != status {
            value["lastTransitionTime"] = .string(now.description)
        }
        value["status"] = .string(status)
        value["reason"] = reason.isEmpty ? nil : .string(reason)
        value["message"] = message.isEmpty ? nil : .string(message)
        if hasUpdateTime { value["lastUpdateTime"] = .string(now.description) }
        if let index = list.firstIndex(where: { $0["type"]?.string == type }) {
            list[index] = value
        } else {
            list.append(value)
        }
    }

    mutating func remove(_ type: String) { list.removeAll { $0["type"]?.string == type } }
}

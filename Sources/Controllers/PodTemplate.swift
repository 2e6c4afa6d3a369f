import JSON
import KubernetesAPI

/// What ReplicaSets and DaemonSets make pods from.
enum PodTemplate {
    /// A pod of `template` for `owner`; the API server completes the name.
    static func pod(
        _ template: JSONValue, owner: OwnerReference, namespace: String,
        extraLabels: [String: String] = [:]
    ) -> JSONValue {
        var metadata: JSONValue = [
            "generateName": .string(owner.name + "-"), "namespace": .string(namespace),
        ]
        var labels = template["metadata", "labels"] ?? [:]
        for (key, value) in extraLabels.sorted(by: { $0.key < $1.key }) {
            labels[key] = .string(value)
        }
        metadata["labels"] = labels
        metadata["annotations"] = template["metadata", "annotations"]
        metadata["finalizers"] = template["metadata", "finalizers"]
        metadata["ownerReferences"] = [owner.json]
        return [
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": template["spec"] ?? [:],
        ]
    }

    /// The value of `pod-template-hash`: FNV-1a over the canonical template, in the alphabet that
    /// cannot spell words (as `rand.SafeEncodeString` has it).
    static func hash(_ template: JSONValue, collisionCount: Int64 = 0) -> String {
        var state: UInt32 = 2_166_136_261
        func mix(_ bytes: [UInt8]) {
            for byte in bytes { state = (state ^ UInt32(byte)) &* 16_777_619 }
        }
        mix(canonical(template).serializedBytes)
        if collisionCount > 0 { mix(Array("\(collisionCount)".utf8)) }
        let alphabet = Array("bcdfghjklmnpqrstvwxz2456789")
        return String("\(state)".utf8.map { alphabet[Int($0) % alphabet.count] })
    }

    /// True where two templates make the same pods: the hash label is left out.
    static func isSame(_ left: JSONValue, _ right: JSONValue) -> Bool {
        stripped(left) == stripped(right)
    }

    static let hashLabel = "pod-template-hash"

    private static func stripped(_ template: JSONValue) -> JSONValue {
        var template = template
        template["metadata", "labels", hashLabel] = nil
        template["metadata", "creationTimestamp"] = nil
        return template
    }

    /// Members in the order of their names, so that the hash does not depend on a client's order.
    private static func canonical(_ value: JSONValue) -> JSONValue {
        switch value {
        case .array(let elements): return .array(elements.map(canonical))
        case .object(let members):
            var sorted = JSONObject()
            for key in members.keys.sorted() { sorted[key] = members[key].map(canonical) }
            return .object(sorted)
        default: return value
        }
    }
}

/// A number or a percentage of a whole, as `maxSurge` and `maxUnavailable` are given.
enum IntOrPercent {
    /// The number that `value` means out of `total`; nil for a value that is neither.
    static func resolve(_ value: JSONValue?, of total: Int, roundsUp: Bool) -> Int? {
        if let number = value?.int { return max(0, number) }
        guard let text = value?.string, text.hasSuffix("%"), let percent = Int(text.dropLast()),
            percent >= 0
        else { return nil }
        let product = percent * total
        return roundsUp ? (product + 99) / 100 : product / 100
    }
}

public import JSON
public import NetworkTypes

/// A Node, stripped to what proxy, speaker and controllers use.
public struct Node: KubernetesObject, Hashable {
    /// Name, namespace, labels and the rest of `metadata`.
    public var metadata: ObjectMeta
    /// `spec.podCIDRs`, primary first.
    public var podCIDRs: [Prefix]
    /// Addresses of type InternalIP, primary first.
    public var internalAddresses: [IPAddress]
    /// `spec.unschedulable`
    public var isUnschedulable: Bool
    /// Condition `Ready` is `True`.
    public var isReady: Bool
    /// Condition `NetworkUnavailable` is `True`.
    public var isNetworkUnavailable: Bool
    /// `key=value:effect` of each taint.
    public var taints: [Taint]

    /// One entry of `spec.taints`.
    public struct Taint: Hashable, Sendable {
        /// The key.
        public var key: String
        /// The value.
        public var value: String
        /// The effect, such as `NoSchedule`.
        public var effect: String
    }

    /// Label `topology.kubernetes.io/zone`, or nil.
    public var zone: String? { metadata.labels["topology.kubernetes.io/zone"] }

    /// True where the label `node.kubernetes.io/exclude-from-external-load-balancers` is present.
    public var isExcludedFromLoadBalancers: Bool {
        metadata.labels["node.kubernetes.io/exclude-from-external-load-balancers"] != nil
    }

    /// Decodes a node.
    public init(json: JSONValue) throws {
        metadata = ObjectMeta(json: json)
        let listed = (json["spec", "podCIDRs"]?.array ?? []).compactMap(\.string)
        let texts = listed.isEmpty ? [json["spec", "podCIDR"]?.string].compactMap(\.self) : listed
        podCIDRs = texts.compactMap { Prefix($0) }
        internalAddresses = (json["status", "addresses"]?.array ?? [])
            .filter { $0["type"]?.string == "InternalIP" }
            .compactMap { $0["address"]?.string.flatMap { IPAddress($0) } }
        isUnschedulable = json["spec", "unschedulable"]?.bool ?? false
        let conditions = json["status", "conditions"]?.array ?? []
        func holds(_ type: String) -> Bool {
            conditions.contains { $0["type"]?.string == type && $0["status"]?.string == "True" }
        }
        isReady = holds("Ready")
        isNetworkUnavailable = holds("NetworkUnavailable")
        taints = (json["spec", "taints"]?.array ?? []).map {
            Taint(
                key: $0["key"]?.string ?? "", value: $0["value"]?.string ?? "",
                effect: $0["effect"]?.string ?? "")
        }
    }
}

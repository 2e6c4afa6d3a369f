public import JSON
public import NetworkTypes

/// A Pod, kept whole as JSON, with the fields that decide about it decoded.
public struct Pod: KubernetesObject, Hashable {
    /// Name, namespace, labels and the rest of `metadata`.
    public var metadata: ObjectMeta
    /// The object as it came.
    public var json: JSONValue
    /// `spec.nodeName`; empty while unscheduled.
    public var nodeName: String
    /// `status.phase`, such as `Running`.
    public var phase: String
    /// `status.podIPs`, primary first.
    public var podIPs: [IPAddress]
    /// Condition `Ready` is `True`.
    public var isReady: Bool
    /// `spec.hostNetwork`
    public var usesHostNetwork: Bool
    /// The host name; empty or nil where there is none.
    public var hostname: String
    /// `spec.subdomain`; empty where there is none.
    public var subdomain: String

    /// True once `metadata.deletionTimestamp` is set.
    public var isTerminating: Bool { metadata.deletionTimestamp != nil }
    /// True for phases `Succeeded` and `Failed`.
    public var isFinished: Bool { phase == "Succeeded" || phase == "Failed" }

    /// Decodes a pod.
    public init(json: JSONValue) throws {
        metadata = ObjectMeta(json: json)
        self.json = json
        nodeName = json["spec", "nodeName"]?.string ?? ""
        phase = json["status", "phase"]?.string ?? "Pending"
        let listed = (json["status", "podIPs"]?.array ?? []).compactMap { $0["ip"]?.string }
        let texts = listed.isEmpty ? [json["status", "podIP"]?.string].compactMap(\.self) : listed
        podIPs = texts.compactMap { IPAddress($0) }
        isReady = (json["status", "conditions"]?.array ?? [])
            .contains { $0["type"]?.string == "Ready" && $0["status"]?.string == "True" }
        usesHostNetwork = json["spec", "hostNetwork"]?.bool ?? false
        hostname = json["spec", "hostname"]?.string ?? ""
        subdomain = json["spec", "subdomain"]?.string ?? ""
    }

    /// The container port called `name` with `transport`, over all containers; nil if none.
    public func containerPort(named name: String, _ transport: TransportProtocol) -> UInt16? {
        for container in json["spec", "containers"]?.array ?? [] {
            for port in container["ports"]?.array ?? []
            where port["name"]?.string == name
                && (port["protocol"]?.string ?? "TCP") == transport.rawValue
            {
                return port["containerPort"]?.int.flatMap(UInt16.init(exactly:))
            }
        }
        return nil
    }
}

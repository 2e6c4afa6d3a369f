public import JSON
public import NetworkTypes

/// A Service, stripped to what proxy, DNS, speaker and controllers use. It is decoded from objects
/// that the API server has defaulted and validated (see the reference of fields in the KEPs named).
public struct Service: KubernetesObject, Hashable {
    /// Name, namespace, labels and the rest of `metadata`.
    public var metadata: ObjectMeta
    /// How the Service is reached.
    public var type: ServiceType
    /// Every cluster IP, primary first; empty for headless and ExternalName Services.
    public var clusterIPs: [IPAddress]
    /// True where `clusterIP` is `None`.
    public var isHeadless: Bool
    /// The ports.
    public var ports: [ServicePort]
    /// nil where the Service has none: its endpoints are made by somebody else.
    public var selector: [String: String]?
    /// `spec.externalName`; empty for other types.
    public var externalName: String
    /// `spec.externalIPs` that are addresses.
    public var externalIPs: [IPAddress]
    /// The time a client stays on its endpoint, in seconds; nil without ClientIP affinity.
    public var sessionAffinityTimeoutSeconds: Int?
    /// Which endpoints traffic from outside may reach.
    public var externalTrafficPolicy: TrafficPolicy
    /// Which endpoints traffic from inside the cluster may reach.
    public var internalTrafficPolicy: TrafficPolicy
    /// 0 where there is none.
    public var healthCheckNodePort: UInt16
    /// True where endpoints count as ready whatever their probes say.
    public var publishNotReadyAddresses: Bool
    /// `spec.ipFamilies`, primary first.
    public var ipFamilies: [IPAddress.Family]
    /// `spec.ipFamilyPolicy`, such as `SingleStack`.
    public var ipFamilyPolicy: String
    /// False where a load balancer needs no nodePorts (KEP-1864).
    public var allocateLoadBalancerNodePorts: Bool
    /// nil where the default implementation is asked for.
    public var loadBalancerClass: String?
    /// The deprecated request for one address; empty where there is none.
    public var loadBalancerIP: String
    /// The raw entries of `loadBalancerSourceRanges`, trimmed.
    public var loadBalancerSourceRanges: [String]
    /// `spec.trafficDistribution`, or nil.
    public var trafficDistribution: String?
    /// The addresses a load balancer has given.
    public var ingress: [LoadBalancerIngress]

    /// How a Service is reached.
    public enum ServiceType: String, Sendable, Hashable {
        case clusterIP = "ClusterIP"
        case nodePort = "NodePort"
        case loadBalancer = "LoadBalancer"
        case externalName = "ExternalName"
    }

    /// Whether endpoints of every node are used or only those of the node that got the packet.
    public enum TrafficPolicy: String, Sendable, Hashable {
        case cluster = "Cluster"
        case local = "Local"
    }

    /// Decodes a Service; absent fields get the API's defaults.
    /// - Throws: `ObjectDecodingError` naming the field.
    public init(json: JSONValue) throws {
        metadata = ObjectMeta(json: json)
        let label = "Service \(metadata.key)"
        let spec = json["spec"] ?? .object([:])
        type = ServiceType(rawValue: spec["type"]?.string ?? "ClusterIP") ?? .clusterIP
        let primary = spec["clusterIP"]?.string ?? ""
        let listed = (spec["clusterIPs"]?.array ?? []).compactMap(\.string)
        isHeadless = primary == "None" && type != .externalName
        let texts = (listed.isEmpty ? [primary] : listed).filter { !$0.isEmpty && $0 != "None" }
        clusterIPs = try texts.map { text in
            guard let address = IPAddress(text) else {
                throw ObjectDecodingError(
                    object: label, field: "spec.clusterIPs", message: "\"\(text)\" is no address")
            }
            return address
        }
        ports = try (spec["ports"]?.array ?? []).map { try ServicePort(json: $0, of: label) }
        selector = spec["selector"]?.object.flatMap {
            $0.isEmpty ? nil : JSONValue.object($0).stringMap
        }
        externalName = spec["externalName"]?.string ?? ""
        externalIPs = (spec["externalIPs"]?.array ?? []).compactMap {
            $0.string.flatMap { IPAddress($0) }
        }
        sessionAffinityTimeoutSeconds =
            spec["sessionAffinity"]?.string == "ClientIP"
            ? spec["sessionAffinityConfig", "clientIP", "timeoutSeconds"]?.int ?? 10800 : nil
        externalTrafficPolicy = Self.policy(spec["externalTrafficPolicy"])
        internalTrafficPolicy = Self.policy(spec["internalTrafficPolicy"])
        healthCheckNodePort = UInt16(clamping: spec["healthCheckNodePort"]?.int ?? 0)
        publishNotReadyAddresses = spec["publishNotReadyAddresses"]?.bool ?? false
        ipFamilies = (spec["ipFamilies"]?.array ?? [])
            .compactMap { $0.string.flatMap(IPAddress.Family.init(rawValue:)) }
        ipFamilyPolicy = spec["ipFamilyPolicy"]?.string ?? "SingleStack"
        allocateLoadBalancerNodePorts = spec["allocateLoadBalancerNodePorts"]?.bool ?? true
        loadBalancerClass = spec["loadBalancerClass"]?.string
        loadBalancerIP = spec["loadBalancerIP"]?.string ?? ""
        loadBalancerSourceRanges = (spec["loadBalancerSourceRanges"]?.array ?? [])
            .compactMap { $0.string.map(Self.trimmed) }
        trafficDistribution = spec["trafficDistribution"]?.string
        ingress = (json["status", "loadBalancer", "ingress"]?.array ?? [])
            .map(LoadBalancerIngress.init(json:))
    }

    private static func policy(_ value: JSONValue?) -> TrafficPolicy {
        value?.string.flatMap(TrafficPolicy.init(rawValue:)) ?? .cluster
    }

    private static func trimmed(_ text: String) -> String {
        String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}

/// One entry of `spec.ports`.
public struct ServicePort: Hashable, Sendable {
    /// Empty where a Service has one unnamed port.
    public var name: String
    /// The transport protocol.
    public var transport: TransportProtocol
    /// The port number.
    public var port: UInt16
    /// The port on the endpoint.
    public var targetPort: TargetPort
    /// 0 where there is none.
    public var nodePort: UInt16
    /// The application protocol, or nil (KEP-1507).
    public var appProtocol: String?

    /// A number, or the name of a container port that is resolved pod by pod.
    public enum TargetPort: Hashable, Sendable {
        case number(UInt16)
        case name(String)
    }

    /// Protocol and port together.
    public var protocolPort: ProtocolPort { ProtocolPort(transport, port) }

    /// Decodes an entry of the Service that `label` names.
    /// - Throws: `ObjectDecodingError` for a port or protocol that cannot be one.
    public init(json: JSONValue, of label: String) throws {
        name = json["name"]?.string ?? ""
        let protocolName = json["protocol"]?.string ?? "TCP"
        guard let transport = TransportProtocol(rawValue: protocolName) else {
            throw ObjectDecodingError(
                object: label, field: "spec.ports.protocol",
                message: "\"\(protocolName)\" is unknown")
        }
        guard let port = json["port"]?.int.flatMap(UInt16.init(exactly:)) else {
            throw ObjectDecodingError(
                object: label, field: "spec.ports.port", message: "must be a number from 1 to 65535"
            )
        }
        self.transport = transport
        self.port = port
        switch json["targetPort"] {
        case .integer(let number)?:
            targetPort = .number(number == 0 ? port : UInt16(clamping: number))
        case .string(let name)?: targetPort = UInt16(name).map(TargetPort.number) ?? .name(name)
        default: targetPort = .number(port)
        }
        nodePort = UInt16(clamping: json["nodePort"]?.int ?? 0)
        appProtocol = json["appProtocol"]?.string
    }
}

/// One entry of `status.loadBalancer.ingress`.
public struct LoadBalancerIngress: Hashable, Sendable {
    /// The address, or nil where the entry is a host name.
    public var address: IPAddress?
    /// The host name; empty or nil where there is none.
    public var hostname: String
    /// False for `ipMode: Proxy`, where the proxy must let packets to the address leave the node
    /// (KEP-1860).
    public var isVirtualIP: Bool

    /// Decodes an entry.
    public init(json: JSONValue) {
        address = json["ip"]?.string.flatMap { IPAddress($0) }
        hostname = json["hostname"]?.string ?? ""
        isVirtualIP = json["ipMode"]?.string != "Proxy"
    }
}

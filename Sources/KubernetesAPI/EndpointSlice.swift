public import JSON
public import NetworkTypes

/// An EndpointSlice (discovery.k8s.io/v1), stripped to what proxy, DNS and speaker use.
public struct EndpointSlice: KubernetesObject, Hashable {
    /// Name, namespace, labels and the rest of `metadata`.
    public var metadata: ObjectMeta
    /// `IPv4`, `IPv6` or `FQDN`.
    public var addressType: String
    /// The ports.
    public var ports: [Port]
    /// The endpoints.
    public var endpoints: [Endpoint]

    /// The Service this slice belongs to, by label `kubernetes.io/service-name`; nil without it.
    public var serviceKey: ObjectKey? {
        metadata.labels["kubernetes.io/service-name"].map {
            ObjectKey(namespace: metadata.namespace, name: $0)
        }
    }

    /// Decodes a slice; a nil condition reads as its default (KEP-1672).
    public init(json: JSONValue) throws {
        metadata = ObjectMeta(json: json)
        addressType = json["addressType"]?.string ?? ""
        ports = (json["ports"]?.array ?? []).map(Port.init(json:))
        endpoints = (json["endpoints"]?.array ?? []).map(Endpoint.init(json:))
    }

    /// One entry of `ports`: every endpoint of the slice serves it.
    public struct Port: Hashable, Sendable {
        /// The name.
        public var name: String
        /// The transport protocol.
        public var transport: TransportProtocol
        /// 0 where the slice leaves it open ("all ports").
        public var port: UInt16
        /// The application protocol, or nil (KEP-1507).
        public var appProtocol: String?

        /// Decodes an entry.
        public init(json: JSONValue) {
            name = json["name"]?.string ?? ""
            transport = json["protocol"]?.string.flatMap(TransportProtocol.init(rawValue:)) ?? .tcp
            port = UInt16(clamping: json["port"]?.int ?? 0)
            appProtocol = json["appProtocol"]?.string
        }
    }

    /// One endpoint.
    public struct Endpoint: Hashable, Sendable {
        /// The addresses of the endpoint; all name the same one.
        public var addresses: EndpointAddresses
        /// True where new connections may go there.
        public var isReady: Bool
        /// True where it answers, be it terminating or not (KEP-1672).
        public var isServing: Bool
        /// True where it is being shut down.
        public var isTerminating: Bool
        /// The DNS host name, or nil.
        public var hostname: String?
        /// The node the endpoint runs on, or nil.
        public var nodeName: String?
        /// The zone of the endpoint, or nil.
        public var zone: String?
        /// `hints.forZones[].name`
        public var zoneHints: [String]
        /// `hints.forNodes[].name` (KEP-3015)
        public var nodeHints: [String]
        /// The pod behind the endpoint, or nil.
        public var targetPod: ObjectKey? {
            get { pod?.value }
            set { pod = Boxed(newValue) }
        }
        private var pod: Boxed<ObjectKey>?

        /// Decodes an endpoint.
        public init(json: JSONValue) {
            addresses = EndpointAddresses(
                (json["addresses"]?.array ?? []).lazy.compactMap {
                    $0.string.flatMap { IPAddress($0) }
                })
            isReady = json["conditions", "ready"]?.bool ?? true
            isServing = json["conditions", "serving"]?.bool ?? isReady
            isTerminating = json["conditions", "terminating"]?.bool ?? false
            hostname = json["hostname"]?.string
            nodeName = json["nodeName"]?.string
            zone = json["zone"]?.string
            zoneHints = (json["hints", "forZones"]?.array ?? []).compactMap { $0["name"]?.string }
            nodeHints = (json["hints", "forNodes"]?.array ?? []).compactMap { $0["name"]?.string }
            if json["targetRef", "kind"]?.string == "Pod",
                let name = json["targetRef", "name"]?.string
            {
                targetPod = ObjectKey(
                    namespace: json["targetRef", "namespace"]?.string ?? "", name: name)
            }
        }
    }
}

/// The addresses of an endpoint. Most have one of IPv4, which is kept in place: a node keeps every
/// endpoint of the cluster, and an array takes 80 bytes.
public struct EndpointAddresses: RandomAccessCollection, Hashable, Sendable {
    private enum Storage: Hashable, Sendable {
        case one(UInt32)
        case many([IPAddress])
    }

    private let storage: Storage

    /// Keeps addresses in their order.
    public init(_ addresses: some Sequence<IPAddress>) {
        let all = Array(addresses)
        if all.count == 1, case .v4(let value) = all[0] {
            storage = .one(value)
        } else {
            storage = .many(all)
        }
    }

    /// The first position, 0.
    public var startIndex: Int { 0 }

    /// The number of addresses.
    public var endIndex: Int {
        switch storage {
        case .one: 1
        case .many(let addresses): addresses.count
        }
    }

    /// The address at a position.
    public subscript(position: Int) -> IPAddress {
        switch storage {
        case .one(let value):
            precondition(position == 0, "an endpoint's addresses: index out of range")
            return .v4(value)
        case .many(let addresses): return addresses[position]
        }
    }
}

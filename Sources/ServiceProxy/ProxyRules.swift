import KubernetesAPI
import NetworkTypes

/// What one Service should have in the kernel, computed from the Service, its slices and the node
/// alone. Nothing in it depends on other Services.
struct ProxyRules: Hashable, Sendable {
    /// The Service.
    var key: ObjectKey
    /// Decides who gets a frontend that two Services claim: the older Service, then the lower key.
    var precedence: Precedence
    /// One entry a Service port and address family.
    var ports: [PortRules]
    /// Endpoint addresses, sorted: where one of them is both source and destination, the packet is
    /// masqueraded so that the answer comes back through this node (hairpin).
    var hairpinAddresses: [IPAddress]
    /// What the Service's health check node port reports; nil where it has none.
    var healthCheck: HealthCheck?
    /// Ports of Services under a Local policy that have endpoints, but none on this node.
    var portsWithoutLocalEndpoints: LocalGaps

    /// Age, then name.
    struct Precedence: Hashable, Sendable, Comparable {
        var creationTimestamp: String
        var key: ObjectKey

        static func < (left: Self, right: Self) -> Bool {
            (left.creationTimestamp, left.key) < (right.creationTimestamp, right.key)
        }
    }

    /// A health check node port (`spec.healthCheckNodePort`).
    struct HealthCheck: Hashable, Sendable {
        var port: UInt16
        var localEndpointCount: Int
    }

    /// Counts for `kubeproxy_sync_proxy_rules_no_local_endpoints_total`.
    struct LocalGaps: Hashable, Sendable {
        var internalCount = 0
        var externalCount = 0

        /// Takes one Service's share out of a sum, and its new one in.
        mutating func replace(_ old: LocalGaps?, by new: LocalGaps?) {
            internalCount += (new?.internalCount ?? 0) - (old?.internalCount ?? 0)
            externalCount += (new?.externalCount ?? 0) - (old?.externalCount ?? 0)
        }
    }

    /// Every frontend with the port it belongs to.
    var frontends: [(port: PortRules, frontend: FrontendRules)] {
        ports.flatMap { port in port.frontends.map { (port, $0) } }
    }
}

/// One Service port in one address family: the endpoints in their slots, and the addresses that
/// lead to them.
struct PortRules: Hashable, Sendable {
    var family: IPAddress.Family
    /// The Service port (not the nodePort).
    var port: ProtocolPort
    /// `spec.ports[].name`
    var name: String
    /// Endpoints by slot. Local ones come first, so that `Local` policies and `Cluster` policies
    /// draw from overlapping ranges of one list.
    var slots: [Backend]
    /// Endpoints that serve but are not in a slot (terminating, or left out by hints). Flows to
    /// them are left alone.
    var retained: [Backend]
    /// Endpoints among the slots whose own packets this node may send back to them: those of this
    /// node, and all where pods of other nodes are short-circuited.
    var hairpinBackends: [Backend]
    var frontends: [FrontendRules]
}

/// An address a client may dial.
enum Frontend: Hashable, Sendable {
    /// A cluster IP, external IP or load-balancer address with a port.
    case address(IPAddress, ProtocolPort)
    /// A port on every address of the node, in one family.
    case nodePort(IPAddress.Family, ProtocolPort)

    /// The family of packets that reach it.
    var family: IPAddress.Family {
        switch self {
        case .address(let address, _): address.family
        case .nodePort(let family, _): family
        }
    }

    /// Protocol and port.
    var port: ProtocolPort {
        switch self {
        case .address(_, let port), .nodePort(_, let port): port
        }
    }

    /// Which maps hold it.
    var kind: FrontendKind {
        switch self {
        case .address: .address
        case .nodePort: .nodePort
        }
    }
}

/// The two ways a frontend is looked up.
enum FrontendKind: String, Hashable, Sendable, CaseIterable {
    /// By destination address, protocol and port.
    case address
    /// By protocol and port, where the destination is an address of the node.
    case nodePort
}

/// What a frontend leads to.
struct FrontendRules: Hashable, Sendable {
    /// What kind of address of the Service it is, for explanations.
    var role: Role
    var frontend: Frontend
    /// How packets are treated.
    var dispatch: Dispatch
    /// How packets from pods and from this node are treated where an external Local policy would
    /// send them to local endpoints only.
    var shortCircuit: Dispatch?
    /// Where not nil, only these sources are let through; others are dropped.
    var allowedSources: [Prefix]?

    /// The fields of a Service that addresses come from.
    enum Role: String, Hashable, Sendable {
        case clusterIP = "cluster IP"
        case externalIP = "external IP"
        case loadBalancer = "load-balancer address"
        case nodePort = "node port"
    }
}

/// An endpoint's address and port.
struct Backend: Hashable, Sendable, Comparable, CustomStringConvertible {
    var address: IPAddress
    var port: UInt16

    static func < (left: Self, right: Self) -> Bool {
        (left.address, left.port) < (right.address, right.port)
    }

    /// `10.244.0.5:80` or `[fd00::5]:80`
    var description: String {
        address.family == .ipv4 ? "\(address):\(port)" : "[\(address)]:\(port)"
    }
}

/// Consecutive slots.
struct SlotRange: Hashable, Sendable {
    var offset: Int
    var count: Int

    /// The slots as indexes.
    var indexes: Range<Int> { offset..<(offset + count) }
}

/// How packets to a frontend are treated. All frontends with equal treatment share a chain.
struct Dispatch: Hashable, Sendable {
    /// The decision about source addresses, and what happens where no endpoint can be used.
    enum Treatment: String, Hashable, Sendable, CaseIterable {
        /// To the slots; masqueraded unless the source is a pod.
        case cluster
        /// To the slots; always masqueraded.
        case external
        /// To the slots, which are local; pods and the node itself are short-circuited.
        case local
        /// To the slots; not masqueraded unless the mark is set already.
        case direct
        /// Left to the node where something there listens at the address itself; else like
        /// `cluster`.
        case served
        /// Only for allowed sources, who are then looked up again; others are dropped.
        case guarded
        /// Dropped: the policy is Local and there is no local endpoint.
        case drop
        /// Refused: there is no endpoint at all.
        case reject
    }

    var kind: FrontendKind
    var treatment: Treatment
    var range: SlotRange
    /// How long a client stays with an endpoint; nil without session affinity.
    var affinityTimeoutSeconds: Int?

    /// A treatment that needs no endpoint.
    static func without(_ treatment: Treatment, kind: FrontendKind) -> Dispatch {
        Dispatch(
            kind: kind, treatment: treatment, range: SlotRange(offset: 0, count: 0),
            affinityTimeoutSeconds: nil)
    }
}

public import KubernetesAPI
public import NetworkTypes

/// What a Service of type LoadBalancer asks for, read from its spec and annotations.
public struct AddressRequest: Hashable, Sendable {
    /// The Service.
    public var key: ObjectKey
    /// Its labels, for pools that are pinned by label.
    public var labels: [String: String]
    /// The labels of its namespace.
    public var namespaceLabels: [String: String]
    /// The families of the addresses, primary first.
    public var families: [IPAddress.Family]
    /// False under PreferDualStack, where one family is enough if there are not both.
    public var needsEveryFamily: Bool
    /// The addresses asked for by name; empty where any will do.
    public var addresses: [IPAddress]
    /// The pool asked for by name, or nil.
    public var pool: String?
    /// Services with equal keys may share an address; empty forbids it.
    public var sharingKey: String
    /// Sharers must have the same back ends where packets stay on the node that got them: the
    /// selector under externalTrafficPolicy Local, otherwise empty.
    public var backendKey: String
    /// Sharers must have different ports.
    public var ports: Set<ProtocolPort>
    /// What is valid but surprising, for an event.
    public var warnings: [String]

    /// The prefix of MetalLB's annotations.
    static let prefix = "metallb.io/"
    /// The prefix up to MetalLB 0.13.
    static let oldPrefix = "metallb.universe.tf/"
    /// The annotation that says which pool an address came from.
    static let poolAnnotation = prefix + "ip-allocated-from-pool"

    /// Reads a request.
    /// - Throws: `AllocationError.invalidRequest` naming the field and the remedy.
    public init(
        _ service: Service, namespaceLabels: [String: String] = [:]
    ) throws(AllocationError) {
        var warnings: [String] = []
        func annotation(_ name: String) -> String? {
            let annotations = service.metadata.annotations
            if let value = annotations[Self.prefix + name] { return trimmed(value) }
            guard let value = annotations[Self.oldPrefix + name] else { return nil }
            warnings.append(
                "annotation \(Self.oldPrefix)\(name) is deprecated: use \(Self.prefix)\(name)")
            return trimmed(value)
        }
        key = service.key
        labels = service.metadata.labels
        self.namespaceLabels = namespaceLabels
        families = Self.families(of: service)
        needsEveryFamily = service.ipFamilyPolicy != "PreferDualStack"
        let pool = annotation("address-pool")
        self.pool = pool?.isEmpty == true ? nil : pool
        sharingKey = annotation("allow-shared-ip") ?? ""
        backendKey = service.externalTrafficPolicy == .local ? Self.text(service.selector) : ""
        ports = Set(service.ports.map(\.protocolPort))
        let listed = annotation("loadBalancerIPs")
        self.warnings = warnings
        if listed != nil, !service.loadBalancerIP.isEmpty {
            throw .invalidRequest(
                "annotation metallb.io/loadBalancerIPs and spec.loadBalancerIP exclude each "
                    + "other: keep the annotation")
        }
        let field =
            listed == nil ? "spec.loadBalancerIP" : "annotation metallb.io/loadBalancerIPs"
        addresses = try Self.addresses(listed ?? service.loadBalancerIP, field)
        try checkFamilies(field)
    }

    private static func families(of service: Service) -> [IPAddress.Family] {
        var families = service.ipFamilies
        if families.isEmpty { families = service.clusterIPs.map(\.family) }
        if families.isEmpty { families = [.ipv4] }
        return service.ipFamilyPolicy == "SingleStack" ? Array(families.prefix(1)) : families
    }

    private static func addresses(
        _ text: String, _ field: String
    ) throws(AllocationError) -> [IPAddress] {
        var addresses: [IPAddress] = []
        for part in text.split(separator: ",").map(trimmed) where !part.isEmpty {
            guard let address = IPAddress(part) else {
                throw .invalidRequest("\(field): \"\(part)\" is no IP address")
            }
            guard !addresses.contains(where: { $0.family == address.family }) else {
                throw .invalidRequest("\(field): more than one \(address.family.rawValue) address")
            }
            addresses.append(address)
        }
        return addresses
    }

    /// Addresses asked for must be of the Service's families, and of both where both are needed.
    private func checkFamilies(_ field: String) throws(AllocationError) {
        guard !addresses.isEmpty else { return }
        for address in addresses where !families.contains(address.family) {
            let names = families.map(\.rawValue).joined(separator: ", ")
            throw .invalidRequest(
                "\(field): \(address) is not of the Service's families (\(names)): correct it or "
                    + "spec.ipFamilies")
        }
        for family in families where needsEveryFamily {
            guard addresses.contains(where: { $0.family == family }) else {
                throw .invalidRequest(
                    "\(field): an \(family.rawValue) address is missing, as spec.ipFamilyPolicy "
                        + "asks for both families")
            }
        }
    }

    private static func text(_ selector: [String: String]?) -> String {
        (selector ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
            .joined(separator: ",")
    }
}

/// Why a Service has no address. The text says what to do about it.
public enum AllocationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Nothing is configured at all.
    case noPools
    /// The configuration has never been valid since the start.
    case invalidConfiguration(String)
    /// A field of the Service cannot be followed.
    case invalidRequest(String)
    /// The annotation names a pool that is not there.
    case unknownPool(String, known: [String])
    /// The address asked for is of no pool, or not of the pool asked for.
    case notInPool(IPAddress, pool: String?)
    /// Pools are there, but none of them for this Service.
    case noPoolForService(String)
    /// An address is taken.
    case inUse(IPAddress, by: ObjectKey, why: String)
    /// The pools that may be used have no address left, or none of the family.
    case exhausted(pools: [String], families: [IPAddress.Family])

    /// One word for a condition's `reason`.
    public var reason: String {
        switch self {
        case .noPools: "NoAddressPool"
        case .invalidConfiguration: "InvalidConfiguration"
        case .invalidRequest: "InvalidRequest"
        case .unknownPool: "UnknownPool"
        case .notInPool: "AddressNotInPool"
        case .noPoolForService: "NoPoolForService"
        case .inUse: "AddressInUse"
        case .exhausted: "PoolsExhausted"
        }
    }

    /// The sentence for people.
    public var description: String {
        switch self {
        case .noPools:
            return "no address pool is configured: create an IPAddressPool and an "
                + "L2Advertisement (metallb.io/v1beta1) in namespace metallb-system, or the "
                + "ConfigMap metallb-system/config; see https://metallb.io/configuration/"
        case .invalidConfiguration(let text):
            return "the configuration of address pools is invalid: \(text)"
        case .invalidRequest(let text): return text
        case .unknownPool(let name, let known):
            let names = known.prefix(8).joined(separator: ", ")
            return "annotation metallb.io/address-pool: there is no pool \"\(name)\""
                + (names.isEmpty ? "" : "; there is \(names)")
        case .notInPool(let address, let pool):
            return pool.map { "\(address) is not in pool \"\($0)\", which the Service asks for" }
                ?? "\(address) is in no pool: ask for one that is, or add it to a pool"
        case .noPoolForService(let text): return text
        case .inUse(let address, let owner, let why):
            return "\(address) is in use by Service \(owner): \(why)"
        case .exhausted(let pools, let families):
            let names = pools.prefix(8).joined(separator: ", ")
            let kinds = families.map(\.rawValue).joined(separator: " and ")
            return "no free \(kinds) address in \(pools.count == 1 ? "pool" : "pools") \(names): "
                + "add addresses to a pool, or delete a Service that holds one"
        }
    }
}

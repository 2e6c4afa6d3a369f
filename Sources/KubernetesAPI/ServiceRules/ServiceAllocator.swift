public import JSON
public import NetworkTypes

/// What a write of a Service takes and gives back. Planned first, applied once the write is sure,
/// reverted where its commit failed.
public struct ServiceAllocation: Sendable {
    /// The Service with its addresses, families and ports filled in.
    public var object: JSONValue
    /// Addresses it did not have before.
    public internal(set) var takenAddresses: Set<IPAddress> = []
    /// Addresses it had before.
    public internal(set) var releasedAddresses: Set<IPAddress> = []
    var takenPorts: Set<Int> = []
    var releasedPorts: Set<Int> = []
}

/// Gives Services their cluster addresses, node ports and health check ports.
///
/// The registry keeps one under a lock, fills it by `insert` for every stored Service at start, and
/// in a write's body calls `plan`, then `apply` (not for a dry run).
public struct ServiceAllocator: Sendable {
    /// The addresses, the primary family first.
    public private(set) var addresses: [ClusterIPAllocator]
    /// The ports.
    public private(set) var ports: NodePortAllocator

    /// Makes an allocator for one range a family, that of the primary family first.
    public init(clusterRanges: [Prefix], nodePortRange: ClosedRange<Int> = 30000...32767) {
        var families: [IPAddress.Family] = []
        for range in clusterRanges where !families.contains(range.family) {
            families.append(range.family)
        }
        addresses = families.map { family in
            ClusterIPAllocator(prefixes: clusterRanges.filter { $0.family == family })
        }
        ports = NodePortAllocator(range: nodePortRange)
    }

    /// The families of the cluster, the primary first.
    public var families: [IPAddress.Family] { addresses.compactMap(\.family) }

    /// Marks what a stored Service has as used.
    public mutating func insert(_ service: JSONValue) {
        let spec = service["spec"] ?? [:]
        for address in Self.addresses(of: spec) { take(address) }
        for port in Self.ports(of: spec) { ports.insert(port) }
    }

    /// What a deleted Service gives back.
    public func release(_ service: JSONValue) -> ServiceAllocation {
        let spec = service["spec"] ?? [:]
        return ServiceAllocation(
            object: service, releasedAddresses: Self.addresses(of: spec),
            releasedPorts: Self.ports(of: spec))
    }

    /// Marks what a plan takes as used, and what it gives back as free.
    public mutating func apply(_ allocation: ServiceAllocation) {
        for address in allocation.releasedAddresses { free(address) }
        for address in allocation.takenAddresses { take(address) }
        for port in allocation.releasedPorts { ports.remove(port) }
        for port in allocation.takenPorts { ports.insert(port) }
    }

    /// Undoes `apply`.
    public mutating func revert(_ allocation: ServiceAllocation) {
        for address in allocation.takenAddresses { free(address) }
        for address in allocation.releasedAddresses { take(address) }
        for port in allocation.takenPorts { ports.remove(port) }
        for port in allocation.releasedPorts { ports.insert(port) }
    }

    /// Starts again from the stored Services: the repair loop. Returns how many entries differed.
    public mutating func repair(_ services: some Sequence<JSONValue>) -> Int {
        let before = addresses.map(\.usedCount).reduce(ports.usedCount, +)
        for index in addresses.indices { addresses[index].removeAll() }
        ports.removeAll()
        for service in services { insert(service) }
        let after = addresses.map(\.usedCount).reduce(ports.usedCount, +)
        return abs(before - after)
    }

    /// Replaces the ranges of the families that the cluster has: ServiceCIDR objects changed.
    public mutating func setRanges(_ ranges: [Prefix]) {
        for index in addresses.indices {
            addresses[index].replacePrefixes(
                ranges.filter { $0.family == addresses[index].family })
        }
    }

    /// Keeps an address from Services while an IPAddress object of another owner stands for it.
    public mutating func reserve(_ address: IPAddress) {
        for index in addresses.indices where addresses[index].family == address.family {
            addresses[index].reserve(address)
        }
    }

    /// Takes `reserve` back.
    public mutating func unreserve(_ address: IPAddress) {
        for index in addresses.indices { addresses[index].unreserve(address) }
    }

    private mutating func take(_ address: IPAddress) {
        for index in addresses.indices where addresses[index].family == address.family {
            addresses[index].insert(address)
        }
    }

    private mutating func free(_ address: IPAddress) {
        for index in addresses.indices where addresses[index].family == address.family {
            addresses[index].remove(address)
        }
    }

    /// The cluster addresses that a Service's spec names.
    public static func addresses(of spec: JSONValue) -> Set<IPAddress> {
        guard ServiceRules.needsClusterIP(spec) else { return [] }
        let listed = spec["clusterIPs"]?.array ?? [spec["clusterIP"] ?? ""]
        return Set(listed.compactMap { $0.string.flatMap { IPAddress($0) } })
    }

    /// The node ports and health check port that a Service's spec names.
    public static func ports(of spec: JSONValue) -> Set<Int> {
        var ports = ServiceRules.nodePorts(spec)
        if let port = spec["healthCheckNodePort"]?.int, port != 0 { ports.insert(port) }
        return ports
    }
}

// MARK: - Planning

extension ServiceAllocator {
    /// Fills in what a prepared and validated Service lacks.
    /// - Parameter old: the Service it replaces; nil on create.
    /// - Throws: 422 with Kubernetes' words, or 500 where a pool is empty.
    public func plan(
        _ new: JSONValue, old: JSONValue? = nil
    ) throws(StatusError) -> ServiceAllocation {
        var generator = SystemRandomNumberGenerator()
        return try plan(new, old: old, using: &generator)
    }

    /// As above, with a random number generator of the caller's.
    public func plan(
        _ new: JSONValue, old: JSONValue? = nil,
        using generator: inout some RandomNumberGenerator
    ) throws(StatusError) -> ServiceAllocation {
        let name = new["metadata", "name"]?.string ?? ""
        var spec = new["spec"] ?? [:]
        let oldAddresses = Self.addresses(of: old?["spec"] ?? ["type": "ExternalName"])
        let oldPorts = Self.ports(of: old?["spec"] ?? [:])
        do throws(PlanError) {
            try fillFamilies(&spec)
            try fillAddresses(&spec, kept: oldAddresses, &generator)
            try fillPorts(&spec, kept: oldPorts, &generator)
        } catch {
            switch error {
            case .fields(let errors): throw .invalid(.services, name: name, errors)
            case .exhausted(let text): throw .internalError(text)
            }
        }
        var allocation = ServiceAllocation(object: new)
        allocation.object["spec"] = spec
        let newAddresses = Self.addresses(of: spec)
        let newPorts = Self.ports(of: spec)
        allocation.takenAddresses = newAddresses.subtracting(oldAddresses)
        allocation.releasedAddresses = oldAddresses.subtracting(newAddresses)
        allocation.takenPorts = newPorts.subtracting(oldPorts)
        allocation.releasedPorts = oldPorts.subtracting(newPorts)
        return allocation
    }

    private enum PlanError: Error {
        case fields([FieldError])
        case exhausted(String)
    }

    /// Sets ipFamilyPolicy and ipFamilies from what is given and what the cluster has (KEP-563).
    private func fillFamilies(_ spec: inout JSONValue) throws(PlanError) {
        guard ServiceRules.needsClusterIP(spec), !families.isEmpty else { return }
        let isHeadless = ServiceRules.isHeadless(spec)
        let isFree = isHeadless && (spec["selector"]?.object ?? [:]).isEmpty
        let given = (spec["clusterIPs"]?.array ?? []).compactMap {
            $0.string.flatMap { IPAddress($0) }
        }
        var chosen = (spec["ipFamilies"]?.array ?? []).compactMap(\.string)
        let policy = spec["ipFamilyPolicy"]?.string
        if (policy ?? "SingleStack") == "SingleStack", !(isFree && policy == nil) {
            for (key, count) in [("clusterIPs", given.count), ("ipFamilies", chosen.count)]
            where count > 1 {
                throw .fields([
                    .invalid(
                        "spec.ipFamilyPolicy", .string(policy ?? "SingleStack"),
                        "must be RequireDualStack or PreferDualStack when multiple '\(key)' are "
                            + "specified")
                ])
            }
        }
        let available = families.map(\.rawValue)
        if !isFree {
            for (index, family) in chosen.enumerated() where !available.contains(family) {
                throw .fields([
                    .invalid(
                        "spec.ipFamilies[\(index)]", .string(family),
                        "not configured on this cluster")
                ])
            }
            if policy == "RequireDualStack", available.count < 2 {
                throw .fields([
                    .invalid(
                        "spec.ipFamilyPolicy", "RequireDualStack",
                        "this cluster is not configured for dual-stack services")
                ])
            }
        }
        for address in given where !chosen.contains(address.family.rawValue) {
            chosen.append(address.family.rawValue)
        }
        if chosen.isEmpty { chosen = [available[0]] }
        let effective = policy ?? (isFree ? "RequireDualStack" : "SingleStack")
        if effective != "SingleStack", chosen.count < 2 {
            let other = chosen[0] == "IPv4" ? "IPv6" : "IPv4"
            if isFree && effective == "RequireDualStack" || available.contains(other) {
                chosen.append(other)
            }
        }
        spec["ipFamilyPolicy"] = .string(effective)
        spec["ipFamilies"] = .array(chosen.map { .string($0) })
    }

    private func fillAddresses(
        _ spec: inout JSONValue, kept: Set<IPAddress>,
        _ generator: inout some RandomNumberGenerator
    ) throws(PlanError) {
        guard ServiceRules.needsClusterIP(spec), !ServiceRules.isHeadless(spec) else { return }
        let given = (spec["clusterIPs"]?.array ?? []).filter { $0 != "" }
        let list = JSONValue.array(given)
        var result: [JSONValue] = []
        for (index, name) in (spec["ipFamilies"]?.array ?? []).enumerated() {
            guard let allocator = addresses.first(where: { $0.family?.rawValue == name.string })
            else { continue }
            if index < given.count, let text = given[index].string, let address = IPAddress(text) {
                if !kept.contains(address) {
                    if let fault = fault(of: address, allocator) {
                        throw .fields([
                            .invalid(
                                "spec.clusterIPs", list,
                                "failed to allocate IP \(address): \(fault)")
                        ])
                    }
                }
                result.append(given[index])
                continue
            }
            guard let address = allocator.free(using: &generator) else {
                throw .exhausted("failed to allocate a serviceIP: range is full")
            }
            result.append(.string(address.description))
        }
        spec["clusterIP"] = result.first
        spec["clusterIPs"] = .array(result)
    }

    private func fault(of address: IPAddress, _ allocator: ClusterIPAllocator) -> String? {
        if !allocator.isAllocatable(address) {
            return "the provided network does not match the current range"
        }
        return allocator.isUsed(address) ? "provided IP is already allocated" : nil
    }

    private func fillPorts(
        _ spec: inout JSONValue, kept: Set<Int>, _ generator: inout some RandomNumberGenerator
    ) throws(PlanError) {
        guard ["NodePort", "LoadBalancer"].contains(spec["type"]?.string ?? "") else { return }
        let allocates = ServiceRules.needsNodePort(spec)
        var ports = spec["ports"]?.array ?? []
        var taken = kept
        var byPort: [Int: Int] = [:]
        for index in ports.indices {
            let number = ports[index]["port"]?.int ?? 0
            let requested = ports[index]["nodePort"]?.int ?? 0
            if requested != 0 {
                try claim(requested, at: "spec.ports[\(index)].nodePort", &taken)
                byPort[number] = requested
                continue
            }
            guard allocates else { continue }
            // Equal ports of different protocols share a node port, asked for before or after.
            let later = ports[(index + 1)...].first {
                $0["port"]?.int == number && ($0["nodePort"]?.int ?? 0) != 0
            }
            if let shared = byPort[number] ?? later?["nodePort"]?.int {
                if byPort[number] == nil {
                    try claim(shared, at: "spec.ports[\(index)].nodePort", &taken)
                }
                ports[index]["nodePort"] = .integer(Int64(shared))
                byPort[number] = shared
                continue
            }
            let free = try freePort(excluding: taken, &generator)
            taken.insert(free)
            byPort[number] = free
            ports[index]["nodePort"] = .integer(Int64(free))
        }
        if !ports.isEmpty { spec["ports"] = .array(ports) }
        if ServiceRules.needsHealthCheckPort(spec) {
            if let port = spec["healthCheckNodePort"]?.int, port != 0 {
                try claim(port, at: "spec.healthCheckNodePort", &taken)
            } else {
                spec["healthCheckNodePort"] = .integer(
                    Int64(try freePort(excluding: taken, &generator)))
            }
        }
    }

    private func claim(_ port: Int, at path: String, _ taken: inout Set<Int>) throws(PlanError) {
        if taken.contains(port) { return }
        let value = JSONValue.integer(Int64(port))
        guard ports.range.contains(port) else {
            throw .fields([
                .invalid(
                    path, value,
                    "provided port is not in the valid range. The range of valid ports is "
                        + "\(ports.range.lowerBound)-\(ports.range.upperBound)")
            ])
        }
        guard !ports.isUsed(port) else {
            throw .fields([.invalid(path, value, "provided port is already allocated")])
        }
        taken.insert(port)
    }

    private func freePort(
        excluding taken: Set<Int>, _ generator: inout some RandomNumberGenerator
    ) throws(PlanError) -> Int {
        guard let port = ports.free(excluding: taken, using: &generator) else {
            throw .exhausted("failed to allocate a nodePort: range is full")
        }
        return port
    }
}

public import KubernetesAPI
public import NetworkTypes

/// Which Service holds which address. A value without clocks or I/O: the same calls in the same
/// order give the same addresses.
public struct AddressAllocator: Sendable {
    /// What a Service holds.
    public struct Assignment: Hashable, Sendable {
        /// The addresses, one a family at most, in the order of the Service's families.
        public var addresses: [IPAddress]
        /// The pool they came from.
        public var pool: String
    }

    private struct Holding {
        var assignment: Assignment
        var sharingKey: String
        var backendKey: String
        var ports: Set<ProtocolPort>
    }

    /// A place in a pool: the range's index and the address's offset in it.
    private struct Cursor: Comparable {
        var range: Int
        var offset: UInt128
        static func < (left: Self, right: Self) -> Bool {
            (left.range, left.offset) < (right.range, right.offset)
        }
    }

    private struct CursorKey: Hashable {
        var pool: String
        var family: IPAddress.Family
    }

    /// The pools, in the order in which they are tried.
    public private(set) var pools: [AddressPool] = []
    private var holdings: [ObjectKey: Holding] = [:]
    private var holders: [IPAddress: [ObjectKey]] = [:]
    /// The addresses that a sharing key is in use on.
    private var shared: [String: Set<IPAddress>] = [:]
    /// Every address before the cursor is taken, so that a search need not begin at the start.
    private var cursors: [CursorKey: Cursor] = [:]

    /// Makes an allocator without pools.
    public init() {}

    /// Replaces the pools. Holdings stay as they are: the caller checks each with `validate`.
    public mutating func setPools(_ pools: [AddressPool]) {
        self.pools = pools
        cursors = [:]
    }

    /// What `key` holds, or nil.
    public func assignment(of key: ObjectKey) -> Assignment? { holdings[key]?.assignment }

    /// The number of addresses of `family` that are held in `pool`; a shared one counts once.
    public func usedCount(pool: AddressPool, _ family: IPAddress.Family) -> Int {
        holders.keys.count { $0.family == family && pool.offers($0) }
    }

    /// Finds an address for a Service that holds none and takes it.
    /// - Throws: why there is none.
    public mutating func allocate(
        _ request: AddressRequest
    ) throws(AllocationError) -> Assignment {
        if !request.addresses.isEmpty { return try take(request.addresses, request) }
        let candidates = try candidates(for: request)
        for pool in candidates {
            if let addresses = find(request.families, in: pool, request) {
                return try take(addresses, request)
            }
        }
        if !request.needsEveryFamily {
            for pool in candidates {
                for family in request.families {
                    if let addresses = find([family], in: pool, request) {
                        return try take(addresses, request)
                    }
                }
            }
        }
        throw .exhausted(pools: candidates.map(\.name), families: request.families)
    }

    /// Takes particular addresses: those asked for, or those a Service held before a restart.
    /// - Throws: why the Service may not have them.
    @discardableResult
    public mutating func take(
        _ addresses: [IPAddress], _ request: AddressRequest
    ) throws(AllocationError) -> Assignment {
        let pool = try validate(addresses, request)
        release(request.key)
        let ordered = request.families.compactMap { family in
            addresses.first { $0.family == family }
        }
        let assignment = Assignment(addresses: ordered, pool: pool.name)
        holdings[request.key] = Holding(
            assignment: assignment, sharingKey: request.sharingKey,
            backendKey: request.backendKey, ports: request.ports)
        for address in ordered {
            holders[address, default: []].append(request.key)
            if !request.sharingKey.isEmpty {
                shared[request.sharingKey, default: []].insert(address)
            }
        }
        return assignment
    }

    /// Gives up what `key` holds and returns it; nil where it holds nothing.
    @discardableResult
    public mutating func release(_ key: ObjectKey) -> Assignment? {
        guard let holding = holdings.removeValue(forKey: key) else { return nil }
        for address in holding.assignment.addresses {
            let others = (holders[address] ?? []).filter { $0 != key }
            holders[address] = others.isEmpty ? nil : others
            guard others.isEmpty else { continue }
            shared[holding.sharingKey]?.remove(address)
            if shared[holding.sharingKey]?.isEmpty == true { shared[holding.sharingKey] = nil }
            rewind(to: address)
        }
        return holding.assignment
    }

    /// Checks that a Service may have `addresses` under the present pools, and returns their pool.
    /// - Throws: why not.
    public func validate(
        _ addresses: [IPAddress], _ request: AddressRequest
    ) throws(AllocationError) -> AddressPool {
        guard !pools.isEmpty else { throw .noPools }
        try validateFamilies(addresses, request)
        if !request.addresses.isEmpty, Set(request.addresses) != Set(addresses) {
            let wanted = request.addresses.map(\.description).joined(separator: ", ")
            throw .invalidRequest("the Service asks for \(wanted)")
        }
        guard let first = addresses.first,
            let pool = pools.first(where: { $0.offers(first) })
        else { throw .notInPool(addresses.first ?? .v4(0), pool: nil) }
        if let asked = request.pool {
            guard pools.contains(where: { $0.name == asked }) else {
                throw .unknownPool(asked, known: pools.map(\.name))
            }
            guard asked == pool.name else { throw .notInPool(first, pool: asked) }
        }
        for address in addresses.dropFirst() where !pool.offers(address) {
            guard pools.contains(where: { $0.offers(address) }) else {
                throw .notInPool(address, pool: request.pool)
            }
            throw .invalidRequest("\(first) and \(address) are of different pools")
        }
        guard admits(pool, request) else { throw .noPoolForService(Self.pinned(pool)) }
        for address in addresses { try validateSharing(address, request) }
        return pool
    }
}

// MARK: - Rules

extension AddressAllocator {
    private func validateFamilies(
        _ addresses: [IPAddress], _ request: AddressRequest
    ) throws(AllocationError) {
        let families = addresses.map(\.family)
        let isWanted = families.allSatisfy(request.families.contains)
        let isEnough =
            request.needsEveryFamily
            ? families.count == request.families.count : !families.isEmpty
        guard isWanted, isEnough, Set(families).count == families.count else {
            let names = request.families.map(\.rawValue).joined(separator: " and ")
            throw .invalidRequest("the Service needs an address of \(names)")
        }
    }

    private func validateSharing(
        _ address: IPAddress, _ request: AddressRequest
    ) throws(AllocationError) {
        for key in holders[address] ?? [] where key != request.key {
            guard let holding = holdings[key] else { continue }
            if request.sharingKey.isEmpty || holding.sharingKey != request.sharingKey {
                throw .inUse(
                    address, by: key,
                    why: "to share it, give both Services the same metallb.io/allow-shared-ip")
            }
            if let port = request.ports.intersection(holding.ports).min() {
                throw .inUse(address, by: key, why: "both have port \(port)")
            }
            if holding.backendKey != request.backendKey {
                throw .inUse(
                    address, by: key,
                    why: "sharers need externalTrafficPolicy Cluster, or Local with one selector")
            }
        }
    }

    private func admits(_ pool: AddressPool, _ request: AddressRequest) -> Bool {
        pool.serviceAllocation?.admits(
            labels: request.labels, namespace: request.key.namespace,
            namespaceLabels: request.namespaceLabels) ?? true
    }

    private static func pinned(_ pool: AddressPool) -> String {
        "pool \"\(pool.name)\" is pinned by serviceAllocation to other Services"
    }

    /// The pools to try, in order: the one asked for; else those pinned to the Service, by
    /// priority with 0 last; then those free for all.
    private func candidates(
        for request: AddressRequest
    ) throws(AllocationError) -> [AddressPool] {
        guard !pools.isEmpty else { throw .noPools }
        if let name = request.pool {
            guard let pool = pools.first(where: { $0.name == name }) else {
                throw .unknownPool(name, known: pools.map(\.name))
            }
            guard admits(pool, request) else { throw .noPoolForService(Self.pinned(pool)) }
            return [pool]
        }
        func rank(_ pool: AddressPool) -> Int {
            guard let rule = pool.serviceAllocation else { return .max }
            return rule.priority == 0 ? .max - 1 : rule.priority
        }
        let usable = pools.enumerated().filter {
            $0.element.autoAssign && admits($0.element, request)
        }
        .sorted { (rank($0.element), $0.offset) < (rank($1.element), $1.offset) }
        .map(\.element)
        guard !usable.isEmpty else {
            throw .noPoolForService(
                "no pool gives this Service an address unasked (autoAssign is false, or "
                    + "serviceAllocation pins it elsewhere): name one in annotation "
                    + "metallb.io/address-pool")
        }
        return usable
    }
}

// MARK: - Search

extension AddressAllocator {
    private mutating func find(
        _ families: [IPAddress.Family], in pool: AddressPool, _ request: AddressRequest
    ) -> [IPAddress]? {
        var found: [IPAddress] = []
        for family in families {
            guard let address = find(family, in: pool, request) else { return nil }
            found.append(address)
        }
        return found
    }

    private mutating func find(
        _ family: IPAddress.Family, in pool: AddressPool, _ request: AddressRequest
    ) -> IPAddress? {
        if !request.sharingKey.isEmpty {
            for address in (shared[request.sharingKey] ?? []).sorted()
            where address.family == family && pool.offers(address) {
                if (try? validateSharing(address, request)) != nil { return address }
            }
        }
        let key = CursorKey(pool: pool.name, family: family)
        var cursor = cursors[key] ?? Cursor(range: 0, offset: 0)
        defer { cursors[key] = cursor }
        while cursor.range < pool.ranges.count {
            let range = pool.ranges[cursor.range]
            let length = range.last.numericValue - range.first.numericValue
            guard range.family == family, cursor.offset <= length else {
                cursor = Cursor(range: cursor.range + 1, offset: 0)
                continue
            }
            let address = IPAddress(
                family: family, numericValue: range.first.numericValue + cursor.offset)
            if holders[address] == nil, pool.offers(address) { return address }
            if cursor.offset == length {
                cursor = Cursor(range: cursor.range + 1, offset: 0)
            } else {
                cursor.offset += 1
            }
        }
        return nil
    }

    /// Lets the search find `address` again.
    private mutating func rewind(to address: IPAddress) {
        for pool in pools {
            let key = CursorKey(pool: pool.name, family: address.family)
            guard let index = pool.ranges.firstIndex(where: { $0.contains(address) }),
                let present = cursors[key]
            else { continue }
            let offset = address.numericValue - pool.ranges[index].first.numericValue
            cursors[key] = min(present, Cursor(range: index, offset: offset))
        }
    }
}

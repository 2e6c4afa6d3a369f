import JSON
import KubernetesAPI
import NetworkTypes
import Store
import Synchronization

/// The addresses and ports that Services hold, kept in step with the store's transactions: planned
/// and applied within them, built anew from the stored objects where a commit failed.
final class ServiceAllocations: Sendable {
    private struct State {
        var allocator: ServiceAllocator
        /// Must be built anew before it is asked.
        var isStale = true
        /// ServiceCIDRs have been written since their ranges were read.
        var hasStaleRanges = true
        /// A ServiceCIDR waits for the last of its addresses.
        var hasTerminatingRanges = false
    }

    /// What `/metrics` shows of the allocator.
    let allocatedTotal = Counter()
    let refusedTotal = Counter()
    /// The ranges of the command line: used while there is no ServiceCIDR, and the families.
    let configuredRanges: [Prefix]
    let nodePortRange: ClosedRange<Int>
    private let state: Mutex<State>

    init(serviceCIDRs: [Prefix], nodePortRange: ClosedRange<UInt16>) {
        configuredRanges = serviceCIDRs
        self.nodePortRange = Int(nodePortRange.lowerBound)...Int(nodePortRange.upperBound)
        state = Mutex(
            State(
                allocator: ServiceAllocator(
                    clusterRanges: serviceCIDRs, nodePortRange: self.nodePortRange)))
    }

    // MARK: - In a transaction

    /// Fills in what a Service lacks. Nothing is taken before `apply`.
    /// - Throws: 422 and 500 in Kubernetes' words.
    func plan(
        _ new: JSONValue, old: JSONValue?, in transaction: StoreTransaction
    ) throws -> ServiceAllocation {
        try state.withLock { state in
            try Self.refresh(&state, configuredRanges, transaction)
            do {
                let plan = try state.allocator.plan(new, old: old)
                guard plan.takenAddresses.contains(where: { Self.object($0, transaction) != nil })
                else { return plan }
                // Memory and store disagree, which only a commit that failed a moment ago can
                // cause: the store is right.
                state.isStale = true
                try Self.refresh(&state, configuredRanges, transaction)
                return try state.allocator.plan(new, old: old)
            } catch {
                refusedTotal.increment()
                throw error
            }
        }
    }

    /// What a removed Service gives back.
    func release(_ service: JSONValue) -> ServiceAllocation {
        state.withLock { $0.allocator.release(service) }
    }

    /// Takes and gives back what was planned, once the transaction's body cannot fail any more.
    func apply(_ plan: ServiceAllocation) {
        for _ in plan.takenAddresses { allocatedTotal.increment() }
        state.withLock { state in
            if !state.isStale { state.allocator.apply(plan) }
        }
    }

    /// Keeps the address of an IPAddress object that no Service made.
    func reserve(_ address: IPAddress) {
        state.withLock { $0.allocator.reserve(address) }
    }

    /// Gives the address of a removed IPAddress object free, unless a Service has it.
    func unreserve(_ address: IPAddress) {
        state.withLock { $0.allocator.unreserve(address) }
    }

    /// A ServiceCIDR was written.
    func rangesChanged() { state.withLock { $0.hasStaleRanges = true } }

    /// True where addresses of the ServiceCIDR are used that no other one covers.
    func isInUse(_ serviceCIDR: JSONValue, in transaction: StoreTransaction) throws -> Bool {
        try state.withLock { state in
            try Self.refresh(&state, configuredRanges, transaction)
            let name = serviceCIDR["metadata", "name"]
            let others = try Self.serviceCIDRs(transaction).filter {
                $0["metadata", "name"] != name
            }
            let usable = ServiceAddressObjects.usableRanges(others)
            let own = ServiceAddressObjects.ranges(serviceCIDR)
            return state.allocator.addresses.contains { $0.isUsed(in: own, outside: usable) }
        }
    }

    /// True while a ServiceCIDR waits for the last of its addresses.
    func hasTerminatingRanges(in transaction: StoreTransaction) throws -> Bool {
        try state.withLock { state in
            try Self.refresh(&state, configuredRanges, transaction)
            return state.hasTerminatingRanges
        }
    }

    /// A commit failed: what its transactions took or gave back no longer holds.
    func invalidate() {
        state.withLock { state in
            state.isStale = true
            state.hasStaleRanges = true
        }
    }

    // MARK: - Reading the store

    private static func refresh(
        _ state: inout State, _ configured: [Prefix], _ transaction: StoreTransaction
    ) throws {
        if state.hasStaleRanges {
            let objects = try serviceCIDRs(transaction)
            let usable = ServiceAddressObjects.usableRanges(objects)
            state.allocator.setRanges(objects.isEmpty ? configured : usable)
            state.hasTerminatingRanges = objects.contains {
                $0["metadata", "deletionTimestamp"] != nil
            }
            state.hasStaleRanges = false
        }
        guard state.isStale else { return }
        let services = transaction.list(
            resource: Resource.services.qualifiedName, namespace: nil)
        _ = state.allocator.repair(try services.map { try $0.decoded() })
        let addresses = transaction.list(
            resource: Resource.ipAddresses.qualifiedName, namespace: nil)
        for object in addresses {
            if let address = IPAddress(object.key.name) { state.allocator.reserve(address) }
        }
        state.isStale = false
    }

    private static func serviceCIDRs(_ transaction: StoreTransaction) throws -> [JSONValue] {
        try transaction.list(resource: Resource.serviceCIDRs.qualifiedName, namespace: nil)
            .map { try $0.decoded() }
    }

    static func key(_ address: IPAddress) -> StoreKey {
        StoreKey(resource: Resource.ipAddresses.qualifiedName, name: address.description)
    }

    private static func object(
        _ address: IPAddress, _ transaction: StoreTransaction
    ) -> StoredObject? {
        transaction.get(key(address))
    }

    // MARK: - Figures

    /// How full the ranges and the node ports are.
    var usage: (ranges: [(range: Prefix, used: Int)], ports: Int) {
        state.withLock { state in
            let ranges = state.allocator.addresses.flatMap { allocator in
                allocator.prefixes.map { (range: $0, used: allocator.usedCount(in: $0)) }
            }
            return (ranges, state.allocator.ports.usedCount)
        }
    }
}

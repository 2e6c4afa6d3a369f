import JSON
import KubernetesAPI
import NetworkTypes
import Store
import Synchronization

/// The addresses and ports that Services hold, kept in step with the store's transactions: planned
/// and applied within them, built anew from the stored Services where a commit failed.
final class ServiceAllocations: Sendable {
    private struct State {
        var allocator: ServiceAllocator
        /// Must be built anew before it is asked.
        var isStale = true
    }

    private let state: Mutex<State>

    init(serviceCIDRs: [Prefix], nodePortRange: ClosedRange<UInt16>) {
        let range = Int(nodePortRange.lowerBound)...Int(nodePortRange.upperBound)
        state = Mutex(
            State(
                allocator: ServiceAllocator(clusterRanges: serviceCIDRs, nodePortRange: range)))
    }

    /// Fills in what a Service lacks; other kinds pass through. Called in a transaction.
    /// - Throws: 422 and 500 in Kubernetes' words.
    func allocate(
        _ kind: Kind, new: JSONValue, old: JSONValue?, in transaction: StoreTransaction,
        isDryRun: Bool
    ) throws -> JSONValue {
        guard kind.resource == .services else { return new }
        return try state.withLock { state in
            if state.isStale {
                let stored = transaction.list(
                    resource: Resource.services.qualifiedName, namespace: nil)
                _ = state.allocator.repair(try stored.map { try $0.decoded() })
                state.isStale = false
            }
            let plan = try state.allocator.plan(new, old: old)
            if !isDryRun { state.allocator.apply(plan) }
            return plan.object
        }
    }

    /// Takes back what a removed Service held. Called in a transaction.
    func release(_ kind: Kind, _ object: JSONValue, isDryRun: Bool) {
        guard kind.resource == .services, !isDryRun else { return }
        state.withLock { state in
            guard !state.isStale else { return }
            state.allocator.apply(state.allocator.release(object))
        }
    }

    /// A commit failed: what its transactions took or gave back no longer holds.
    func invalidate() { state.withLock { $0.isStale = true } }
}

import JSON
import KubernetesAPI
import NetworkTypes
import Store

/// The addresses and ports that Services hold, kept in step with the store's transactions.
final class ServiceAllocations: Sendable {
    private let serviceCIDR: Prefix
    private let nodePortRange: ClosedRange<UInt16>

    init(serviceCIDR: Prefix, nodePortRange: ClosedRange<UInt16>) {
        self.serviceCIDR = serviceCIDR
        self.nodePortRange = nodePortRange
    }

    func allocate(
        _ kind: Kind, new: JSONValue, old: JSONValue?, in transaction: StoreTransaction,
        isDryRun: Bool
    ) throws -> JSONValue { new }

    func release(_ kind: Kind, _ object: JSONValue, isDryRun: Bool) {}

    func invalidate() {}
}

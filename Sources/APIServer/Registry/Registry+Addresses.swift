import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import Store

/// Services with the IPAddress objects that are written in the same transaction, and the
/// ServiceCIDRs that say where addresses may lie.
extension Registry {
    /// Stores an object, a Service with what it takes and gives back. Runs in a transaction.
    /// - Parameter old: the state it replaces; nil on create.
    func put(
        _ kind: Kind, _ key: StoreKey, _ new: JSONValue, replacing old: JSONValue?,
        in transaction: inout StoreTransaction, isDryRun: Bool
    ) throws -> StoredObject {
        guard kind.resource == .services else {
            let stored = try write(kind.stored(new), at: key, old == nil, in: &transaction)
            if !isDryRun { noteWritten(kind, key, isNew: old == nil) }
            return stored
        }
        let plan = try allocations.plan(new, old: old, in: transaction)
        let stored = try write(plan.object, at: key, old == nil, in: &transaction)
        try exchange(plan, of: key, in: &transaction)
        guard !isDryRun else { return stored }
        allocations.apply(plan)
        if !plan.releasedAddresses.isEmpty { try finishRanges(in: &transaction) }
        return stored
    }

    private func write(
        _ object: JSONValue, at key: StoreKey, _ isNew: Bool,
        in transaction: inout StoreTransaction
    ) throws -> StoredObject {
        try isNew ? transaction.create(key, object) : transaction.update(key, object)
    }

    /// Takes back what a removed object held. Runs in a transaction.
    func release(
        _ kind: Kind, _ key: StoreKey, _ object: JSONValue,
        in transaction: inout StoreTransaction, isDryRun: Bool
    ) throws {
        switch kind.storedResource {
        case .services:
            let plan = allocations.release(object)
            try exchange(plan, of: key, in: &transaction)
            guard !isDryRun else { return }
            allocations.apply(plan)
            if !plan.releasedAddresses.isEmpty { try finishRanges(in: &transaction) }
        case .ipAddresses where !isDryRun:
            if let address = IPAddress(key.name) { allocations.unreserve(address) }
            try finishRanges(in: &transaction)
        case .serviceCIDRs where !isDryRun: allocations.rangesChanged()
        default: break
        }
    }

    private func noteWritten(_ kind: Kind, _ key: StoreKey, isNew: Bool) {
        switch kind.storedResource {
        case .serviceCIDRs: allocations.rangesChanged()
        case .ipAddresses where isNew:
            if let address = IPAddress(key.name) { allocations.reserve(address) }
        default: break
        }
    }

    // MARK: - IPAddresses

    /// Writes the IPAddresses of what a Service takes, removes those of what it gives back.
    private func exchange(
        _ plan: ServiceAllocation, of key: StoreKey, in transaction: inout StoreTransaction
    ) throws {
        let service = ObjectKey(namespace: key.namespace, name: key.name)
        for address in plan.releasedAddresses {
            let name = ServiceAllocations.key(address)
            guard let stored = transaction.get(name),
                ServiceRepair.refers(try stored.decoded(), to: service)
            else { continue }
            try transaction.delete(name)
        }
        for address in plan.takenAddresses {
            try transaction.create(
                ServiceAllocations.key(address), Self.addressObject(address, of: service))
        }
    }

    private static func addressObject(
        _ address: IPAddress, of service: ObjectKey
    ) -> JSONValue {
        var object = ServiceAddressObjects.ipAddress(address, of: service)
        object["metadata", "uid"] = .string(ObjectUID.make())
        object["metadata", "creationTimestamp"] = .string(WallClock.now())
        return object
    }

    // MARK: - ServiceCIDRs

    /// Sets finalizer and condition of a ServiceCIDR before it is written.
    func settle(_ kind: Kind, _ object: inout JSONValue) {
        guard kind.storedResource == .serviceCIDRs else { return }
        ServiceAddressObjects.settle(&object, now: .now)
    }

    /// A ServiceCIDR that nothing uses goes at once; another one waits, and is allocated from no
    /// longer.
    func releaseRange(
        _ kind: Kind, _ object: inout JSONValue, in transaction: StoreTransaction
    ) throws {
        guard kind.storedResource == .serviceCIDRs,
            try !allocations.isInUse(object, in: transaction)
        else { return }
        Self.dropRangeFinalizer(&object)
    }

    /// Removes the ServiceCIDRs being deleted whose last address is gone.
    private func finishRanges(in transaction: inout StoreTransaction) throws {
        guard try allocations.hasTerminatingRanges(in: transaction),
            let kind = kinds[.serviceCIDRs]
        else { return }
        let name = kind.resource.qualifiedName
        for stored in transaction.list(resource: name, namespace: nil) {
            var object = try stored.decoded()
            guard object["metadata", "deletionTimestamp"] != nil,
                try !allocations.isInUse(object, in: transaction)
            else { continue }
            Self.dropRangeFinalizer(&object)
            if object["metadata", "finalizers"] == nil {
                try transaction.delete(stored.key)
            } else {
                try transaction.update(stored.key, object)
            }
            allocations.rangesChanged()
        }
    }

    private static func dropRangeFinalizer(_ object: inout JSONValue) {
        let rest = (object["metadata", "finalizers"]?.array ?? []).filter {
            $0 != .string(ServiceAddressObjects.finalizer)
        }
        object["metadata", "finalizers"] = rest.isEmpty ? nil : .array(rest)
    }

    // MARK: - Repair

    /// Compares Services with IPAddresses, writes those that are missing, removes those that leaked
    /// and rights those that name another owner; the other faults are only reported. Each is
    /// looked at again in the transaction that repairs it.
    /// - Returns: the faults that were repaired or stay.
    func repairAddresses() async throws -> [ServiceRepair.Fault] {
        func objects(_ resource: Resource) throws -> [JSONValue] {
            try store.list(resource: resource.qualifiedName, namespace: nil).objects
                .map { try $0.decoded() }
        }
        let ranges = try objects(.serviceCIDRs).flatMap(ServiceAddressObjects.ranges)
        let repair = ServiceRepair(
            ranges: ranges.isEmpty ? allocations.configuredRanges : ranges,
            nodePortRange: allocations.nodePortRange)
        let faults = repair.faults(
            services: try objects(.services), addresses: try objects(.ipAddresses))
        guard !faults.isEmpty else { return [] }
        return try await commit(isDryRun: false) { transaction in
            let repaired = try faults.filter { try Self.repair($0, in: &transaction) }
            // What memory holds may be wrong as well.
            self.allocations.invalidate()
            return repaired
        }
    }

    /// - Returns: false where the fault is gone by itself.
    private static func repair(
        _ fault: ServiceRepair.Fault, in transaction: inout StoreTransaction
    ) throws -> Bool {
        let key = StoreKey(
            resource: Resource.services.qualifiedName, namespace: fault.service.namespace,
            name: fault.service.name)
        let spec = try transaction.get(key)?.decoded()["spec"]
        guard let address = IPAddress(fault.value) else { return spec != nil }
        let name = ServiceAllocations.key(address)
        let object = try transaction.get(name)?.decoded()
        let isHeld = spec.map { ServiceAllocator.addresses(of: $0).contains(address) } ?? false
        switch fault.kind {
        case .missing:
            guard isHeld, object == nil else { return false }
            try transaction.create(name, addressObject(address, of: fault.service))
        case .leaked:
            guard !isHeld, let object, ServiceRepair.isManaged(object) else { return false }
            try transaction.delete(name)
        case .wrongReference:
            guard isHeld, let object, !ServiceRepair.refers(object, to: fault.service) else {
                return false
            }
            try transaction.delete(name)
            try transaction.create(name, addressObject(address, of: fault.service))
        default: return isHeld
        }
        return true
    }
}

import Informer
import JSON
import KubernetesAPI
import Logging
import Synchronization

/// Repairs the addresses and ports of Services now and then, with an event for each fault and
/// counters for `/metrics`, as Kubernetes' repair controllers do.
struct RepairLoop: Sendable {
    /// Kubernetes' own interval.
    static let intervalSeconds = 180.0
    /// Faults of one round that get an event; all are counted.
    private static let eventLimit = 100

    let registry: Registry
    let client: any KubernetesClient
    let counters: RepairCounters
    let logger: Logger

    /// Runs until the task is cancelled.
    func run() async {
        let recorder = EventRecorder(
            client: client, component: "ipallocator-repair-controller", logger: logger)
        while !Task.isCancelled {
            do {
                let faults = try await registry.repairAddresses()
                counters.add(faults)
                for fault in faults.prefix(Self.eventLimit) { await report(fault, recorder) }
            } catch {
                counters.failedTotal.increment()
                logger.warning("addresses not repaired", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(Self.intervalSeconds))
        }
    }

    private func report(_ fault: ServiceRepair.Fault, _ recorder: EventRecorder) async {
        logger.warning("\(fault.event.message)", metadata: ["service": "\(fault.service)"])
        let service = try? await client.get(
            .services, namespace: fault.service.namespace, name: fault.service.name)
        await recorder.record(
            .warning, reason: fault.event.reason, message: fault.event.message,
            regarding: ObjectReference(
                .services, fault.service, uid: service?["metadata", "uid"]?.string ?? ""))
    }
}

/// What repairs found, by kind of fault.
final class RepairCounters: Sendable {
    let failedTotal = Counter()
    private let found = Mutex<[ServiceRepair.Fault.Kind: Int]>([:])

    func add(_ faults: [ServiceRepair.Fault]) {
        found.withLock { found in
            for fault in faults { found[fault.kind, default: 0] += 1 }
        }
    }

    /// Every kind of fault with the number found since the start.
    var totals: [(kind: ServiceRepair.Fault.Kind, count: Int)] {
        let found = found.withLock { $0 }
        return ServiceRepair.Fault.Kind.allCases.map { ($0, found[$0] ?? 0) }
    }
}

import Glibc
import Informer
import KubernetesAPI
import NetworkTypes

/// Follows the pods that are bound to the node and keeps a worker for each.
actor PodManager {
    private let context: NodeContext
    private var workers: [String: PodWorker] = [:]
    /// UID by short name, to find the pod of a container.
    private var shortIDs: [String: String] = [:]
    private var hasCleaned = false

    /// How often processes and volumes are looked after, in seconds.
    static let auditSeconds = 10

    init(context: NodeContext) { self.context = context }

    /// Runs until the task is cancelled.
    func run() async {
        reserveAddresses()
        let informer = Informer<Pod>(
            .pods, client: context.client,
            options: ListOptions(fieldSelector: "spec.nodeName=\(context.configuration.nodeName)"),
            logger: context.logger)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await informer.run { await self.handle($0) } }
            group.addTask {
                while !Task.isCancelled {
                    try? await Task.sleep(for: .seconds(Self.auditSeconds))
                    if !Task.isCancelled { await self.audit() }
                }
            }
            await group.waitForAll()
        }
        await withTaskGroup(of: Void.self) { group in
            for worker in workers.values { group.addTask { await worker.suspend() } }
        }
    }

    /// A container's exit code has appeared.
    func containerExited(id: String) async {
        let shortID = String(id.prefix { $0 != "-" })
        guard let uid = shortIDs[shortID], let worker = workers[uid] else { return }
        await worker.containerExited(id: id)
    }

    /// The worker of a pod, by its key.
    func worker(_ key: ObjectKey) async -> PodWorker? {
        for worker in workers.values where await worker.pod.key == key { return worker }
        return nil
    }

    /// Addresses of pods that run already are taken before any new pod asks for one.
    private func reserveAddresses() {
        for uid in Files.names(in: context.podsDirectory) {
            guard let state = PodState.read(context.podDirectory(uid)), let address = state.address
            else { continue }
            _ = context.allocateAddress(uid: uid, preferred: address)
        }
    }

    private func handle(_ notice: Informer<Pod>.Notice) async {
        switch notice {
        case .synced: await removeOrphans()
        case .changes(let changes):
            // Pods that had an address before get it back before new ones ask for any, also where
            // the node has forgotten them.
            for pod in changes.compactMap(\.new) where !pod.usesHostNetwork && !pod.isFinished {
                guard let address = pod.podIPs.first else { continue }
                _ = context.allocateAddress(uid: pod.metadata.uid, preferred: address)
            }
            for change in changes { await handle(change) }
        }
    }

    private func handle(_ change: Informer<Pod>.Change) async {
        // A name can be taken by a new pod before the old one's end was seen.
        if let old = change.old, old.metadata.uid != change.new?.metadata.uid {
            await workers[old.metadata.uid]?.objectDeleted()
        }
        guard let pod = change.new else { return }
        if let worker = workers[pod.metadata.uid] {
            await worker.update(pod)
            return
        }
        let worker = PodWorker(pod: pod, context: context) { [weak self] uid in
            await self?.forget(uid)
        }
        workers[pod.metadata.uid] = worker
        shortIDs[worker.shortID] = pod.metadata.uid
        // Pods begin side by side; what comes for a pod meanwhile waits in its worker.
        Task { await worker.begin() }
    }

    private func forget(_ uid: String) {
        if let worker = workers.removeValue(forKey: uid) {
            shortIDs[worker.shortID] = nil
        }
    }

    private func audit() async {
        for worker in workers.values { await worker.audit() }
    }

    /// What an earlier agent left of pods that are no longer bound to the node.
    private func removeOrphans() async {
        guard !hasCleaned else { return }
        hasCleaned = true
        let known = Set(workers.keys)
        let context = context
        _ = try? await Blocking.run {
            for uid in Files.names(in: context.podsDirectory) where !known.contains(uid) {
                NodeCleanup.removePod(
                    uid: uid, podsDirectory: context.podsDirectory, runtime: context.runtime,
                    network: context.network)
                context.releaseAddress(uid: uid)
            }
        }
    }
}

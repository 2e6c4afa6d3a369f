import KubernetesAPI
import NetworkTypes

/// An endpoint that a slice gives for a Service port.
struct Candidate {
    var backend: Backend
    var endpoint: EndpointSlice.Endpoint
}

/// Which endpoints a node may use for a Service port: those that are ready, or those that still
/// serve while they terminate where none is ready (KEP-1669), judged separately for all endpoints
/// and for those on the node; with topology hints (KEP-2433, KEP-3015) for the former.
///
/// The lists are sorted and without repetition. They are lists rather than sets because most have a
/// few entries, and a start computes those of every Service.
struct EndpointSelection {
    /// For Cluster policies.
    let cluster: [Backend]
    /// For Local policies; empty where the Service has none.
    let local: [Backend]
    /// Every endpoint that serves, whether chosen or not.
    let serving: [Backend]
    /// The endpoints of this node, whether chosen or not.
    let onThisNode: [Backend]

    /// True where some endpoint of some node could be used.
    var hasEndpoints: Bool { !cluster.isEmpty || !local.isEmpty || hasUsable }
    private let hasUsable: Bool

    /// - Parameter candidates: sorted, each backend once.
    init(_ candidates: [Candidate], service: Service, node: NodeContext) {
        let isLocal = { (candidate: Candidate) in candidate.endpoint.nodeName == node.nodeName }
        let usable = Self.usable(candidates)
        hasUsable = !usable.isEmpty
        serving = candidates.compactMap {
            $0.endpoint.isReady || $0.endpoint.isServing ? $0.backend : nil
        }
        onThisNode = candidates.compactMap { isLocal($0) ? $0.backend : nil }
        // An external Local policy needs all endpoints, too: pods may use them.
        let usesCluster =
            service.internalTrafficPolicy == .cluster || service.isExternallyReachable
        let usesLocal =
            service.internalTrafficPolicy == .local
            || service.isExternallyReachable && service.externalTrafficPolicy == .local
        cluster = usesCluster ? Self.nearest(usable, node).map(\.backend) : []
        local = usesLocal ? Self.usable(candidates.filter(isLocal)).map(\.backend) : []
    }

    private static func usable(_ candidates: [Candidate]) -> [Candidate] {
        if candidates.allSatisfy(\.endpoint.isReady) { return candidates }
        let ready = candidates.filter(\.endpoint.isReady)
        if !ready.isEmpty { return ready }
        return candidates.filter { $0.endpoint.isServing && $0.endpoint.isTerminating }
    }

    /// Hints hold only where every ready endpoint has one and at least one names this node or
    /// zone: a half-written set of slices must not empty the Service.
    private static func nearest(_ candidates: [Candidate], _ node: NodeContext) -> [Candidate] {
        // Those that are usable are all ready, or none is.
        guard candidates.first?.endpoint.isReady == true else { return candidates }
        let ready = candidates
        if ready.allSatisfy({ !$0.endpoint.nodeHints.isEmpty }) {
            let own = ready.filter { $0.endpoint.nodeHints.contains(node.nodeName) }
            if !own.isEmpty { return own }
        }
        if let zone = node.zone, ready.allSatisfy({ !$0.endpoint.zoneHints.isEmpty }) {
            let own = ready.filter { $0.endpoint.zoneHints.contains(zone) }
            if !own.isEmpty { return own }
        }
        return candidates
    }
}

/// Places endpoints in numbered slots: first those only Local policies use, then those both use,
/// then those only Cluster policies use. So each policy draws from one range of the list.
struct SlotAssignment {
    let slots: [Backend]
    let localRange: SlotRange
    let clusterRange: SlotRange
    /// Those that only Cluster policies use.
    let elsewhereRange: SlotRange

    /// Endpoints keep the slot they had wherever it is in the region they belong to.
    /// - Parameters:
    ///   - local: sorted, each once; so is `cluster`.
    init(local sortedLocal: [Backend], cluster sortedCluster: [Backend], previous: [Backend]) {
        if previous.isEmpty, sortedLocal.isEmpty {
            slots = sortedCluster
            localRange = SlotRange(offset: 0, count: 0)
            clusterRange = SlotRange(offset: 0, count: sortedCluster.count)
            elsewhereRange = clusterRange
            return
        }
        let (local, cluster) = (Set(sortedLocal), Set(sortedCluster))
        let shared = local.intersection(cluster)
        let regions = [local.subtracting(shared), shared, cluster.subtracting(shared)]
        var slots: [Backend] = []
        slots.reserveCapacity(local.count + cluster.count - shared.count)
        for region in regions where !region.isEmpty {
            let start = slots.count
            var waiting = region
            var kept = [Backend?](repeating: nil, count: region.count)
            for offset in 0..<region.count where start + offset < previous.count {
                let backend = previous[start + offset]
                if waiting.remove(backend) != nil { kept[offset] = backend }
            }
            var rest = waiting.sorted()[...]
            for backend in kept {
                if let backend = backend ?? rest.popFirst() { slots.append(backend) }
            }
        }
        self.slots = slots
        localRange = SlotRange(offset: 0, count: local.count)
        clusterRange = SlotRange(offset: regions[0].count, count: cluster.count)
        elsewhereRange = SlotRange(offset: local.count, count: regions[2].count)
    }
}

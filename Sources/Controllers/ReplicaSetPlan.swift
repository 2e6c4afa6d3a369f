import Informer
import JSON
import KubernetesAPI

/// What a ReplicaSet needs done: a pure function of the set and the pods that concern it.
struct ReplicaSetPlan {
    /// Pods that match and belong to nobody.
    var adopts: [PodSummary] = []
    /// Pods of the set whose labels no longer match.
    var releases: [PodSummary] = []
    var createCount = 0
    var deletes: [PodSummary] = []
    var status: JSONValue = [:]
    /// Seconds until a pod that is ready now becomes available; nil if none is waiting.
    var recheckSeconds: Double?

    /// At most this many pods are made or deleted in one go, as in kube-controller-manager.
    static let burstLimit = 500

    /// - Parameters:
    ///   - owned: pods whose controller is the set.
    ///   - matching: pods of the namespace that its selector matches.
    init(
        _ set: Object, owned: [PodSummary], matching: [PodSummary],
        podsOnNode: (String) -> Int, now: Timestamp
    ) {
        let selector = LabelSelector(json: set["spec"]?["selector"] ?? [:])
        let isDeleted = set.metadata.deletionTimestamp != nil
        if !isDeleted {
            adopts = matching.filter { $0.controller == nil && $0.isActive }
            releases = owned.filter { !selector.matches($0.metadata.labels) }
        }
        let pods = owned.filter { selector.matches($0.metadata.labels) } + adopts
        let active = pods.filter(\.isActive)
        let wanted = max(0, set["spec"]?["replicas"]?.int ?? 1)
        if !isDeleted {
            if active.count < wanted {
                createCount = min(wanted - active.count, Self.burstLimit)
            } else if active.count > wanted {
                let count = min(active.count - wanted, Self.burstLimit)
                deletes = Self.ranked(active, podsOnNode: podsOnNode).prefix(count).map(\.self)
            }
        }
        fillStatus(set, pods: pods, now: now)
    }

    private mutating func fillStatus(_ set: Object, pods: [PodSummary], now: Timestamp) {
        let active = pods.filter(\.isActive)
        let seconds = set["spec"]?["minReadySeconds"]?.int ?? 0
        let templateLabels = set.json["spec", "template", "metadata", "labels"]?.stringMap ?? [:]
        let ready = active.filter(\.isReady)
        let available = ready.filter { $0.isAvailable(minReadySeconds: seconds, now: now) }
        recheckSeconds =
            ready.filter { !$0.isAvailable(minReadySeconds: seconds, now: now) }
            .compactMap { $0.readySince.map { Double(seconds) - now.secondsSince($0) } }
            .min()
        let labelled = active.filter { pod in
            templateLabels.allSatisfy { pod.metadata.labels[$0.key] == $0.value }
        }
        status = ["replicas": .integer(Int64(active.count))]
        let counts = [
            ("fullyLabeledReplicas", labelled.count), ("readyReplicas", ready.count),
            ("availableReplicas", available.count),
            ("terminatingReplicas", pods.count { $0.isTerminating && !$0.isFinished }),
        ]
        for (key, count) in counts where count > 0 { status[key] = .integer(Int64(count)) }
        status["observedGeneration"] = .integer(set.metadata.generation)
    }

    /// The order in which pods are deleted, first to go first: unassigned, pending, not ready,
    /// cheaper by annotation (KEP-2255), on a node with more pods of the set (KEP-2185), ready for
    /// a shorter time, restarted more often, younger.
    static func ranked(
        _ pods: [PodSummary], podsOnNode: (String) -> Int
    ) -> [PodSummary] {
        func phase(_ pod: PodSummary) -> Int {
            switch pod.phase {
            case "Pending": 0
            case "Unknown": 1
            default: 2
            }
        }
        func rank(_ pod: PodSummary) -> [Double] {
            let readySince = pod.readySince?.microseconds ?? Int64.max
            let created = Timestamp(pod.metadata.creationTimestamp)?.microseconds ?? Int64.max
            return [
                pod.nodeName.isEmpty ? 0 : 1,
                Double(phase(pod)),
                pod.isReady ? 1 : 0,
                pod.metadata.annotations[PodSummary.deletionCost].flatMap(Double.init) ?? 0,
                -Double(podsOnNode(pod.nodeName)),
                -Double(readySince / 1_000_000),
                -Double(pod.restartCount),
                -Double(created / 1_000_000),
            ]
        }
        return pods.map { (rank($0), $0) }
            .sorted { left, right in
                if left.0 != right.0 { return left.0.lexicographicallyPrecedes(right.0) }
                return left.1.metadata.name < right.1.metadata.name
            }
            .map(\.1)
    }
}

import Informer
import JSON
import KubernetesAPI

/// One ReplicaSet of a Deployment, as the rollout sees it.
struct RolloutSet: Equatable {
    var object: Object
    var name: String { object.metadata.name }
    var replicas: Int
    var statusReplicas: Int
    var ready: Int
    var available: Int
    var revision: Int

    init(_ object: Object) {
        self.object = object
        replicas = object["spec"]?["replicas"]?.int ?? 1
        statusReplicas = object["status"]?["replicas"]?.int ?? 0
        ready = object["status"]?["readyReplicas"]?.int ?? 0
        available = object["status"]?["availableReplicas"]?.int ?? 0
        revision =
            object.metadata.annotations[DeploymentPlan.revisionAnnotation]
            .flatMap(Int.init) ?? 0
    }

    var template: JSONValue { object["spec"]?["template"] ?? [:] }

    static func isOlder(_ left: RolloutSet, _ right: RolloutSet) -> Bool {
        let (a, b) = (left.object.metadata, right.object.metadata)
        return (a.creationTimestamp, left.revision, a.name)
            < (b.creationTimestamp, right.revision, b.name)
    }
}

/// What a Deployment needs done next: a pure function of it, its ReplicaSets, and whether pods of
/// old ones still run. The rules of rolling are kube-controller-manager's: never more than
/// `replicas + maxSurge` pods, never fewer than `replicas - maxUnavailable` available.
struct DeploymentPlan {
    static let revisionAnnotation = "deployment.kubernetes.io/revision"
    static let desiredAnnotation = "deployment.kubernetes.io/desired-replicas"
    static let maximumAnnotation = "deployment.kubernetes.io/max-replicas"
    static let historyAnnotation = "deployment.kubernetes.io/revision-history"

    /// One write. A plan's writes are independent; after them the Deployment is looked at again.
    enum Action: Equatable {
        /// Make the ReplicaSet of the present template.
        case create(replicas: Int, revision: Int)
        case scale(RolloutSet, to: Int)
        /// Give the set of the present template a new revision, as a rollback does.
        case annotate(RolloutSet, revision: Int)
        /// Give the current set the Deployment's `minReadySeconds`, which is no part of a template.
        case setMinReadySeconds(RolloutSet, Int)
        /// Note on the Deployment which revision is current.
        case setRevision(Int)
        case delete(RolloutSet)
    }

    let deployment: Object
    let replicas: Int
    let maxSurge: Int
    let maxUnavailable: Int
    let isRolling: Bool
    let isPaused: Bool
    /// The set of the present template; nil before it is made.
    let current: RolloutSet?
    /// The other sets, oldest first.
    let old: [RolloutSet]
    /// True while pods of old sets run, which Recreate waits for.
    let hasOldPods: Bool

    init(_ deployment: Object, sets: [RolloutSet], hasOldPods: (RolloutSet?) -> Bool) {
        self.deployment = deployment
        let spec = deployment["spec"] ?? [:]
        let strategy = spec["strategy"]
        replicas = max(0, spec["replicas"]?.int ?? 1)
        isPaused = spec["paused"]?.bool ?? false
        isRolling = strategy?["type"]?.string != "Recreate"
        let rolling = strategy?["rollingUpdate"]
        let surge = IntOrPercent.resolve(
            rolling?["maxSurge"] ?? "25%", of: replicas, roundsUp: true)
        let unavailable = IntOrPercent.resolve(
            rolling?["maxUnavailable"] ?? "25%", of: replicas, roundsUp: false)
        maxSurge = isRolling ? surge ?? 0 : 0
        // Both zero would never move.
        maxUnavailable =
            isRolling ? max(unavailable ?? 0, maxSurge == 0 ? 1 : 0) : replicas
        let template = spec["template"] ?? [:]
        let ordered = sets.sorted(by: RolloutSet.isOlder)
        current = ordered.first { PodTemplate.isSame($0.template, template) }
        old = ordered.filter { [current] in $0.name != current?.name }
        self.hasOldPods = isRolling ? false : hasOldPods(current)
    }

    /// Pods that must stay available.
    var minimumAvailable: Int { max(0, replicas - maxUnavailable) }
    var all: [RolloutSet] { old + [current].compactMap(\.self) }
    private var nextRevision: Int { (old.map(\.revision).max() ?? 0) + 1 }

    /// The writes to do now; none where the rollout is complete or waits for pods.
    var actions: [Action] {
        if deployment.metadata.deletionTimestamp != nil { return [] }
        let revisions = revisionActions
        if !revisions.isEmpty { return revisions }
        if isPaused || isScalingEvent { return proportionalScaling }
        let rollout = isRolling ? rollingActions : recreateActions
        return rollout.isEmpty ? cleanupActions : rollout
    }

    // MARK: - Revisions

    private var revisionActions: [Action] {
        guard let current else { return [] }
        let seconds = deployment["spec"]?["minReadySeconds"]?.int ?? 0
        if seconds != current.object["spec"]?["minReadySeconds"]?.int ?? 0 {
            return [.setMinReadySeconds(current, seconds)]
        }
        if current.revision < nextRevision { return [.annotate(current, revision: nextRevision)] }
        let noted = deployment.metadata.annotations[Self.revisionAnnotation]
        return noted == "\(current.revision)" ? [] : [.setRevision(current.revision)]
    }

    // MARK: - Strategies

    private var rollingActions: [Action] {
        guard let current else {
            let room = replicas + maxSurge - old.reduce(0) { $0 + $1.replicas }
            return [.create(replicas: max(0, min(replicas, room)), revision: nextRevision)]
        }
        let wanted = newReplicas(current)
        if wanted != current.replicas { return [.scale(current, to: wanted)] }
        return scaleDownOld(current)
    }

    private func newReplicas(_ current: RolloutSet) -> Int {
        if current.replicas >= replicas { return replicas }
        let room = replicas + maxSurge - all.reduce(0) { $0 + $1.replicas }
        return current.replicas + max(0, min(room, replicas - current.replicas))
    }

    private func scaleDownOld(_ current: RolloutSet) -> [Action] {
        let total = all.reduce(0) { $0 + $1.replicas }
        let notYet = max(0, current.replicas - current.available)
        var budget = total - minimumAvailable - notYet
        guard budget > 0, old.contains(where: { $0.replicas > 0 }) else { return [] }
        var sizes = old.map(\.replicas)
        // Pods that do not serve anyway go first.
        for (index, set) in old.enumerated() where budget > 0 && sizes[index] > set.available {
            let count = min(budget, sizes[index] - set.available)
            sizes[index] -= count
            budget -= count
        }
        var spare = all.reduce(0) { $0 + $1.available } - minimumAvailable
        for index in old.indices where spare > 0 && budget > 0 && sizes[index] > 0 {
            let count = min(sizes[index], spare, budget)
            sizes[index] -= count
            spare -= count
            budget -= count
        }
        return zip(old, sizes).compactMap { set, size in
            size == set.replicas ? nil : .scale(set, to: size)
        }
    }

    private var recreateActions: [Action] {
        let running = old.filter { $0.replicas > 0 }
        if !running.isEmpty { return running.map { .scale($0, to: 0) } }
        if hasOldPods { return [] }
        guard let current else { return [.create(replicas: replicas, revision: nextRevision)] }
        return current.replicas == replicas ? [] : [.scale(current, to: replicas)]
    }

    // MARK: - Scaling in the midst of a rollout

    private var isScalingEvent: Bool {
        all.contains { set in
            let desired = set.object.metadata.annotations[Self.desiredAnnotation].flatMap(Int.init)
            return set.replicas > 0 && desired != nil && desired != replicas
        }
    }

    private var proportionalScaling: [Action] {
        let active = all.filter { $0.replicas > 0 }
        if active.count <= 1 {
            guard let only = active.first ?? current else { return [] }
            // A set other than the current one is scaled too: the rollout has not begun.
            return scaled(only, to: replicas)
        }
        if let current, current.replicas == replicas, current.available >= replicas {
            return old.filter { $0.replicas > 0 }.map { .scale($0, to: 0) }
        }
        guard isRolling else { return [] }
        let total = active.reduce(0) { $0 + $1.replicas }
        let allowed = replicas > 0 ? replicas + maxSurge : 0
        var rest = allowed - total
        let ordered = active.sorted { left, right in
            if left.replicas != right.replicas { return left.replicas > right.replicas }
            return rest > 0 ? RolloutSet.isOlder(right, left) : RolloutSet.isOlder(left, right)
        }
        var sizes = ordered.map(\.replicas)
        for (index, set) in ordered.enumerated() where rest != 0 {
            let before =
                set.object.metadata.annotations[Self.maximumAnnotation]
                .flatMap(Int.init) ?? total
            let fraction = Double(set.replicas * allowed) / Double(max(before, 1))
            let change = Int(fraction.rounded()) - set.replicas
            let bounded = rest > 0 ? min(max(change, 0), rest) : max(min(change, 0), rest)
            sizes[index] = max(0, sizes[index] + bounded)
            rest -= bounded
        }
        if let first = sizes.first { sizes[0] = max(0, first + rest) }
        return zip(ordered, sizes).flatMap { scaled($0, to: $1) }
    }

    /// A scaling, also where only the annotations have to follow the Deployment's size.
    private func scaled(_ set: RolloutSet, to size: Int) -> [Action] {
        let annotations = set.object.metadata.annotations
        let isNoted =
            annotations[Self.desiredAnnotation] == "\(replicas)"
            && annotations[Self.maximumAnnotation] == "\(replicas + maxSurge)"
        return isNoted && set.replicas == size ? [] : [.scale(set, to: size)]
    }

    // MARK: - History

    private var cleanupActions: [Action] {
        guard isComplete, let limit = deployment["spec"]?["revisionHistoryLimit"]?.int else {
            return []
        }
        let candidates = old.filter {
            $0.replicas == 0 && $0.statusReplicas == 0
                && $0.object.metadata.deletionTimestamp == nil
        }
        return candidates.sorted { $0.revision < $1.revision }
            .prefix(max(0, candidates.count - limit))
            .map { .delete($0) }
    }

    /// True where every pod is of the present template and available.
    var isComplete: Bool {
        guard let current else { return false }
        return current.statusReplicas == replicas && current.available >= replicas
            && all.reduce(0) { $0 + $1.statusReplicas } == replicas
    }
}

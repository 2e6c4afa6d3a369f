import Informer
import JSON
import KubernetesAPI

/// Rolls Deployments out over ReplicaSets.
final class DeploymentController: Controller {
    let name = "deployment"
    private let cluster: Cluster
    private let queue: WorkQueue<ObjectKey>

    init(_ cluster: Cluster) {
        self.cluster = cluster
        queue = WorkQueue("deployment", logger: cluster.logger)
        cluster.deployments.onChange { [weak self] change in self?.queue.add(change.key) }
        cluster.replicaSets.onChange { [weak self] change in
            for set in [change.old, change.new].compactMap(\.self) { self?.setChanged(set) }
        }
        cluster.pods.onChange { [weak self] change in
            // Recreate waits for the last pod of the old sets.
            guard change.new == nil || change.new?.isFinished == true, let pod = change.old else {
                return
            }
            guard let self, let owner = pod.controller, owner.kind == "ReplicaSet",
                let set = cluster.replicaSets.get(
                    ObjectKey(namespace: pod.metadata.namespace, name: owner.name))
            else { return }
            setChanged(set)
        }
    }

    var counters: WorkQueueCounters { queue.counters }

    func run() async {
        await queue.run(workers: 4) { [self] key in try await reconcile(key) }
    }

    private func setChanged(_ set: Object) {
        let namespace = set.metadata.namespace
        if let owner = OwnerReference.list(of: set.json).first(where: \.isController) {
            guard owner.kind == "Deployment" else { return }
            queue.add(ObjectKey(namespace: namespace, name: owner.name))
        } else {
            for deployment in cluster.deployments.objects(inNamespace: namespace)
            where LabelSelector(json: deployment["spec"]?["selector"] ?? [:])
                .matches(set.metadata.labels)
            {
                queue.add(deployment.key)
            }
        }
    }

    private func reconcile(_ key: ObjectKey) async throws {
        guard let deployment = cluster.deployments.get(key) else { return }
        try await adopt(for: deployment)
        let sets = cluster.replicaSets.objects("owner:\(deployment.metadata.uid)")
        let plan = DeploymentPlan(deployment, sets: sets.map(RolloutSet.init)) { current in
            sets.contains { set in
                set.metadata.uid != current?.object.metadata.uid
                    && cluster.pods.objects("owner:\(set.metadata.uid)")
                        .contains { !$0.isFinished }
            }
        }
        let actions = plan.actions
        for action in actions { try await perform(action, plan) }
        if !actions.isEmpty {
            // The next step is decided from what these writes made.
            queue.add(key)
            return
        }
        let status = DeploymentStatus(plan, now: cluster.now())
        if status.json != deployment["status"] {
            var object = deployment.json
            object["status"] = status.json
            let written = try await cluster.client.update(
                .deployments, object, subresource: "status")
            try await cluster.deployments.waitUntilSeen(
                written["metadata", "resourceVersion"]?.string)
        }
        if let seconds = status.deadlineSeconds {
            queue.add(key, after: .milliseconds(Int(seconds * 1000) + 1))
        }
    }

    private func adopt(for deployment: Object) async throws {
        guard deployment.metadata.deletionTimestamp == nil else { return }
        let selector = LabelSelector(json: deployment["spec"]?["selector"] ?? [:])
        guard !selector.requirements.isEmpty else { return }
        let sets = cluster.replicaSets.objects(inNamespace: deployment.metadata.namespace)
        for set in sets
        where selector.matches(set.metadata.labels) && set.controllerReference == nil
            && set.metadata.deletionTimestamp == nil
        {
            let owners =
                OwnerReference.list(of: set.json)
                + [.controller(.deployments, deployment.metadata)]
            try await patch(set, ["metadata": ["ownerReferences": .array(owners.map(\.json))]])
        }
    }

    // MARK: - Writes

    private func perform(_ action: DeploymentPlan.Action, _ plan: DeploymentPlan) async throws {
        let deployment = plan.deployment
        switch action {
        case .create(let replicas, let revision):
            try await create(plan, replicas: replicas, revision: revision)
        case .scale(let set, let size):
            try await patch(
                set.object,
                [
                    "metadata": ["annotations": JSONValue(sizeAnnotations(plan))],
                    "spec": ["replicas": .integer(Int64(size))],
                ])
            if size != set.replicas {
                let direction = size > set.replicas ? "up" : "down"
                cluster.event(
                    .normal, "ScalingReplicaSet",
                    "Scaled \(direction) replica set \(set.name) from \(set.replicas) to \(size)",
                    ObjectReference(.deployments, deployment.metadata))
            }
        case .annotate(let set, let revision):
            var annotations = [DeploymentPlan.revisionAnnotation: "\(revision)"]
            if set.revision > 0 {
                let history = set.object.metadata.annotations[DeploymentPlan.historyAnnotation]
                annotations[DeploymentPlan.historyAnnotation] =
                    (history.map { $0 + "," } ?? "") + "\(set.revision)"
            }
            try await patch(set.object, ["metadata": ["annotations": JSONValue(annotations)]])
        case .setMinReadySeconds(let set, let seconds):
            try await patch(
                set.object, ["spec": ["minReadySeconds": .integer(Int64(seconds))]])
        case .setRevision(let revision):
            try await note(revision: revision, on: deployment)
        case .delete(let set):
            try await cluster.client.delete(
                .replicaSets, namespace: set.object.metadata.namespace, name: set.name,
                options: ["preconditions": ["uid": .string(set.object.metadata.uid)]])
            try await cluster.replicaSets.wait(for: set.object.key) {
                $0 == nil || $0?.metadata.deletionTimestamp != nil
            }
        }
    }

    private func note(revision: Int, on deployment: Object) async throws {
        let annotations = JSONValue([DeploymentPlan.revisionAnnotation: "\(revision)"])
        let written = try await cluster.client.patch(
            .deployments, namespace: deployment.metadata.namespace,
            name: deployment.metadata.name, subresource: nil, type: .merge,
            ["metadata": ["uid": .string(deployment.metadata.uid), "annotations": annotations]])
        try await cluster.deployments.waitUntilSeen(
            written["metadata", "resourceVersion"]?.string)
    }

    private func sizeAnnotations(_ plan: DeploymentPlan) -> [String: String] {
        [
            DeploymentPlan.desiredAnnotation: "\(plan.replicas)",
            DeploymentPlan.maximumAnnotation: "\(plan.replicas + plan.maxSurge)",
        ]
    }

    private func create(_ plan: DeploymentPlan, replicas: Int, revision: Int) async throws {
        let deployment = plan.deployment
        let collisions = deployment["status"]?["collisionCount"]?.integer ?? 0
        let object = replicaSet(plan, replicas, revision, collisions)
        let name = object["metadata", "name"]?.string ?? ""
        do {
            let written = try await cluster.client.create(.replicaSets, object)
            try await cluster.replicaSets.waitUntilSeen(
                written["metadata", "resourceVersion"]?.string)
        } catch let error as StatusError where error.isAlreadyExists {
            try await resolveCollision(deployment, name, collisions)
            return
        }
        cluster.event(
            .normal, "ScalingReplicaSet", "Scaled up replica set \(name) from 0 to \(replicas)",
            ObjectReference(.deployments, deployment.metadata))
    }

    /// A name that is taken by a set of another template: the hash is salted differently next time.
    private func resolveCollision(
        _ deployment: Object, _ name: String, _ collisions: Int64
    ) async throws {
        let present = try await cluster.client.get(
            .replicaSets, namespace: deployment.metadata.namespace, name: name)
        let isOurs =
            Object(json: present).controllerReference?["uid"]?.string == deployment.metadata.uid
        let isSame = PodTemplate.isSame(
            present["spec", "template"] ?? [:], deployment["spec"]?["template"] ?? [:])
        if isOurs && isSame {
            try await cluster.replicaSets.waitUntilSeen(
                present["metadata", "resourceVersion"]?.string)
            return
        }
        var object = deployment.json
        object["status", "collisionCount"] = .integer(collisions + 1)
        let written = try await cluster.client.update(.deployments, object, subresource: "status")
        try await cluster.deployments.waitUntilSeen(written["metadata", "resourceVersion"]?.string)
    }

    private func replicaSet(
        _ plan: DeploymentPlan, _ replicas: Int, _ revision: Int, _ collisions: Int64
    ) -> JSONValue {
        let deployment = plan.deployment
        var template = deployment["spec"]?["template"] ?? [:]
        let hash = PodTemplate.hash(template, collisionCount: collisions)
        template["metadata", "labels", PodTemplate.hashLabel] = .string(hash)
        var selector = deployment["spec"]?["selector"] ?? [:]
        selector["matchLabels", PodTemplate.hashLabel] = .string(hash)
        var annotations = deployment.metadata.annotations.filter {
            $0.key != "kubectl.kubernetes.io/last-applied-configuration"
                && !$0.key.hasPrefix("deployment.kubernetes.io/")
        }
        annotations.merge(sizeAnnotations(plan)) { $1 }
        annotations[DeploymentPlan.revisionAnnotation] = "\(revision)"
        var spec: JSONValue = [
            "replicas": .integer(Int64(replicas)), "selector": selector, "template": template,
        ]
        spec["minReadySeconds"] = deployment["spec"]?["minReadySeconds"]
        return [
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": [
                "name": .string("\(deployment.metadata.name)-\(hash)"),
                "namespace": .string(deployment.metadata.namespace),
                "labels": template["metadata", "labels"] ?? [:],
                "annotations": JSONValue(annotations),
                "ownerReferences": [
                    OwnerReference.controller(.deployments, deployment.metadata).json
                ],
            ],
            "spec": spec,
        ]
    }

    private func patch(_ set: Object, _ patch: JSONValue) async throws {
        var patch = patch
        patch["metadata", "uid"] = .string(set.metadata.uid)
        let written = try await cluster.client.patch(
            .replicaSets, namespace: set.metadata.namespace, name: set.metadata.name,
            subresource: nil, type: .merge, patch)
        try await cluster.replicaSets.waitUntilSeen(
            written["metadata", "resourceVersion"]?.string)
    }
}

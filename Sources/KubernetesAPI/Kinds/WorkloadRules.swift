import JSON

/// Defaults and checks of the kinds that make pods from templates.
enum WorkloadRules {
    private static let template = ["spec", "template", "spec"]

    static func templateDefaults(_ object: inout JSONValue) {
        PodRules.specDefaults(&object, at: template)
    }

    static func deploymentDefaults(_ object: inout JSONValue) {
        templateDefaults(&object)
        rollingDefaults(
            &object, at: "strategy", ["maxSurge": "25%", "maxUnavailable": "25%"])
    }

    static func daemonSetDefaults(_ object: inout JSONValue) {
        templateDefaults(&object)
        rollingDefaults(&object, at: "updateStrategy", ["maxSurge": 0, "maxUnavailable": 1])
    }

    static func statefulSetDefaults(_ object: inout JSONValue) {
        templateDefaults(&object)
        rollingDefaults(&object, at: "updateStrategy", ["partition": 0])
    }

    /// The parameters of a rolling update are there exactly where the strategy is one.
    private static func rollingDefaults(
        _ object: inout JSONValue, at key: String, _ parameters: JSONValue
    ) {
        guard object["spec", key, "type"]?.string == "RollingUpdate",
            object["spec", key, "rollingUpdate"] == nil
        else { return }
        object["spec", key, "rollingUpdate"] = parameters
    }

    static func replicationControllerDefaults(_ object: inout JSONValue) {
        templateDefaults(&object)
        let labels = object["spec", "template", "metadata", "labels"]
        if (object["spec", "selector"]?.object ?? [:]).isEmpty, let labels {
            object["spec", "selector"] = labels
        }
        if (object["metadata", "labels"]?.object ?? [:]).isEmpty, let labels {
            object["metadata", "labels"] = labels
        }
    }

    // MARK: - Checks

    static func validate(_ object: JSONValue) -> [FieldError] {
        var errors: [FieldError] = []
        guard let spec = object["spec"] else { return [.required("spec")] }
        if let replicas = spec["replicas"], (replicas.int ?? 0) < 0 {
            errors.append(
                .invalid("spec.replicas", replicas, "must be greater than or equal to 0"))
        }
        guard let selector = spec["selector"], let template = spec["template"] else {
            return errors
        }
        let labels = template["metadata", "labels"]
        if (selector["matchLabels"]?.object ?? [:]).isEmpty,
            (selector["matchExpressions"]?.array ?? []).isEmpty
        {
            errors.append(
                .invalid("spec.selector", selector, "empty selector is invalid for deployment"))
        } else if !LabelSelector(json: selector).matches(labels?.stringMap ?? [:]) {
            errors.append(
                .invalid(
                    "spec.template.metadata.labels", labels ?? .object([:]),
                    "`selector` does not match template `labels`"))
        }
        errors += MetadataRules.validateLabels(labels, at: "spec.template.metadata.labels")
        if let podSpec = template["spec"] {
            errors += PodRules.validateSpec(podSpec, at: "spec.template.spec")
            if let policy = podSpec["restartPolicy"], policy != "Always" {
                errors.append(
                    .notSupported("spec.template.spec.restartPolicy", policy, ["Always"]))
            }
        } else {
            errors.append(.required("spec.template.spec.containers"))
        }
        return errors
    }

    static func validateUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        guard let selector = new["spec", "selector"], selector != old["spec", "selector"] else {
            return []
        }
        return [.invalid("spec.selector", selector, "field is immutable")]
    }

    private static let mutableOfStatefulSets: Set<String> = [
        "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
    ]

    static func validateStatefulSetUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        func fixed(_ object: JSONValue) -> [String: JSONValue] {
            let members = (object["spec"]?.object ?? [:]).map { ($0.0, $0.1) }
            return Dictionary(members) { $1 }.filter { !mutableOfStatefulSets.contains($0.key) }
        }
        guard fixed(old) != fixed(new) else { return [] }
        return [
            .forbidden(
                "spec",
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', "
                    + "'template', 'updateStrategy', 'revisionHistoryLimit', "
                    + "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")
        ]
    }

    /// Here the selector is a map, and none means the template's labels.
    static func validateReplicationController(_ object: JSONValue) -> [FieldError] {
        guard let spec = object["spec"] else { return [.required("spec")] }
        var errors: [FieldError] = []
        if let replicas = spec["replicas"], (replicas.int ?? 0) < 0 {
            errors.append(
                .invalid("spec.replicas", replicas, "must be greater than or equal to 0"))
        }
        let selector = spec["selector"]?.stringMap ?? [:]
        if selector.isEmpty { errors.append(.required("spec.selector")) }
        guard let template = spec["template"] else {
            return errors + [.required("spec.template")]
        }
        let labels = template["metadata", "labels"]
        let held = labels?.stringMap ?? [:]
        if !selector.allSatisfy({ held[$0.key] == $0.value }) {
            errors.append(
                .invalid(
                    "spec.template.metadata.labels", labels ?? .object([:]),
                    "`selector` does not match template `labels`"))
        }
        errors += MetadataRules.validateLabels(labels, at: "spec.template.metadata.labels")
        guard let podSpec = template["spec"] else { return errors }
        errors += PodRules.validateSpec(podSpec, at: "spec.template.spec")
        if let policy = podSpec["restartPolicy"], policy != "Always" {
            errors.append(.notSupported("spec.template.spec.restartPolicy", policy, ["Always"]))
        }
        return errors
    }

    // MARK: - Jobs

    static func jobDefaults(_ object: inout JSONValue) {
        templateDefaults(&object)
        guard object["spec"] != nil else { return }
        if object["spec", "completions"] == nil, object["spec", "parallelism"] == nil {
            object["spec", "completions"] = 1
            object["spec", "parallelism"] = 1
        }
        if object["spec", "parallelism"] == nil { object["spec", "parallelism"] = 1 }
        if object["spec", "backoffLimit"] == nil { object["spec", "backoffLimit"] = 6 }
        if object["spec", "podReplacementPolicy"] == nil {
            object["spec", "podReplacementPolicy"] = "TerminatingOrFailed"
        }
    }

    /// A job selects its pods by its own uid, unless its maker says otherwise.
    static func prepareJobForCreate(_ object: inout JSONValue) {
        guard object["spec", "manualSelector"]?.bool != true, object["spec"] != nil,
            let uid = object["metadata", "uid"], let name = object["metadata", "name"]
        else { return }
        object["spec", "selector"] = ["matchLabels": ["batch.kubernetes.io/controller-uid": uid]]
        for prefix in ["", "batch.kubernetes.io/"] {
            object["spec", "template", "metadata", "labels", prefix + "controller-uid"] = uid
            object["spec", "template", "metadata", "labels", prefix + "job-name"] = name
        }
    }

    static func validateJobUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        ["selector", "template", "completionMode"].compactMap { field in
            guard let value = new["spec", field], value != old["spec", field] else { return nil }
            return .invalid("spec.\(field)", value, "field is immutable")
        }
    }

    static func validateJob(_ object: JSONValue) -> [FieldError] {
        guard let spec = object["spec", "template", "spec"] else { return [] }
        var errors = PodRules.validateSpec(spec, at: "spec.template.spec")
        let counts = [
            "parallelism", "completions", "backoffLimit", "activeDeadlineSeconds",
            "ttlSecondsAfterFinished",
        ]
        for field in counts {
            guard let count = object["spec", field], (count.integer ?? 0) < 0 else { continue }
            errors.append(
                .invalid("spec.\(field)", count, "must be greater than or equal to 0"))
        }
        let policy = spec["restartPolicy"] ?? "Always"
        if policy == "Always" {
            errors.append(
                .required(
                    "spec.template.spec.restartPolicy",
                    "valid values: \"OnFailure\", \"Never\""))
        }
        return errors
    }
}

import JSON

/// The rows of workloads and of the kinds around them.
enum WorkloadRows {
    static func deployment(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let status = object["status"] ?? [:]
        let ready = status["readyReplicas"]?.int ?? 0
        return [
            Cells.name(object), .string("\(ready)/\(object["spec", "replicas"]?.int ?? 0)"),
            Cells.count(status["updatedReplicas"]), Cells.count(status["availableReplicas"]),
            Cells.age(object, now),
        ] + Cells.containers(object["spec", "template"]) + [
            Cells.selector(object["spec", "selector"])
        ]
    }

    /// ReplicaSets and ReplicationControllers.
    static func replicaSet(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let isController = object["kind"]?.string == "ReplicationController"
        let selector = object["spec", "selector"]
        return [
            Cells.name(object), Cells.count(object["spec", "replicas"]),
            Cells.count(object["status", "replicas"]),
            Cells.count(object["status", "readyReplicas"]), Cells.age(object, now),
        ] + Cells.containers(object["spec", "template"]) + [
            isController ? Cells.labels(selector) : Cells.selector(selector)
        ]
    }

    static func daemonSet(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let status = object["status"] ?? [:]
        let template = object["spec", "template"]
        return [
            Cells.name(object), Cells.count(status["desiredNumberScheduled"]),
            Cells.count(status["currentNumberScheduled"]), Cells.count(status["numberReady"]),
            Cells.count(status["updatedNumberScheduled"]), Cells.count(status["numberAvailable"]),
            Cells.labels(template?["spec", "nodeSelector"]), Cells.age(object, now),
        ] + Cells.containers(template) + [Cells.selector(object["spec", "selector"])]
    }

    static func statefulSet(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let ready = object["status", "readyReplicas"]?.int ?? 0
        return [
            Cells.name(object), .string("\(ready)/\(object["spec", "replicas"]?.int ?? 0)"),
            Cells.age(object, now),
        ] + Cells.containers(object["spec", "template"])
    }

    static func job(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let status = object["status"] ?? [:]
        let done = status["succeeded"]?.int ?? 0
        let wanted =
            object["spec", "completions"]?.int.map(String.init)
            ?? ((object["spec", "parallelism"]?.int ?? 0) > 1
                ? "1 of \(object["spec", "parallelism"]?.int ?? 0)" : "1")
        func holds(_ type: String) -> Bool {
            (status["conditions"]?.array ?? []).contains {
                $0["type"]?.string == type && $0["status"]?.string == "True"
            }
        }
        let state =
            holds("Complete")
            ? "Complete"
            : holds("Failed")
                ? "Failed"
                : object["metadata", "deletionTimestamp"] != nil
                    ? "Terminating" : holds("Suspended") ? "Suspended" : "Running"
        var duration = ""
        if let start = status["startTime"]?.string.flatMap(Timestamp.init) {
            let end = status["completionTime"]?.string.flatMap(Timestamp.init) ?? now
            duration = Cells.duration(seconds: end.seconds - start.seconds)
        }
        return [
            Cells.name(object), .string(state), .string("\(done)/\(wanted)"), .string(duration),
            Cells.age(object, now),
        ] + Cells.containers(object["spec", "template"]) + [
            Cells.selector(object["spec", "selector"])
        ]
    }

    static func controllerRevision(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let owner = (object["metadata", "ownerReferences"]?.array ?? []).first {
            $0["controller"]?.bool == true
        }
        let text = owner.map {
            "\(($0["kind"]?.string ?? "").lowercased())/\($0["name"]?.string ?? "")"
        }
        return [
            Cells.name(object), .string(text ?? "<none>"), Cells.count(object["revision"]),
            Cells.age(object, now),
        ]
    }
}

/// The rows of networking, access and policy kinds.
enum PolicyRows {
    static func createdAt(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        [Cells.name(object), object["metadata", "creationTimestamp"] ?? ""]
    }

    static func binding(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let role = object["roleRef"]
        let subjects = object["subjects"]?.array ?? []
        func names(_ kind: String) -> JSONValue {
            let found = subjects.filter { $0["kind"]?.string == kind }.map { subject in
                let name = subject["name"]?.string ?? ""
                guard kind == "ServiceAccount" else { return name }
                return "\(subject["namespace"]?.string ?? "")/\(name)"
            }
            return Cells.list(found, or: "")
        }
        return [
            Cells.name(object),
            .string("\(role?["kind"]?.string ?? "")/\(role?["name"]?.string ?? "")"),
            Cells.age(object, now), names("User"), names("Group"), names("ServiceAccount"),
        ]
    }

    static func ingress(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let spec = object["spec"] ?? [:]
        let hosts = (spec["rules"]?.array ?? []).compactMap { $0["host"]?.string }
            .filter { !$0.isEmpty }
        let addresses = (object["status", "loadBalancer", "ingress"]?.array ?? []).compactMap {
            $0["ip"]?.string ?? $0["hostname"]?.string
        }
        return [
            Cells.name(object), Cells.text(spec["ingressClassName"]), Cells.list(hosts, or: "*"),
            Cells.list(addresses, or: ""),
            .string((spec["tls"]?.array ?? []).isEmpty ? "80" : "80, 443"),
            Cells.age(object, now),
        ]
    }

    static func ingressClass(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let parameters = object["spec", "parameters"]
        let group = parameters?["apiGroup"]?.string.map { "." + $0 } ?? ""
        let text = parameters.map {
            "\($0["kind"]?.string ?? "")\(group)/\($0["name"]?.string ?? "")"
        }
        return [
            Cells.name(object), Cells.text(object["spec", "controller"], or: ""),
            .string(text ?? "<none>"), Cells.age(object, now),
        ]
    }

    static func networkPolicy(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        [
            Cells.name(object), Cells.selector(object["spec", "podSelector"]),
            Cells.age(object, now),
        ]
    }

    static func disruptionBudget(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        func amount(_ key: String) -> JSONValue {
            guard let value = object["spec", key] else { return "N/A" }
            return .string(value.string ?? value.serializedText)
        }
        return [
            Cells.name(object), amount("minAvailable"), amount("maxUnavailable"),
            Cells.count(object["status", "disruptionsAllowed"]), Cells.age(object, now),
        ]
    }

    static func podSecurityPolicy(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let spec = object["spec"] ?? [:]
        func rule(_ key: String) -> JSONValue { Cells.text(spec[key, "rule"], or: "") }
        func list(_ key: String) -> JSONValue {
            Cells.list((spec[key]?.array ?? []).compactMap(\.string), or: "")
        }
        return [
            Cells.name(object), .string(spec["privileged"]?.bool == true ? "true" : "false"),
            list("allowedCapabilities"), rule("seLinux"), rule("runAsUser"), rule("fsGroup"),
            rule("supplementalGroups"),
            .string(spec["readOnlyRootFilesystem"]?.bool == true ? "true" : "false"),
            list("volumes"),
        ]
    }

    static func serviceCIDR(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let prefixes = (object["spec", "cidrs"]?.array ?? []).compactMap(\.string)
        return [Cells.name(object), Cells.list(prefixes), Cells.age(object, now)]
    }

    static func ipAddress(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let parent = object["spec", "parentRef"]
        let keys = ["group", "resource", "namespace", "name"]
        let text = keys.compactMap { parent?[$0]?.string }.filter { !$0.isEmpty }
            .joined(separator: "/")
        return [Cells.name(object), .string(text), Cells.age(object, now)]
    }

    static func addressPool(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let spec = object["spec"] ?? [:]
        return [
            Cells.name(object), spec["autoAssign"] ?? true, spec["avoidBuggyIPs"] ?? false,
            .string((spec["addresses"] ?? []).serializedText),
        ]
    }

    static func l2Advertisement(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let keys = ["ipAddressPools", "ipAddressPoolSelectors", "interfaces"]
        return [Cells.name(object)]
            + keys.map { .string(object["spec", $0]?.serializedText ?? "") }
    }
}

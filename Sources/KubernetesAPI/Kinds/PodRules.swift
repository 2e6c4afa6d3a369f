import JSON

/// Defaults and checks of pods and of the templates that pods are made from.
enum PodRules {
    static func defaults(_ object: inout JSONValue) {
        guard object["spec"] != nil else { return }
        if object["spec", "enableServiceLinks"] == nil {
            object["spec", "enableServiceLinks"] = true
        }
        specDefaults(&object, at: ["spec"])
    }

    /// The defaults of a pod's spec that depend on other fields; `path` leads to the spec.
    static func specDefaults(_ object: inout JSONValue, at path: [String]) {
        guard var spec = object.value(at: path), spec.object != nil else { return }
        for key in ["containers", "initContainers", "ephemeralContainers"] {
            guard let containers = spec[key]?.array else { continue }
            spec[key] = .array(
                containers.map { containerDefaults($0, spec["hostNetwork"]?.bool == true) })
        }
        if let account = spec["serviceAccountName"] ?? spec["serviceAccount"] {
            spec["serviceAccountName"] = account
            spec["serviceAccount"] = account
        }
        if let volumes = spec["volumes"]?.array {
            spec["volumes"] = .array(volumes.map(volumeDefaults))
        }
        object.set(spec, at: path)
    }

    private static func containerDefaults(
        _ container: JSONValue, _ usesHostNetwork: Bool
    ) -> JSONValue {
        var container = container
        if container["imagePullPolicy"] == nil {
            let image = container["image"]?.string ?? ""
            container["imagePullPolicy"] = .string(isLatest(image) ? "Always" : "IfNotPresent")
        }
        if usesHostNetwork, let ports = container["ports"]?.array {
            container["ports"] = .array(
                ports.map { port in
                    guard port["hostPort"] == nil else { return port }
                    var port = port
                    port["hostPort"] = port["containerPort"]
                    return port
                })
        }
        if let limits = container["resources", "limits"]?.object {
            for (name, value) in limits where container["resources", "requests", name] == nil {
                container["resources", "requests", name] = value
            }
        }
        return container
    }

    /// True for an image without a tag or digest, or with the tag `latest`.
    static func isLatest(_ image: String) -> Bool {
        if image.contains("@") { return false }
        let last = image.split(separator: "/", omittingEmptySubsequences: false).last ?? ""
        guard let colon = last.firstIndex(of: ":") else { return true }
        return last[last.index(after: colon)...] == "latest"
    }

    private static func volumeDefaults(_ volume: JSONValue) -> JSONValue {
        guard volume.object?.count == 1, volume["name"] != nil else { return volume }
        var volume = volume
        volume["emptyDir"] = [:]
        return volume
    }

    static func prepareForCreate(_ object: inout JSONValue) {
        object["status"] = ["phase": "Pending", "qosClass": .string(qualityClass(object))]
        // What the admission plugins for service accounts and priorities set.
        if (object["spec", "serviceAccountName"]?.string ?? "").isEmpty {
            object["spec", "serviceAccountName"] = "default"
            object["spec", "serviceAccount"] = "default"
        }
        if object["spec", "priority"] == nil { object["spec", "priority"] = 0 }
        if object["spec", "preemptionPolicy"] == nil {
            object["spec", "preemptionPolicy"] = "PreemptLowerPriority"
        }
        addStandardTolerations(&object)
    }

    /// Pods stay five minutes on a node that is not ready or not reachable (the admission plugin
    /// DefaultTolerationSeconds).
    private static func addStandardTolerations(_ object: inout JSONValue) {
        var tolerations = object["spec", "tolerations"]?.array ?? []
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let isTolerated = tolerations.contains {
                let found = $0["key"]?.string ?? ""
                let effect = $0["effect"]?.string ?? ""
                return (found == key || found.isEmpty) && (effect.isEmpty || effect == "NoExecute")
            }
            if isTolerated { continue }
            tolerations.append([
                "key": .string(key), "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300,
            ])
        }
        object["spec", "tolerations"] = .array(tolerations)
    }

    /// `Guaranteed`, `Burstable` or `BestEffort`.
    static func qualityClass(_ object: JSONValue) -> String {
        let spec = object["spec"]
        let containers =
            (spec?["containers"]?.array ?? []) + (spec?["initContainers"]?.array ?? [])
        var hasAny = false
        var isGuaranteed = !containers.isEmpty
        for container in containers {
            let limits = container["resources", "limits"]
            let requests = container["resources", "requests"]
            for name in ["cpu", "memory"] {
                if limits?[name] != nil || requests?[name] != nil { hasAny = true }
                if limits?[name] == nil || (requests?[name] ?? limits?[name]) != limits?[name] {
                    isGuaranteed = false
                }
            }
        }
        return !hasAny ? "BestEffort" : isGuaranteed ? "Guaranteed" : "Burstable"
    }

    // MARK: - Checks

    static func validate(_ object: JSONValue) -> [FieldError] {
        guard let spec = object["spec"] else { return [.required("spec.containers")] }
        return validateSpec(spec, at: "spec")
    }

    static func validateSpec(_ spec: JSONValue, at path: String) -> [FieldError] {
        var errors: [FieldError] = []
        var names: Set<String> = []
        for key in ["initContainers", "containers"] {
            for (index, container) in (spec[key]?.array ?? []).enumerated() {
                let field = "\(path).\(key)[\(index)]"
                let name = container["name"]?.string ?? ""
                if !name.isEmpty {
                    for fault in Names.labelFaults(name) {
                        errors.append(.invalid("\(field).name", .string(name), fault))
                    }
                    if !names.insert(name).inserted, key == "containers" {
                        errors.append(.duplicate("\(field).name", .string(name)))
                    }
                }
                if (container["image"]?.string ?? "").isEmpty {
                    errors.append(.required("\(field).image"))
                }
                errors += validatePorts(container["ports"]?.array ?? [], at: "\(field).ports")
                errors += validateMounts(container, spec, at: field)
            }
        }
        return errors
    }

    private static func validatePorts(_ ports: [JSONValue], at path: String) -> [FieldError] {
        var errors: [FieldError] = []
        for (index, port) in ports.enumerated() {
            let field = "\(path)[\(index)]"
            if let name = port["name"]?.string, !name.isEmpty {
                for fault in Names.portNameFaults(name) {
                    errors.append(.invalid("\(field).name", .string(name), fault))
                }
            }
            if let number = port["containerPort"], !isPort(number) {
                errors.append(.invalid("\(field).containerPort", number, portText))
            }
            let transport = port["protocol"] ?? "TCP"
            if !transportNames.contains(transport.string ?? "") {
                errors.append(.notSupported("\(field).protocol", transport, transportNames))
            }
        }
        return errors
    }

    private static func validateMounts(
        _ container: JSONValue, _ spec: JSONValue, at path: String
    ) -> [FieldError] {
        let volumes = Set((spec["volumes"]?.array ?? []).compactMap { $0["name"]?.string })
        var errors: [FieldError] = []
        for (index, mount) in (container["volumeMounts"]?.array ?? []).enumerated() {
            let name = mount["name"]?.string ?? ""
            if !name.isEmpty, !volumes.contains(name) {
                errors.append(
                    FieldError(
                        .notFound, "\(path).volumeMounts[\(index)].name",
                        body: "Not found: \(JSONValue.string(name).serializedText)"))
            }
        }
        return errors
    }

    static let transportNames = ["TCP", "UDP", "SCTP"]
    static let portText = "must be between 1 and 65535, inclusive"

    static func isPort(_ value: JSONValue) -> Bool {
        value.int.map { (1...65535).contains($0) } ?? false
    }

    /// Only images, deadlines, tolerations and scheduling gates of a pod may change.
    static func validateUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        guard let oldSpec = old["spec"], let newSpec = new["spec"] else { return [] }
        if fixedPart(oldSpec) == fixedPart(newSpec) { return [] }
        return [
            .forbidden(
                "spec",
                "pod updates may not change fields other than `spec.containers[*].image`,"
                    + "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
                    + "`spec.tolerations` (only additions to existing tolerations),"
                    + "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
                    + "previously negative)")
        ]
    }

    private static func fixedPart(_ spec: JSONValue) -> JSONValue {
        var spec = spec
        for key in ["containers", "initContainers"] {
            guard let containers = spec[key]?.array else { continue }
            spec[key] = .array(
                containers.map { container in
                    var container = container
                    container["image"] = nil
                    container["imagePullPolicy"] = nil
                    container["resources"] = nil
                    return container
                })
        }
        for key in [
            "activeDeadlineSeconds", "tolerations", "nodeName", "ephemeralContainers",
            "schedulingGates", "nodeSelector", "affinity", "terminationGracePeriodSeconds",
        ] { spec[key] = nil }
        return spec
    }
}

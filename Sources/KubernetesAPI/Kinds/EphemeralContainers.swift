public import JSON

/// Containers that are added to a pod while it runs, through a subresource of their own (KEP-277).
public enum EphemeralContainers {
    /// The subresource's name.
    public static let subresource = "ephemeralcontainers"

    /// The pod with what a client adds, and nothing else of what he sends.
    /// - Throws: 422 where one that is there would be changed or taken away, or one to be added
    ///   cannot be.
    public static func added(
        by sent: JSONValue, to pod: JSONValue, name: String
    ) throws -> JSONValue {
        let old = pod["spec", "ephemeralContainers"]?.array ?? []
        let new = sent["spec", "ephemeralContainers"]?.array ?? []
        let path = "spec.ephemeralContainers"
        var errors: [FieldError] = []
        for container in old where !new.contains(container) {
            let name = container["name"]?.string ?? ""
            let isThere = new.contains { $0["name"]?.string == name }
            errors.append(
                .forbidden(
                    path,
                    "existing ephemeral containers \"\(name)\" may not be "
                        + (isThere ? "changed" : "removed")))
        }
        let others = ["containers", "initContainers"].flatMap { pod["spec", $0]?.array ?? [] }
        let names = Set(others.compactMap { $0["name"]?.string })
        let targets = Set(
            (pod["spec", "containers"]?.array ?? []).compactMap { $0["name"]?.string })
        for (index, container) in new.enumerated() where !old.contains(container) {
            let place = "\(path)[\(index)]"
            if names.contains(container["name"]?.string ?? "") {
                errors.append(.duplicate("\(place).name", container["name"] ?? ""))
            }
            if (container["image"]?.string ?? "").isEmpty {
                errors.append(.required("\(place).image"))
            }
            if let target = container["targetContainerName"]?.string, !targets.contains(target) {
                errors.append(
                    .notFound("\(place).targetContainerName", .string(target)))
            }
            for field in [
                "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle",
                "resources",
            ] where isSet(container[field]) {
                errors.append(
                    .forbidden("\(place).\(field)", "cannot be set for an Ephemeral Container"))
            }
        }
        guard errors.isEmpty else { throw StatusError.invalid(.pods, name: name, errors) }
        var result = pod
        result["metadata", "resourceVersion"] = sent["metadata", "resourceVersion"]
        result["spec", "ephemeralContainers"] = new.isEmpty ? .none : .some(.array(new))
        return result
    }

    private static func isSet(_ value: JSONValue?) -> Bool {
        switch value {
        case nil, .null?: false
        case .array(let elements)?: !elements.isEmpty
        case .object(let members)?: !members.isEmpty
        default: true
        }
    }
}

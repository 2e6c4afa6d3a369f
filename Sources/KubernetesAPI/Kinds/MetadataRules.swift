import JSON

/// Checks of `metadata` that hold for every kind (apimachinery's ValidateObjectMeta).
enum MetadataRules {
    /// All annotations together, keys and values.
    static let annotationsLimitBytes = 256 * 1024

    static func validate(
        _ metadata: JSONValue, nameRule: NameRule, of resource: Resource
    ) -> [FieldError] {
        var errors: [FieldError] = []
        let name = metadata["name"]?.string ?? ""
        if let prefix = metadata["generateName"]?.string, !prefix.isEmpty {
            // A prefix may end as a name may not: the server appends to it.
            for fault in nameRule.faults(of: prefix + "x") {
                errors.append(.invalid("metadata.generateName", .string(prefix), fault))
            }
        }
        if name.isEmpty {
            errors.append(.required("metadata.name", "name or generateName is required"))
        } else {
            for fault in nameRule.faults(of: name) {
                errors.append(.invalid("metadata.name", .string(name), fault))
            }
        }
        if resource.isNamespaced, let namespace = metadata["namespace"]?.string {
            for fault in Names.labelFaults(namespace) {
                errors.append(.invalid("metadata.namespace", .string(namespace), fault))
            }
        }
        errors += validateLabels(metadata["labels"], at: "metadata.labels")
        errors += validateAnnotations(metadata["annotations"])
        errors += validateOwners(metadata["ownerReferences"]?.array ?? [])
        for finalizer in metadata["finalizers"]?.array ?? [] {
            for fault in Names.qualifiedNameFaults(finalizer.string ?? "") {
                errors.append(.invalid("metadata.finalizers", finalizer, fault))
            }
        }
        return errors
    }

    static func validateLabels(_ labels: JSONValue?, at path: String) -> [FieldError] {
        var errors: [FieldError] = []
        for (key, value) in labels?.object ?? [:] {
            for fault in Names.qualifiedNameFaults(key) {
                errors.append(.invalid(path, .string(key), fault))
            }
            for fault in Names.labelValueFaults(value.string ?? "") {
                errors.append(.invalid(path, value, fault))
            }
        }
        return errors
    }

    private static func validateAnnotations(_ annotations: JSONValue?) -> [FieldError] {
        var errors: [FieldError] = []
        var size = 0
        for (key, value) in annotations?.object ?? [:] {
            for fault in Names.qualifiedNameFaults(key.lowercased()) {
                errors.append(.invalid("metadata.annotations", .string(key), fault))
            }
            size += key.utf8.count + (value.string?.utf8.count ?? 0)
        }
        if size > annotationsLimitBytes {
            errors.append(.tooLong("metadata.annotations", limitBytes: annotationsLimitBytes))
        }
        return errors
    }

    private static func validateOwners(_ owners: [JSONValue]) -> [FieldError] {
        var errors: [FieldError] = []
        for (index, owner) in owners.enumerated() {
            for key in ["apiVersion", "kind", "name", "uid"]
            where owner[key]?.string?.isEmpty ?? true {
                errors.append(
                    .invalid(
                        "metadata.ownerReferences[\(index)].\(key)", owner[key] ?? "",
                        "must not be empty"))
            }
        }
        let controllers = owners.filter { $0["controller"]?.bool == true }
        if controllers.count > 1 {
            errors.append(
                .invalid(
                    "metadata.ownerReferences", .array(owners),
                    "Only one reference can have Controller set to true. Found \"true\" in "
                        + "references for \(text(controllers[0])) and \(text(controllers[1]))"))
        }
        return errors
    }

    private static func text(_ owner: JSONValue) -> String {
        "\(owner["kind"]?.string ?? "")/\(owner["name"]?.string ?? "")"
    }

    static func validateUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        ["name", "namespace", "uid", "creationTimestamp"].compactMap { key in
            guard new[key] != old[key] else { return nil }
            return .invalid("metadata.\(key)", new[key] ?? "", "field is immutable")
        }
    }
}

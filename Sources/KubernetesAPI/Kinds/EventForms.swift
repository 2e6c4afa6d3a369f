import JSON

/// The two forms of an Event: `v1`, in which it is stored, and `events.k8s.io/v1`, which names
/// some of the same fields differently (KEP-383).
enum EventForms {
    /// Fields by their name in `v1` and in `events.k8s.io/v1`.
    private static let names = [
        ("involvedObject", "regarding"), ("message", "note"), ("source", "deprecatedSource"),
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"), ("count", "deprecatedCount"),
        ("reportingComponent", "reportingController"),
    ]
    private static let newNames = Dictionary(uniqueKeysWithValues: names)
    private static let coreNames = Dictionary(uniqueKeysWithValues: names.map { ($1, $0) })

    /// The event as `events.k8s.io/v1` shows it.
    static func shown(_ core: JSONValue) -> JSONValue {
        var event = renamed(core, newNames)
        event["apiVersion"] = .string(Resource.newEvents.apiVersion)
        return event
    }

    /// The event as it is stored.
    static func stored(_ event: JSONValue) -> JSONValue {
        var core = renamed(event, coreNames)
        core["apiVersion"] = .string(Resource.events.apiVersion)
        return core
    }

    private static func renamed(_ event: JSONValue, _ names: [String: String]) -> JSONValue {
        guard let members = event.object else { return event }
        var result = JSONObject()
        for (name, value) in members { result[names[name] ?? name] = value }
        return .object(result)
    }

    // MARK: - Checks

    /// An event lies in the namespace of what it is about, events about the cluster in `default`
    /// or `kube-system`.
    static func validateCore(_ event: JSONValue) -> [FieldError] {
        validateNamespace(event, about: "involvedObject")
    }

    /// What `events.k8s.io/v1` asks of a new event (ValidateEventCreate).
    static func validateNew(_ event: JSONValue) -> [FieldError] {
        var errors = validateNamespace(event, about: "regarding")
        // Stored events may be older than these rules; what has been stored has a version.
        guard event["metadata", "resourceVersion"] == nil else { return errors }
        if event["eventTime"]?.string == nil { errors.append(.required("eventTime")) }
        let controller = event["reportingController"]?.string ?? ""
        if controller.isEmpty {
            errors.append(.required("reportingController"))
        } else {
            for fault in Names.qualifiedNameFaults(controller) {
                errors.append(.invalid("reportingController", .string(controller), fault))
            }
        }
        for (field, limit) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
            let text = event[field]?.string ?? ""
            if text.isEmpty { errors.append(.required(field)) }
            if text.utf8.count > limit {
                errors.append(
                    .invalid(field, .string(text), "can have at most \(limit) characters"))
            }
        }
        let note = event["note"]?.string ?? ""
        if note.utf8.count > 1024 {
            errors.append(.invalid("note", .string(note), "can have at most 1024 characters"))
        }
        let type = event["type"]?.string ?? ""
        if type != "Normal", type != "Warning" {
            errors.append(.invalid("type", .string(type), "has invalid value: \(type)"))
        }
        return errors
    }

    private static func validateNamespace(
        _ event: JSONValue, about field: String
    ) -> [FieldError] {
        let own = event["metadata", "namespace"]?.string ?? ""
        let other = event[field, "namespace"]?.string ?? ""
        let isSound =
            other.isEmpty ? ["default", "kube-system"].contains(own) : other == own
        guard !isSound else { return [] }
        return [.invalid("\(field).namespace", .string(other), "does not match event.namespace")]
    }

    static func row(_ event: JSONValue, _ now: Timestamp) -> [JSONValue] {
        CoreRows.event(stored(event), now)
    }
}

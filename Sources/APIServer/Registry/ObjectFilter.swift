import JSON
import KubernetesAPI
import Store

/// A label and a field selector together.
struct ObjectFilter: Sendable {
    var labels: LabelSelector?
    var fields: FieldSelector?
    /// Whose fields they are.
    private var kind: Kind?

    static let everything = ObjectFilter()

    var isEmpty: Bool { labels == nil && fields == nil }

    init() {}

    /// - Parameter name: what a watch of one object selects by its path.
    /// - Throws: 400 for a text that is no selector or names a field that cannot be selected.
    init(
        _ kind: Kind, labelSelector: String, fieldSelector: String, name: String = ""
    ) throws {
        do throws(SelectorError) {
            if !labelSelector.isEmpty { labels = try LabelSelector(parsing: labelSelector) }
            let own = name.isEmpty ? "" : "metadata.name=\(name)"
            let text = [fieldSelector, own].filter { !$0.isEmpty }.joined(separator: ",")
            if !text.isEmpty { fields = try FieldSelector(parsing: text) }
        } catch {
            throw StatusError.badRequest(error.description)
        }
        self.kind = kind
        if let fields, let fault = kind.fault(of: fields) { throw fault }
    }

    func matches(_ object: StoredObject) -> Bool {
        guard !isEmpty, let json = try? object.decoded() else { return isEmpty }
        return matches(kind?.shown(json) ?? json)
    }

    /// Whether the state that an event made is selected.
    func matches(_ event: StoreEvent) -> Bool {
        guard !isEmpty, let json = try? event.decoded() else { return isEmpty }
        return matches(kind?.shown(json) ?? json)
    }

    /// - Parameter json: the object as the kind shows it.
    func matches(_ json: JSONValue) -> Bool {
        if let labels {
            guard labels.matches(json["metadata", "labels"]?.stringMap ?? [:]) else {
                return false
            }
        }
        return fields?.matches(json) ?? true
    }
}

public import JSON
public import KubernetesAPI

/// What components ask of an API server. The control plane answers in process, agents over HTTPS;
/// both throw `StatusError` for an answer that is a failure.
public protocol KubernetesClient: Sendable {
    /// Reads one object.
    func get(_ resource: Resource, namespace: String?, name: String) async throws -> JSONValue

    /// Reads a collection with its revision.
    func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList

    /// Creates the object; namespace and name come from its metadata.
    func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue

    /// Replaces the object, or its subresource such as `status`; a resourceVersion in its metadata
    /// makes a stale write fail with `Conflict`.
    func update(
        _ resource: Resource, _ object: JSONValue, subresource: String?
    ) async throws -> JSONValue

    /// Applies a patch.
    func patch(
        _ resource: Resource, namespace: String?, name: String, subresource: String?,
        type: PatchType, _ patch: JSONValue
    ) async throws -> JSONValue

    /// Deletes the object. `options` is a `DeleteOptions` object or nil.
    func delete(
        _ resource: Resource, namespace: String?, name: String, options: JSONValue?
    ) async throws

    /// Watches from `resourceVersion` on. The sequence ends when the server ends the watch, and
    /// throws `StatusError` with code 410 where the revision is compacted away.
    func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error>
}

/// Where a list or watch looks. Empty values do not restrict.
public struct ListOptions: Hashable, Sendable {
    /// nil for all namespaces.
    public var namespace: String?
    /// The text form of a label selector.
    public var labelSelector: String
    /// The text form of a field selector, such as `spec.nodeName=node-1`.
    public var fieldSelector: String
    /// The most objects a list is to have; 0 for all. Who answers may ignore it.
    public var limit = 0
    /// Where the list before ended; empty for the first page.
    public var continueToken = ""

    /// Makes options.
    public init(namespace: String? = nil, labelSelector: String = "", fieldSelector: String = "") {
        self.namespace = namespace
        self.labelSelector = labelSelector
        self.fieldSelector = fieldSelector
    }
}

/// A collection as it stood at one revision.
public struct ObjectList: Sendable {
    /// The objects.
    public var items: [JSONValue]
    /// The revision to watch from.
    public var resourceVersion: String
    /// Asks for the next page; empty where this one is the last.
    public var continueToken: String

    /// Makes a list.
    public init(items: [JSONValue], resourceVersion: String, continueToken: String = "") {
        self.items = items
        self.resourceVersion = resourceVersion
        self.continueToken = continueToken
    }
}

/// One event of a watch.
public struct WatchEvent: Sendable {
    /// What happened.
    public var type: EventType
    /// The object after the change, or before its deletion; for a bookmark, its metadata only.
    public var object: JSONValue

    /// The types of `metav1.WatchEvent`; errors are thrown instead.
    public enum EventType: String, Sendable {
        case added = "ADDED"
        case modified = "MODIFIED"
        case deleted = "DELETED"
        case bookmark = "BOOKMARK"
    }

    /// Makes an event.
    public init(type: EventType, object: JSONValue) {
        self.type = type
        self.object = object
    }
}

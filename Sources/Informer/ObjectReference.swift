public import JSON
public import KubernetesAPI

/// What an event is about, or what owns an object: `core/v1.ObjectReference`.
public struct ObjectReference: Hashable, Sendable {
    /// `v1` or `group/version`.
    public var apiVersion: String
    /// The kind, such as `Service`.
    public var kind: String
    /// Empty for cluster-scoped objects.
    public var namespace: String
    /// The name.
    public var name: String
    /// The uid; empty where it is not known.
    public var uid: String
    /// The revision; empty where it does not matter.
    public var resourceVersion: String

    /// Refers to an object that was decoded to a type of its own.
    public init(_ resource: Resource, _ metadata: ObjectMeta) {
        apiVersion = resource.apiVersion
        kind = resource.kind
        namespace = metadata.namespace
        name = metadata.name
        uid = metadata.uid
        resourceVersion = metadata.resourceVersion
    }

    /// Refers to an object by its key; without a uid, as for a Node before it is read.
    public init(_ resource: Resource, _ key: ObjectKey, uid: String = "") {
        apiVersion = resource.apiVersion
        kind = resource.kind
        namespace = key.namespace
        name = key.name
        self.uid = uid
        resourceVersion = ""
    }

    /// Refers to an object that carries its own kind.
    public init(_ object: Object) {
        apiVersion = object.apiVersion
        kind = object.kind
        namespace = object.metadata.namespace
        name = object.metadata.name
        uid = object.metadata.uid
        resourceVersion = object.metadata.resourceVersion
    }

    /// The members that are not empty.
    public var json: JSONValue {
        var value: JSONValue = [:]
        let members = [
            ("kind", kind), ("namespace", namespace), ("name", name), ("uid", uid),
            ("apiVersion", apiVersion), ("resourceVersion", resourceVersion),
        ]
        for (key, text) in members where !text.isEmpty { value[key] = .string(text) }
        return value
    }
}

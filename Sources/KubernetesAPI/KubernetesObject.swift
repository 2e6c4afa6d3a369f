public import JSON

/// A value made from the JSON of an API object. Decoding is lenient about fields it does not know:
/// the API server has validated them, and a newer server may send more.
public protocol KubernetesObject: Sendable {
    /// The name, namespace, labels and the rest of `metadata` that components use.
    var metadata: ObjectMeta { get }
    /// Decodes an object.
    /// - Throws: `ObjectDecodingError` naming the field that cannot be read.
    init(json: JSONValue) throws
}

extension KubernetesObject {
    /// Namespace and name.
    public var key: ObjectKey { metadata.key }
}

/// Namespace and name of an object; the namespace is empty for cluster-scoped ones.
public struct ObjectKey: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The namespace, or an empty string.
    public let namespace: String
    /// The name.
    public let name: String

    /// Makes a key.
    public init(namespace: String = "", name: String) {
        self.namespace = namespace
        self.name = name
    }

    /// `namespace/name`, or the name alone.
    public var description: String { namespace.isEmpty ? name : "\(namespace)/\(name)" }

    /// Sorts by namespace, then name.
    public static func < (left: Self, right: Self) -> Bool {
        (left.namespace, left.name) < (right.namespace, right.name)
    }
}

/// The part of `metadata` that components read.
public struct ObjectMeta: Hashable, Sendable {
    /// The name.
    public var name: String
    /// The namespace; empty for cluster-scoped objects.
    public var namespace: String
    /// The unique identifier the server gave.
    public var uid: String
    /// The revision of the last change, as opaque text.
    public var resourceVersion: String
    /// The number of changes of the desired state.
    public var generation: Int64
    /// The labels.
    public var labels: [String: String]
    /// The annotations.
    public var annotations: [String: String]
    /// RFC 3339, or empty.
    public var creationTimestamp: String
    /// RFC 3339; nil while the object is not being deleted.
    public var deletionTimestamp: String?

    /// Namespace and name.
    public var key: ObjectKey { ObjectKey(namespace: namespace, name: name) }

    /// Reads `metadata` of an object.
    public init(json: JSONValue) {
        let metadata = json["metadata"]
        name = metadata?["name"]?.string ?? ""
        namespace = metadata?["namespace"]?.string ?? ""
        uid = metadata?["uid"]?.string ?? ""
        resourceVersion = metadata?["resourceVersion"]?.string ?? ""
        generation = metadata?["generation"]?.integer ?? 0
        labels = metadata?["labels"]?.stringMap ?? [:]
        annotations = metadata?["annotations"]?.stringMap ?? [:]
        creationTimestamp = metadata?["creationTimestamp"]?.string ?? ""
        deletionTimestamp = metadata?["deletionTimestamp"]?.string
    }

    /// Makes metadata by hand, for tests and for objects that a component builds.
    public init(name: String, namespace: String = "", labels: [String: String] = [:]) {
        self.init(json: .null)
        self.name = name
        self.namespace = namespace
        self.labels = labels
    }
}

/// A field of an API object that cannot be read.
public struct ObjectDecodingError: Error, Hashable, CustomStringConvertible {
    /// Kind and key of the object.
    public let object: String
    /// The field's path.
    public let field: String
    /// What is wrong with it.
    public let message: String

    /// Makes an error.
    public init(object: String, field: String, message: String) {
        self.object = object
        self.field = field
        self.message = message
    }

    /// `Service default/web: spec.clusterIP: not an address`
    public var description: String { "\(object): \(field): \(message)" }
}

/// Any API object, kept whole as JSON, with its metadata decoded: what controllers use for kinds
/// that they read here and there and write back with every field they do not know.
public struct Object: KubernetesObject, Hashable {
    /// The object as it came.
    public var json: JSONValue
    /// The decoded metadata of `json` as it came.
    public let metadata: ObjectMeta

    /// Keeps an object.
    public init(json: JSONValue) {
        self.json = json
        metadata = ObjectMeta(json: json)
    }

    /// `apiVersion`, or an empty string.
    public var apiVersion: String { json["apiVersion"]?.string ?? "" }
    /// `kind`, or an empty string.
    public var kind: String { json["kind"]?.string ?? "" }
    /// The member `key` of the object.
    public subscript(key: String) -> JSONValue? { json[key] }
    /// The entries of `metadata.ownerReferences`.
    public var ownerReferences: [JSONValue] {
        json["metadata", "ownerReferences"]?.array ?? []
    }
    /// The entries of `metadata.finalizers`.
    public var finalizers: [String] {
        (json["metadata", "finalizers"]?.array ?? []).compactMap(\.string)
    }
    /// The owner reference with `controller: true`, or nil.
    public var controllerReference: JSONValue? {
        ownerReferences.first { $0["controller"]?.bool == true }
    }
}

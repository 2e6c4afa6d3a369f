public import JSON
import Synchronization

/// Where an object is kept: its resource without version, namespace and name.
public struct StoreKey: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The qualified name, such as `services` or `deployments.apps`; no version, because every
    /// version of a resource reads the same objects.
    public let resource: String
    /// The namespace; empty for cluster-scoped objects.
    public let namespace: String
    /// The name.
    public let name: String

    /// Makes a key.
    public init(resource: String, namespace: String = "", name: String) {
        self.resource = resource
        self.namespace = namespace
        self.name = name
    }

    /// `services default/web`
    public var description: String {
        namespace.isEmpty ? "\(resource) \(name)" : "\(resource) \(namespace)/\(name)"
    }

    /// Sorts by resource, namespace, name.
    public static func < (left: Self, right: Self) -> Bool {
        if left.resource != right.resource { return left.resource < right.resource }
        if left.namespace != right.namespace { return left.namespace < right.namespace }
        return left.name < right.name
    }
}

/// One state of one object. It is a reference to immutable bytes, so that lists, logs and watches
/// share them.
public struct StoredObject: Sendable {
    private let storage: Storage

    private final class Storage: Sendable {
        let key: StoreKey
        let revision: Int64
        let rowID: Int64
        let bytes: [UInt8]

        init(key: StoreKey, revision: Int64, rowID: Int64, bytes: [UInt8]) {
            self.key = key
            self.revision = revision
            self.rowID = rowID
            self.bytes = bytes
        }
    }

    init(key: StoreKey, revision: Int64, rowID: Int64, bytes: [UInt8]) {
        storage = Storage(key: key, revision: revision, rowID: rowID, bytes: bytes)
    }

    /// Stamps `revision` into `metadata.resourceVersion` of `object` and serializes it.
    init(key: StoreKey, revision: Int64, rowID: Int64, stamping object: inout JSONValue) {
        object["metadata", "resourceVersion"] = .string(String(revision))
        self.init(
            key: key, revision: revision, rowID: rowID, bytes: object.serializedBytes)
    }

    /// Where it is kept.
    public var key: StoreKey { storage.key }
    /// The revision of the write that made this state.
    public var revision: Int64 { storage.revision }
    /// The JSON text; its `metadata.resourceVersion` is `revision`.
    public var bytes: [UInt8] { storage.bytes }
    /// The row in the database, kept over all states of an object.
    var rowID: Int64 { storage.rowID }

    /// The same object with another revision: what a dry run shows, which makes no revision.
    /// - Throws: `JSONParseError`; the store wrote these bytes, so only damage can cause it.
    public func stamped(with revision: Int64) throws -> StoredObject {
        var object = try decoded()
        return StoredObject(key: key, revision: revision, rowID: rowID, stamping: &object)
    }

    /// True where it comes before a namespace and name, among objects of one resource.
    func precedes(namespace: String, name: String) -> Bool {
        storage.key.namespace == namespace
            ? storage.key.name < name : storage.key.namespace < namespace
    }

    /// Parses `bytes`.
    /// - Throws: `JSONParseError`; the store wrote these bytes, so only damage can cause it.
    public func decoded() throws -> JSONValue { try JSONValue(parsing: storage.bytes) }
}

/// One change of one object, as watchers see it.
public struct StoreEvent: Sendable {
    /// What happened.
    public enum Kind: Hashable, Sendable {
        case added, modified, deleted
    }

    /// What happened.
    public let kind: Kind
    /// The new state; for `.deleted` the last state with the deletion's revision stamped.
    public let object: StoredObject
    /// The state before; nil for `.added`.
    public let previous: StoredObject?
    /// The revision of the change.
    public var revision: Int64 { object.revision }
    private let lines = LineCache()
    /// The new state parsed, as its writer had it: kept for readers that follow closely.
    private var tree: JSONValue?

    init(kind: Kind, object: StoredObject, previous: StoredObject?, tree: JSONValue? = nil) {
        self.kind = kind
        self.object = object
        self.previous = previous
        self.tree = tree
    }

    /// The new state parsed, without parsing where the writer's own form is still at hand.
    /// - Throws: `JSONParseError`; the store wrote these bytes, so only damage can cause it.
    public func decoded() throws -> JSONValue { try tree ?? object.decoded() }

    /// The same event as it is kept for long: bytes alone, a tenth of the size.
    var compacted: StoreEvent {
        var event = self
        event.tree = nil
        return event
    }

    /// The bytes of this event on a watch stream, made once for all watchers. `kind` may differ
    /// from the event's own, where a selector makes a change look like an addition or a deletion.
    public func encodedLine(_ kind: Kind, make: () -> [UInt8]) -> [UInt8] {
        lines.line(kind, make: make)
    }

    private final class LineCache: Sendable {
        private let lines = Mutex<[Kind: [UInt8]]>([:])

        func line(_ kind: Kind, make: () -> [UInt8]) -> [UInt8] {
            lines.withLock { lines in
                if let line = lines[kind] { return line }
                let line = make()
                lines[kind] = line
                return line
            }
        }
    }
}

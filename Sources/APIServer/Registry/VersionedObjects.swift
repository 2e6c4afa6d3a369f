import JSON
import KubernetesAPI
import Store

extension Registry {
    /// The bytes of an object as one version of its resource shows it. One stored form serves
    /// all: versions differ in name only, or know how to read it; where there is one version, its
    /// bytes are those stored.
    func bytes(_ object: StoredObject, as kind: Kind) throws -> [UInt8] {
        guard isShared(kind) else { return object.bytes }
        return try json(object, as: kind).serializedBytes
    }

    /// The object as one version of its resource shows it.
    func json(_ object: StoredObject, as kind: Kind) throws -> JSONValue {
        var json = kind.shown(try object.decoded())
        if json["apiVersion"]?.string != kind.resource.apiVersion {
            json["apiVersion"] = .string(kind.resource.apiVersion)
        }
        return json
    }
}

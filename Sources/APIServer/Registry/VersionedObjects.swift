import JSON
import KubernetesAPI
import Store

extension Registry {
    /// The bytes of an object as one version of its resource shows it. Versions differ in name
    /// only, so that one stored form serves all; where there is one version, its bytes are those
    /// stored.
    func bytes(_ object: StoredObject, as kind: Kind) throws -> [UInt8] {
        guard isShared(kind) else { return object.bytes }
        return try json(object, as: kind).serializedBytes
    }

    /// The object as one version of its resource shows it.
    func json(_ object: StoredObject, as kind: Kind) throws -> JSONValue {
        var json = try object.decoded()
        if json["apiVersion"]?.string != kind.resource.apiVersion {
            json["apiVersion"] = .string(kind.resource.apiVersion)
        }
        return json
    }
}

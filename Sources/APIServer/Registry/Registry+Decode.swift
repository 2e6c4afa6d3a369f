import JSON
import KubernetesAPI

/// An object as a client sent it, with what its text repeated.
struct SentObject: Sendable {
    var json: JSONValue
    var duplicateFields: [String] = []

    init(json: JSONValue, duplicateFields: [String] = []) {
        self.json = json
        self.duplicateFields = duplicateFields
    }
}

extension Registry {
    /// Checks the object against the schema of its kind and drops what the schema does not know.
    /// - Returns: the object with `apiVersion` and `kind`, and the warnings for the client.
    /// - Throws: 400 in Kubernetes' words.
    func decode(
        _ sent: SentObject, _ kind: Kind, options: WriteOptions
    ) throws -> (object: JSONValue, warnings: [String]) {
        let resource = kind.resource
        try checkType(sent.json, kind)
        let decoded = try StrictDecoder.decode(
            sent.json, schema: kind.schema, resource: resource)
        var warnings: [String] = []
        switch options.fieldValidation {
        case .ignore: break
        case .warn:
            warnings = StrictDecoder.strictFaults(
                unknown: decoded.unknownFields, duplicates: sent.duplicateFields)
        case .strict:
            if let error = StrictDecoder.strictError(
                resource, unknown: decoded.unknownFields, duplicates: sent.duplicateFields)
            {
                throw error
            }
        }
        return (Self.withType(decoded.object, resource), warnings)
    }

    private func checkType(_ json: JSONValue, _ kind: Kind) throws {
        let resource = kind.resource
        guard case .object = json else {
            throw StrictDecoder.cannotBeHandled(
                resource,
                "json: cannot unmarshal \(json.kindName) into Go value of type "
                    + "\(resource.version).\(resource.kind)")
        }
        if let version = json["apiVersion"]?.string, !version.isEmpty,
            version != resource.apiVersion
        {
            throw StatusError.badRequest(
                "the API version in the data (\(version)) does not match the expected API version "
                    + "(\(resource.apiVersion))")
        }
        if let name = json["kind"]?.string, !name.isEmpty, name != resource.kind {
            throw StatusError.badRequest(
                "\(name) in version \"\(resource.version)\" cannot be handled as a "
                    + "\(resource.kind): the object provided is of another kind")
        }
    }

    /// The object with `kind` and `apiVersion` set, first as Kubernetes writes them.
    static func withType(_ object: JSONValue, _ resource: Resource) -> JSONValue {
        let members = object.object ?? JSONObject()
        var result = JSONObject()
        result.reserveCapacity(members.count + 4)
        result.append("kind", .string(resource.kind))
        result.append("apiVersion", .string(resource.apiVersion))
        for (name, value) in members where name != "kind" && name != "apiVersion" {
            result.append(name, value)
        }
        return .object(result)
    }

    /// - Throws: 400 where the object names another namespace than the path.
    func withNamespace(_ object: JSONValue, _ kind: Kind, _ namespace: String?) throws -> JSONValue
    {
        var object = object
        if object["metadata"] == nil { object["metadata"] = [:] }
        guard kind.resource.isNamespaced else {
            object["metadata", "namespace"] = nil
            return object
        }
        let stated = object["metadata", "namespace"]?.string ?? ""
        guard let namespace, !namespace.isEmpty else {
            throw StatusError.badRequest(
                "an empty namespace may not be set during creation")
        }
        guard stated.isEmpty || stated == namespace else {
            throw StatusError.badRequest(
                "the namespace of the provided object does not match the namespace sent on the "
                    + "request")
        }
        object["metadata", "namespace"] = .string(namespace)
        return object
    }
}

import JSON
import KubernetesAPI

/// Runs an object through what the registry does on create: decode, default, prepare, validate.
func created(
    _ json: JSONValue, registry: KindRegistry = .builtIn
) throws -> (object: JSONValue, errors: [FieldError], unknown: [String]) {
    let kind = try kind(of: json, in: registry)
    let decoded = try kind.decode(json)
    var object = kind.defaulted(decoded.object)
    kind.prepareForCreate(&object)
    if kind.resource == .services { ServiceRules.prepareForCreate(&object) }
    return (object, kind.validateCreate(object), decoded.unknownFields)
}

struct UnknownKind: Error {
    let json: String
}

func kind(of json: JSONValue, in registry: KindRegistry = .builtIn) throws -> Kind {
    guard
        let kind = registry[
            apiVersion: json["apiVersion"]?.string ?? "", kind: json["kind"]?.string ?? ""]
    else { throw UnknownKind(json: json.serializedText) }
    return kind
}

/// A Service with one port, changed by `change`.
func service(_ name: String = "web", _ change: (inout JSONValue) -> Void = { _ in }) -> JSONValue {
    var service: JSONValue = [
        "apiVersion": "v1", "kind": "Service",
        "metadata": ["name": .string(name), "namespace": "default"],
        "spec": ["ports": [["port": 80]], "selector": ["app": "web"]],
    ]
    change(&service)
    return service
}

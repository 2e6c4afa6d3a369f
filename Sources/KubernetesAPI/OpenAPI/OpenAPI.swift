public import JSON

/// The OpenAPI documents of a registry: what kubectl validates, explains, diffs and patches by.
/// They are made from the schema tables; the server makes each once and keeps its bytes.
public enum OpenAPI {
    /// The media type of `/openapi/v2` for clients that read protobuf.
    public static let v2ProtobufMediaType =
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"

    /// `/openapi/v3`: the paths of the documents, each with a hash of its content.
    public static func v3Index(_ registry: KindRegistry) -> JSONValue {
        var paths = JSONObject()
        for path in v3Paths(registry) {
            guard let document = v3Document(registry, path: path) else { continue }
            let hash = fingerprint(document.serializedBytes)
            paths[path] = ["serverRelativeURL": .string("/openapi/v3/\(path)?hash=\(hash)")]
        }
        return ["paths": .object(paths)]
    }

    /// The documents there are: `api/v1`, `apis/apps/v1`, …
    public static func v3Paths(_ registry: KindRegistry) -> [String] {
        registry.groups.flatMap { group in
            group.versions.map { group.group.isEmpty ? "api/\($0)" : "apis/\(group.group)/\($0)" }
        }
    }

    /// `/openapi/v3/PATH`: the document of one group and version; nil where there is none.
    public static func v3Document(_ registry: KindRegistry, path: String) -> JSONValue? {
        let parts = path.split(separator: "/").map(String.init)
        let kinds: [Kind]
        switch (parts.first, parts.count) {
        case ("api"?, 2): kinds = registry.kinds(group: "", version: parts[1])
        case ("apis"?, 3): kinds = registry.kinds(group: parts[1], version: parts[2])
        default: return nil
        }
        guard !kinds.isEmpty else { return nil }
        var builder = OpenAPIBuilder(dialect: .v3)
        for kind in kinds { builder.add(kind) }
        return [
            "openapi": "3.0.0", "info": info, "paths": .object(builder.paths),
            "components": [
                "schemas": .object(builder.schemas), "parameters": .object(builder.parameters),
                "responses": .object(builder.responses),
                "requestBodies": .object(builder.requestBodies),
            ],
        ]
    }

    /// `/openapi/v2`: one document of everything.
    public static func v2Document(_ registry: KindRegistry) -> JSONValue {
        var builder = OpenAPIBuilder(dialect: .v2)
        for kind in registry.all { builder.add(kind) }
        return [
            "swagger": "2.0", "info": info, "paths": .object(builder.paths),
            "definitions": .object(builder.schemas),
        ]
    }

    /// `/openapi/v2` as a gnostic `openapi.v2.Document`.
    public static func v2Protobuf(_ registry: KindRegistry) -> [UInt8] {
        OpenAPIProtobuf.encode(v2Document(registry))
    }

    private static let info: JSONValue = ["title": "Kubernetes", "version": "v1.36.0"]

    /// 64 bits of FNV-1a in hexadecimal.
    private static func fingerprint(_ bytes: [UInt8]) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return String(hash, radix: 16, uppercase: true)
    }
}

/// Collects the paths and schemas of kinds for one document.
struct OpenAPIBuilder {
    enum Dialect {
        case v2, v3
    }

    let dialect: Dialect
    private(set) var paths = JSONObject()
    private(set) var schemas = JSONObject()
    /// What operations of the third dialect share. kubectl parses a document anew for each object
    /// of a manifest, so its size is time that users wait.
    var parameters = JSONObject()
    var responses = JSONObject()
    var requestBodies = JSONObject()

    init(dialect: Dialect) { self.dialect = dialect }

    mutating func add(_ kind: Kind) {
        let name = kind.schema.name
        define(kind.schema, groupVersionKind: kind.resource)
        let listName = name + "List"
        if schemas[listName] == nil {
            schemas[listName] = listSchema(kind)
        }
        for metaType in ["ListMeta", "DeleteOptions", "Status", "Patch"] {
            if let schema = BuiltInKinds.library["meta.v1.\(metaType)"] { define(schema) }
        }
        addPaths(kind)
    }

    // MARK: - Schemas

    /// Adds a named schema and those it refers to.
    private mutating func define(_ schema: Schema, groupVersionKind resource: Resource? = nil) {
        guard !schema.name.isEmpty else { return }
        let kindEntry = resource.map(Self.groupVersionKind)
        if var present = schemas[schema.name] {
            // Two resources of one schema (versions of a custom kind) share its definition.
            if let kindEntry {
                var entries = present[kindExtension]?.array ?? []
                if !entries.contains(kindEntry) { entries.append(kindEntry) }
                present[kindExtension] = .array(entries)
                schemas[schema.name] = present
            }
            return
        }
        schemas[schema.name] = [:]  // ends recursion
        var json = object(schema)
        if let kindEntry { json[kindExtension] = [kindEntry] }
        schemas[schema.name] = json
    }

    let kindExtension = "x-kubernetes-group-version-kind"

    static func groupVersionKind(_ resource: Resource) -> JSONValue {
        [
            "group": .string(resource.group), "kind": .string(resource.kind),
            "version": .string(resource.version),
        ]
    }

    private mutating func object(_ schema: Schema) -> JSONValue {
        var json: JSONValue = [:]
        if !schema.summary.isEmpty { json["description"] = .string(schema.summary) }
        json["type"] = "object"
        let required = schema.fields.filter(\.isRequired).map { JSONValue.string($0.name) }
        if !required.isEmpty { json["required"] = .array(required) }
        var properties = JSONObject()
        for field in schema.fields { properties[field.name] = property(field) }
        if !properties.isEmpty { json["properties"] = .object(properties) }
        if schema.isAtomic { json["x-kubernetes-map-type"] = "atomic" }
        if schema.preservesUnknown { json["x-kubernetes-preserve-unknown-fields"] = true }
        return json
    }

    private mutating func property(_ field: Schema.Field) -> JSONValue {
        var json = shape(field.schema)
        let hasMore = !field.summary.isEmpty || field.defaultValue != nil
        if dialect == .v3, let reference = json["$ref"], hasMore {
            json = ["allOf": [["$ref": reference]]]
        }
        if !field.summary.isEmpty { json["description"] = .string(field.summary) }
        if dialect == .v3, let value = field.defaultValue { json["default"] = value }
        if !field.enumeration.isEmpty {
            json["enum"] = .array(field.enumeration.map { .string($0) })
        }
        let merges = field.schema.form == .list && field.schema.mergeKey != nil
        if merges || field.retainsKeys {
            let strategies = [merges ? "merge" : nil, field.retainsKeys ? "retainKeys" : nil]
            json["x-kubernetes-patch-strategy"] = .string(
                strategies.compactMap(\.self).joined(separator: ","))
        }
        return json
    }

    private mutating func shape(_ schema: Schema) -> JSONValue {
        var json: JSONValue
        switch schema.form {
        case .object:
            if schema.name.isEmpty { return object(schema) }
            define(schema)
            return ["$ref": .string(reference(schema.name))]
        case .map:
            json = ["type": "object", "additionalProperties": element(schema)]
            if schema.isAtomic { json["x-kubernetes-map-type"] = "atomic" }
        case .list:
            json = ["type": "array", "items": element(schema)]
            // Lists that say nothing are atomic.
            if dialect == .v2 || schema.listType != .atomic {
                json["x-kubernetes-list-type"] = .string(schema.listType.rawValue)
            }
            if !schema.listKeys.isEmpty {
                json["x-kubernetes-list-map-keys"] = .array(
                    schema.listKeys.map { .string($0) })
            }
            if let key = schema.mergeKey, !key.isEmpty {
                json["x-kubernetes-patch-merge-key"] = .string(key)
            }
        default: json = scalar(schema.form)
        }
        if !schema.summary.isEmpty { json["description"] = .string(schema.summary) }
        if let limits = schema.limits { apply(limits, to: &json) }
        return json
    }

    private mutating func element(_ schema: Schema) -> JSONValue {
        schema.element.map { shape($0) } ?? [:]
    }

    private func scalar(_ form: Schema.Form) -> JSONValue {
        switch form {
        case .boolean: return ["type": "boolean"]
        case .int32: return ["type": "integer", "format": "int32"]
        case .int64: return ["type": "integer", "format": "int64"]
        case .double: return ["type": "number", "format": "double"]
        case .time, .microTime: return ["type": "string", "format": "date-time"]
        case .bytes: return ["type": "string", "format": "byte"]
        case .intOrString where dialect == .v2:
            return ["type": "string", "format": "int-or-string"]
        case .intOrString:
            return [
                "format": "int-or-string", "oneOf": [["type": "integer"], ["type": "string"]],
            ]
        case .quantity where dialect == .v3:
            return ["oneOf": [["type": "string"], ["type": "number"]]]
        case .any: return ["x-kubernetes-preserve-unknown-fields": true]
        default: return ["type": "string"]
        }
    }

    private func apply(_ limits: SchemaLimits, to json: inout JSONValue) {
        func number(_ value: Double) -> JSONValue {
            Int64(exactly: value).map { .integer($0) } ?? .number(String(value))
        }
        json["pattern"] = limits.pattern.map { .string($0) }
        json["minimum"] = limits.minimum.map(number)
        json["maximum"] = limits.maximum.map(number)
        json["minLength"] = limits.minLength.map { .integer(Int64($0)) }
        json["maxLength"] = limits.maxLength.map { .integer(Int64($0)) }
        json["minItems"] = limits.minItems.map { .integer(Int64($0)) }
        json["maxItems"] = limits.maxItems.map { .integer(Int64($0)) }
        if !limits.allowed.isEmpty { json["enum"] = .array(limits.allowed) }
        if !limits.format.isEmpty { json["format"] = .string(limits.format) }
    }

    func reference(_ name: String) -> String {
        (dialect == .v2 ? "#/definitions/" : "#/components/schemas/") + name
    }

    private mutating func listSchema(_ kind: Kind) -> JSONValue {
        var resource = Self.groupVersionKind(kind.resource)
        resource["kind"] = .string(kind.listKind)
        let items: JSONValue = [
            "type": "array", "items": ["$ref": .string(reference(kind.schema.name))],
        ]
        let metadata: JSONValue = [
            "$ref": .string(reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"))
        ]
        return [
            "description": .string("A list of \(kind.resource.plural)."), "type": "object",
            "required": ["items"],
            "properties": [
                "apiVersion": ["type": "string"], "items": items, "kind": ["type": "string"],
                "metadata": metadata,
            ],
            kindExtension: [resource],
        ]
    }

    mutating func setPath(_ path: String, _ item: JSONValue) { paths[path] = item }
}

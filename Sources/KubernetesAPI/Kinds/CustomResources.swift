public import JSON

/// Rules of CustomResourceDefinitions, and the kinds that they make.
public enum CustomResourceRules {
    static func defaults(_ object: inout JSONValue) {
        guard var spec = object["spec"], spec.object != nil else { return }
        if let kind = spec["names", "kind"]?.string {
            if spec["names", "singular"] == nil {
                spec["names", "singular"] = .string(kind.lowercased())
            }
            if spec["names", "listKind"] == nil {
                spec["names", "listKind"] = .string(kind + "List")
            }
        }
        if spec["conversion"] == nil { spec["conversion"] = ["strategy": "None"] }
        object["spec"] = spec
    }

    static func validate(_ object: JSONValue) -> [FieldError] {
        let spec = object["spec"] ?? [:]
        var errors: [FieldError] = []
        let plural = spec["names", "plural"]?.string ?? ""
        let group = spec["group"]?.string ?? ""
        let name = object["metadata", "name"]?.string ?? ""
        if !plural.isEmpty, !group.isEmpty, name != "\(plural).\(group)" {
            errors.append(
                .invalid(
                    "metadata.name", .string(name), "must be spec.names.plural+\".\"+spec.group"))
        }
        if !group.isEmpty, !group.contains(".") {
            errors.append(
                .invalid("spec.group", .string(group), "should be a domain with at least one dot"))
        }
        let versions = spec["versions"]?.array ?? []
        let stored = versions.filter { $0["storage"]?.bool == true }
        if !versions.isEmpty, stored.count != 1 {
            errors.append(
                .invalid(
                    "spec.versions", .array(versions),
                    "must have exactly one version marked as storage version"))
        }
        for (index, version) in versions.enumerated()
        where version["schema", "openAPIV3Schema"] == nil {
            errors.append(
                .required(
                    "spec.versions[\(index)].schema.openAPIV3Schema", "schemas are required"))
        }
        return errors
    }

    /// Rules in the Common Expression Language are kept for clients that read them.
    static func warnings(_ definition: JSONValue) -> [String] {
        let schemas = (definition["spec", "versions"]?.array ?? []).compactMap { $0["schema"] }
        guard schemas.contains(where: { hasRules($0, depth: 0) }) else { return [] }
        return ["x-kubernetes-validations are kept, but not evaluated by Portolan"]
    }

    private static func hasRules(_ value: JSONValue, depth: Int) -> Bool {
        // Deeper than any schema that could be read.
        guard depth < 128 else { return false }
        switch value {
        case .object(let members):
            return members.contains {
                $0.key == "x-kubernetes-validations" || hasRules($0.value, depth: depth + 1)
            }
        case .array(let elements): return elements.contains { hasRules($0, depth: depth + 1) }
        default: return false
        }
    }

    static func validateUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        let paths = [["spec", "group"], ["spec", "scope"], ["spec", "names", "plural"]]
        return paths.compactMap { path in
            guard let value = new.value(at: path), value != old.value(at: path) else { return nil }
            return .invalid(path.joined(separator: "."), value, "field is immutable")
        }
    }

    /// The status of a definition that is served: names accepted, established.
    public static func establishedStatus(_ definition: JSONValue, now: Timestamp) -> JSONValue {
        let versions = definition["spec", "versions"]?.array ?? []
        func condition(_ type: String, _ reason: String, _ message: String) -> JSONValue {
            [
                "type": .string(type), "status": "True", "reason": .string(reason),
                "message": .string(message), "lastTransitionTime": .string(now.description),
            ]
        }
        return [
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition(
                    "Established", "InitialNamesAccepted", "the initial names have been accepted"),
            ],
            "acceptedNames": definition["spec", "names"] ?? [:],
            "storedVersions": .array(
                versions.filter { $0["storage"]?.bool == true }.compactMap { $0["name"] }),
        ]
    }

    /// The kinds that a definition serves, one a version.
    public static func kinds(of definition: JSONValue) -> [Kind] {
        let spec = definition["spec"] ?? [:]
        guard let group = spec["group"]?.string, let plural = spec["names", "plural"]?.string,
            let name = spec["names", "kind"]?.string
        else { return [] }
        return (spec["versions"]?.array ?? []).compactMap { version in
            guard version["served"]?.bool != false, let text = version["name"]?.string else {
                return nil
            }
            let resource = Resource(
                group: group, version: text, plural: plural, kind: name,
                isNamespaced: spec["scope"] != "Cluster")
            return kind(resource, spec, version)
        }
    }

    private static func kind(
        _ resource: Resource, _ spec: JSONValue, _ version: JSONValue
    ) -> Kind {
        let root = version["schema", "openAPIV3Schema"] ?? [:]
        let prefix = resource.group.split(separator: ".").reversed().joined(separator: ".")
        var kind = Kind(
            resource,
            schema: CustomSchema.root(
                root, name: "\(prefix).\(resource.version).\(resource.kind)"))
        kind.singular = spec["names", "singular"]?.string ?? resource.kind.lowercased()
        kind.shortNames = (spec["names", "shortNames"]?.array ?? []).compactMap(\.string)
        kind.categories = (spec["names", "categories"]?.array ?? []).compactMap(\.string)
        kind.hasStatus = version["subresources", "status"] != nil
        kind.tracksGeneration = true
        kind.isCustom = true
        if version["deprecated"]?.bool == true {
            kind.deprecation =
                version["deprecationWarning"]?.string
                ?? "\(resource.apiVersion) \(resource.kind) is deprecated"
        }
        if let scale = version["subresources", "scale"] {
            func path(_ key: String) -> [String]? {
                scale[key]?.string.map { $0.split(separator: ".").map(String.init) }
            }
            if let wanted = path("specReplicasPath"), let seen = path("statusReplicasPath") {
                kind.scale = Kind.ScalePaths(
                    specReplicas: wanted, statusReplicas: seen,
                    selector: path("labelSelectorPath"))
            }
        }
        // Paths begin with a dot, as JSONPath's do.
        kind.ownSelectableFields = (version["selectableFields"]?.array ?? []).compactMap {
            $0["jsonPath"]?.string.map { String($0.drop { $0 == "." }) }
        }
        let schema = kind.schema
        kind.rules.validate = { CustomLists.duplicates($0, schema) }
        let columns = (version["additionalPrinterColumns"]?.array ?? []).compactMap(column)
        kind.columns =
            columns.isEmpty ? PrintedColumn.nameAndAge : [.objectName] + columns
        return kind
    }

    private static func column(_ json: JSONValue) -> PrintedColumn? {
        guard let name = json["name"]?.string,
            let path = json["jsonPath"]?.string.flatMap({ JSONPath($0) })
        else { return nil }
        var column = PrintedColumn(
            name, type: json["type"]?.string ?? "string", wide: (json["priority"]?.int ?? 0) > 0)
        column.format = json["format"]?.string ?? ""
        column.summary = json["description"]?.string ?? ""
        column.path = path
        return column
    }
}

/// Lists of custom resources whose elements are to differ (`x-kubernetes-list-type` set and map).
enum CustomLists {
    static func duplicates(_ value: JSONValue, _ schema: Schema, at path: String = "")
        -> [FieldError]
    {
        switch (schema.form, value) {
        case (.object, .object(let members)), (.map, .object(let members)):
            return members.flatMap { name, member -> [FieldError] in
                guard let inner = schema.member(name) else { return [] }
                return duplicates(member, inner, at: path.isEmpty ? name : "\(path).\(name)")
            }
        case (.list, .array(let elements)):
            var errors: [FieldError] = []
            var seen: Set<JSONValue> = []
            for (index, element) in elements.enumerated() {
                let place = "\(path)[\(index)]"
                if let key = key(element, schema), !seen.insert(key).inserted {
                    errors.append(.duplicate(place, key))
                }
                if let inner = schema.element {
                    errors += duplicates(element, inner, at: place)
                }
            }
            return errors
        default: return []
        }
    }

    /// What sets an element apart; nil where elements may be alike.
    private static func key(_ element: JSONValue, _ list: Schema) -> JSONValue? {
        switch list.listType {
        case .atomic: return nil
        case .set: return element
        case .map:
            var key: JSONValue = [:]
            for name in list.listKeys { key[name] = element[name] }
            return key
        }
    }
}

/// Reads the structural JSON Schemas of CustomResourceDefinitions.
enum CustomSchema {
    /// The schema of a kind: its own fields, with apiVersion, kind and metadata.
    static func root(_ json: JSONValue, name: String) -> Schema {
        let own = read(json, depth: 0)
        var fields = [
            Schema.Field(name: "apiVersion", schema: .string),
            Schema.Field(name: "kind", schema: .string),
            Schema.Field(
                name: "metadata", schema: BuiltInKinds.library["meta.v1.ObjectMeta"] ?? .any),
        ]
        fields += own.fields.filter { !["apiVersion", "kind", "metadata"].contains($0.name) }
        return Schema(
            .object, name: name, summary: own.summary, fields: fields,
            preservesUnknown: own.preservesUnknown)
    }

    /// - Parameter depth: definitions nest no deeper than the JSON they came in.
    static func read(_ json: JSONValue, depth: Int) -> Schema {
        let keepsUnknown = json["x-kubernetes-preserve-unknown-fields"]?.bool == true
        let limits = limits(json)
        let summary = json["description"]?.string ?? ""
        if json["x-kubernetes-int-or-string"]?.bool == true {
            return Schema(.intOrString, summary: summary, limits: limits)
        }
        switch json["type"]?.string {
        case "object":
            if let properties = json["properties"]?.object {
                return object(json, properties, depth, keepsUnknown, limits)
            }
            if let values = json["additionalProperties"], values.object != nil {
                return Schema(
                    .map, summary: summary, element: read(values, depth: depth + 1),
                    isAtomic: json["x-kubernetes-map-type"] == "atomic", limits: limits)
            }
            if json["x-kubernetes-embedded-resource"]?.bool == true || keepsUnknown
                || json["additionalProperties"] == true
            {
                return Schema(.any, summary: summary)
            }
            return Schema(.object, summary: summary, limits: limits)
        case "array":
            let keys = (json["x-kubernetes-list-map-keys"]?.array ?? []).compactMap(\.string)
            let type =
                json["x-kubernetes-list-type"]?.string.flatMap(Schema.ListType.init(rawValue:))
            return Schema(
                .list, summary: summary, element: read(json["items"] ?? [:], depth: depth + 1),
                listType: type ?? .atomic, listKeys: keys, limits: limits)
        case "string": return Schema(.string, summary: summary, limits: limits)
        case "boolean": return Schema(.boolean, summary: summary, limits: limits)
        case "integer": return Schema(.int64, summary: summary, limits: limits)
        case "number": return Schema(.double, summary: summary, limits: limits)
        default: return Schema(.any, summary: summary)
        }
    }

    private static func object(
        _ json: JSONValue, _ properties: JSONObject, _ depth: Int, _ keepsUnknown: Bool,
        _ limits: SchemaLimits
    ) -> Schema {
        let required = Set((json["required"]?.array ?? []).compactMap(\.string))
        var fields: [Schema.Field] = []
        for (name, property) in properties {
            var field = Schema.Field(name: name, schema: read(property, depth: depth + 1))
            field.isRequired = required.contains(name)
            field.defaultValue = property["default"]
            field.summary = property["description"]?.string ?? ""
            fields.append(field)
        }
        return Schema(
            .object, summary: json["description"]?.string ?? "", fields: fields,
            isAtomic: json["x-kubernetes-map-type"] == "atomic", preservesUnknown: keepsUnknown,
            limits: limits)
    }

    private static func limits(_ json: JSONValue) -> SchemaLimits {
        var limits = SchemaLimits()
        limits.pattern = json["pattern"]?.string
        limits.minimum = json["minimum"]?.double
        limits.maximum = json["maximum"]?.double
        limits.minLength = json["minLength"]?.int
        limits.maxLength = json["maxLength"]?.int
        limits.minItems = json["minItems"]?.int
        limits.maxItems = json["maxItems"]?.int
        limits.isNullable = json["nullable"]?.bool == true
        limits.allowed = json["enum"]?.array ?? []
        limits.format = json["format"]?.string ?? ""
        return limits
    }
}

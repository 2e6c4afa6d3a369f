import JSON

// The paths of a document: for each kind its collection, its objects and their status.
extension OpenAPIBuilder {
    mutating func addPaths(_ kind: Kind) {
        let resource = kind.resource
        let root =
            resource.group.isEmpty
            ? "/api/\(resource.version)"
            : "/apis/\(resource.group)/\(resource.version)"
        let scoped =
            resource.isNamespaced
            ? "\(root)/namespaces/{namespace}/\(resource.plural)" : "\(root)/\(resource.plural)"
        let scope = resource.isNamespaced ? [pathParameter("namespace")] : []
        let named = scope + [pathParameter("name")]
        if resource.isNamespaced {
            setPath(
                "\(root)/\(resource.plural)",
                item([("get", operation(kind, "list", "list", scope: "ForAllNamespaces"))], []))
        }
        setPath(
            scoped,
            item(
                [
                    ("get", operation(kind, "list", "list")),
                    ("post", operation(kind, "create", "post")),
                    ("delete", operation(kind, "deleteCollection", "deletecollection")),
                ], scope))
        setPath(
            "\(scoped)/{name}",
            item(
                [
                    ("get", operation(kind, "read", "get")),
                    ("put", operation(kind, "replace", "put")),
                    ("patch", operation(kind, "patch", "patch")),
                    ("delete", operation(kind, "delete", "delete")),
                ], named))
        if kind.hasStatus {
            setPath(
                "\(scoped)/{name}/status",
                item(
                    [
                        ("get", operation(kind, "read", "get", scope: "Status")),
                        ("put", operation(kind, "replace", "put", scope: "Status")),
                        ("patch", operation(kind, "patch", "patch", scope: "Status")),
                    ], named))
        }
    }

    private func item(
        _ operations: [(String, JSONValue)], _ parameters: [JSONValue]
    ) -> JSONValue {
        var item: JSONValue = [:]
        for (method, operation) in operations { item[method] = operation }
        if dialect == .v2 {
            item["parameters"] = .array(parameters + [queryParameter("pretty")])
        } else if !parameters.isEmpty {
            item["parameters"] = .array(parameters)
        }
        return item
    }

    private mutating func operation(
        _ kind: Kind, _ verb: String, _ action: String, scope: String = ""
    ) -> JSONValue {
        let resource = kind.resource
        let group =
            resource.group.isEmpty ? "core" : resource.group.split(separator: ".").first ?? ""
        let title = capitalized(String(group)) + capitalized(resource.version)
        let scopeWord = resource.isNamespaced && scope != "ForAllNamespaces" ? "Namespaced" : ""
        let isList = action == "list"
        let resultName =
            isList
            ? kind.schema.name + "List"
            : action.hasPrefix("delete")
                ? "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
                : kind.schema.name
        var json: JSONValue = [:]
        if dialect == .v2 {
            json["operationId"] = .string(
                "\(verb)\(title)\(scopeWord)\(resource.kind)\(scope)")
            json["description"] = .string("\(verb) \(resource.kind)")
            json["tags"] = [.string("\(group)_\(resource.version)")]
        }
        var parameters: [JSONValue] = []
        // In the third dialect only where clients look for them (fieldValidation, dryRun), as the
        // marks below: they were a third of a document, which kubectl parses once for each object
        // of a manifest. The second has them all.
        if dialect == .v2 || action == "patch" {
            parameters = queryParameters(action).map(queryParameter)
        }
        if let body = bodyName(kind, action) { addBody(body, action, &json, &parameters) }
        if dialect == .v2 { json["produces"] = ["application/json"] }
        if dialect == .v2 || !parameters.isEmpty { json["parameters"] = .array(parameters) }
        json["responses"] = ["200": response(resultName)]
        if dialect == .v2 || ["get", "list", "patch"].contains(action) {
            json["x-kubernetes-action"] = .string(action)
            json["x-kubernetes-group-version-kind"] = Self.groupVersionKind(resource)
        }
        return json
    }

    /// A reference to a parameter, which is kept once.
    private mutating func shared(_ parameter: JSONValue) -> JSONValue {
        let name = parameter["name"]?.string ?? ""
        parameters[name] = parameter
        return ["$ref": .string("#/components/parameters/\(name)")]
    }

    private func capitalized(_ text: String) -> String {
        text.prefix(1).uppercased() + text.dropFirst()
    }

    private func queryParameters(_ action: String) -> [String] {
        let list = [
            "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit",
            "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds",
            "watch",
        ]
        switch action {
        case "list": return list
        case "deletecollection":
            return list + ["dryRun", "gracePeriodSeconds", "propagationPolicy"]
        case "delete":
            return ["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"]
        case "post", "put": return ["dryRun", "fieldManager", "fieldValidation"]
        case "patch": return ["dryRun", "fieldManager", "fieldValidation", "force"]
        default: return []
        }
    }

    private func bodyName(_ kind: Kind, _ action: String) -> String? {
        switch action {
        case "post", "put": kind.schema.name
        case "patch": "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
        case "delete", "deletecollection":
            "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
        default: nil
        }
    }

    private mutating func addBody(
        _ name: String, _ action: String, _ json: inout JSONValue, _ parameters: inout [JSONValue]
    ) {
        let types = action == "patch" ? PatchType.allCases.map(\.rawValue) : ["application/json"]
        let schema: JSONValue = ["$ref": .string(reference(name))]
        if dialect == .v2 {
            json["consumes"] = .array(types.map { .string($0) })
            parameters.insert(
                ["name": "body", "in": "body", "required": true, "schema": schema], at: 0)
            return
        }
        let short = shortName(name)
        if requestBodies[short] == nil {
            var content = JSONObject()
            for type in types { content[type] = ["schema": schema] }
            requestBodies[short] = ["content": .object(content)]
        }
        json["requestBody"] = ["$ref": .string("#/components/requestBodies/\(short)")]
    }

    /// Names of bodies and responses: a document holds the kinds of one group and version.
    private func shortName(_ name: String) -> String {
        name.split(separator: ".").last.map(String.init) ?? name
    }

    private mutating func response(_ name: String) -> JSONValue {
        let schema: JSONValue = ["$ref": .string(reference(name))]
        if dialect == .v2 { return ["description": "OK", "schema": schema] }
        let short = shortName(name)
        responses[short] = [
            "description": "OK", "content": ["application/json": ["schema": schema]],
        ]
        return ["$ref": .string("#/components/responses/\(short)")]
    }

    private func queryParameter(_ name: String) -> JSONValue {
        let type =
            switch name {
            case "limit", "timeoutSeconds", "gracePeriodSeconds": "integer"
            case "watch", "allowWatchBookmarks", "sendInitialEvents", "force",
                "orphanDependents":
                "boolean"
            default: "string"
            }
        return parameter(name, in: "query", type: type)
    }

    private mutating func pathParameter(_ name: String) -> JSONValue {
        var json = parameter(name, in: "path", type: "string")
        json["required"] = true
        return dialect == .v2 ? json : shared(json)
    }

    private func parameter(_ name: String, in place: String, type: String) -> JSONValue {
        var json: JSONValue = ["name": .string(name), "in": .string(place)]
        if dialect == .v2 {
            json["type"] = .string(type)
            json["uniqueItems"] = true
        } else {
            json["schema"] = ["type": .string(type)]
        }
        return json
    }
}

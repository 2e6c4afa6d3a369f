import JSON

/// Sets absent fields to the defaults of the schema, in objects that are there.
enum Defaults {
    static func apply(_ schema: Schema, to value: inout JSONValue) {
        guard schema.hasDefaults else { return }
        switch (schema.form, value) {
        case (.object, .object(var members)):
            value = .null  // keeps the members uniquely referenced while they change
            for field in schema.defaultingFields {
                if var member = members[field.name] {
                    guard field.schema.hasDefaults else { continue }
                    apply(field.schema, to: &member)
                    members[field.name] = member
                } else if var member = field.defaultValue {
                    apply(field.schema, to: &member)
                    members[field.name] = member
                }
            }
            value = .object(members)
        case (.list, .array(var elements)):
            guard let element = schema.element else { return }
            value = .null
            for index in elements.indices { apply(element, to: &elements[index]) }
            value = .array(elements)
        case (.map, .object(var members)):
            guard let element = schema.element else { return }
            value = .null
            for key in members.keys {
                if var member = members[key] {
                    apply(element, to: &member)
                    members[key] = member
                }
            }
            value = .object(members)
        default: break
        }
    }
}

/// Finds required fields that are absent, values outside closed lists, and what the limits of
/// custom resources forbid. The status is the controllers' own and not checked.
enum SchemaValidator {
    static func validate(_ object: JSONValue, _ schema: Schema) -> [FieldError] {
        var errors: [FieldError] = []
        for field in schema.fields where !["metadata", "status"].contains(field.name) {
            check(field, in: object, path: field.name, &errors)
        }
        return errors
    }

    private static func check(
        _ field: Schema.Field, in object: JSONValue, path: String, _ errors: inout [FieldError]
    ) {
        guard let value = object[field.name] else {
            if field.isRequired { errors.append(.required(path)) }
            return
        }
        if field.isRequired, isEmpty(value, field.schema) {
            errors.append(.required(path))
            return
        }
        if !field.enumeration.isEmpty, let text = value.string, !text.isEmpty,
            !field.enumeration.contains(text)
        {
            errors.append(.notSupported(path, value, field.enumeration))
        }
        walk(value, field.schema, path: path, &errors)
    }

    private static func walk(
        _ value: JSONValue, _ schema: Schema, path: String, _ errors: inout [FieldError]
    ) {
        if let limits = schema.limits { check(value, limits, path: path, &errors) }
        switch schema.form {
        case .object:
            for field in schema.fields {
                check(field, in: value, path: "\(path).\(field.name)", &errors)
            }
        case .list:
            guard let element = schema.element else { return }
            for (index, member) in (value.array ?? []).enumerated() {
                walk(member, element, path: "\(path)[\(index)]", &errors)
            }
            checkKeys(value.array ?? [], schema, path: path, &errors)
        case .map:
            guard let element = schema.element else { return }
            for (key, member) in value.object ?? [:] {
                walk(member, element, path: "\(path)[\(key)]", &errors)
            }
        default: break
        }
    }

    /// Keys of a map-list are unique where they are names; ports are left to the kinds.
    private static func checkKeys(
        _ elements: [JSONValue], _ schema: Schema, path: String, _ errors: inout [FieldError]
    ) {
        guard schema.listKeys == ["name"] || schema.listKeys == ["mountPath"] else { return }
        var seen: Set<JSONValue> = []
        for (index, element) in elements.enumerated() {
            guard let key = element[schema.listKeys[0]] else { continue }
            if !seen.insert(key).inserted, !path.hasSuffix(".env") {
                errors.append(.duplicate("\(path)[\(index)].\(schema.listKeys[0])", key))
            }
        }
    }

    /// Kubernetes checks decoded values, where an empty string is an absent one.
    private static func isEmpty(_ value: JSONValue, _ schema: Schema) -> Bool {
        switch (schema.form, value) {
        case (.string, .string(let text)): text.isEmpty
        case (.list, .array(let elements)): elements.isEmpty
        default: false
        }
    }

    private static func check(
        _ value: JSONValue, _ limits: SchemaLimits, path: String, _ errors: inout [FieldError]
    ) {
        if !limits.allowed.isEmpty, !limits.allowed.contains(value) {
            errors.append(
                .notSupported(
                    path, value, limits.allowed.map { $0.string ?? $0.serializedText }))
        }
        if let number = value.double {
            if let minimum = limits.minimum, number < minimum {
                errors.append(
                    .invalid(
                        path, value,
                        "\(path) in body should be greater than or equal to \(text(minimum))"))
            }
            if let maximum = limits.maximum, number > maximum {
                errors.append(
                    .invalid(
                        path, value,
                        "\(path) in body should be less than or equal to \(text(maximum))"))
            }
        }
        if let string = value.string { check(string, limits, path: path, &errors) }
        if let elements = value.array {
            if let most = limits.maxItems, elements.count > most {
                errors.append(.tooMany(path, count: elements.count, limit: most))
            }
            if let least = limits.minItems, elements.count < least {
                errors.append(
                    .invalid(
                        path, .integer(Int64(elements.count)),
                        "\(path) in body should have at least \(least) items"))
            }
        }
    }

    private static func check(
        _ string: String, _ limits: SchemaLimits, path: String, _ errors: inout [FieldError]
    ) {
        let count = string.unicodeScalars.count
        if let least = limits.minLength, count < least {
            errors.append(
                .invalid(
                    path, .string(string),
                    "\(path) in body should be at least \(least) chars long"))
        }
        if let most = limits.maxLength, count > most {
            errors.append(.tooLong(path, limitBytes: most))
        }
        if let pattern = limits.pattern, let regex = try? Regex(pattern),
            (try? regex.firstMatch(in: string)) == nil
        {
            errors.append(
                .invalid(path, .string(string), "\(path) in body should match '\(pattern)'"))
        }
    }

    private static func text(_ number: Double) -> String {
        Int64(exactly: number).map(String.init) ?? String(number)
    }
}

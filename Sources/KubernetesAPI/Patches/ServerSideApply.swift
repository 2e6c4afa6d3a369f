public import JSON

/// Server-side apply (KEP-555): a manager says what it wants of an object; the server merges,
/// removes what the manager wanted before and does no longer, and refuses to take others' fields
/// unforced.
public enum ServerSideApply {
    /// Applies `configuration`, decoded but not defaulted, to `live`, or makes the object where
    /// there is none. The result is still to be defaulted, prepared and validated; its
    /// managedFields are up to date.
    /// - Throws: 409 with a cause for each conflict, 400 for a configuration that cannot be merged.
    public static func apply(
        _ configuration: JSONValue, to live: JSONValue?, kind: Kind, manager: String,
        force: Bool, subresource: String = "", now: Timestamp
    ) throws(StatusError) -> JSONValue {
        guard configuration["metadata", "managedFields"] == nil else {
            throw .badRequest("metadata.managedFields must be nil")
        }
        try refuseDuplicates(configuration, kind.schema, path: "")
        var wanted = configuration
        if kind.hasStatus, subresource.isEmpty { wanted["status"] = nil }
        var fields = ManagedFields(of: live)
        let set = ManagedFields.owned(
            FieldPaths.set(of: wanted, kind.schema), kind, subresource: subresource)
        let entry = ManagedFields.Entry(
            manager: manager, operation: "Apply", apiVersion: kind.resource.apiVersion,
            subresource: subresource, time: now.description, fields: set)
        guard let live else {
            fields.entries = [entry]
            var result = wanted
            fields.write(to: &result)
            return result
        }
        var base = live
        base["metadata", "managedFields"] = nil
        let own = fields.entries.firstIndex {
            $0.isApply && $0.manager == manager && $0.subresource == subresource
        }
        let last = own.map { fields.entries[$0].fields } ?? FieldSet()
        var others = FieldSet()
        for (index, entry) in fields.entries.enumerated() where index != own {
            others = others.union(entry.fields)
        }
        var result = merge(base, wanted, kind.schema)
        let abandoned = last.subtracting(set).subtracting(others)
        prune(&result, abandoned, keeping: set.union(others), kind.schema)
        let difference = FieldPaths.compare(base, result, kind.schema)
        try resolve(
            ManagedFields.owned(difference.changed, kind, subresource: subresource),
            &fields, own: own, force: force)
        for index in fields.entries.indices {
            fields.entries[index].fields = fields.entries[index].fields
                .subtractingRecursively(difference.removed)
        }
        if let own {
            let isUnchanged = last == set
            fields.entries[own].fields = set
            fields.entries[own].apiVersion = entry.apiVersion
            if !isUnchanged { fields.entries[own].time = entry.time }
        } else {
            fields.entries.append(entry)
        }
        fields.write(to: &result)
        return result
    }

    // MARK: - Conflicts

    /// Takes the changed fields from their other owners, or refuses.
    private static func resolve(
        _ changed: FieldSet, _ fields: inout ManagedFields, own: Int?, force: Bool
    ) throws(StatusError) {
        var conflicts: [(manager: String, path: String)] = []
        for index in fields.entries.indices where index != own {
            let shared = fields.entries[index].fields.intersection(changed)
            guard !shared.isEmpty else { continue }
            if force {
                fields.entries[index].fields = fields.entries[index].fields.subtracting(shared)
            } else {
                let name = describe(fields.entries[index])
                conflicts += shared.paths().map { (name, $0) }
            }
        }
        guard !conflicts.isEmpty else { return }
        let causes: [JSONValue] = conflicts.map {
            [
                "reason": "FieldManagerConflict",
                "message": .string("conflict with \($0.manager)"), "field": .string($0.path),
            ]
        }
        throw StatusError(
            code: 409, reason: "Conflict", message: message(conflicts),
            details: ["causes": .array(causes)])
    }

    private static func describe(_ entry: ManagedFields.Entry) -> String {
        var text = JSONValue.string(entry.manager).serializedText
        if !entry.subresource.isEmpty {
            text += " with subresource \(JSONValue.string(entry.subresource).serializedText)"
        }
        if !entry.isApply {
            text += " using \(entry.apiVersion)"
            if !entry.time.isEmpty { text += " at \(entry.time)" }
        }
        return text
    }

    private static func message(_ conflicts: [(manager: String, path: String)]) -> String {
        if conflicts.count == 1 {
            return "Apply failed with 1 conflict: conflict with \(conflicts[0].manager): "
                + conflicts[0].path
        }
        var lines: [String] = []
        for manager in Set(conflicts.map(\.manager)).sorted() {
            lines.append("conflicts with \(manager):")
            lines += conflicts.filter { $0.manager == manager }.map { "- " + $0.path }
        }
        return "Apply failed with \(conflicts.count) conflicts: "
            + lines.joined(separator: "\n")
    }

    // MARK: - Merging

    private static func merge(
        _ live: JSONValue, _ wanted: JSONValue, _ schema: Schema
    ) -> JSONValue {
        guard let before = FieldPaths.parts(of: live, schema),
            let after = FieldPaths.parts(of: wanted, schema)
        else { return wanted }
        if case .object(var members) = live {
            for part in after {
                let name = String(part.name.dropFirst(2))
                members[name] =
                    members[name].map { merge($0, part.value, part.schema) } ?? part.value
            }
            return .object(members)
        }
        var olds: [String: JSONValue] = [:]
        for part in before { olds[part.name] = part.value }
        let wantedNames = after.map(\.name)
        var merged: [String: JSONValue] = [:]
        for part in after {
            merged[part.name] =
                olds[part.name].map { merge($0, part.value, part.schema) } ?? part.value
        }
        // The wanted elements come in the wanted order; others stay before the element that they
        // were before.
        var elements: [JSONValue] = []
        var rest = before.map(\.name)[...]
        for name in wantedNames {
            if let position = rest.firstIndex(of: name) {
                elements += rest[..<position].filter { !wantedNames.contains($0) }
                    .compactMap { olds[$0] }
                rest = rest[(position + 1)...]
            }
            if let value = merged[name] { elements.append(value) }
        }
        elements += rest.filter { !wantedNames.contains($0) }.compactMap { olds[$0] }
        return .array(elements)
    }

    /// Removes the paths that were applied before, are no longer, and that nobody else owns.
    private static func prune(
        _ value: inout JSONValue, _ abandoned: FieldSet, keeping kept: FieldSet, _ schema: Schema
    ) {
        guard let parts = FieldPaths.parts(of: value, schema) else { return }
        var removed: Set<String> = []
        var changed: [String: JSONValue] = [:]
        for part in parts {
            guard let inner = abandoned.children[part.name] else { continue }
            let owners = kept[part.name]
            if inner.isMember, owners.isEmpty {
                removed.insert(part.name)
                continue
            }
            var child = part.value
            prune(&child, inner, keeping: owners, part.schema)
            let isEmptied =
                child.object?.isEmpty ?? child.array?.isEmpty ?? false && owners.isEmpty
            if isEmptied, child != part.value {
                removed.insert(part.name)
            } else {
                changed[part.name] = child
            }
        }
        if case .object(var members) = value {
            for name in removed { members[String(name.dropFirst(2))] = nil }
            for (name, child) in changed { members[String(name.dropFirst(2))] = child }
            value = .object(members)
        } else {
            value = .array(
                parts.filter { !removed.contains($0.name) }.map { changed[$0.name] ?? $0.value })
        }
    }

    /// Two elements of one key cannot be told apart.
    private static func refuseDuplicates(
        _ value: JSONValue, _ schema: Schema, path: String
    ) throws(StatusError) {
        guard let parts = FieldPaths.parts(of: value, schema) else { return }
        var names: Set<String> = []
        for part in parts {
            guard names.insert(part.name).inserted else {
                let key = FieldSet(children: [part.name: .member]).paths().first ?? ""
                throw .badRequest(
                    "failed to create typed patch object: \(path): duplicate entries for key "
                        + key)
            }
            let name = part.name.hasPrefix("f:") ? "." + part.name.dropFirst(2) : "[]"
            try refuseDuplicates(part.value, part.schema, path: path + name)
        }
    }
}

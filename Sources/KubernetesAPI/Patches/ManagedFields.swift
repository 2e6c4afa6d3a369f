public import JSON

/// `metadata.managedFields`: who set which field, by apply or by other writes.
public struct ManagedFields: Sendable {
    /// Other writers than this many are summed up as `ancient-changes`.
    static let updaterLimit = 10

    var entries: [Entry]

    struct Entry: Sendable {
        var manager: String
        /// `Apply` or `Update`.
        var operation: String
        var apiVersion: String
        var subresource: String
        var time: String
        var fields: FieldSet

        var isApply: Bool { operation == "Apply" }

        func isSame(as other: Entry) -> Bool {
            manager == other.manager && operation == other.operation
                && apiVersion == other.apiVersion && subresource == other.subresource
        }

        init(
            manager: String, operation: String, apiVersion: String, subresource: String,
            time: String, fields: FieldSet
        ) {
            self.manager = manager
            self.operation = operation
            self.apiVersion = apiVersion
            self.subresource = subresource
            self.time = time
            self.fields = fields
        }

        init(json: JSONValue) {
            manager = json["manager"]?.string ?? ""
            operation = json["operation"]?.string ?? "Update"
            apiVersion = json["apiVersion"]?.string ?? ""
            subresource = json["subresource"]?.string ?? ""
            time = json["time"]?.string ?? ""
            fields = FieldSet(json: json["fieldsV1"] ?? [:])
        }

        var json: JSONValue {
            var json: JSONValue = [
                "manager": .string(manager), "operation": .string(operation),
                "apiVersion": .string(apiVersion),
            ]
            if !time.isEmpty { json["time"] = .string(time) }
            json["fieldsType"] = "FieldsV1"
            json["fieldsV1"] = fields.json
            if !subresource.isEmpty { json["subresource"] = .string(subresource) }
            return json
        }
    }

    init(of object: JSONValue?) {
        entries = (object?["metadata", "managedFields"]?.array ?? []).map(Entry.init(json:))
            .filter { !$0.manager.isEmpty || !$0.fields.isEmpty }
    }

    /// Apply entries first, then by time and name.
    func write(to object: inout JSONValue) {
        let sorted = entries.filter { !$0.fields.isEmpty }.sorted {
            ($0.operation, $0.time, $0.manager, $0.subresource)
                < ($1.operation, $1.time, $1.manager, $1.subresource)
        }
        object["metadata", "managedFields"] = sorted.isEmpty ? nil : .array(sorted.map(\.json))
    }

    /// Fields that belong to the server, not to any manager.
    static let unowned = FieldSet(children: [
        "f:apiVersion": .member, "f:kind": .member,
        "f:metadata": FieldSet(children: [
            "f:name": .member, "f:namespace": .member, "f:creationTimestamp": .member,
            "f:selfLink": .member, "f:uid": .member, "f:generation": .member,
            "f:managedFields": .member, "f:resourceVersion": .member,
            "f:deletionTimestamp": .member, "f:deletionGracePeriodSeconds": .member,
        ]),
    ])

    /// The paths of `set` that a write to `subresource` may own.
    static func owned(_ set: FieldSet, _ kind: Kind, subresource: String) -> FieldSet {
        var result = set.subtractingRecursively(unowned)
        result.isMember = false
        result.children["f:metadata"]?.isMember = false
        if result["f:metadata"].isEmpty { result.children["f:metadata"] = nil }
        if subresource == "status" {
            for name in result.children.keys where !["f:status", "f:metadata"].contains(name) {
                result.children[name] = nil
            }
        } else if kind.hasStatus, subresource.isEmpty {
            result.children["f:status"] = nil
        }
        return result
    }

    // MARK: - Writes other than apply

    /// Notes in `new` who wrote it: what differs from `old` becomes the manager's and nobody
    /// else's. To be called on the defaulted, validated object, before it is stored.
    /// - Parameters:
    ///   - old: nil on create.
    ///   - manager: the `fieldManager` parameter, or what the user agent begins with.
    ///   - subresource: `status`, `scale`, or empty.
    public static func track(
        old: JSONValue?, new: inout JSONValue, kind: Kind, manager: String,
        subresource: String = "", now: Timestamp
    ) {
        let given = new["metadata", "managedFields"]?.array
        // `[{}]` resets; anything else a client sends is taken as it is, an absent list is kept.
        let isReset = given == [[:]]
        var fields = ManagedFields(of: given?.isEmpty ?? true ? old : new)
        if isReset {
            new["metadata", "managedFields"] = nil
            return
        }
        let difference = FieldPaths.compare(old ?? [:], new, kind.schema)
        let changed = owned(difference.changed, kind, subresource: subresource)
        for index in fields.entries.indices {
            fields.entries[index].fields = fields.entries[index].fields
                .subtracting(changed).subtractingRecursively(difference.removed)
        }
        if !changed.isEmpty {
            fields.add(
                Entry(
                    manager: manager, operation: "Update",
                    apiVersion: kind.resource.apiVersion, subresource: subresource,
                    time: now.description, fields: changed))
        }
        fields.write(to: &new)
    }

    private mutating func add(_ entry: Entry) {
        if let index = entries.firstIndex(where: { $0.isSame(as: entry) }) {
            entries[index].fields = entries[index].fields.union(entry.fields)
            entries[index].time = entry.time
        } else {
            entries.append(entry)
        }
        sumUpOldest()
    }

    private mutating func sumUpOldest() {
        var updaters = entries.indices.filter { !entries[$0].isApply }
        guard updaters.count > Self.updaterLimit else { return }
        updaters.sort { entries[$0].time < entries[$1].time }
        let old = updaters.prefix(updaters.count - Self.updaterLimit + 1)
        guard let first = old.first else { return }
        var sum = entries[first]
        sum.manager = "ancient-changes"
        for index in old { sum.fields = sum.fields.union(entries[index].fields) }
        for index in old.sorted(by: >) { entries.remove(at: index) }
        entries.append(sum)
    }
}

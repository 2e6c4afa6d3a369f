public import JSON

extension Patch {
    /// Strategic merge patch: as JSON merge patch, but lists merge by the schema's merge keys, and
    /// directives (`$patch`, `$deleteFromPrimitiveList/…`, `$setElementOrder/…`, `$retainKeys`) say
    /// what merging alone cannot.
    /// - Throws: 400 for a patch that does not fit the schema.
    public static func strategicMergePatch(
        _ patch: JSONValue, to object: JSONValue, schema: Schema
    ) throws(StatusError) -> JSONValue {
        guard case .object(let changes) = patch else {
            throw .badRequest("a strategic merge patch must be an object")
        }
        return .object(try StrategicMerge.merge(changes, into: object.object ?? [:], schema))
    }
}

private enum StrategicMerge {
    static let patchDirective = "$patch"
    static let retainKeys = "$retainKeys"
    static let deletePrefix = "$deleteFromPrimitiveList/"
    static let orderPrefix = "$setElementOrder/"

    // MARK: - Objects

    static func merge(
        _ patch: JSONObject, into original: JSONObject, _ schema: Schema?
    ) throws(StatusError) -> JSONObject {
        switch patch[patchDirective]?.string {
        case "replace":
            var rest = patch
            rest[patchDirective] = nil
            return rest
        case "delete": return [:]
        case nil, "merge": break
        case let other?: throw .badRequest("unknown patch type \"\(other)\"")
        }
        var result = original
        if let kept = patch[retainKeys]?.array?.compactMap(\.string) {
            for key in result.keys where !kept.contains(key) { result[key] = nil }
        }
        for (key, value) in patch where !key.hasPrefix("$") {
            guard !value.isNull else {
                result[key] = nil
                continue
            }
            let member = schema?.member(key)
            switch (value, result[key]) {
            case (.object(let changes), .object(let members)?):
                result[key] = .object(try merge(changes, into: members, member))
            case (.object(let changes), _):
                result[key] = .object(try merge(changes, into: [:], member))
            case (.array(let changes), let current):
                result[key] = try mergeList(
                    changes, into: current?.array, member, order: patch[orderPrefix + key]?.array)
            default: result[key] = value
            }
        }
        try applyListDirectives(patch, to: &result, schema)
        return result
    }

    /// Deletions from lists of scalars, and orders of lists that the patch does not otherwise
    /// touch.
    private static func applyListDirectives(
        _ patch: JSONObject, to result: inout JSONObject, _ schema: Schema?
    ) throws(StatusError) {
        for (key, value) in patch {
            if key.hasPrefix(deletePrefix) {
                let name = String(key.dropFirst(deletePrefix.count))
                guard let elements = result[name]?.array, let removed = value.array else {
                    continue
                }
                result[name] = .array(elements.filter { !removed.contains($0) })
            } else if key.hasPrefix(orderPrefix) {
                let name = String(key.dropFirst(orderPrefix.count))
                guard patch[name] == nil, let elements = result[name]?.array,
                    let order = value.array
                else { continue }
                let mergeKey = schema?.member(name)?.mergeKey ?? ""
                result[name] = .array(
                    sorted(elements, by: order, before: elements, mergeKey: mergeKey))
            }
        }
    }

    // MARK: - Lists

    private static func mergeList(
        _ patch: [JSONValue], into original: [JSONValue]?, _ schema: Schema?,
        order: [JSONValue]?
    ) throws(StatusError) -> JSONValue {
        guard let schema, let mergeKey = schema.mergeKey else {
            return .array(patch.map(withoutDirectives))
        }
        let before = original ?? []
        var result: [JSONValue]
        if mergeKey.isEmpty {
            result = before
            for value in patch where !result.contains(value) { result.append(value) }
        } else if patch.contains(where: { isListReplacement($0, mergeKey) }) {
            return .array(
                patch.filter { !isListReplacement($0, mergeKey) }.map(withoutDirectives))
        } else {
            result = try mergeByKey(patch, into: before, schema, mergeKey)
        }
        if let order {
            result = sorted(result, by: order, before: before, mergeKey: mergeKey)
        }
        return .array(result)
    }

    /// `{"$patch": "replace"}` as an element makes the others the whole list.
    private static func isListReplacement(_ value: JSONValue, _ mergeKey: String) -> Bool {
        value[patchDirective] == "replace" && value[mergeKey] == nil
    }

    private static func mergeByKey(
        _ patch: [JSONValue], into original: [JSONValue], _ schema: Schema, _ mergeKey: String
    ) throws(StatusError) -> [JSONValue] {
        var result = original
        for change in patch {
            guard case .object(let members) = change, let key = members[mergeKey] else {
                throw .badRequest(
                    "map: \(change.serializedText) does not contain declared merge key: "
                        + mergeKey)
            }
            let position = position(of: change, in: result, schema, mergeKey)
            if members[patchDirective] == "delete" {
                result.removeAll { $0[mergeKey] == key }
            } else if let position {
                result[position] = .object(
                    try merge(members, into: result[position].object ?? [:], schema.element))
            } else {
                result.append(.object(try merge(members, into: [:], schema.element)))
            }
        }
        return result
    }

    /// The element that a change means: one that agrees in all keys of the list if there is one
    /// (53/TCP and 53/UDP share their merge key), else the first with its merge key.
    private static func position(
        of change: JSONValue, in elements: [JSONValue], _ schema: Schema, _ mergeKey: String
    ) -> Int? {
        let exact = elements.firstIndex { element in
            schema.listKeys.allSatisfy { element[$0] == change[$0] }
        }
        return exact ?? elements.firstIndex { $0[mergeKey] == change[mergeKey] }
    }

    /// Puts the elements that `order` names into its order; the others keep their places relative
    /// to those, as they were before.
    private static func sorted(
        _ elements: [JSONValue], by order: [JSONValue], before: [JSONValue], mergeKey: String
    ) -> [JSONValue] {
        func key(_ value: JSONValue) -> JSONValue {
            mergeKey.isEmpty ? value : value[mergeKey] ?? .null
        }
        var rank: [JSONValue: Int] = [:]
        for (index, entry) in order.enumerated() {
            let name = entry.object == nil ? entry : key(entry)
            if rank[name] == nil { rank[name] = index }
        }
        var place: [JSONValue: Int] = [:]
        for (index, element) in before.enumerated() where place[key(element)] == nil {
            place[key(element)] = index
        }
        var named = elements.enumerated().filter { rank[key($0.element)] != nil }
        named.sort {
            (rank[key($0.element)] ?? 0, $0.offset) < (rank[key($1.element)] ?? 0, $1.offset)
        }
        let others = elements.filter { rank[key($0)] == nil }
        var result: [JSONValue] = []
        var (left, right) = (0, 0)
        while left < named.count || right < others.count {
            guard left < named.count else {
                result.append(contentsOf: others[right...])
                break
            }
            guard right < others.count else {
                result.append(contentsOf: named[left...].map(\.element))
                break
            }
            if let here = place[key(named[left].element)], let there = place[key(others[right])],
                here < there
            {
                result.append(named[left].element)
                left += 1
            } else {
                result.append(others[right])
                right += 1
            }
        }
        return result
    }

    /// A value that is new as a whole: directives in it have done their work.
    private static func withoutDirectives(_ value: JSONValue) -> JSONValue {
        switch value {
        case .object(let members):
            var result = JSONObject()
            for (key, member) in members where !key.hasPrefix("$") && !member.isNull {
                result[key] = withoutDirectives(member)
            }
            return .object(result)
        case .array(let elements): return .array(elements.map(withoutDirectives))
        default: return value
        }
    }
}

public import JSON

extension Patch {
    /// More operations are refused, as kube-apiserver does.
    static let jsonPatchLimit = 10_000

    /// JSON patch (RFC 6902): the operations in order, all or none.
    /// - Throws: 400 for what is no patch, 422 where it does not fit the object.
    public static func jsonPatch(
        _ patch: JSONValue, to object: JSONValue
    ) throws(StatusError) -> JSONValue {
        guard let operations = patch.array else {
            throw .badRequest("a JSON patch must be an array of operations")
        }
        guard operations.count <= jsonPatchLimit else {
            throw StatusError(
                code: 413, reason: "RequestEntityTooLarge",
                message: "The allowed maximum operations in a JSON patch is \(jsonPatchLimit), "
                    + "got \(operations.count)")
        }
        var object = object
        for operation in operations { try apply(operation, to: &object) }
        return object
    }

    private static func apply(
        _ operation: JSONValue, to object: inout JSONValue
    ) throws(StatusError) {
        guard let name = operation["op"]?.string, let text = operation["path"]?.string else {
            throw .badRequest("an operation of a JSON patch needs \"op\" and \"path\"")
        }
        let path = try pointer(text)
        switch name {
        case "add": try add(try value(operation), at: path[...], to: &object, text)
        case "remove": _ = try remove(path[...], from: &object, text)
        case "replace":
            guard read(path[...], of: object) != nil else { throw missing(text) }
            try replace(try value(operation), at: path[...], in: &object, text)
        case "test":
            let found = read(path[...], of: object) ?? .null
            guard found == operation["value"] ?? .null else {
                throw misfit("testing value \(text) failed: test failed")
            }
        case "move", "copy":
            guard let from = operation["from"]?.string else {
                throw .badRequest("the operation \"\(name)\" of a JSON patch needs \"from\"")
            }
            let source = try pointer(from)
            guard let moved = read(source[...], of: object) else { throw missing(from) }
            if name == "move" {
                guard !path.starts(with: source) || path == source else {
                    throw misfit("cannot move \(from) into itself")
                }
                _ = try remove(source[...], from: &object, from)
            }
            try add(moved, at: path[...], to: &object, text)
        default:
            throw .badRequest("unknown operation \"\(name)\" in a JSON patch")
        }
    }

    private static func value(_ operation: JSONValue) throws(StatusError) -> JSONValue {
        guard let value = operation["value"] else {
            throw .badRequest(
                "the operation \"\(operation["op"]?.string ?? "")\" of a JSON patch needs "
                    + "\"value\"")
        }
        return value
    }

    /// The names of a JSON pointer (RFC 6901).
    private static func pointer(_ text: String) throws(StatusError) -> [String] {
        if text.isEmpty { return [] }
        guard text.hasPrefix("/") else {
            throw .badRequest("\"\(text)\" is no JSON pointer: it must begin with \"/\"")
        }
        return text.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map {
            var name = ""
            var isEscaped = false
            for character in $0 {
                if isEscaped {
                    name.append(character == "1" ? "/" : character == "0" ? "~" : character)
                    isEscaped = false
                } else if character == "~" {
                    isEscaped = true
                } else {
                    name.append(character)
                }
            }
            return name
        }
    }

    // MARK: - Steps

    private static func read(_ path: ArraySlice<String>, of value: JSONValue) -> JSONValue? {
        guard let name = path.first else { return value }
        let member =
            switch value {
            case .object(let members): members[name]
            case .array: index(name, limit: value.array?.count ?? 0).flatMap { value[$0] }
            default: JSONValue?.none
            }
        return member.flatMap { read(path.dropFirst(), of: $0) }
    }

    private static func add(
        _ new: JSONValue, at path: ArraySlice<String>, to value: inout JSONValue, _ text: String
    ) throws(StatusError) {
        guard let name = path.first else {
            value = new
            return
        }
        if path.count > 1 {
            try descend(path, in: &value, text) { (child) throws(StatusError) in
                try add(new, at: path.dropFirst(), to: &child, text)
            }
            return
        }
        switch value {
        case .object(var members):
            members[name] = new
            value = .object(members)
        case .array(var elements):
            let position = name == "-" ? elements.count : index(name, limit: elements.count + 1)
            guard let position else { throw missing(text) }
            elements.insert(new, at: position)
            value = .array(elements)
        default: throw missing(text)
        }
    }

    private static func replace(
        _ new: JSONValue, at path: ArraySlice<String>, in value: inout JSONValue, _ text: String
    ) throws(StatusError) {
        guard !path.isEmpty else {
            value = new
            return
        }
        try descend(path, in: &value, text) { (child) throws(StatusError) in
            try replace(new, at: path.dropFirst(), in: &child, text)
        }
    }

    private static func remove(
        _ path: ArraySlice<String>, from value: inout JSONValue, _ text: String
    ) throws(StatusError) -> JSONValue {
        guard let name = path.first else { throw misfit("cannot remove the whole object") }
        if path.count > 1 {
            var removed = JSONValue.null
            try descend(path, in: &value, text) { (child) throws(StatusError) in
                removed = try remove(path.dropFirst(), from: &child, text)
            }
            return removed
        }
        switch value {
        case .object(var members):
            guard let removed = members.removeValue(forKey: name) else { throw missing(text) }
            value = .object(members)
            return removed
        case .array(var elements):
            guard let position = index(name, limit: elements.count) else { throw missing(text) }
            let removed = elements.remove(at: position)
            value = .array(elements)
            return removed
        default: throw missing(text)
        }
    }

    private static func descend(
        _ path: ArraySlice<String>, in value: inout JSONValue, _ text: String,
        _ change: (inout JSONValue) throws(StatusError) -> Void
    ) throws(StatusError) {
        guard let name = path.first else { return }
        switch value {
        case .object(var members):
            guard var child = members[name] else { throw missing(text) }
            try change(&child)
            members[name] = child
            value = .object(members)
        case .array(var elements):
            guard let position = index(name, limit: elements.count) else { throw missing(text) }
            try change(&elements[position])
            value = .array(elements)
        default: throw missing(text)
        }
    }

    /// An index from 0 and below `limit`, without leading zeros.
    private static func index(_ name: String, limit: Int) -> Int? {
        guard name == "0" || !name.hasPrefix("0"), !name.hasPrefix("+"), let number = Int(name)
        else { return nil }
        return (0..<limit).contains(number) ? number : nil
    }

    private static func missing(_ path: String) -> StatusError {
        misfit("the path \(path) does not exist in the object")
    }

    private static func misfit(_ text: String) -> StatusError {
        StatusError(
            code: 422, reason: "Invalid",
            message: "the server rejected our request due to an error in our request: " + text)
    }
}

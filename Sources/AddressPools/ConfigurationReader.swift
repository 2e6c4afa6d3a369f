import KubernetesAPI
import NetworkTypes

/// Reads typed fields of a mapping and collects every fault, so that one look shows them all.
final class ConfigurationReader {
    /// Faults beyond this number are not listed.
    static let faultLimit = 16

    private(set) var faults: [ConfigurationFault] = []
    private(set) var omittedFaultCount = 0

    func fault(_ node: ConfigurationNode, _ message: String) {
        guard faults.count < Self.faultLimit else {
            omittedFaultCount += 1
            return
        }
        faults.append(ConfigurationFault(field: node.path, line: node.line, message: message))
    }

    /// The fields of a mapping; names outside `known` are faults, with the nearest one named.
    func fields(_ node: ConfigurationNode, known: [String]) -> Fields {
        guard case .map(let members) = node.content else {
            if case .null = node.content {} else { fault(node, "must be a mapping of fields") }
            return Fields(node: node, members: [:], reader: self)
        }
        var found: [String: ConfigurationNode] = [:]
        for (name, child) in members {
            if known.contains(name) {
                if case .null = child.content { continue }
                found[name] = child
            } else if let near = nearest(to: name, in: known) {
                fault(child, "unknown field; did you mean \"\(near)\"?")
            } else {
                fault(child, "unknown field; known are \(known.joined(separator: ", "))")
            }
        }
        return Fields(node: node, members: found, reader: self)
    }

    private func nearest(to name: String, in known: [String]) -> String? {
        func plain(_ text: String) -> String { text.lowercased().filter { $0 != "-" && $0 != "_" } }
        let best = known.map { ($0, editDistance(plain($0), plain(name))) }
            .min { $0.1 < $1.1 }
        guard let best, best.1 <= max(1, name.count / 4) else { return nil }
        return best.0
    }

    func list(_ node: ConfigurationNode) -> [ConfigurationNode] {
        switch node.content {
        case .list(let elements): return elements
        case .null: return []
        default:
            fault(node, "must be a list")
            return []
        }
    }

    func text(_ node: ConfigurationNode) -> String? {
        guard case .scalar(let text, _) = node.content else {
            fault(node, "must be a text")
            return nil
        }
        return text
    }

    func integer(_ node: ConfigurationNode, in bounds: ClosedRange<Int>) -> Int? {
        guard case .scalar(let text, _) = node.content, let value = Int(text),
            bounds.contains(value)
        else {
            fault(node, "must be a whole number from \(bounds.lowerBound) to \(bounds.upperBound)")
            return nil
        }
        return value
    }

    func bool(_ node: ConfigurationNode) -> Bool? {
        guard case .scalar(let text, let isQuoted) = node.content, !isQuoted,
            let value = ["true": true, "True": true, "false": false, "False": false][text]
        else {
            fault(node, "must be true or false")
            return nil
        }
        return value
    }

    func address(_ node: ConfigurationNode) -> IPAddress? {
        guard let text = text(node) else { return nil }
        guard let address = IPAddress(trimmed(text)) else {
            fault(node, "\"\(text)\" is no IP address")
            return nil
        }
        return address
    }

    /// A time as Go writes it (`90s`, `1m30s`, `500ms`), in milliseconds.
    func milliseconds(_ node: ConfigurationNode) -> Int? {
        guard let text = text(node) else { return nil }
        guard let value = goDurationMilliseconds(text) else {
            fault(node, "\"\(text)\" is no time; write it like 90s or 1m30s")
            return nil
        }
        return value
    }
}

/// The fields of one mapping that are there and known.
struct Fields {
    let node: ConfigurationNode
    let members: [String: ConfigurationNode]
    let reader: ConfigurationReader

    subscript(name: String) -> ConfigurationNode? { members[name] }

    func required(_ name: String) -> ConfigurationNode? {
        if let child = members[name] { return child }
        reader.fault(node, "field \"\(name)\" is required")
        return nil
    }

    func text(_ name: String) -> String? { members[name].flatMap(reader.text) }
    func bool(_ name: String) -> Bool? { members[name].flatMap(reader.bool) }
    func address(_ name: String) -> IPAddress? { members[name].flatMap(reader.address) }
    func integer(_ name: String, _ bounds: ClosedRange<Int>) -> Int? {
        members[name].flatMap { reader.integer($0, in: bounds) }
    }
    func list(_ name: String) -> [ConfigurationNode] { members[name].map(reader.list) ?? [] }
    func texts(_ name: String) -> [String] { list(name).compactMap(reader.text) }
    /// A time in whole seconds, rounded up.
    func seconds(_ name: String) -> Int? {
        members[name].flatMap(reader.milliseconds).map { ($0 + 999) / 1000 }
    }
    /// An autonomous system number (RFC 6793: four bytes).
    func asn(_ name: String) -> UInt32? {
        integer(name, 1...Int(UInt32.max)).map { UInt32(clamping: $0) }
    }
    func selectors(_ name: String, _ spelling: SelectorSpelling = .object) -> [LabelSelector] {
        list(name).map { reader.selector($0, spelling) }
    }
}

/// How a selector's fields are spelled.
enum SelectorSpelling {
    /// `matchLabels`, `matchExpressions`
    case object
    /// `match-labels`, `match-expressions`
    case configMap

    var labels: String { self == .object ? "matchLabels" : "match-labels" }
    var expressions: String { self == .object ? "matchExpressions" : "match-expressions" }
}

extension ConfigurationReader {
    func selector(_ node: ConfigurationNode, _ spelling: SelectorSpelling) -> LabelSelector {
        let fields = fields(node, known: [spelling.labels, spelling.expressions])
        var labels: [String: String] = [:]
        if let map = fields[spelling.labels] {
            if case .map(let members) = map.content {
                for (key, child) in members { labels[key] = text(child) }
            } else {
                fault(map, "must be a mapping of labels")
            }
        }
        var selector = LabelSelector(matchLabels: labels)
        for expression in fields.list(spelling.expressions) {
            if let term = requirement(expression) { selector.requirements.append(term) }
        }
        return selector
    }

    private func requirement(_ node: ConfigurationNode) -> LabelSelector.Requirement? {
        let fields = fields(node, known: ["key", "operator", "values"])
        let key = fields.required("key").flatMap(text)
        guard let operatorNode = fields.required("operator"), let name = text(operatorNode) else {
            return nil
        }
        let values = fields.texts("values")
        guard let key else { return nil }
        guard let operation = LabelSelector.Requirement.Operation(rawValue: name),
            operation != .greaterThan, operation != .lessThan
        else {
            fault(operatorNode, "\"\(name)\" is none of In, NotIn, Exists, DoesNotExist")
            return nil
        }
        let needsValues = operation == .isIn || operation == .isNotIn
        guard needsValues != values.isEmpty else {
            fault(node, needsValues ? "\(name) needs values" : "\(name) takes no values")
            return nil
        }
        return LabelSelector.Requirement(key: key, operation: operation, values: values)
    }
}

// MARK: - Helpers

/// The milliseconds of a Go duration; nil for anything else, and for negative ones.
func goDurationMilliseconds(_ text: String) -> Int? {
    if text == "0" { return 0 }
    var rest = Substring(text)
    var total = 0.0
    guard !rest.isEmpty else { return nil }
    while !rest.isEmpty {
        let number = rest.prefix { $0.isASCII && $0.isNumber || $0 == "." }
        guard let value = Double(number) else { return nil }
        rest = rest.dropFirst(number.count)
        let unit = rest.prefix { $0.isLetter }
        rest = rest.dropFirst(unit.count)
        guard
            let scale = [
                "ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3, "m": 6e4, "h": 36e5,
            ][
                String(unit)]
        else { return nil }
        total += value * scale
    }
    return Int(exactly: total.rounded())
}

/// The number of single-character edits between two short texts.
private func editDistance(_ left: String, _ right: String) -> Int {
    let a = Array(left.utf8.prefix(64))
    let b = Array(right.utf8.prefix(64))
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, y) in b.enumerated() {
            let substitute = diagonal + (x == y ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(substitute, row[j] + 1, row[j + 1] + 1)
        }
    }
    return row[b.count]
}

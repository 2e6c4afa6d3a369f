import JSON
import KubernetesAPI
import NetworkTypes
import Yams

/// One faulty field of a configuration.
public struct ConfigurationFault: Error, Hashable, Sendable, CustomStringConvertible {
    /// The path, such as `address-pools[0].addresses[1]`; empty for the whole.
    public var field: String
    /// The line in the YAML text, from 1; nil for API objects.
    public var line: Int?
    /// What is wrong, with the remedy where there is one.
    public var message: String

    /// Makes a fault.
    public init(field: String, line: Int? = nil, message: String) {
        self.field = field
        self.line = line
        self.message = message
    }

    /// `line 5: address-pools[0].name: required`
    public var description: String {
        let place = [line.map { "line \($0)" }, field.isEmpty ? nil : field].compactMap(\.self)
        return (place + [message]).joined(separator: ": ")
    }
}

/// A configuration value from YAML or JSON, with its place. Scalars keep their text: MetalLB's
/// YAML reader takes `10` for a text as well as for a number.
struct ConfigurationNode {
    enum Content {
        case null
        case scalar(String, isQuoted: Bool)
        case list([ConfigurationNode])
        case map([(name: String, node: ConfigurationNode)])
    }

    var content: Content
    var path: String
    var line: Int?

    /// Nesting beyond this is refused; the configuration has four levels.
    private static let depthLimit = 16

    init(json: JSONValue, path: String) {
        self.path = path
        switch json {
        case .null: content = .null
        case .bool(let value): content = .scalar(value ? "true" : "false", isQuoted: false)
        case .integer(let value): content = .scalar(String(value), isQuoted: false)
        case .number(let text): content = .scalar(text, isQuoted: false)
        case .string(let text): content = .scalar(text, isQuoted: true)
        case .array(let elements):
            content = .list(
                elements.enumerated().map { index, element in
                    ConfigurationNode(json: element, path: "\(path)[\(index)]")
                })
        case .object(let members):
            content = .map(
                members.map { name, value in
                    (name, ConfigurationNode(json: value, path: Self.join(path, name)))
                })
        }
    }

    /// Reads a YAML text.
    /// - Throws: `ConfigurationFault` with the line of the fault.
    init(yaml text: String) throws(ConfigurationFault) {
        let root: Yams.Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch let error as YamlError {
            throw Self.fault(error)
        } catch {
            throw ConfigurationFault(field: "", message: "\(error)")
        }
        guard let root else {
            self.init(json: .object([:]), path: "")
            return
        }
        self = try Self(yaml: root, path: "", depth: 0)
    }

    private init(yaml node: Yams.Node, path: String, depth: Int) throws(ConfigurationFault) {
        self.path = path
        line = node.mark?.line
        guard depth < Self.depthLimit else {
            throw ConfigurationFault(field: path, line: line, message: "nested too deeply")
        }
        switch node {
        case .scalar(let scalar):
            let isQuoted = scalar.style == .singleQuoted || scalar.style == .doubleQuoted
            let isNull = !isQuoted && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
            content = isNull ? .null : .scalar(scalar.string, isQuoted: isQuoted)
        case .sequence(let sequence):
            var elements: [ConfigurationNode] = []
            for (index, element) in sequence.enumerated() {
                elements.append(
                    try Self(yaml: element, path: "\(path)[\(index)]", depth: depth + 1))
            }
            content = .list(elements)
        case .mapping(let mapping):
            var members: [(name: String, node: ConfigurationNode)] = []
            for (key, value) in mapping {
                let name = key.scalar?.string ?? ""
                let child = try Self(
                    yaml: value, path: Self.join(path, name), depth: depth + 1)
                if members.contains(where: { $0.name == name }) {
                    throw ConfigurationFault(
                        field: child.path, line: key.mark?.line, message: "is there twice")
                }
                members.append((name, child))
            }
            content = .map(members)
        case .alias:
            throw ConfigurationFault(field: path, line: line, message: "an alias leads nowhere")
        }
    }

    private static func join(_ path: String, _ name: String) -> String {
        path.isEmpty ? name : "\(path).\(name)"
    }

    private static func fault(_ error: YamlError) -> ConfigurationFault {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return ConfigurationFault(
                field: "", line: mark.line, message: "not YAML: \(trimmed(problem))")
        case .duplicatedKeysInMapping(let duplicates, let context):
            let names = duplicates.sorted()
            return ConfigurationFault(
                field: names.joined(separator: ", "), line: context.mark.line,
                message: "is there twice")
        default:
            return ConfigurationFault(field: "", message: "not YAML: \(error)")
        }
    }
}

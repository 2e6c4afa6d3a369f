import JSON
import KubernetesAPI
import Yams

/// YAML bodies, read as sigs.k8s.io/yaml reads them: one document, its scalars as JSON would have
/// them.
enum YAMLText {
    private static let depthLimit = 128

    /// - Throws: 400 with the parser's words.
    static func parse(_ bytes: [UInt8]) throws -> JSONValue {
        // What kubectl sends as YAML to apply is JSON, which is quicker to read as such.
        if bytes.first(where: { $0 > 0x20 }) == UInt8(ascii: "{"),
            let value = try? JSONValue(parsing: bytes)
        {
            return value
        }
        do {
            guard let node = try Yams.compose(yaml: String(decoding: bytes, as: UTF8.self)) else {
                return .null
            }
            return try convert(node, depth: 0)
        } catch let error as StatusError {
            throw error
        } catch {
            throw StatusError.badRequest("error converting YAML to JSON: \(error)")
        }
    }

    private static func convert(_ node: Yams.Node, depth: Int) throws -> JSONValue {
        guard depth < depthLimit else {
            throw StatusError.badRequest("error converting YAML to JSON: nested too deeply")
        }
        switch node {
        case .mapping(let mapping):
            var object = JSONObject()
            for (key, value) in mapping {
                object[key.string ?? ""] = try convert(value, depth: depth + 1)
            }
            return .object(object)
        case .sequence(let sequence):
            return .array(try sequence.map { try convert($0, depth: depth + 1) })
        case .scalar(let scalar): return convert(scalar, node)
        case .alias:
            throw StatusError.badRequest("error converting YAML to JSON: unresolved alias")
        }
    }

    private static func convert(_ scalar: Yams.Node.Scalar, _ node: Yams.Node) -> JSONValue {
        guard scalar.style == .plain || scalar.style == .any else { return .string(scalar.string) }
        let text = scalar.string
        switch node.tag {
        case Tag(.null): return .null
        case Tag(.bool): return node.bool.map(JSONValue.bool) ?? .string(text)
        case Tag(.int): return node.int.map { .integer(Int64($0)) } ?? .string(text)
        case Tag(.float):
            guard let number = node.float, number.isFinite else { return .string(text) }
            return Int64(exactly: number).map(JSONValue.integer) ?? .number("\(number)")
        default: return .string(text)
        }
    }
}

import JSON

/// Writes protocol buffers: varints, lengths, nested messages.
struct ProtobufWriter {
    private(set) var bytes: [UInt8] = []

    mutating func varint(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(value))
    }

    mutating func text(_ field: Int, _ value: String?) {
        guard let value, !value.isEmpty else { return }
        self.value(field, Array(value.utf8))
    }

    mutating func bool(_ field: Int, _ value: Bool?) {
        guard value == true else { return }
        varint(UInt64(field) << 3)
        varint(1)
    }

    mutating func integer(_ field: Int, _ value: Int64?) {
        guard let value, value != 0 else { return }
        varint(UInt64(field) << 3)
        varint(UInt64(bitPattern: value))
    }

    mutating func double(_ field: Int, _ value: Double?) {
        guard let value, value != 0 else { return }
        varint(UInt64(field) << 3 | 1)
        for shift in stride(from: UInt64(0), to: 64, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: value.bitPattern >> shift))
        }
    }

    /// A field of bytes with its length: a string or a message.
    mutating func value(_ field: Int, _ content: [UInt8]) {
        varint(UInt64(field) << 3 | 2)
        varint(UInt64(content.count))
        bytes += content
    }

    mutating func message(_ field: Int, _ fill: (inout ProtobufWriter) -> Void) {
        var inner = ProtobufWriter()
        fill(&inner)
        value(field, inner.bytes)
    }

    /// A map entry as gnostic has them: `{name = 1, value = 2}`.
    mutating func named(_ field: Int, _ name: String, _ fill: (inout ProtobufWriter) -> Void) {
        message(field) {
            $0.text(1, name)
            $0.message(2, fill)
        }
    }
}

/// Encodes an OpenAPI v2 document as `openapi.v2.Document` of gnostic (openapiv2/OpenAPIv2.proto):
/// the form in which kubectl before 1.27 asks for it. Field numbers are that file's.
enum OpenAPIProtobuf {
    static func encode(_ document: JSONValue) -> [UInt8] {
        var writer = ProtobufWriter()
        writer.text(1, document["swagger"]?.string)
        writer.message(2) { info in
            info.text(1, document["info", "title"]?.string)
            info.text(2, document["info", "version"]?.string)
        }
        writer.message(8) { paths in
            for (path, item) in document["paths"]?.object ?? [:] {
                paths.named(2, path) { pathItem(item, &$0) }
            }
        }
        writer.message(9) { definitions in
            for (name, definition) in document["definitions"]?.object ?? [:] {
                definitions.named(1, name) { schema(definition, &$0) }
            }
        }
        return writer.bytes
    }

    // MARK: - Paths

    private static let methods = [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)]

    private static func pathItem(_ item: JSONValue, _ writer: inout ProtobufWriter) {
        for (method, field) in methods {
            guard let json = item[method] else { continue }
            writer.message(field) { operation(json, &$0) }
        }
        for json in item["parameters"]?.array ?? [] {
            writer.message(9) { item in item.message(1) { parameter(json, &$0) } }
        }
    }

    private static func operation(_ json: JSONValue, _ writer: inout ProtobufWriter) {
        for tag in json["tags"]?.array ?? [] { writer.text(1, tag.string) }
        writer.text(3, json["description"]?.string)
        writer.text(5, json["operationId"]?.string)
        for type in json["produces"]?.array ?? [] { writer.text(6, type.string) }
        for type in json["consumes"]?.array ?? [] { writer.text(7, type.string) }
        for entry in json["parameters"]?.array ?? [] {
            writer.message(8) { item in item.message(1) { parameter(entry, &$0) } }
        }
        writer.message(9) { responses in
            for (code, response) in json["responses"]?.object ?? [:] {
                responses.named(1, code) { value in
                    value.message(1) { inner in
                        inner.text(1, response["description"]?.string)
                        if let body = response["schema"] {
                            inner.message(2) { item in item.message(1) { schema(body, &$0) } }
                        }
                    }
                }
            }
        }
        extensions(json, field: 13, &writer)
    }

    private static func parameter(_ json: JSONValue, _ writer: inout ProtobufWriter) {
        let place = json["in"]?.string ?? ""
        if place == "body" {
            writer.message(1) { body in
                body.text(2, json["name"]?.string)
                body.text(3, place)
                body.bool(4, json["required"]?.bool)
                if let content = json["schema"] { body.message(5) { schema(content, &$0) } }
            }
            return
        }
        // In a path parameter the numbers after `name` are one lower: it has no allow_empty_value.
        let isPath = place == "path"
        writer.message(2) { other in
            other.message(isPath ? 4 : 3) { inner in
                inner.bool(1, json["required"]?.bool)
                inner.text(2, place)
                inner.text(3, json["description"]?.string)
                inner.text(4, json["name"]?.string)
                inner.text(isPath ? 5 : 6, json["type"]?.string)
                inner.bool(isPath ? 19 : 20, json["uniqueItems"]?.bool)
            }
        }
    }

    // MARK: - Schemas

    private static func schema(_ json: JSONValue, _ writer: inout ProtobufWriter) {
        writer.text(1, json["$ref"]?.string)
        writer.text(2, json["format"]?.string)
        writer.text(4, json["description"]?.string)
        if let value = json["default"] { writer.message(5) { any(value, &$0) } }
        writer.double(7, json["maximum"]?.double)
        writer.double(9, json["minimum"]?.double)
        writer.integer(11, json["maxLength"]?.integer)
        writer.integer(12, json["minLength"]?.integer)
        writer.text(13, json["pattern"]?.string)
        writer.integer(14, json["maxItems"]?.integer)
        writer.integer(15, json["minItems"]?.integer)
        for name in json["required"]?.array ?? [] { writer.text(19, name.string) }
        for value in json["enum"]?.array ?? [] { writer.message(20) { any(value, &$0) } }
        if let values = json["additionalProperties"] {
            writer.message(21) { item in item.message(1) { schema(values, &$0) } }
        }
        if let type = json["type"]?.string { writer.message(22) { $0.text(1, type) } }
        if let items = json["items"] {
            writer.message(23) { item in item.message(1) { schema(items, &$0) } }
        }
        if let properties = json["properties"]?.object {
            writer.message(25) { inner in
                for (name, property) in properties {
                    inner.named(1, name) { schema(property, &$0) }
                }
            }
        }
        extensions(json, field: 31, &writer)
    }

    private static func extensions(
        _ json: JSONValue, field: Int, _ writer: inout ProtobufWriter
    ) {
        for (key, value) in json.object ?? [:] where key.hasPrefix("x-") {
            writer.named(field, key) { any(value, &$0) }
        }
    }

    /// gnostic's `Any` carries YAML; JSON is YAML.
    private static func any(_ value: JSONValue, _ writer: inout ProtobufWriter) {
        writer.text(2, value.serializedText + "\n")
    }
}

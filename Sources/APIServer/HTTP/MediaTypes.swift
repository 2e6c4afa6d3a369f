import JSON
import KubernetesAPI
import NIOCore
import NIOHTTP1

/// What form of an answer the client asks for with `Accept`.
enum ResponseForm: Sendable, Hashable {
    case object
    /// `as=Table;v=…;g=meta.k8s.io`; the version is `v1` or `v1beta1`.
    case table(version: String)
    /// `as=PartialObjectMetadata` or `…List`.
    case metadata(version: String)
}

/// One entry of an `Accept` header (RFC 9110, section 12.5.1).
struct MediaRange: Sendable, Hashable {
    var type: String
    var parameters: [String: String] = [:]

    init(parsing text: Substring) {
        var parts = text.split(separator: ";").map { part in
            String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        }
        type = parts.isEmpty ? "" : parts.removeFirst().lowercased()
        for part in parts {
            let pair = part.split(separator: "=", maxSplits: 1)
            if pair.count == 2 { parameters[String(pair[0])] = String(pair[1]) }
        }
    }

    static func list(_ headers: HTTPHeaders) -> [MediaRange] {
        headers["accept"].flatMap { $0.split(separator: ",").prefix(32).map(MediaRange.init) }
    }

    var isJSON: Bool {
        type == "application/json" || type == "*/*" || type == "application/*"
    }
}

extension ResponseForm {
    /// The first entry that can be served. Without `Accept`, and where protobuf is asked for first
    /// but JSON is taken too, the answer is JSON.
    /// - Throws: 406 where nothing in the list can be served.
    init(accept headers: HTTPHeaders) throws {
        let ranges = MediaRange.list(headers)
        guard !ranges.isEmpty else {
            self = .object
            return
        }
        for range in ranges where range.isJSON {
            let version = range.parameters["v"] ?? "v1"
            switch range.parameters["as"] {
            case nil: self = .object
            case "Table" where ["v1", "v1beta1"].contains(version): self = .table(version: version)
            case "PartialObjectMetadata", "PartialObjectMetadataList":
                self = .metadata(version: version)
            default: continue
            }
            return
        }
        throw StatusError(
            code: 406, reason: "NotAcceptable",
            message: "only the following media types are accepted: application/json")
    }
}

/// Reads request bodies.
enum RequestBody {
    /// A JSON or YAML body.
    /// - Throws: 415 for another content type, 400 for a text that cannot be parsed.
    static func parse(_ request: APIRequest) throws -> SentObject {
        let type = contentType(request)
        switch type {
        case "", "application/json", "text/plain", "application/x-www-form-urlencoded":
            return try json(request)
        case "application/yaml":
            return SentObject(json: try YAMLText.parse(request.bodyBytes))
        case ProtobufDecoder.contentType:
            return SentObject(json: try ProtobufDecoder.decode(request.bodyBytes))
        default:
            throw unsupported(
                type, ["application/json", "application/yaml", ProtobufDecoder.contentType])
        }
    }

    static func contentType(_ request: APIRequest) -> String {
        let text = request.headers.first(name: "content-type") ?? ""
        // Most clients send the bare type.
        let isBare = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "/"), UInt8(ascii: "-"),
                UInt8(ascii: "+"):
                true
            default: false
            }
        }
        return isBare ? text : MediaRange(parsing: text[...]).type
    }

    static func json(_ request: APIRequest) throws -> SentObject {
        do {
            let (value, duplicates) =
                try request.body.readableBytesView
                .withContiguousStorageIfAvailable { try JSONValue.parse($0) }
                ?? JSONValue.parse(request.bodyBytes)
            return SentObject(json: value, duplicateFields: duplicates)
        } catch let error as JSONParseError {
            throw StatusError.badRequest("the object provided is unrecognized: \(error)")
        }
    }

    static func unsupported(_ type: String, _ known: [String]) -> StatusError {
        StatusError(
            code: 415, reason: "UnsupportedMediaType",
            message: "the body of the request was in an unknown format (\(type)) - accepted media "
                + "types include: " + known.joined(separator: ", "))
    }
}

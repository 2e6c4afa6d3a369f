import JSON
import KubernetesAPI
import NIOCore
import NIOHTTP1
import Synchronization

/// The OpenAPI documents, made when they are first asked for and anew after the kinds changed.
final class OpenAPIDocuments: Sendable {
    private struct State {
        var generation = -1
        var documents: [String: ByteBuffer] = [:]
    }

    private let state = Mutex(State())

    func document(
        _ name: String, generation: Int, make: () -> [UInt8]?
    ) -> ByteBuffer? {
        let known = state.withLock { state -> ByteBuffer? in
            if state.generation != generation {
                state = State(generation: generation)
            }
            return state.documents[name]
        }
        if let known { return known }
        guard let bytes = make() else { return nil }
        let buffer = ByteBuffer(bytes: bytes)
        state.withLock { state in
            if state.generation == generation { state.documents[name] = buffer }
        }
        return buffer
    }
}

extension APIHandler {
    /// The older name in `Accept` has an `@`, which no media type may have: answers never use it.
    private static let v2ProtobufContentType =
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

    /// The response for a path below `/openapi`.
    /// - Throws: 404 for any other path.
    func respondToOpenAPI(_ path: String, _ headers: HTTPHeaders) throws -> APIResponse {
        let generation = registry.kindsGeneration
        let ranges = MediaRange.list(headers)
        let takesJSON = ranges.isEmpty || ranges.contains(where: \.isJSON)
        switch path {
        case "/openapi/v2":
            let first = ranges.first?.type ?? ""
            let isProtobuf =
                first == OpenAPI.v2ProtobufMediaType || first == Self.v2ProtobufContentType
                || !takesJSON
            return .pending { [self] in
                document(
                    isProtobuf ? "v2.pb" : path, generation,
                    contentType: isProtobuf ? Self.v2ProtobufContentType : "application/json"
                ) { kinds in
                    isProtobuf
                        ? OpenAPI.v2Protobuf(kinds) : OpenAPI.v2Document(kinds).serializedBytes
                }
            }
        case "/openapi/v3":
            return .pending { [self] in
                document(path, generation) { OpenAPI.v3Index($0).serializedBytes }
            }
        default:
            guard path.hasPrefix("/openapi/v3/") else { throw StatusError.pathNotFound }
            guard takesJSON else {
                throw StatusError(
                    code: 406, reason: "NotAcceptable",
                    message: "only the following media types are accepted: application/json")
            }
            let name = String(path.dropFirst("/openapi/v3/".count))
            return .pending { [self] in
                document(path, generation) {
                    OpenAPI.v3Document($0, path: name)?.serializedBytes
                }
            }
        }
    }

    private func document(
        _ name: String, _ generation: Int, contentType: String = "application/json",
        _ make: (KindRegistry) -> [UInt8]?
    ) -> APIReply {
        let kinds = registry.kinds
        guard
            let buffer = documents.document(name, generation: generation, make: { make(kinds) })
        else { return APIReply(.pathNotFound) }
        return APIReply(contentType: contentType, pieces: [buffer])
    }
}

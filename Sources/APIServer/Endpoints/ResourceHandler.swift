import Informer
import JSON
import KubernetesAPI
import NIOCore
import NIOHTTP1
import Store

extension APIHandler {
    /// A request for a resource, past authentication and authorization.
    struct ResourceRequest: Sendable {
        var request: APIRequest
        var info: RequestInfo
        var user: UserInfo
        var kind: Kind
    }

    func respondToResource(
        _ request: APIRequest, _ info: RequestInfo, _ user: UserInfo
    ) throws -> APIResponse {
        if let response = try respondToReview(request, info, user) { return response }
        guard
            let kind = registry.kinds[
                group: info.group, version: info.version, plural: info.resource]
        else { throw StatusError.pathNotFound }
        let call = ResourceRequest(request: request, info: info, user: user, kind: kind)
        guard info.subresource.isEmpty else {
            if let response = try respondToSubresource(call) { return response }
            throw StatusError.pathNotFound
        }
        let response = try respondToVerb(call)
        return kind.deprecation.map { response.warning([$0]) } ?? response
    }

    private func respondToVerb(_ call: ResourceRequest) throws -> APIResponse {
        let (request, info, kind) = (call.request, call.info, call.kind)
        switch info.verb {
        case "get": return .ready(try get(call))
        case "list": return .pending { await Self.reply { try self.list(call) } }
        case "watch": return try watch(call)
        case "create":
            guard info.name.isEmpty else { throw StatusError.methodNotAllowed }
            let sent = try RequestBody.parse(request)
            let options = try writeOptions(call)
            return request.writing { [self] in
                await Self.reply {
                    self.reply(
                        to: call,
                        try await registry.create(
                            kind, namespace: info.namespace, sent, options: options))
                }
            }
        case "update":
            let sent = try RequestBody.parse(request)
            return request.writing { [self] in await update(call, sent, subresource: "") }
        case "patch": return request.writing { [self] in await patch(call, subresource: "") }
        case "delete", "deletecollection":
            let body = try deleteBody(request)
            let options = try DeleteOptions(json: body, query: request.query)
            return .pending { [self] in
                await Self.reply {
                    info.verb == "delete"
                        ? try await self.delete(call, options)
                        : try await self.deleteCollection(call, options)
                }
            }
        default: throw StatusError.methodNotAllowed
        }
    }

    // MARK: - Reading

    func get(_ call: ResourceRequest) throws -> APIReply {
        let form = try ResponseForm(accept: call.request.headers)
        let object = try registry.get(
            call.kind, namespace: call.info.namespace, name: call.info.name)
        return try reply(call, form, object)
    }

    /// One object in the form asked for; as it is stored, its bytes go out untouched.
    func reply(
        _ call: ResourceRequest, _ form: ResponseForm, _ object: StoredObject,
        status: HTTPResponseStatus = .ok
    ) throws -> APIReply {
        switch form {
        case .object:
            return APIReply(
                status: status, bytes: try registry.bytes(object, as: call.kind))
        case .table(let version):
            return APIReply(
                status: status,
                json: call.kind.table(
                    [try registry.json(object, as: call.kind)],
                    listMetadata: ["resourceVersion": .string(String(object.revision))],
                    include: Self.includeObject(call), version: version, now: .now))
        case .metadata(let version):
            return APIReply(
                status: status, json: try Self.partialMetadata(object, version: version))
        }
    }

    static func includeObject(_ call: ResourceRequest) -> TableObjectPolicy {
        call.request.query["includeObject"].flatMap(TableObjectPolicy.init(rawValue:))
            ?? .metadata
    }

    static func partialMetadata(_ object: StoredObject, version: String) throws -> JSONValue {
        let json = try object.decoded()
        return [
            "kind": "PartialObjectMetadata",
            "apiVersion": .string("meta.k8s.io/\(version)"), "metadata": json["metadata"] ?? [:],
        ]
    }

    func list(_ call: ResourceRequest) throws -> APIReply {
        let query = call.request.query
        let form = try ResponseForm(accept: call.request.headers)
        let filter = try ObjectFilter(
            call.kind, labelSelector: query["labelSelector"] ?? "",
            fieldSelector: query["fieldSelector"] ?? "")
        try checkListRevision(query)
        let page = try registry.list(
            call.kind, namespace: call.info.namespace, filter: filter,
            limit: query["limit"].flatMap { Int($0) } ?? 0, token: query["continue"] ?? "")
        switch form {
        case .object:
            return APIReply(
                pieces: [
                    Self.listBuffer(
                        kind: call.kind.listKind, apiVersion: call.kind.resource.apiVersion, page,
                        items: try page.objects.map { try registry.bytes($0, as: call.kind) })
                ])
        case .table(let version):
            return APIReply(
                json: call.kind.table(
                    try page.objects.map { try registry.json($0, as: call.kind) },
                    listMetadata: Self.listMetadata(page), include: Self.includeObject(call),
                    version: version, now: .now))
        case .metadata(let version):
            let items = try page.objects.map {
                try Self.partialMetadata($0, version: version).serializedBytes
            }
            return APIReply(
                pieces: [
                    Self.listBuffer(
                        kind: "PartialObjectMetadataList", apiVersion: "meta.k8s.io/\(version)",
                        page, items: items)
                ])
        }
    }

    /// A list may name the revision it must be at least as new as; one from the future has to be
    /// refused, not answered with something older.
    private func checkListRevision(_ query: QueryItems) throws {
        guard let text = query["resourceVersion"], !text.isEmpty, text != "0" else { return }
        guard let asked = Int64(text) else {
            throw StatusError.badRequest("resourceVersion: Invalid value: \"\(text)\"")
        }
        let current = registry.store.revision
        if query["resourceVersionMatch"] == "Exact", asked != current {
            guard asked > current else {
                throw StatusError.expired(
                    "The provided resource version is too old: \(asked) (\(current))")
            }
        }
        if asked > current {
            throw StatusError(
                code: 504, reason: "Timeout",
                message: "Too large resource version: \(asked), current: \(current)",
                details: [
                    "causes": [
                        [
                            "reason": "ResourceVersionTooLarge",
                            "message": "Too large resource version",
                        ]
                    ], "retryAfterSeconds": 1,
                ])
        }
    }

    static func listMetadata(_ page: Registry.Page) -> JSONValue {
        var metadata: JSONValue = ["resourceVersion": .string(String(page.revision))]
        if !page.continueToken.isEmpty { metadata["continue"] = .string(page.continueToken) }
        if let count = page.remainingCount {
            metadata["remainingItemCount"] = .integer(Int64(count))
        }
        return metadata
    }

    private static func listBuffer(
        kind: String, apiVersion: String, _ page: Registry.Page, items: [[UInt8]]
    ) -> ByteBuffer {
        let size = items.reduce(256) { $0 + $1.count + 1 }
        var buffer = ByteBufferAllocator().buffer(capacity: size)
        buffer.writeString("{\"kind\":\"\(kind)\",\"apiVersion\":\"\(apiVersion)\",\"metadata\":")
        buffer.writeBytes(listMetadata(page).serializedBytes)
        buffer.writeString(",\"items\":[")
        for (index, item) in items.enumerated() {
            if index > 0 { buffer.writeInteger(UInt8(ascii: ",")) }
            buffer.writeBytes(item)
        }
        buffer.writeString("]}\n")
        return buffer
    }

    // MARK: - Writing

    func writeOptions(_ call: ResourceRequest) throws -> WriteOptions {
        try WriteOptions(
            user: call.user, query: call.request.query,
            userAgent: call.request.headers.first(name: "user-agent") ?? "")
    }

    func update(
        _ call: ResourceRequest, _ sent: SentObject, subresource: String
    ) async -> APIReply {
        await Self.reply {
            let options = try writeOptions(call)
            return self.reply(
                to: call,
                try await registry.update(
                    call.kind, namespace: call.info.namespace, name: call.info.name,
                    subresource: subresource, sent, options: options))
        }
    }

    func patch(_ call: ResourceRequest, subresource: String) async -> APIReply {
        await Self.reply {
            let options = try writeOptions(call)
            let patch = try PatchBody(call.request)
            return self.reply(
                to: call,
                try await registry.patch(
                    call.kind, namespace: call.info.namespace, name: call.info.name,
                    subresource: subresource, patch, options: options))
        }
    }

    private func deleteBody(_ request: APIRequest) throws -> JSONValue? {
        guard request.body.readableBytes > 0 else { return nil }
        let sent = try RequestBody.parse(request).json
        guard sent["kind"]?.string ?? "DeleteOptions" == "DeleteOptions" else {
            throw StatusError.badRequest(
                "the body of a delete is no DeleteOptions but \(sent["kind"]?.string ?? "")")
        }
        return sent
    }

    private func delete(_ call: ResourceRequest, _ options: DeleteOptions) async throws -> APIReply
    {
        let kind = call.kind
        let outcome = try await registry.delete(
            kind, namespace: call.info.namespace, name: call.info.name, options: options)
        switch outcome {
        case .marked(let object): return APIReply(bytes: try registry.bytes(object, as: kind))
        case .removed(let object):
            if [Resource.services, .pods].contains(kind.resource) {
                return APIReply(bytes: try registry.bytes(object, as: kind))
            }
            var details: JSONValue = ["name": .string(call.info.name)]
            if !kind.resource.group.isEmpty { details["group"] = .string(kind.resource.group) }
            details["kind"] = .string(kind.resource.plural)
            details["uid"] = (try? object.decoded())?["metadata", "uid"]
            return APIReply(json: [
                "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Success",
                "details": details,
            ])
        }
    }

    private func deleteCollection(
        _ call: ResourceRequest, _ options: DeleteOptions
    ) async throws -> APIReply {
        let query = call.request.query
        let filter = try ObjectFilter(
            call.kind, labelSelector: query["labelSelector"] ?? "",
            fieldSelector: query["fieldSelector"] ?? "")
        let page = try await registry.deleteCollection(
            call.kind, namespace: call.info.namespace, filter: filter, options: options)
        return APIReply(
            pieces: [
                Self.listBuffer(
                    kind: call.kind.listKind, apiVersion: call.kind.resource.apiVersion, page,
                    items: try page.objects.map { try registry.bytes($0, as: call.kind) })
            ])
    }

    // MARK: - Replies

    /// Runs `work` and speaks its failure as a Status.
    static func reply(_ work: () async throws -> APIReply) async -> APIReply {
        do {
            return try await work()
        } catch let error as StoreError {
            return APIReply(Registry.status(error))
        } catch {
            return APIReply(.wrapping(error))
        }
    }

    /// The answer to a write; kubectl asks for tables here, too.
    func reply(to call: ResourceRequest, _ result: WriteResult) -> APIReply {
        let status: HTTPResponseStatus = result.isCreated ? .created : .ok
        let form = (try? ResponseForm(accept: call.request.headers)) ?? .object
        let reply =
            (try? reply(call, form, result.object, status: status))
            ?? APIReply(status: status, bytes: result.object.bytes)
        return reply.warning(result.warnings)
    }
}

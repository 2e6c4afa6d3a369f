import Informer
import JSON
import KubernetesAPI
import NIOHTTP1
import Store

extension APIHandler {
    /// The response for a subresource; nil where the kind has none of this name.
    func respondToSubresource(_ call: ResourceRequest) throws -> APIResponse? {
        let (info, kind) = (call.info, call.kind)
        switch (kind.resource, info.subresource) {
        case (_, "status") where kind.hasStatus: return try respondToPart(call)
        case (_, "scale") where kind.scale != nil: return try respondToScale(call)
        case (.namespaces, "finalize") where info.verb == "update":
            let sent = try RequestBody.parse(call.request)
            return .pending { [self] in
                await Self.reply {
                    self.reply(
                        to: call,
                        try await registry.finalize(
                            namespace: info.name, sent.json, options: writeOptions(call)))
                }
            }
        case (.pods, EphemeralContainers.subresource):
            return try respondToPart(call, EphemeralContainers.subresource)
        case (.pods, "binding") where info.verb == "create":
            let sent = try RequestBody.parse(call.request)
            return .pending { [self] in
                await Self.reply {
                    _ = try await registry.bind(
                        pod: info.name, namespace: info.namespace ?? "", sent.json,
                        options: writeOptions(call))
                    return APIReply(status: .created, json: Self.success)
                }
            }
        case (.pods, "eviction") where info.verb == "create":
            let sent = try RequestBody.parse(call.request)
            return .pending { [self] in
                await Self.reply {
                    try await registry.evict(
                        pod: info.name, namespace: info.namespace ?? "", sent.json,
                        options: DeleteOptions(
                            json: sent.json["deleteOptions"], query: call.request.query))
                    return APIReply(status: .created, json: Self.success)
                }
            }
        case (.pods, "log") where info.verb == "get": return try log(call)
        case (.pods, "exec"), (.pods, "attach"), (.pods, "portforward"): return try connect(call)
        case (.pods, "proxy"), (.services, "proxy"), (.nodes, "proxy"):
            return try proxy(call)
        case (.serviceAccounts, "token") where info.verb == "create":
            return try requestToken(call)
        default: return nil
        }
    }

    static let success: JSONValue = [
        "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Success", "code": 201,
    ]

    private func respondToPart(
        _ call: ResourceRequest, _ part: String = "status"
    ) throws -> APIResponse {
        switch call.info.verb {
        case "get": return .ready(try get(call))
        case "update":
            let sent = try RequestBody.parse(call.request)
            return .pending { [self] in await update(call, sent, subresource: part) }
        case "patch": return .pending { [self] in await patch(call, subresource: part) }
        default: throw StatusError.methodNotAllowed
        }
    }

    // MARK: - Scale (autoscaling/v1)

    private func respondToScale(_ call: ResourceRequest) throws -> APIResponse {
        let (info, kind) = (call.info, call.kind)
        guard let paths = kind.scale else { throw StatusError.pathNotFound }
        let scale = Scale(paths: paths)
        switch info.verb {
        case "get":
            let object = try registry.get(kind, namespace: info.namespace, name: info.name)
            let json = scale.json(of: try object.decoded())
            guard case .table(let version) = try ResponseForm(accept: call.request.headers) else {
                return .ready(APIReply(json: json))
            }
            return .ready(
                APIReply(
                    json: Kind.scaleSubresource.table(
                        [json],
                        listMetadata: ["resourceVersion": .string(String(object.revision))],
                        include: Self.includeObject(call), version: version, now: .now)))
        case "update", "patch":
            let replicas = try wantedReplicas(call, scale)
            return .pending { [self] in
                await Self.reply {
                    let key = registry.key(kind, namespace: info.namespace, name: info.name)
                    let result = try await registry.change(
                        kind, key, subresource: "", options: writeOptions(call)
                    ) { current in
                        var new = current
                        new.set(.integer(try replicas(current)), at: paths.specReplicas)
                        return new
                    }
                    return APIReply(json: scale.json(of: try result.object.decoded()))
                }
            }
        default: throw StatusError.methodNotAllowed
        }
    }

    private func wantedReplicas(
        _ call: ResourceRequest, _ scale: Scale
    ) throws -> @Sendable (JSONValue) throws -> Int64 {
        if call.info.verb == "update" {
            let sent = try RequestBody.parse(call.request).json
            let version = sent["metadata", "resourceVersion"]?.string ?? ""
            let resource = call.kind.resource
            return { current in
                let held = current["metadata", "resourceVersion"]?.string ?? ""
                guard version.isEmpty || version == held else {
                    throw StatusError.conflict(resource, name: call.info.name)
                }
                return try Scale.replicas(sent)
            }
        }
        let patch = try PatchBody(call.request)
        let kind = call.kind
        return { current in
            let json = scale.json(of: current)
            // A Scale has no lists: for it strategic merge and merge are one.
            let type = patch.type == .strategicMerge ? .merge : patch.type
            guard type != .apply else { return try Scale.replicas(patch.body.json) }
            return try Scale.replicas(
                Patch.apply(type, patch.body.json, to: json, kind: kind))
        }
    }

    // MARK: - Connections to pods

    private func pod(_ call: ResourceRequest) throws -> PodConnect {
        let stored = try registry.get(
            call.kind, namespace: call.info.namespace, name: call.info.name)
        return PodConnect(
            pod: try stored.decoded(), namespace: call.info.namespace ?? "", name: call.info.name)
    }

    private func log(_ call: ResourceRequest) throws -> APIResponse {
        let pod = try pod(call)
        let target = try nodes.target(
            node: pod.node(), uri: pod.log(call.request.query))
        return .streaming { [nodes] stream in try await nodes.stream(target, to: stream) }
    }

    /// What speaks WebSocket is passed on as it comes, for nodes speak it; SPDY ends here.
    private func connect(_ call: ResourceRequest) throws -> APIResponse {
        guard ["get", "create"].contains(call.info.verb) else {
            throw StatusError.methodNotAllowed
        }
        let offer = try StreamOffer(call.request.headers)
        let pod = try pod(call)
        switch call.info.subresource {
        case "exec", "attach":
            let query = call.request.query
            let uri = try call.info.subresource == "exec" ? pod.exec(query) : pod.attach(query)
            let target = try nodes.target(node: pod.node(), uri: uri)
            guard offer.isSPDY else { return .relay(to: target) }
            let version = try offer.execVersion()
            let streams = ExecStream.expected(query, version: version)
            return .upgrade { _, eventLoop in
                try await ExecUpgrade.open(target, version: version, streams, on: eventLoop)
            }
        default:
            let target = try nodes.target(node: pod.node(), uri: pod.portForward)
            let upgrade: any ConnectionUpgrade =
                try offer.hasPortChannels
                ? PortChannelsUpgrade(target: target, offer: offer, query: call.request.query)
                : PortForwardUpgrade(target: target, offer: offer)
            return .upgrade { _, _ in .upgraded(upgrade) }
        }
    }
}

/// The `autoscaling/v1` Scale of an object.
struct Scale: Sendable {
    let paths: Kind.ScalePaths

    func json(of object: JSONValue) -> JSONValue {
        var metadata: JSONValue = [:]
        for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            metadata[field] = object["metadata", field]
        }
        var status: JSONValue = [
            "replicas": object.value(at: paths.statusReplicas) ?? 0
        ]
        if let path = paths.selector, let selector = object.value(at: path) {
            status["selector"] = .string(Self.text(ofSelector: selector))
        }
        var spec: JSONValue = [:]
        spec["replicas"] = object.value(at: paths.specReplicas)
        return [
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec,
            "status": status,
        ]
    }

    /// - Throws: 422 for a number that no scale can be.
    static func replicas(_ scale: JSONValue) throws -> Int64 {
        let replicas = scale["spec", "replicas"]?.integer ?? 0
        guard replicas >= 0, replicas <= Int64(Int32.max) else {
            throw StatusError(
                code: 422, reason: "Invalid",
                message: "Scale.autoscaling \"\(scale["metadata", "name"]?.string ?? "")\" is "
                    + "invalid: spec.replicas: Invalid value: \(replicas): must be greater than or "
                    + "equal to 0")
        }
        return replicas
    }

    private static func text(ofSelector selector: JSONValue) -> String {
        if let text = selector.string { return text }
        if selector["matchLabels"] != nil || selector["matchExpressions"] != nil {
            return LabelSelector(json: selector).description
        }
        return LabelSelector(matchLabels: selector.stringMap).description
    }
}

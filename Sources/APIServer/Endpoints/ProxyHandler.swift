import JSON
import KubernetesAPI
import NIOCore
import NIOHTTP1
import NetworkTypes
import Store

extension APIHandler {
    /// `/proxy` of pods, services and nodes: the request goes on to what they name, and its answer
    /// comes back. Credentials stay here.
    func proxy(_ call: ResourceRequest) throws -> APIResponse {
        let name = try ProxiedName(parsing: call.info.name)
        var uri = "/" + call.info.rest
        if !call.request.rawQuery.isEmpty { uri += "?" + call.request.rawQuery }
        let target: TunnelTarget
        switch call.kind.resource {
        case .nodes: target = try nodes.target(node: name.name, uri: uri)
        case .pods: target = try podTarget(call, name, uri: uri)
        default: target = try serviceTarget(call, name, uri: uri)
        }
        let request = call.request
        var headers = HTTPHeaders()
        for (name, value) in request.headers where Self.isProxied(name.lowercased()) {
            headers.add(name: name, value: value)
        }
        if let upgrade = request.headers.first(name: "upgrade") {
            headers.add(name: "Connection", value: "Upgrade")
            headers.add(name: "Upgrade", value: upgrade)
            return .relay(to: target, method: request.method, headers: headers)
        }
        let forwarded = headers
        return .streaming { [nodes] stream in
            try await nodes.stream(
                target, method: request.method, headers: forwarded, body: request.body,
                passesRefusals: true, to: stream)
        }
    }

    private static func isProxied(_ name: String) -> Bool {
        ![
            "authorization", "connection", "host", "content-length", "transfer-encoding",
            "upgrade", "te", "keep-alive", "expect",
        ].contains(name) && !name.hasPrefix("impersonate-")
    }

    private func podTarget(
        _ call: ResourceRequest, _ name: ProxiedName, uri: String
    ) throws -> TunnelTarget {
        let pod = try registry.get(
            call.kind, namespace: call.info.namespace, name: name.name
        ).decoded()
        guard let address = pod["status", "podIP"]?.string, !address.isEmpty else {
            throw StatusError.badRequest("pod \(name.name) has no address yet")
        }
        let declared = pod["spec", "containers"]?[0]?["ports"]?[0]?["containerPort"]?.int
        return try nodes.target(
            pod: name.name, namespace: call.info.namespace ?? "",
            node: pod["spec", "nodeName"]?.string, address: address,
            port: Int(name.port) ?? declared ?? (name.isTLS ? 443 : 80), isTLS: name.isTLS,
            uri: uri)
    }

    /// One ready endpoint, at random.
    private func serviceTarget(
        _ call: ResourceRequest, _ name: ProxiedName, uri: String
    ) throws -> TunnelTarget {
        let namespace = call.info.namespace ?? ""
        let service = try registry.get(
            call.kind, namespace: namespace, name: name.name
        ).decoded()
        let ports = service["spec", "ports"]?.array ?? []
        let port = ports.first {
            name.port.isEmpty || $0["name"]?.string == name.port
                || $0["port"]?.int.map(String.init) == name.port
        }
        guard let port else {
            throw StatusError(
                code: 503, reason: "ServiceUnavailable",
                message: "no service port \"\(name.port)\" found for service \"\(name.name)\"")
        }
        let slices = registry.store.list(
            resource: Resource.endpointSlices.qualifiedName, namespace: namespace
        ).objects.compactMap { try? EndpointSlice(json: $0.decoded()) }
            .filter { $0.serviceKey?.name == name.name }
        var found: [(endpoint: EndpointSlice.Endpoint, address: String, port: Int)] = []
        for slice in slices {
            guard
                let served = slice.ports.first(where: { $0.name == port["name"]?.string ?? "" })
            else { continue }
            for endpoint in slice.endpoints where endpoint.isReady {
                if let address = endpoint.addresses.first {
                    found.append((endpoint, address.description, Int(served.port)))
                }
            }
        }
        guard let chosen = found.randomElement() else {
            throw StatusError(
                code: 503, reason: "ServiceUnavailable",
                message: "no endpoints available for service \"\(name.name)\"")
        }
        guard let pod = chosen.endpoint.targetPod else {
            return TunnelTarget(
                host: chosen.address, port: chosen.port,
                tls: name.isTLS ? nodes.unverifiedTLS : nil, uri: uri)
        }
        return try nodes.target(
            pod: pod.name, namespace: namespace, node: chosen.endpoint.nodeName,
            address: chosen.address, port: chosen.port, isTLS: name.isTLS, uri: uri)
    }
}

/// The name in a `/proxy` path: `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`.
struct ProxiedName: Hashable, Sendable {
    var name: String
    var port = ""
    /// True for `https:`. Whose certificate it is is not asked, as kube-apiserver does not.
    var isTLS = false

    /// - Throws: 400 for a scheme that is not served.
    init(parsing text: String) throws {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        switch parts.count {
        case 1: name = parts[0]
        case 2: (name, port) = (parts[0], parts[1])
        case 3 where ["", "http", "https"].contains(parts[0]):
            (name, port, isTLS) = (parts[1], parts[2], parts[0] == "https")
        default: throw StatusError.badRequest("invalid proxy request \"\(text)\"")
        }
    }
}

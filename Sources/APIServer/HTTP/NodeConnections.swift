import JSON
import KubernetesAPI
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Store

/// How the API server reaches nodes: by their internal address and with its own client certificate,
/// on the port that they state (10250 where they state none).
struct NodeConnections: Sendable {
    static let defaultPort = 10250

    let store: Store
    /// nil where no client certificate for nodes was given.
    let tls: NIOSSLContext?
    let group: any EventLoopGroup
    /// For servers in pods, whose certificates nobody here could know.
    let unverifiedTLS: NIOSSLContext

    init(store: Store, tls: NIOSSLContext?, group: any EventLoopGroup) throws {
        self.store = store
        self.tls = tls
        self.group = group
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        unverifiedTLS = try NIOSSLContext(configuration: configuration)
    }

    /// - Throws: 404 for a node that is not there, 503 for one without an address.
    func target(node name: String, uri: String) throws -> TunnelTarget {
        guard let tls else {
            throw StatusError.internalError("no client certificate for nodes is configured")
        }
        let key = StoreKey(resource: Resource.nodes.qualifiedName, name: name)
        guard let node = try store.get(key)?.decoded() else {
            throw StatusError.notFound(.nodes, name: name)
        }
        let addresses = node["status", "addresses"]?.array ?? []
        guard
            let address = addresses.first(where: { $0["type"]?.string == "InternalIP" })?[
                "address"]?.string
        else {
            throw StatusError(
                code: 503, reason: "ServiceUnavailable",
                message: "node \"\(name)\" has no InternalIP yet: is its agent running?")
        }
        let port =
            node["status", "daemonEndpoints", "kubeletEndpoint"]?["Port"]?.int ?? Self.defaultPort
        return TunnelTarget(host: address, port: port, tls: tls, uri: uri)
    }

    typealias Connection = NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>

    /// Makes a request there and passes the answer on as it comes.
    /// - Parameters:
    ///   - passesRefusals: false to make a Status of an answer that is no success.
    func stream(
        _ target: TunnelTarget, method: HTTPMethod = .GET, headers: HTTPHeaders = HTTPHeaders(),
        body: ByteBuffer = ByteBuffer(), passesRefusals: Bool = false, to stream: ResponseStream
    ) async throws {
        let connection = try await connect(target)
        try await connection.executeThenClose { inbound, outbound in
            var headers = headers
            headers.replaceOrAdd(name: "Host", value: "\(target.host):\(target.port)")
            headers.replaceOrAdd(name: "Connection", value: "close")
            if body.readableBytes > 0 {
                headers.replaceOrAdd(name: "Content-Length", value: "\(body.readableBytes)")
            }
            let head = HTTPRequestHead(
                version: .http1_1, method: method, uri: target.uri, headers: headers)
            try await outbound.write(.head(head))
            if body.readableBytes > 0 { try await outbound.write(.body(.byteBuffer(body))) }
            try await outbound.write(.end(nil))
            try await relay(inbound, passesRefusals: passesRefusals, to: stream)
        }
    }

    private func connect(_ target: TunnelTarget) async throws -> Connection {
        do {
            if let carrier = target.carrier {
                return try await Self.tunnel(by: carrier, on: group.next())
                    .connection(tls: target.tls)
            }
            return try await ClientBootstrap(group: group)
                .connectTimeout(.seconds(10))
                .connect(host: target.host, port: target.port) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let operations = channel.pipeline.syncOperations
                        if let tls = target.tls {
                            try operations.addHandler(
                                NIOSSLClientHandler(context: tls, serverHostname: nil))
                        }
                        try operations.addHTTPClientHandlers()
                        return try Connection(wrappingChannelSynchronously: channel)
                    }
                }
        } catch let error as StatusError {
            throw error
        } catch {
            throw Self.unreachable(target, error)
        }
    }

    /// Asks a node for a connection to a pod's port.
    /// - Throws: 503 with what the node says where it refuses.
    static func tunnel(
        by carrier: TunnelTarget.Carrier, on eventLoop: any EventLoop
    ) async throws -> NodeTunnel {
        let node = TunnelTarget(
            host: carrier.host, port: carrier.port, tls: carrier.tls, uri: carrier.uri)
        switch try await NodeStreams.open(node, on: eventLoop) {
        case .tunnel(let tunnel): return tunnel
        case .refused(let reply):
            throw StatusError(
                code: 503, reason: "ServiceUnavailable",
                message: String(buffer: reply.pieces.first ?? ByteBuffer()))
        }
    }

    /// The target at a pod's port, by way of the pod's node where it is known.
    func target(
        pod name: String, namespace: String, node: String?, address: String, port: Int,
        isTLS: Bool = false, uri: String
    ) throws -> TunnelTarget {
        var target = TunnelTarget(
            host: address, port: port, tls: isTLS ? unverifiedTLS : nil, uri: uri)
        if let node {
            let path = "/portForward/\(namespace)/\(name)?port=\(port)"
            let server = try self.target(node: node, uri: path)
            target.carrier = .init(
                host: server.host, port: server.port, tls: server.tls, uri: server.uri)
        }
        return target
    }

    private func relay(
        _ inbound: NIOAsyncChannelInboundStream<HTTPClientResponsePart>, passesRefusals: Bool,
        to stream: ResponseStream
    ) async throws {
        var refusal: HTTPResponseHead?
        var text = ByteBuffer()
        for try await part in inbound {
            switch part {
            case .head(let head) where head.status.code < 300 || passesRefusals:
                let location = head.headers["location"].map { ("Location", $0) }
                try await stream.begin(
                    status: head.status,
                    contentType: head.headers.first(name: "content-type") ?? "text/plain",
                    headers: location)
            case .head(let head): refusal = head
            case .body(var bytes):
                if refusal == nil {
                    try await stream.send(bytes)
                } else if text.readableBytes < 8192 {
                    text.writeBuffer(&bytes)
                }
            case .end:
                guard let refusal else { return }
                throw Self.status(refusal, String(buffer: text))
            }
        }
    }

    private static func status(_ head: HTTPResponseHead, _ text: String) -> StatusError {
        if let json = try? JSONValue(parsing: text), let error = StatusError(json: json) {
            return error
        }
        let reason: String
        switch head.status.code {
        case 400: reason = "BadRequest"
        case 404: reason = "NotFound"
        default: reason = "InternalError"
        }
        return StatusError(code: Int(head.status.code), reason: reason, message: text)
    }

    static func unreachable(_ target: TunnelTarget, _ error: any Error) -> StatusError {
        StatusError(
            code: 502, reason: "BadGateway",
            message: "cannot reach the node at \(target.host):\(target.port): \(error)")
    }
}

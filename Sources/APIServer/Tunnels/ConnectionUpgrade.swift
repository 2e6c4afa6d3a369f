import NIOCore
import NIOHTTP1

/// What a client's connection becomes after `101 Switching Protocols`.
protocol ConnectionUpgrade: Sendable {
    var responseHeaders: HTTPHeaders { get }

    /// Takes the connection over. Called on its event loop, after the 101 is written.
    /// - Parameter onEnd: called when the connection has ended.
    func attach(client: any Channel, onEnd: @escaping () -> Void)
}

/// How an attempt at an upgrade ends.
enum UpgradeOutcome: Sendable {
    case upgraded(any ConnectionUpgrade)
    /// The other side answered something else: to be passed on.
    case refused(APIReply)

    init(_ outcome: NodeTunnel.Outcome) {
        switch outcome {
        case .tunnel(let tunnel): self = .upgraded(tunnel)
        case .refused(let reply): self = .refused(reply)
        }
    }
}

extension APIResponse {
    /// The same upgrade at a node, and bytes as they come from then on.
    static func relay(to target: TunnelTarget) -> APIResponse {
        .upgrade { request, eventLoop in
            UpgradeOutcome(try await NodeTunnel.open(target, for: request, on: eventLoop))
        }
    }

    /// The same with headers of the caller's choice.
    static func relay(
        to target: TunnelTarget, method: HTTPMethod, headers: HTTPHeaders
    ) -> APIResponse {
        .upgrade { _, eventLoop in
            UpgradeOutcome(
                try await NodeTunnel.open(
                    target, method: method, headers: headers, on: eventLoop))
        }
    }
}

/// The change from HTTP to what a connection was upgraded to.
enum UpgradedPipeline {
    /// Puts handlers in the place of HTTP's on a client's connection; what the client has sent
    /// already reaches them. Called on its event loop.
    static func leaveHTTP(_ client: any Channel, for handlers: [any ChannelHandler]) throws {
        try beginLeavingHTTP(client, for: handlers)
        try finishLeavingHTTP(client)
    }

    /// The first half: the handlers may write, and get nothing of what the client sends.
    static func beginLeavingHTTP(
        _ client: any Channel, for handlers: [any ChannelHandler]
    ) throws {
        let front = client.pipeline.syncOperations
        for handler in handlers { try front.addHandler(handler) }
        try remove(HTTPStreamHandler.self, from: front)
        try remove(HTTPServerPipelineHandler.self, from: front)
        try remove(HTTPResponseEncoder.self, from: front)
    }

    /// The second half: what the client has sent, and sends, reaches the handlers.
    static func finishLeavingHTTP(_ client: any Channel) throws {
        try remove(
            ByteToMessageHandler<HTTPRequestDecoder>.self, from: client.pipeline.syncOperations)
    }

    static func remove<Handler: RemovableChannelHandler>(
        _ type: Handler.Type, from operations: ChannelPipeline.SynchronousOperations
    ) throws {
        operations.removeHandler(context: try operations.context(handlerType: type), promise: nil)
    }
}

import NIOCore
import NIOPosix
import NIOSSL
import NetworkTypes
import Synchronization

/// Opens TLS connections to upstreams. The caller gets its end of a socket pair at once and may
/// write; where the connection cannot be had, that end is closed.
enum TLSDialer {
    private static let contexts = Mutex<[UpstreamTLS: NIOSSLContext]>([:])

    /// How long connecting may take; the asking thread gives up on its own before that.
    private static let connectLimit = TimeAmount.seconds(4)

    /// The near end of a connection to `address`.
    static func connect(
        _ address: SocketAddress, _ tls: UpstreamTLS
    ) throws(SocketError) -> OwnedDescriptor {
        let pair = try SocketPair()
        // Certificates are read on the other thread: the system's authorities take a while.
        TLSThread.loop.execute { dial(address, tls, pair.far) }
        return pair.near
    }

    private static func dial(
        _ address: SocketAddress, _ tls: UpstreamTLS, _ far: OwnedDescriptor
    ) {
        // Where any of this fails, `far` is closed, which the asking thread sees as the end.
        guard let context = try? context(tls),
            let target = try? NIOCore.SocketAddress(
                ipAddress: address.address.description, port: Int(address.port))
        else { return }
        ClientBootstrap(group: TLSThread.group)
            .connectTimeout(connectLimit)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(
                        NIOSSLClientHandler(context: context, serverHostname: tls.serverName))
                    try pipeline.addHandler(TLSRelayEnd())
                }
            }
            .connect(to: target)
            .whenSuccess { channel in
                TLSRelayEnd.adopt(far).whenComplete { result in
                    do {
                        try TLSRelayEnd.join(channel, result.get())
                    } catch {
                        channel.close(promise: nil)
                    }
                }
            }
    }

    private static func context(_ tls: UpstreamTLS) throws -> NIOSSLContext {
        if let known = contexts.withLock({ $0[tls] }) { return known }
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        if let path = tls.authorityPath {
            configuration.trustRoots = .certificates(try TLSFiles.certificates(path))
        }
        if let certificate = tls.certificatePath, let key = tls.keyPath {
            configuration.certificateChain =
                try TLSFiles.certificates(certificate).map { .certificate($0) }
            configuration.privateKey = .privateKey(try TLSFiles.key(key))
        }
        let fresh = try TLSFiles.context(configuration, tls.certificatePath ?? "system")
        contexts.withLock { contexts in
            // As many as there are ways to ask; a configuration that keeps changing starts anew.
            if contexts.count >= 64 { contexts = [:] }
            contexts[tls] = fresh
        }
        return fresh
    }
}

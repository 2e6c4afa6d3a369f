import DNS
import NetworkTypes

/// The forwarder of the machine: it has no zone and asks the machine's own resolvers, so that
/// nodes, which have a network of their own, reach names outside the cluster through it.
public final class DNSForwarder: Sendable {
    private let server: DNSServer

    /// Makes a forwarder.
    /// - Parameters:
    ///   - listenAddresses: where it listens, such as the machine's LAN address.
    ///   - resolverFile: whose name servers it asks; read again when it changes.
    public init(listenAddresses: [SocketAddress], resolverFile: String = "/etc/resolv.conf") {
        server = DNSServer(
            configuration: ServerConfiguration(
                listenAddresses: listenAddresses,
                routes: [ForwardRoute(resolverFile: resolverFile)]))
    }

    /// Makes a forwarder to fixed upstreams.
    public init(listenAddresses: [SocketAddress], upstreams: [Upstream]) {
        server = DNSServer(
            configuration: ServerConfiguration(
                listenAddresses: listenAddresses, routes: [ForwardRoute(upstreams: upstreams)]))
    }

    /// Where it listens; after `start`, with the ports the kernel gave.
    public var listenAddresses: [SocketAddress] { server.configuration.listenAddresses }

    /// Opens the sockets and starts answering.
    /// - Throws: `SocketError` naming the address that could not be had.
    public func start() throws { try server.start() }

    /// Stops answering and closes the sockets.
    public func stop() { server.stop() }

    /// Metrics in Prometheus' text format.
    public func metricsText() -> String { server.metricsText() }
}

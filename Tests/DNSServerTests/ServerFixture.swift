import DNS
import DNSServer
import Glibc
import NetworkTypes
import TestSupport
import Testing

/// A server on a free loopback port with a small zone, stopped when it goes.
final class ServerFixture: Sendable {
    let server: DNSServer
    let zone: Zone
    let address: SocketAddress

    init(
        routes: [ForwardRoute] = [], change: (inout ServerConfiguration) -> Void = { _ in }
    ) throws {
        let name = try #require(DNSName("cluster.local"))
        zone = Zone(
            configuration: ZoneConfiguration(name: name, serverAddresses: [.v4(0x0A60_000A)]))
        var configuration = ServerConfiguration(
            listenAddresses: [SocketAddress(.v4(0x7F00_0001), port: 0)], zone: zone,
            routes: routes)
        // A slow machine is no dead upstream; those are found by the kernel's refusal.
        configuration.limits.attemptSeconds = 30
        change(&configuration)
        server = DNSServer(configuration: configuration)
        try server.start()
        address = try #require(server.configuration.listenAddresses.first)
        zone.applyNamespace("default", exists: true)
        for input in Self.inputs { zone.apply(input.key, input) }
    }

    deinit { server.stop() }

    static let http = ServiceRecordInput.Port(name: "http", transport: .tcp, port: 80)

    static let inputs: [ServiceRecordInput] = [
        ServiceRecordInput(
            namespace: "default", name: "web", clusterIPs: [.v4(0x0A60_0101)], ports: [http]),
        ServiceRecordInput(
            namespace: "default", name: "big", isHeadless: true, ports: [http],
            endpoints: (0..<200).map {
                ServiceRecordInput.Endpoint(addresses: [.v4(0x0AF4_0000 + $0)], ports: [http])
            }),
        ServiceRecordInput(namespace: "default", name: "out", externalName: "www.example.test"),
        ServiceRecordInput(
            namespace: "default", name: "inner", externalName: "web.default.svc.cluster.local"),
    ]

    /// Runs dig against the server and returns its output.
    func dig(_ arguments: String...) throws -> String {
        try Command.check(
            ["dig", "@127.0.0.1", "-p", "\(address.port)", "+time=25", "+tries=1"] + arguments
        ).trimmedOutput
    }
}

/// A client's UDP or TCP socket, for packets that no tool would send.
final class RawClient: Sendable {
    private let descriptor: Int32

    /// - Parameter patienceSeconds: how long `receive` waits.
    init(_ address: SocketAddress, stream: Bool = false, patienceSeconds: Int = 30) throws {
        let type = Int32((stream ? SOCK_STREAM : SOCK_DGRAM).rawValue)
        descriptor = socket(AF_INET, type, 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = address.port.bigEndian
        name.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        var timeout = timeval(tv_sec: patienceSeconds, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        guard result == 0 else { throw TestFailure("cannot connect to \(address)") }
    }

    deinit { close(descriptor) }

    /// The port that the kernel gave this end.
    var localPort: UInt16 { portOfName { getsockname(descriptor, $0, $1) } ?? 0 }

    func send(_ bytes: [UInt8]) {
        _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    /// What comes next; empty at the end or when that took too long.
    func receive() -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        return Array(buffer.prefix(max(0, count)))
    }

    /// Waits until something has come, and leaves it there.
    func hasAnswer() -> Bool {
        var byte: UInt8 = 0
        return recv(descriptor, &byte, 1, Int32(MSG_PEEK)) == 1
    }

    /// Sends a message with its length before it.
    func sendFrame(_ bytes: [UInt8]) {
        send([UInt8(bytes.count >> 8), UInt8(bytes.count & 255)] + bytes)
    }

    /// The next message of a stream; nil at the end.
    func receiveFrame() -> [UInt8]? {
        guard let head = receive(exactly: 2) else { return nil }
        return receive(exactly: Int(head[0]) << 8 | Int(head[1]))
    }

    private func receive(exactly count: Int) -> [UInt8]? {
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: count)
        while result.count < count {
            let got = recv(descriptor, &buffer, count - result.count, 0)
            guard got > 0 else { return nil }
            result += buffer[..<got]
        }
        return result
    }
}

/// The port of a socket's end as `name` tells it; nil where it fails.
func portOfName(
    _ name: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
) -> UInt16? {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { name($0, &length) }
    }
    return result == 0 ? UInt16(bigEndian: address.sin_port) : nil
}

/// A query's bytes.
func queryBytes(
    _ name: String, _ type: RecordType = .a, id: UInt16 = 1, limit: UInt16? = 1232
) throws -> [UInt8] {
    MessageEncoder.encode(
        .query(
            id: id, DNSQuestion(name: try #require(DNSName(name)), type: type),
            datagramLimit: limit))
}

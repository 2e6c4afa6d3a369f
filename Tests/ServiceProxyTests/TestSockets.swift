import Glibc
import NetworkTypes
import Synchronization
import TestSupport

/// A socket address of either family.
struct SocketAddress {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)

    init() {}

    init(_ address: IPAddress, _ port: UInt16) {
        switch address {
        case .v4(let value):
            var inner = sockaddr_in()
            inner.sin_family = sa_family_t(AF_INET)
            inner.sin_port = port.bigEndian
            inner.sin_addr.s_addr = value.bigEndian
            withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: inner, as: sockaddr_in.self) }
            length = socklen_t(MemoryLayout<sockaddr_in>.size)
        case .v6:
            var inner = sockaddr_in6()
            inner.sin6_family = sa_family_t(AF_INET6)
            inner.sin6_port = port.bigEndian
            withUnsafeMutableBytes(of: &inner.sin6_addr) {
                $0.copyBytes(from: address.networkBytes)
            }
            withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: inner, as: sockaddr_in6.self) }
            length = socklen_t(MemoryLayout<sockaddr_in6>.size)
        }
    }

    var address: IPAddress? {
        withUnsafeBytes(of: storage) { bytes in
            storage.ss_family == sa_family_t(AF_INET)
                ? IPAddress(networkBytes: bytes[4..<8]) : IPAddress(networkBytes: bytes[8..<24])
        }
    }

    func withPointer<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        withUnsafePointer(to: storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }

    mutating func withMutablePointer<Result>(
        _ body: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Result
    ) -> Result {
        length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { rebound in
                withUnsafeMutablePointer(to: &length) { body(rebound, $0) }
            }
        }
    }
}

func openSocket(_ family: IPAddress.Family, _ transport: TransportProtocol) throws -> Int32 {
    let type = transport == .tcp ? SOCK_STREAM : SOCK_DGRAM
    let descriptor = socket(
        family == .ipv4 ? AF_INET : AF_INET6, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0
    )
    guard descriptor >= 0 else { throw TestFailure("no socket: \(errno)") }
    return descriptor
}

/// A server in a namespace that answers every connection and datagram with `NAME CLIENT`, as HTTP
/// for TCP so that curl can ask, too. It ends when it is released.
final class EchoServer: Sendable {
    private let descriptors: [Int32]
    private let isStopped = Mutex(false)

    /// - Parameter address: where it listens; nil for every address.
    init(
        _ name: String, in namespace: TestNamespace, port: UInt16, families: [IPAddress.Family],
        address: IPAddress? = nil
    ) throws {
        descriptors = try namespace.withThread {
            try families.flatMap { family in
                try [TransportProtocol.tcp, .udp].map { transport in
                    let descriptor = try openSocket(family, transport)
                    var one: Int32 = 1
                    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, 4)
                    if family == .ipv6 { setsockopt(descriptor, 41, 26, &one, 4) }
                    let any = IPAddress(family: family, numericValue: 0)
                    let bound = SocketAddress(address ?? any, port).withPointer {
                        bind(descriptor, $0, $1)
                    }
                    guard bound == 0 else { throw TestFailure("cannot bind \(port): \(errno)") }
                    if transport == .tcp { listen(descriptor, 1024) }
                    return descriptor
                }
            }
        }
        for (index, descriptor) in descriptors.enumerated() {
            let isStream = index.isMultiple(of: 2)
            startThread { isStream ? Self.serve(descriptor, name) : Self.answer(descriptor, name) }
        }
    }

    deinit {
        for descriptor in descriptors {
            shutdown(descriptor, Int32(SHUT_RDWR))
            close(descriptor)
        }
    }

    private static func serve(_ listener: Int32, _ name: String) {
        while true {
            var peer = SocketAddress()
            let connection = peer.withMutablePointer { accept(listener, $0, $1) }
            if connection < 0 {
                if errno == EINTR || errno == ECONNABORTED { continue }
                return
            }
            var buffer = [UInt8](repeating: 0, count: 4096)
            var timeout = timeval()
            timeout.tv_sec = 5
            setsockopt(
                connection, SOL_SOCKET, SO_RCVTIMEO, &timeout,
                socklen_t(MemoryLayout<timeval>.size))
            _ = recv(connection, &buffer, buffer.count, 0)
            let body = "\(name) \(peer.address.map { "\($0)" } ?? "?")"
            var text = "HTTP/1.0 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
            text.withUTF8 { _ = send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            close(connection)
        }
    }

    private static func answer(_ descriptor: Int32, _ name: String) {
        var buffer = [UInt8](repeating: 0, count: 2048)
        while true {
            var peer = SocketAddress()
            let count = peer.withMutablePointer { recvfrom(descriptor, &buffer, 2048, 0, $0, $1) }
            if count <= 0 {
                if count < 0, errno == EINTR { continue }
                return
            }
            var text = "\(name) \(peer.address.map { "\($0)" } ?? "?")"
            text.withUTF8 { bytes in
                _ = peer.withPointer {
                    sendto(descriptor, bytes.baseAddress, bytes.count, 0, $0, $1)
                }
            }
        }
    }
}

private func startThread(_ body: @escaping @Sendable () -> Void) {
    final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    pthread_create(
        &thread, nil,
        { argument in
            if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
            return nil
        }, Unmanaged.passRetained(Box(body)).toOpaque())
    pthread_detach(thread)
}

/// What came of asking an address.
enum Reply: Hashable, CustomStringConvertible {
    /// Who answered, and which client address it saw.
    case answer(server: String, client: String)
    /// Refused at once.
    case refused
    /// Nothing came within the time allowed.
    case timeout
    case failed(Int32)

    var server: String? { if case .answer(let server, _) = self { server } else { nil } }
    var client: String? { if case .answer(_, let client) = self { client } else { nil } }

    var description: String {
        switch self {
        case .answer(let server, let client): "\(server) saw \(client)"
        case .refused: "refused"
        case .timeout: "timeout"
        case .failed(let code): "errno \(code)"
        }
    }
}

extension TestNamespace {
    /// Asks from inside this namespace, `count` times, each on a socket of its own.
    func ask(
        _ address: String, _ port: UInt16, _ transport: TransportProtocol = .tcp, count: Int = 1,
        timeoutMilliseconds: Int = 5000
    ) throws -> [Reply] {
        guard let parsed = IPAddress(address) else { throw TestFailure("\(address)?") }
        return try withThread {
            try (0..<count).map { _ in
                let descriptor = try openSocket(parsed.family, transport)
                defer { close(descriptor) }
                return askOnce(descriptor, parsed, port, timeoutMilliseconds)
            }
        }
    }
}

/// Connects a socket, sends a request and waits for the answer.
func askOnce(
    _ descriptor: Int32, _ address: IPAddress, _ port: UInt16, _ timeoutMilliseconds: Int
) -> Reply {
    connectOnce(descriptor, address, port, timeoutMilliseconds) ?? askConnected(descriptor)
}

/// Why a call on a socket failed.
private func failure() -> Reply {
    switch errno {
    case ECONNREFUSED: .refused
    case EAGAIN, EINPROGRESS, ETIMEDOUT: .timeout
    default: .failed(errno)
    }
}

/// Connects a socket, whose calls take so long at most from now on; nil where that went well.
func connectOnce(
    _ descriptor: Int32, _ address: IPAddress, _ port: UInt16, _ timeoutMilliseconds: Int
) -> Reply? {
    var timeout = timeval()
    timeout.tv_sec = timeoutMilliseconds / 1000
    timeout.tv_usec = (timeoutMilliseconds % 1000) * 1000
    let length = socklen_t(MemoryLayout<timeval>.size)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, length)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, length)
    return SocketAddress(address, port).withPointer { connect(descriptor, $0, $1) } == 0
        ? nil : failure()
}

/// Sends a request on a socket that is connected and waits for the answer.
func askConnected(_ descriptor: Int32) -> Reply {
    var request = "GET / HTTP/1.0\r\n\r\n"
    let sent = request.withUTF8 {
        send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
    }
    if sent < 0 { return failure() }
    var buffer = [UInt8](repeating: 0, count: 2048)
    let count = recv(descriptor, &buffer, buffer.count, 0)
    if count < 0 { return failure() }
    let text = String(decoding: buffer[..<count], as: UTF8.self)
    let body = text.split(separator: "\r\n").last ?? ""
    let parts = body.split(separator: " ")
    guard parts.count == 2 else { return .failed(0) }
    return .answer(server: String(parts[0]), client: String(parts[1]))
}

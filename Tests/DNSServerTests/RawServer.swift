import DNSServer
import Glibc
import NetworkTypes
import TestSupport

/// An upstream that answers only what a test tells it to.
final class RawServer: Sendable {
    struct Datagram: Sendable {
        var bytes: [UInt8]
        var client: UInt16
    }

    private let descriptor: Int32
    let address: SocketAddress

    init() throws {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        self.descriptor = descriptor
        var name = Self.loopback(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) | getsockname(descriptor, $0, &length)
            }
        }
        guard result == 0 else { throw TestFailure("cannot bind a socket") }
        address = SocketAddress(.v4(0x7F00_0001), port: UInt16(bigEndian: name.sin_port))
        var timeout = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    private static func loopback(_ port: UInt16) -> sockaddr_in {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        name.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return name
    }

    /// The next datagram; nil after 30 s.
    func receive() -> Datagram? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        var name = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let count = withUnsafeMutablePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                recvfrom(descriptor, &buffer, buffer.count, 0, $0, &length)
            }
        }
        guard count > 0 else { return nil }
        return Datagram(bytes: Array(buffer[..<count]), client: UInt16(bigEndian: name.sin_port))
    }

    /// Sends bytes to a client's port.
    func send(_ bytes: [UInt8], to port: UInt16) {
        var name = Self.loopback(port)
        _ = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(
                    descriptor, bytes, bytes.count, 0, $0,
                    socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}

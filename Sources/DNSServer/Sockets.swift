import CLinux
import Glibc
import NetworkTypes
import Synchronization

/// A system call that failed while the server was set up.
public struct SocketError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was being done, with the address.
    public let action: String
    /// errno.
    public let code: Int32

    init(_ action: String) {
        self.action = action
        code = errno
    }

    /// The action, the system's words, and what to do about the usual cause.
    public var description: String {
        let reason = String(cString: strerror(code))
        switch code {
        case EADDRINUSE:
            return "\(action): \(reason); stop the other server or choose another address"
        case EACCES: return "\(action): \(reason); ports below 1024 need root"
        default: return "\(action): \(reason)"
        }
    }
}

/// Makes the sockets that the server uses; every one is non-blocking and closed on exec.
enum Sockets {
    /// A bound UDP socket that shares its address with its sisters. The address need not be
    /// on a link yet.
    static func datagramListener(_ address: SocketAddress) throws(SocketError) -> Int32 {
        let descriptor = try make(address, SOCK_DGRAM)
        setOption(descriptor, SOL_SOCKET, SO_RCVBUF, 1 << 21)
        setOption(descriptor, SOL_SOCKET, SO_SNDBUF, 1 << 21)
        try bind(descriptor, address, "listen on UDP")
        return descriptor
    }

    /// A listening TCP socket that shares its address with its sisters.
    static func streamListener(_ address: SocketAddress) throws(SocketError) -> Int32 {
        let descriptor = try make(address, SOCK_STREAM)
        setOption(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
        try bind(descriptor, address, "listen on TCP")
        guard listen(descriptor, 128) == 0 else {
            let error = SocketError("listen on TCP \(address)")
            close(descriptor)
            throw error
        }
        return descriptor
    }

    /// A UDP or TCP socket that is connected, or connecting, to `address` from a random port.
    static func connected(
        _ address: SocketAddress, stream: Bool
    ) throws(SocketError) -> Int32 {
        let type = Int32((stream ? SOCK_STREAM : SOCK_DGRAM).rawValue)
        let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(domain(address), type | flags, 0)
        guard descriptor >= 0 else { throw SocketError("open a socket to \(address)") }
        let result = address.withSockaddr { connect(descriptor, $0, $1) }
        guard result == 0 || errno == EINPROGRESS else {
            let error = SocketError("connect to \(address)")
            close(descriptor)
            throw error
        }
        return descriptor
    }

    private static func make(
        _ address: SocketAddress, _ type: __socket_type
    ) throws(SocketError) -> Int32 {
        let flags = SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
        let descriptor = socket(domain(address), Int32(type.rawValue | flags), 0)
        guard descriptor >= 0 else { throw SocketError("open a socket for \(address)") }
        // A port that the kernel chooses must be nobody's, also no sharer's of this user.
        setOption(descriptor, SOL_SOCKET, PORTOLAN_SO_REUSEPORT, address.port == 0 ? 0 : 1)
        if address.address.family == .ipv4 {
            setOption(descriptor, Int32(IPPROTO_IP), PORTOLAN_IP_FREEBIND, 1)
        } else {
            setOption(descriptor, Int32(IPPROTO_IPV6), PORTOLAN_IPV6_V6ONLY, 1)
            setOption(descriptor, Int32(IPPROTO_IPV6), PORTOLAN_IPV6_FREEBIND, 1)
        }
        return descriptor
    }

    private static func bind(
        _ descriptor: Int32, _ address: SocketAddress, _ action: String
    ) throws(SocketError) {
        let result = address.withSockaddr { Glibc.bind(descriptor, $0, $1) }
        guard result == 0 else {
            let error = SocketError("\(action) \(address)")
            close(descriptor)
            throw error
        }
        setOption(descriptor, SOL_SOCKET, PORTOLAN_SO_REUSEPORT, 1)
    }

    private static func domain(_ address: SocketAddress) -> Int32 {
        address.address.family == .ipv4 ? AF_INET : AF_INET6
    }

    static func setOption(_ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: Int32) {
        var value = value
        // A refused option leaves the kernel's default, with which the server still works.
        _ = setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    /// The port that a bound socket has; 0 where it has none.
    static func localPort(_ descriptor: Int32) -> UInt16 {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(descriptor, $0, &length)
            }
        }
        guard result == 0 else { return 0 }
        return SocketAddress(&storage)?.port ?? 0
    }
}

/// The time that a server's caches, deadlines and limits go by: the kernel's, which a test may put
/// forward so that it need not wait.
final class ServerClock: Sendable {
    private let offset = Atomic<UInt64>(0)

    @inline(__always)
    func nanoseconds() -> UInt64 {
        SystemClock.monotonicNanoseconds() &+ offset.load(ordering: .relaxed)
    }

    /// Lets time pass.
    func advance(seconds: UInt64) {
        offset.wrappingAdd(seconds &* 1_000_000_000, ordering: .relaxed)
    }
}

/// Clocks of the kernel.
enum SystemClock {
    /// Nanoseconds since boot, suspended time not counted.
    @inline(__always)
    static func monotonicNanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Seconds since 1970, modulo 2³².
    static func unixSeconds() -> UInt32 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt32(truncatingIfNeeded: time.tv_sec)
    }
}

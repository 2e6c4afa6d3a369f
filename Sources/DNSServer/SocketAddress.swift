import CLinux
import Glibc
public import NetworkTypes

/// An address with a port, as `10.96.0.10:53` or `[fd00::10]:53`.
public struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
    /// The IP address.
    public var address: IPAddress
    /// The port.
    public var port: UInt16

    /// Makes an endpoint; DNS' port unless another is given.
    public init(_ address: IPAddress, port: UInt16 = 53) {
        self.address = address
        self.port = port
    }

    /// Parses `A.B.C.D`, `A.B.C.D:PORT`, `V6` or `[V6]:PORT`; nil for anything else.
    public init?(_ text: String, defaultPort: UInt16 = 53) {
        if let address = IPAddress(text) {
            self.init(address, port: defaultPort)
            return
        }
        guard let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...])
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard let address = IPAddress(host) else { return nil }
        self.init(address, port: port)
    }

    /// `address:port`, IPv6 in brackets.
    public var description: String {
        address.family == .ipv4 ? "\(address):\(port)" : "[\(address)]:\(port)"
    }

    /// Reads what the kernel wrote; nil for other families.
    init?(_ storage: UnsafePointer<sockaddr_storage>) {
        let raw = UnsafeRawPointer(storage)
        switch Int32(storage.pointee.ss_family) {
        case AF_INET:
            let value = raw.load(as: sockaddr_in.self)
            self.init(
                .v4(UInt32(bigEndian: value.sin_addr.s_addr)),
                port: UInt16(bigEndian: value.sin_port)
            )
        case AF_INET6:
            let value = raw.load(as: sockaddr_in6.self)
            let number = withUnsafeBytes(of: value.sin6_addr) { bytes in
                bytes.reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
            }
            self.init(.v6(number), port: UInt16(bigEndian: value.sin6_port))
        default:
            return nil
        }
    }

    /// Calls `body` with the kernel's form and its length.
    func withSockaddr<Result>(
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        var storage = sockaddr_storage()
        let length = store(in: &storage)
        return withUnsafePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }

    /// Fills `storage` and returns the length used.
    func store(in storage: UnsafeMutablePointer<sockaddr_storage>) -> socklen_t {
        let raw = UnsafeMutableRawPointer(storage)
        switch address {
        case .v4(let value):
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            name.sin_addr.s_addr = value.bigEndian
            raw.storeBytes(of: name, as: sockaddr_in.self)
            return socklen_t(MemoryLayout<sockaddr_in>.size)
        case .v6(let value):
            var name = sockaddr_in6()
            name.sin6_family = sa_family_t(AF_INET6)
            name.sin6_port = port.bigEndian
            withUnsafeMutableBytes(of: &name.sin6_addr) {
                $0.storeBytes(of: value.bigEndian, as: UInt128.self)
            }
            raw.storeBytes(of: name, as: sockaddr_in6.self)
            return socklen_t(MemoryLayout<sockaddr_in6>.size)
        }
    }
}

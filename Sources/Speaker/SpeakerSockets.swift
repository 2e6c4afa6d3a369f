import CLinux
import Glibc
import Netlink
import NetworkTypes

/// A speaker's sockets: ARP frames of one interface, and heartbeats on the node's LAN address.
/// Both are non-blocking. Closed when this object goes.
final class SpeakerSockets: Sendable {
    /// The port of heartbeats, that of MetalLB's memberlist.
    static let heartbeatPort: UInt16 = 7946

    /// The packet socket for ARP.
    let arp: Int32
    /// The packet socket for neighbour discovery.
    let neighbors: Int32
    /// The UDP socket.
    let heartbeats: Int32
    private let linkIndex: Int32

    /// Opens the sockets in the calling thread's network namespace.
    init(linkIndex: Int32, lanAddress: IPAddress) throws {
        self.linkIndex = linkIndex
        arp = try Self.openPacketSocket(
            linkIndex, protocolNumber: 0x0806, filter: Self.arpFilter)
        do {
            neighbors = try Self.openPacketSocket(
                linkIndex, protocolNumber: 0x86DD, filter: Self.neighborFilter)
        } catch {
            close(arp)
            throw error
        }
        do {
            heartbeats = try Self.openHeartbeatSocket(lanAddress)
        } catch {
            close(arp)
            close(neighbors)
            throw error
        }
    }

    deinit {
        close(arp)
        close(neighbors)
        close(heartbeats)
    }

    // MARK: - Sending

    /// Sends a frame out of the interface.
    /// - Returns: false where the kernel took it not, such as on a link that is down.
    func send(frame: [UInt8]) -> Bool {
        frame.withUnsafeBytes { Glibc.send(arp, $0.baseAddress, $0.count, 0) } == frame.count
    }

    /// Sends a heartbeat.
    /// - Returns: false where there is no way to that address now.
    func send(datagram: [UInt8], to address: IPAddress) -> Bool {
        Self.withSocketAddress(address, port: Self.heartbeatPort) { pointer, length in
            datagram.withUnsafeBytes {
                sendto(heartbeats, $0.baseAddress, $0.count, 0, pointer, length)
            }
        } == datagram.count
    }

    // MARK: - Opening

    private static func openPacketSocket(
        _ linkIndex: Int32, protocolNumber: UInt16, filter: [sock_filter]
    ) throws -> Int32 {
        let type = Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        // Protocol 0 hears nothing until bind names one, so that the filter is there first.
        let descriptor = socket(AF_PACKET, type | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw NetlinkError(errno, "open a packet socket") }
        do {
            try attach(filter, to: descriptor)
            try setOption(descriptor, SOL_PACKET, PACKET_IGNORE_OUTGOING, Int32(1))
            var address = sockaddr_ll()
            address.sll_family = UInt16(AF_PACKET)
            address.sll_protocol = protocolNumber.bigEndian
            address.sll_ifindex = linkIndex
            let result = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_ll>.size))
                }
            }
            guard result == 0 else { throw NetlinkError(errno, "bind a packet socket") }
            if protocolNumber == 0x86DD {
                // Solicitations go to a group for each address, which nobody else here joins.
                let membership = packet_mreq(
                    mr_ifindex: linkIndex, mr_type: UInt16(PACKET_MR_ALLMULTI), mr_alen: 0,
                    mr_address: (0, 0, 0, 0, 0, 0, 0, 0))
                try setOption(descriptor, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
            }
        } catch {
            close(descriptor)
            throw error
        }
        return descriptor
    }

    private static func openHeartbeatSocket(_ address: IPAddress) throws -> Int32 {
        let family = address.family == .ipv4 ? AF_INET : AF_INET6
        let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(family, type | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw NetlinkError(errno, "open a UDP socket") }
        let result = withSocketAddress(address, port: heartbeatPort) {
            bind(descriptor, $0, $1)
        }
        guard result == 0 else {
            let error = NetlinkError(
                errno, "listen for heartbeats on \(address) port \(heartbeatPort)")
            close(descriptor)
            throw error
        }
        return descriptor
    }

    private static let SOL_PACKET: Int32 = 263
    private static let PACKET_ADD_MEMBERSHIP: Int32 = 1
    private static let PACKET_MR_ALLMULTI: Int32 = 2
    private static let PACKET_IGNORE_OUTGOING: Int32 = 23

    private static func setOption<Value: BitwiseCopyable>(
        _ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Value
    ) throws {
        var value = value
        let result = setsockopt(
            descriptor, level, option, &value, socklen_t(MemoryLayout<Value>.size))
        guard result == 0 else {
            throw NetlinkError(errno, "set option \(option) of a packet socket")
        }
    }

    private static func attach(_ filter: [sock_filter], to descriptor: Int32) throws {
        var filter = filter
        let result = filter.withUnsafeMutableBufferPointer { buffer in
            var program = sock_fprog(len: UInt16(buffer.count), filter: buffer.baseAddress)
            return setsockopt(
                descriptor, SOL_SOCKET, PORTOLAN_SO_ATTACH_FILTER, &program,
                socklen_t(MemoryLayout<sock_fprog>.size))
        }
        guard result == 0 else {
            throw NetlinkError(errno, "attach a filter to a packet socket")
        }
    }

    private static func withSocketAddress<Result>(
        _ address: IPAddress, port: UInt16,
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        switch address {
        case .v4(let value):
            var target = sockaddr_in()
            target.sin_family = UInt16(AF_INET)
            target.sin_port = port.bigEndian
            target.sin_addr.s_addr = value.bigEndian
            return withUnsafePointer(to: &target) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        case .v6:
            var target = sockaddr_in6()
            target.sin6_family = UInt16(AF_INET6)
            target.sin6_port = port.bigEndian
            withUnsafeMutableBytes(of: &target.sin6_addr) {
                $0.copyBytes(from: address.networkBytes)
            }
            return withUnsafePointer(to: &target) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    body($0, socklen_t(MemoryLayout<sockaddr_in6>.size))
                }
            }
        }
    }
}

// MARK: - Filters

extension SpeakerSockets {
    /// Classic BPF (linux/filter.h, linux/bpf_common.h): load from a fixed offset, jump if equal,
    /// return the number of bytes to keep.
    private static let loadHalf: UInt16 = 0x28
    private static let loadByte: UInt16 = 0x30
    private static let jumpIfEqual: UInt16 = 0x15
    private static let returnConstant: UInt16 = 0x06

    /// ARP over Ethernet for IPv4, whole or nothing.
    private static let arpFilter: [sock_filter] = [
        sock_filter(code: loadHalf, jt: 0, jf: 0, k: 12),  // EtherType
        sock_filter(code: jumpIfEqual, jt: 0, jf: 3, k: 0x0806),
        sock_filter(code: loadHalf, jt: 0, jf: 0, k: 16),  // protocol type
        sock_filter(code: jumpIfEqual, jt: 0, jf: 1, k: 0x0800),
        sock_filter(code: returnConstant, jt: 0, jf: 0, k: 64),
        sock_filter(code: returnConstant, jt: 0, jf: 0, k: 0),
    ]

    /// Neighbour solicitations and advertisements, without IPv6 extension headers, which RFC 6980
    /// forbids them where they matter.
    private static let neighborFilter: [sock_filter] = [
        sock_filter(code: loadByte, jt: 0, jf: 0, k: 20),  // next header
        sock_filter(code: jumpIfEqual, jt: 0, jf: 4, k: 58),
        sock_filter(code: loadByte, jt: 0, jf: 0, k: 54),  // ICMPv6 type
        sock_filter(code: jumpIfEqual, jt: 1, jf: 0, k: 135),
        sock_filter(code: jumpIfEqual, jt: 0, jf: 1, k: 136),
        sock_filter(code: returnConstant, jt: 0, jf: 0, k: 256),
        sock_filter(code: returnConstant, jt: 0, jf: 0, k: 0),
    ]
}

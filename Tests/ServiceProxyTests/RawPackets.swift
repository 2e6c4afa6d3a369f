import Glibc
import NetworkTypes
import TestSupport

/// SCTP packets made by hand: this kernel tracks and translates SCTP, but has no sockets for it.
struct SCTPPacket: Equatable {
    /// Chunk types (RFC 9260, section 3.2).
    enum Chunk: UInt8 {
        case initiation = 1
        case initiationAcknowledgement = 2
    }

    var sourcePort: UInt16
    var destinationPort: UInt16
    var chunk: Chunk
    /// The tag in the header: 0 in an INIT, else the one the receiver chose.
    var verificationTag: UInt32 = 0
    /// The tag the sender asks for.
    var initiateTag: UInt32 = 7

    /// The packet with its checksum (RFC 9260, sections 3.1, 3.3.2 and appendix A).
    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        func put(_ value: UInt32, _ count: Int) {
            for index in (0..<count).reversed() {
                bytes.append(UInt8(truncatingIfNeeded: value >> UInt32(8 * index)))
            }
        }
        put(UInt32(sourcePort), 2)
        put(UInt32(destinationPort), 2)
        put(verificationTag, 4)
        put(0, 4)
        bytes += [chunk.rawValue, 0, 0, 20]
        put(initiateTag, 4)
        put(65_536, 4)
        put(1, 2)
        put(1, 2)
        put(1, 4)
        let checksum = Self.crc32c(bytes)
        for index in 0..<4 {
            bytes[8 + index] = UInt8(truncatingIfNeeded: checksum >> UInt32(8 * index))
        }
        return bytes
    }

    /// Reads the ports, the tags and the chunk; nil where the checksum is wrong.
    init?(_ bytes: ArraySlice<UInt8>) {
        let bytes = Array(bytes)
        guard bytes.count >= 20, let chunk = Chunk(rawValue: bytes[12]) else { return nil }
        func number(_ offset: Int, _ count: Int) -> UInt32 {
            bytes[offset..<(offset + count)].reduce(0) { $0 << 8 | UInt32($1) }
        }
        self.init(
            sourcePort: UInt16(number(0, 2)), destinationPort: UInt16(number(2, 2)), chunk: chunk,
            verificationTag: number(4, 4), initiateTag: number(16, 4))
        guard self.bytes == bytes else { return nil }
    }

    init(
        sourcePort: UInt16, destinationPort: UInt16, chunk: Chunk, verificationTag: UInt32 = 0,
        initiateTag: UInt32 = 7
    ) {
        self.sourcePort = sourcePort
        self.destinationPort = destinationPort
        self.chunk = chunk
        self.verificationTag = verificationTag
        self.initiateTag = initiateTag
    }

    private static func crc32c(_ bytes: [UInt8]) -> UInt32 {
        var crc = UInt32.max
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 0 ? crc >> 1 : crc >> 1 ^ 0x82F6_3B78 }
        }
        return ~crc
    }
}

/// A raw socket of one protocol in a namespace.
final class RawSocket {
    private let descriptor: Int32
    private let family: IPAddress.Family

    init(in namespace: TestNamespace, _ family: IPAddress.Family, protocolNumber: UInt8) throws {
        self.family = family
        descriptor = try namespace.withThread {
            socket(
                family == .ipv4 ? AF_INET : AF_INET6,
                Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), Int32(protocolNumber))
        }
        guard descriptor >= 0 else { throw TestFailure("no raw socket: errno \(errno)") }
        var timeout = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    /// Sends a transport header with what follows it; the kernel puts the IP header before it.
    func send(_ bytes: [UInt8], to address: IPAddress) throws {
        let sent = SocketAddress(address, 0).withPointer {
            sendto(descriptor, bytes, bytes.count, 0, $0, $1)
        }
        guard sent == bytes.count else { throw TestFailure("cannot send: errno \(errno)") }
    }

    /// The next packet and its sender. IPv4 sockets see the IP header as well; it is cut off.
    func receive() throws -> (ArraySlice<UInt8>, IPAddress) {
        var buffer = [UInt8](repeating: 0, count: 2048)
        var peer = SocketAddress()
        let count = peer.withMutablePointer {
            recvfrom(descriptor, &buffer, buffer.count, 0, $0, $1)
        }
        guard count > 0, let sender = peer.address else {
            throw TestFailure("no packet came: errno \(errno)")
        }
        let header = family == .ipv4 ? Int(buffer[0] & 0x0F) * 4 : 0
        return (buffer[header..<count], sender)
    }
}

import NetworkTypes

/// A TCP packet from its Ethernet header on, with right checksums (RFC 9293, 3.1; RFC 1071).
struct TCPFrame: Hashable {
    var source: IPAddress
    var sourcePort: UInt16
    var destination: IPAddress
    var destinationPort: UInt16
    var flags: UInt8 = TCPFrame.syn
    var payload: [UInt8] = []

    static let fin: UInt8 = 0x01
    static let syn: UInt8 = 0x02
    static let reset: UInt8 = 0x04
    static let acknowledgement: UInt8 = 0x10

    /// The packet that answers this one.
    func answer(_ flags: UInt8) -> TCPFrame {
        TCPFrame(
            source: destination, sourcePort: destinationPort, destination: source,
            destinationPort: sourcePort, flags: flags, payload: [1, 2, 3])
    }

    var bytes: [UInt8] {
        let segmentSize = 20 + payload.count
        var segment = Self.big(sourcePort) + Self.big(destinationPort)
        segment += [0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0] + payload
        let addresses = source.networkBytes + destination.networkBytes
        let sum = Self.checksum(addresses + [0, 6] + Self.big(UInt16(segmentSize)) + segment)
        segment.replaceSubrange(16..<18, with: Self.big(sum))
        let ethernet = [UInt8](repeating: 2, count: 12)
        guard source.family == .ipv4 else {
            return ethernet + [0x86, 0xDD, 0x60, 0, 0, 0] + Self.big(UInt16(segmentSize))
                + [6, 64] + addresses + segment
        }
        var header: [UInt8] = [0x45, 0] + Self.big(UInt16(20 + segmentSize))
        header += [0, 0, 0x40, 0, 64, 6, 0, 0] + addresses
        header.replaceSubrange(10..<12, with: Self.big(Self.checksum(header)))
        return ethernet + [0x08, 0x00] + header + segment
    }

    init(
        source: IPAddress, sourcePort: UInt16, destination: IPAddress, destinationPort: UInt16,
        flags: UInt8 = TCPFrame.syn, payload: [UInt8] = []
    ) {
        self.source = source
        self.sourcePort = sourcePort
        self.destination = destination
        self.destinationPort = destinationPort
        self.flags = flags
        self.payload = payload
    }

    /// Reads a packet; nil where a checksum or anything else is not as `bytes` has it.
    init?(_ bytes: [UInt8]) {
        let isIPv4 = bytes.count > 14 && bytes[12] == 0x08
        let (first, size) = isIPv4 ? (26, 4) : (22, 16)
        let ports = first + 2 * size
        guard bytes.count >= ports + 20,
            let source = IPAddress(networkBytes: bytes[first..<(first + size)]),
            let destination = IPAddress(networkBytes: bytes[(first + size)..<ports])
        else { return nil }
        func port(_ offset: Int) -> UInt16 {
            UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
        }
        self.init(
            source: source, sourcePort: port(ports), destination: destination,
            destinationPort: port(ports + 2), flags: bytes[ports + 13],
            payload: Array(bytes[(ports + 20)...]))
        guard self.bytes == bytes else { return nil }
    }

    private static func big(_ number: UInt16) -> [UInt8] {
        [UInt8(number >> 8), UInt8(number & 0xFF)]
    }

    private static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum: UInt32 = 0
        for (index, byte) in bytes.enumerated() {
            sum += UInt32(byte) << (index.isMultiple(of: 2) ? 8 : 0)
        }
        while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
        return ~UInt16(sum)
    }
}

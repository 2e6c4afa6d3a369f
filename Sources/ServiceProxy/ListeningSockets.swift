import NFTables
import NetworkTypes

/// The addresses and ports of TCP and UDP that a network namespace's sockets are bound to, where
/// something answers.
public struct ListeningSockets: Sendable {
    private struct Entry: Hashable {
        var transport: TransportProtocol
        var address: IPAddress
        var port: UInt16
    }

    private var entries: Set<Entry> = []

    /// Some 25,000 sockets; those beyond are not seen.
    private static let byteLimit = 4 << 20

    /// None.
    public init() {}

    /// Reads those of the calling thread's namespace (proc(5), `/proc/net/tcp`).
    /// - Throws: where the files cannot be read.
    public static func ofThisNamespace() throws -> ListeningSockets {
        var sockets = ListeningSockets()
        for (file, transport) in [
            ("tcp", TransportProtocol.tcp), ("tcp6", .tcp), ("udp", .udp), ("udp6", .udp),
        ] {
            let path = "/proc/thread-self/net/\(file)"
            do {
                sockets.read(try ProcFile.read(path, limit: byteLimit), transport)
            } catch {
                // A kernel without IPv6 lacks these two.
                if !file.hasSuffix("6") { throw error }
            }
        }
        return sockets
    }

    /// True where a socket is bound to the packet's very destination.
    func contains(_ packet: Packet) -> Bool {
        TransportProtocol.allCases.contains {
            $0.number == packet.protocolNumber
                && entries.contains(
                    Entry(
                        transport: $0, address: packet.destination, port: packet.destinationPort))
        }
    }

    /// Takes in one file's lines: number, local address, remote address, state, and more.
    mutating func read(_ text: String, _ transport: TransportProtocol) {
        // TCP_LISTEN; a UDP socket that takes packets from anywhere is TCP_CLOSE.
        let state = transport == .tcp ? "0A" : "07"
        for line in text.split(separator: "\n").dropFirst() {
            let fields = line.split(separator: " ")
            guard fields.count > 3, fields[3] == state else { continue }
            let parts = fields[1].split(separator: ":")
            guard parts.count == 2, let port = UInt16(parts[1], radix: 16),
                let address = Self.address(parts[0])
            else { continue }
            entries.insert(Entry(transport: transport, address: address, port: port))
        }
    }

    /// Words of 32 bits in hexadecimal, each in the machine's order: one, or four.
    private static func address(_ text: Substring) -> IPAddress? {
        let digits = Array(text.utf8)
        guard digits.count == 8 || digits.count == 32 else { return nil }
        var bytes: [UInt8] = []
        for start in stride(from: 0, to: digits.count, by: 8) {
            let word = UInt32(
                String(decoding: digits[start..<(start + 8)], as: UTF8.self), radix: 16)
            guard let word else { return nil }
            withUnsafeBytes(of: word) { bytes.append(contentsOf: $0) }
        }
        return IPAddress(networkBytes: bytes)
    }
}

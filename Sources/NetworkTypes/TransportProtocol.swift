/// The protocols a Service port can have; the raw value is the Kubernetes spelling.
public enum TransportProtocol: String, Hashable, Sendable, CaseIterable, Comparable {
    case tcp = "TCP"
    case udp = "UDP"
    case sctp = "SCTP"

    /// The protocol number of the IP header (IANA "Assigned Internet Protocol Numbers").
    public var number: UInt8 {
        switch self {
        case .tcp: 6
        case .udp: 17
        case .sctp: 132
        }
    }

    /// Sorts by protocol number.
    public static func < (left: Self, right: Self) -> Bool { left.number < right.number }
}

/// A protocol with a port: what one Service port or one nodePort occupies.
public struct ProtocolPort: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The transport protocol.
    public let transport: TransportProtocol
    /// The port number, 1–65535.
    public let port: UInt16

    /// Makes a pair.
    public init(_ transport: TransportProtocol, _ port: UInt16) {
        self.transport = transport
        self.port = port
    }

    /// `80/TCP`, as kubectl prints it.
    public var description: String { "\(port)/\(transport.rawValue)" }

    /// Sorts by port, then protocol.
    public static func < (left: Self, right: Self) -> Bool {
        (left.port, left.transport) < (right.port, right.transport)
    }
}

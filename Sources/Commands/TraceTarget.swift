import KubernetesAPI
import NetworkTypes

/// What `trace` is asked about: `[NAMESPACE/]SERVICE[:PORT[/PROTOCOL]]`, or an address with a port.
enum TraceTarget: Hashable, Sendable {
    /// A Service; without a port, every port of it.
    case service(ObjectKey, PortReference?)
    /// An address, whoever has it.
    case address(IPAddress, ProtocolPort)

    /// A port of a Service as people write it.
    struct PortReference: Hashable, Sendable, CustomStringConvertible {
        /// A number, or the port's name.
        var text: String
        /// nil for any protocol.
        var transport: TransportProtocol?

        var description: String { text + (transport.map { "/\($0.rawValue)" } ?? "") }

        /// True where the Service's port is the one meant.
        func matches(_ port: ServicePort) -> Bool {
            (port.name == text || UInt16(text) == port.port)
                && (transport == nil || transport == port.transport)
        }
    }

    /// Reads what was given on the command line.
    /// - Throws: `CommandFailure` that names the fault and the form expected.
    init(_ text: String, namespace: String) throws {
        let (host, port) = try Self.split(text)
        if let address = IPAddress(host) {
            guard let port, let number = UInt16(port.text), number > 0 else {
                throw CommandFailure(
                    "\"\(text)\" needs a port, such as \(Self.bracketed(address)):80")
            }
            self = .address(address, ProtocolPort(port.transport ?? .tcp, number))
            return
        }
        self = .service(try ObjectKey(argument: host, namespace: namespace), port)
    }

    private static func split(_ text: String) throws -> (String, PortReference?) {
        if IPAddress(text) != nil { return (text, nil) }
        guard let colon = text.lastIndex(of: ":") else { return (text, nil) }
        let host = text[..<colon].filter { $0 != "[" && $0 != "]" }
        let parts = text[text.index(after: colon)...].split(
            separator: "/", omittingEmptySubsequences: false)
        var transport: TransportProtocol?
        if parts.count == 2 {
            transport = TransportProtocol(rawValue: parts[1].uppercased())
            guard transport != nil else {
                throw CommandFailure("\"\(text)\": the protocol must be TCP, UDP or SCTP")
            }
        }
        guard parts.count <= 2, let port = parts.first, !port.isEmpty else {
            throw CommandFailure("\"\(text)\": a port must follow the colon, such as :80 or :http")
        }
        return (host, PortReference(text: String(port), transport: transport))
    }

    private static func bracketed(_ address: IPAddress) -> String {
        address.family == .ipv4 ? "\(address)" : "[\(address)]"
    }
}

extension ObjectKey {
    /// Reads `NAME` or `NAMESPACE/NAME`.
    /// - Throws: `CommandFailure` where it is neither.
    init(argument: String, namespace: String) throws {
        let parts = argument.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), parts.allSatisfy({ !$0.isEmpty }) else {
            throw CommandFailure("\"\(argument)\" must be NAME or NAMESPACE/NAME")
        }
        self.init(
            namespace: parts.count == 2 ? String(parts[0]) : namespace,
            name: String(parts[parts.count - 1]))
    }
}

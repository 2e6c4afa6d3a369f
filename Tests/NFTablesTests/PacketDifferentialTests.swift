import Glibc
import NFTables
import Netlink
import NetworkTypes
import TestSupport
import Testing

/// The same packets through the real kernel and the model: what rules note of each in sets must
/// agree.
struct PacketDifferentialTests {
    static let table = Table(.ip, "d")

    /// A set that notes, for each destination, one 32-bit value.
    static func notes(_ name: String) -> NamedSet {
        NamedSet(
            name, in: table, key: [.ipv4Address, .inetService, .mark], flags: .dynamic,
            maximumElementCount: 4096)
    }

    static func rules() throws -> [(name: String, selector: Selector)] {
        let names = NamedSet(
            "ports", in: table, key: [.inetService], content: .value([.mark]), flags: .interval)
        return [
            ("hash", .hash([.ipDestination, .destinationPort], modulus: 1000, seed: 7, offset: 3)),
            (
                "longhash",
                .hash(
                    [.ipSource, .ipDestination, .destinationPort, .transportProtocol],
                    modulus: 1 << 20, seed: 0, offset: 0)
            ),
            ("turn", .numberGenerator(.incremental, modulus: 5, offset: 2)),
            ("type", .destinationType),
            ("state", .ctState),
            (
                "bits",
                .bitwise(.ipDestination, mask: Value(.number(0xFF00_FF00)), xor: Value(.number(1)))
            ),
            ("range", .map([.destinationPort], name: names.name, fields: [.mark])),
        ]
    }

    static func ruleset() throws -> Transaction {
        var transaction = Transaction()
        transaction.add(table)
        let ports = NamedSet(
            "ports", in: table, key: [.inetService], content: .value([.mark]), flags: .interval)
        transaction.add(ports)
        transaction.add(
            [
                Element(Value(.port(100)), .value(Value(.number(1))), lastKey: Value(.port(109))),
                Element(Value(.port(115)), .value(Value(.number(2)))),
            ], to: ports)
        transaction.add(Chain("sub", in: table))
        transaction.add(
            Chain("out", in: table, hook: ChainHook(.filter, .output, priority: 0)))
        let destination = [Selector.ipDestination, .destinationPort]
        for (name, selector) in try rules() {
            transaction.add(notes(name))
            transaction.add(
                Rule(
                    "out", in: table,
                    [
                        .match(.udp),
                        .change(
                            .add, set: name, key: destination + [selector], data: [],
                            timeoutMilliseconds: 0),
                    ]))
        }
        let constant = { (number: UInt32) in Selector.constant(Value(.number(number))) }
        transaction.add(notes("flow"))
        func note(_ chain: String, _ number: UInt32, _ rest: [Statement]) {
            transaction.add(
                Rule(
                    chain, in: table,
                    [
                        .match(.udp),
                        .change(
                            .add, set: "flow", key: destination + [constant(number)], data: [],
                            timeoutMilliseconds: 0),
                    ] + rest))
        }
        let odd = Statement.compare(
            .destinationPort.masked(Value(.port(1))), .equal, Value(.port(1)))
        note("out", 1, [odd, .verdict(.jump("sub"))])
        note("out", 2, [])
        note(
            "sub", 3,
            [
                .range(
                    .destinationPort, first: Value(.port(111)), last: Value(.port(113)),
                    isInverted: false), .verdict(.return),
            ])
        note("sub", 4, [.compare(.destinationPort, .less, Value(.port(105))), .verdict(.accept)])
        note("sub", 5, [])
        return transaction
    }

    @Test func notesAgree() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("diff")
            let real = try NFTablesKernel(in: namespace.descriptor)
            let model = InMemoryKernel()
            try real.apply(Self.ruleset())
            try model.apply(Self.ruleset())
            for port in UInt16(100)..<120 {
                let host = UInt32(0x7F00_0001) + UInt32(port % 3)
                try namespace.withThread { try Self.send(to: host, port) }
                var packet = Packet(
                    .udp, from: .v4(0x7F00_0001), 1, to: .v4(host), port, outputName: "lo")
                packet.byteCount = 29
                #expect(model.emit(packet).fate == .accepted)
            }
            for name in try Self.rules().map(\.name) + ["flow"] {
                let actual = Set(try real.elements(of: Self.notes(name)).map(\.key.description))
                let modelled = Set(try model.elements(of: Self.notes(name)).map(\.key.description))
                #expect(actual == modelled, "\(name)")
                #expect(!actual.isEmpty, "\(name)")
            }
        }
    }

    /// One datagram from 127.0.0.1.
    private static func send(to host: UInt32, _ port: UInt16) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(descriptor) }
        var source = sockaddr_in()
        source.sin_family = sa_family_t(AF_INET)
        source.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafePointer(to: &source) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length)
            }
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = host.bigEndian
        let count = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, "x", 1, 0, $0, length)
            }
        }
        guard count == 1 else { throw TestFailure("sendto failed with \(errno)") }
    }
}

import NFTables
import Netlink
import NetworkTypes
import Synchronization
import TestSupport
import Testing

/// The model, by itself and side by side with the real kernel.
struct InMemoryKernelTests {
    static let table = Table(.ip, "m")
    static let services = NamedSet(
        "services", in: table, key: [.ipv4Address, .inetProtocol, .inetService],
        content: .verdict)
    static let endpoints = NamedSet(
        "endpoints", in: table, key: [.ipv4Address, .inetProtocol, .inetService, .mark],
        content: .value([.ipv4Address, .inetService]))
    static let affinity = NamedSet(
        "affinity", in: table, key: [.ipv4Address], content: .value([.ipv4Address, .inetService]),
        flags: [.dynamic, .timeout], timeoutMilliseconds: 1000)
    static let sources = NamedSet(
        "sources", in: table, key: [.ipv4Address, .inetService, .ipv4Address], flags: .interval)

    static func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    /// A small service proxy: one Service with two endpoints and affinity, one that rejects.
    static func proxy() throws -> Transaction {
        var transaction = Transaction()
        transaction.add(table)
        for set in [services, endpoints, affinity, sources] { transaction.add(set) }
        for chain in ["n2", "none", "sticky"] { transaction.add(Chain(chain, in: table)) }
        transaction.add(
            Chain("pre", in: table, hook: ChainHook(.nat, .prerouting, priority: -100)))
        transaction.add(
            Chain("forward", in: table, hook: ChainHook(.filter, .forward, priority: 0)))
        transaction.add(
            Chain("post", in: table, hook: ChainHook(.nat, .postrouting, priority: 100)))
        let key = [Selector.ipDestination, .transportProtocol, .destinationPort]
        let fields: [FieldType] = [.ipv4Address, .inetService]
        let rules: [(String, [Statement], String)] = [
            ("pre", [.destinationIsLocal, .setMark(bits: 0x4000)], "from here"),
            ("pre", [.verdictMap(key, name: "services")], "services"),
            (
                "sticky",
                [.destinationNAT(.ip, to: .map([.ipSource], name: "affinity", fields: fields))],
                "sticky"
            ),
            ("sticky", [.verdict(.goto("n2"))], "not yet"),
            (
                "n2",
                [
                    .destinationNAT(
                        .ip,
                        to: .map(
                            key + [.random(modulus: 2)], name: "endpoints", fields: fields))
                ], "balance"
            ),
            ("forward", [.match(anyOf: CTState.established), .verdict(.accept)], "established"),
            (
                "forward",
                [
                    .match(anyOf: CTStatus.dnat),
                    .update(
                        set: "affinity", key: [.ctOriginalSource(.ipv4)],
                        data: [.ipDestination, .destinationPort]), .verdict(.accept),
                ], "learn"
            ),
            (
                "forward",
                [.lookup([.ipDestination, .destinationPort, .ipSource], in: "sources")],
                "allowed"
            ),
            (
                "forward",
                [
                    .match(.ipDestination, in: try #require(Prefix("10.96.0.0/16"))),
                    .match(.tcp), .reject(.tcpReset),
                ], "no such service"
            ),
            ("post", [.match(mark: 0x4000), .masquerade(.fullyRandom)], "masquerade"),
        ]
        for (chain, statements, comment) in rules {
            transaction.add(Rule(chain, in: table, statements, comment: comment))
        }
        let vip = try address("10.96.0.1")
        let web = Value(.address(vip), .transport(.tcp), .port(80))
        transaction.add([Element(web, .verdict(.goto("sticky")))], to: services)
        let elements = try (0..<2).map { index in
            Element(
                Value(.address(vip), .transport(.tcp), .port(80), .number(UInt32(index))),
                .value(Value(.address(try address("10.244.0.\(index + 5)")), .port(8080))))
        }
        transaction.add(elements, to: endpoints)
        return transaction
    }

    @Test func translatesAndSticks() throws {
        let draws = Draws()
        let kernel = InMemoryKernel(
            PacketEnvironment(localAddresses: []) { draws.next() % $0 })
        try kernel.apply(Self.proxy())
        let client = try Self.address("10.244.1.9")
        let vip = try Self.address("10.96.0.1")
        let packet = Packet(.tcp, from: client, 40000, to: vip, 80)
        let first = kernel.receive(packet)
        #expect(first.fate == .accepted)
        let expected = try Self.address("10.244.0.5")
        #expect(first.packet.destination == expected && first.packet.destinationPort == 8080)
        #expect(first.packet.source == client)
        #expect(first.steps.map(\.comment) == ["services", "not yet", "balance", "learn"])
        // The next draw would choose the other endpoint, but the client is remembered.
        let again = kernel.receive(Packet(.tcp, from: client, 40001, to: vip, 80))
        #expect(again.packet.destination == expected)
        #expect(again.steps.map(\.comment) == ["services", "sticky", "learn"])
        kernel.advance(milliseconds: 1500)
        let later = kernel.receive(Packet(.tcp, from: client, 40002, to: vip, 80))
        #expect(later.packet.destination == (try Self.address("10.244.0.6")))
        // Later packets of a flow skip the nat chains and keep their endpoint.
        var connection = first.connection
        connection.establish()
        let established = kernel.receive(packet, connection: connection)
        #expect(established.packet.destination == expected)
        #expect(established.steps.map(\.comment) == ["established"])
        let unknown = kernel.receive(
            Packet(.tcp, from: client, 40003, to: try Self.address("10.96.0.2"), 80))
        #expect(unknown.fate == .rejected(.tcpReset))
    }

    /// Numbers in turn.
    private final class Draws: Sendable {
        private let counter = Mutex<UInt32>(0)
        func next() -> UInt32 {
            counter.withLock { value in
                defer { value += 1 }
                return value
            }
        }
    }

    @Test func rangesOfSeveralFields() throws {
        let kernel = InMemoryKernel()
        try kernel.apply(Self.proxy())
        var transaction = Transaction()
        let vip = Value.Field.address(try Self.address("192.0.2.1"))
        let low = Value.Field.address(try Self.address("10.0.0.0"))
        let high = Value.Field.address(try Self.address("10.0.255.255"))
        transaction.add(
            [Element(Value(vip, .port(80), low), lastKey: Value(vip, .port(80), high))],
            to: Self.sources)
        try kernel.apply(transaction)
        let cases: [(source: String, port: UInt16, isAllowed: Bool)] = [
            ("10.0.7.7", 80, true), ("10.1.0.0", 80, false), ("10.0.0.0", 81, false),
        ]
        for (source, port, isAllowed) in cases {
            let packet = Packet(
                .tcp, from: try Self.address(source), 1, to: try Self.address("192.0.2.1"), port)
            let outcome = kernel.receive(packet)
            #expect(outcome.steps.contains { $0.comment == "allowed" } == isAllowed, "\(source)")
        }
    }

    @Test func copiesAKernel() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("copy")
            let kernel = try NFTablesKernel(in: namespace.descriptor)
            try kernel.apply(Self.proxy())
            let copy = try InMemoryKernel(copying: [Self.table], of: kernel)
            let outcome = copy.receive(
                Packet(
                    .tcp, from: try Self.address("10.0.0.1"), 1,
                    to: try Self.address("10.96.0.1"), 80))
            #expect(outcome.packet.destination == (try Self.address("10.244.0.5")))
            #expect(outcome.steps.compactMap(\.comment).contains("balance"))
        }
    }

    /// Random transactions: both kernels must take or refuse them alike, and hold the same after.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func refusesWhatTheKernelRefuses(seed: UInt64) throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("random")
            let real = try NFTablesKernel(in: namespace.descriptor)
            let model = InMemoryKernel()
            try real.apply(Self.proxy())
            try model.apply(Self.proxy())
            var random = SplitMix(state: seed)
            for step in 0..<150 {
                let transaction = try Self.randomTransaction(&random)
                func outcome(_ kernel: some NFTablesBackend) throws -> TransactionError.Failure? {
                    do {
                        try kernel.apply(transaction)
                        return nil
                    } catch let error as TransactionError {
                        return error.failures.first
                    }
                }
                let (actual, modelled) = (try outcome(real), try outcome(model))
                #expect(
                    actual?.errorNumber == modelled?.errorNumber
                        && actual?.operationIndex == modelled?.operationIndex,
                    """
                    step \(step): \(transaction.operations.map(\.description)),
                    kernel \(String(describing: actual)), model \(String(describing: modelled))
                    """)
            }
            for set in [Self.services, Self.endpoints, Self.sources] {
                let actual = Set(try real.elements(of: set).map(\.declared))
                let modelled = Set(try model.elements(of: set).map(\.declared))
                #expect(actual == modelled, "\(set.name)")
            }
            let names = { (kernel: any NFTablesBackend) in
                Set(try kernel.chains(in: Self.table).map(\.name))
            }
            #expect(try names(real) == names(model))
        }
    }

    static func randomTransaction(_ random: inout SplitMix) throws -> Transaction {
        var transaction = Transaction()
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let address = Value.Field.address(.v4(.random(in: 1...4, using: &random)))
            let other = Value.Field.address(.v4(.random(in: 1...2, using: &random)))
            let chain = ["n2", "none", "extra"].randomElement(using: &random) ?? "n2"
            let key = Value(address, .transport(.tcp), .port(80))
            switch Int.random(in: 0...9, using: &random) {
            case 0...1: transaction.add([Element(key, .verdict(.goto(chain)))], to: services)
            case 2: transaction.delete([Element(key)], from: services)
            case 3...4:
                transaction.add(
                    [
                        Element(
                            Value(address, .transport(.tcp), .port(80), .number(0)),
                            .value(Value(other, .port(1))))
                    ], to: endpoints)
            case 5:
                transaction.delete(
                    [Element(Value(address, .transport(.tcp), .port(80), .number(0)))],
                    from: endpoints)
            case 6: transaction.add(Chain(chain, in: table))
            case 7: transaction.delete(chain: chain, in: table)
            case 8: transaction.delete(set: "services", in: table)
            default: transaction.flush(set: "endpoints", in: table)
            }
        }
        return transaction
    }
}

/// A generator that yields the same numbers for a seed.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

import JSON
import NFTables
import Netlink
import NetworkTypes
import TestSupport
import Testing

/// The encoder against the real kernel, with `nft` as the oracle of what it holds.
struct KernelTests {
    static let table = Table(.ip, "portolan")
    static let serviceKey: [FieldType] = [.ipv4Address, .inetProtocol, .inetService]

    static let services = NamedSet("services", in: table, key: serviceKey, content: .verdict)
    static let endpoints = NamedSet(
        "endpoints", in: table, key: serviceKey + [.mark],
        content: .value([.ipv4Address, .inetService]))
    static let affinity = NamedSet(
        "affinity", in: table, key: [.ipv4Address, .mark],
        content: .value([.ipv4Address, .inetService]), flags: [.dynamic, .timeout],
        timeoutMilliseconds: 10_800_000, maximumElementCount: 1000)
    static let ranges = NamedSet(
        "ranges", in: table, key: [.ipv4Address, .inetService, .ipv4Address], flags: .interval)
    static let networks = NamedSet("networks", in: table, key: [.ipv4Address], flags: .interval)
    static let counters = NamedSet("counters", in: table, key: serviceKey, content: .counter)

    static func key(_ address: String, _ port: UInt16) throws -> Value {
        Value(.address(try #require(IPAddress(address))), .transport(.tcp), .port(port))
    }

    @Test func listsAsMeant() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("nft")
            let kernel = try NFTablesKernel(in: namespace.descriptor)
            try kernel.apply(Self.ruleset())
            let listing = try namespace.check("nft", "list", "ruleset").output
            let expected = [
                "table ip portolan {",
                "counter web {",
                "type ipv4_addr . inet_proto . inet_service : verdict",
                "10.96.0.1 . tcp . 443 : goto n2",
                "type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service",
                "10.96.0.1 . tcp . 443 . 0x00000000 : 10.1.1.1 . 6443",
                "10.96.0.1 . tcp . 443 . 0x00000001 : 10.1.1.2 . 6443",
                "type ipv4_addr . mark : ipv4_addr . inet_service",
                "size 1000",
                "flags dynamic,timeout",
                "timeout 3h",
                "10.96.0.9 . 80 . 10.0.0.0/8",
                "elements = { 10.0.0.0/8, 192.0.2.1,",
                "192.0.2.7-192.0.2.9 }",
                "10.96.0.1 . tcp . 443 : \"web\"",
                "type nat hook prerouting priority dstnat; policy accept;",
                "ct status dnat accept comment \"translated already\"",
                "ip daddr . meta l4proto . th dport vmap @services",
                "fib daddr type local meta mark set meta mark | 0x00004000",
                "socket wildcard 0 return",
                "ip daddr 10.96.0.0/16 tcp dport 81 reject with tcp reset",
                "ip daddr 10.96.0.0/16 reject",
                "ip daddr 127.0.0.0/8 drop",
                "dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints",
                "update @affinity { ip saddr . ct mark timeout 10s : ip daddr . th dport }",
                "masquerade fully-random",
                "limit rate 10/second log prefix \"seen \" group 3",
                "counter name \"web\"",
                "counter packets 0 bytes 0 return",
                "ct state established,related accept",
                "jump n2",
                "meta mark & 0x00004000 == 0x00004000 snat to 192.0.2.5",
                "tcp dport 6443 dnat to 10.1.1.1:8080",
                "counter name ip daddr . meta l4proto . th dport map @counters",
                "jhash ip saddr mod 7 seed 0x2a",
            ]
            for line in expected {
                #expect(Self.normal(listing).contains(Self.normal(line)), "\(line)\n\(listing)")
            }
        }
    }

    /// nft wraps long lists of elements.
    static func normal(_ text: String) -> String {
        text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    @Test func socketsCanBeAskedForAndNothingStaysOfTheQuestion() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("try")
            let kernel = try NFTablesKernel(in: namespace.descriptor)
            #expect(kernel.findsSockets("portolan-try"))
            #expect(try kernel.tables().isEmpty)
        }
    }

    @Test func readsBackWhatItWrote() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("read")
            let kernel = try NFTablesKernel(in: namespace.descriptor)
            let transaction = try Self.ruleset()
            try kernel.apply(transaction)
            #expect(try kernel.tables() == [Self.table])
            var rules: [Rule] = []
            var chains: [Chain] = []
            for operation in transaction.operations {
                switch operation {
                case .appendRule(let rule): rules.append(rule)
                case .addChain(let chain): chains.append(chain)
                case .addSet(let set):
                    let read = try kernel.sets(in: Self.table)
                    #expect(read.contains(set), "\(set)\n\(read)")
                case .addElements(let elements, let set, _):
                    let read = try kernel.elements(of: set).map(\.declared)
                    #expect(Set(read) == Set(elements), "\(set.name)")
                default: break
                }
            }
            let readChains = try kernel.chains(in: Self.table).map { chain in
                var chain = chain
                chain.handle = nil
                return chain
            }
            #expect(Set(readChains) == Set(chains))
            for chain in chains {
                let read = try kernel.rules(in: Self.table, chain: chain.name)
                #expect(read.map(\.isComplete) == read.map { _ in true })
                #expect(read.map(\.rule) == rules.filter { $0.chain == chain.name })
            }
            #expect(try kernel.counters(in: Self.table).map(\.name) == ["web"])
        }
    }

    @Test func refusesAsAWhole() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("refuse")
            let kernel = try NFTablesKernel(in: namespace.descriptor)
            try kernel.apply(Self.ruleset())
            var transaction = Transaction()
            let fresh = Element(try Self.key("10.96.0.2", 80), .verdict(.drop))
            transaction.add([fresh], to: Self.services)
            let missing = Element(try Self.key("10.96.0.3", 80), .verdict(.drop))
            let present = Element(try Self.key("10.96.0.1", 443))
            transaction.delete([present, missing], from: Self.services)
            transaction.delete(chain: "nowhere", in: Self.table)
            let error = try #require(throws: TransactionError.self) {
                try kernel.apply(transaction)
            }
            #expect(error.failures.map(\.operationIndex) == [1, 2])
            #expect(error.failures.map(\.errorNumber) == [2, 2])
            #expect(error.failures.first?.element == missing)
            #expect(error.description.contains("delete 2 elements from ip portolan services"))
            let services = try kernel.elements(of: Self.services)
            #expect(services.count == 1)
        }
    }

    @Test func changesRulesByHandle() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("handle")
            let kernel = try NFTablesKernel(in: namespace.descriptor)
            var transaction = Transaction()
            transaction.add(Self.table)
            transaction.add(Chain("c", in: Self.table))
            for name in ["one", "two", "three"] {
                transaction.add(Rule("c", in: Self.table, [.counter], comment: name))
            }
            try kernel.apply(transaction)
            let rules = try kernel.rules(in: Self.table, chain: "c")
            #expect(rules.map(\.rule.comment) == ["one", "two", "three"])
            var change = Transaction()
            change.deleteRule(handle: rules[0].handle, chain: "c", in: Self.table)
            change.replace(
                handle: rules[1].handle,
                with: Rule("c", in: Self.table, [.verdict(.return)], comment: "second"))
            change.insert(
                Rule("c", in: Self.table, [.verdict(.drop)], comment: "before three"),
                before: rules[2].handle)
            try kernel.apply(change)
            let comments = try kernel.rules(in: Self.table, chain: "c").map(\.rule.comment)
            #expect(comments == ["second", "before three", "three"])
            var end = Transaction()
            end.destroy(Self.table)
            end.destroy(Self.table)
            try kernel.apply(end)
            #expect(try kernel.tables().isEmpty)
        }
    }

    @Test func loadsAHundredThousandElements() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("many")
            let kernel = try NFTablesKernel(in: namespace.descriptor)
            var transaction = Transaction()
            transaction.add(Self.table)
            transaction.add(Self.endpoints)
            let elements = (0..<UInt32(100_000)).map { number in
                Element(
                    Value(
                        .address(.v4(0x0A60_0000 + number / 10)), .transport(.tcp), .port(80),
                        .number(number % 10)),
                    .value(Value(.address(.v4(0x0AF4_0000 + number)), .port(8080))))
            }
            transaction.add(elements, to: Self.endpoints)
            try kernel.apply(transaction)
            let count = try kernel.elements(of: Self.endpoints).count
            #expect(count == elements.count)
            // Replacing the value of one key takes a deletion and an addition.
            var change = Transaction()
            change.delete([Element(elements[77].key)], from: Self.endpoints)
            let replacement = Element(
                elements[77].key, .value(Value(.address(.v4(1)), .port(1))))
            change.add([replacement], to: Self.endpoints)
            try kernel.apply(change)
            let changed = try kernel.elements(of: Self.endpoints)
            #expect(changed.contains(replacement))
        }
    }

    @Test func bothFamiliesOfReject() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("reject")
            let kernel = try NFTablesKernel(in: namespace.descriptor)
            for family in [Family.ip, .ip6, .inet] {
                let table = Table(family, "r")
                var transaction = Transaction()
                transaction.add(table)
                transaction.add(
                    Chain("in", in: table, hook: ChainHook(.filter, .input, priority: 0)))
                let rules = [Reject.icmp(.portUnreachable), .icmp(.adminProhibited)].map {
                    Rule("in", in: table, [.reject($0)])
                }
                for rule in rules { transaction.add(rule) }
                try kernel.apply(transaction)
                #expect(try kernel.rules(in: table, chain: nil).map(\.rule) == rules)
            }
            let listing = Self.normal(try namespace.check("nft", "list", "ruleset").output)
            #expect(listing.contains("reject with icmp admin-prohibited"))
            #expect(listing.contains("reject with icmpv6 admin-prohibited"))
            #expect(listing.contains("reject with icmpx admin-prohibited"))
        }
    }

    /// Every kind of object, set, element and statement once.
    static func ruleset() throws -> Transaction {
        var transaction = Transaction()
        transaction.add(table)
        transaction.add(NamedCounter("web", in: table))
        for set in [services, endpoints, affinity, ranges, networks, counters] {
            transaction.add(set)
        }
        let service = [Selector.ipDestination, .transportProtocol, .destinationPort]
        transaction.add(Chain("n2", in: table))
        transaction.add(
            Chain("pre", in: table, hook: ChainHook(.nat, .prerouting, priority: -100)))
        transaction.add(
            Chain("post", in: table, hook: ChainHook(.nat, .postrouting, priority: 100)))
        transaction.add(
            Chain(
                "in", in: table,
                hook: ChainHook(.filter, .input, priority: 0, policy: .drop)))
        let web = try key("10.96.0.1", 443)
        transaction.add([Element(web, .verdict(.goto("n2")))], to: services)
        var first = web
        first.append(.number(0))
        var second = web
        second.append(.number(1))
        let address = try #require(IPAddress("10.1.1.1"))
        let next = try #require(IPAddress("10.1.1.2"))
        transaction.add(
            [
                Element(first, .value(Value(.address(address), .port(6443)))),
                Element(second, .value(Value(.address(next), .port(6443)))),
            ], to: endpoints)
        try addRanges(to: &transaction)
        transaction.add([Element(web, .object("web"))], to: counters)
        try addRules(service, to: &transaction)
        return transaction
    }

    private static func addRanges(to transaction: inout Transaction) throws {
        func value(_ text: String) throws -> Value.Field { .address(try #require(IPAddress(text))) }
        let vip = try value("10.96.0.9")
        transaction.add(
            [
                Element(
                    Value(vip, .port(80), try value("10.0.0.0")),
                    lastKey: Value(vip, .port(80), try value("10.255.255.255")))
            ], to: ranges)
        transaction.add(
            [
                Element(Value(try value("10.0.0.0")), lastKey: Value(try value("10.255.255.255"))),
                Element(Value(try value("192.0.2.1"))),
                Element(Value(try value("192.0.2.7")), lastKey: Value(try value("192.0.2.9"))),
            ], to: networks)
    }

    private static func addRules(
        _ service: [Selector], to transaction: inout Transaction
    ) throws {
        let range = try #require(Prefix("10.96.0.0/16"))
        let loopback = try #require(Prefix("127.0.0.0/8"))
        let source = try #require(IPAddress("192.0.2.5"))
        let endpoint = try #require(IPAddress("10.1.1.1"))
        let lists: [(String, [Statement], String?)] = [
            ("pre", [.match(anyOf: CTStatus.dnat), .verdict(.accept)], "translated already"),
            ("pre", [.verdictMap(service, name: "services")], nil),
            ("pre", [.destinationIsLocal, .setMark(bits: 0x4000)], nil),
            ("pre", [.destinationHasSocket, .verdict(.return)], nil),
            (
                "in",
                [
                    .match(.tcp), .match(.ipDestination, in: range),
                    .match(.destinationPort, .port(81)), .reject(.tcpReset),
                ], nil
            ),
            (
                "in",
                [.match(.ipDestination, in: range), .reject(.icmp(.portUnreachable))], nil
            ),
            ("in", [.match(.ipDestination, in: loopback), .verdict(.drop)], nil),
            (
                "n2",
                [
                    .destinationNAT(
                        .ip,
                        to: .map(
                            service + [.random(modulus: 2)], name: "endpoints",
                            fields: [.ipv4Address, .inetService]))
                ], nil
            ),
            (
                "in",
                [
                    .update(
                        set: "affinity", key: [.ipSource, .ctMark],
                        data: [.ipDestination, .destinationPort], timeoutMilliseconds: 10_000)
                ], nil
            ),
            ("post", [.match(mark: 0x4000), .sourceNAT(to: source)], nil),
            ("post", [.masquerade(.fullyRandom)], nil),
            ("in", [.limit(Limit(rate: 10)), .log(prefix: "seen ", group: 3)], nil),
            ("in", [.namedCounter("web")], nil),
            ("in", [.counter, .verdict(.return)], nil),
            ("in", [.match(anyOf: [.established, .related] as CTState), .verdict(.accept)], nil),
            ("in", [.lookup([.ipSource], notIn: "networks"), .verdict(.jump("n3"))], nil),
            (
                "n2",
                [
                    .match(.tcp), .match(.destinationPort, .port(6443)),
                    .destinationNAT(to: endpoint, port: 8080),
                ], nil
            ),
            ("in", [.counterMap(service, name: "counters")], nil),
            (
                "in",
                [
                    .setMeta(.mark, .hash([.ipSource], modulus: 7, seed: 42, offset: 0)),
                    .match(.inputName, not: .interfaceName("eth0")),
                ], nil
            ),
        ]
        transaction.add(Chain("n3", in: table))
        for (chain, statements, comment) in lists {
            transaction.add(Rule(chain, in: table, statements, comment: comment))
        }
        transaction.add(Rule("pre", in: table, [.verdict(.jump("n2"))]))
    }
}

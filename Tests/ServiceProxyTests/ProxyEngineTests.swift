import JSON
import KubernetesAPI
import NFTables
import NetworkTypes
import TestSupport
import Testing

@testable import ServiceProxy

/// The engine against the in-memory kernel: what it touches, takes over and repairs.
@Suite(.offPool) struct ProxyEngineTests {
    private let node = NodeContext(nodeName: "node-1", zone: nil)

    private func makeEngine(
        _ kernel: any NFTablesBackend, _ options: RulesetOptions = makeOptions()
    ) -> ProxyEngine {
        ProxyEngine(
            options: options, families: [.ipv4, .ipv6], node: node, backend: kernel, flows: nil)
    }

    private func service(_ name: String, _ address: String, port: Int = 80) throws -> Service {
        var spec: JSONValue = ["clusterIP": .string(address)]
        spec["ports"] = .array([["port": .integer(Int64(port)), "targetPort": 8080]])
        return try makeService(name, spec)
    }

    private func slice(_ name: String, _ lasts: [Int]) throws -> EndpointSlice {
        try makeSlice(of: name, port: 8080, lasts.map { TestEndpoint("10.244.1.\($0)", "node-2") })
    }

    @Test func aServiceMoreIsElementsOnly() throws {
        let kernel = RecordingBackend()
        let engine = makeEngine(kernel)
        for (name, address) in [("a", "10.96.0.1"), ("b", "10.96.0.2")] {
            let service = try service(name, address)
            let slice = try slice(name, [1, 2, 3])
            engine.note(service.key, service: service)
            engine.note(slice.key, slice: slice)
            try engine.flush()
        }
        let last = try #require(kernel.transactions.last)
        #expect(last.changeCount == 4)
        for operation in last.operations {
            guard case .addElements = operation else {
                Issue.record("\(operation) is more than elements")
                continue
            }
        }
        // One endpoint replaced by another: one element.
        let changed = try slice("b", [1, 9, 3])
        engine.note(changed.key, slice: changed)
        try engine.flush()
        #expect(kernel.transactions.last?.changeCount == 2)
        // The same again: nothing.
        let count = kernel.transactions.count
        engine.note(changed.key, slice: changed)
        try engine.flush()
        #expect(kernel.transactions.count == count)
    }

    @Test func aNewEngineTakesTablesOverWithoutTouchingThem() throws {
        let kernel = RecordingBackend()
        var world = RandomWorld(seed: 42)
        let first = makeEngine(kernel, world.options)
        for _ in 0..<40 { world.mutate(first) }
        try first.flush()
        let second = makeEngine(kernel, world.options)
        for (key, service) in world.services { second.note(key, service: service) }
        for (key, slice) in world.slices { second.note(key, slice: slice) }
        kernel.clear()
        try second.flush()
        for operation in kernel.transactions.flatMap(\.operations) {
            switch operation {
            case .deleteTable, .flushSet, .deleteSet: Issue.record("\(operation) makes a gap")
            default: break
            }
        }
        #expect(try second.audit() == 0)
    }

    @Test func otherOptionsRewriteRulesAndKeepElements() throws {
        let kernel = RecordingBackend()
        let engine = makeEngine(kernel)
        let service = try service("a", "10.96.0.1")
        engine.note(service.key, service: service)
        let slice = try slice("a", [1, 2])
        engine.note(slice.key, slice: slice)
        try engine.flush()
        kernel.clear()
        var options = makeOptions()
        options.masqueradesAll = true
        options.dropsInvalidPackets = true
        engine.note(options: options)
        try engine.flush()
        let touched = kernel.transactions.flatMap(\.operations).filter {
            if case .deleteElements = $0 { return true }
            if case .deleteTable = $0 { return true }
            return false
        }
        #expect(touched.isEmpty)
        let packet = Packet(
            .tcp, from: .v4(0x0AF4_0002), 4000, to: .v4(0x0A60_0001), 80)
        #expect(kernel.kernel.receive(packet).connection.isMasqueraded)
        #expect(try engine.audit() == 0)
        engine.note(options: makeOptions())
        try engine.flush()
        #expect(!kernel.kernel.receive(packet).connection.isMasqueraded)
        #expect(try engine.audit() == 0)
    }

    @Test func theAuditRepairsWhatSomebodyChanged() throws {
        let kernel = RecordingBackend()
        let engine = makeEngine(kernel)
        let service = try service("a", "10.96.0.1")
        engine.note(service.key, service: service)
        let slice = try slice("a", [1, 2])
        engine.note(slice.key, slice: slice)
        try engine.flush()
        let ruleset = engine.planner.ruleset(.ipv4)
        let foreign = Table(.ip, "kube-proxy")
        let damages: [(inout Transaction) -> Void] = [
            { $0.flush(set: ruleset.services.name, in: ruleset.table) },
            { $0.flush(set: ruleset.treatments.name, in: ruleset.table) },
            { $0.flush(chain: "prerouting", in: ruleset.table) },
            { $0.flush(chain: "postrouting", in: ruleset.table) },
            { $0.delete(ruleset.table) },
            { $0.add([Element(Value(.address(.v4(1)), .address(.v4(1))))], to: ruleset.hairpins) },
        ]
        for damage in damages {
            var transaction = Transaction()
            transaction.add(foreign)
            damage(&transaction)
            try kernel.apply(transaction)
            #expect(try engine.audit() > 0)
            #expect(try engine.audit() == 0)
            let packet = Packet(.tcp, from: .v4(0x0AF4_0002), 4000, to: .v4(0x0A60_0001), 80)
            #expect(kernel.kernel.receive(packet).packet.destinationPort == 8080)
            #expect(try kernel.tables().contains(foreign))
        }
    }

    @Test func theOlderServiceHasAnAddressThatTwoClaim() throws {
        let kernel = RecordingBackend()
        let engine = makeEngine(kernel)
        func claimant(_ name: String, _ address: String, created: String) throws -> Service {
            var spec: JSONValue = ["clusterIP": .string(address), "externalIPs": ["10.1.0.1"]]
            spec["ports"] = [["port": 80, "targetPort": 8080]]
            return try makeService(name, spec, created: created)
        }
        func winner() -> IPAddress {
            kernel.kernel.receive(
                Packet(.tcp, from: .v4(1), 4000, to: .v4(0x0A01_0001), 80)
            ).packet.destination
        }
        for (name, address, created, last) in [
            ("b", "10.96.0.2", "2026-01-02T00:00:00Z", 2),
            ("a", "10.96.0.1", "2026-01-01T00:00:00Z", 1),
            ("c", "10.96.0.3", "2026-01-03T00:00:00Z", 3),
        ] {
            let service = try claimant(name, address, created: created)
            engine.note(service.key, service: service)
            let slice = try slice(name, [last])
            engine.note(slice.key, slice: slice)
            try engine.flush()
        }
        #expect(winner() == IPAddress("10.244.1.1"))
        for (gone, next) in [("a", 2), ("b", 3)] {
            engine.note(ObjectKey(namespace: "default", name: gone), service: nil)
            try engine.flush()
            #expect(winner() == IPAddress("10.244.1.\(next)"))
        }
        #expect(try engine.audit() == 0)
    }

    @Test func chainsThatNobodyUsesGoWithTheAudit() throws {
        let kernel = RecordingBackend()
        let engine = makeEngine(kernel)
        let service = try service("a", "10.96.0.1")
        engine.note(service.key, service: service)
        for count in [1, 2, 3, 4] {
            let slice = try slice("a", Array(1...count))
            engine.note(slice.key, slice: slice)
            try engine.flush()
        }
        let table = engine.planner.ruleset(.ipv4).table
        #expect(try kernel.chains(in: table).contains { $0.name == "to-cluster-0-1" })
        try engine.audit()
        let names = try kernel.chains(in: table).map(\.name).filter { $0.hasPrefix("to-") }
        #expect(names == ["to-cluster-0-4"])
    }

    @Test func aRefusedTransactionIsMadeGood() throws {
        let kernel = RecordingBackend()
        let engine = makeEngine(kernel)
        try engine.flush()
        let service = try service("a", "10.96.0.1")
        engine.note(service.key, service: service)
        kernel.refusals = 1
        #expect(throws: TransactionError.self) { try engine.flush() }
        engine.invalidate()
        try engine.flush()
        #expect(try engine.audit() == 0)
        let packet = Packet(.tcp, from: .v4(0x0AF4_0002), 4000, to: .v4(0x0A60_0001), 80)
        #expect(kernel.kernel.receive(packet).fate == .rejected(.tcpReset))
    }
}

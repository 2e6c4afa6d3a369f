import DNS
import NetworkTypes
import Synchronization
import Testing

@Suite struct ZoneChangeTests {
    @Test func onlyChangedNamesAreReplaced() throws {
        let harness = try ZoneHarness()
        var endpoints = try (0..<20).map {
            try Sample.endpoint("10.244.0.\($0)", hostname: "h\($0)")
        }
        let input = Sample.headless("db", endpoints)
        #expect(harness.zone.apply(input.key, input) == 20 * 2 + 3)
        #expect(harness.zone.apply(input.key, input) == 0, "nothing changed")
        endpoints.removeLast()
        // The Service's name and its SRV change; the endpoint's name and its PTR go.
        let fewer = Sample.headless("db", endpoints)
        #expect(harness.zone.apply(input.key, fewer) == 4)
        harness.zone.apply(input.key, nil)
        #expect(harness.zone.serviceCount == 0)
    }

    @Test func aRandomHistoryEndsWhereAFreshZoneBegins() throws {
        var random = SeededGenerator(state: 42)
        let harness = try ZoneHarness()
        let before = harness.zone.nameCount
        var inputs: [ServiceKey: ServiceRecordInput] = [:]
        for _ in 0..<3000 {
            let key = ServiceKey(
                namespace: "ns\(Int.random(in: 0..<4, using: &random))",
                name: "s\(Int.random(in: 0..<40, using: &random))")
            if Int.random(in: 0..<4, using: &random) == 0 {
                inputs[key] = nil
            } else {
                inputs[key] = try Self.randomInput(key, &random)
            }
            harness.zone.apply(key, inputs[key])
        }
        let fresh = try ZoneHarness()
        for (key, input) in inputs { fresh.zone.apply(key, input) }
        #expect(harness.zone.nameCount == fresh.zone.nameCount)
        for (key, input) in inputs {
            let names = ["\(key.name).\(key.namespace).svc.cluster.local"]
            for name in names {
                #expect(try harness.answers(name) == fresh.answers(name))
            }
            for endpoint in input.endpoints {
                for address in endpoint.addresses {
                    let reverse = DNSName(reverse: address).description
                    #expect(try harness.answers(reverse, .ptr) == fresh.answers(reverse, .ptr))
                }
            }
        }
        for key in inputs.keys { harness.zone.apply(key, nil) }
        #expect(harness.zone.nameCount == before, "nothing is left behind")
    }

    @Test func snapshotsRestoreEverything() throws {
        var random = SeededGenerator(state: 7)
        let harness = try ZoneHarness()
        harness.zone.applyNamespace("lonely", exists: true)
        var keys: [ServiceKey] = []
        for index in 0..<200 {
            let key = ServiceKey(namespace: "ns\(index % 5)", name: "s\(index)")
            keys.append(key)
            harness.zone.apply(key, try Self.randomInput(key, &random))
        }
        let bytes = harness.zone.snapshot()
        let copy = try ZoneHarness(restoring: bytes)
        #expect(copy.zone.nameCount == harness.zone.nameCount)
        for key in keys {
            let name = "\(key.name).\(key.namespace).svc.cluster.local"
            #expect(try copy.answers(name) == harness.answers(name))
        }
        #expect(try copy.ask("lonely.svc.cluster.local").outcome == .answered(.noError))
        #expect(try copy.ask("ns1.svc.cluster.local").outcome == .answered(.noError))
        #expect(try copy.ask("10-0-0-1.ns1.pod.cluster.local").outcome == .answered(.noError))
        #expect(
            try ZoneHarness(restoring: copy.zone.snapshot()).zone.nameCount
                == harness.zone.nameCount, "a restored zone can be written again")
        // What the snapshot brought can be changed and taken away like anything else.
        copy.zone.retain(services: [keys[0]], namespaces: [])
        #expect(copy.zone.serviceCount == 1)
        copy.zone.apply(keys[0], nil)
        #expect(copy.zone.nameCount == (try ZoneHarness()).zone.nameCount)
    }

    /// The same history over a restored zone and over the original ends the same.
    @Test func aRestoredZoneChangesAsTheOriginal() throws {
        var random = SeededGenerator(state: 11)
        let harness = try ZoneHarness()
        let keys = (0..<60).map { ServiceKey(namespace: "ns\($0 % 3)", name: "s\($0)") }
        for key in keys { harness.zone.apply(key, try Self.randomInput(key, &random)) }
        let copy = try ZoneHarness(restoring: harness.zone.snapshot())
        for round in 0..<300 {
            let key = keys[Int.random(in: 0..<keys.count, using: &random)]
            let input = round % 5 == 0 ? nil : try Self.randomInput(key, &random)
            harness.zone.apply(key, input)
            copy.zone.apply(key, input)
        }
        for key in keys {
            for prefix in ["", "_http._tcp.", "10-244-0-3."] {
                let name = "\(prefix)\(key.name).\(key.namespace).svc.cluster.local"
                let types: [RecordType] = [.a, .srv]
                for type in types {
                    #expect(try copy.answers(name, type) == harness.answers(name, type))
                }
            }
        }
        for number in 0..<50 {
            let reverse = "\(number).0.244.10.in-addr.arpa"
            #expect(try copy.answers(reverse, .ptr) == harness.answers(reverse, .ptr))
        }
        #expect(copy.zone.nameCount == harness.zone.nameCount)
        for key in keys { copy.zone.apply(key, nil) }
        #expect(copy.zone.nameCount == (try ZoneHarness()).zone.nameCount)
    }

    @Test func brokenSnapshotsAreRefused() throws {
        let harness = try ZoneHarness()
        for input in [Sample.clusterIP(), Sample.headless("db", [try Sample.endpoint("10.2.3.4")])]
        {
            harness.zone.apply(input.key, input)
        }
        let bytes = harness.zone.snapshot()
        #expect(throws: SnapshotError.unknownFormat) { try ZoneHarness(restoring: []) }
        for count in [40, 1000, bytes.count - 8, bytes.count - 1] {
            #expect(throws: SnapshotError.corrupt) {
                try ZoneHarness(restoring: Array(bytes.prefix(count)))
            }
        }
        for index in stride(from: 8, to: bytes.count, by: 7) {
            var bad = bytes
            bad[index] ^= 0x40
            #expect(throws: SnapshotError.corrupt) { try ZoneHarness(restoring: bad) }
        }
        #expect(throws: SnapshotError.otherZone) {
            try ZoneHarness(restoring: bytes, timeToLiveSeconds: 5)
        }
    }

    /// Readers on other threads see the old or the new answer, whole, while a writer replaces it.
    @Test func readersSeeWholeAnswersWhileNamesChange() async throws {
        let harness = try ZoneHarness()
        let key = ServiceKey(namespace: "default", name: "web")
        let even = Sample.clusterIP("web", ["10.96.1.2", "10.96.1.4"])
        let odd = Sample.clusterIP("web", ["10.96.1.1", "10.96.1.3", "10.96.1.5"])
        harness.zone.apply(key, even)
        let stop = Flag()
        try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<2 {
                group.addTask {
                    var count = 0
                    while !stop.isSet || count == 0 {
                        let answers = try harness.answers("web.default.svc.cluster.local")
                        let last = answers.map { $0.hasSuffix("2") || $0.hasSuffix("4") }
                        #expect(
                            answers.count == 2 && !last.contains(false)
                                || answers.count == 3 && !last.contains(true))
                        count += 1
                    }
                    return count
                }
            }
            for round in 0..<2000 { harness.zone.apply(key, round % 2 == 0 ? odd : even) }
            stop.set()
            for try await count in group { #expect(count > 0) }
        }
        harness.zone.apply(key, nil)
        #expect(harness.zone.table.epochs.retiredCount == 0, "without readers all is freed")
    }

    private static func randomInput(
        _ key: ServiceKey, _ random: inout SeededGenerator
    ) throws -> ServiceRecordInput {
        var input = ServiceRecordInput(namespace: key.namespace, name: key.name)
        input.ports = [Sample.port("http", 80), Sample.port("dns", 53, .udp)]
        switch Int.random(in: 0..<3, using: &random) {
        case 0:
            input.clusterIPs = [.v4(0x0A60_0000 | UInt32.random(in: 1...9999, using: &random))]
        case 1: input.externalName = "example\(Int.random(in: 0...9, using: &random)).com"
        default: input.isHeadless = true
        }
        for _ in 0..<Int.random(in: 0..<6, using: &random) {
            let number = UInt32.random(in: 0..<50, using: &random)
            input.endpoints.append(
                ServiceRecordInput.Endpoint(
                    addresses: [.v4(0x0AF4_0000 | number)],
                    hostname: number % 3 == 0 ? "h\(number)" : nil,
                    isReady: number % 7 != 0, ports: input.ports))
        }
        return input
    }
}

/// SplitMix64: the same numbers on every run.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}

/// A flag that tasks share.
final class Flag: Sendable {
    private let value = Atomic(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
}

import BPF
import NetworkTypes
import TestSupport
import Testing

@testable import ServiceProxy

/// The fast path's programs, packet by packet: the kernel runs them on packets made by hand.
@Suite(.offPool) struct FastPathProgramTests {
    /// Maps with one Service, `service`:80, of three endpoints, and the programs that use them.
    private struct Fixture {
        let maps: FastPathProgram.Maps
        let fromPod: BPFProgram
        let toPod: BPFProgram
        let service: IPAddress
        let client: IPAddress
        let endpoints: [IPAddress]

        /// The only link of a new namespace, its `lo`, stands for the client's.
        static let link: Int32 = 1

        init(_ family: IPAddress.Family, arePodsKnown: Bool = true) throws {
            let layout = FastPathLayout(family: family)
            let first: UInt128 = family == .ipv4 ? 0x0AF4_0000 : 0xFD00_0244 << 96
            let addresses = (0...3).map { IPAddress(family: family, numericValue: first + 2 + $0) }
            client = addresses[0]
            endpoints = Array(addresses[1...])
            service = IPAddress(
                family: family, numericValue: family == .ipv4 ? 0x0A60_0101 : 0xFD00_0096 << 96 + 1)
            maps = try FastPathProgram.Maps(
                layout: layout, services: BPFMap(layout.services(64)), flows: BPFMap(layout.flows),
                pods: BPFMap(layout.pods), sources: BPFMap(layout.sources),
                counts: BPFMap(layout.counts(64)), links: BPFMap(FastPathLayout.links))
            fromPod = try Self.program(.fromPod, maps)
            toPod = try Self.program(.toPod, maps)
            // A number below zero is the namespace itself.
            try maps.links.set([1, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFF])
            let length = family == .ipv4 ? 16 : 64
            let prefix = try #require(Prefix(client, length: length))
            try maps.sources.set(layout.source(prefix), [0, 0, 0, 0])
            if arePodsKnown {
                for (index, address) in addresses.enumerated() {
                    try maps.pods.set(address.networkBytes, [index == 0 ? 1 : 9, 0, 0, 0])
                }
            }
            try serve(endpoints)
        }

        private static func program(
            _ direction: FastPathProgram.Direction, _ maps: FastPathProgram.Maps
        ) throws -> BPFProgram {
            try BPFProgram("test", FastPathProgram.instructions(direction, [maps], seed: 7))
        }

        func serve(_ endpoints: [IPAddress]) throws {
            let layout = maps.layout
            for (slot, endpoint) in endpoints.enumerated() {
                try maps.services.set(
                    layout.serviceKey(service, 80, slot: UInt16(slot)),
                    layout.endpoint(Backend(address: endpoint, port: 8080)))
            }
            try maps.services.set(
                layout.headKey(service, 80), layout.head(count: endpoints.count))
        }

        func packet(_ port: UInt16, _ flags: UInt8 = TCPFrame.syn) -> TCPFrame {
            TCPFrame(
                source: client, sourcePort: port, destination: service, destinationPort: 80,
                flags: flags, payload: flags == TCPFrame.syn ? [] : [5, 6, 7, 8, 9])
        }

        /// What becomes of a packet, which must have right checksums still.
        func run(
            _ program: BPFProgram, _ frame: TCPFrame
        ) throws -> (verdict: Int32, frame: TCPFrame) {
            let result = try program.run(on: frame.bytes, link: Self.link)
            return (result.verdict, try #require(TCPFrame(result.packet), "\(result.packet)"))
        }
    }

    private func inNamespace(_ body: @escaping () throws -> Void) throws {
        try NetworkFixture.run { try $0.namespace("node").withThread(body) }
    }

    @Test(arguments: [IPAddress.Family.ipv4, .ipv6])
    func aConnectionStaysWithItsEndpoint(_ family: IPAddress.Family) throws {
        try inNamespace {
            let fixture = try Fixture(family)
            var chosen: [IPAddress: Int] = [:]
            for port in UInt16(40_000)..<40_300 {
                let (verdict, first) = try fixture.run(fixture.fromPod, fixture.packet(port))
                #expect(verdict == BPFProgram.Verdict.redirect.rawValue)
                chosen[first.destination, default: 0] += 1
                var wanted = fixture.packet(port)
                (wanted.destination, wanted.destinationPort) = (first.destination, 8080)
                #expect(first == wanted)
                // Sent again, and then more.
                #expect(try fixture.run(fixture.fromPod, fixture.packet(port)).frame == wanted)
                let data = fixture.packet(port, TCPFrame.acknowledgement)
                wanted = data
                (wanted.destination, wanted.destinationPort) = (first.destination, 8080)
                #expect(try fixture.run(fixture.fromPod, data).frame == wanted)
                // And back.
                let answer = first.answer(TCPFrame.syn | TCPFrame.acknowledgement)
                let back = try fixture.run(fixture.fromPod, answer)
                #expect(back.verdict == BPFProgram.Verdict.redirect.rawValue)
                #expect(back.frame == fixture.packet(port).answer(answer.flags))
            }
            #expect(Set(chosen.keys) == Set(fixture.endpoints))
            // A third each, within five standard deviations.
            #expect(chosen.values.allSatisfy { (60...140).contains($0) }, "\(chosen)")
        }
    }

    @Test(arguments: [IPAddress.Family.ipv4, .ipv6])
    func answersThroughTheStackAreRewrittenAtTheClientsLink(_ family: IPAddress.Family) throws {
        try inNamespace {
            let fixture = try Fixture(family, arePodsKnown: false)
            let (verdict, first) = try fixture.run(fixture.fromPod, fixture.packet(40_000))
            #expect(verdict == BPFProgram.Verdict.unspecified.rawValue)
            #expect(fixture.endpoints.contains(first.destination))
            let answer = first.answer(TCPFrame.acknowledgement)
            #expect(try fixture.run(fixture.fromPod, answer).frame == answer)
            #expect(
                try fixture.run(fixture.toPod, answer).frame
                    == fixture.packet(40_000).answer(TCPFrame.acknowledgement))
            // What goes to the pod otherwise is left alone.
            let other = fixture.packet(1).answer(TCPFrame.acknowledgement)
            #expect(try fixture.run(fixture.toPod, other).frame == other)
        }
    }

    @Test func aConnectionThatEndedMakesRoomForTheNext() throws {
        try inNamespace {
            let fixture = try Fixture(.ipv4)
            try fixture.serve([fixture.endpoints[0]])
            let first = try fixture.run(fixture.fromPod, fixture.packet(40_000)).frame
            let end = TCPFrame.fin | TCPFrame.acknowledgement
            _ = try fixture.run(fixture.fromPod, fixture.packet(40_000, end))
            _ = try fixture.run(fixture.fromPod, first.answer(end))
            let states = try fixture.maps.flows.entries().compactMap { key, value in
                FlowEntry(fixture.maps.layout, key: key[...], value: value[...])?.state
            }
            #expect(states.count == 2 && states.allSatisfy(\.isClosed), "\(states)")
            try fixture.serve([fixture.endpoints[1]])
            let second = try fixture.run(fixture.fromPod, fixture.packet(40_000)).frame
            #expect(second.destination == fixture.endpoints[1])
            #expect(try fixture.maps.flows.entries().count == 2)
        }
    }

    /// The Service has gone over to the rules: a new connection on an old one's port is theirs alone.
    @Test func anOldConnectionIsNotInTheWayOfTheRules() throws {
        try inNamespace {
            let fixture = try Fixture(.ipv4)
            let data = fixture.packet(40_000, TCPFrame.acknowledgement)
            _ = try fixture.run(fixture.fromPod, fixture.packet(40_000))
            #expect(try fixture.run(fixture.fromPod, data).frame != data)
            try fixture.maps.services.remove(
                fixture.maps.layout.headKey(fixture.service, 80))
            // What is there goes on, until the port begins anew.
            #expect(try fixture.run(fixture.fromPod, data).frame != data)
            for packet in [fixture.packet(40_000), data] {
                #expect(try fixture.run(fixture.fromPod, packet).frame == packet)
            }
            #expect(try fixture.maps.flows.entries().isEmpty)
        }
    }

    @Test func whatIsNothingOfItsIsLeftAsItIs() throws {
        try inNamespace {
            let fixture = try Fixture(.ipv4)
            var packets: [String: [UInt8]] = [:]
            let syn = fixture.packet(40_000)
            func add(_ name: String, _ change: (inout TCPFrame) -> Void) {
                var frame = syn
                change(&frame)
                packets[name] = frame.bytes
            }
            func damage(_ name: String, _ offset: Int, _ byte: UInt8) {
                var bytes = syn.bytes
                bytes[offset] = byte
                packets[name] = bytes
            }
            add("no first packet") { $0.flags = TCPFrame.acknowledgement }
            add("the answer of nobody's question") {
                $0.flags = TCPFrame.syn | TCPFrame.acknowledgement
            }
            add("a reset") { $0.flags = TCPFrame.reset }
            add("another port") { $0.destinationPort = 81 }
            add("another address") { $0.destination = .v4(0x0A60_0102) }
            add("a source that is no pod's") { $0.source = .v4(0xC0A8_0001) }
            add("another pod's address") { $0.source = fixture.endpoints[0] }
            add("straight to the endpoint") {
                ($0.destination, $0.destinationPort) = (fixture.endpoints[0], 8080)
            }
            damage("UDP", 23, 17)
            damage("IP options", 14, 0x46)
            damage("more fragments to come", 20, 0x20)
            damage("a later fragment", 21, 1)
            damage("neither IPv4 nor IPv6", 12, 0x88)
            packets["cut short"] = Array(syn.bytes.prefix(50))
            for (name, bytes) in packets {
                let result = try fixture.fromPod.run(on: bytes, link: Fixture.link)
                #expect(result.verdict == BPFProgram.Verdict.unspecified.rawValue, "\(name)")
                #expect(result.packet == bytes, "\(name)")
            }
            #expect(try fixture.maps.flows.entries().isEmpty)
        }
    }
}

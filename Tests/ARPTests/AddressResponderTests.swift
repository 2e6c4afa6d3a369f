import ARP
import NetworkTypes
import Testing

@Suite struct AddressResponderTests {
    static let ours = ARPFrameTests.ours
    static let theirs = ARPFrameTests.theirs

    private func responder() throws -> AddressResponder {
        let address = try #require(IPAddress("10.1.0.2"))
        return AddressResponder(hardware: Self.ours, announced: [address])
    }

    @Test func answersForAnnouncedAddressesOnly() throws {
        var responder = try responder()
        #expect(
            responder.receive(bytes: ARPFrameTests.requestBytes) == .send(ARPFrameTests.replyBytes))
        var other = ARPFrameTests.requestBytes
        other[41] = 3
        #expect(responder.receive(bytes: other) == .ignore)
        let asked = try #require(IPAddress("10.1.0.2"))
        #expect(responder.counters[asked]?.requestsReceived == 1)
        #expect(responder.counters[asked]?.responsesSent == 1)
        responder.announce([])
        #expect(responder.counters.isEmpty)
        #expect(responder.receive(bytes: ARPFrameTests.requestBytes) == .ignore)
    }

    @Test func defendsAgainstAProbe() throws {
        var responder = try responder()
        let address = try #require(IPAddress("10.1.0.2"))
        let probe = ARPFrame.probe(for: address, hardware: Self.theirs)
        guard case .send(let bytes) = responder.receive(bytes: probe.bytes) else {
            Issue.record("a probe for an announced address was not answered")
            return
        }
        #expect(try decodeARP(bytes).senderAddress == address)
    }

    @Test func namesARival() throws {
        var responder = try responder()
        let address = try #require(IPAddress("10.1.0.2"))
        let claim = ARPFrame.announcement(of: address, hardware: Self.theirs)
        #expect(responder.receive(bytes: claim.bytes) == .conflict(address, rival: Self.theirs))
        #expect(responder.counters[address]?.conflicts == 1)
    }

    @Test func ignoresItsOwnFrames() throws {
        var responder = try responder()
        let address = try #require(IPAddress("10.1.0.2"))
        for frame in responder.announcement(of: address) {
            #expect(responder.receive(bytes: frame) == .ignore)
        }
        #expect(responder.receive(bytes: responder.probe(for: address)) == .ignore)
    }

    @Test func countsMalformedFramesAndGoesOn() throws {
        var responder = try responder()
        #expect(responder.receive(bytes: [1, 2, 3]) == .ignore)
        #expect(responder.receive(bytes: Array(ARPFrameTests.requestBytes.prefix(30))) == .ignore)
        #expect(responder.malformedCount == 2)
    }

    @Test func answersSolicitationsForIPv6() throws {
        let asked = try NeighborDiscoveryTests.solicitation()
        var responder = AddressResponder(hardware: Self.ours, announced: [asked.target])
        let answer = NeighborFrame.advertisement(answering: asked, hardware: Self.ours)
        #expect(responder.receive(bytes: asked.bytes) == .send(answer.bytes))
        let claim = NeighborFrame.announcement(of: asked.target, hardware: Self.theirs)
        #expect(
            responder.receive(bytes: claim.bytes) == .conflict(asked.target, rival: Self.theirs))
    }
}

@Suite struct AnnouncementScheduleTests {
    @Test func announcesAtOnceAndThenWithATail() {
        var schedule = AnnouncementSchedule(startMilliseconds: 1_000)
        var sent: [Int64] = []
        for now in stride(from: Int64(1_000), through: 60_000, by: 10)
        where schedule.takeDue(nowMilliseconds: now) {
            sent.append(now - 1_000)
        }
        #expect(sent == AnnouncementSchedule.offsetsMilliseconds)
        #expect(schedule.nextMilliseconds == nil)
    }

    @Test func missedAnnouncementsCountAsOne() {
        var schedule = AnnouncementSchedule(startMilliseconds: 0)
        let first = schedule.takeDue(nowMilliseconds: 5_000)
        let second = schedule.takeDue(nowMilliseconds: 5_000)
        #expect(first && !second)
    }
}

@Suite struct DuplicateDetectionTests {
    static let address = IPAddress.v4(0x0A01_0002)

    @Test func asksThreeTimesAndFindsTheAddressFree() {
        var detection = DuplicateDetection(Self.address, nowMilliseconds: 0)
        var probes = 0
        var now: Int64 = 0
        loop: while true {
            switch detection.advance(nowMilliseconds: now) {
            case .probe(Self.address, let again):
                probes += 1
                now = again
            case .wait(let until): now = until
            default: break loop
            }
        }
        #expect(probes == 3)
        #expect(now == 400)
        guard case .free(Self.address) = detection else {
            Issue.record("nobody answered, yet the address is not free")
            return
        }
    }

    @Test func anAnswerOrAnotherProbeSettlesIt() {
        let rival = MACAddress(0x0200_0000_0001)
        let frames = [
            ARPFrame.announcement(of: Self.address, hardware: rival),
            ARPFrame.probe(for: Self.address, hardware: rival),
        ]
        for frame in frames {
            var detection = DuplicateDetection(Self.address, nowMilliseconds: 0)
            _ = detection.advance(nowMilliseconds: 0)
            detection.receive(frame, hardware: MACAddress(5))
            let action = detection.advance(nowMilliseconds: 1)
            #expect(action == .done)
            guard case .taken(Self.address, rival: rival) = detection else {
                Issue.record("a rival was not noticed")
                return
            }
        }
    }
}

import ARP
import AddressPools
import JSON
import KubernetesAPI
import NetworkTypes
import Speaker
import Testing

@Suite struct SpeakerCoreTests {
    static let hardware = MACAddress(0x0242_AC1E_000B)
    static let rival = MACAddress(0x0242_AC1E_00FF)

    private func core() throws -> SpeakerCore {
        let prefix = try #require(Prefix("172.30.0.0/24"))
        var core = SpeakerCore(
            SpeakerCore.Identity(
                nodeName: "a", interface: SpeakerInterface(name: "eth0", prefixes: [prefix]),
                hardware: Self.hardware, boot: 7))
        let pool = AddressPool(name: "p", ranges: [try AddressRange(parsing: "10.1.0.0/24")])
        var configuration = LoadBalancerConfiguration()
        configuration.pools = [pool]
        configuration.l2Advertisements = [L2Advertisement(name: "all")]
        _ = core.update(configuration: configuration, nowMilliseconds: 0)
        _ = core.update(node: "a", try node("a"), nowMilliseconds: 0)
        _ = core.update(
            ObjectKey(namespace: "default", name: "web-1"), slice: try slice(isReady: true),
            nowMilliseconds: 0)
        _ = core.start(nowMilliseconds: 0)
        return core
    }

    private func slice(isReady: Bool) throws -> EndpointSlice {
        try EndpointSlice(json: [
            "metadata": [
                "name": "web-1", "namespace": "default",
                "labels": ["kubernetes.io/service-name": "web"],
            ],
            "addressType": "IPv4",
            "endpoints": [
                [
                    "addresses": ["10.244.0.2"], "nodeName": "a",
                    "conditions": ["ready": .bool(isReady), "serving": .bool(isReady)],
                ]
            ],
        ])
    }

    private func frames(_ actions: [SpeakerCore.Action]) throws -> [ARPFrame] {
        try actions.compactMap { action in
            guard case .frame(let bytes) = action else { return nil }
            return try ARPFrame(bytes.span)
        }
    }

    private func reasons(_ actions: [SpeakerCore.Action]) -> [String] {
        actions.compactMap { action in
            guard case .event(let event) = action else { return nil }
            return event.reason
        }
    }

    @Test func announcesAtOnceAndAnswers() throws {
        var core = try core()
        let web = try service("web", "10.1.0.1")
        let actions = core.update(web.key, service: web, nowMilliseconds: 100)
        let sent = try frames(actions)
        #expect(sent.count == 3)
        #expect(sent.first?.isProbe == true)
        #expect(sent.dropFirst().allSatisfy { $0.isGratuitous })
        #expect(reasons(actions) == ["nodeAssigned"])
        let address = try #require(IPAddress("10.1.0.1"))
        #expect(core.announced == [address])
        #expect(core.reasons()[web.key] == [address: .announced])
        let request = ARPFrame.request(for: address, sender: .v4(1), hardware: Self.rival).bytes
        let answers = core.receive(frame: request.span, nowMilliseconds: 101)
        #expect(try frames(answers).first?.senderHardware == Self.hardware)
        // The tail of announcements follows.
        let tail = core.tick(nowMilliseconds: 1_200)
        #expect(try frames(tail).count == 2)
        // Neither the echo of the object nor time alone says anything again.
        #expect(core.update(web.key, service: web, nowMilliseconds: 1_201).isEmpty)
    }

    @Test func stopsWhenTheLastEndpointGoes() throws {
        var core = try core()
        let web = try service("web", "10.1.0.1")
        _ = core.update(web.key, service: web, nowMilliseconds: 0)
        let key = ObjectKey(namespace: "default", name: "web-1")
        _ = core.update(key, slice: try slice(isReady: false), nowMilliseconds: 10)
        #expect(core.announced.isEmpty)
        let address = try #require(IPAddress("10.1.0.1"))
        #expect(core.reasons()[web.key] == [address: .noEndpoints])
        _ = core.update(key, slice: try slice(isReady: true), nowMilliseconds: 20)
        #expect(core.announced == [address])
        _ = core.update(web.key, service: nil, nowMilliseconds: 30)
        #expect(core.announced.isEmpty)
    }

    @Test func stepsAsideForMetalLBsSpeaker() throws {
        var core = try core()
        let web = try service("web", "10.1.0.1")
        _ = core.update(web.key, service: web, nowMilliseconds: 0)
        _ = core.setAside(true, nowMilliseconds: 1)
        #expect(core.announced.isEmpty)
        let address = try #require(IPAddress("10.1.0.1"))
        #expect(core.reasons()[web.key] == [address: .steppedAside])
        _ = core.setAside(false, nowMilliseconds: 2)
        #expect(core.announced == [address])
    }

    @Test func aRivalThatGoesOnIsNamedAndAnswered() throws {
        var core = try core()
        let web = try service("web", "10.1.0.1")
        _ = core.update(web.key, service: web, nowMilliseconds: 0)
        let address = try #require(IPAddress("10.1.0.1"))
        let claim = ARPFrame.announcement(of: address, hardware: Self.rival).bytes
        // Once is what a take-over looks like.
        #expect(core.receive(frame: claim.span, nowMilliseconds: 100).isEmpty)
        let second = core.receive(frame: claim.span, nowMilliseconds: 1_200)
        #expect(reasons(second) == ["AddressConflict"])
        #expect(try frames(second).count == 2)
        #expect(core.receive(frame: claim.span, nowMilliseconds: 2_000).isEmpty)
        #expect(
            reasons(core.receive(frame: claim.span, nowMilliseconds: 11_300)) == ["AddressConflict"]
        )
    }
}

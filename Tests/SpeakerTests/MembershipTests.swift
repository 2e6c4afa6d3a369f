import NetworkTypes
import Speaker
import Testing

/// Two speakers and the datagrams between them, in a time of our own.
private struct Pair {
    var a: Membership
    var b: Membership
    static let addressA = IPAddress.v4(0x0A00_0001)
    static let addressB = IPAddress.v4(0x0A00_0002)
    static let key = HeartbeatKey(secret: Array("secret".utf8))

    init(bootB: UInt64 = 22) {
        a = Membership(name: "a", boot: 11, interfaces: [])
        b = Membership(name: "b", boot: bootB, interfaces: [])
        a.setPeers(["a": Self.addressA, "b": Self.addressB])
        b.setPeers(["a": Self.addressA, "b": Self.addressB])
        a.setKey(Self.key)
        b.setKey(Self.key)
    }

    func isLive(_ now: Int64) -> (aSeesB: Bool, bSeesA: Bool) {
        (
            a.live(ready: [], nowMilliseconds: now)["b"] != nil,
            b.live(ready: [], nowMilliseconds: now)["a"] != nil
        )
    }

    /// Delivers what both send at a moment, and the answers, until nobody says more.
    @discardableResult
    mutating func exchange(_ now: Int64, aSpeaks: Bool = true, bSpeaks: Bool = true) -> [[UInt8]] {
        var recorded: [[UInt8]] = []
        var toB = aSpeaks ? a.tick(nowMilliseconds: now).sends.map(\.bytes) : []
        var toA = bSpeaks ? b.tick(nowMilliseconds: now).sends.map(\.bytes) : []
        var rounds = 0
        while !(toA.isEmpty && toB.isEmpty), rounds < 10 {
            rounds += 1
            recorded += toA
            let (nowToB, nowToA) = (toB, toA)
            toA = nowToB.compactMap { b.receive($0, nowMilliseconds: now).reply?.bytes }
            toB = nowToA.compactMap { a.receive($0, nowMilliseconds: now).reply?.bytes }
            if !bSpeaks { toA = [] }
            if !aSpeaks { toB = [] }
        }
        return recorded
    }
}

@Suite struct MembershipTests {
    @Test func twoSpeakersFindEachOtherAtOnce() {
        var pair = Pair()
        pair.exchange(0)
        #expect(pair.isLive(0) == (true, true))
    }

    @Test func silenceIsDeathAfterTheBoundAndNotBefore() {
        var pair = Pair()
        pair.exchange(0)
        for now in stride(from: Int64(150), through: 550, by: 50) {
            pair.exchange(now, bSpeaks: false)
            #expect(pair.isLive(now).aSeesB)
        }
        _ = pair.a.tick(nowMilliseconds: 600)
        #expect(!pair.isLive(600).aSeesB)
        #expect(pair.a.counters.deaths == 1)
        // It comes back with the next word.
        pair.exchange(900)
        #expect(pair.isLive(900).aSeesB)
    }

    @Test func farewellNeedsNoWait() {
        var pair = Pair()
        pair.exchange(0)
        for message in pair.b.leave() { _ = pair.a.receive(message.bytes, nowMilliseconds: 1) }
        #expect(!pair.isLive(1).aSeesB)
    }

    @Test func aWrongKeyIsNotHeard() {
        var pair = Pair()
        pair.b = Membership(name: "b", boot: 22, interfaces: [])
        pair.b.setPeers(["a": Pair.addressA])
        pair.b.setKey(HeartbeatKey(secret: Array("other".utf8)))
        pair.exchange(0)
        #expect(pair.isLive(0) == (false, false))
        #expect(pair.a.counters.unauthenticated > 0)
    }

    @Test func aChangeOfKeyLosesNobody() {
        var pair = Pair()
        pair.exchange(0)
        let fresh = HeartbeatKey(secret: Array("fresh".utf8))
        pair.a.setKey(fresh)
        pair.exchange(150)
        pair.b.setKey(fresh)
        for now in [Int64(300), 450, 600, 750] {
            pair.exchange(now)
            #expect(pair.isLive(now) == (true, true))
        }
    }

    @Test func recordingsDoNotBringTheDeadBack() {
        var pair = Pair()
        var recorded: [[UInt8]] = []
        for now in [Int64(0), 150, 300] { recorded += pair.exchange(now) }
        _ = pair.a.tick(nowMilliseconds: 2_000)
        #expect(!pair.isLive(2_000).aSeesB)
        for bytes in recorded {
            _ = pair.a.receive(bytes, nowMilliseconds: 2_001)
            #expect(!pair.isLive(2_001).aSeesB)
        }
        // Nor does a recording of an earlier life, once the later one has died.
        var later = Pair(bootB: 33)
        later.a = pair.a
        later.exchange(3_000)
        #expect(later.isLive(3_000).aSeesB)
        _ = later.a.tick(nowMilliseconds: 9_000)
        for bytes in recorded { _ = later.a.receive(bytes, nowMilliseconds: 9_001) }
        #expect(!later.isLive(9_001).aSeesB)
    }

    @Test func aRestartIsHeardAtOnceWhateverItsBootNumber() {
        var pair = Pair(bootB: 1_000)
        pair.exchange(0)
        pair.b = Membership(name: "b", boot: 5, interfaces: [])
        pair.b.setPeers(["a": Pair.addressA])
        pair.b.setKey(Pair.key)
        pair.exchange(100)
        pair.exchange(250)
        #expect(pair.isLive(250) == (true, true))
        _ = pair.a.tick(nowMilliseconds: 700)
        #expect(pair.isLive(700).aSeesB)
    }

    @Test func aLinkInOneDirectionIsNotALink() {
        var pair = Pair()
        // b never hears a, so it cannot prove anything.
        for now in stride(from: Int64(0), through: 3_000, by: 150) {
            _ = pair.a.tick(nowMilliseconds: now)
            for send in pair.b.tick(nowMilliseconds: now).sends {
                _ = pair.a.receive(send.bytes, nowMilliseconds: now)
            }
            #expect(!pair.isLive(now).aSeesB)
        }
    }

    @Test func readyNodesCountDuringTheGraceOnly() {
        var pair = Pair()
        _ = pair.a.tick(nowMilliseconds: 0)
        #expect(pair.a.live(ready: ["b"], nowMilliseconds: 699)["b"] != nil)
        #expect(pair.a.live(ready: ["b"], nowMilliseconds: 700)["b"] == nil)
        #expect(pair.a.live(ready: [], nowMilliseconds: 10)["b"] == nil)
    }
}

@Suite struct HeartbeatTests {
    private static let key = HeartbeatKey(secret: [1, 2, 3])

    private func heartbeat() throws -> Heartbeat {
        let prefix = try #require(Prefix("172.30.0.0/24"))
        return Heartbeat(
            name: "node-1", boot: 0x0102_0304_0506_0708, counter: 9, heardBoot: 10,
            heardCounter: 11, isLeaving: true,
            interfaces: [SpeakerInterface(name: "eth0", prefixes: [prefix])])
    }

    @Test func laysOutFieldByField() throws {
        let bytes = try heartbeat().encode(Self.key)
        let expected: [UInt8] = [
            0x50, 0x54, 0x4C, 0x4E,  // magic: PTLN
            1,  // version
            1,  // flags: leaving
            1, 2, 3, 4, 5, 6, 7, 8,  // boot
            0, 0, 0, 0, 0, 0, 0, 9,  // counter
            0, 0, 0, 0, 0, 0, 0, 10,  // heard boot
            0, 0, 0, 0, 0, 0, 0, 11,  // heard counter
            6, 0x6E, 0x6F, 0x64, 0x65, 0x2D, 0x31,  // name: node-1
            1,  // interfaces
            4, 0x65, 0x74, 0x68, 0x30,  // eth0
            1,  // prefixes
            32, 24, 172, 30, 0, 0,  // bits, length, address
        ]
        #expect(Array(bytes.dropLast(32)) == expected)
        #expect(try Heartbeat(bytes, keys: [Self.key]) == heartbeat())
    }

    @Test func everyChangedByteIsRefused() throws {
        let bytes = try heartbeat().encode(Self.key)
        for index in bytes.indices {
            var forged = bytes
            forged[index] ^= 0x10
            #expect(throws: Heartbeat.DecodingError.self) {
                try Heartbeat(forged, keys: [Self.key])
            }
        }
        for count in 0..<bytes.count {
            #expect(throws: Heartbeat.DecodingError.self) {
                try Heartbeat(Array(bytes.prefix(count)), keys: [Self.key])
            }
        }
    }
}

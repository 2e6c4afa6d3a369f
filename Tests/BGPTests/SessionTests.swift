import BGP
import NetworkTypes
import Testing

@Suite struct SessionTests {
    private let identifier = IPAddress(family: .ipv4, numericValue: 0x0A00_0001)

    private func session() -> Session {
        Session(Session.Configuration(localAS: 65000, peerAS: 65001, identifier: identifier))
    }

    private func peer(_ number: UInt32 = 65001, hold: UInt16 = 30) -> Open {
        Open(
            autonomousSystem: number, holdTimeSeconds: hold,
            identifier: IPAddress(family: .ipv4, numericValue: 0x0A00_0002),
            capabilities: [.unicast(.ipv4), .fourOctetAS(number)])
    }

    private func waiting() -> Session {
        var session = session()
        #expect(session.handle(.start) == [.connect])
        let actions = session.handle(.connected)
        #expect(actions.last == .startTimer(.hold, seconds: 240))
        #expect(session.state == .openSent)
        return session
    }

    private func established() -> Session {
        var session = waiting()
        #expect(
            session.handle(.received(.open(peer()))) == [
                .send(.keepalive), .startTimer(.hold, seconds: 30),
                .startTimer(.keepalive, seconds: 10),
            ])
        #expect(
            session.handle(.received(.keepalive)) == [
                .startTimer(.hold, seconds: 30), .sessionUp(peer: peer()),
            ])
        #expect(session.state == .established)
        return session
    }

    private func ending(_ reason: Session.DownReason, retry: Int = 1) -> [Session.Action] {
        [
            .stopTimer(.hold), .stopTimer(.keepalive), .close, .sessionDown(reason),
            .startTimer(.connectRetry, seconds: retry),
        ]
    }

    private func refusal(_ error: BGPError) -> [Session.Action] {
        [.send(.notification(error))] + ending(.sent(error))
    }

    @Test func happyPath() {
        var session = established()
        let update = Update(withdrawn: [Prefix(host: identifier)])
        #expect(
            session.handle(.received(.update(update))) == [
                .startTimer(.hold, seconds: 30), .received(update),
            ])
        #expect(
            session.handle(.expired(.keepalive)) == [
                .send(.keepalive), .startTimer(.keepalive, seconds: 10),
            ])
        let cease = BGPError(code: 6, subcode: 2)
        #expect(
            session.handle(.stop) == [.send(.notification(cease))] + ending(.stopped).dropLast())
        #expect(session.handle(.expired(.connectRetry)) == [])
    }

    @Test func noHoldTime() {
        var session = waiting()
        let actions = session.handle(.received(.open(peer(hold: 0))))
        #expect(actions == [.send(.keepalive), .stopTimer(.hold)])
    }

    @Test func wrongAS() {
        var session = waiting()
        let actions = session.handle(.received(.open(peer(65009))))
        #expect(actions == refusal(BGPError(code: 2, subcode: 2)))
    }

    @Test func noFourOctetAS() {
        var session = waiting()
        var open = peer()
        open.capabilities = []
        let error = BGPError(code: 2, subcode: 7, data: [65, 4, 0, 0, 0xFD, 0xE8])
        #expect(session.handle(.received(.open(open))) == refusal(error))
    }

    @Test func holdTimerExpiry() {
        var session = established()
        #expect(session.handle(.expired(.hold)) == refusal(BGPError(code: 4, subcode: 0)))
        #expect(session.handle(.expired(.connectRetry)) == [.connect])
    }

    @Test func versionMismatch() {
        var session = waiting()
        let error = BGPError(code: 2, subcode: 1, data: [0, 4])
        #expect(session.handle(.malformed(error)) == refusal(error))
    }

    @Test func messageOutOfTurn() {
        var session = waiting()
        let actions = session.handle(.received(.keepalive))
        #expect(actions == refusal(BGPError(code: 5, subcode: 1)))
    }

    @Test func notificationReceived() {
        var session = established()
        let error = BGPError(code: 6, subcode: 4)
        #expect(session.handle(.received(.notification(error))) == ending(.received(error)))
    }

    @Test func retriesBackOff() {
        var session = session()
        #expect(session.handle(.start) == [.connect])
        for seconds in [1, 2, 4, 8, 16, 32, 64, 120, 120] {
            #expect(session.handle(.disconnected) == ending(.disconnected, retry: seconds))
            #expect(session.handle(.expired(.connectRetry)) == [.connect])
        }
    }
}

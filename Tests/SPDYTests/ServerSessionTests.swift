import Testing

@testable import SPDY

@Suite struct ServerSessionTests {
    /// A client's frames and the frames that come back.
    private final class Peer {
        var session: ServerSession
        let encoder: FrameEncoder
        var decoder: FrameDecoder

        init() throws {
            session = try ServerSession()
            encoder = try FrameEncoder()
            decoder = try FrameDecoder()
        }

        func send(_ frames: SPDYFrame...) throws -> [ServerSession.Event] {
            var bytes: [UInt8] = []
            for frame in frames { encoder.encode(frame, into: &bytes) }
            return try session.receive(bytes)
        }

        func answers() throws -> [SPDYFrame] {
            decoder.append(session.takeOutput())
            var frames: [SPDYFrame] = []
            while let frame = try decoder.next() { frames.append(frame) }
            return frames
        }
    }

    private static func open(
        _ id: UInt32, isLast: Bool = false, _ headers: [SPDYHeader] = []
    ) -> SPDYFrame {
        .synStream(
            id: id, associatedTo: 0, priority: 0, isLast: isLast, isUnidirectional: false,
            headers: headers)
    }

    @Test func acceptsStreamsAndCarriesData() throws {
        let peer = try Peer()
        let headers = [SPDYHeader("streamtype", "stdin")]
        #expect(
            try peer.send(Self.open(1, headers), .data(id: 1, isLast: true, bytes: [9]))
                == [.opened(id: 1, headers: headers), .data(id: 1, bytes: [9]), .finished(id: 1)])
        #expect(try peer.answers() == [.synReply(id: 1, isLast: false, headers: [])])
        peer.session.send([7], on: 1)
        peer.session.send([8], on: 1, isLast: true)
        peer.session.send([9], on: 1)  // after its end: nothing
        #expect(
            try peer.answers() == [
                .data(id: 1, isLast: false, bytes: [7]), .data(id: 1, isLast: true, bytes: [8]),
            ])
        let isWritable = peer.session.isWritable(1)
        #expect(!isWritable)
    }

    @Test func answersPingsAndIgnoresWhatItNeedNotKnow() throws {
        let peer = try Peer()
        #expect(
            try peer.send(
                .ping(id: 1), .ping(id: 2), .settings, .windowUpdate(id: 0, byteCount: 1),
                .unknown(type: 11), .goAway(lastGoodID: 0, status: 0)) == [.goAway])
        #expect(try peer.answers() == [.ping(id: 1)])
    }

    @Test func refusesStreamsBeyondTheLimitAndResetsWhatIsWrong() throws {
        let peer = try Peer()
        for index in 0..<UInt32(ServerSession.streamLimit) {
            _ = try peer.send(Self.open(index * 2 + 1))
        }
        _ = try peer.answers()
        let next = UInt32(ServerSession.streamLimit * 2 + 1)
        #expect(try peer.send(Self.open(next)).isEmpty)
        #expect(try peer.answers() == [.reset(id: next, status: .refusedStream)])
        #expect(try peer.send(.data(id: next + 2, isLast: false, bytes: [1])).isEmpty)
        #expect(try peer.answers() == [.reset(id: next + 2, status: .invalidStream)])
        #expect(
            try peer.send(
                .data(id: 1, isLast: true, bytes: []), .data(id: 1, isLast: false, bytes: [1]))
                == [.finished(id: 1), .reset(id: 1)])
        #expect(try peer.answers() == [.reset(id: 1, status: .streamAlreadyClosed)])
        #expect(try peer.send(.reset(id: 3, status: .cancel)) == [.reset(id: 3)])
        #expect(try peer.send(.reset(id: 3, status: .cancel)).isEmpty)
        #expect(throws: SPDYError.self) { try peer.send(Self.open(2)) }
    }

    @Test func numbersOfStreamsOnlyGrow() throws {
        let peer = try Peer()
        _ = try peer.send(Self.open(5))
        #expect(throws: SPDYError.malformed("stream 3 after stream 5")) {
            try peer.send(Self.open(3))
        }
    }
}

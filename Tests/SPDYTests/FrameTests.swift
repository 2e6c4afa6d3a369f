import Testing

@testable import SPDY

/// The wire format, byte by byte (draft 3.1, section 2.2 and 2.6).
@Suite struct FrameTests {
    /// Without headers, so that no compression stands between the fields and their bytes.
    private static let golden: [(SPDYFrame, [UInt8])] = [
        (
            .reset(id: 5, status: .cancel),
            [0x80, 0x03, 0x00, 0x03]  // control, version 3, RST_STREAM
                + [0x00, 0x00, 0x00, 0x08]  // flags, length
                + [0x00, 0x00, 0x00, 0x05]  // stream
                + [0x00, 0x00, 0x00, 0x05]  // CANCEL
        ),
        (
            .ping(id: 0x0102_0301),
            [0x80, 0x03, 0x00, 0x06] + [0x00, 0x00, 0x00, 0x04] + [0x01, 0x02, 0x03, 0x01]
        ),
        (
            .goAway(lastGoodID: 7, status: 0),
            [0x80, 0x03, 0x00, 0x07] + [0x00, 0x00, 0x00, 0x08] + [0, 0, 0, 7] + [0, 0, 0, 0]
        ),
        (
            .windowUpdate(id: 3, byteCount: 65_536),
            [0x80, 0x03, 0x00, 0x09] + [0x00, 0x00, 0x00, 0x08] + [0, 0, 0, 3] + [0, 1, 0, 0]
        ),
        (
            .data(id: 3, isLast: true, bytes: [0x68, 0x69]),
            [0x00, 0x00, 0x00, 0x03]  // data, stream
                + [0x01, 0x00, 0x00, 0x02]  // FIN, length
                + [0x68, 0x69]
        ),
        (
            .data(id: 3, isLast: false, bytes: []),
            [0x00, 0x00, 0x00, 0x03] + [0x00, 0x00, 0x00, 0x00]
        ),
    ]

    @Test(arguments: 0..<6) func framesHaveTheirBytes(_ index: Int) throws {
        let (frame, bytes) = Self.golden[index]
        var output: [UInt8] = []
        try FrameEncoder().encode(frame, into: &output)
        #expect(output == bytes)
        var decoder = try FrameDecoder()
        decoder.append(bytes)
        #expect(try decoder.next() == frame)
        #expect(try decoder.next() == nil)
    }

    @Test func theDictionaryIsTheDrafts() {
        var (low, high): (UInt32, UInt32) = (1, 0)  // Adler-32, RFC 1950 section 8.2
        for byte in HeaderDictionary.bytes {
            low = (low + UInt32(byte)) % 65_521
            high = (high + low) % 65_521
        }
        #expect(HeaderDictionary.bytes.count == 1423)
        #expect(high << 16 | low == HeaderDictionary.checksum)
    }

    /// What kubectl 1.20 sends first for `kubectl exec POD -- true`, with Go's compressor.
    static let captured: [UInt8] =
        [0x80, 0x03, 0x00, 0x01]  // control, version 3, SYN_STREAM
        + [0x00, 0x00, 0x00, 0x29]  // flags, length
        + [0x00, 0x00, 0x00, 0x01]  // stream
        + [0x00, 0x00, 0x00, 0x00]  // associated to none
        + [0x00, 0x00]  // priority, slot
        + [0x78, 0xF9, 0xE3, 0xC6, 0xA7, 0xC2]  // zlib's header with the dictionary's checksum
        + [
            0x62, 0x60, 0x60, 0x60, 0x04, 0xA7, 0xB3, 0x92, 0xA2, 0xD4, 0xC4, 0x5C, 0x68, 0x51,
            0xC2,
        ]
        + [0x9A, 0x0A, 0x0A, 0x68, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF]

    @Test func readsWhatAGoClientSends() throws {
        var decoder = try FrameDecoder()
        decoder.append(Self.captured)
        #expect(
            try decoder.next()
                == .synStream(
                    id: 1, associatedTo: 0, priority: 0, isLast: false, isUnidirectional: false,
                    headers: [SPDYHeader("streamtype", "error")]))
        #expect(try decoder.next() == nil)
    }

    @Test func headersSurviveAnyCutting() throws {
        let frames: [SPDYFrame] = (0..<40).map { index in
            let headers = [
                SPDYHeader("streamtype", index % 2 == 0 ? "data" : "error"),
                SPDYHeader("port", String(8000 + index)), SPDYHeader("requestid", "\(index / 2)"),
                SPDYHeader("long", String(repeating: "x", count: index * 50)),
            ]
            switch index % 3 {
            case 0:
                return .synStream(
                    id: UInt32(index * 2 + 1), associatedTo: 0, priority: 3, isLast: index % 2 == 0,
                    isUnidirectional: false, headers: headers)
            case 1: return .synReply(id: UInt32(index * 2), isLast: false, headers: headers)
            default: return .headers(id: UInt32(index * 2), isLast: true, headers: [])
            }
        }
        let encoder = try FrameEncoder()
        var bytes: [UInt8] = []
        for frame in frames { encoder.encode(frame, into: &bytes) }
        for pieceLength in [1, 7, 100, bytes.count] {
            var decoder = try FrameDecoder()
            var found: [SPDYFrame] = []
            var rest = bytes[...]
            while !rest.isEmpty {
                decoder.append(rest.prefix(pieceLength))
                rest = rest.dropFirst(pieceLength)
                while let frame = try decoder.next() { found.append(frame) }
            }
            #expect(found == frames)
        }
    }

    @Test func dataIsGivenOutAsItComes() throws {
        var decoder = try FrameDecoder()
        decoder.append([0, 0, 0, 1, 1, 0, 0, 4, 0xA, 0xB])
        #expect(try decoder.next() == .data(id: 1, isLast: false, bytes: [0xA, 0xB]))
        #expect(try decoder.next() == nil)
        decoder.append([0xC, 0xD])
        #expect(try decoder.next() == .data(id: 1, isLast: true, bytes: [0xC, 0xD]))
    }

    @Test func refusesWhatIsNoSPDY() throws {
        func failure(_ bytes: [UInt8]) throws -> SPDYError? {
            var decoder = try FrameDecoder()
            decoder.append(bytes)
            do throws(SPDYError) {
                while try decoder.next() != nil {}
                return nil
            } catch { return error }
        }
        #expect(try failure([0x80, 0x02, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]) == .version(2))
        #expect(try failure([0x80, 0x03, 0, 1, 0, 0xFF, 0xFF, 0xFF]) == .tooLong(0xFFFFFF))
        #expect(try failure([0, 0, 0, 0, 0, 0, 0, 1, 0]) == .malformed("data on stream 0"))
        #expect(
            try failure([0x80, 3, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1]) == .malformed("it is cut short"))
        let garbage =
            [0x80, 3, 0, 2, 0, 0, 0, 8] + [0, 0, 0, 2] + [UInt8](repeating: 0xEE, count: 4)
        if case .compression = try failure(garbage) {} else { Issue.record("garbage was inflated") }
        // A bomb: 64 MiB of one letter in a frame of at most 16 KiB.
        let deflater = try HeaderDeflater()
        let bomb = deflater.deflate([UInt8](repeating: 0x61, count: 8 << 20))
        #expect(bomb.count < FrameDecoder.controlLimit)
        let head: [UInt8] = [0x80, 3, 0, 2, 0, 0, UInt8((bomb.count + 4) >> 8)]
        let frame = head + [UInt8((bomb.count + 4) & 255), 0, 0, 0, 2] + bomb
        if case .compression = try failure(frame) {} else { Issue.record("a bomb was inflated") }
    }

    /// Mutated sessions: an error or frames, never a crash, and bounded memory.
    @Test func survivesMutations() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            var bytes = Self.captured
            for _ in 0...Int.random(in: 0..<6, using: &generator) {
                let place = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: place)
                case 2 where bytes.count > 20:
                    bytes.removeSubrange(place..<min(place + 3, bytes.count))
                default: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                }
            }
            var session = try ServerSession()
            let events = try? session.receive(bytes)
            #expect(events?.count ?? 0 <= bytes.count)
        }
    }
}

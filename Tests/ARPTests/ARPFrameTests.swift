import ARP
import NetworkTypes
import Testing

@Suite struct ARPFrameTests {
    static let ours = MACAddress(0x0242_AC1E_000B)
    static let theirs = MACAddress(0x0242_AC1E_0001)

    /// "Who has 10.1.0.2? Tell 172.30.0.1", field by field.
    static let requestBytes: [UInt8] = [
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,  // Ethernet destination
        0x02, 0x42, 0xAC, 0x1E, 0x00, 0x01,  // Ethernet source
        0x08, 0x06,  // EtherType: ARP
        0x00, 0x01,  // hardware type: Ethernet
        0x08, 0x00,  // protocol type: IPv4
        0x06, 0x04,  // address lengths
        0x00, 0x01,  // operation: request
        0x02, 0x42, 0xAC, 0x1E, 0x00, 0x01,  // sender hardware address
        172, 30, 0, 1,  // sender protocol address
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00,  // target hardware address
        10, 1, 0, 2,  // target protocol address
    ]

    static let replyBytes: [UInt8] = [
        0x02, 0x42, 0xAC, 0x1E, 0x00, 0x01,  // Ethernet destination: the asker
        0x02, 0x42, 0xAC, 0x1E, 0x00, 0x0B,  // Ethernet source: us
        0x08, 0x06,  // EtherType: ARP
        0x00, 0x01,  // hardware type: Ethernet
        0x08, 0x00,  // protocol type: IPv4
        0x06, 0x04,  // address lengths
        0x00, 0x02,  // operation: reply
        0x02, 0x42, 0xAC, 0x1E, 0x00, 0x0B,  // sender hardware address: us
        10, 1, 0, 2,  // sender protocol address: what was asked for
        0x02, 0x42, 0xAC, 0x1E, 0x00, 0x01,  // target hardware address
        172, 30, 0, 1,  // target protocol address
    ]

    @Test func decodesARequestFieldByField() throws {
        let frame = try decodeARP(Self.requestBytes)
        #expect(frame.destination == .broadcast)
        #expect(frame.source == Self.theirs)
        #expect(frame.operation == .request)
        #expect(frame.senderAddress == IPAddress("172.30.0.1"))
        #expect(frame.targetHardware == .zero)
        #expect(frame.targetAddress == IPAddress("10.1.0.2"))
        #expect(!frame.isProbe && !frame.isGratuitous)
        #expect(frame.bytes == Self.requestBytes)
    }

    @Test func ignoresPadding() throws {
        let padded = Self.requestBytes + [UInt8](repeating: 0, count: 18)
        #expect(try decodeARP(padded) == decodeARP(Self.requestBytes))
    }

    @Test func repliesToTheAsker() throws {
        let reply = ARPFrame.reply(to: try decodeARP(Self.requestBytes), hardware: Self.ours)
        #expect(reply.bytes == Self.replyBytes)
    }

    @Test func announcementIsARequestForOnesOwnAddress() throws {
        let address = try #require(IPAddress("10.1.0.2"))
        let bytes = ARPFrame.announcement(of: address, hardware: Self.ours).bytes
        #expect(Array(bytes[20..<22]) == [0, 1])  // operation: request
        #expect(Array(bytes[28..<32]) == [10, 1, 0, 2])  // sender protocol address
        #expect(Array(bytes[32..<38]) == [0, 0, 0, 0, 0, 0])  // target hardware address
        #expect(Array(bytes[38..<42]) == [10, 1, 0, 2])  // target protocol address
        #expect(try decodeARP(bytes).isGratuitous)
        let probe = ARPFrame.probe(for: address, hardware: Self.ours)
        #expect(Array(probe.bytes[28..<32]) == [0, 0, 0, 0])  // sender protocol address
        #expect(probe.isProbe)
    }

    @Test(arguments: 0..<42) func refusesEveryShorterFrame(byteCount: Int) {
        #expect(throws: FrameError.tooShort(byteCount: byteCount)) {
            try decodeARP(Array(Self.requestBytes.prefix(byteCount)))
        }
    }

    @Test(arguments: [(12, 0x86), (15, 6), (16, 0x86), (18, 8), (19, 16)])
    func leavesOtherProtocolsAlone(offset: Int, value: Int) {
        var bytes = Self.requestBytes
        bytes[offset] = UInt8(value)
        #expect(throws: FrameError.otherProtocol) { try decodeARP(bytes) }
    }

    @Test func survivesRandomBytes() {
        var generator = SeededGenerator(seed: 826)
        for _ in 0..<5_000 {
            var bytes = Self.requestBytes
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] =
                    UInt8.random(in: 0...255, using: &generator)
            }
            guard let frame = try? decodeARP(bytes) else { continue }
            #expect(frame.bytes == bytes)
        }
    }
}

/// A small generator with a seed (SplitMix64), so that a failure can be repeated.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}

import BGP
import NetworkTypes
import Testing

private let marker = [UInt8](repeating: 0xFF, count: 16)

private func frame(_ type: UInt8, _ body: [UInt8]) -> [UInt8] {
    let length = 19 + body.count
    return marker + [UInt8(length >> 8), UInt8(length & 0xFF), type] + body
}

private func attributes(_ bytes: [UInt8], nlri: [UInt8] = []) -> [UInt8] {
    frame(2, [0, 0, 0, UInt8(bytes.count)] + bytes + nlri)
}

@Suite struct GoldenTests {
    private func check(_ message: BGPMessage, _ bytes: [UInt8]) throws {
        #expect(try message.encoded() == bytes)
        #expect(try BGPMessage(decoding: bytes[...]) == message)
    }

    @Test func open() throws {
        let open = Open(
            autonomousSystem: 4_200_000_000, holdTimeSeconds: 90,
            identifier: try #require(IPAddress("10.0.0.1")),
            capabilities: [.unicast(.ipv4), .fourOctetAS(4_200_000_000)])
        let bytes: [UInt8] =
            marker + [0, 43, 1]  // length, type
            + [4, 0x5B, 0xA0, 0, 90]  // version, AS_TRANS, hold time
            + [10, 0, 0, 1]  // identifier
            + [14, 2, 12]  // optional length, capabilities, their length
            + [1, 4, 0, 1, 0, 1]  // multiprotocol: IPv4, reserved, unicast
            + [65, 4, 0xFA, 0x56, 0xEA, 0x00]  // four-octet AS
        try check(.open(open), bytes)
    }

    @Test func keepalive() throws { try check(.keepalive, marker + [0, 19, 4]) }

    @Test func notification() throws {
        let error = BGPError(code: 6, subcode: 2, data: [7])
        try check(.notification(error), marker + [0, 22, 3] + [6, 2, 7])
    }

    @Test func update() throws {
        let update = Update(
            withdrawn: [try #require(Prefix("10.2.0.0/15"))],
            attributes: [
                .origin(.igp), .asPath([ASPathSegment([65000])]),
                .nextHop(try #require(IPAddress("172.30.0.11"))), .localPreference(100),
                .communities([0xFFFF_FF01]), .largeCommunities([LargeCommunity(1, 2, 3)]),
            ],
            announced: [try #require(Prefix("10.1.0.2/32"))])
        let bytes: [UInt8] =
            marker + [0, 80, 2]  // length, type
            + [0, 3, 15, 10, 2]  // withdrawn length, prefix
            + [0, 49]  // attributes length
            + [0x40, 1, 1, 0]  // ORIGIN IGP
            + [0x40, 2, 6, 2, 1, 0, 0, 0xFD, 0xE8]  // AS_PATH: sequence of one
            + [0x40, 3, 4, 172, 30, 0, 11]  // NEXT_HOP
            + [0x40, 5, 4, 0, 0, 0, 100]  // LOCAL_PREF
            + [0xC0, 8, 4, 0xFF, 0xFF, 0xFF, 0x01]  // COMMUNITIES: NO_EXPORT
            + [0xC0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]  // LARGE_COMMUNITIES
            + [32, 10, 1, 0, 2]  // NLRI
        try check(.update(update), bytes)
    }
}

@Suite struct MalformedTests {
    @Test(
        arguments: [
            ([UInt8](repeating: 0, count: 19), 1, 1),
            (marker + [0, 18, 4], 1, 2), (marker + [0x10, 1, 2], 1, 2),
            (marker + [0, 20, 4, 0], 1, 2), (marker + [0, 28, 1], 1, 2),
            (marker + [0, 19, 9], 1, 3),
            (frame(1, [3, 0, 1, 0, 90, 1, 1, 1, 1, 0]), 2, 1),
            (frame(1, [4, 0, 0, 0, 90, 1, 1, 1, 1, 0]), 2, 2),
            (frame(1, [4, 0, 1, 0, 90, 0, 0, 0, 0, 0]), 2, 3),
            (frame(1, [4, 0, 1, 0, 90, 1, 1, 1, 1, 2, 1, 0]), 2, 4),
            (frame(1, [4, 0, 1, 0, 2, 1, 1, 1, 1, 0]), 2, 6),
            (frame(1, [4, 0, 1, 0, 90, 1, 1, 1, 1, 9]), 2, 0),
            (frame(1, [4, 0, 1, 0, 90, 1, 1, 1, 1, 4, 2, 2, 65, 4]), 2, 0),
            (frame(2, [0, 9, 0, 0]), 3, 1), (frame(2, [0, 0, 0, 9]), 3, 1),
            (attributes([0x40, 1, 1, 0, 0x40, 1, 1, 0]), 3, 1), (attributes([0x40, 1, 9]), 3, 1),
            (attributes([0x40, 99, 0]), 3, 2), (attributes([], nlri: [8, 10]), 3, 3),
            (attributes([0xC0, 1, 1, 0]), 3, 4), (attributes([0x40, 1, 2, 0, 0]), 3, 5),
            (attributes([0xC0, 8, 3, 0, 0, 0]), 3, 5), (attributes([0x40, 1, 1, 3]), 3, 6),
            (attributes([0x40, 3, 4, 0, 0, 0, 0]), 3, 8),
            (attributes([0x80, 14, 5, 0, 2, 1, 4, 0]), 3, 9),
            (attributes([0x80, 15, 4, 0, 2, 1, 129]), 3, 9),
            (frame(2, [0, 1, 33, 0, 0]), 3, 10), (attributes([], nlri: [24, 10]), 3, 10),
            (attributes([0x40, 2, 2, 3, 1]), 3, 11), (attributes([0x40, 2, 3, 2, 1, 0]), 3, 11),
        ] as [([UInt8], UInt8, UInt8)])
    func refused(bytes: [UInt8], code: UInt8, subcode: UInt8) {
        let error = #expect(throws: BGPError.self) { try BGPMessage(decoding: bytes[...]) }
        #expect(error?.code == code)
        #expect(error?.subcode == subcode)
    }

    @Test func anUpdateTooLongIsRefused() {
        let prefix = Prefix(host: IPAddress(family: .ipv4, numericValue: 1))
        let update = Update(withdrawn: Array(repeating: prefix, count: 1000))
        #expect(throws: BGPError.self) { try BGPMessage.update(update).encoded() }
    }
}

import DNS
import NetworkTypes
import Testing

@Suite struct MessageTests {
    @Test(arguments: [
        ("www.example.com", "www.example.com.", 17),
        ("www.example.com.", "www.example.com.", 17),
        (".", ".", 1),
        ("a\\.b.c", "a\\.b.c.", 7),
        ("a\\032b", "a\\032b.", 5),
    ])
    func namesParseAndPrint(text: String, printed: String, octets: Int) throws {
        let name = try #require(DNSName(text))
        #expect(name.description == printed)
        #expect(name.wire.count == octets)
    }

    @Test(arguments: [
        "a..b", ".a", String(repeating: "x", count: 64), "a\\25", "a\\999",
        Array(repeating: String(repeating: "y", count: 63), count: 4).joined(separator: "."),
    ])
    func badNamesAreRefused(text: String) { #expect(DNSName(text) == nil) }

    @Test func namesCompareWithoutCase() throws {
        let lower = try #require(DNSName("www.example.com"))
        let upper = try #require(DNSName("WWW.Example.COM"))
        #expect(lower == upper)
        #expect(lower.hashValue == upper.hashValue)
        #expect(upper.isWithin(try #require(DNSName("EXAMPLE.com"))))
        #expect(!upper.isWithin(try #require(DNSName("ample.com"))))
        #expect(upper.isWithin(.root))
    }

    @Test(arguments: ["10.1.2.3", "0.0.0.0", "2001:db8::ff", "::"])
    func reverseNamesComeBack(text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(DNSName(reverse: address).reverseAddress == address)
    }

    /// A query as dig sends it: ID 0xBEEF, RD, one question, an OPT with a client cookie.
    static let digQuery: [UInt8] =
        [0xBE, 0xEF, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1]  // header: RD and AD, QD 1, AR 1
        + [3] + Array("WwW".utf8) + [4] + Array("test".utf8) + [0]  // name
        + [0, 1, 0, 1]  // type A, class IN
        + [0, 0, 41, 0x04, 0xD0, 0, 0, 0x80, 0, 0, 12]  // OPT: 1232 octets, DO, 12 of data
        + [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]  // COOKIE of 8 octets

    private func parse(_ bytes: [UInt8]) -> (QueryVerdict, ParsedQuery, [UInt8]) {
        var query = ParsedQuery()
        var name = [UInt8](repeating: 0, count: 264)
        let verdict = name.withUnsafeMutableBufferPointer { scratch in
            bytes.withUnsafeBufferPointer { buffer in
                scratch.baseAddress.map {
                    QueryParser(nameHash: NameHash(seed: 1))
                        .parse(buffer, lowercased: $0, into: &query)
                } ?? .drop
            }
        }
        return (verdict, query, Array(name.prefix(query.nameLength)))
    }

    @Test func aQueryParses() {
        let (verdict, query, name) = parse(Self.digQuery)
        #expect(verdict == .query)
        #expect(query.id == 0xBEEF)
        #expect(query.type == 1)
        #expect(query.questionClass == 1)
        #expect(query.hasEDNS)
        #expect(query.dnssecOK)
        #expect(query.datagramLimit == 1232)
        #expect(query.cookieLength == 8)
        #expect(Self.digQuery[query.cookieOffset] == 1)
        #expect(name == [3] + Array("www".utf8) + [4] + Array("test".utf8) + [0])
    }

    @Test func everyPrefixAndFlippedBitIsHandled() {
        for count in 0..<Self.digQuery.count {
            let (verdict, _, _) = parse(Array(Self.digQuery[..<count]))
            #expect(verdict != .query, "\(count) octets are no query")
        }
        for index in Self.digQuery.indices {
            for bit in 0..<8 {
                var bytes = Self.digQuery
                bytes[index] ^= 1 << UInt8(bit)
                _ = parse(bytes)
                _ = try? DNSMessage(decoding: bytes.span)
            }
        }
    }

    @Test func malformedQueriesAreRefused() {
        var response = Self.digQuery
        response[2] |= 0x80
        #expect(parse(response).0 == .drop)
        var update = Self.digQuery
        update[2] |= 0x28
        #expect(parse(update).0 == .refuse(.notImplemented))
        var none = Self.digQuery
        none[5] = 0
        #expect(parse(none).0 == .refuse(.formatError))
        var cookie = Self.digQuery
        cookie[Self.digQuery.count - 9] = 7
        cookie.removeLast()
        cookie[Self.digQuery.count - 13] = 11
        #expect(parse(cookie).0 == .refuse(.formatError))
        var twice = Self.digQuery
        twice[11] = 2
        twice += [0, 0, 41, 4, 0xD0, 0, 0, 0, 0, 0, 0]
        #expect(parse(twice).0 == .refuse(.formatError))
    }

    @Test func compressionLoopsAreRefused() {
        let header: [UInt8] = [0, 1, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        let cases: [([UInt8], DNSDecodeError)] = [
            ([0xC0, 12, 0, 1, 0, 1], .forwardPointer),
            ([1, 97, 0xC0, 12, 0, 1, 0, 1], .forwardPointer),
            ([0xC0, 200, 0, 1, 0, 1], .forwardPointer),
            ([0x80, 1, 0, 1, 0, 1], .reservedLabelType),
            ([5, 97], .truncated("name")),
        ]
        for (bytes, error) in cases {
            let all = header + bytes
            #expect(throws: error) { try DNSMessage(decoding: all.span) }
        }
    }

    @Test func messagesComeBackFromTheirBytes() throws {
        let name = try #require(DNSName("www.example.com"))
        let zone = try #require(DNSName("example.com"))
        let message = DNSMessage(
            id: 9, flags: 0x8180, questions: [DNSQuestion(name: name, type: .a)],
            answers: [
                ResourceRecord(
                    name: name, type: .cname, timeToLiveSeconds: 5,
                    data: [3] + Array("web".utf8) + zone.wire),
                ResourceRecord(name: name, type: .a, timeToLiveSeconds: 60, data: [192, 0, 2, 1]),
            ],
            authorities: [
                ResourceRecord(
                    name: zone, type: .soa, timeToLiveSeconds: 1,
                    data: zone.wire + zone.wire + Array(repeating: 0, count: 20))
            ],
            additionals: [
                ResourceRecord(
                    name: name, type: .srv, timeToLiveSeconds: 2,
                    data: [0, 0, 0, 1, 0, 80] + name.wire)
            ])
        let bytes = MessageEncoder.encode(message)
        #expect(try DNSMessage(decoding: bytes.span) == message)
        // Names after the first are pointers, but for SRV's, which must not be.
        let plain =
            12 + 21 + (17 + 10 + 17) + (17 + 14) + (13 + 10 + 46) + (17 + 10 + 23)
        #expect(bytes.count == plain - (15 + 11) - 15 - (11 + 11 + 11) - 15)
    }

    @Test func cookiesFollowTheTestVectorsOfRFC9018() {
        // RFC 9018, appendix A.1: secret e5e973e5a6b2a43f48e7dc849e37bfcf, client 198.51.100.100.
        let secret = ServerCookie(key0: 0x3FA4_B2A6_E573_E9E5, key1: 0xCFBF_379E_84DC_E748)
        let client = UInt64(bigEndian: 0x2464_C4AB_CF10_C957)
        let cookie = secret.make(
            client: client, address: .v4(0xC633_6464), nowSeconds: 1_559_731_985)
        #expect(cookie.0 == client)
        #expect(UInt64(bigEndian: cookie.1) == 0x0100_0000_5CF7_9F11)
        #expect(UInt64(bigEndian: cookie.2) == 0x1F81_30C3_EEE2_9480)
        #expect(
            secret.isValid(
                client: client, middle: cookie.1, hash: cookie.2, address: .v4(0xC633_6464),
                nowSeconds: 1_559_732_000))
        #expect(
            !secret.isValid(
                client: client, middle: cookie.1, hash: cookie.2, address: .v4(0xC633_6465),
                nowSeconds: 1_559_732_000))
        #expect(
            !secret.isValid(
                client: client, middle: cookie.1, hash: cookie.2, address: .v4(0xC633_6464),
                nowSeconds: 1_559_739_000))
    }

    @Test func paddedQueriesAreWholeBlocks() throws {
        for length in 1...60 {
            let name = try #require(DNSName(labels: [String(repeating: "a", count: length)]))
            let query = DNSMessage.query(id: 1, DNSQuestion(name: name, type: .a))
            let bytes = MessageEncoder.encode(query.padded(toMultipleOf: Padding.queryBlock))
            #expect(bytes.count == 128)
            let decoded = try DNSMessage(decoding: bytes.span)
            // OPTION-CODE 12, OPTION-LENGTH, zeros (RFC 7830, 3).
            let data = try #require(decoded.additionals.first?.data)
            #expect(data.prefix(2) == [0, 12] && data.dropFirst(4).allSatisfy { $0 == 0 })
            #expect(Int(data[3]) == data.count - 4)
        }
        let bare = DNSMessage.query(
            id: 1, DNSQuestion(name: .root, type: .ns), datagramLimit: nil)
        #expect(bare.padded(toMultipleOf: 128) == bare)
    }
}

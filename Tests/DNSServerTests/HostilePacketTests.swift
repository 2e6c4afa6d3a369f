import DNS
import FuzzSupport
import Glibc
import NetworkTypes
import TestSupport
import Testing

@testable import DNSServer

/// Packets that nobody should send, at both sides of the server: whatever they are, it answers the
/// next honest question, tells no lie, and grows no larger. A sample; PORTOLAN_SOAK=1 sends
/// ten million.
@Suite(.offPool) struct HostilePacketTests {
    private static let isSoak = getenv("PORTOLAN_SOAK") != nil
    private static var count: Int { isSoak ? 10_000_000 : 20_000 }

    /// Clients' side: mutated queries in bursts over UDP, now and then over TCP.
    @Test func queries() throws {
        let fixture = try ServerFixture()
        var mutator = PacketMutator(seed: 1, seeds: try Self.queries)
        let client = try RawClient(fixture.address, patienceSeconds: 5)
        var sizeAfterWarmUp = 0
        var sent = 0
        while sent < Self.count {
            for _ in 0..<100 { client.send(mutator.next()) }
            sent += 100
            if sent % 5_000 == 0 {
                let stream = try RawClient(fixture.address, stream: true)
                for _ in 0..<20 { stream.sendFrame(mutator.next()) }
            }
            try Self.expectHonestAnswer(client)
            if sent == Self.count / 4 { sizeAfterWarmUp = Self.residentKiB }
        }
        #expect(Self.residentKiB - sizeAfterWarmUp < 32 << 10, "memory has grown")
        #expect(try fixture.dig("+short", "web.default.svc.cluster.local") == "10.96.1.1")
    }

    /// Upstreams' side, through the pure parts: mutated answers are taken only where they answer
    /// the question, and what is kept of them always makes a whole message within its limit.
    @Test func answers() throws {
        let name = try #require(DNSName("www.example.test"))
        let question = DNSQuestion(name: name, type: .a)
        var mutator = PacketMutator(seed: 2, seeds: try Self.answers(question))
        let hash = NameHash(seed: 3)
        let cache = AnswerCache()
        var taken = 0
        for round in 0..<Self.count {
            let packet = mutator.next()
            guard let message = ForwardedAnswer.accept(packet.span, id: 7, question: question)
            else { continue }
            taken += 1
            let limit = 512 + round % 4000
            let (bytes, _) = ForwardedAnswer.reply(
                message, id: 9, queryFlags: 0, question: question, limit: limit, reserve: 11)
            let reply = try DNSMessage(decoding: bytes.span)
            #expect(bytes.count + 11 <= limit && reply.id == 9 && reply.questions == [question])
            try Self.keep(message, question, hash, cache, limit: limit)
        }
        #expect(taken > Self.count / 100, "the mutations are too wild to test anything")
    }

    private static func keep(
        _ message: DNSMessage, _ question: DNSQuestion, _ hash: NameHash, _ cache: AnswerCache,
        limit: Int
    ) throws {
        let key = AnswerKey(type: 1, dnssecOK: false, checkingDisabled: false)
        let wire = question.name.lowercased.wire
        guard
            let lifetime = cacheLifetimeSeconds(message, CachePolicy()),
            let kept = CachedAnswer.make(
                message, hash: hash.hash(wire), key: key, lifetimeSeconds: lifetime,
                nowSeconds: 100)
        else { return }
        cache.insert(kept, nowSeconds: 100)
        let query = MessageEncoder.encode(.query(id: 5, question, datagramLimit: nil))
        try withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 12_000) { area in
            let output = try #require(area.baseAddress)
            let lowercased = output + 10_000
            var parsed = ParsedQuery()
            var writer = ResponseWriter(output: output, limit: limit, reserve: 0)
            try query.withUnsafeBufferPointer { buffer in
                let base = try #require(buffer.baseAddress)
                let parser = QueryParser(nameHash: hash)
                #expect(parser.parse(buffer, lowercased: lowercased, into: &parsed) == .query)
                let found = try #require(cache.find(parsed, lowercased, key))
                found.write(parsed, base, nowSeconds: 101, into: &writer)
            }
            #expect(writer.length <= limit)
            _ = try DNSMessage(
                decoding: UnsafeBufferPointer(start: output, count: writer.length).span)
        }
    }

    /// Upstreams' side, over sockets: lies before the truth, for many questions. The client gets the
    /// truth or SERVFAIL, never a lie.
    @Test func lyingUpstream() throws {
        let liar = try RawServer()
        let fixture = try ServerFixture(routes: [
            ForwardRoute(upstreams: [Upstream(liar.address)], cache: nil)
        ])
        let client = try RawClient(fixture.address)
        var random = RandomNumbers(seed: 4)
        for round in 0..<(Self.isSoak ? 20_000 : 100) {
            client.send(try queryBytes("n\(round).example.test", id: UInt16(round & 0xFFFF)))
            var packet = try #require(liar.receive())
            var query = try DNSMessage(decoding: packet.bytes.span)
            while query.questions.first?.type == .hinfo {
                packet = try #require(liar.receive())
                query = try DNSMessage(decoding: packet.bytes.span)
            }
            let truth = Self.truth(query, [192, 0, 2, 9])
            let lie = MessageEncoder.encode(Self.truth(query, [6, 6, 6, 6]))
            var wrongID = lie
            wrongID[0] ^= UInt8(1 + random.next(below: 255))
            liar.send(wrongID, to: packet.client)
            liar.send(Array(lie.prefix(random.next(below: lie.count - 20))), to: packet.client)
            var loop = Array(lie.prefix(12 + query.questions[0].name.wire.count + 4))
            loop[7] = 1
            loop += [0xC0, UInt8(loop.count), 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 6, 6, 6, 6]
            liar.send(loop, to: packet.client)
            liar.send([UInt8](repeating: 0xC0, count: 4000), to: packet.client)
            // From an address that was not asked: the kernel keeps it away.
            try RawServer().send(lie, to: packet.client)
            liar.send(MessageEncoder.encode(truth), to: packet.client)
            let answer = try DNSMessage(decoding: client.receive().span)
            #expect(answer.id == UInt16(round & 0xFFFF))
            let data = answer.answers.map(\.data)
            #expect(data == [[192, 0, 2, 9]] || answer.responseCode == .serverFailure)
        }
    }

    // MARK: - Parts

    private static func truth(_ query: DNSMessage, _ data: [UInt8]) -> DNSMessage {
        DNSMessage(
            id: query.id, flags: 0x8180, questions: query.questions,
            answers: [
                ResourceRecord(
                    name: query.questions[0].name, type: .a, timeToLiveSeconds: 9, data: data)
            ])
    }

    /// Waits for the answer to a question with an ID of its own among the answers that came before.
    private static func expectHonestAnswer(_ client: RawClient) throws {
        let id: UInt16 = 0xBEEF
        for attempt in 0..<5 {
            client.send(try queryBytes("web.default.svc.cluster.local", id: id))
            for _ in 0..<2_000 {
                let bytes = client.receive()
                if bytes.isEmpty { break }
                guard bytes.count > 12, bytes[0] == 0xBE, bytes[1] == 0xEF,
                    let answer = try? DNSMessage(decoding: bytes.span),
                    answer.answers.first?.data == [10, 96, 1, 1]
                else { continue }
                return
            }
            // A burst may overflow the socket's buffer, as UDP allows.
            if attempt == 4 { throw TestFailure("no honest answer any more") }
        }
    }

    private static var residentKiB: Int {
        let text = (try? Command.check(["cat", "/proc/\(getpid())/statm"]).output) ?? ""
        return (text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4
    }

    private static var queries: [[UInt8]] {
        get throws {
            try [
                "web.default.svc.cluster.local", "big.default.svc.cluster.local", "cluster.local",
                "1.1.96.10.in-addr.arpa", "10-0-0-1.default.pod.cluster.local",
            ].flatMap { name in
                try [RecordType.a, .aaaa, .srv, .ptr, .any, .axfr].map {
                    try queryBytes(name, $0, id: 1)
                }
            }
        }
    }

    private static func answers(_ question: DNSQuestion) throws -> [[UInt8]] {
        let target = try #require(DNSName("target.example.test"))
        func record(_ name: DNSName, _ type: RecordType, _ data: [UInt8]) -> ResourceRecord {
            ResourceRecord(name: name, type: type, timeToLiveSeconds: 300, data: data)
        }
        let soa = record(
            target, .soa, target.wire + target.wire + [UInt8](repeating: 1, count: 20))
        let sections: [(UInt16, [ResourceRecord], [ResourceRecord])] = [
            (0, [record(question.name, .a, [192, 0, 2, 1])], []),
            (
                0,
                [
                    record(question.name, .cname, target.wire),
                    record(target, .a, [192, 0, 2, 1]),
                ], [soa]
            ),
            (3, [], [soa]), (0, [], [soa]), (2, [], []),
            (0, (0..<90).map { record(question.name, .a, [10, 0, 0, UInt8($0)]) }, []),
            (0, [record(question.name, .srv, [0, 1, 0, 1, 0, 80] + target.wire)], []),
            (0, [record(question.name, .mx, [0, 5] + target.wire)], [soa]),
        ]
        return sections.map { code, answers, authorities in
            MessageEncoder.encode(
                DNSMessage(
                    id: 7, flags: 0x8180 | code, questions: [question], answers: answers,
                    authorities: authorities,
                    additionals: [
                        ResourceRecord(
                            name: .root, type: .opt, recordClass: 1232, timeToLiveSeconds: 0,
                            data: [])
                    ]))
        }
    }
}

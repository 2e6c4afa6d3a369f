import DNS
import FuzzSupport
import Glibc
import NetworkTypes

// Feeds the query parser, the message decoder, the zone and the forwarder's judgement of answers
// with COUNT mutated packets, made from a seed, and checks what must hold of each: no crash, no
// answer longer than its limit, every answer decodes and repeats the question, every decoded message
// encodes and decodes to itself, what is taken from upstream answers what was asked.
//
//     DNSFuzz [COUNT] [SEED] [CORPUS-DIRECTORY]
//
// A packet that breaks a rule is written to the corpus directory and the exit code is 1. Every file
// that is in the directory at the start is tried first, so that a fault once found stays fixed.

let arguments = CommandLine.arguments
let count = arguments.count > 1 ? Int(arguments[1]) ?? 1_000_000 : 1_000_000
let seed = arguments.count > 2 ? UInt64(arguments[2]) ?? 1 : 1
let corpus = Corpus(directory: arguments.count > 3 ? arguments[3] : nil)
var fuzzer = Fuzzer(seed: seed)
var failures = 0

for packet in corpus.inputs { run(packet) }
for _ in 0..<count { run(fuzzer.next()) }
print(
    "\(count) packets, seed \(seed): \(failures) broke a rule, \(fuzzer.answered) were answered, "
        + "\(fuzzer.forwarded) taken from upstream")
if failures > 0 { exit(1) }

@MainActor func run(_ packet: [UInt8]) {
    guard let rule = fuzzer.check(packet) else { return }
    failures += 1
    print("\(rule): \(packet.map { String($0, radix: 16) }.joined(separator: " "))")
    corpus.keep(packet, name: "fault-\(seed)-\(failures)")
}

/// Makes packets and checks what becomes of them.
struct Fuzzer {
    private var mutator: PacketMutator
    private let zone: Zone
    private let reader: Int
    private let output = UnsafeMutablePointer<UInt8>.allocate(capacity: 70_000)
    private let name = UnsafeMutablePointer<UInt8>.allocate(capacity: 264)
    private(set) var answered = 0
    private(set) var forwarded = 0

    init(seed: UInt64) {
        zone = Zone(configuration: ZoneConfiguration(name: DNSName("cluster.local") ?? .root))
        zone.applyNamespace("default", exists: true)
        let port = ServiceRecordInput.Port(name: "http", transport: .tcp, port: 80)
        let inputs = [
            ServiceRecordInput(
                namespace: "default", name: "web", clusterIPs: [.v4(0x0A60_0101), .v6(1)],
                ports: [port]),
            ServiceRecordInput(namespace: "default", name: "out", externalName: "a.test"),
            ServiceRecordInput(
                namespace: "default", name: "db", isHeadless: true, ports: [port],
                endpoints: (0..<90).map {
                    ServiceRecordInput.Endpoint(addresses: [.v4(0x0AF4_0000 + $0)], ports: [port])
                }),
        ]
        for input in inputs { zone.apply(input.key, input) }
        reader = zone.table.epochs.register() ?? 0
        let names = [
            "web.default.svc.cluster.local", "_http._tcp.db.default.svc.cluster.local",
            "db.default.svc.cluster.local", "out.default.svc.cluster.local", "x.cluster.local",
            "1-2-3-4.default.pod.cluster.local", "1.1.96.10.in-addr.arpa", "www.example.com",
            "fd00--1.default.pod.cluster.local", "cluster.local",
        ]
        var packets = names.compactMap { DNSName($0) }.flatMap { name in
            [RecordType.a, .aaaa, .srv, .ptr, .soa, .any, .txt].map { type in
                MessageEncoder.encode(.query(id: 7, DNSQuestion(name: name, type: type)))
            }
        }
        if let question = DNSName("www.example.com"), let zone = DNSName("example.com") {
            packets.append(
                MessageEncoder.encode(
                    DNSMessage(
                        id: 7, flags: 0x8180, questions: [DNSQuestion(name: question, type: .a)],
                        answers: [
                            ResourceRecord(
                                name: question, type: .cname, timeToLiveSeconds: 5, data: zone.wire),
                            ResourceRecord(
                                name: zone, type: .mx, timeToLiveSeconds: 5,
                                data: [0, 1] + question.wire),
                        ],
                        authorities: [
                            ResourceRecord(
                                name: zone, type: .soa, timeToLiveSeconds: 1,
                                data: zone.wire + zone.wire + Array(repeating: 0, count: 20))
                        ])))
        }
        mutator = PacketMutator(seed: seed, seeds: packets, changeLimit: 7)
    }

    /// The next packet.
    mutating func next() -> [UInt8] { mutator.next() }

    private mutating func random(_ bound: Int) -> Int { mutator.numbers.next(below: bound) }

    /// The rule that `packet` makes the code break; nil for none.
    mutating func check(_ packet: [UInt8]) -> String? {
        if let message = try? DNSMessage(decoding: packet.span) {
            let bytes = MessageEncoder.encode(message)
            guard let again = try? DNSMessage(decoding: bytes.span), again == message else {
                if bytes.count <= WireSize.largestMessage { return "does not come back" }
                return nil
            }
        }
        return checkForwarded(packet) ?? checkAnswer(packet)
    }

    /// What a forwarder that asked for www.example.com under ID 7 makes of `packet`.
    private mutating func checkForwarded(_ packet: [UInt8]) -> String? {
        let question = DNSQuestion(name: DNSName("www.example.com") ?? .root, type: .a)
        guard let message = ForwardedAnswer.accept(packet.span, id: 7, question: question) else {
            return nil
        }
        forwarded += 1
        guard message.id == 7, message.questions == [question] else {
            return "an answer to another question is taken"
        }
        let limit = 512 + random(4000)
        let (bytes, _) = ForwardedAnswer.reply(
            message, id: 9, queryFlags: 0x0100, question: question, limit: limit, reserve: 11)
        guard bytes.count + 11 <= limit else { return "forwarded \(bytes.count) over \(limit)" }
        guard let reply = try? DNSMessage(decoding: bytes.span), reply.id == 9,
            reply.questions == [question]
        else { return "what is forwarded does not decode" }
        return nil
    }

    private mutating func checkAnswer(_ packet: [UInt8]) -> String? {
        var query = ParsedQuery()
        let limit = 512 + random(4000)
        var writer = ResponseWriter(output: output, limit: limit, reserve: 0)
        let rotation = UInt32(random(1000))
        let outcome = packet.withUnsafeBufferPointer { buffer -> ZoneOutcome? in
            let parser = QueryParser(nameHash: zone.table.nameHash)
            guard let base = buffer.baseAddress,
                parser.parse(buffer, lowercased: name, into: &query) == .query
            else { return nil }
            zone.table.epochs.online(reader)
            defer { zone.table.epochs.offline(reader) }
            return zone.answer(
                query, base, lowercased: name, setting: 0, rotation: rotation, into: &writer)
        }
        guard let outcome, outcome != .outside else { return nil }
        answered += 1
        guard writer.length <= limit else { return "answer of \(writer.length) over \(limit)" }
        let written = UnsafeBufferPointer(start: output, count: writer.length)
        guard let answer = try? DNSMessage(decoding: written.span) else {
            return "the answer does not decode"
        }
        guard answer.id == query.id, answer.questions.count == 1,
            answer.questions.first?.type.rawValue == query.type
        else { return "the answer is to another question" }
        return nil
    }
}

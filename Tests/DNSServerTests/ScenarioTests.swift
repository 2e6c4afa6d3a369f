import DNS
import NetworkTypes
import TestSupport
import Testing

@testable import DNSServer

/// The texts in `Scenarios/`: those about the zone against the pure resolver, all of them against
/// the real server over UDP and TCP.
@Suite(.offPool) struct ScenarioTests {
    @Test(arguments: Scenario.names("zone"))
    func pure(name: String) throws {
        let scenario = try Scenario(name)
        let zone = Self.zone(scenario)
        let resolver = try PureResolver(zone)
        for step in scenario.steps where try !step.apply(to: zone) {
            let lines = try resolver.ask(try step.question()).scenarioLines
            #expect(lines == step.expected, "\(name):\(step.line)")
        }
    }

    @Test(
        arguments: Scenario.names("zone") + Scenario.names("forward"), [false, true])
    func server(name: String, isStream: Bool) async throws {
        let scenario = try Scenario(name)
        let zone = Self.zone(scenario)
        let upstream = try ScriptedUpstream()
        var configuration = ServerConfiguration(
            listenAddresses: [SocketAddress(.v4(0x7F00_0001), port: 0)], zone: zone,
            routes: [ForwardRoute(upstreams: [Upstream(upstream.address)])],
            completesSearchPaths: true)
        // Scenarios count questions: a slow upstream must not be asked twice.
        configuration.limits.attemptSeconds = 600
        let server = DNSServer(configuration: configuration)
        try server.start()
        let address = try #require(server.configuration.listenAddresses.first)
        let client = try RawClient(address, stream: isStream)
        for step in scenario.steps where try !step.apply(to: zone) {
            try await Self.run(
                step, "\(name):\(step.line)", server, upstream,
                // Time that passes ends idle connections.
                isStream ? try RawClient(address, stream: true) : client, isStream)
        }
        server.stop()
        try upstream.stop()
    }

    private static func run(
        _ step: Scenario.Step, _ place: String, _ server: DNSServer, _ upstream: ScriptedUpstream,
        _ client: RawClient, _ isStream: Bool
    ) async throws {
        switch step.words[0] {
        case "wait": await server.passTime(seconds: UInt64(try step.seconds(1)))
        case "upstream": try set(upstream, step)
        case "asked":
            let count = Int(try step.seconds(1))
            try eventually("\(place): \(count) questions") { upstream.asked == count }
        case "ask":
            let lines = try ask(step, client, isStream)
            #expect(matches(lines, step.expected), "\(place): \(lines)")
        case "soon":
            try eventually(place) { matches(try ask(step, client, isStream), step.expected) }
        default: throw TestFailure("\(place): \(step.words)?")
        }
    }

    private static func ask(
        _ step: Scenario.Step, _ client: RawClient, _ isStream: Bool
    ) throws -> [String] {
        let bytes = MessageEncoder.encode(
            .query(id: UInt16(step.line), try step.question(), datagramLimit: 4096))
        isStream ? client.sendFrame(bytes) : client.send(bytes)
        let answer = isStream ? client.receiveFrame() ?? [] : client.receive()
        let message = try DNSMessage(decoding: answer.span)
        #expect(message.id == UInt16(step.line))
        return message.scenarioLines
    }

    /// Equal, but for TTLs that may be somewhat less: the clock goes on while a test runs.
    private static func matches(_ lines: [String], _ expected: [String]) -> Bool {
        lines.count == expected.count
            && zip(lines, expected.map { $0 }).allSatisfy { line, wanted in
                if line == wanted { return true }
                var words = wanted.split(separator: " ").map(String.init)
                let found = line.split(separator: " ").map(String.init)
                guard words.count > 2, found.count > 2, let most = UInt32(words[1]),
                    let seconds = UInt32(found[1]), seconds <= most, seconds + 25 > most
                else { return false }
                words[1] = found[1]
                return found == words
            }
    }

    private static func set(_ upstream: ScriptedUpstream, _ step: Scenario.Step) throws {
        switch try step.word(1) {
        case "fails": upstream.setFailing(true)
        case "works": upstream.setFailing(false)
        default:
            switch try step.word(2) {
            case "NXDOMAIN":
                upstream.set(
                    try step.name(1), .missing(timeToLiveSeconds: try step.seconds(3)))
            case "NODATA":
                upstream.set(try step.name(1), .empty(timeToLiveSeconds: try step.seconds(3)))
            default:
                upstream.set(
                    try step.name(1),
                    .address(
                        try step.address(try step.word(4)),
                        timeToLiveSeconds: try step.seconds(2)))
            }
        }
    }

    private static func zone(_ scenario: Scenario) -> Zone {
        let first = scenario.steps.first?.words ?? []
        let mode = first.first == "pods" ? PodRecordMode(rawValue: first[1]) : nil
        return Zone(
            configuration: ZoneConfiguration(
                name: DNSName("cluster.local") ?? .root, podRecords: mode ?? .insecure))
    }
}

/// Asks a zone without a server: bytes through the parser, the table and the writer.
struct PureResolver {
    let zone: Zone
    private let reader: Int

    init(_ zone: Zone) throws {
        self.zone = zone
        reader = try #require(zone.table.epochs.register())
    }

    func ask(_ question: DNSQuestion) throws -> DNSMessage {
        let bytes = MessageEncoder.encode(.query(id: 1, question))
        let room = WireSize.largestMessage
        return try withUnsafeTemporaryAllocation(of: UInt8.self, capacity: room + 4096 + 264) {
            area in
            let output = try #require(area.baseAddress)
            let name = output + room + 4096
            var query = ParsedQuery()
            var writer = ResponseWriter(output: output, limit: room, reserve: 0)
            let parser = QueryParser(nameHash: zone.table.nameHash)
            try bytes.withUnsafeBufferPointer { buffer in
                let base = try #require(buffer.baseAddress)
                guard parser.parse(buffer, lowercased: name, into: &query) == .query else {
                    throw TestFailure("the query does not parse")
                }
                zone.table.epochs.online(reader)
                defer { zone.table.epochs.offline(reader) }
                let outcome = zone.answer(
                    query, base, lowercased: name, setting: 0, rotation: 0, into: &writer)
                if outcome == .outside { throw TestFailure("\(question.name) is outside") }
            }
            return try DNSMessage(
                decoding: UnsafeBufferPointer(start: output, count: writer.length).span)
        }
    }
}

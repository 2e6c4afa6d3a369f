import DNS
import NetworkTypes
import Testing

/// Asks a zone as the server does: real bytes through the parser, the table and the writer.
struct ZoneHarness: Sendable {
    let zone: Zone

    init(
        podRecords: PodRecordMode = .insecure, reverseFallsThrough: Bool = true,
        timeToLiveSeconds: UInt32 = 30
    ) throws {
        let name = try #require(DNSName("cluster.local"))
        zone = Zone(
            configuration: ZoneConfiguration(
                name: name, timeToLiveSeconds: timeToLiveSeconds,
                serverAddresses: [.v4(0x0A60_000A)], podRecords: podRecords,
                fallthroughZones: reverseFallsThrough ? [.inAddrArpa, .ip6Arpa] : [],
                serial: 7))
    }

    init(zone: Zone) { self.zone = zone }

    /// A zone restored from a snapshot.
    init(restoring bytes: [UInt8], timeToLiveSeconds: UInt32 = 30) throws {
        let like = try ZoneHarness(timeToLiveSeconds: timeToLiveSeconds)
        let memory = try #require(SnapshotMemory(byteCount: max(1, bytes.count)))
        memory.bytes.copyBytes(from: bytes)
        zone = try Zone.restored(from: memory, configuration: like.zone.configuration)
    }

    /// The outcome and the decoded answer, nil where nothing was written.
    func ask(
        _ name: String, _ type: RecordType = .a, limit: Int = WireSize.largestMessage,
        rotation: UInt32 = 0
    ) throws -> (outcome: ZoneOutcome, message: DNSMessage?) {
        let question = DNSQuestion(name: try #require(DNSName(name)), type: type)
        let bytes = MessageEncoder.encode(.query(id: 0x1234, question))
        let area = UnsafeMutablePointer<UInt8>.allocate(capacity: 70_000)
        let lowercased = UnsafeMutablePointer<UInt8>.allocate(capacity: 264)
        defer {
            area.deallocate()
            lowercased.deallocate()
        }
        var query = ParsedQuery()
        var writer = ResponseWriter(output: area, limit: limit, reserve: 0)
        let reader = try #require(zone.table.epochs.register())
        defer { zone.table.epochs.unregister(reader) }
        let outcome = bytes.withUnsafeBufferPointer { buffer -> ZoneOutcome? in
            let parser = QueryParser(nameHash: zone.table.nameHash)
            guard let base = buffer.baseAddress,
                parser.parse(buffer, lowercased: lowercased, into: &query) == .query
            else { return nil }
            zone.table.epochs.online(reader)
            defer { zone.table.epochs.offline(reader) }
            return zone.answer(
                query, base, lowercased: lowercased, setting: 0, rotation: rotation,
                into: &writer)
        }
        let found = try #require(outcome)
        if found == .outside { return (found, nil) }
        let written = UnsafeBufferPointer(start: area, count: writer.length)
        let message = try DNSMessage(decoding: written.span)
        #expect(message.id == 0x1234)
        #expect(message.questions == [question])
        #expect(message.questions.first?.name.wire == question.name.wire, "the case is echoed")
        return (found, message)
    }

    /// The answers as text, sorted.
    func answers(_ name: String, _ type: RecordType = .a) throws -> [String] {
        try ask(name, type).message?.answers.map(\.text).sorted() ?? []
    }
}

extension ResourceRecord {
    /// `name TTL TYPE data`, as a zone file has it.
    var text: String { "\(name) \(timeToLiveSeconds) \(type) \(dataText)" }

    private var dataText: String {
        switch type {
        case .a, .aaaa: IPAddress(networkBytes: data)?.description ?? "?"
        case .cname, .ptr, .ns: DNSName(wire: data)?.description ?? "?"
        case .srv:
            "\(number(0)) \(number(2)) \(number(4)) "
                + (DNSName(wire: Array(data[6...]))?.description ?? "?")
        case .txt: String(decoding: data.dropFirst(), as: UTF8.self)
        default: data.map { String($0, radix: 16) }.joined(separator: " ")
        }
    }

    private func number(_ offset: Int) -> Int { Int(data[offset]) << 8 | Int(data[offset + 1]) }
}

/// Inputs that several tests use.
enum Sample {
    static func port(
        _ name: String = "http", _ number: UInt16 = 80, _ transport: TransportProtocol = .tcp
    ) -> ServiceRecordInput.Port {
        ServiceRecordInput.Port(name: name, transport: transport, port: number)
    }

    static func endpoint(
        _ address: String, hostname: String? = nil, isReady: Bool = true,
        ports: [ServiceRecordInput.Port] = [port()]
    ) throws -> ServiceRecordInput.Endpoint {
        ServiceRecordInput.Endpoint(
            addresses: [try #require(IPAddress(address))], hostname: hostname, isReady: isReady,
            ports: ports)
    }

    static func clusterIP(
        _ name: String = "web", _ addresses: [String] = ["10.96.1.1"],
        ports: [ServiceRecordInput.Port] = [port()]
    ) -> ServiceRecordInput {
        ServiceRecordInput(
            namespace: "default", name: name, clusterIPs: addresses.compactMap { IPAddress($0) },
            ports: ports)
    }

    static func headless(
        _ name: String = "db", _ endpoints: [ServiceRecordInput.Endpoint]
    ) -> ServiceRecordInput {
        ServiceRecordInput(
            namespace: "default", name: name, isHeadless: true, ports: [port()],
            endpoints: endpoints)
    }
}

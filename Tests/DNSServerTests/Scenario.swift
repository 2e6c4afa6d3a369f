import DNS
import NetworkTypes
import TestSupport

/// A text of questions, expected answers and passing time, in `Scenarios/`. A line each:
///
///     pods verified|insecure|disabled        (first, if at all)
///     namespace NAME
///     service NS/NAME ip=A,B port=NAME:N/PROTO…
///     headless NS/NAME [publish] port=… endpoint=ADDRESS[,HOST]… unready=ADDRESS[,HOST]…
///     alias NS/NAME TARGET
///     pod NS/NAME [ADDRESS]                   (none: the pod is gone)
///     client NAMESPACE|none                   (whose pod the asking address is)
///     remove NS/NAME
///     upstream NAME SECONDS A|AAAA ADDRESS    or NAME NXDOMAIN|NODATA SECONDS, fails, works
///     wait SECONDS
///     ask NAME TYPE                           then `= CODE [aa] [soa]` and the answers' lines
///     soon NAME TYPE                          the same, where the answer may take a moment
///     asked N                                 questions the upstream has had
struct Scenario {
    /// One line, with the lines that belong to it.
    struct Step {
        var line: Int
        var words: [String]
        var expected: [String] = []
    }

    let name: String
    private(set) var steps: [Step] = []

    /// The directory with the texts.
    static var directory: String {
        let here = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        return here.joined(separator: "/") + "/Scenarios"
    }

    /// The names of the texts in a directory below.
    static func names(_ directory: String) -> [String] {
        let list = try? Command.check(["ls", "\(Self.directory)/\(directory)"]).output
        return (list ?? "").split(separator: "\n").map { "\(directory)/\($0)" }
    }

    init(_ name: String) throws {
        self.name = name
        let text = try Command.check(["cat", "\(Self.directory)/\(name)"]).output
        for (index, raw) in text.split(separator: "\n", omittingEmptySubsequences: false)
            .enumerated()
        {
            let words = raw.split(separator: " ").map(String.init)
            guard let first = words.first, !first.hasPrefix("#") else { continue }
            if first == "=" || first.contains(".") {
                guard !steps.isEmpty else { throw TestFailure("\(name):\(index + 1): no question") }
                steps[steps.count - 1].expected.append(words.joined(separator: " "))
            } else {
                steps.append(Step(line: index + 1, words: words))
            }
        }
    }
}

extension Scenario.Step {
    /// The argument at `index`.
    func word(_ index: Int) throws -> String {
        guard words.indices.contains(index) else {
            throw TestFailure("line \(line): \(words) is too short")
        }
        return words[index]
    }

    func key() throws -> ServiceKey {
        let parts = try word(1).split(separator: "/").map(String.init)
        guard parts.count == 2 else { throw TestFailure("line \(line): no NS/NAME") }
        return ServiceKey(namespace: parts[0], name: parts[1])
    }

    func name(_ index: Int) throws -> DNSName {
        guard let name = DNSName(try word(index)) else {
            throw TestFailure("line \(line): \(words[index]) is no name")
        }
        return name
    }

    func address(_ text: some StringProtocol) throws -> IPAddress {
        guard let address = IPAddress(String(text)) else {
            throw TestFailure("line \(line): \(text) is no address")
        }
        return address
    }

    func seconds(_ index: Int) throws -> UInt32 {
        guard let value = UInt32(try word(index)) else {
            throw TestFailure("line \(line): \(words[index]) is no number")
        }
        return value
    }

    func question() throws -> DNSQuestion {
        guard let type = RecordType(try word(2)) else {
            throw TestFailure("line \(line): \(words[2]) is no type")
        }
        return DNSQuestion(name: try name(1), type: type)
    }

    /// The Service that a `service`, `headless` or `alias` line describes.
    func service() throws -> ServiceRecordInput {
        let key = try key()
        var input = ServiceRecordInput(namespace: key.namespace, name: key.name)
        if words[0] == "alias" {
            input.externalName = try word(2)
            return input
        }
        input.isHeadless = words[0] == "headless"
        for word in words.dropFirst(2) {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            switch (parts[0], parts.last ?? "") {
            case ("ip", let list):
                input.clusterIPs = try list.split(separator: ",").map { try address($0) }
            case ("port", let text): input.ports.append(try port(text))
            case ("publish", _): input.publishNotReadyAddresses = true
            case ("endpoint", let text): input.endpoints.append(try endpoint(text, isReady: true))
            case ("unready", let text): input.endpoints.append(try endpoint(text, isReady: false))
            default: throw TestFailure("line \(line): \(word)?")
            }
        }
        for index in input.endpoints.indices { input.endpoints[index].ports = input.ports }
        return input
    }

    private func port(_ text: String) throws -> ServiceRecordInput.Port {
        let parts = text.split { $0 == ":" || $0 == "/" }.map(String.init)
        guard parts.count == 3, let number = UInt16(parts[1]),
            let transport = TransportProtocol(rawValue: parts[2])
        else { throw TestFailure("line \(line): \(text) is no NAME:N/PROTO") }
        return ServiceRecordInput.Port(name: parts[0], transport: transport, port: number)
    }

    private func endpoint(
        _ text: String, isReady: Bool
    ) throws -> ServiceRecordInput.Endpoint {
        let parts = text.split(separator: ",").map(String.init)
        return ServiceRecordInput.Endpoint(
            addresses: [try address(parts[0])], hostname: parts.count > 1 ? parts[1] : nil,
            isReady: isReady)
    }

    /// Applies a line about the cluster to a zone; false where it is about something else.
    func apply(to zone: Zone) throws -> Bool {
        switch words[0] {
        case "namespace": zone.applyNamespace(try word(1), exists: true)
        case "service", "headless", "alias": zone.apply(try key(), try service())
        case "remove": zone.apply(try key(), nil)
        case "pod":
            zone.applyPod(try key(), addresses: try words.dropFirst(2).map { try address($0) })
        case "client":
            let name = try word(1)
            zone.applyClient(.v4(0x7F00_0001), namespace: name == "none" ? nil : name)
        case "pods": break
        default: return false
        }
        return true
    }
}

extension DNSMessage {
    /// The message as a scenario expects it: code, marks, and the answers, sorted. TTLs of answers
    /// that are not the zone's may be one second behind.
    var scenarioLines: [String] {
        var head = "= \(responseCode)"
        if flags & HeaderFlags.authoritative != 0 { head += " aa" }
        if authorities.contains(where: { $0.type == .soa }) { head += " soa" }
        return [head] + answers.map(\.scenarioText).sorted()
    }
}

extension ResourceRecord {
    /// `name TTL TYPE data`, as a zone file has it.
    var scenarioText: String { "\(name) \(timeToLiveSeconds) \(type) \(dataText)" }

    private var dataText: String {
        switch type {
        case .a, .aaaa: IPAddress(networkBytes: data)?.description ?? "?"
        case .cname, .ptr, .ns: DNSName(wire: data)?.description ?? "?"
        case .srv:
            "\(number(0)) \(number(2)) \(number(4)) "
                + (DNSName(wire: Array(data[6...]))?.description ?? "?")
        case .txt, .hinfo:
            String(decoding: data.dropFirst().prefix(Int(data.first ?? 0)), as: UTF8.self)
        default: data.map { String($0, radix: 16) }.joined(separator: " ")
        }
    }

    private func number(_ offset: Int) -> Int { Int(data[offset]) << 8 | Int(data[offset + 1]) }
}

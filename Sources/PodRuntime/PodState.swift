import Glibc
import Informer
import JSON
import KubernetesAPI
import NetworkTypes

/// What a node keeps of a pod on disk, so that an agent that starts anew takes the pod over.
struct PodState: Sendable {
    var key: ObjectKey
    var uid: String
    var address: IPAddress?
    var startTime: Timestamp
    var containers: [String: ContainerRecord]

    private static let name = "/state.json"

    /// Reads the state in a pod's directory; nil where there is none that can be read.
    static func read(_ directory: String) -> PodState? {
        guard let bytes = try? Files.read(directory + name),
            let json = try? JSONValue(parsing: bytes)
        else { return nil }
        var containers: [String: ContainerRecord] = [:]
        for (name, record) in json["containers"]?.object ?? [:] {
            containers[name] = ContainerRecord(json: record)
        }
        return PodState(
            key: ObjectKey(
                namespace: json["namespace"]?.string ?? "", name: json["name"]?.string ?? ""),
            uid: json["uid"]?.string ?? "",
            address: json["address"]?.string.flatMap { IPAddress($0) },
            startTime: Timestamp(nanoseconds: json["startTime"]?.integer ?? 0),
            containers: containers)
    }

    /// Writes the state into a pod's directory.
    func write(_ directory: String) throws {
        var records: JSONValue = [:]
        for (name, record) in containers.sorted(by: { $0.key < $1.key }) {
            records[name] = record.json
        }
        var json: JSONValue = [
            "namespace": .string(key.namespace), "name": .string(key.name), "uid": .string(uid),
            "startTime": .integer(startTime.nanoseconds), "containers": records,
        ]
        json["address"] = address.map { .string($0.description) }
        try Files.makeDirectories(directory)
        try Files.replace(directory + Self.name, json.serializedBytes)
    }
}

/// What /proc says of processes.
enum ProcessTable {
    /// True where a process has a handler for the signal, or keeps it for later (proc(5), status:
    /// SigCgt, SigBlk).
    static func heeds(_ signal: Int32, _ processID: pid_t) -> Bool {
        let lines = (Files.text("/proc/\(processID)/status") ?? "").split(separator: "\n")
        return lines.contains { line in
            guard line.hasPrefix("SigCgt:") || line.hasPrefix("SigBlk:") else { return false }
            let mask = UInt64(trimmed(String(line.dropFirst(7))), radix: 16) ?? 0
            return mask >> UInt64(signal - 1) & 1 == 1
        }
    }

    /// When the kernel started a process, in clock ticks since boot (proc(5), stat field 22); nil
    /// where there is none, or a dead one that waits to be reaped. A number that is used again has
    /// another start.
    static func startTime(_ processID: pid_t) -> UInt64? {
        guard let text = Files.text("/proc/\(processID)/stat"),
            let close = text.lastIndex(of: ")")
        else { return nil }
        let fields = text[text.index(after: close)...].split(separator: " ")
        guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
        return UInt64(fields[19])
    }
}

import JSON
public import KubernetesAPI
public import Logging

/// Writes `core/v1` Events that `kubectl describe` and `kubectl get events` show. An event that
/// repeats (same object, type, reason and message) raises the count of the one that is there. As in
/// client-go, one object gets a burst of 25 events and then one each five minutes; what is beyond
/// that, and what cannot be written, is dropped and counted, never thrown at the caller.
public actor EventRecorder {
    /// The two types of Event that Kubernetes knows.
    public enum EventType: String, Sendable {
        case normal = "Normal"
        case warning = "Warning"
    }

    /// What the recorder counts.
    public struct Counters: Hashable, Sendable {
        /// Events created or raised in count.
        public var written = 0
        /// Events beyond an object's allowance.
        public var dropped = 0
        /// Events the API server refused.
        public var failed = 0
    }

    private struct Key: Hashable {
        var regarding: ObjectReference
        var type: EventType
        var reason: String
        var message: String
    }

    private struct Entry {
        var namespace: String
        var name: String
        var count: Int64
        var first: Timestamp
        var last: Timestamp
    }

    private struct Allowance {
        var tokens: Double
        var at: Timestamp
    }

    /// Entries and allowances kept; the older half is forgotten beyond that.
    private static let cacheLimit = 4096
    private static let burst = 25.0
    private static let tokensPerSecond = 1.0 / 300

    private let client: any KubernetesClient
    private let component: String
    private let host: String
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private var entries: [Key: Entry] = [:]
    private var allowances: [ObjectReference: Allowance] = [:]
    private var lastName: Int64 = 0

    /// The counts so far.
    public private(set) var counters = Counters()

    /// Makes a recorder.
    /// - Parameters:
    ///   - component: what `kubectl describe` shows under From, such as `portolan-speaker`.
    ///   - host: the node it runs on, or an empty string.
    public init(
        client: any KubernetesClient, component: String, host: String = "",
        logger: Logger = Logger(label: "portolan.events"),
        now: @Sendable @escaping () -> Timestamp = { .now }
    ) {
        self.client = client
        self.component = component
        self.host = host
        self.logger = logger
        self.now = now
    }

    /// Records an event about `object` and returns when it is written or dropped.
    public func record(
        _ type: EventType, reason: String, message: String, regarding object: Object
    ) async {
        await record(type, reason: reason, message: message, regarding: ObjectReference(object))
    }

    /// Records an event about what `reference` names and returns when it is written or dropped.
    public func record(
        _ type: EventType, reason: String, message: String, regarding reference: ObjectReference
    ) async {
        var identity = reference
        identity.resourceVersion = ""
        let moment = now()
        guard takeToken(of: identity, at: moment) else {
            counters.dropped += 1
            return
        }
        let text = String(decoding: message.utf8.prefix(1024), as: UTF8.self)
        let key = Key(regarding: identity, type: type, reason: reason, message: text)
        forgetOldest()
        var entry =
            entries[key]
            ?? Entry(
                namespace: reference.namespace.isEmpty ? "default" : reference.namespace,
                name: uniqueName(for: reference, at: moment), count: 0, first: moment, last: moment)
        entry.count += 1
        entry.last = moment
        entries[key] = entry
        do {
            try await write(entry, key, reference)
            counters.written += 1
        } catch {
            entries[key] = nil
            counters.failed += 1
            logger.debug(
                "event not written", metadata: ["reason": "\(reason)", "error": "\(error)"])
        }
    }

    private func write(_ entry: Entry, _ key: Key, _ reference: ObjectReference) async throws {
        if entry.count > 1 {
            do {
                return try await raise(entry)
            } catch let error as StatusError where error.isNotFound {
                // The server has pruned it: it is created anew, with its count.
            }
        }
        do {
            _ = try await client.create(.events, object(entry, key, reference))
        } catch let error as StatusError where error.isAlreadyExists {
            try await raise(entry)
        }
    }

    private func raise(_ entry: Entry) async throws {
        _ = try await client.patch(
            .events, namespace: entry.namespace, name: entry.name, subresource: nil, type: .merge,
            ["count": .integer(entry.count), "lastTimestamp": .string(entry.last.description)])
    }

    private func object(_ entry: Entry, _ key: Key, _ reference: ObjectReference) -> JSONValue {
        var source: JSONValue = ["component": .string(component)]
        if !host.isEmpty { source["host"] = .string(host) }
        return [
            "apiVersion": "v1", "kind": "Event",
            "metadata": ["name": .string(entry.name), "namespace": .string(entry.namespace)],
            "involvedObject": reference.json,
            "reason": .string(key.reason), "message": .string(key.message),
            "source": source,
            "firstTimestamp": .string(entry.first.description),
            "lastTimestamp": .string(entry.last.description),
            "count": .integer(entry.count), "type": .string(key.type.rawValue),
            "reportingComponent": .string(component), "reportingInstance": .string(host),
        ]
    }

    /// client-go's name of an event: the object's name and the time in hexadecimal.
    private func uniqueName(for reference: ObjectReference, at moment: Timestamp) -> String {
        lastName = max(lastName + 1, moment.microseconds * 1000)
        return "\(reference.name).\(String(lastName, radix: 16))"
    }

    private func takeToken(of object: ObjectReference, at moment: Timestamp) -> Bool {
        var allowance = allowances[object] ?? Allowance(tokens: Self.burst, at: moment)
        let refill = max(0, moment.secondsSince(allowance.at)) * Self.tokensPerSecond
        allowance.tokens = min(Self.burst, allowance.tokens + refill)
        allowance.at = moment
        let isGranted = allowance.tokens >= 1
        if isGranted { allowance.tokens -= 1 }
        allowances[object] = allowance
        return isGranted
    }

    private func forgetOldest() {
        if entries.count >= Self.cacheLimit {
            let middle = entries.values.map(\.last).sorted()[entries.count / 2]
            entries = entries.filter { $0.value.last > middle }
        }
        if allowances.count >= Self.cacheLimit {
            let middle = allowances.values.map(\.at).sorted()[allowances.count / 2]
            allowances = allowances.filter { $0.value.at > middle }
        }
    }
}

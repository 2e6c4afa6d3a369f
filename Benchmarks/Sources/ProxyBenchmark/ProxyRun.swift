import Glibc
import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes
import ServiceProxy
import Synchronization

/// One run of the agent: everything loaded, then one endpoint at a time.
struct ProxyRun {
    let serviceCount: Int
    let endpointCount: Int
    let changeCount: Int
    /// Whether pods' connections go past the rules.
    var usesFastPath = true

    init(_ serviceCount: Int, _ endpointCount: Int, _ changeCount: Int) {
        self.serviceCount = serviceCount
        self.endpointCount = endpointCount
        self.changeCount = changeCount
    }

    /// Programs the namespace and ends; the rules outlive the agent. The Service in the middle has
    /// one endpoint, the one given, and its cluster IP is printed.
    func program(to address: String, _ port: Int) async {
        let api = ListedAPI(serviceCount, endpointCount)
        let target = serviceCount / 2
        let agent = makeAgent(api, LoadTime())
        let run = Task { try await agent.run() }
        await agent.waitUntilReady()
        var slice = Objects.slice(target, 0, generation: 0, revision: 2)
        slice["endpoints"] = [["addresses": [.string(address)], "nodeName": "node-0"]]
        slice["ports"] = [["name": "http", "port": .integer(Int64(port)), "protocol": "TCP"]]
        api.send(slice)
        let isThere = await agent.waitUntilProgrammed(
            ProgrammedRevisions(endpointSlices: 2), timeoutMilliseconds: 10_000)
        run.cancel()
        _ = await run.result
        guard isThere else {
            print("the Service was not programmed")
            exit(1)
        }
        print(Objects.clusterIP(target))
    }

    private func makeAgent(_ api: ListedAPI, _ log: LoadTime) -> ProxyAgent {
        var configuration = ProxyAgent.Configuration()
        configuration.families = [.ipv4]
        configuration.serviceCIDRs = [Prefix(.v4(0x0A60_0000), length: 12)].compactMap(\.self)
        configuration.podCIDRs = [Prefix(.v4(0x0AF4_0000), length: 14)].compactMap(\.self)
        configuration.healthAddress = nil
        configuration.metricsAddress = nil
        configuration.followsConfigMap = false
        configuration.setsSysctls = false
        configuration.usesFastPath = usesFastPath
        var logger = Logger(label: "benchmark") { _ in log }
        logger.logLevel = .info
        return ProxyAgent(client: api, configuration: configuration, logger: logger)
    }

    func measure() async {
        let api = ListedAPI(serviceCount, endpointCount)
        let log = LoadTime()
        let agent = makeAgent(api, log)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                do {
                    try await agent.run()
                } catch {
                    print("the agent ended: \(error)")
                    exit(1)
                }
            }
            let start = now()
            await agent.waitUntilReady()
            let ready = now() - start
            let latencies = await change(api, agent)
            let line: JSONValue = [
                "services": .integer(Int64(serviceCount)),
                "endpoints": .integer(Int64(endpointCount)),
                "readyMilliseconds": number(ready * 1e3),
                "loadMilliseconds": .integer(log.milliseconds),
                "changeP50Microseconds": number(percentile(latencies, 0.5) * 1e6),
                "changeP99Microseconds": number(percentile(latencies, 0.99) * 1e6),
                "pssMebibytes": number(pssMebibytes()),
            ]
            print(line.serializedText)
            group.cancelAll()
        }
    }

    /// Replaces one endpoint of one Service at a time; seconds from the event to the kernel's
    /// acknowledgement.
    private func change(_ api: ListedAPI, _ agent: ProxyAgent) async -> [Double] {
        var latencies: [Double] = []
        for change in 0..<changeCount {
            let number = change * 7919 % serviceCount
            let revision = UInt64(change + 10)
            let slice = Objects.slice(
                number, endpointCount, generation: change / serviceCount + 1, revision: revision)
            let start = now()
            api.send(slice)
            // Waits asleep: the agent's threads have the processors.
            guard
                await agent.waitUntilProgrammed(
                    ProgrammedRevisions(endpointSlices: revision), timeoutMilliseconds: 10_000)
            else { continue }
            latencies.append(now() - start)
        }
        return latencies.sorted()
    }

    private func percentile(_ sorted: [Double], _ share: Double) -> Double {
        sorted.isEmpty ? 0 : sorted[min(Int(Double(sorted.count) * share), sorted.count - 1)]
    }

    private func number(_ value: Double) -> JSONValue { .integer(Int64(value.rounded())) }

    private func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private func pssMebibytes() -> Double {
        guard let file = fopen("/proc/self/smaps_rollup", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        while fgets(&line, 256, file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8($0) }, as: UTF8.self)
            let fields = text.split(separator: " ")
            if fields.first == "Pss:", fields.count > 1 { return (Double(fields[1]) ?? 0) / 1024 }
        }
        return 0
    }
}

/// Answers lists of made-up objects, and sends the slices it is given as events.
final class ListedAPI: KubernetesClient {
    private let lists = Mutex<[Resource: [JSONValue]]>([:])
    private let watcher = Mutex<AsyncThrowingStream<WatchEvent, any Error>.Continuation?>(nil)

    init(_ serviceCount: Int, _ endpointCount: Int) {
        lists.withLock {
            $0[.services] = (0..<serviceCount).map(Objects.service)
            $0[.endpointSlices] = (0..<serviceCount).map {
                Objects.slice($0, endpointCount, generation: 0, revision: 1)
            }
        }
    }

    func send(_ slice: JSONValue) {
        _ = watcher.withLock { $0?.yield(WatchEvent(type: .modified, object: slice)) }
    }

    func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList {
        // Given away, so that memory is the agent's alone.
        let items = lists.withLock { $0.removeValue(forKey: resource) ?? [] }
        return ObjectList(items: items, resourceVersion: "1")
    }

    func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
        let (stream, continuation) = AsyncThrowingStream<WatchEvent, any Error>.makeStream()
        if resource == .endpointSlices { watcher.withLock { $0 = continuation } }
        return stream
    }

    func get(_ resource: Resource, namespace: String?, name: String) async throws -> JSONValue {
        throw StatusError.notFound(resource, name: name)
    }

    func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue { object }

    func update(
        _ resource: Resource, _ object: JSONValue, subresource: String?
    ) async throws -> JSONValue { object }

    func patch(
        _ resource: Resource, namespace: String?, name: String, subresource: String?,
        type: PatchType, _ patch: JSONValue
    ) async throws -> JSONValue { patch }

    func delete(
        _ resource: Resource, namespace: String?, name: String, options: JSONValue?
    ) async throws {}
}

/// Reads the agent's own word on how long the first load took.
final class LoadTime: LogHandler {
    private let value = Mutex<Int64>(0)
    var milliseconds: Int64 { value.withLock { $0 } }

    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .info }
        set {}
    }
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        if let text = event.metadata?["milliseconds"] {
            value.withLock { $0 = Int64("\(text)") ?? 0 }
        } else {
            print(event.level, event.message, event.metadata ?? [:])
        }
    }
}

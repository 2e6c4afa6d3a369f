import Informer
import JSON
import KubernetesAPI
import Logging
import NIOCore
import NIOPosix
import NetworkTypes
import Synchronization

/// The proxy's listeners: `/metrics`, `/healthz` and `/livez`, and a port for every Service that
/// has a health check node port.
final class ProxyServers: Sendable {
    let healthChecks: HealthCheckServers
    private let group: MultiThreadedEventLoopGroup
    private let health: HTTPListener?
    private let metrics: HTTPListener?
    private let eligibility: EligibilityBox

    /// How long queued changes may wait before the proxy calls itself unhealthy, in seconds.
    static let patienceSeconds = 60.0

    init(_ agent: ProxyAgent, worker: ProxyWorker) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        self.group = group
        let eligible = EligibilityBox()
        let pages = ProxyPages(status: agent.status, worker: worker, eligibility: eligible)
        healthChecks = HealthCheckServers(group: group, pages: pages, logger: agent.logger)
        eligibility = eligible
        var health: HTTPListener?
        do {
            if let address = agent.configuration.healthAddress {
                health = try await HTTPListener.start(on: group, at: address) {
                    await pages.health($0)
                }
            }
            if let address = agent.configuration.metricsAddress {
                metrics = try await HTTPListener.start(on: group, at: address) {
                    await pages.metrics($0)
                }
            } else {
                metrics = nil
            }
        } catch {
            await healthChecks.stop()
            await health?.stop()
            try? await group.shutdownGracefully()
            throw error
        }
        self.health = health
    }

    /// The ports listened at, 0 where there is no listener.
    var ports: (health: UInt16, metrics: UInt16) { (health?.port ?? 0, metrics?.port ?? 0) }

    /// Notes whether load balancers may send connections to this node.
    func note(isNodeEligible: Bool) { eligibility.set(isNodeEligible) }

    func stop() async {
        await healthChecks.stop()
        await health?.stop()
        await metrics?.stop()
        try? await group.shutdownGracefully()
    }
}

/// Whether the node may have load-balancer traffic.
final class EligibilityBox: Sendable {
    private let value = Atomic<Bool>(true)

    func set(_ isEligible: Bool) { value.store(isEligible, ordering: .relaxed) }
    var isEligible: Bool { value.load(ordering: .relaxed) }
}

/// What the listeners answer.
struct ProxyPages: Sendable {
    let status: ProxyStatus
    let worker: ProxyWorker
    let eligibility: EligibilityBox

    /// True where changes are programmed as they come.
    var isHealthy: Bool {
        guard status.isReady else { return false }
        guard let since = worker.metrics.oldestWaitSeconds else { return true }
        return wallSeconds() - since < ProxyServers.patienceSeconds
    }

    /// `/healthz` is for load balancers and fails on a node that is going; `/livez` is for whoever
    /// would restart the proxy. `/programmed` tells, or waits for, the revisions in force.
    func health(_ request: HTTPListener.Request) async -> HTTPListener.Response {
        switch request.path {
        case "/healthz": return answer("healthz", isHealthy && eligibility.isEligible)
        case "/livez": return answer("livez", isHealthy)
        case "/programmed": return await programmed(request.query)
        default: return HTTPListener.Response(code: 404, body: "not found\n")
        }
    }

    func metrics(_ request: HTTPListener.Request) async -> HTTPListener.Response {
        switch request.path {
        case "/metrics":
            let readings = await worker.perform { try? $0.counters() }
            return HTTPListener.Response(
                contentType: "text/plain; version=0.0.4; charset=utf-8",
                body: worker.metrics.text(readings ?? nil))
        case "/proxyMode": return HTTPListener.Response(body: "nftables")
        case "/healthz": return HTTPListener.Response(body: "ok")
        default: return HTTPListener.Response(code: 404, body: "not found\n")
        }
    }

    private func answer(_ name: String, _ isGood: Bool) -> HTTPListener.Response {
        let code = isGood ? 200 : 503
        worker.metrics.noteAnswer(name, code)
        let last = Timestamp(microseconds: Int64(worker.metrics.lastSyncSeconds * 1e6))
        let body: JSONValue = [
            "lastUpdated": .string("\(last)"), "currentTime": .string("\(Timestamp.now)"),
            "nodeEligible": .bool(eligibility.isEligible), "healthy": .bool(isHealthy),
        ]
        return HTTPListener.Response(
            code: code, contentType: "application/json",
            headers: [("X-Content-Type-Options", "nosniff")], body: body.serializedText + "\n")
    }

    private func programmed(_ query: String) async -> HTTPListener.Response {
        var values: [String: UInt64] = [:]
        for pair in query.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1)
            if parts.count == 2, let number = UInt64(parts[1]) { values[String(parts[0])] = number }
        }
        var isReached = true
        let wanted = ProgrammedRevisions(
            services: values["services"] ?? 0, endpointSlices: values["endpointSlices"] ?? 0)
        if wanted != ProgrammedRevisions() {
            isReached = await status.waitUntilProgrammed(
                wanted, timeoutMilliseconds: Int(min(values["timeoutMilliseconds"] ?? 0, 20_000)))
        }
        let reached = status.programmedRevisions
        let body: JSONValue = [
            "services": .string("\(reached.services)"),
            "endpointSlices": .string("\(reached.endpointSlices)"),
        ]
        return HTTPListener.Response(
            code: isReached ? 200 : 504, contentType: "application/json",
            body: body.serializedText + "\n")
    }

    /// What a Service's health check node port answers.
    func serviceHealth(_ key: ObjectKey, _ localEndpointCount: Int) -> HTTPListener.Response {
        let body: JSONValue = [
            "service": ["namespace": .string(key.namespace), "name": .string(key.name)],
            "localEndpoints": .integer(Int64(localEndpointCount)),
            "serviceProxyHealthy": .bool(isHealthy),
        ]
        return HTTPListener.Response(
            code: localEndpointCount > 0 && isHealthy ? 200 : 503, contentType: "application/json",
            headers: [
                ("X-Content-Type-Options", "nosniff"),
                ("X-Load-Balancing-Endpoint-Weight", "\(localEndpointCount)"),
            ], body: body.serializedText)
    }
}

/// The health check node ports: a listener a Service.
final class HealthCheckServers: Sendable {
    private let group: any EventLoopGroup
    private let pages: ProxyPages
    private let logger: Logger
    private let counts = Mutex<[ObjectKey: ProxyRules.HealthCheck]>([:])
    private let wishes: AsyncStream<Void>
    private let wish: AsyncStream<Void>.Continuation
    private let task = Mutex<Task<Void, Never>?>(nil)

    init(group: any EventLoopGroup, pages: ProxyPages, logger: Logger) {
        self.group = group
        self.pages = pages
        self.logger = logger
        (wishes, wish) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        let wishes = wishes
        task.withLock {
            $0 = Task { [weak self] in
                var listeners: [ObjectKey: (UInt16, HTTPListener)] = [:]
                for await _ in wishes {
                    guard let self else { break }
                    await self.apply(&listeners)
                }
                for (_, listener) in listeners.values { await listener.stop() }
            }
        }
    }

    /// Takes the health checks there are now.
    func update(_ checks: [ObjectKey: ProxyRules.HealthCheck]) {
        let havePortsChanged = counts.withLock { counts in
            let before = counts.mapValues(\.port)
            counts = checks
            return before != checks.mapValues(\.port)
        }
        if havePortsChanged { wish.yield() }
    }

    func stop() async {
        wish.finish()
        await task.withLock { $0 }?.value
    }

    /// Listens in both families; where the kernel has no IPv6, in one.
    private func listen(_ port: UInt16, for key: ObjectKey) async throws -> HTTPListener {
        let respond: @Sendable (HTTPListener.Request) async -> HTTPListener.Response = {
            [weak self] _ in
            guard let self else { return HTTPListener.Response(code: 503, body: "") }
            let count = self.counts.withLock { $0[key]?.localEndpointCount ?? 0 }
            return self.pages.serviceHealth(key, count)
        }
        do {
            return try await HTTPListener.start(
                on: group, at: ProxyAgent.ListenAddress(.v6(0), port), respond)
        } catch {
            return try await HTTPListener.start(
                on: group, at: ProxyAgent.ListenAddress(.v4(0), port), respond)
        }
    }

    private func apply(_ listeners: inout [ObjectKey: (UInt16, HTTPListener)]) async {
        let wanted = counts.withLock { $0.mapValues(\.port) }
        for (key, (port, listener)) in listeners where wanted[key] != port {
            await listener.stop()
            listeners[key] = nil
        }
        for (key, port) in wanted where listeners[key] == nil {
            do {
                listeners[key] = (port, try await listen(port, for: key))
            } catch {
                logger.error(
                    "no health check node port",
                    metadata: ["service": "\(key)", "error": "\(error)"])
            }
        }
    }
}

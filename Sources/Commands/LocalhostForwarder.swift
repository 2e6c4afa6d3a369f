import Informer
import KubernetesAPI
import Logging
import NIOCore
import NIOPosix
import NetworkTypes
import Synchronization

/// `--localhost`: nodePorts and the ports of load balancers answer on the machine's 127.0.0.1 as
/// well (TCP). Connections are relayed by this process: a rule that translated them would take the
/// port from whatever else listens there.
actor LocalhostForwarder {
    /// Where connections to a port of 127.0.0.1 go, and for which Service.
    struct Target: Hashable, Sendable {
        var address: IPAddress
        var port: UInt16
        var service: ObjectKey
    }

    private let client: any KubernetesClient
    private let nodeAddress: IPAddress
    private let recorder: EventRecorder
    private let logger: Logger
    private var listeners: [UInt16: (target: Target, task: Task<Void, Never>)] = [:]

    /// Connections relayed at one time over one port; those beyond are closed at once.
    private static let connectionLimit = 1024

    /// - Parameter nodeAddress: the node that nodePorts are asked at.
    init(client: any KubernetesClient, nodeAddress: IPAddress, logger: Logger) {
        self.client = client
        self.nodeAddress = nodeAddress
        self.logger = logger
        recorder = EventRecorder(client: client, component: "portolan-localhost", logger: logger)
    }

    /// Follows the Services until the task is cancelled.
    func run() async {
        let informer = Informer<Service>(.services, client: client, logger: logger)
        await informer.run { [weak self] _ in
            await self?.update(informer.objects)
        }
        for listener in listeners.values { listener.task.cancel() }
    }

    /// The ports that should answer. Of two Services that want one port the first by name has it.
    static func targets(
        of services: [Service], nodeAddress: IPAddress
    ) -> (targets: [UInt16: Target], conflicts: [(port: UInt16, service: ObjectKey)]) {
        var targets: [UInt16: Target] = [:]
        var conflicts: [(port: UInt16, service: ObjectKey)] = []
        func add(_ port: UInt16, _ address: IPAddress, _ service: Service) {
            if let other = targets[port], other.service != service.key {
                conflicts.append((port, service.key))
            } else {
                targets[port] = Target(address: address, port: port, service: service.key)
            }
        }
        for service in services.sorted(by: { $0.key < $1.key }) {
            for port in service.ports where port.transport == .tcp {
                if port.nodePort != 0 { add(port.nodePort, nodeAddress, service) }
                let external = service.ingress.compactMap(\.address).first
                if service.type == .loadBalancer, let external { add(port.port, external, service) }
            }
        }
        return (targets, conflicts)
    }

    private func update(_ services: [Service]) async {
        let (targets, conflicts) = Self.targets(of: services, nodeAddress: nodeAddress)
        for (port, listener) in listeners where targets[port] != listener.target {
            listener.task.cancel()
            await listener.task.value
            listeners[port] = nil
        }
        let byKey = Dictionary(
            services.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
        for (port, target) in targets.sorted(by: { $0.key < $1.key }) where listeners[port] == nil {
            do {
                let server = try await Self.bind(port)
                let task = Task { await Self.serve(server, target) }
                listeners[port] = (target, task)
            } catch {
                await report(port, byKey[target.service], "\(error)")
            }
        }
        for conflict in conflicts {
            let holder = targets[conflict.port].map { "Service \($0.service) has it" } ?? ""
            await report(conflict.port, byKey[conflict.service], holder)
        }
    }

    private func report(_ port: UInt16, _ service: Service?, _ reason: String) async {
        guard let service else { return }
        await recorder.record(
            .warning, reason: "LocalhostPortTaken",
            message: "127.0.0.1:\(port) does not answer for this Service: \(reason); "
                + "its other addresses do",
            regarding: ObjectReference(.services, service.metadata))
    }

    // MARK: - Relaying

    private typealias Connection = NIOAsyncChannel<ByteBuffer, ByteBuffer>

    private static func bind(_ port: UInt16) async throws -> NIOAsyncChannel<Connection, Never> {
        try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .bind(host: "127.0.0.1", port: Int(port)) { channel in
                channel.eventLoop.makeCompletedFuture { try wrap(channel) }
            }
    }

    private static func wrap(_ channel: any Channel) throws -> Connection {
        try Connection(
            wrappingChannelSynchronously: channel,
            configuration: .init(isOutboundHalfClosureEnabled: true))
    }

    /// Accepts until the task is cancelled.
    private static func serve(_ server: NIOAsyncChannel<Connection, Never>, _ target: Target) async
    {
        let open = OpenConnections()
        try? await server.executeThenClose { clients in
            await withDiscardingTaskGroup { group in
                do {
                    for try await client in clients {
                        let isWithinLimit = open.count.withLock { count in
                            count += 1
                            return count <= connectionLimit
                        }
                        group.addTask {
                            defer { open.count.withLock { $0 -= 1 } }
                            // A client or server that goes away ends its own connection only.
                            try? await relay(client, isWithinLimit ? target : nil)
                        }
                    }
                } catch {}
                group.cancelAll()
            }
        }
    }

    private final class OpenConnections: Sendable {
        let count = Mutex(0)
    }

    private static func relay(_ client: Connection, _ target: Target?) async throws {
        try await client.executeThenClose { fromClient, toClient in
            guard let target else { return }
            let server = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .channelOption(.allowRemoteHalfClosure, value: true)
                .connectTimeout(.seconds(5))
                .connect(host: target.address.description, port: Int(target.port)) { channel in
                    channel.eventLoop.makeCompletedFuture { try wrap(channel) }
                }
            try await server.executeThenClose { fromServer, toServer in
                async let upward: Void = copy(fromClient, toServer)
                async let downward: Void = copy(fromServer, toClient)
                _ = try await (upward, downward)
            }
        }
    }

    private static func copy(
        _ source: NIOAsyncChannelInboundStream<ByteBuffer>,
        _ sink: NIOAsyncChannelOutboundWriter<ByteBuffer>
    ) async throws {
        for try await bytes in source { try await sink.write(bytes) }
        sink.finish()
    }
}

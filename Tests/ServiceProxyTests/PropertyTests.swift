import JSON
import KubernetesAPI
import NFTables
import NetworkTypes
import Synchronization
import TestSupport
import Testing

@testable import ServiceProxy

/// Random clusters, random changes: after each, every packet must meet in the tables what the model
/// says, and the tables must be what a fresh start would have made.
@Suite(.offPool) struct PropertyTests {
    @Test(arguments: 1...6) func packetsMeetWhatTheModelSays(seed: UInt64) throws {
        var world = RandomWorld(seed: seed)
        world.isListening = seed.isMultiple(of: 2)
        let draw = Draw()
        var environment = PacketEnvironment(localAddresses: world.nodeAddresses) {
            draw.value % max($0, 1)
        }
        environment.isListening = { [isListening = world.isListening] _ in isListening }
        let kernel = InMemoryKernel(environment)
        let engine = ProxyEngine(
            options: world.options, families: [.ipv4, .ipv6], node: world.node, backend: kernel,
            flows: nil)
        for step in 0..<12 {
            world.mutate(engine)
            if step == 6 { engine.invalidate() }
            try engine.flush()
            try check(&world, kernel, draw, "seed \(seed) step \(step)")
        }
        #expect(try engine.audit() == 0)
        world.removeAll(engine)
        try engine.flush()
        try engine.audit()
        #expect(try engine.audit() == 0)
        for family in IPAddress.Family.allCases {
            let ruleset = engine.planner.ruleset(family)
            for set in ElementSet.allCases where set != .locallyServed {
                #expect(try kernel.elements(of: set.named(in: ruleset)).isEmpty, "\(set)")
            }
            #expect(try kernel.elements(of: ruleset.treatments).isEmpty)
        }
    }

    private func check(
        _ world: inout RandomWorld, _ kernel: InMemoryKernel, _ draw: Draw, _ label: String
    ) throws {
        let model = world.model
        for packet in world.samplePackets().shuffled(using: &world.generator).prefix(100) {
            let expected = model.fate(of: packet)
            let isOwn = world.nodeAddresses.contains(packet.source)
            var reached: Set<Backend> = []
            for value in 0..<UInt32(RandomWorld.endpointLimit) {
                draw.value = value
                let outcome = isOwn ? kernel.emit(packet) : kernel.receive(packet)
                let comment: Comment = "\(label): \(packet) \(expected) \(outcome.fate)"
                switch expected {
                case .untouched:
                    #expect(outcome.fate == .accepted, comment)
                    #expect(outcome.packet.destination == packet.destination, comment)
                    #expect(!outcome.connection.isMasqueraded, comment)
                case .refused:
                    let isTCP = packet.protocolNumber == TransportProtocol.tcp.number
                    #expect(
                        outcome.fate == .rejected(isTCP ? .tcpReset : .icmp(.portUnreachable)),
                        comment)
                case .dropped: #expect(outcome.fate == .dropped, comment)
                case .sent(_, let isMasqueraded):
                    #expect(outcome.fate == .accepted, comment)
                    let isHairpin = outcome.packet.destination == packet.source
                    // A cluster IP never leaves the node of the pod that dials it.
                    let isStray =
                        isHairpin && !isMasqueraded
                        && world.options.serviceCIDRs.contains { $0.contains(packet.destination) }
                        && !world.isOnThisNode(packet.source)
                    if isStray {
                        reached.insert(
                            Backend(
                                address: outcome.packet.destination,
                                port: outcome.packet.destinationPort))
                        continue
                    }
                    let leaves = isOwn || !world.nodeAddresses.contains(outcome.packet.destination)
                    if leaves {
                        #expect(
                            outcome.connection.isMasqueraded == (isMasqueraded || isHairpin),
                            comment)
                        #expect(outcome.packet.mark == packet.mark, comment)
                    }
                    reached.insert(
                        Backend(
                            address: outcome.packet.destination,
                            port: outcome.packet.destinationPort))
                }
            }
            if case .sent(let backends, _) = expected {
                #expect(reached == backends, "\(label): \(packet)")
            }
        }
    }

    /// What `numgen` draws.
    private final class Draw: Sendable {
        private let box = Mutex<UInt32>(0)

        var value: UInt32 {
            get { box.withLock { $0 } }
            set { box.withLock { $0 = newValue } }
        }
    }
}

/// A small generator that repeats itself for a seed (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// A cluster that changes at random, seen from node-1.
struct RandomWorld {
    static let endpointLimit = 6

    var generator: SeededGenerator
    let options = makeOptions(locallyServed: ["10.96.0.10"])
    let nodeAddresses: Set<IPAddress> = Set(
        ["172.30.0.11", "10.244.0.1", "10.96.0.10", "fd00:30::11"].compactMap { IPAddress($0) })
    var services: [ObjectKey: Service] = [:]
    var slices: [ObjectKey: EndpointSlice] = [:]
    /// Session affinity narrows what later packets of a client may reach; soaks switch it on.
    var usesAffinity = false
    /// Whether something on the node listens at its own DNS address.
    var isListening = true

    init(seed: UInt64) { generator = SeededGenerator(seed) }

    var node: NodeContext {
        NodeContext(
            nodeName: "node-1", zone: nil,
            locallyServedAddresses: options.locallyServedAddresses)
    }

    var model: PacketModel {
        PacketModel(
            node: node, options: options, nodeAddresses: nodeAddresses, isListening: isListening,
            services: Array(services.values), slices: Array(slices.values))
    }

    /// Changes one to three objects, and tells the engine.
    mutating func mutate(_ engine: ProxyEngine) {
        for _ in 0..<Int.random(in: 1...3, using: &generator) {
            let name = "s\(Int.random(in: 0..<6, using: &generator))"
            let key = ObjectKey(namespace: "default", name: name)
            switch Int.random(in: 0..<10, using: &generator) {
            case 0:
                services[key] = nil
                engine.note(key, service: nil)
            case 1...4:
                if let service = try? randomService(name) {
                    services[key] = service
                    engine.note(key, service: service)
                }
            case 5:
                let sliceKey = ObjectKey(namespace: "default", name: "\(name)-v4")
                slices[sliceKey] = nil
                engine.note(sliceKey, slice: nil)
            default:
                let isIPv4 = Bool.random(using: &generator)
                if let slice = try? randomSlice(name, isIPv4: isIPv4) {
                    slices[slice.key] = slice
                    engine.note(slice.key, slice: slice)
                }
            }
        }
    }

    mutating func removeAll(_ engine: ProxyEngine) {
        for key in services.keys { engine.note(key, service: nil) }
        for key in slices.keys { engine.note(key, slice: nil) }
        services = [:]
        slices = [:]
    }

    func isOnThisNode(_ address: IPAddress) -> Bool {
        ["10.244.0.0/24", "fd00:244::/112"].contains { Prefix($0)?.contains(address) == true }
    }

    private mutating func flip(_ chance: Int = 2) -> Bool {
        Int.random(in: 0..<chance, using: &generator) == 0
    }

    private mutating func randomService(_ name: String) throws -> Service {
        let number = Int(name.dropFirst()) ?? 0
        let type = ["ClusterIP", "NodePort", "LoadBalancer"].randomElement(using: &generator) ?? ""
        var spec: JSONValue = ["type": .string(type)]
        var addresses: [JSONValue] = [.string("10.96.1.\(number)")]
        if flip() { addresses.append(.string("fd00:96::\(number + 1)")) }
        if flip(6) { addresses[0] = "10.96.0.10" }
        spec["clusterIP"] = addresses[0]
        spec["clusterIPs"] = .array(addresses)
        let transport = ["TCP", "UDP", "SCTP"].randomElement(using: &generator) ?? "TCP"
        // Few numbers, so that Services fight over node ports and external IPs now and then.
        let nodePort = 31000 + Int.random(in: 0..<8, using: &generator)
        var port: JSONValue = ["port": .integer(flip() ? 80 : 81), "protocol": .string(transport)]
        if type != "ClusterIP" { port["nodePort"] = .integer(Int64(nodePort)) }
        spec["ports"] = .array([port])
        if flip(3) { spec["externalIPs"] = ["10.1.0.9", "fd00:1::9"] }
        if flip(3) { spec["internalTrafficPolicy"] = "Local" }
        if type != "ClusterIP", flip() { spec["externalTrafficPolicy"] = "Local" }
        if flip(3), usesAffinity { spec["sessionAffinity"] = "ClientIP" }
        var status: JSONValue = [:]
        if type == "LoadBalancer" {
            status["loadBalancer", "ingress"] = [
                ["ip": .string("10.1.0.\(number)")], ["ip": .string("fd00:1::\(number)")],
            ]
            if flip() {
                spec["loadBalancerSourceRanges"] = [
                    "172.30.0.0/28", "10.244.0.0/24", "fd00:30::/64",
                ]
            }
        }
        let seconds = Int.random(in: 10...59, using: &generator)
        return try makeService(
            name, spec, status: status, created: "2026-01-01T00:00:\(seconds)Z")
    }

    private mutating func randomSlice(_ name: String, isIPv4: Bool) throws -> EndpointSlice {
        let transport = services[ObjectKey(namespace: "default", name: name)]?.ports.first?
            .transport.rawValue
        var endpoints: [TestEndpoint] = []
        for last in 2..<(2 + Int.random(in: 0...Self.endpointLimit, using: &generator)) {
            let isLocal = flip()
            let address =
                isIPv4
                ? "10.244.\(isLocal ? 0 : 1).\(last)" : "fd00:244::\(isLocal ? 0 : 1):\(last)"
            let isReady = !flip(4)
            endpoints.append(
                TestEndpoint(
                    address, isLocal ? "node-1" : "node-2", ready: isReady,
                    serving: isReady || flip(), terminating: !isReady && flip()))
        }
        return try makeSlice(
            of: name, isIPv4 ? "v4" : "v6", port: 8080, transport: transport ?? "TCP",
            family: isIPv4 ? "IPv4" : "IPv6", endpoints)
    }

    /// Packets from pods, from the node and from outside to everything that may mean something.
    func samplePackets() -> [Packet] {
        let sources = [
            "10.244.0.2", "10.244.1.3", "172.30.0.11", "172.30.0.1", "172.30.0.99", "fd00:244::0:2",
            "fd00:30::11", "fd00:30::1", "fd00:99::1",
        ]
        let destinations =
            (0..<6).flatMap {
                ["10.96.1.\($0)", "10.1.0.\($0)", "fd00:96::\($0 + 1)", "fd00:1::\($0)"]
            }
            + ["10.1.0.9", "fd00:1::9", "10.96.0.10", "10.96.9.9", "172.30.0.11", "fd00:30::11"]
            + ["172.30.0.12", "8.8.8.8"]
        var packets: [Packet] = []
        for destination in destinations.compactMap({ IPAddress($0) }) {
            for source in sources.compactMap({ IPAddress($0) })
            where source.family == destination.family {
                for (transport, port) in [
                    (TransportProtocol.tcp, UInt16(80)), (.udp, 80), (.sctp, 81),
                    (.tcp, 31000), (.udp, 31003), (.tcp, 31005),
                ] {
                    packets.append(Packet(transport, from: source, 40000, to: destination, port))
                }
            }
        }
        return packets
    }
}

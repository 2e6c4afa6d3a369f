import KubernetesAPI
public import NFTables
public import NetworkTypes
import Synchronization

/// The proxy's tables of one node, copied from its kernel, to send packets through.
public struct NodeTables: Sendable {
    /// The families that have a table.
    let families: Set<IPAddress.Family>
    private let name: String
    private let localAddresses: Set<IPAddress>
    private let sockets: ListeningSockets
    private let kernel: InMemoryKernel
    let fastPath: FastPathTables?

    /// Reads a node's tables.
    /// - Parameters:
    ///   - name: the tables' name.
    ///   - backend: the kernel of the node's namespace.
    ///   - localAddresses: the addresses that the node has.
    ///   - sockets: where the node's programs listen.
    ///   - fastPath: what the node's fast path holds, where it has one.
    /// - Throws: what the backend throws.
    public init(
        named name: String, from backend: some NFTablesBackend, localAddresses: Set<IPAddress>,
        sockets: ListeningSockets = ListeningSockets(), fastPath: FastPathTables? = nil
    ) throws {
        self.fastPath = fastPath
        self.name = name
        self.sockets = sockets
        self.localAddresses = localAddresses
        let present = try backend.tables()
        let tables = IPAddress.Family.allCases.map { Self.table($0, name) }
            .filter { present.contains($0) }
        families = Set(tables.map { $0.family == .ip ? .ipv4 : .ipv6 })
        kernel = try InMemoryKernel(copying: tables, of: backend)
    }

    /// A kernel that stands as the node's stood when it was read.
    func copy(random: @escaping @Sendable (UInt32) -> UInt32) -> InMemoryKernel {
        var environment = PacketEnvironment(localAddresses: localAddresses, random: random)
        environment.isListening = { [sockets] in sockets.contains($0) }
        return InMemoryKernel(copying: kernel, environment)
    }

    func table(_ family: IPAddress.Family) -> Table { Self.table(family, name) }

    private static func table(_ family: IPAddress.Family, _ name: String) -> Table {
        Table(family == .ipv4 ? .ip : .ip6, name)
    }
}

/// Explains the way a connection takes through a node's tables, from the tables themselves: they
/// are copied from the kernel and a packet is sent through the copy.
public struct PathTrace: Sendable {
    /// Where the connection comes from.
    public enum Source: Hashable, Sendable {
        /// A program on the node itself, sending from this address.
        case node(IPAddress)
        /// A pod, or a machine outside: the packet arrives by a link.
        case address(IPAddress)
    }

    /// An endpoint the connection may reach, with its chance (0–1).
    public struct Chance: Hashable, Sendable {
        /// The endpoint's address.
        public var address: IPAddress
        /// The endpoint's port.
        public var port: UInt16
        /// How likely it is, between 0 and 1.
        public var probability: Double
        /// True where the endpoint sees an address of this node in place of the client's.
        public var isMasqueraded: Bool
    }

    /// How the connection ends.
    public enum Outcome: Hashable, Sendable {
        /// It reaches one of `chances`.
        case translated
        /// No rule concerns it.
        case untouched
        /// Something on the node listens at the address itself, and answers.
        case answeredHere
        /// It is refused: TCP by a reset, other protocols by ICMP.
        case refused
        /// Its packets vanish.
        case dropped
    }

    /// How the connection ends.
    public var outcome: Outcome
    /// Where it may lead, the likeliest first.
    public var chances: [Chance]
    /// The way in words, a sentence a step.
    public var sentences: [String]

    /// Follows a connection's first packet.
    /// - Parameters:
    ///   - tables: the tables of the node it arrives at, or starts on.
    ///   - serviceName: what to call the Service in the sentences.
    ///   - endpointName: what to say of an endpoint's address beside the address, such as its pod.
    public init(
        from source: Source, to destination: IPAddress, _ port: ProtocolPort,
        in tables: NodeTables, serviceName: String? = nil,
        endpointName: (IPAddress) -> String? = { _ in nil }
    ) {
        let (address, isOwn) =
            switch source {
            case .node(let address): (address, true)
            case .address(let address): (address, false)
            }
        guard tables.families.contains(destination.family) else {
            outcome = .untouched
            chances = []
            sentences = [
                "This node has no table \(tables.table(destination.family)): no proxy has "
                    + "programmed it, so the packet is routed as it is."
            ]
            return
        }
        let name = serviceName.map { "Service \($0)" } ?? "a Service"
        if !isOwn, port.transport == .tcp,
            let endpoints = try? tables.fastPath?.endpoints(
                from: address, to: destination, port.port),
            !endpoints.isEmpty
        {
            outcome = .translated
            chances = Self.chances(ofFastPathFrom: address, to: endpoints)
            let count = endpoints.count
            sentences = [
                "A connection from \(address) to \(Self.text(destination, port.port)) (TCP) "
                    + "arrives at the node.",
                "It belongs to \(name): the program at the pod's link (the fast path) chooses one "
                    + "of \(count) endpoint\(count == 1 ? "" : "s"), and no rule is asked; the "
                    + "source is kept.",
            ]
            let packet = Packet(.tcp, from: address, 50_000, to: destination, port.port)
            sentences += closing(packet, endpointName)
            return
        }
        let draw = Draw()
        let packet = Packet(port.transport, from: address, 50_000, to: destination, port.port)
        var outcomes: [PacketOutcome] = []
        repeat {
            // A copy for each try: what one makes it remember of the client must not bind the next.
            let kernel = tables.copy { draw.take(modulus: $0) }
            outcomes.append(isOwn ? kernel.emit(packet) : kernel.receive(packet))
        } while draw.advance() && outcomes.count < Self.drawLimit
        let first = outcomes[0]
        (outcome, chances) = Self.summary(outcomes)
        sentences = [
            "A connection from \(address) to \(Self.text(destination, port.port)) "
                + "(\(port.transport.rawValue)) "
                + (isOwn ? "starts on the node itself." : "arrives at the node.")
        ]
        // A chain's rules each are a step; it is explained where it is entered.
        var explained: Set<String> = []
        for step in first.steps {
            if step.verdict == .return, Dispatch(chainName: step.chain)?.treatment == .served {
                sentences.append("The address is one that this node answers itself.")
                outcome = .answeredHere
                continue
            }
            guard step.verdict != .return || step.chain == "service-range",
                explained.insert(step.chain).inserted,
                let sentence = Self.sentence(step, name)
            else { continue }
            sentences.append(sentence)
        }
        sentences += closing(packet, endpointName)
    }

    /// A choice of the fast path. A pod that is itself chosen is left to the rules, which choose
    /// anew and masquerade where they choose it again.
    private static func chances(
        ofFastPathFrom source: IPAddress, to endpoints: [Backend]
    ) -> [Chance] {
        let count = Double(endpoints.count)
        let own = endpoints.count { $0.address == source }
        let again = Double(own) / count / count
        return endpoints.map { endpoint in
            let isOwn = endpoint.address == source
            return Chance(
                address: endpoint.address, port: endpoint.port,
                probability: isOwn ? again : 1 / count + again, isMasqueraded: isOwn)
        }
        .sorted { ($1.probability, $0.address, $0.port) < ($0.probability, $1.address, $1.port) }
    }

    /// Draws tried at most: more endpoints than Kubernetes gives a Service.
    private static let drawLimit = 10_000

    private static func summary(_ outcomes: [PacketOutcome]) -> (Outcome, [Chance]) {
        switch outcomes[0].fate {
        case .dropped: return (.dropped, [])
        case .rejected: return (.refused, [])
        case .accepted: break
        }
        guard outcomes[0].connection.destinationTranslation != nil else { return (.untouched, []) }
        var counts: [Chance: Int] = [:]
        for result in outcomes {
            let chance = Chance(
                address: result.packet.destination, port: result.packet.destinationPort,
                probability: 0, isMasqueraded: result.connection.isMasqueraded)
            counts[chance, default: 0] += 1
        }
        let chances = counts.map { chance, count in
            var chance = chance
            chance.probability = Double(count) / Double(outcomes.count)
            return chance
        }
        return (
            .translated,
            chances.sorted {
                ($1.probability, $0.address, $0.port) < ($0.probability, $1.address, $1.port)
            }
        )
    }

    // MARK: - Words

    private static func sentence(
        _ step: PacketOutcome.Step, _ name: String
    ) -> String? {
        if let dispatch = Dispatch(chainName: step.chain) { return sentence(dispatch, name) }
        switch (step.chain, step.verdict) {
        case ("service-range", .return?):
            return "The address is one that this node answers itself; it is left alone."
        case ("service-range", _):
            return "The address is in the range of cluster IPs, but no Service has this port of it."
        case (Ruleset.Ending.unallocated.rawValue, _):
            return "So it is refused, at once."
        case ("short-circuit", _), ("node-port-short-circuit", _):
            return "Sources inside the cluster may use all endpoints, in spite of the Local policy."
        case (Ruleset.Ending.sourceNotAllowed.rawValue, _):
            return "The source is in none of the Service's loadBalancerSourceRanges: dropped."
        case (Ruleset.Ending.invalid.rawValue, _):
            return "Connection tracking cannot place the packet: dropped."
        default: return nil
        }
    }

    private static func sentence(
        _ dispatch: Dispatch, _ name: String
    ) -> String? {
        switch dispatch.treatment {
        case .reject:
            return "\(name) has no endpoint that could be used, so it is refused, at once."
        case .drop:
            return "\(name)'s traffic policy is Local and it has no endpoint on this node: dropped."
        case .guarded: return "The address is guarded by loadBalancerSourceRanges."
        case .cluster, .served, .external, .local, .direct: break
        }
        let count = dispatch.range.count
        var text =
            "It belongs to \(name) (chain \(dispatch.chainName)): \(count) "
            + "endpoint\(count == 1 ? "" : "s")"
        switch dispatch.treatment {
        case .cluster: text += "; sources other than pods are masqueraded"
        case .served:
            text +=
                " on other nodes, for nothing on this one listens there; sources other than pods"
                + " are masqueraded"
        case .external: text += " (traffic policy Cluster); the source is masqueraded"
        case .local: text += " on this node (external traffic policy Local); the source is kept"
        default: text += "; the source is kept"
        }
        if let seconds = dispatch.affinityTimeoutSeconds {
            text += "; a client stays with its endpoint for \(seconds) s (session affinity)"
        }
        return text + "."
    }

    private func closing(
        _ packet: Packet, _ endpointName: (IPAddress) -> String?
    ) -> [String] {
        switch outcome {
        case .answeredHere: return ["What listens there answers."]
        case .untouched: return ["No Service has it: the packet is routed as it is."]
        case .refused: return ["The client sees \"connection refused\"."]
        case .dropped: return ["The client waits until its own timeout."]
        case .translated:
            return chances.map { chance in
                let percent = Int((chance.probability * 1000).rounded())
                let share = "\(percent / 10).\(percent % 10) %"
                let seen = chance.isMasqueraded ? "an address of this node" : "\(packet.source)"
                let name = endpointName(chance.address).map { " (\($0))" } ?? ""
                return "\(share): \(Self.text(chance.address, chance.port))\(name), which sees "
                    + "\(seen)."
            }
        }
    }

    private static func text(_ address: IPAddress, _ port: UInt16) -> String {
        Backend(address: address, port: port).description
    }

    /// Goes through every number that `numgen` could draw.
    private final class Draw: Sendable {
        private let state = Mutex((value: UInt32(0), modulus: UInt32(1)))

        func take(modulus: UInt32) -> UInt32 {
            state.withLock { state in
                state.modulus = max(modulus, 1)
                return state.value % max(modulus, 1)
            }
        }

        /// Moves to the next number; false after the last.
        func advance() -> Bool {
            state.withLock { state in
                state.value += 1
                return state.value < state.modulus
            }
        }
    }
}

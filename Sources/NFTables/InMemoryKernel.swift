import Synchronization

/// A model of the kernel's nftables: it keeps tables, refuses what the kernel refuses, and can say
/// what a packet meets. For tests without root, and to explain a kernel's own tables.
///
/// Not modelled: fragments, ICMP errors, hook priorities against connection tracking's own (it is
/// taken to come first), loops of jumps beyond a depth of 16 (as the kernel limits them).
public final class InMemoryKernel: NFTablesBackend {
    private let state = Mutex(InMemoryState())
    private let environment: PacketEnvironment

    /// An empty kernel.
    public init(_ environment: PacketEnvironment = PacketEnvironment()) {
        self.environment = environment
    }

    /// A kernel that begins as another one stands now; what either does later is its own.
    public init(copying other: InMemoryKernel, _ environment: PacketEnvironment) {
        self.environment = environment
        let copy = other.state.withLock { $0 }
        state.withLock { $0 = copy }
    }

    /// A kernel with a copy of tables of another, handles and readings included.
    public init(
        copying tables: [Table], of backend: some NFTablesBackend,
        _ environment: PacketEnvironment = PacketEnvironment()
    ) throws {
        self.environment = environment
        var copy = InMemoryState()
        for table in tables {
            var content = InMemoryState.TableState()
            for chain in try backend.chains(in: table) {
                content.chains[chain.name] = InMemoryState.ChainState(
                    chain: chain, rules: try backend.rules(in: table, chain: chain.name))
            }
            for set in try backend.sets(in: table) {
                var copied = InMemoryState.SetState(set: set)
                for element in try backend.elements(of: set) {
                    let entry = InMemoryState.Entry(
                        element: element.declared, deadline: copy.deadline(of: element, in: set))
                    if element.isCatchAll {
                        copied.catchAll = entry
                    } else {
                        copied.entries[element.key] = entry
                    }
                }
                content.sets[set.name] = copied
            }
            for counter in try backend.counters(in: table) {
                content.counters[counter.name] = counter
            }
            let handles = content.chains.values.flatMap { $0.rules.map(\.handle) }
            copy.nextHandle = max(copy.nextHandle, (handles.max() ?? 0) + 1)
            copy.tables[table] = content
        }
        state.withLock { [copy] in $0 = copy }
    }

    /// Makes all changes or none.
    /// - Throws: `TransactionError` with the kernel's error numbers, for the first refusal.
    public func apply(_ transaction: Transaction) throws {
        try state.withLock { state in
            var changed = state
            for (index, operation) in transaction.operations.enumerated() {
                do throws(InMemoryState.Refusal) {
                    try changed.perform(operation)
                } catch {
                    throw TransactionError([
                        TransactionError.Failure(
                            operationIndex: index, operation: operation.description,
                            element: error.element, errorNumber: error.errorNumber)
                    ])
                }
            }
            state = changed
        }
    }

    /// Moves time on; elements whose timeout is over go.
    public func advance(milliseconds: UInt64) {
        state.withLock { state in
            state.nowMilliseconds += milliseconds
            for (table, content) in state.tables {
                for (name, set) in content.sets {
                    let expired = set.entries.filter { state.live($0.value) == nil }
                    for key in expired.keys {
                        state.tables[table]?.sets[name]?.entries[key] = nil
                    }
                }
            }
        }
    }

    // MARK: - Reading

    /// The tables there are, sorted.
    public func tables() throws -> [Table] {
        state.withLock { $0.tables.keys.sorted { $0.description < $1.description } }
    }

    /// The table's chains, sorted.
    public func chains(in table: Table) throws -> [Chain] {
        state.withLock { state in
            (state.tables[table]?.chains.values.map(\.chain) ?? []).sorted { $0.name < $1.name }
        }
    }

    /// The table's sets, sorted.
    public func sets(in table: Table) throws -> [NamedSet] {
        state.withLock { state in
            (state.tables[table]?.sets.values.map(\.set) ?? []).sorted { $0.name < $1.name }
        }
    }

    /// The elements of a set, in no order; with a timeout, they tell how long they have left.
    public func elements(of set: NamedSet) throws -> [Element] {
        state.withLock { state in
            guard let found = state.tables[set.table]?.sets[set.name] else { return [] }
            let entries = Array(found.entries.values) + (found.catchAll.map { [$0] } ?? [])
            return entries.compactMap(state.live).map { entry in
                var element = entry.element
                if let deadline = entry.deadline {
                    element.expirationMilliseconds = deadline - state.nowMilliseconds
                }
                return element
            }
        }
    }

    /// The rules of a chain in their order, or of all chains.
    public func rules(in table: Table, chain: String?) throws -> [InstalledRule] {
        state.withLock { state in
            let chains = state.tables[table]?.chains ?? [:]
            if let chain { return chains[chain]?.rules ?? [] }
            return chains.sorted { $0.key < $1.key }.flatMap(\.value.rules)
        }
    }

    /// The table's counters, sorted.
    public func counters(in table: Table) throws -> [NamedCounter] {
        state.withLock { state in
            (state.tables[table]?.counters.values.map { $0 } ?? []).sorted { $0.name < $1.name }
        }
    }

    // MARK: - Packets

    /// Takes a packet through the base chains of the hooks, in order, until it ends.
    ///
    /// The packet of a new connection meets nat chains; with a `connection` that was established,
    /// its translations are applied as connection tracking applies them, and nat chains skipped.
    /// - Parameters:
    ///   - route: called between hooks, to set the links the packet goes by.
    public func send(
        _ packet: Packet, through hooks: [ChainHook.Point], connection: Connection? = nil,
        route: (ChainHook.Point, inout Packet) -> Void = { _, _ in }
    ) -> PacketOutcome {
        state.withLock { state in
            var evaluator = PacketEvaluator(
                packet: packet, connection: connection ?? Connection(first: packet),
                environment: environment)
            for hook in hooks {
                route(hook, &evaluator.packet)
                evaluator.run(hook, &state)
                if evaluator.fate != .accepted { break }
            }
            return PacketOutcome(
                fate: evaluator.fate, packet: evaluator.packet,
                connection: evaluator.connection, steps: evaluator.steps)
        }
    }

    /// Takes a packet that came by a link to its end: prerouting; then input where its destination
    /// is the machine's, else forward; and postrouting where it leaves.
    public func receive(_ packet: Packet, connection: Connection? = nil) -> PacketOutcome {
        let first = send(packet, through: [.prerouting], connection: connection)
        guard first.fate == .accepted else { return first }
        let isLocal = environment.addressType(first.packet.destination) == 2
        var rest = send(
            first.packet, through: isLocal ? [.input] : [.forward, .postrouting],
            connection: first.connection)
        rest.steps = first.steps + rest.steps
        return rest
    }

    /// Takes a packet of the machine's own to its end: output, and postrouting.
    public func emit(_ packet: Packet, connection: Connection? = nil) -> PacketOutcome {
        send(packet, through: [.output, .postrouting], connection: connection)
    }
}

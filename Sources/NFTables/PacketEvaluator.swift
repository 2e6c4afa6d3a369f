import NetworkTypes

/// Runs rules on a packet as the kernel's virtual machine does: sixteen registers of four bytes,
/// zeroed at each rule's start.
struct PacketEvaluator {
    /// The kernel's limit of nested jumps (NFT_JUMP_STACK_SIZE).
    private static let jumpLimit = 16

    var packet: Packet
    var connection: Connection
    let environment: PacketEnvironment
    var fate = PacketOutcome.Fate.accepted
    var steps: [PacketOutcome.Step] = []
    private var registers = [UInt8](repeating: 0, count: 64)
    private var hook = ChainHook.Point.prerouting
    private var table = Table(.ip, "")
    private var rule: UInt64 = 0

    init(packet: Packet, connection: Connection, environment: PacketEnvironment) {
        self.packet = packet
        self.connection = connection
        self.environment = environment
    }

    /// What a rule, or a chain, came to.
    private enum Result: Equatable {
        /// The rule does not hold; the next is tried.
        case broken
        /// The rule ended without a verdict.
        case next
        case verdict(Verdict)
        case rejected(Reject)
    }

    // MARK: - Hooks and chains

    /// Runs the base chains of the hook in order of priority.
    mutating func run(_ hook: ChainHook.Point, _ state: inout InMemoryState) {
        self.hook = hook
        let family: Family = packet.family == .ipv4 ? .ip : .ip6
        let chains = state.tables.filter { $0.key.family == family || $0.key.family == .inet }
            .flatMap { $0.value.chains.values.map(\.chain) }
            .filter { $0.hook?.point == hook }
            .sorted { left, right in
                let (a, b) = (left.hook?.priority ?? 0, right.hook?.priority ?? 0)
                return a == b ? left.table.description < right.table.description : a < b
            }
        var isTranslated = false
        for chain in chains {
            guard let base = chain.hook else { continue }
            // Established flows are translated where the nat chains are.
            if !isTranslated, base.priority >= (isSourceHook ? 100 : -100) {
                isTranslated = true
                applyTranslations()
            }
            if base.kind == .nat, !entersNATChains { continue }
            run(base: chain, base, &state)
            if fate != .accepted { return }
        }
        if !isTranslated { applyTranslations() }
        if isSourceHook {
            connection.hasSourceDecision = true
        } else if hook == .prerouting || hook == .output {
            connection.hasDestinationDecision = true
        }
    }

    private var isSourceHook: Bool { hook == .postrouting || hook == .input }

    private var entersNATChains: Bool {
        connection.state == .new && !connection.isUntracked
            && !(isSourceHook ? connection.hasSourceDecision : connection.hasDestinationDecision)
    }

    private mutating func run(
        base chain: Chain, _ hook: ChainHook, _ state: inout InMemoryState
    ) {
        table = chain.table
        switch run(chain.name, depth: 0, &state) {
        case .verdict(.drop): fate = .dropped
        case .rejected(let reject): fate = .rejected(reject)
        case .verdict(.accept): break
        default:
            let verdict: Verdict = hook.policy == .drop ? .drop : .accept
            if verdict == .drop {
                fate = .dropped
                steps.append(
                    PacketOutcome.Step(table: table, chain: chain.name, verdict: verdict))
            }
        }
    }

    /// Runs a chain's rules; `.next` and `.verdict(.return)` mean that the caller goes on.
    private mutating func run(
        _ chain: String, depth: Int, _ state: inout InMemoryState
    ) -> Result {
        guard depth < Self.jumpLimit, let rules = state.tables[table]?.chains[chain]?.rules else {
            return .verdict(.drop)
        }
        for installed in rules {
            let result = run(installed, &state)
            guard result != .broken else { continue }
            var verdict: Verdict?
            if case .verdict(let made) = result { verdict = made }
            steps.append(
                PacketOutcome.Step(
                    table: table, chain: chain, handle: installed.handle,
                    comment: installed.rule.comment, verdict: verdict))
            switch result {
            case .verdict(.accept), .verdict(.drop), .verdict(.return), .rejected: return result
            case .verdict(.goto(let target)): return run(target, depth: depth + 1, &state)
            case .verdict(.jump(let target)):
                let inner = run(target, depth: depth + 1, &state)
                switch inner {
                case .verdict(.accept), .verdict(.drop), .rejected: return inner
                default: continue
                }
            default: continue
            }
        }
        return .next
    }

    private mutating func run(
        _ installed: InstalledRule, _ state: inout InMemoryState
    ) -> Result {
        registers = [UInt8](repeating: 0, count: 64)
        rule = installed.handle
        for (index, expression) in installed.rule.expressions.enumerated() {
            let result = run(expression, index, installed, &state)
            if result != .next, result != .verdict(.continue) { return result }
        }
        return .next
    }

    // MARK: - Expressions

    private mutating func run(
        _ expression: Expression, _ index: Int, _ installed: InstalledRule,
        _ state: inout InMemoryState
    ) -> Result {
        switch expression {
        case .payload, .meta, .ct, .fib, .socketWildcard, .numberGenerator, .hash, .immediate,
            .bitwise, .byteOrder:
            return load(expression, &state)
        case .setMeta(.mark, let from): packet.mark = number(from)
        case .setMeta(.priority, let from): packet.priority = number(from)
        case .setMeta: break
        case .setCT(.mark, let from): connection.mark = number(from)
        case .setCT: break
        case .compare(let register, let comparison, let value):
            return compare(register, comparison, value) ? .next : .broken
        case .range(let register, let first, let last, let isInverted):
            let isInside =
                compare(register, .greaterOrEqual, first) && compare(register, .lessOrEqual, last)
            return isInside != isInverted ? .next : .broken
        case .lookup, .map, .verdictMap, .counterMap: return lookUp(expression, &state)
        case .dynamicSet(let change): return apply(change, &state) ? .next : .broken
        case .verdict(let verdict): return .verdict(verdict)
        case .nat, .masquerade, .redirect: return translate(expression)
        case .reject(let reject): return .rejected(reject)
        case .counter(let packetCount, let byteCount):
            let chain = installed.rule.chain
            let position = state.tables[table]?.chains[chain]?.rules.firstIndex {
                $0.handle == installed.handle
            }
            guard let position else { break }
            state.tables[table]?.chains[chain]?.rules[position].rule.expressions[index] = .counter(
                packetCount: packetCount + 1, byteCount: byteCount + UInt64(packet.byteCount))
        case .namedCounter(let name): count(name, &state)
        case .limit(let limit): return isWithin(limit, &state) != limit.isInverted ? .next : .broken
        case .log: break
        case .notrack:
            connection.isUntracked = true
            connection.state = .untracked
        }
        return .next
    }

    private mutating func load(_ expression: Expression, _ state: inout InMemoryState) -> Result {
        switch expression {
        case .payload(let base, let offset, let byteCount, let register):
            let header: [UInt8] =
                switch base {
                case .link: []
                case .network: packet.networkHeader
                case .transport: packet.transportHeader
                }
            guard offset + byteCount <= header.count else { return .broken }
            set(register, header[offset..<(offset + byteCount)])
        case .meta(let key, let register): return loadMeta(key, register)
        case .ct(let key, let direction, let register): return loadCT(key, direction, register)
        case .fib(let inputs, .addressType, let register):
            let address = inputs.contains(.sourceAddress) ? packet.source : packet.destination
            set(register, environment.addressType(address))
        case .fib: return .broken
        case .socketWildcard(let register):
            guard environment.isListening(packet) else { return .broken }
            set(register, [0])
        case .numberGenerator(let generator, let modulus, let offset, let register):
            guard modulus > 0 else { return .broken }
            var drawn: UInt32
            if generator == .random {
                drawn = environment.random(modulus) % modulus
            } else {
                drawn = state.incremental[rule, default: 0]
                state.incremental[rule] = (drawn + 1) % modulus
                drawn %= modulus
            }
            set(register, drawn + offset)
        case .hash(let from, let byteCount, let modulus, let seed, let offset, let into):
            let start = Int(from.index) * 4
            let bytes = Array(registers[start..<min(start + byteCount, 64)])
            let scaled = (UInt64(jenkinsHash(bytes, seed: seed)) * UInt64(modulus)) >> 32
            set(into, UInt32(scaled) + offset)
        case .immediate(let value, let register): set(register, value.bytes[...])
        case .bitwise(let from, let into, let mask, let xor):
            let start = Int(from.index) * 4
            let result = (0..<mask.byteCount).map { index in
                start + index < 64 ? registers[start + index] & mask[index] ^ xor[index] : 0
            }
            set(into, result[...])
        case .byteOrder(let from, let into, let byteCount, let unitByteCount, _):
            let start = Int(from.index) * 4
            var result: [UInt8] = []
            for unit in stride(from: start, to: start + byteCount, by: max(unitByteCount, 1)) {
                result += registers[unit..<min(unit + unitByteCount, 64)].reversed()
            }
            set(into, result[...])
        default: break
        }
        return .next
    }

    private mutating func loadMeta(_ key: MetaKey, _ register: Register) -> Result {
        switch key {
        case .length: set(register, UInt32(packet.byteCount))
        case .linkProtocol: set(register, packet.family == .ipv4 ? [0x08, 0x00] : [0x86, 0xDD])
        case .priority: set(register, packet.priority)
        case .packetType: set(register, 0)
        case .mark: set(register, packet.mark)
        case .inputIndex, .outputIndex: return .broken
        case .inputName, .outputName:
            let name = key == .inputName ? packet.inputName : packet.outputName
            if name.isEmpty { return .broken }
            set(register, Value(.interfaceName(name)).bytes[...])
        case .networkProtocol: set(register, [packet.family == .ipv4 ? 2 : 10])
        case .transportProtocol: set(register, [packet.protocolNumber])
        case .random: set(register, environment.random(.max))
        }
        return .next
    }

    private mutating func loadCT(
        _ key: CTKey, _ direction: CTDirection?, _ register: Register
    ) -> Result {
        if connection.isUntracked, key != .state { return .broken }
        let tuple = connection.tuple(direction ?? .original)
        switch key {
        case .state: set(register, connection.state.rawValue)
        case .direction: set(register, [connection.direction.rawValue])
        case .status: set(register, connection.status.rawValue)
        case .mark: set(register, connection.mark)
        case .l3protocol: set(register, [packet.family == .ipv4 ? 2 : 10])
        case .transportProtocol: set(register, [packet.protocolNumber])
        case .sourcePort: set(register, [UInt8(tuple.1 >> 8), UInt8(tuple.1 & 0xFF)])
        case .destinationPort: set(register, [UInt8(tuple.3 >> 8), UInt8(tuple.3 & 0xFF)])
        case .id: set(register, 1)
        case .sourceIPv4, .sourceIPv6, .destinationIPv4, .destinationIPv6:
            let isSource = key == .sourceIPv4 || key == .sourceIPv6
            let bytes = (isSource ? tuple.0 : tuple.2).networkBytes
            guard bytes.count == key.byteCount else { return .broken }
            set(register, bytes[...])
        }
        return .next
    }

    // MARK: - Sets

    private mutating func lookUp(_ expression: Expression, _ state: inout InMemoryState) -> Result {
        guard let name = expression.setName, let content = state.tables[table]?.sets[name] else {
            return .broken
        }
        func key(_ register: Register) -> Value {
            let start = Int(register.index) * 4
            let end = min(start + content.set.key.valueByteCount, 64)
            return Value(bytes: registers[start..<end])
        }
        switch expression {
        case .lookup(_, let register, let isInverted):
            return (state.find(key(register), in: content) != nil) != isInverted ? .next : .broken
        case .map(_, let register, let into):
            guard case .value(let value)? = state.find(key(register), in: content)?.content else {
                return .broken
            }
            set(into, value.bytes[...])
        case .verdictMap(_, let register):
            // Nothing found breaks the rule, as a look-up does.
            guard case .verdict(let verdict)? = state.find(key(register), in: content)?.content
            else { return .broken }
            return .verdict(verdict)
        case .counterMap(_, let register):
            guard case .object(let counter)? = state.find(key(register), in: content)?.content
            else { return .broken }
            count(counter, &state)
        default: break
        }
        return .next
    }

    private func apply(_ change: DynamicSet, _ state: inout InMemoryState) -> Bool {
        guard let set = state.tables[table]?.sets[change.set]?.set else { return false }
        let keyStart = Int(change.key.index) * 4
        let key = Value(bytes: registers[keyStart..<min(keyStart + set.key.valueByteCount, 64)])
        if change.action == .delete {
            state.tables[table]?.sets[change.set]?.entries[key] = nil
            return true
        }
        let timeout =
            change.timeoutMilliseconds > 0
            ? change.timeoutMilliseconds : set.timeoutMilliseconds
        let deadline = timeout > 0 ? state.nowMilliseconds + timeout : nil
        if let present = state.live(state.tables[table]?.sets[change.set]?.entries[key]) {
            if change.action == .update, present.deadline != nil {
                state.tables[table]?.sets[change.set]?.entries[key]?.deadline = deadline
            }
            return true
        }
        let limit = Int(set.maximumElementCount)
        let count = state.tables[table]?.sets[change.set]?.entries.count ?? 0
        if count >= (limit > 0 ? limit : 65535) { return false }
        var element = Element(key)
        if let data = change.data, case .value(let fields) = set.content {
            let start = Int(data.index) * 4
            let end = min(start + fields.valueByteCount, 64)
            element.content = .value(Value(bytes: registers[start..<end]))
        }
        if change.timeoutMilliseconds > 0 {
            element.timeoutMilliseconds = change.timeoutMilliseconds
        }
        state.tables[table]?.sets[change.set]?.entries[key] = InMemoryState.Entry(
            element: element, deadline: deadline)
        return true
    }

    private func count(_ name: String, _ state: inout InMemoryState) {
        state.tables[table]?.counters[name]?.packetCount += 1
        state.tables[table]?.counters[name]?.byteCount += UInt64(packet.byteCount)
    }

    private func isWithin(_ limit: Limit, _ state: inout InMemoryState) -> Bool {
        let cost = limit.unit == .packets ? 1 : Double(packet.byteCount)
        let capacity = Double(limit.burst) + (limit.unit == .bytes ? Double(limit.rate) : 0)
        var (count, then) = state.tokens[rule] ?? (capacity, state.nowMilliseconds)
        let passed = Double(state.nowMilliseconds - then) / 1000
        count = min(
            capacity, count + passed * Double(limit.rate) / Double(max(limit.intervalSeconds, 1)))
        let isWithin = count >= cost
        then = state.nowMilliseconds
        state.tokens[rule] = (isWithin ? count - cost : count, then)
        return isWithin
    }

    // MARK: - Translation

    private mutating func translate(_ expression: Expression) -> Result {
        switch expression {
        case .nat(let nat):
            let family: IPAddress.Family = nat.family == .ip6 ? .ipv6 : .ipv4
            let address = nat.address.map { register in
                Value(bytes: registers[(Int(register.index) * 4)...].prefix(16)).address(family)
            }
            let port = nat.port.map { register in
                Value(bytes: registers[(Int(register.index) * 4)...].prefix(4)).port(at: 0)
            }
            let translation = Connection.Translation(address: address, port: port)
            if nat.kind == .destination {
                connection.destinationTranslation = translation
                connection.hasDestinationDecision = true
            } else {
                connection.sourceTranslation = translation
                connection.hasSourceDecision = true
            }
        case .masquerade:
            connection.isMasqueraded = true
            connection.hasSourceDecision = true
        case .redirect(let register, _):
            let port = register.map { register in
                Value(bytes: registers[(Int(register.index) * 4)...].prefix(4)).port(at: 0)
            }
            connection.destinationTranslation = Connection.Translation(address: nil, port: port)
            connection.hasDestinationDecision = true
        default: break
        }
        applyTranslations()
        return .verdict(.accept)
    }

    /// Puts the connection's addresses into the packet, those of the hook.
    private mutating func applyTranslations() {
        guard connection.direction == .original else { return }
        if isSourceHook {
            guard let translation = connection.sourceTranslation else { return }
            packet.source = translation.address ?? packet.source
            packet.sourcePort = translation.port ?? packet.sourcePort
        } else if hook == .prerouting || hook == .output {
            guard let translation = connection.destinationTranslation else { return }
            packet.destination = translation.address ?? packet.destination
            packet.destinationPort = translation.port ?? packet.destinationPort
        }
    }

    // MARK: - Registers

    private mutating func set(_ register: Register, _ bytes: ArraySlice<UInt8>) {
        let start = Int(register.index) * 4
        for (index, byte) in bytes.enumerated() where start + index < 64 {
            registers[start + index] = byte
        }
        // The rest of the last register is zeroed, as the kernel does.
        let end = start + bytes.count
        let padded = min((end + 3) & ~3, 64)
        if end < padded { for index in end..<padded { registers[index] = 0 } }
    }

    private mutating func set(_ register: Register, _ number: UInt32) {
        set(register, Value(.number(number)).bytes[...])
    }

    private func number(_ register: Register) -> UInt32 {
        Value(bytes: registers[(Int(register.index) * 4)...].prefix(4)).number()
    }

    private func compare(_ register: Register, _ comparison: Comparison, _ value: Value) -> Bool {
        let start = Int(register.index) * 4
        let left = registers[start..<min(start + value.byteCount, 64)]
        let right = value.bytes
        return switch comparison {
        case .equal: left.elementsEqual(right)
        case .notEqual: !left.elementsEqual(right)
        case .less: left.lexicographicallyPrecedes(right)
        case .lessOrEqual: !right.lexicographicallyPrecedes(left)
        case .greater: right.lexicographicallyPrecedes(left)
        case .greaterOrEqual: !left.lexicographicallyPrecedes(right)
        }
    }
}

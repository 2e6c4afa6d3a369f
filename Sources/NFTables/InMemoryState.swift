import Glibc

/// The tables of the in-memory kernel, and what each operation does to them.
struct InMemoryState: Sendable {
    struct ChainState: Sendable {
        var chain: Chain
        var rules: [InstalledRule] = []
    }

    struct Entry: Sendable {
        var element: Element
        /// When it goes, in milliseconds of the kernel's clock; nil for never.
        var deadline: UInt64?
    }

    struct SetState: Sendable {
        var set: NamedSet
        var entries: [Value: Entry] = [:]
        var catchAll: Entry?
    }

    struct TableState: Sendable {
        var chains: [String: ChainState] = [:]
        var sets: [String: SetState] = [:]
        var counters: [String: NamedCounter] = [:]
    }

    /// The kernel's error numbers, thrown by operations.
    struct Refusal: Error {
        let errorNumber: Int32
        var element: Element?
    }

    var tables: [Table: TableState] = [:]
    var nextHandle: UInt64 = 1
    var nowMilliseconds: UInt64 = 0
    /// Tokens of `limit` expressions by rule: how many are left and when they were counted.
    var tokens: [UInt64: (count: Double, atMilliseconds: UInt64)] = [:]
    /// Where `numgen inc` stands, by rule.
    var incremental: [UInt64: UInt32] = [:]

    // MARK: - Operations

    mutating func perform(_ operation: Transaction.Operation) throws(Refusal) {
        switch operation {
        case .addTable(let table, let isExclusive):
            if tables[table] == nil {
                tables[table] = TableState()
            } else if isExclusive {
                throw Refusal(errorNumber: EEXIST)
            }
        case .deleteTable(let table):
            guard tables.removeValue(forKey: table) != nil else {
                throw Refusal(errorNumber: ENOENT)
            }
        case .addChain(let chain): try add(chain)
        case .flushChain(let name, let table):
            _ = try requireChain(name, table)
            tables[table]?.chains[name]?.rules = []
        case .deleteChain(let name, let table): try deleteChain(name, table)
        case .appendRule(let rule): try insert(rule) { $0.endIndex }
        case .insertRule(let rule, let handle):
            let rules = try requireChain(rule.chain, rule.table).rules
            let index = handle.map { handle in rules.firstIndex { $0.handle == handle } } ?? 0
            guard let index else { throw Refusal(errorNumber: ENOENT) }
            try insert(rule) { _ in index }
        case .replaceRule(let rule, let handle):
            let index = try ruleIndex(handle, rule.chain, rule.table)
            try insert(rule) { _ in index }
            tables[rule.table]?.chains[rule.chain]?.rules.remove(at: index + 1)
        case .deleteRule(let handle, let chain, let table):
            let index = try ruleIndex(handle, chain, table)
            tables[table]?.chains[chain]?.rules.remove(at: index)
        case .addSet(let set): try add(set)
        case .flushSet(let name, let table):
            _ = try requireSet(name, table)
            tables[table]?.sets[name]?.entries = [:]
            tables[table]?.sets[name]?.catchAll = nil
        case .deleteSet(let name, let table):
            _ = try requireSet(name, table)
            if isUsed(table, { $0.names(set: name) }) { throw Refusal(errorNumber: EBUSY) }
            tables[table]?.sets[name] = nil
        case .addElements(let elements, let set, let isExclusive):
            try withSet(set) { (content, state) throws(Refusal) in
                for element in elements {
                    try state.add(element, to: &content, isExclusive: isExclusive)
                }
            }
        case .deleteElements(let elements, let set):
            try withSet(set) { (content, state) throws(Refusal) in
                for element in elements { try state.delete(element, from: &content) }
            }
        case .addCounter(let counter):
            guard tables[counter.table] != nil else { throw Refusal(errorNumber: ENOENT) }
            if tables[counter.table]?.counters[counter.name] == nil {
                tables[counter.table]?.counters[counter.name] = counter
            }
        case .deleteCounter(let name, let table): try deleteCounter(name, table)
        }
    }

    // MARK: - Chains and rules

    private mutating func add(_ chain: Chain) throws(Refusal) {
        guard let table = tables[chain.table] else { throw Refusal(errorNumber: ENOENT) }
        guard let present = table.chains[chain.name] else {
            var chain = chain
            chain.handle = takeHandle()
            tables[chain.table]?.chains[chain.name] = ChainState(chain: chain)
            return
        }
        guard let hook = chain.hook else { return }
        // Only the policy of a base chain can change.
        guard let old = present.chain.hook, old.kind == hook.kind, old.point == hook.point,
            old.priority == hook.priority
        else { throw Refusal(errorNumber: EEXIST) }
        tables[chain.table]?.chains[chain.name]?.chain.hook = hook
    }

    private mutating func deleteChain(_ name: String, _ table: Table) throws(Refusal) {
        _ = try requireChain(name, table)
        tables[table]?.chains[name]?.rules = []
        let isTarget = { (verdict: Verdict) in verdict.target == name }
        let entries = tables[table]?.sets.values ?? [:].values
        let isMapped = entries.contains { set in
            let all = set.entries.values.map(\.element) + (set.catchAll.map { [$0.element] } ?? [])
            return all.contains { element in
                if case .verdict(let verdict) = element.content { isTarget(verdict) } else { false }
            }
        }
        let isJumpedTo = isUsed(table) { expression in
            if case .verdict(let verdict) = expression { isTarget(verdict) } else { false }
        }
        if isMapped || isJumpedTo { throw Refusal(errorNumber: EBUSY) }
        tables[table]?.chains[name] = nil
    }

    private mutating func insert(
        _ rule: Rule, at position: ([InstalledRule]) -> Int
    ) throws(Refusal) {
        let rules = try requireChain(rule.chain, rule.table).rules
        guard let table = tables[rule.table] else { throw Refusal(errorNumber: ENOENT) }
        for expression in rule.expressions {
            if let set = expression.setName, table.sets[set] == nil {
                throw Refusal(errorNumber: ENOENT)
            }
            switch expression {
            case .verdict(let verdict):
                if let target = verdict.target, table.chains[target] == nil {
                    throw Refusal(errorNumber: ENOENT)
                }
            case .namedCounter(let name):
                if table.counters[name] == nil { throw Refusal(errorNumber: ENOENT) }
            default: break
            }
        }
        let installed = InstalledRule(rule, handle: takeHandle())
        tables[rule.table]?.chains[rule.chain]?.rules.insert(installed, at: position(rules))
    }

    private func ruleIndex(
        _ handle: UInt64, _ chain: String, _ table: Table
    ) throws(Refusal) -> Int {
        let rules = try requireChain(chain, table).rules
        guard let index = rules.firstIndex(where: { $0.handle == handle }) else {
            throw Refusal(errorNumber: ENOENT)
        }
        return index
    }

    private func isUsed(_ table: Table, _ uses: (Expression) -> Bool) -> Bool {
        let chains = tables[table]?.chains.values ?? [:].values
        return chains.contains { $0.rules.contains { $0.rule.expressions.contains(where: uses) } }
    }

    private mutating func takeHandle() -> UInt64 {
        defer { nextHandle += 1 }
        return nextHandle
    }

    // MARK: - Sets

    private mutating func add(_ set: NamedSet) throws(Refusal) {
        guard let table = tables[set.table] else { throw Refusal(errorNumber: ENOENT) }
        guard let present = table.sets[set.name]?.set else {
            tables[set.table]?.sets[set.name] = SetState(set: set)
            return
        }
        let isAlike =
            present.key.valueByteCount == set.key.valueByteCount
            && present.content.isMap == set.content.isMap
            && present.flags == set.flags
        if !isAlike { throw Refusal(errorNumber: EEXIST) }
    }

    /// Takes the set out for as long as it is changed, so that its elements are not copied. Where
    /// the body throws it is gone, and so is the copy of the state that the caller gave up.
    private mutating func withSet(
        _ set: NamedSet,
        _ body: (inout SetState, borrowing InMemoryState) throws(Refusal) -> Void
    ) throws(Refusal) {
        guard var content = tables[set.table]?.sets.removeValue(forKey: set.name) else {
            throw Refusal(errorNumber: ENOENT)
        }
        try body(&content, self)
        tables[set.table]?.sets[set.name] = content
    }

    private func add(
        _ element: Element, to content: inout SetState, isExclusive: Bool
    ) throws(Refusal) {
        let set = content.set
        try check(element, set)
        if let present = element.isCatchAll ? content.catchAll : live(content.entries[element.key])
        {
            let isAlike =
                present.element.content == element.content
                && present.element.lastKey == element.lastKey
            if isExclusive || !isAlike { throw Refusal(errorNumber: EEXIST, element: element) }
            return
        }
        if set.flags.contains(.interval), !element.isCatchAll {
            let overlaps = content.entries.values.contains { $0.element.overlaps(element, set.key) }
            if overlaps { throw Refusal(errorNumber: EEXIST, element: element) }
        }
        let limit = Int(set.maximumElementCount)
        if limit > 0, content.entries.count >= limit {
            throw Refusal(errorNumber: ENFILE, element: element)
        }
        let entry = Entry(element: element, deadline: deadline(of: element, in: set))
        if element.isCatchAll {
            content.catchAll = entry
        } else {
            content.entries[element.key] = entry
        }
    }

    private func check(_ element: Element, _ set: NamedSet) throws(Refusal) {
        let invalid = Refusal(errorNumber: EINVAL, element: element)
        if !element.isCatchAll, element.key.byteCount != set.key.valueByteCount { throw invalid }
        guard let table = tables[set.table] else { throw Refusal(errorNumber: ENOENT) }
        switch (element.content, set.content) {
        case (.none, .none): break
        case (.value(let value), .value(let fields)):
            if value.byteCount != fields.valueByteCount { throw invalid }
        case (.verdict(let verdict), .verdict):
            if let target = verdict.target, table.chains[target] == nil {
                throw Refusal(errorNumber: ENOENT, element: element)
            }
        case (.object(let name), .counter):
            if table.counters[name] == nil {
                throw Refusal(errorNumber: ENOENT, element: element)
            }
        default: throw invalid
        }
    }

    private func delete(_ element: Element, from content: inout SetState) throws(Refusal) {
        let missing = Refusal(errorNumber: ENOENT, element: element)
        if element.isCatchAll {
            if content.catchAll == nil { throw missing }
            content.catchAll = nil
            return
        }
        guard let present = live(content.entries[element.key]) else { throw missing }
        if content.set.flags.contains(.interval) {
            let last = element.lastKey ?? element.key
            if (present.element.lastKey ?? element.key) != last { throw missing }
        }
        content.entries[element.key] = nil
    }

    private mutating func deleteCounter(_ name: String, _ table: Table) throws(Refusal) {
        guard tables[table]?.counters[name] != nil else { throw Refusal(errorNumber: ENOENT) }
        let isReferred = (tables[table]?.sets.values ?? [:].values).contains { set in
            set.entries.values.contains { $0.element.content == .object(name) }
        }
        if isReferred || isUsed(table, { $0 == .namedCounter(name) }) {
            throw Refusal(errorNumber: EBUSY)
        }
        tables[table]?.counters[name] = nil
    }

    // MARK: - Time and look-ups

    /// The entry, unless its time is over.
    func live(_ entry: Entry?) -> Entry? {
        guard let entry else { return nil }
        if let deadline = entry.deadline, deadline <= nowMilliseconds { return nil }
        return entry
    }

    func deadline(of element: Element, in set: NamedSet) -> UInt64? {
        let timeout = element.timeoutMilliseconds ?? set.timeoutMilliseconds
        if let expiration = element.expirationMilliseconds { return nowMilliseconds + expiration }
        return timeout > 0 ? nowMilliseconds + timeout : nil
    }

    /// The element that a packet's key finds.
    func find(_ key: Value, in state: SetState) -> Element? {
        if let entry = live(state.entries[key]) { return entry.element }
        if state.set.flags.contains(.interval) {
            let ranged = state.entries.values.first {
                live($0) != nil && $0.element.covers(key, state.set.key)
            }
            if let ranged { return ranged.element }
        }
        return state.catchAll?.element
    }

    func requireChain(_ name: String, _ table: Table) throws(Refusal) -> ChainState {
        guard let chain = tables[table]?.chains[name] else { throw Refusal(errorNumber: ENOENT) }
        return chain
    }

    func requireSet(_ name: String, _ table: Table) throws(Refusal) -> SetState {
        guard let set = tables[table]?.sets[name] else { throw Refusal(errorNumber: ENOENT) }
        return set
    }
}

// MARK: - What refers to what

extension Verdict {
    /// The chain that is jumped to.
    var target: String? {
        switch self {
        case .jump(let chain), .goto(let chain): chain
        case .accept, .drop, .continue, .return: nil
        }
    }
}

extension Expression {
    /// The set the expression needs.
    var setName: String? {
        switch self {
        case .lookup(let set, _, _), .map(let set, _, _), .verdictMap(let set, _),
            .counterMap(let set, _):
            set
        case .dynamicSet(let change): change.set
        default: nil
        }
    }

    func names(set: String) -> Bool { setName == set }
}

extension NamedSet.Content {
    var isMap: Bool { self != .none }
}

extension Element {
    /// True where every field of the key lies in the range of that field.
    func covers(_ candidate: Value, _ fields: [FieldType]) -> Bool {
        let last = lastKey ?? key
        return Self.everyField(fields) { range in
            let bytes = range.map { candidate[$0] }
            return !bytes.lexicographicallyPrecedes(range.map { key[$0] })
                && !range.map { last[$0] }.lexicographicallyPrecedes(bytes)
        }
    }

    func overlaps(_ other: Element, _ fields: [FieldType]) -> Bool {
        let last = lastKey ?? key
        let otherLast = other.lastKey ?? other.key
        return Self.everyField(fields) { range in
            !range.map { last[$0] }.lexicographicallyPrecedes(range.map { other.key[$0] })
                && !range.map { otherLast[$0] }.lexicographicallyPrecedes(range.map { key[$0] })
        }
    }

    private static func everyField(_ fields: [FieldType], _ holds: (Range<Int>) -> Bool) -> Bool {
        var offset = 0
        for field in fields {
            let byteCount = fields.count == 1 ? field.byteCount : field.paddedByteCount
            guard holds(offset..<(offset + byteCount)) else { return false }
            offset += byteCount
        }
        return true
    }
}

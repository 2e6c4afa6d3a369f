/// A list of changes that the kernel makes all or none of, seen by packets at one instant.
public struct Transaction: Sendable {
    /// One change.
    public enum Operation: Hashable, Sendable {
        /// Adds what is missing; no error where it exists (unless `isExclusive`).
        case addTable(Table, isExclusive: Bool)
        case deleteTable(Table)
        case addChain(Chain)
        /// Deletes the chain's rules.
        case flushChain(String, Table)
        /// Deletes a chain that nothing jumps to, with its rules.
        case deleteChain(String, Table)
        /// Appends a rule.
        case appendRule(Rule)
        /// Inserts a rule before the one with the handle, or first in its chain.
        case insertRule(Rule, before: UInt64?)
        case replaceRule(Rule, handle: UInt64)
        case deleteRule(handle: UInt64, chain: String, Table)
        case addSet(NamedSet)
        /// Deletes the set's elements.
        case flushSet(String, Table)
        case deleteSet(String, Table)
        /// Adds elements. An equal element that is there is no error, unless `isExclusive`; a map's
        /// element with other data is: delete it first in the same transaction.
        case addElements([Element], NamedSet, isExclusive: Bool)
        /// Deletes elements; one that is missing is an error.
        case deleteElements([Element], NamedSet)
        case addCounter(NamedCounter)
        case deleteCounter(String, Table)
    }

    /// The changes, in the order the kernel makes them.
    public private(set) var operations: [Operation] = []

    /// An empty transaction.
    public init() {}

    /// True where nothing would change.
    public var isEmpty: Bool { operations.isEmpty }

    /// The number of changes, each element and each other operation counting one.
    public var changeCount: Int {
        operations.reduce(0) { sum, operation in
            switch operation {
            case .addElements(let elements, _, _), .deleteElements(let elements, _):
                sum + elements.count
            default: sum + 1
            }
        }
    }

    /// Appends a change.
    public mutating func append(_ operation: Operation) { operations.append(operation) }

    /// Appends the changes of another transaction.
    public mutating func append(_ other: Transaction) { operations += other.operations }

    /// Adds a table, where it does not exist.
    public mutating func add(_ table: Table) {
        operations.append(.addTable(table, isExclusive: false))
    }

    /// Deletes a table and all it holds; it must exist.
    public mutating func delete(_ table: Table) { operations.append(.deleteTable(table)) }

    /// Deletes a table whether it exists or not, by adding it first.
    public mutating func destroy(_ table: Table) {
        add(table)
        delete(table)
    }

    /// Adds a chain, where it does not exist; a base chain's policy is set anyway.
    public mutating func add(_ chain: Chain) { operations.append(.addChain(chain)) }

    /// Deletes a chain's rules.
    public mutating func flush(chain: String, in table: Table) {
        operations.append(.flushChain(chain, table))
    }

    /// Deletes a chain that nothing jumps to.
    public mutating func delete(chain: String, in table: Table) {
        operations.append(.deleteChain(chain, table))
    }

    /// Appends a rule to its chain.
    public mutating func add(_ rule: Rule) { operations.append(.appendRule(rule)) }

    /// Inserts a rule before the one with the handle, or first in its chain.
    public mutating func insert(_ rule: Rule, before handle: UInt64? = nil) {
        operations.append(.insertRule(rule, before: handle))
    }

    /// Replaces the rule with the handle.
    public mutating func replace(handle: UInt64, with rule: Rule) {
        operations.append(.replaceRule(rule, handle: handle))
    }

    /// Deletes the rule with the handle.
    public mutating func deleteRule(handle: UInt64, chain: String, in table: Table) {
        operations.append(.deleteRule(handle: handle, chain: chain, table))
    }

    /// Adds a set or map, where it does not exist.
    public mutating func add(_ set: NamedSet) { operations.append(.addSet(set)) }

    /// Deletes a set's elements.
    public mutating func flush(set: String, in table: Table) {
        operations.append(.flushSet(set, table))
    }

    /// Deletes a set that no rule names.
    public mutating func delete(set: String, in table: Table) {
        operations.append(.deleteSet(set, table))
    }

    /// Adds elements; no operation where there are none.
    public mutating func add(_ elements: [Element], to set: NamedSet) {
        guard !elements.isEmpty else { return }
        operations.append(.addElements(elements, set, isExclusive: false))
    }

    /// Deletes elements; no operation where there are none. One that is missing fails all.
    public mutating func delete(_ elements: [Element], from set: NamedSet) {
        guard !elements.isEmpty else { return }
        operations.append(.deleteElements(elements, set))
    }

    /// Adds a counter, where it does not exist.
    public mutating func add(_ counter: NamedCounter) { operations.append(.addCounter(counter)) }

    /// Deletes a counter that nothing names.
    public mutating func delete(counter: String, in table: Table) {
        operations.append(.deleteCounter(counter, table))
    }
}

extension Transaction.Operation: CustomStringConvertible {
    /// What is done to which object, for errors.
    public var description: String {
        switch self {
        case .addTable(let table, _): "add table \(table)"
        case .deleteTable(let table): "delete table \(table)"
        case .addChain(let chain): "add chain \(chain.table) \(chain.name)"
        case .flushChain(let name, let table): "flush chain \(table) \(name)"
        case .deleteChain(let name, let table): "delete chain \(table) \(name)"
        case .appendRule(let rule): "add rule \(rule.table) \(rule.chain)" + Self.quote(rule)
        case .insertRule(let rule, _):
            "insert rule \(rule.table) \(rule.chain)" + Self.quote(rule)
        case .replaceRule(let rule, let handle):
            "replace rule \(rule.table) \(rule.chain) handle \(handle)" + Self.quote(rule)
        case .deleteRule(let handle, let chain, let table):
            "delete rule \(table) \(chain) handle \(handle)"
        case .addSet(let set): "add set \(set.table) \(set.name)"
        case .flushSet(let name, let table): "flush set \(table) \(name)"
        case .deleteSet(let name, let table): "delete set \(table) \(name)"
        case .addElements(let elements, let set, _):
            "add \(elements.count) elements to \(set.table) \(set.name)"
        case .deleteElements(let elements, let set):
            "delete \(elements.count) elements from \(set.table) \(set.name)"
        case .addCounter(let counter): "add counter \(counter.table) \(counter.name)"
        case .deleteCounter(let name, let table): "delete counter \(table) \(name)"
        }
    }

    private static func quote(_ rule: Rule) -> String { rule.comment.map { " (\($0))" } ?? "" }
}

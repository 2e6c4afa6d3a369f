import Glibc

/// The kernel's tables, or a model of them. All calls are synchronous and may block for as long as
/// the kernel works on them: make them from a thread or executor that may wait.
public protocol NFTablesBackend: Sendable {
    /// Makes all changes or none.
    /// - Throws: `TransactionError` where the kernel refuses; other errors where it can't be asked.
    func apply(_ transaction: Transaction) throws

    /// The tables there are, of every family this module knows.
    func tables() throws -> [Table]
    /// The table's chains.
    func chains(in table: Table) throws -> [Chain]
    /// The table's named sets and maps whose types this module knows; anonymous ones are left out.
    func sets(in table: Table) throws -> [NamedSet]
    /// The elements of a set, in no order.
    func elements(of set: NamedSet) throws -> [Element]
    /// Calls `body` with each element of a set, in no order. A large set's elements take much more
    /// memory as an array.
    func forEachElement(of set: NamedSet, _ body: (Element) throws -> Void) throws
    /// The rules of a chain in their order, or of all the table's chains.
    func rules(in table: Table, chain: String?) throws -> [InstalledRule]
    /// The table's named counters with their readings.
    func counters(in table: Table) throws -> [NamedCounter]
}

extension NFTablesBackend {
    /// Calls `body` with each element of a set.
    public func forEachElement(of set: NamedSet, _ body: (Element) throws -> Void) throws {
        for element in try elements(of: set) { try body(element) }
    }
}

extension NFTablesBackend {
    /// Whether the kernel knows `socket` expressions (nft_socket), tried in a table that goes in the
    /// same transaction.
    /// - Parameter name: of that table; none of this name may exist.
    public func findsSockets(_ name: String) -> Bool {
        let table = Table(.ip, name)
        var transaction = Transaction()
        transaction.add(table)
        transaction.add(Chain("try", in: table))
        transaction.add(Rule("try", in: table, [.destinationHasSocket, .verdict(.return)]))
        transaction.delete(table)
        return (try? apply(transaction)) != nil
    }
}

/// A rule as the kernel holds it.
public struct InstalledRule: Hashable, Sendable {
    /// The rule. Counters in its expressions show their readings.
    public var rule: Rule
    /// The kernel's number for it, by which it is deleted or replaced.
    public var handle: UInt64
    /// True where every expression was understood; where not, those missing are left out.
    public var isComplete: Bool

    /// Describes a rule that was read back.
    public init(_ rule: Rule, handle: UInt64, isComplete: Bool = true) {
        self.rule = rule
        self.handle = handle
        self.isComplete = isComplete
    }
}

/// The kernel refused a transaction; nothing of it was done.
public struct TransactionError: Error, Hashable, Sendable, CustomStringConvertible {
    /// One operation the kernel refused.
    public struct Failure: Hashable, Sendable {
        /// The operation's index in the transaction; nil where the commit as a whole failed.
        public var operationIndex: Int?
        /// What was to be done, in words.
        public var operation: String
        /// The element the kernel points at, where it names one.
        public var element: Element?
        /// The error number.
        public var errorNumber: Int32
        /// What the kernel says beyond the number; empty for nothing.
        public var message: String

        /// Describes a refusal.
        public init(
            operationIndex: Int?, operation: String, element: Element? = nil,
            errorNumber: Int32, message: String = ""
        ) {
            self.operationIndex = operationIndex
            self.operation = operation
            self.element = element
            self.errorNumber = errorNumber
            self.message = message
        }
    }

    /// What was refused, in order; the kernel goes on after the first to find more. Never empty.
    public var failures: [Failure]
    /// Makes an error of refusals.
    public init(_ failures: [Failure]) { self.failures = failures }

    /// The first refusal's error number.
    public var errorNumber: Int32 { failures.first?.errorNumber ?? 0 }

    /// The first refusal in words, and how many more there are.
    public var description: String {
        guard let first = failures.first else { return "nftables refused the transaction" }
        var text =
            "nftables refused to \(first.operation): \(String(cString: strerror(first.errorNumber)))"
        if !first.message.isEmpty { text += " (\(first.message))" }
        if let element = first.element { text += ", at the element with key \(element.key)" }
        if failures.count > 1 { text += ", and \(failures.count - 1) more" }
        return text
    }
}

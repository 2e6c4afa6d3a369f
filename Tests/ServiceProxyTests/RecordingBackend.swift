import NFTables
import Synchronization

/// The in-memory kernel, with a list of what was applied and refusals on demand.
final class RecordingBackend: NFTablesBackend {
    let kernel = InMemoryKernel()
    private let state = Mutex((transactions: [Transaction](), refusals: 0))

    var transactions: [Transaction] { state.withLock { $0.transactions } }

    var refusals: Int {
        get { state.withLock { $0.refusals } }
        set { state.withLock { $0.refusals = newValue } }
    }

    func clear() { state.withLock { $0.transactions = [] } }

    func apply(_ transaction: Transaction) throws {
        try state.withLock { state in
            if state.refusals > 0 {
                state.refusals -= 1
                throw TransactionError([
                    .init(operationIndex: 0, operation: "do anything", errorNumber: 12)
                ])
            }
            state.transactions.append(transaction)
        }
        try kernel.apply(transaction)
    }

    func tables() throws -> [Table] { try kernel.tables() }
    func chains(in table: Table) throws -> [Chain] { try kernel.chains(in: table) }
    func sets(in table: Table) throws -> [NamedSet] { try kernel.sets(in: table) }
    func elements(of set: NamedSet) throws -> [Element] { try kernel.elements(of: set) }
    func rules(in table: Table, chain: String?) throws -> [InstalledRule] {
        try kernel.rules(in: table, chain: chain)
    }
    func counters(in table: Table) throws -> [NamedCounter] { try kernel.counters(in: table) }
}

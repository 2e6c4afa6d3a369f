import CLinux
public import Netlink
import Synchronization

/// The tables of one network namespace, by nfnetlink.
///
/// Calls from several threads are made one after another. The memory of the largest transaction
/// is kept for the next, up to a bound.
public final class NFTablesKernel: NFTablesBackend {
    /// A batch's memory beyond this is given back after the call.
    private static let keptByteCount = 1 << 20

    private let socket: NetlinkSocket
    private let buffer = Mutex<MessageBuffer?>(nil)

    /// Opens a socket in the calling thread's namespace.
    public init() throws { socket = try NetlinkSocket(.netfilter) }

    /// Opens a socket in the namespace; it may be used from any thread.
    public init(in namespace: NamespaceDescriptor) throws {
        socket = try NetworkNamespace.withThread(in: namespace) { try NetlinkSocket(.netfilter) }
    }

    // MARK: - Changes

    /// Makes all changes or none.
    /// - Throws: `TransactionError` where the kernel refuses, `NetlinkError` where it can't be
    ///   asked.
    public func apply(_ transaction: Transaction) throws {
        guard !transaction.isEmpty else { return }
        let failures = try buffer.withLock { kept throws -> [TransactionError.Failure] in
            let buffer = kept ?? MessageBuffer()
            kept = nil
            let encoder = TransactionEncoder(transaction, into: buffer)
            let refused = try socket.requestBatch(buffer)
            let failures = refused.map { encoder.failure($0, in: transaction) }
            if buffer.count <= Self.keptByteCount { kept = buffer }
            return failures
        }
        if !failures.isEmpty { throw TransactionError(failures) }
    }

    // MARK: - Reading

    /// The tables there are, of every family this module knows.
    public func tables() throws -> [Table] {
        try dump(NFT_MSG_GETTABLE, nil, "list tables").compactMap { message in
            guard let family = Family(rawValue: message.payload.uint8()),
                let name = message.payload.attribute(NFTA_TABLE_NAME, from: 4)?.string
            else { return nil }
            return Table(family, name)
        }
    }

    /// The table's chains.
    public func chains(in table: Table) throws -> [Chain] {
        try dump(NFT_MSG_GETCHAIN, table, "list the chains of \(table)").compactMap { message in
            Chain(message.payload.dropFirst(4), in: table)
        }
    }

    /// The table's named sets and maps whose types this module knows; anonymous ones are left out.
    public func sets(in table: Table) throws -> [NamedSet] {
        try dump(NFT_MSG_GETSET, table, "list the sets of \(table)").compactMap { message in
            NamedSet(message.payload.dropFirst(4), in: table)
        }
    }

    /// The elements of a set, in no order.
    public func elements(of set: NamedSet) throws -> [Element] {
        var elements: [Element] = []
        try forEachElement(of: set) { elements.append($0) }
        return elements
    }

    /// Calls `body` with each element of a set, in no order.
    public func forEachElement(of set: NamedSet, _ body: (Element) throws -> Void) throws {
        guard set.flags.contains(.interval), set.key.count == 1 else {
            return try forEachReading(of: set) { try body($0.element) }
        }
        var readings: [ElementReading] = []
        try forEachReading(of: set) { readings.append($0) }
        for element in ElementReading.joinIntervals(readings) { try body(element) }
    }

    private func forEachReading(
        of set: NamedSet, _ body: (ElementReading) throws -> Void
    ) throws {
        let messages = try dump(
            NFT_MSG_GETSETELEM, set.table, "list the elements of \(set.table) \(set.name)"
        ) {
            $0.putString(NFTA_SET_ELEM_LIST_SET, set.name)
        }
        for message in messages {
            try message.payload.attribute(NFTA_SET_ELEM_LIST_ELEMENTS, from: 4)?
                .forEachAttribute { _, payload in
                    if let element = ElementReading(payload) { try body(element) }
                }
        }
    }

    /// The rules of a chain in their order, or of all the table's chains.
    public func rules(in table: Table, chain: String?) throws -> [InstalledRule] {
        let messages = try dump(NFT_MSG_GETRULE, table, "list the rules of \(table)") {
            if let chain { $0.putString(NFTA_RULE_CHAIN, chain) }
        }
        return messages.compactMap { InstalledRule($0.payload.dropFirst(4), in: table) }
    }

    /// The table's named counters with their readings.
    public func counters(in table: Table) throws -> [NamedCounter] {
        let messages = try dump(NFT_MSG_GETOBJ, table, "list the counters of \(table)") {
            $0.put32BigEndian(NFTA_OBJ_TYPE, UInt32(NFT_OBJECT_COUNTER))
        }
        return messages.compactMap { message in
            let payload = message.payload
            guard let name = payload.attribute(NFTA_OBJ_NAME, from: 4)?.string else { return nil }
            let data = payload.attribute(NFTA_OBJ_DATA, from: 4)
            return NamedCounter(
                name, in: table,
                packetCount: data?.attribute(NFTA_COUNTER_PACKETS)?.uint64BigEndian() ?? 0,
                byteCount: data?.attribute(NFTA_COUNTER_BYTES)?.uint64BigEndian() ?? 0)
        }
    }

    /// Dumps objects; those of other tables, which some kernels send as well, are left out.
    private func dump(
        _ type: nf_tables_msg_types, _ table: Table?, _ operation: String,
        _ encode: (MessageBuffer) -> Void = { _ in }
    ) throws -> [Message] {
        let buffer = MessageBuffer(capacity: 512)
        nftBegin(type, family: table?.family, flags: 0, into: buffer)
        if let table { buffer.putString(1, table.name) }
        encode(buffer)
        let messages = try socket.dump(buffer, operation: operation)
        guard let table else { return messages }
        return messages.filter { message in
            message.payload.uint8() == table.family.rawValue
                && message.payload.attribute(1, from: 4)?.string == table.name
        }
    }
}

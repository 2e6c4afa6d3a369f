import CLinux
import Netlink

/// Turns a transaction into an nfnetlink batch, and the kernel's complaints back into operations.
struct TransactionEncoder {
    /// What a message of the batch carries.
    struct Origin {
        /// The operation's index.
        var operationIndex: Int
        /// For elements: the index of the first in this message.
        var firstElementIndex: Int = 0
    }

    /// How long a list of elements may grow before another message begins: the length field of an
    /// attribute has sixteen bits, and an element is shorter than the rest.
    static let elementListLimit = 60_000

    /// The batch.
    let buffer: MessageBuffer
    /// For each message after the first (NFNL_MSG_BATCH_BEGIN), where it comes from.
    private(set) var origins: [Origin] = []
    private var nextSetID: UInt32 = 1

    /// The index of the one message that asks for an acknowledgement: the last operation's.
    var acknowledgedIndex: Int { origins.count }

    /// Encodes the whole transaction into the buffer, which is emptied first.
    init(_ transaction: Transaction, into buffer: MessageBuffer) {
        self.buffer = buffer
        buffer.removeAll()
        putBatchMarker(NFNL_MSG_BATCH_BEGIN)
        for (index, operation) in transaction.operations.enumerated() {
            encode(operation, Origin(operationIndex: index))
        }
        // Older kernels take no acknowledgement flag on the batch's own messages.
        if !origins.isEmpty {
            buffer.addFlags(UInt16(NLM_F_ACK), toMessage: acknowledgedIndex)
        }
        putBatchMarker(NFNL_MSG_BATCH_END)
        buffer.endMessage()
    }

    private func putBatchMarker(_ type: Int32) {
        buffer.beginMessage(type: UInt16(type), flags: UInt16(NLM_F_REQUEST))
        let subsystem = UInt16(NFNL_SUBSYS_NFTABLES).bigEndian
        buffer.putStruct(nfgenmsg(nfgen_family: 0, version: 0, res_id: subsystem))
    }

    /// Begins a message of nf_tables for a table, and writes its first attribute: in every kind of
    /// message attribute 1 is the table's name.
    private mutating func begin(
        _ type: nf_tables_msg_types, _ table: Table, _ origin: Origin, flags: Int32 = 0
    ) {
        origins.append(origin)
        nftBegin(type, family: table.family, flags: flags, into: buffer)
        buffer.putString(1, table.name)
    }

    // MARK: - Operations

    private mutating func encode(_ operation: Transaction.Operation, _ origin: Origin) {
        switch operation {
        case .addTable(let table, let isExclusive):
            begin(
                NFT_MSG_NEWTABLE, table, origin,
                flags: NLM_F_CREATE | (isExclusive ? NLM_F_EXCL : 0))
            buffer.put32BigEndian(NFTA_TABLE_FLAGS, 0)
        case .deleteTable(let table): begin(NFT_MSG_DELTABLE, table, origin)
        case .addChain(let chain): encode(chain, origin)
        case .flushChain(let name, let table):
            begin(NFT_MSG_DELRULE, table, origin)
            buffer.putString(NFTA_RULE_CHAIN, name)
        case .deleteChain(let name, let table):
            begin(NFT_MSG_DELCHAIN, table, origin)
            buffer.putString(NFTA_CHAIN_NAME, name)
        case .appendRule(let rule):
            begin(NFT_MSG_NEWRULE, rule.table, origin, flags: NLM_F_CREATE | NLM_F_APPEND)
            encode(rule)
        case .insertRule(let rule, let handle):
            begin(NFT_MSG_NEWRULE, rule.table, origin, flags: NLM_F_CREATE)
            if let handle { buffer.put64BigEndian(NFTA_RULE_POSITION, handle) }
            encode(rule)
        case .replaceRule(let rule, let handle):
            begin(NFT_MSG_NEWRULE, rule.table, origin, flags: NLM_F_REPLACE)
            buffer.put64BigEndian(NFTA_RULE_HANDLE, handle)
            encode(rule)
        case .deleteRule(let handle, let chain, let table):
            begin(NFT_MSG_DELRULE, table, origin)
            buffer.putString(NFTA_RULE_CHAIN, chain)
            buffer.put64BigEndian(NFTA_RULE_HANDLE, handle)
        case .addSet(let set): encode(set, origin)
        case .flushSet(let name, let table):
            begin(NFT_MSG_DELSETELEM, table, origin)
            buffer.putString(NFTA_SET_ELEM_LIST_SET, name)
        case .deleteSet(let name, let table):
            begin(NFT_MSG_DELSET, table, origin)
            buffer.putString(NFTA_SET_NAME, name)
        case .addElements(let elements, let set, let isExclusive):
            encode(
                elements, set, NFT_MSG_NEWSETELEM, origin,
                flags: NLM_F_CREATE | (isExclusive ? NLM_F_EXCL : 0))
        case .deleteElements(let elements, let set):
            encode(elements, set, NFT_MSG_DELSETELEM, origin, flags: 0)
        case .addCounter(let counter):
            begin(NFT_MSG_NEWOBJ, counter.table, origin, flags: NLM_F_CREATE)
            buffer.putString(NFTA_OBJ_NAME, counter.name)
            buffer.put32BigEndian(NFTA_OBJ_TYPE, UInt32(NFT_OBJECT_COUNTER))
            buffer.nest(NFTA_OBJ_DATA) {
                buffer.put64BigEndian(NFTA_COUNTER_BYTES, counter.byteCount)
                buffer.put64BigEndian(NFTA_COUNTER_PACKETS, counter.packetCount)
            }
        case .deleteCounter(let name, let table):
            begin(NFT_MSG_DELOBJ, table, origin)
            buffer.putString(NFTA_OBJ_NAME, name)
            buffer.put32BigEndian(NFTA_OBJ_TYPE, UInt32(NFT_OBJECT_COUNTER))
        }
    }

    private mutating func encode(_ chain: Chain, _ origin: Origin) {
        begin(NFT_MSG_NEWCHAIN, chain.table, origin, flags: NLM_F_CREATE)
        buffer.putString(NFTA_CHAIN_NAME, chain.name)
        guard let hook = chain.hook else { return }
        buffer.putString(NFTA_CHAIN_TYPE, hook.kind.rawValue)
        buffer.put32BigEndian(NFTA_CHAIN_POLICY, hook.policy.rawValue)
        buffer.nest(NFTA_CHAIN_HOOK) {
            buffer.put32BigEndian(NFTA_HOOK_HOOKNUM, hook.point.rawValue)
            buffer.put32BigEndian(NFTA_HOOK_PRIORITY, UInt32(bitPattern: hook.priority))
        }
    }

    private func encode(_ rule: Rule) {
        buffer.putString(NFTA_RULE_CHAIN, rule.chain)
        buffer.nest(NFTA_RULE_EXPRESSIONS) {
            for expression in rule.expressions {
                expression.encode(NFTA_LIST_ELEM, family: rule.table.family, into: buffer)
            }
        }
        if let comment = rule.comment {
            buffer.putBytes(NFTA_RULE_USERDATA, UserData.comment(comment))
        }
    }

    private mutating func encode(_ set: NamedSet, _ origin: Origin) {
        begin(NFT_MSG_NEWSET, set.table, origin, flags: NLM_F_CREATE)
        var flags = set.flags.rawValue
        switch set.content {
        case .none: break
        case .verdict, .value: flags |= 0x8  // NFT_SET_MAP
        case .counter: flags |= 0x40  // NFT_SET_OBJECT
        }
        if set.isConcatenatedInterval { flags |= 0x80 }  // NFT_SET_CONCAT
        if set.countsPackets { flags |= 0x100 }  // NFT_SET_EXPR
        buffer.putString(NFTA_SET_NAME, set.name)
        buffer.put32BigEndian(NFTA_SET_FLAGS, flags)
        buffer.put32BigEndian(NFTA_SET_KEY_TYPE, set.key.datatypeNumber)
        buffer.put32BigEndian(NFTA_SET_KEY_LEN, UInt32(set.key.valueByteCount))
        switch set.content {
        case .none: break
        case .verdict:
            buffer.put32BigEndian(NFTA_SET_DATA_TYPE, 0xFFFF_FF00)  // NFT_DATA_VERDICT
            buffer.put32BigEndian(NFTA_SET_DATA_LEN, 0)
        case .value(let fields):
            buffer.put32BigEndian(NFTA_SET_DATA_TYPE, fields.datatypeNumber)
            buffer.put32BigEndian(NFTA_SET_DATA_LEN, UInt32(fields.valueByteCount))
        case .counter:
            buffer.put32BigEndian(NFTA_SET_OBJ_TYPE, UInt32(NFT_OBJECT_COUNTER))
        }
        buffer.put32BigEndian(NFTA_SET_ID, nextSetID)
        nextSetID += 1
        encodeDescription(set)
        if set.timeoutMilliseconds > 0 {
            buffer.put64BigEndian(NFTA_SET_TIMEOUT, set.timeoutMilliseconds)
        }
        buffer.putBytes(NFTA_SET_USERDATA, UserData.byteOrders(of: set))
        if set.countsPackets {
            Expression.counter(packetCount: 0, byteCount: 0)
                .encode(NFTA_SET_EXPR, family: set.table.family, into: buffer)
        }
    }

    private func encodeDescription(_ set: NamedSet) {
        guard set.maximumElementCount > 0 || set.isConcatenatedInterval else { return }
        buffer.nest(NFTA_SET_DESC) {
            if set.maximumElementCount > 0 {
                buffer.put32BigEndian(NFTA_SET_DESC_SIZE, set.maximumElementCount)
            }
            guard set.isConcatenatedInterval else { return }
            buffer.nest(NFTA_SET_DESC_CONCAT) {
                for field in set.key {
                    buffer.nest(NFTA_LIST_ELEM) {
                        buffer.put32BigEndian(NFTA_SET_FIELD_LEN, UInt32(field.byteCount))
                    }
                }
            }
        }
    }

    // MARK: - Elements

    private mutating func encode(
        _ elements: [Element], _ set: NamedSet, _ type: nf_tables_msg_types, _ origin: Origin,
        flags: Int32
    ) {
        var index = 0
        repeat {
            begin(
                type, set.table,
                Origin(operationIndex: origin.operationIndex, firstElementIndex: index),
                flags: flags)
            buffer.putString(NFTA_SET_ELEM_LIST_SET, set.name)
            let list = buffer.beginNest(
                NFTA_SET_ELEM_LIST_ELEMENTS.attributeNumber | UInt16(NLA_F_NESTED))
            while index < elements.count, buffer.count - list < Self.elementListLimit {
                encode(elements[index], of: set)
                index += 1
            }
            buffer.endNest(list)
        } while index < elements.count
    }

    private func encode(_ element: Element, of set: NamedSet) {
        let nested = UInt16(NLA_F_NESTED)
        let start = buffer.beginNest(NFTA_LIST_ELEM.attributeNumber | nested)
        if element.isCatchAll {
            buffer.put32BigEndian(NFTA_SET_ELEM_FLAGS, 2)  // NFT_SET_ELEM_CATCHALL
        } else {
            buffer.putValue(NFTA_SET_ELEM_KEY, element.key)
        }
        if set.isConcatenatedInterval, !element.isCatchAll {
            buffer.putValue(NFTA_SET_ELEM_KEY_END, element.lastKey ?? element.key)
        }
        switch element.content {
        case .none: break
        case .value(let value): buffer.putValue(NFTA_SET_ELEM_DATA, value)
        case .verdict(let verdict): buffer.putVerdict(NFTA_SET_ELEM_DATA, verdict)
        case .object(let name): buffer.putString(NFTA_SET_ELEM_OBJREF, name)
        }
        if let timeout = element.timeoutMilliseconds {
            buffer.put64BigEndian(NFTA_SET_ELEM_TIMEOUT, timeout)
        }
        if let expiration = element.expirationMilliseconds {
            buffer.put64BigEndian(NFTA_SET_ELEM_EXPIRATION, expiration)
        }
        if let comment = element.comment {
            buffer.putBytes(NFTA_SET_ELEM_USERDATA, UserData.comment(comment))
        }
        buffer.endNest(start)
        // A range of one field is two elements: its first key, and the first key after it.
        guard set.flags.contains(.interval), set.key.count == 1, !element.isCatchAll,
            let end = (element.lastKey ?? element.key).successor()
        else { return }
        let endStart = buffer.beginNest(NFTA_LIST_ELEM.attributeNumber | nested)
        buffer.put32BigEndian(NFTA_SET_ELEM_FLAGS, 1)  // NFT_SET_ELEM_INTERVAL_END
        buffer.putValue(NFTA_SET_ELEM_KEY, end)
        buffer.endNest(endStart)
    }

    // MARK: - Errors

    /// Says which operation, and where the kernel points at one which element, a failure is about.
    func failure(_ failure: MessageFailure, in transaction: Transaction) -> TransactionError.Failure
    {
        guard failure.messageIndex > 0, failure.messageIndex <= origins.count else {
            return TransactionError.Failure(
                operationIndex: nil, operation: "commit the transaction",
                errorNumber: failure.errorNumber, message: failure.message)
        }
        let origin = origins[failure.messageIndex - 1]
        let operation = transaction.operations[origin.operationIndex]
        return TransactionError.Failure(
            operationIndex: origin.operationIndex, operation: operation.description,
            element: element(failure, origin, operation), errorNumber: failure.errorNumber,
            message: failure.message)
    }

    private func element(
        _ failure: MessageFailure, _ origin: Origin, _ operation: Transaction.Operation
    ) -> Element? {
        let elements: [Element]
        switch operation {
        case .addElements(let list, _, _), .deleteElements(let list, _): elements = list
        default: return nil
        }
        guard let offset = failure.attributeOffset else { return nil }
        let message = buffer.withUnsafeBytes { bytes in
            ByteView(Array(bytes[buffer.messageOffsets[failure.messageIndex]...]))
        }
        // The list is the last attribute: count the elements that begin before the offset.
        var position = 20
        while position + 4 < message.count,
            message.uint16(at: position + 2) & 0x3FFF
                != NFTA_SET_ELEM_LIST_ELEMENTS.attributeNumber
        {
            position += max(4, (Int(message.uint16(at: position)) + 3) & ~3)
        }
        position += 4
        var index = origin.firstElementIndex - 1
        while position <= offset, position + 4 <= message.count {
            let length = Int(message.uint16(at: position))
            let inner = message.dropFirst(position + 4, byteCount: length - 4)
            if inner.attribute(NFTA_SET_ELEM_FLAGS)?.uint32BigEndian() != 1 { index += 1 }
            position += max(4, (length + 3) & ~3)
        }
        return elements.indices.contains(index) ? elements[index] : nil
    }
}

/// Begins a message of nf_tables (struct nfgenmsg follows the header).
func nftBegin(
    _ type: nf_tables_msg_types, family: Family?, flags: Int32, into buffer: MessageBuffer
) {
    let subsystem = UInt16(NFNL_SUBSYS_NFTABLES) << 8
    buffer.beginMessage(
        type: subsystem | UInt16(type.rawValue), flags: UInt16(NLM_F_REQUEST | flags))
    buffer.putStruct(nfgenmsg(nfgen_family: family?.rawValue ?? 0, version: 0, res_id: 0))
}

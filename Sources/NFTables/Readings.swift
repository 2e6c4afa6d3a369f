import CLinux
import Netlink

// What the kernel sends of its objects. An object that lacks a needed attribute, or has one this
// module does not know, reads as nil.

extension Chain {
    /// Reads the attributes of NFT_MSG_NEWCHAIN.
    init?(_ payload: ByteView, in table: Table) {
        guard let name = payload.attribute(NFTA_CHAIN_NAME)?.string else { return nil }
        self.init(name, in: table)
        handle = payload.attribute(NFTA_CHAIN_HANDLE)?.uint64BigEndian()
        guard let hook = payload.attribute(NFTA_CHAIN_HOOK),
            let point = hook.attribute(NFTA_HOOK_HOOKNUM)?.uint32BigEndian(),
            let priority = hook.attribute(NFTA_HOOK_PRIORITY)?.uint32BigEndian(),
            let kind = (payload.attribute(NFTA_CHAIN_TYPE)?.string).flatMap(ChainHook.Kind.init),
            let hookPoint = ChainHook.Point(rawValue: point)
        else { return }
        let policy = payload.attribute(NFTA_CHAIN_POLICY)?.uint32BigEndian() ?? 1
        self.hook = ChainHook(
            kind, hookPoint, priority: Int32(bitPattern: priority),
            policy: ChainHook.Policy(rawValue: policy) ?? .accept)
    }
}

extension NamedSet {
    /// Reads the attributes of NFT_MSG_NEWSET; nil for anonymous sets and unknown types.
    init?(_ payload: ByteView, in table: Table) {
        let flags = payload.attribute(NFTA_SET_FLAGS)?.uint32BigEndian() ?? 0
        guard flags & 1 == 0,  // NFT_SET_ANONYMOUS
            let name = payload.attribute(NFTA_SET_NAME)?.string,
            let keyType = payload.attribute(NFTA_SET_KEY_TYPE)?.uint32BigEndian(),
            let key = [FieldType](datatypeNumber: keyType)
        else { return nil }
        var content = Content.none
        if flags & 0x40 != 0 {
            content = .counter
        } else if flags & 0x8 != 0 {
            let dataType = payload.attribute(NFTA_SET_DATA_TYPE)?.uint32BigEndian() ?? 0
            if dataType == 0xFFFF_FF00 {
                content = .verdict
            } else {
                guard let fields = [FieldType](datatypeNumber: dataType) else { return nil }
                content = .value(fields)
            }
        }
        let known: Flags = [.constant, .interval, .timeout, .dynamic]
        let size = payload.attribute(NFTA_SET_DESC)?.attribute(NFTA_SET_DESC_SIZE)
        self.init(
            name, in: table, key: key, content: content,
            flags: Flags(rawValue: flags).intersection(known),
            timeoutMilliseconds: payload.attribute(NFTA_SET_TIMEOUT)?.uint64BigEndian() ?? 0,
            maximumElementCount: size?.uint32BigEndian() ?? 0,
            countsPackets: payload.attribute(NFTA_SET_EXPR) != nil)
    }
}

extension InstalledRule {
    /// Reads the attributes of NFT_MSG_NEWRULE.
    init?(_ payload: ByteView, in table: Table) {
        guard let chain = payload.attribute(NFTA_RULE_CHAIN)?.string,
            let handle = payload.attribute(NFTA_RULE_HANDLE)?.uint64BigEndian()
        else { return nil }
        var expressions: [Expression] = []
        var isComplete = true
        payload.attribute(NFTA_RULE_EXPRESSIONS)?.forEachAttribute { _, element in
            if let expression = Expression(element, family: table.family) {
                expressions.append(expression)
            } else {
                isComplete = false
            }
        }
        let comment = UserData.comment(in: payload.attribute(NFTA_RULE_USERDATA))
        self.init(
            Rule(chain, in: table, expressions: expressions, comment: comment), handle: handle,
            isComplete: isComplete)
    }
}

/// An element as the kernel sends it: a range of one field comes as two.
struct ElementReading {
    var element: Element
    /// True for the first key after a range.
    var isIntervalEnd: Bool

    /// Reads one list element of NFT_MSG_NEWSETELEM, in one pass: dumps have many.
    init?(_ payload: ByteView) {
        var key: Value?
        var content = Element.Content.none
        var flags: UInt32 = 0
        var isReadable = true
        var rare: [(type: UInt16, payload: ByteView)] = []
        payload.forEachAttribute { type, payload in
            switch UInt32(type) {
            case NFTA_SET_ELEM_KEY.rawValue: key = Value(attribute: payload)
            case NFTA_SET_ELEM_FLAGS.rawValue: flags = payload.uint32BigEndian()
            case NFTA_SET_ELEM_DATA.rawValue:
                if let value = Value(attribute: payload) {
                    content = .value(value)
                } else if let verdict = Verdict(attribute: payload) {
                    content = .verdict(verdict)
                } else {
                    isReadable = false
                }
            case NFTA_SET_ELEM_OBJREF.rawValue: content = .object(payload.string)
            default: rare.append((type, payload))
            }
        }
        guard isReadable, key != nil || flags & 2 != 0 else { return nil }
        isIntervalEnd = flags & 1 != 0
        element = flags & 2 != 0 ? .catchAll(content) : Element(key ?? Value(), content)
        for (type, payload) in rare { readRare(type, payload) }
    }

    /// Reads what few elements have.
    private mutating func readRare(_ type: UInt16, _ payload: ByteView) {
        switch UInt32(type) {
        case NFTA_SET_ELEM_KEY_END.rawValue:
            if let last = Value(attribute: payload), last != element.key { element.lastKey = last }
        case NFTA_SET_ELEM_TIMEOUT.rawValue:
            element.timeoutMilliseconds = payload.uint64BigEndian()
        case NFTA_SET_ELEM_EXPIRATION.rawValue:
            element.expirationMilliseconds = payload.uint64BigEndian()
        case NFTA_SET_ELEM_USERDATA.rawValue:
            if let comment = UserData.comment(in: payload) { element.comment = comment }
        case NFTA_SET_ELEM_EXPR.rawValue:
            guard
                case .counter(let packetCount, let byteCount)? = Expression(payload, family: .inet)
            else { return }
            element.packetCount = packetCount
            element.byteCount = byteCount
        default: break
        }
    }

    /// Makes ranges of the starts and ends of an interval set's elements.
    static func joinIntervals(_ readings: [ElementReading]) -> [Element] {
        let sorted = readings.filter { !$0.element.isCatchAll }.map { ($0.element.key.bytes, $0) }
            .sorted { left, right in
                if left.0 != right.0 { return left.0.lexicographicallyPrecedes(right.0) }
                // An end and the next start may share a key: the end comes first.
                return left.1.isIntervalEnd && !right.1.isIntervalEnd
            }
        var elements = readings.map(\.element).filter(\.isCatchAll)
        var open: Element?
        for (_, reading) in sorted {
            if reading.isIntervalEnd {
                if var element = open {
                    let last = reading.element.key.predecessor()
                    if last != element.key { element.lastKey = last }
                    elements.append(element)
                    open = nil
                }
            } else {
                open = reading.element
            }
        }
        if var element = open {
            // A range that ends with the highest key of all has no key after it.
            let highest = Value(bytes: [UInt8](repeating: 0xFF, count: element.key.byteCount))
            if highest != element.key { element.lastKey = highest }
            elements.append(element)
        }
        return elements
    }
}

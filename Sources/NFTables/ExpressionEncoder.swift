import CLinux
import Netlink

extension Expression {
    /// Appends the expression as an attribute of the type: its name and its data.
    func encode(_ type: some AttributeNumber, family: Family, into buffer: MessageBuffer) {
        buffer.nest(type) {
            buffer.putString(NFTA_EXPR_NAME, kernelName)
            buffer.nest(NFTA_EXPR_DATA) { encodeData(family: family, into: buffer) }
        }
    }

    /// The name under which the kernel knows the expression.
    var kernelName: String {
        switch self {
        case .payload: "payload"
        case .meta, .setMeta: "meta"
        case .ct, .setCT: "ct"
        case .compare: "cmp"
        case .range: "range"
        case .bitwise: "bitwise"
        case .byteOrder: "byteorder"
        case .lookup, .map, .verdictMap: "lookup"
        case .immediate, .verdict: "immediate"
        case .nat: "nat"
        case .masquerade: "masq"
        case .redirect: "redir"
        case .reject: "reject"
        case .numberGenerator: "numgen"
        case .hash: "hash"
        case .counter: "counter"
        case .namedCounter, .counterMap: "objref"
        case .dynamicSet: "dynset"
        case .fib: "fib"
        case .socketWildcard: "socket"
        case .limit: "limit"
        case .log: "log"
        case .notrack: "notrack"
        }
    }

    private func encodeData(family: Family, into buffer: MessageBuffer) {
        switch self {
        case .payload, .meta, .setMeta, .ct, .setCT, .fib, .socketWildcard, .numberGenerator,
            .hash:
            encodeLoad(into: buffer)
        case .compare, .range, .bitwise, .byteOrder, .lookup, .map, .verdictMap, .immediate:
            encodeOperation(into: buffer)
        case .verdict(let verdict):
            buffer.put32BigEndian(NFTA_IMMEDIATE_DREG, 0)  // NFT_REG_VERDICT
            buffer.putVerdict(NFTA_IMMEDIATE_DATA, verdict)
        case .nat, .masquerade, .redirect: encodeTranslation(into: buffer)
        case .reject(let reject):
            let (type, code) = reject.kernelNumbers(family)
            buffer.put32BigEndian(NFTA_REJECT_TYPE, type)
            if let code { buffer.put8(NFTA_REJECT_ICMP_CODE, code) }
        case .counter, .namedCounter, .counterMap, .dynamicSet, .limit:
            encodeState(family: family, into: buffer)
        case .log(let prefix, let group):
            if !prefix.isEmpty { buffer.putString(NFTA_LOG_PREFIX, prefix) }
            if let group { buffer.put16BigEndian(NFTA_LOG_GROUP, group) }
        case .notrack: break
        }
    }

    private func encodeLoad(into buffer: MessageBuffer) {
        switch self {
        case .payload(let base, let offset, let byteCount, let register):
            buffer.put32BigEndian(NFTA_PAYLOAD_DREG, register.number)
            buffer.put32BigEndian(NFTA_PAYLOAD_BASE, base.rawValue)
            buffer.put32BigEndian(NFTA_PAYLOAD_OFFSET, UInt32(clamping: offset))
            buffer.put32BigEndian(NFTA_PAYLOAD_LEN, UInt32(clamping: byteCount))
        case .meta(let key, let register):
            buffer.put32BigEndian(NFTA_META_KEY, key.rawValue)
            buffer.put32BigEndian(NFTA_META_DREG, register.number)
        case .setMeta(let key, let register):
            buffer.put32BigEndian(NFTA_META_KEY, key.rawValue)
            buffer.put32BigEndian(NFTA_META_SREG, register.number)
        case .ct(let key, let direction, let register):
            buffer.put32BigEndian(NFTA_CT_KEY, key.rawValue)
            buffer.put32BigEndian(NFTA_CT_DREG, register.number)
            if let direction { buffer.put8(NFTA_CT_DIRECTION, direction.rawValue) }
        case .setCT(let key, let register):
            buffer.put32BigEndian(NFTA_CT_KEY, key.rawValue)
            buffer.put32BigEndian(NFTA_CT_SREG, register.number)
        case .fib(let inputs, let result, let register):
            buffer.put32BigEndian(NFTA_FIB_DREG, register.number)
            buffer.put32BigEndian(NFTA_FIB_RESULT, result.rawValue)
            buffer.put32BigEndian(NFTA_FIB_FLAGS, inputs.rawValue)
        case .socketWildcard(let register):
            buffer.put32BigEndian(NFTA_SOCKET_KEY, UInt32(NFT_SOCKET_WILDCARD.rawValue))
            buffer.put32BigEndian(NFTA_SOCKET_DREG, register.number)
        case .numberGenerator(let generator, let modulus, let offset, let register):
            buffer.put32BigEndian(NFTA_NG_DREG, register.number)
            buffer.put32BigEndian(NFTA_NG_MODULUS, modulus)
            buffer.put32BigEndian(NFTA_NG_TYPE, generator.rawValue)
            buffer.put32BigEndian(NFTA_NG_OFFSET, offset)
        case .hash(let from, let byteCount, let modulus, let seed, let offset, let register):
            buffer.put32BigEndian(NFTA_HASH_SREG, from.number)
            buffer.put32BigEndian(NFTA_HASH_DREG, register.number)
            buffer.put32BigEndian(NFTA_HASH_LEN, UInt32(clamping: byteCount))
            buffer.put32BigEndian(NFTA_HASH_MODULUS, modulus)
            buffer.put32BigEndian(NFTA_HASH_SEED, seed)
            buffer.put32BigEndian(NFTA_HASH_OFFSET, offset)
            buffer.put32BigEndian(NFTA_HASH_TYPE, 0)  // NFT_HASH_JENKINS
        default: break
        }
    }

    private func encodeOperation(into buffer: MessageBuffer) {
        switch self {
        case .compare(let register, let comparison, let value):
            buffer.put32BigEndian(NFTA_CMP_SREG, register.number)
            buffer.put32BigEndian(NFTA_CMP_OP, comparison.rawValue)
            buffer.putValue(NFTA_CMP_DATA, value)
        case .range(let register, let first, let last, let isInverted):
            buffer.put32BigEndian(NFTA_RANGE_SREG, register.number)
            buffer.put32BigEndian(NFTA_RANGE_OP, isInverted ? 1 : 0)
            buffer.putValue(NFTA_RANGE_FROM_DATA, first)
            buffer.putValue(NFTA_RANGE_TO_DATA, last)
        case .bitwise(let from, let into, let mask, let xor):
            buffer.put32BigEndian(NFTA_BITWISE_SREG, from.number)
            buffer.put32BigEndian(NFTA_BITWISE_DREG, into.number)
            buffer.put32BigEndian(NFTA_BITWISE_LEN, UInt32(mask.byteCount))
            buffer.putValue(NFTA_BITWISE_MASK, mask)
            buffer.putValue(NFTA_BITWISE_XOR, xor)
        case .byteOrder(let from, let into, let byteCount, let unitByteCount, let toNetwork):
            buffer.put32BigEndian(NFTA_BYTEORDER_SREG, from.number)
            buffer.put32BigEndian(NFTA_BYTEORDER_DREG, into.number)
            buffer.put32BigEndian(NFTA_BYTEORDER_OP, toNetwork ? 1 : 0)
            buffer.put32BigEndian(NFTA_BYTEORDER_LEN, UInt32(clamping: byteCount))
            buffer.put32BigEndian(NFTA_BYTEORDER_SIZE, UInt32(clamping: unitByteCount))
        case .lookup(let set, let key, let isInverted):
            buffer.putString(NFTA_LOOKUP_SET, set)
            buffer.put32BigEndian(NFTA_LOOKUP_SREG, key.number)
            if isInverted { buffer.put32BigEndian(NFTA_LOOKUP_FLAGS, 1) }
        case .map(let set, let key, let into):
            buffer.putString(NFTA_LOOKUP_SET, set)
            buffer.put32BigEndian(NFTA_LOOKUP_SREG, key.number)
            buffer.put32BigEndian(NFTA_LOOKUP_DREG, into.number)
        case .verdictMap(let set, let key):
            buffer.putString(NFTA_LOOKUP_SET, set)
            buffer.put32BigEndian(NFTA_LOOKUP_SREG, key.number)
            buffer.put32BigEndian(NFTA_LOOKUP_DREG, 0)  // NFT_REG_VERDICT
        case .immediate(let value, let register):
            buffer.put32BigEndian(NFTA_IMMEDIATE_DREG, register.number)
            buffer.putValue(NFTA_IMMEDIATE_DATA, value)
        default: break
        }
    }

    private func encodeTranslation(into buffer: MessageBuffer) {
        switch self {
        case .nat(let nat):
            buffer.put32BigEndian(NFTA_NAT_TYPE, nat.kind.rawValue)
            buffer.put32BigEndian(NFTA_NAT_FAMILY, UInt32(nat.family.rawValue))
            if let address = nat.address {
                buffer.put32BigEndian(NFTA_NAT_REG_ADDR_MIN, address.number)
            }
            if let port = nat.port {
                buffer.put32BigEndian(NFTA_NAT_REG_PROTO_MIN, port.number)
            }
            if !nat.flags.isEmpty { buffer.put32BigEndian(NFTA_NAT_FLAGS, nat.flags.rawValue) }
        case .masquerade(let flags):
            if !flags.isEmpty { buffer.put32BigEndian(NFTA_MASQ_FLAGS, flags.rawValue) }
        case .redirect(let port, let flags):
            if let port { buffer.put32BigEndian(NFTA_REDIR_REG_PROTO_MIN, port.number) }
            if !flags.isEmpty { buffer.put32BigEndian(NFTA_REDIR_FLAGS, flags.rawValue) }
        default: break
        }
    }

    private func encodeState(family: Family, into buffer: MessageBuffer) {
        switch self {
        case .counter(let packetCount, let byteCount):
            buffer.put64BigEndian(NFTA_COUNTER_BYTES, byteCount)
            buffer.put64BigEndian(NFTA_COUNTER_PACKETS, packetCount)
        case .namedCounter(let name):
            buffer.put32BigEndian(NFTA_OBJREF_IMM_TYPE, UInt32(NFT_OBJECT_COUNTER))
            buffer.putString(NFTA_OBJREF_IMM_NAME, name)
        case .counterMap(let set, let key):
            buffer.put32BigEndian(NFTA_OBJREF_SET_SREG, key.number)
            buffer.putString(NFTA_OBJREF_SET_NAME, set)
        case .dynamicSet(let change):
            buffer.putString(NFTA_DYNSET_SET_NAME, change.set)
            buffer.put32BigEndian(NFTA_DYNSET_OP, change.action.rawValue)
            buffer.put32BigEndian(NFTA_DYNSET_SREG_KEY, change.key.number)
            if let data = change.data { buffer.put32BigEndian(NFTA_DYNSET_SREG_DATA, data.number) }
            if change.timeoutMilliseconds > 0 {
                buffer.put64BigEndian(NFTA_DYNSET_TIMEOUT, change.timeoutMilliseconds)
            }
            guard !change.expressions.isEmpty else { break }
            buffer.put32BigEndian(NFTA_DYNSET_FLAGS, 1 << 1)  // NFT_DYNSET_F_EXPR
            buffer.nest(NFTA_DYNSET_EXPRESSIONS) {
                for expression in change.expressions {
                    expression.encode(NFTA_LIST_ELEM, family: family, into: buffer)
                }
            }
        case .limit(let limit):
            buffer.put64BigEndian(NFTA_LIMIT_RATE, limit.rate)
            buffer.put64BigEndian(NFTA_LIMIT_UNIT, limit.intervalSeconds)
            buffer.put32BigEndian(NFTA_LIMIT_BURST, limit.burst)
            buffer.put32BigEndian(NFTA_LIMIT_TYPE, limit.unit.rawValue)
            buffer.put32BigEndian(NFTA_LIMIT_FLAGS, limit.isInverted ? 1 : 0)
        default: break
        }
    }
}

// MARK: - Data

extension MessageBuffer {
    /// Appends a value (NFTA_DATA_VALUE) nested in an attribute.
    func putValue(_ type: some AttributeNumber, _ value: Value) {
        let start = beginNest(type.attributeNumber | UInt16(NLA_F_NESTED))
        putUninitialized(UInt16(1), byteCount: value.byteCount) { value.write(to: $0) }
        endNest(start)
    }

    /// Appends a verdict (NFTA_DATA_VERDICT) nested in an attribute.
    func putVerdict(_ type: some AttributeNumber, _ verdict: Verdict) {
        nest(type) {
            nest(NFTA_DATA_VERDICT) {
                put32BigEndian(NFTA_VERDICT_CODE, UInt32(bitPattern: verdict.code))
                switch verdict {
                case .jump(let chain), .goto(let chain): putString(NFTA_VERDICT_CHAIN, chain)
                case .accept, .drop, .continue, .return: break
                }
            }
        }
    }
}

extension Verdict {
    /// NF_DROP, NF_ACCEPT, or NFT_CONTINUE and its kin (enum nft_verdicts).
    var code: Int32 {
        switch self {
        case .drop: 0
        case .accept: 1
        case .continue: -1
        case .jump: -3
        case .goto: -4
        case .return: -5
        }
    }
}

extension Reject {
    private static let icmpCodes: [UInt8] = [0, 3, 1, 13]
    private static let icmpv6Codes: [UInt8] = [0, 4, 3, 1]

    /// The type and code: tables of one family take that family's own ICMP codes
    /// (linux/icmp.h, linux/icmpv6.h), in the order of `Reason`.
    func kernelNumbers(_ family: Family) -> (type: UInt32, code: UInt8?) {
        switch (self, family) {
        case (.tcpReset, _): (1, nil)
        case (.icmp(let reason), .ip): (0, Self.icmpCodes[Int(reason.rawValue)])
        case (.icmp(let reason), .ip6): (0, Self.icmpv6Codes[Int(reason.rawValue)])
        case (.icmp(let reason), .inet), (.icmp(let reason), .netdev): (2, reason.rawValue)
        }
    }

    /// Reads the kernel's numbers; nil where the code has no name here.
    init?(type: UInt32, code: UInt8, family: Family) {
        let index: Int?
        switch (type, family) {
        case (1, _):
            self = .tcpReset
            return
        case (0, .ip): index = Self.icmpCodes.firstIndex(of: code)
        case (0, .ip6): index = Self.icmpv6Codes.firstIndex(of: code)
        default: index = Int(code)
        }
        guard let reason = index.flatMap({ Reason(rawValue: UInt8($0)) }) else { return nil }
        self = .icmp(reason)
    }
}

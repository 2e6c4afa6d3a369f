import CLinux
import Netlink

extension Expression {
    /// Reads an expression from the payload of its list element; nil where this module lacks it.
    init?(_ element: ByteView, family: Family) {
        guard let name = element.attribute(NFTA_EXPR_NAME)?.string else { return nil }
        let fields = Fields(data: element.attribute(NFTA_EXPR_DATA) ?? ByteView([]))
        let decoded: Expression? =
            switch name {
            case "payload", "meta", "ct", "fib", "socket", "numgen", "hash": Self.load(name, fields)
            case "cmp", "range", "bitwise", "byteorder", "lookup", "immediate":
                Self.operation(name, fields)
            case "nat", "masq", "redir", "reject": Self.ending(name, fields, family)
            default: Self.state(name, fields, family)
            }
        guard let decoded else { return nil }
        self = decoded
    }

    /// The attributes of one expression.
    private struct Fields {
        let data: ByteView

        func number(_ type: some AttributeNumber) -> UInt32? {
            data.attribute(type)?.uint32BigEndian()
        }

        func long(_ type: some AttributeNumber) -> UInt64 {
            data.attribute(type)?.uint64BigEndian() ?? 0
        }

        func register(_ type: some AttributeNumber) -> Register? {
            number(type).flatMap(Register.init(number:))
        }

        func value(_ type: some AttributeNumber) -> Value? {
            data.attribute(type).flatMap(Value.init(attribute:))
        }

        func text(_ type: some AttributeNumber) -> String? { data.attribute(type)?.string }
    }

    private static func load(_ name: String, _ fields: Fields) -> Expression? {
        switch name {
        case "payload":
            guard let base = fields.number(NFTA_PAYLOAD_BASE).flatMap(PayloadBase.init),
                let offset = fields.number(NFTA_PAYLOAD_OFFSET),
                let byteCount = fields.number(NFTA_PAYLOAD_LEN),
                let register = fields.register(NFTA_PAYLOAD_DREG)
            else { return nil }
            return .payload(base, offset: Int(offset), byteCount: Int(byteCount), into: register)
        case "meta":
            guard let key = fields.number(NFTA_META_KEY).flatMap(MetaKey.init) else { return nil }
            if let register = fields.register(NFTA_META_DREG) { return .meta(key, into: register) }
            return fields.register(NFTA_META_SREG).map { .setMeta(key, from: $0) }
        case "ct":
            guard let key = fields.number(NFTA_CT_KEY).flatMap(CTKey.init) else { return nil }
            if let register = fields.register(NFTA_CT_SREG) { return .setCT(key, from: register) }
            guard let register = fields.register(NFTA_CT_DREG) else { return nil }
            let direction = fields.data.attribute(NFTA_CT_DIRECTION)?.uint8()
            return .ct(key, direction: direction.flatMap(CTDirection.init), into: register)
        case "fib":
            guard let register = fields.register(NFTA_FIB_DREG),
                let result = fields.number(NFTA_FIB_RESULT).flatMap(FIBResult.init),
                let inputs = fields.number(NFTA_FIB_FLAGS)
            else { return nil }
            return .fib(FIBInputs(rawValue: inputs), result, into: register)
        case "socket":
            guard fields.number(NFTA_SOCKET_KEY) == UInt32(NFT_SOCKET_WILDCARD.rawValue) else {
                return nil
            }
            return fields.register(NFTA_SOCKET_DREG).map { .socketWildcard(into: $0) }
        case "numgen":
            guard let register = fields.register(NFTA_NG_DREG),
                let modulus = fields.number(NFTA_NG_MODULUS),
                let generator = fields.number(NFTA_NG_TYPE).flatMap(NumberGenerator.init)
            else { return nil }
            return .numberGenerator(
                generator, modulus: modulus, offset: fields.number(NFTA_NG_OFFSET) ?? 0,
                into: register)
        default:
            guard fields.number(NFTA_HASH_TYPE) ?? 0 == 0,
                let from = fields.register(NFTA_HASH_SREG),
                let into = fields.register(NFTA_HASH_DREG),
                let byteCount = fields.number(NFTA_HASH_LEN),
                let modulus = fields.number(NFTA_HASH_MODULUS)
            else { return nil }
            return .hash(
                from: from, byteCount: Int(byteCount), modulus: modulus,
                seed: fields.number(NFTA_HASH_SEED) ?? 0,
                offset: fields.number(NFTA_HASH_OFFSET) ?? 0, into: into)
        }
    }

    private static func operation(_ name: String, _ fields: Fields) -> Expression? {
        switch name {
        case "cmp":
            guard let register = fields.register(NFTA_CMP_SREG),
                let comparison = fields.number(NFTA_CMP_OP).flatMap(Comparison.init),
                let value = fields.value(NFTA_CMP_DATA)
            else { return nil }
            return .compare(register, comparison, value)
        case "range":
            guard let register = fields.register(NFTA_RANGE_SREG),
                let first = fields.value(NFTA_RANGE_FROM_DATA),
                let last = fields.value(NFTA_RANGE_TO_DATA)
            else { return nil }
            return .range(
                register, first: first, last: last,
                isInverted: fields.number(NFTA_RANGE_OP) == 1)
        case "bitwise":
            guard let from = fields.register(NFTA_BITWISE_SREG),
                let into = fields.register(NFTA_BITWISE_DREG),
                let mask = fields.value(NFTA_BITWISE_MASK),
                let xor = fields.value(NFTA_BITWISE_XOR)
            else { return nil }
            return .bitwise(from: from, into: into, mask: mask, xor: xor)
        case "byteorder":
            guard let from = fields.register(NFTA_BYTEORDER_SREG),
                let into = fields.register(NFTA_BYTEORDER_DREG),
                let byteCount = fields.number(NFTA_BYTEORDER_LEN),
                let unitByteCount = fields.number(NFTA_BYTEORDER_SIZE)
            else { return nil }
            return .byteOrder(
                from: from, into: into, byteCount: Int(byteCount),
                unitByteCount: Int(unitByteCount),
                toNetwork: fields.number(NFTA_BYTEORDER_OP) == 1)
        case "lookup":
            guard let set = fields.text(NFTA_LOOKUP_SET),
                let key = fields.register(NFTA_LOOKUP_SREG)
            else { return nil }
            guard let target = fields.number(NFTA_LOOKUP_DREG) else {
                return .lookup(
                    set: set, key: key, isInverted: fields.number(NFTA_LOOKUP_FLAGS) == 1)
            }
            if target == 0 { return .verdictMap(set, key: key) }
            return Register(number: target).map { .map(set, key: key, into: $0) }
        default:
            guard let data = fields.data.attribute(NFTA_IMMEDIATE_DATA),
                let target = fields.number(NFTA_IMMEDIATE_DREG)
            else { return nil }
            if target == 0 { return Verdict(attribute: data).map(Expression.verdict) }
            guard let register = Register(number: target), let value = Value(attribute: data)
            else { return nil }
            return .immediate(value, into: register)
        }
    }

    private static func ending(_ name: String, _ fields: Fields, _ family: Family) -> Expression? {
        switch name {
        case "nat":
            guard let kind = fields.number(NFTA_NAT_TYPE).flatMap(NAT.Kind.init),
                let number = fields.number(NFTA_NAT_FAMILY),
                let family = Family(rawValue: UInt8(truncatingIfNeeded: number))
            else { return nil }
            // The kernel tells which parts it translates by flags it sets itself.
            let flags = NATFlags(rawValue: fields.number(NFTA_NAT_FLAGS) ?? 0)
            return .nat(
                NAT(
                    kind, family: family, address: fields.register(NFTA_NAT_REG_ADDR_MIN),
                    port: fields.register(NFTA_NAT_REG_PROTO_MIN),
                    flags: flags.intersection([.random, .persistent, .fullyRandom])))
        case "masq":
            return .masquerade(NATFlags(rawValue: fields.number(NFTA_MASQ_FLAGS) ?? 0))
        case "redir":
            let flags = NATFlags(rawValue: fields.number(NFTA_REDIR_FLAGS) ?? 0)
            return .redirect(
                port: fields.register(NFTA_REDIR_REG_PROTO_MIN),
                flags.intersection([.random, .persistent, .fullyRandom]))
        default:
            guard let type = fields.number(NFTA_REJECT_TYPE) else { return nil }
            let code = fields.data.attribute(NFTA_REJECT_ICMP_CODE)?.uint8() ?? 0
            return Reject(type: type, code: code, family: family).map(Expression.reject)
        }
    }

    private static func state(_ name: String, _ fields: Fields, _ family: Family) -> Expression? {
        switch name {
        case "counter":
            return .counter(
                packetCount: fields.long(NFTA_COUNTER_PACKETS),
                byteCount: fields.long(NFTA_COUNTER_BYTES))
        case "objref":
            if let set = fields.text(NFTA_OBJREF_SET_NAME) {
                return fields.register(NFTA_OBJREF_SET_SREG).map { .counterMap(set, key: $0) }
            }
            guard fields.number(NFTA_OBJREF_IMM_TYPE) == UInt32(NFT_OBJECT_COUNTER) else {
                return nil
            }
            return fields.text(NFTA_OBJREF_IMM_NAME).map(Expression.namedCounter)
        case "dynset":
            guard let set = fields.text(NFTA_DYNSET_SET_NAME),
                let action = fields.number(NFTA_DYNSET_OP).flatMap(DynamicSet.Action.init),
                let key = fields.register(NFTA_DYNSET_SREG_KEY)
            else { return nil }
            var expressions: [Expression] = []
            let single = fields.data.attribute(NFTA_DYNSET_EXPR)
            if let single { expressions += [Expression(single, family: family)].compactMap { $0 } }
            fields.data.attribute(NFTA_DYNSET_EXPRESSIONS)?.forEachAttribute { _, element in
                expressions += [Expression(element, family: family)].compactMap { $0 }
            }
            return .dynamicSet(
                DynamicSet(
                    action, set: set, key: key, data: fields.register(NFTA_DYNSET_SREG_DATA),
                    timeoutMilliseconds: fields.long(NFTA_DYNSET_TIMEOUT),
                    expressions: expressions))
        case "limit":
            let unit = fields.number(NFTA_LIMIT_TYPE).flatMap(Limit.Unit.init) ?? .packets
            return .limit(
                Limit(
                    rate: fields.long(NFTA_LIMIT_RATE),
                    intervalSeconds: fields.long(NFTA_LIMIT_UNIT),
                    burst: fields.number(NFTA_LIMIT_BURST) ?? 0, unit: unit,
                    isInverted: fields.number(NFTA_LIMIT_FLAGS) == 1))
        case "log":
            return .log(
                prefix: fields.text(NFTA_LOG_PREFIX) ?? "",
                group: fields.data.attribute(NFTA_LOG_GROUP)?.uint16BigEndian())
        case "notrack": return .notrack
        default: return nil
        }
    }
}

// MARK: - Data

extension Value {
    /// Reads an attribute that nests NFTA_DATA_VALUE.
    init?(attribute: ByteView) {
        // The first and only attribute of its nest.
        guard attribute.count >= 4, attribute.uint16(at: 2) & 0x3FFF == 1 else { return nil }
        self.init(view: attribute.dropFirst(4, byteCount: Int(attribute.uint16()) - 4))
    }
}

extension Verdict {
    /// Reads an attribute that nests NFTA_DATA_VERDICT.
    init?(attribute: ByteView) {
        guard let verdict = attribute.attribute(NFTA_DATA_VERDICT),
            let code = verdict.attribute(NFTA_VERDICT_CODE)?.uint32BigEndian()
        else { return nil }
        let chain = verdict.attribute(NFTA_VERDICT_CHAIN)?.string ?? ""
        switch Int32(bitPattern: code) {
        case 0: self = .drop
        case 1: self = .accept
        case -1: self = .continue
        case -3: self = .jump(chain)
        case -4: self = .goto(chain)
        case -5: self = .return
        default: return nil
        }
    }
}

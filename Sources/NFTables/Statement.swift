public import NetworkTypes

/// A part of a rule as nft's language has it. Registers are chosen when the rule is made: each
/// statement starts from the first one, for none leaves a value to the next.
///
///     Rule("prerouting", in: table, [
///         .match(.ctStatus, allOf: .dnat), .verdict(.accept),
///     ])
///     Rule("services", in: table, [
///         .verdictMap([.ipDestination, .transportProtocol, .destinationPort], name: "services"),
///     ])
///     Rule("n3", in: table, [
///         .destinationNAT(.ip, to: .map(
///             [.ipDestination, .transportProtocol, .destinationPort, .random(modulus: 3)],
///             name: "endpoints", fields: [.ipv4Address, .inetService])),
///     ])
public enum Statement: Hashable, Sendable {
    /// Goes on where the selector compares so with the value.
    case compare(Selector, Comparison, Value)
    /// Goes on where the selector lies in the range, both ends included.
    case range(Selector, first: Value, last: Value, isInverted: Bool)
    /// Goes on where the set holds the key (or lacks it, where inverted).
    case lookup([Selector], set: String, isInverted: Bool)
    /// Takes the verdict the map has for the key; where it has none, the next rule is tried.
    case verdictMap([Selector], name: String)
    /// Ends the rule.
    case verdict(Verdict)
    /// Counts, from zero.
    case counter
    /// Counts in a named counter.
    case namedCounter(String)
    /// Counts in the counter the object map has for the key; ends the rule where it has none.
    case counterMap([Selector], name: String)
    /// Translates the address and, where the selector yields both, the port.
    case nat(NAT.Kind, Family, to: Selector, portOffset: Int?, NATFlags)
    /// Translates the source to an address of the link the packet leaves by.
    case masquerade(NATFlags)
    /// Translates the destination to this machine, at the port.
    case redirect(port: UInt16?)
    /// Ends the packet and tells its sender.
    case reject(Reject)
    /// Sets a property of the packet.
    case setMeta(MetaKey, Selector)
    /// Sets a property of the connection.
    case setCT(CTKey, Selector)
    /// Changes a set or map.
    case change(
        DynamicSet.Action, set: String, key: [Selector], data: [Selector],
        timeoutMilliseconds: UInt64)
    /// Goes on within the rate.
    case limit(Limit)
    /// Logs.
    case log(prefix: String, group: UInt16?)
    /// Takes the packet out of connection tracking.
    case notrack
    /// Instructions as they are.
    case expressions([Expression])

    // MARK: - Shorthands

    /// Goes on where the selector equals the field.
    public static func match(_ selector: Selector, _ field: Value.Field) -> Statement {
        .compare(selector, .equal, Value(field))
    }

    /// Goes on where the selector differs from the field.
    public static func match(_ selector: Selector, not field: Value.Field) -> Statement {
        .compare(selector, .notEqual, Value(field))
    }

    /// Goes on for one transport protocol.
    public static func match(_ transport: TransportProtocol) -> Statement {
        .match(.transportProtocol, .transport(transport))
    }

    /// Goes on where an address selector of the prefix's family lies within the prefix.
    public static func match(
        _ selector: Selector, in prefix: Prefix, isInverted: Bool = false
    ) -> Statement {
        let value = Value(.address(prefix.address))
        let comparison: Comparison = isInverted ? .notEqual : .equal
        guard prefix.length < prefix.family.bitCount else {
            return .compare(selector, comparison, value)
        }
        let ones: UInt128 = prefix.family == .ipv4 ? UInt128(UInt32.max) : .max
        let hostBits = prefix.family.bitCount - prefix.length
        let mask = hostBits >= 128 ? 0 : ones & ~((UInt128(1) << hostBits) - 1)
        let maskValue = Value(.address(IPAddress(family: prefix.family, numericValue: mask)))
        return .compare(selector.masked(maskValue), comparison, value)
    }

    /// Goes on where the connection is in one of the states.
    public static func match(anyOf states: CTState) -> Statement {
        .compare(.ctState.masked(Value(.number(states.rawValue))), .notEqual, Value(.number(0)))
    }

    /// Goes on where the connection has one of the bits of status.
    public static func match(anyOf status: CTStatus) -> Statement {
        .compare(.ctStatus.masked(Value(.number(status.rawValue))), .notEqual, Value(.number(0)))
    }

    /// Goes on where the connection has none of the bits of status.
    public static func match(noneOf status: CTStatus) -> Statement {
        .compare(.ctStatus.masked(Value(.number(status.rawValue))), .equal, Value(.number(0)))
    }

    /// Goes on where the selected bits of the packet's mark are all set (or none is).
    public static func match(mark bits: UInt32, isSet: Bool = true) -> Statement {
        .compare(
            .mark.masked(Value(.number(bits))), .equal, Value(.number(isSet ? bits : 0)))
    }

    /// Goes on where the destination is an address of this machine (`fib daddr type local`).
    public static let destinationIsLocal = Statement.match(.destinationType, .number(2))

    /// Goes on where the source is an address of this machine (`fib saddr type local`).
    public static let sourceIsLocal = Statement.match(.sourceType, .number(2))

    /// Goes on where a socket of this machine is bound to the packet's destination: something here
    /// answers there (`socket wildcard 0`; hooks prerouting and input).
    public static let destinationHasSocket = Statement.match(.socketWildcard, .byte(0))

    /// Goes on where the set holds the key.
    public static func lookup(_ key: [Selector], in set: String) -> Statement {
        .lookup(key, set: set, isInverted: false)
    }

    /// Goes on where the set lacks the key.
    public static func lookup(_ key: [Selector], notIn set: String) -> Statement {
        .lookup(key, set: set, isInverted: true)
    }

    /// `dnat to`: the selector yields the address and, after it in a register of its own, the
    /// port, as a map of `[.ipv4Address, .inetService]` does; an address alone keeps the port.
    public static func destinationNAT(
        _ family: Family, to selector: Selector, flags: NATFlags = []
    ) -> Statement {
        let addressByteCount = family == .ip6 ? 16 : 4
        let hasPort = selector.byteCount > addressByteCount
        return .nat(
            .destination, family, to: selector, portOffset: hasPort ? addressByteCount : nil,
            flags)
    }

    /// `dnat to ADDRESS:PORT`
    public static func destinationNAT(
        to address: IPAddress, port: UInt16?, flags: NATFlags = []
    ) -> Statement {
        var value = Value(.address(address))
        if let port { value.append(.port(port)) }
        return .destinationNAT(
            address.family == .ipv4 ? .ip : .ip6, to: .constant(value), flags: flags)
    }

    /// `snat to ADDRESS`
    public static func sourceNAT(to address: IPAddress, flags: NATFlags = []) -> Statement {
        .nat(
            .source, address.family == .ipv4 ? .ip : .ip6,
            to: .constant(Value(.address(address))), portOffset: nil, flags)
    }

    /// Sets bits of the packet's mark, leaving the others.
    public static func setMark(bits: UInt32) -> Statement {
        .setMeta(.mark, .bitwise(.mark, mask: Value(.number(~bits)), xor: Value(.number(bits))))
    }

    /// Clears bits of the packet's mark, leaving the others.
    public static func clearMark(bits: UInt32) -> Statement {
        .setMeta(.mark, .bitwise(.mark, mask: Value(.number(~bits)), xor: Value(.number(0))))
    }

    /// Adds the key to the set, or starts its timeout anew.
    public static func update(
        set: String, key: [Selector], data: [Selector] = [], timeoutMilliseconds: UInt64 = 0
    ) -> Statement {
        .change(
            .update, set: set, key: key, data: data, timeoutMilliseconds: timeoutMilliseconds)
    }

    // MARK: - Compilation

    /// Appends the statement's expressions.
    func compile(_ expressions: inout [Expression]) {
        switch self {
        case .compare(let selector, let comparison, let value):
            selector.load(into: 0, &expressions)
            expressions.append(.compare(.first, comparison, value))
        case .range(let selector, let first, let last, let isInverted):
            selector.load(into: 0, &expressions)
            expressions.append(.range(.first, first: first, last: last, isInverted: isInverted))
        case .lookup(let key, let set, let isInverted):
            Selector.load(key, into: 0, &expressions)
            expressions.append(.lookup(set: set, key: .first, isInverted: isInverted))
        case .verdictMap(let key, let name):
            Selector.load(key, into: 0, &expressions)
            expressions.append(.verdictMap(name, key: .first))
        case .verdict(let verdict): expressions.append(.verdict(verdict))
        case .counter: expressions.append(.counter(packetCount: 0, byteCount: 0))
        case .namedCounter(let name): expressions.append(.namedCounter(name))
        case .counterMap(let key, let name):
            Selector.load(key, into: 0, &expressions)
            expressions.append(.counterMap(name, key: .first))
        case .nat, .masquerade, .redirect: compileTranslation(&expressions)
        case .reject(let reject): expressions.append(.reject(reject))
        case .setMeta(let key, let selector):
            selector.load(into: 0, &expressions)
            expressions.append(.setMeta(key, from: .first))
        case .setCT(let key, let selector):
            selector.load(into: 0, &expressions)
            expressions.append(.setCT(key, from: .first))
        case .change(let action, let set, let key, let data, let timeoutMilliseconds):
            let next = Selector.load(key, into: 0, &expressions)
            Selector.load(data, into: next, &expressions)
            expressions.append(
                .dynamicSet(
                    DynamicSet(
                        action, set: set, key: .first, data: data.isEmpty ? nil : Register(next),
                        timeoutMilliseconds: timeoutMilliseconds)))
        case .limit(let limit): expressions.append(.limit(limit))
        case .log(let prefix, let group): expressions.append(.log(prefix: prefix, group: group))
        case .notrack: expressions.append(.notrack)
        case .expressions(let more): expressions += more
        }
    }

    private func compileTranslation(_ expressions: inout [Expression]) {
        switch self {
        case .nat(let kind, let family, let selector, let portOffset, let flags):
            let port = portOffset.map { Register(UInt32($0 / 4)) }
            if case .constant(let value) = selector, let portOffset, let port {
                // Two constants, for nft cannot list a translation to one of both parts.
                let bytes = value.bytes
                expressions.append(
                    .immediate(Value(bytes: bytes.prefix(portOffset)), into: .first))
                let portBytes = bytes.dropFirst(portOffset).prefix(2)
                expressions.append(.immediate(Value(bytes: portBytes), into: port))
            } else {
                selector.load(into: 0, &expressions)
            }
            expressions.append(
                .nat(NAT(kind, family: family, address: .first, port: port, flags: flags)))
        case .masquerade(let flags): expressions.append(.masquerade(flags))
        case .redirect(let port?):
            expressions.append(.immediate(Value(.port(port)), into: .first))
            expressions.append(.redirect(port: .first, []))
        case .redirect(nil): expressions.append(.redirect(port: nil, []))
        default: break
        }
    }
}

// MARK: - Rules

/// A rule: statements run in order until one ends it.
public struct Rule: Hashable, Sendable {
    /// The table that holds it.
    public var table: Table
    /// The chain that holds it.
    public var chain: String
    /// What the kernel runs.
    public var expressions: [Expression]
    /// A remark that `nft list` shows; at most 128 bytes.
    public var comment: String?

    /// Makes a rule from statements.
    public init(
        _ chain: String, in table: Table, _ statements: [Statement], comment: String? = nil
    ) {
        self.table = table
        self.chain = chain
        self.comment = comment
        expressions = []
        for statement in statements { statement.compile(&expressions) }
    }

    /// Makes a rule from instructions.
    public init(
        _ chain: String, in table: Table, expressions: [Expression], comment: String? = nil
    ) {
        self.table = table
        self.chain = chain
        self.comment = comment
        self.expressions = expressions
    }
}

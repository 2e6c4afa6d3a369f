/// A named set, or a map where its elements carry data.
public struct NamedSet: Hashable, Sendable {
    /// What an element carries beside its key.
    public enum Content: Hashable, Sendable {
        /// Nothing: a set.
        case none
        /// A verdict: `vmap`.
        case verdict
        /// A value of these fields: `map`.
        case value([FieldType])
        /// The name of a counter: an object map.
        case counter
    }

    /// Properties the kernel must know before the first element.
    public struct Flags: OptionSet, Hashable, Sendable {
        /// The bits of NFTA_SET_FLAGS (enum nft_set_flags).
        public let rawValue: UInt32
        /// Makes flags from the kernel's bits.
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// Elements never change; needs no lock in the packet path.
        public static let constant = Flags(rawValue: 0x2)
        /// Keys may be ranges.
        public static let interval = Flags(rawValue: 0x4)
        /// Elements may expire.
        public static let timeout = Flags(rawValue: 0x10)
        /// Rules add elements (`update @set`).
        public static let dynamic = Flags(rawValue: 0x20)
    }

    /// The table that holds it.
    public var table: Table
    /// The name, unique in the table among sets and maps; at most 255 bytes.
    public var name: String
    /// The fields of the key, concatenated where there are several.
    public var key: [FieldType]
    /// What an element carries.
    public var content: Content
    /// Properties.
    public var flags: Flags
    /// How long an element lives that names no timeout of its own, in milliseconds; 0 for ever.
    public var timeoutMilliseconds: UInt64
    /// How many elements it may hold; 0 for the kernel's default (65535 where dynamic).
    public var maximumElementCount: UInt32
    /// True where each element counts the packets that matched it.
    public var countsPackets: Bool

    /// Declares a set.
    public init(
        _ name: String, in table: Table, key: [FieldType], content: Content = .none,
        flags: Flags = [], timeoutMilliseconds: UInt64 = 0, maximumElementCount: UInt32 = 0,
        countsPackets: Bool = false
    ) {
        self.table = table
        self.name = name
        self.key = key
        self.content = content
        self.flags = flags
        self.timeoutMilliseconds = timeoutMilliseconds
        self.maximumElementCount = maximumElementCount
        self.countsPackets = countsPackets
    }

    /// True where keys are ranges of several fields, which the kernel keeps in another structure.
    var isConcatenatedInterval: Bool { flags.contains(.interval) && key.count > 1 }
}

// MARK: - Elements

/// An element of a set or map.
public struct Element: Hashable, Sendable {
    /// What the element carries beside its key.
    public enum Content: Hashable, Sendable {
        /// Nothing: an element of a set.
        case none
        /// An element of a verdict map.
        case verdict(Verdict)
        /// An element of a map.
        case value(Value)
        /// An element of an object map: the counter's name.
        case object(String)
    }

    /// The key; the lowest one where the element is a range.
    public var key: Value
    /// What it carries.
    public var content: Content
    private var extras: Extras?

    /// What few elements have, kept aside so that the many stay small.
    private struct Properties: Hashable, Sendable {
        var lastKey: Value?
        var timeoutMilliseconds: UInt64?
        var expirationMilliseconds: UInt64?
        var comment: String?
        var isCatchAll = false
        var packetCount: UInt64?
        var byteCount: UInt64?
    }

    private indirect enum Extras: Hashable, Sendable {
        case properties(Properties)
    }

    /// Makes an element. `lastKey` makes it a range, both ends included, each field of its own.
    public init(
        _ key: Value, _ content: Content = .none, lastKey: Value? = nil,
        timeoutMilliseconds: UInt64? = nil, comment: String? = nil
    ) {
        self.key = key
        self.content = content
        guard lastKey != nil || timeoutMilliseconds != nil || comment != nil else { return }
        extras = .properties(
            Properties(
                lastKey: lastKey, timeoutMilliseconds: timeoutMilliseconds, comment: comment))
    }

    /// The element that stands for every key the set lacks (`*`; Linux 5.13).
    public static func catchAll(_ content: Content = .none) -> Element {
        var element = Element(Value(), content)
        element.properties.isCatchAll = true
        return element
    }

    /// The highest key of a range; nil for a single key.
    public var lastKey: Value? {
        get { properties.lastKey }
        set { properties.lastKey = newValue }
    }

    /// How long the element lives from when it was added, in milliseconds; nil for the set's.
    public var timeoutMilliseconds: UInt64? {
        get { properties.timeoutMilliseconds }
        set { properties.timeoutMilliseconds = newValue }
    }

    /// How long the element has left, in milliseconds, on elements read back. Where it is set on
    /// an element that is added, that is how long it gets before its first refresh.
    public var expirationMilliseconds: UInt64? {
        get { properties.expirationMilliseconds }
        set { properties.expirationMilliseconds = newValue }
    }

    /// A remark that `nft list` shows.
    public var comment: String? {
        get { properties.comment }
        set { properties.comment = newValue }
    }

    /// True where the element stands for every key that the set lacks.
    public var isCatchAll: Bool { properties.isCatchAll }

    /// Packets that matched, on elements read back from a set that counts them.
    public var packetCount: UInt64? {
        get { properties.packetCount }
        set { properties.packetCount = newValue }
    }

    /// Bytes that matched, on elements read back from a set that counts them.
    public var byteCount: UInt64? {
        get { properties.byteCount }
        set { properties.byteCount = newValue }
    }

    /// The element without what the kernel added: the time left and the counts. Two elements that
    /// are equal so were declared alike.
    public var declared: Element {
        guard extras != nil else { return self }
        var copy = self
        copy.properties.expirationMilliseconds = nil
        copy.properties.packetCount = nil
        copy.properties.byteCount = nil
        return copy
    }

    private var properties: Properties {
        get {
            if case .properties(let properties)? = extras { properties } else { Properties() }
        }
        set { extras = newValue == Properties() ? nil : .properties(newValue) }
    }
}

public import JSON

/// The shape of a value: the one source for decoding, defaults, OpenAPI, patches and apply.
/// Schemas are immutable and shared.
public final class Schema: Sendable {
    /// The kinds of values.
    public enum Form: String, Hashable, Sendable {
        /// An object with the named `fields`.
        case object
        /// An object with free names, all values of the shape `element`.
        case map
        /// An array of `element`.
        case list
        case string, boolean, int32, int64, double
        /// A port number or name, a count or a percentage.
        case intOrString
        /// A number with a unit, such as `100m` (resource.Quantity).
        case quantity
        /// RFC 3339 with seconds.
        case time
        /// RFC 3339 with microseconds.
        case microTime
        /// A Go duration, such as `1m30s`.
        case duration
        /// Base64.
        case bytes
        /// Anything, kept as it is.
        case any
    }

    /// How lists are merged by apply (`x-kubernetes-list-type`).
    public enum ListType: String, Hashable, Sendable {
        case atomic, set, map
    }

    /// What kind of value.
    public let form: Form
    /// The name in OpenAPI documents, such as `io.k8s.api.core.v1.ServiceSpec`; empty if unnamed.
    public let name: String
    /// A sentence for `kubectl explain`.
    public let summary: String
    /// The fields of an object, by name.
    public let fields: [Field]
    /// The shape of the elements of a list or map.
    public let element: Schema?
    /// How a list is merged by apply.
    public let listType: ListType
    /// The keys of a list of type map.
    public let listKeys: [String]
    /// The key by which strategic merge patch merges a list; nil where it replaces, and an empty
    /// string for lists of scalars that merge.
    public let mergeKey: String?
    /// True where apply owns an object or map as a whole.
    public let isAtomic: Bool
    /// True where an object keeps the fields it does not name (custom resources).
    public let preservesUnknown: Bool
    /// The limits that custom resources state.
    public let limits: SchemaLimits?
    private let positions: [String: Int]
    /// The fields that have a default, or something beneath them that has.
    let defaultingFields: [Field]
    /// True where a value of this shape can lack something that has a default.
    let hasDefaults: Bool

    /// A field of an object.
    public struct Field: Sendable {
        /// Its name.
        public let name: String
        /// Its shape.
        public let schema: Schema
        /// True where an object without it is refused.
        public var isRequired = false
        /// What an absent field becomes.
        public var defaultValue: JSONValue?
        /// A sentence for `kubectl explain`.
        public var summary = ""
        /// The values a string may have; empty for any.
        public var enumeration: [String] = []
        /// True where patches name the keys to keep (`x-kubernetes-patch-strategy: retainKeys`).
        public var retainsKeys = false

        /// Makes a field.
        public init(name: String, schema: Schema) {
            self.name = name
            self.schema = schema
        }
    }

    /// Makes a schema; parts that the form has no use for stay at their defaults.
    public init(
        _ form: Form, name: String = "", summary: String = "", fields: [Field] = [],
        element: Schema? = nil, listType: ListType = .atomic, listKeys: [String] = [],
        mergeKey: String? = nil, isAtomic: Bool = false, preservesUnknown: Bool = false,
        limits: SchemaLimits? = nil
    ) {
        self.form = form
        self.name = name
        self.summary = summary
        self.fields = fields
        self.element = element
        self.listType = listType
        self.listKeys = listKeys
        self.mergeKey = mergeKey
        self.isAtomic = isAtomic
        self.preservesUnknown = preservesUnknown
        self.limits = limits
        var positions: [String: Int] = [:]
        for (position, field) in fields.enumerated() { positions[field.name] = position }
        self.positions = positions
        defaultingFields = fields.filter { $0.defaultValue != nil || $0.schema.hasDefaults }
        hasDefaults = !defaultingFields.isEmpty || element?.hasDefaults == true
    }

    /// The field `name` of an object; nil where there is none.
    public func field(_ name: String) -> Field? { positions[name].map { fields[$0] } }

    /// The shape of the field `name` of an object; nil where there is none.
    func fieldSchema(_ name: String) -> Schema? { positions[name].map { fields[$0].schema } }

    /// The shape of the member `name` of an object or map; nil where unknown.
    public func member(_ name: String) -> Schema? {
        form == .map ? element : field(name)?.schema
    }

    /// The schema behind dotted field names; lists are looked through.
    public func schema(at path: String...) -> Schema? {
        var schema: Schema? = self
        for name in path {
            while let list = schema, list.form == .list { schema = list.element }
            schema = schema?.member(name)
        }
        return schema
    }

    /// A value of any shape, kept as it is.
    public static let any = Schema(.any)
    /// A string without limits.
    public static let string = Schema(.string)
}

/// Limits on a value that a CustomResourceDefinition states (JSON Schema validation).
public struct SchemaLimits: Sendable {
    /// A regular expression that a string must contain a match of.
    public var pattern: String?
    /// The least number.
    public var minimum: Double?
    /// The greatest number.
    public var maximum: Double?
    /// The least number of characters.
    public var minLength: Int?
    /// The greatest number of characters.
    public var maxLength: Int?
    /// The least number of elements.
    public var minItems: Int?
    /// The greatest number of elements.
    public var maxItems: Int?
    /// True where null is kept as a value.
    public var isNullable = false
    /// Values of any kind that are allowed; empty for any.
    public var allowed: [JSONValue] = []
    /// The text form of the value, such as `ipv4` or `date-time`; not checked.
    public var format = ""

    /// Makes limits that allow everything.
    public init() {}
}

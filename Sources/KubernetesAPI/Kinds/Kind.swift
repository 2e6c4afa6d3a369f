public import JSON

/// A kind that the API serves, with everything that is known about it: its names, its schema and
/// its rules. The generic registry asks it and knows no kind itself.
public struct Kind: Sendable {
    /// Group, version, plural and scope.
    public let resource: Resource
    /// The singular name, such as `service`.
    public var singular: String
    /// Short names, such as `svc`.
    public var shortNames: [String] = []
    /// Categories, such as `all`.
    public var categories: [String] = []
    /// The shape of its objects.
    public let schema: Schema
    /// True where `/status` is served.
    public var hasStatus = false
    /// Where `/scale` reads and writes; nil where it is not served.
    public var scale: ScalePaths?
    /// The columns of `kubectl get`.
    public var columns: [PrintedColumn] = PrintedColumn.nameAndAge
    /// What names are allowed.
    public var nameRule = NameRule.subdomain
    /// True where changes of anything but metadata and status count in `metadata.generation`.
    public var tracksGeneration = false
    /// True where PUT without a resourceVersion is allowed.
    public var allowsUnconditionalUpdate = true
    /// A sentence for a `Warning:` header on create, for kinds that nothing acts on; nil for
    /// others.
    public var advice: String?
    /// A sentence for a `Warning:` header on every request, for kinds that are on their way out; nil
    /// for others.
    public var deprecation: String?
    /// Fields that a CustomResourceDefinition makes selectable (KEP-4358), such as `spec.color`.
    public var ownSelectableFields: [String] = []
    /// Set where the objects are those of another resource, shown in a form of their own.
    public var storedForm: StoredForm?
    /// True where the kind comes from a CustomResourceDefinition.
    public var isCustom = false
    /// The kind's own rules.
    var rules = KindRules()

    /// Makes a kind without rules of its own.
    public init(_ resource: Resource, schema: Schema) {
        self.resource = resource
        self.schema = schema
        singular = resource.kind.lowercased()
    }

    /// The kind of a list of its objects.
    public var listKind: String { resource.kind + "List" }

    /// The verbs of discovery, in its order.
    public var verbs: [String] {
        ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    }

    /// The resource as which the objects are stored.
    public var storedResource: Resource { storedForm?.resource ?? resource }

    /// The qualified name under which the objects are stored.
    public var storedName: String { storedResource.qualifiedName }

    /// The object as this kind shows it.
    /// - Parameter stored: the object as it is stored.
    public func shown(_ stored: JSONValue) -> JSONValue {
        storedForm.map { $0.shown(stored) } ?? stored
    }

    /// The object as it is stored.
    public func stored(_ object: JSONValue) -> JSONValue {
        storedForm.map { $0.stored(object) } ?? object
    }

    /// How the objects of another resource become those of this kind and back.
    public struct StoredForm: Sendable {
        /// Whose objects they are.
        public var resource: Resource
        /// From the stored form to this kind's.
        public var shown: @Sendable (JSONValue) -> JSONValue
        /// From this kind's form to the stored one.
        public var stored: @Sendable (JSONValue) -> JSONValue

        /// Another version of the resource that differs in its name alone.
        static func renamed(_ resource: Resource, storedAs stored: Resource) -> StoredForm {
            func set(_ resource: Resource) -> @Sendable (JSONValue) -> JSONValue {
                { object in
                    var object = object
                    object["apiVersion"] = .string(resource.apiVersion)
                    return object
                }
            }
            return StoredForm(resource: stored, shown: set(resource), stored: set(stored))
        }
    }

    /// Where the replicas of a kind are found.
    public struct ScalePaths: Hashable, Sendable {
        /// Such as `["spec", "replicas"]`.
        public var specReplicas: [String]
        /// Such as `["status", "replicas"]`.
        public var statusReplicas: [String]
        /// A LabelSelector, a map of labels or the selector's text; nil where there is none.
        public var selector: [String]?

        /// What Deployments and their like use.
        public static let standard = ScalePaths(
            specReplicas: ["spec", "replicas"], statusReplicas: ["status", "replicas"],
            selector: ["spec", "selector"])
    }
}

/// The functions a kind may add. Each is pure.
struct KindRules: Sendable {
    typealias Change = @Sendable (inout JSONValue) -> Void
    typealias Merge = @Sendable (_ old: JSONValue, _ new: inout JSONValue) -> Void
    typealias Check = @Sendable (JSONValue) -> [FieldError]
    typealias CheckChange = @Sendable (_ old: JSONValue, _ new: JSONValue) -> [FieldError]

    /// Defaults that depend on other fields; run after those of the schema.
    var defaults: Change = { _ in }
    /// What create sets or clears.
    var prepareForCreate: Change = { _ in }
    /// What update keeps of the old object.
    var prepareForUpdate: Merge = { _, _ in }
    /// Faults of an object, beside those of metadata and of fields that the schema requires.
    var validate: Check = { _ in [] }
    /// Faults of a change.
    var validateUpdate: CheckChange = { _, _ in [] }
    /// True where create keeps the status it is given.
    var keepsStatusOnCreate = false
    /// True where required fields and closed lists are checked by `validate` alone.
    var validatesAllItself = false
    /// What is to be said of an object that is accepted; nil for kinds with nothing to say.
    var warnings: (@Sendable (JSONValue) -> [String])?
    /// The cells of a row; nil for name and age, or the columns' own paths.
    var row: (@Sendable (JSONValue, Timestamp) -> [JSONValue])?
}

// MARK: - What the registry asks

extension Kind {
    /// Reads `json` as an object of this kind.
    /// - Throws: 400 in Kubernetes' words where a field has a wrong type.
    public func decode(_ json: JSONValue) throws(StatusError) -> DecodedObject {
        try StrictDecoder.decode(json, schema: schema, resource: resource)
    }

    /// The object with absent fields set to their defaults. Idempotent.
    public func defaulted(_ object: JSONValue) -> JSONValue {
        var object = object
        object["apiVersion"] = .string(resource.apiVersion)
        object["kind"] = .string(resource.kind)
        Defaults.apply(schema, to: &object)
        rules.defaults(&object)
        return object
    }

    /// Readies a decoded, defaulted object for its first write: clears the status, sets generation.
    public func prepareForCreate(_ object: inout JSONValue) {
        if hasStatus, !rules.keepsStatusOnCreate {
            object["status"] = nil
            if let field = schema.field("status"), var status = field.defaultValue {
                Defaults.apply(field.schema, to: &status)
                object["status"] = status
            }
        }
        if tracksGeneration {
            object["metadata", "generation"] = 1
        } else {
            object["metadata", "generation"] = nil
        }
        rules.prepareForCreate(&object)
    }

    /// Readies a decoded, defaulted object to replace `old`: keeps the status, counts generation.
    public func prepareForUpdate(old: JSONValue, new: inout JSONValue) {
        if hasStatus { new["status"] = old["status"] }
        rules.prepareForUpdate(old, &new)
        if tracksGeneration {
            let generation = old["metadata", "generation"]?.integer ?? 1
            let isChanged = Self.wanted(old) != Self.wanted(new)
            new["metadata", "generation"] = .integer(isChanged ? generation + 1 : generation)
        } else {
            new["metadata", "generation"] = old["metadata", "generation"]
        }
    }

    /// Readies an object that replaces the status of `old`: all but metadata and status stays.
    public func prepareForStatusUpdate(old: JSONValue, new: inout JSONValue) {
        let (status, metadata) = (new["status"], new["metadata"])
        new = old
        new["status"] = status
        new["metadata"] = metadata
        new["metadata", "generation"] = old["metadata", "generation"]
    }

    /// The faults of a new object; empty where it is sound.
    public func validateCreate(_ object: JSONValue) -> [FieldError] {
        MetadataRules.validate(object["metadata"] ?? [:], nameRule: nameRule, of: resource)
            + validateBody(object)
    }

    /// The faults of replacing `old` by `new`; empty where it is sound.
    public func validateUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        MetadataRules.validate(new["metadata"] ?? [:], nameRule: nameRule, of: resource)
            + MetadataRules.validateUpdate(
                old: old["metadata"] ?? [:], new: new["metadata"] ?? [:])
            + validateBody(new) + rules.validateUpdate(old, new)
    }

    /// What is to be said, in `Warning:` headers, of a new state that is accepted.
    public func warnings(_ object: JSONValue) -> [String] { rules.warnings?(object) ?? [] }

    private func validateBody(_ object: JSONValue) -> [FieldError] {
        let bySchema =
            rules.validatesAllItself ? [] : SchemaValidator.validate(object, schema)
        return bySchema + rules.validate(object)
    }

    /// What is wanted of an object: all but metadata and status.
    private static func wanted(_ object: JSONValue) -> JSONObject {
        var members = object.object ?? [:]
        members["metadata"] = nil
        members["status"] = nil
        return members
    }
}

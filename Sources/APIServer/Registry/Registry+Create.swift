import Informer
import JSON
import KubernetesAPI
import Store

extension Registry {
    /// Names tried for `generateName` before giving up.
    private static let generatedNameTries = 8
    private static let nameAlphabet = Array("bcdfghjklmnpqrstvwxz2456789")

    /// Creates an object; answers when it is synced.
    func create(
        _ kind: Kind, namespace: String?, _ sent: SentObject, options: WriteOptions
    ) async throws -> WriteResult {
        let (decoded, decodeWarnings) = try decode(sent, kind, options: options)
        let object = try withNamespace(decoded, kind, namespace)
        return try await create(kind, decoded: object, options: options, warnings: decodeWarnings)
    }

    /// Creates an object whose fields have been checked against the schema.
    func create(
        _ kind: Kind, decoded: JSONValue, options: WriteOptions, warnings: [String] = [],
        isApplied: Bool = false
    ) async throws -> WriteResult {
        let resource = kind.resource
        var prepared = try prepareNew(kind, decoded, options: options)
        if kind.resource == .pods { try await identify(&prepared, isDryRun: options.isDryRun) }
        if !isApplied, !options.fieldManager.isEmpty {
            ManagedFields.track(
                old: nil, new: &prepared, kind: kind, manager: options.fieldManager, now: .now)
        }
        let prefix = prepared["metadata", "generateName"]?.string ?? ""
        let isGenerated = decoded["metadata", "name"]?.string ?? "" == ""
        for attempt in 1...Self.generatedNameTries {
            var object = prepared
            if isGenerated, !prefix.isEmpty {
                object["metadata", "name"] = .string(Self.generatedName(prefix))
            }
            try validateNew(kind, object)
            try admit(kind, old: nil, new: object, subresource: "", user: options.user)
            do {
                let candidate = object
                let stored = try await commit(isDryRun: options.isDryRun) { [self] transaction in
                    try insert(kind, candidate, in: &transaction, isDryRun: options.isDryRun)
                }
                if !options.isDryRun { try kindsChanged(by: kind, stored) }
                return WriteResult(
                    object: stored, isCreated: true,
                    warnings: warnings + kind.warnings(candidate)
                        + (kind.advice.map { [$0] } ?? []))
            } catch let error as StatusError
                where error.isAlreadyExists && isGenerated && attempt < Self.generatedNameTries
            {
                continue
            }
        }
        throw StatusError.alreadyExists(resource, name: prefix)
    }

    private func prepareNew(
        _ kind: Kind, _ decoded: JSONValue, options: WriteOptions
    ) throws -> JSONValue {
        var object = Self.withoutEmptyMetadata(decoded)
        if let version = object["metadata", "resourceVersion"]?.string, !version.isEmpty {
            throw StatusError.badRequest(
                "resourceVersion should not be set on objects to be created")
        }
        for field in [
            "resourceVersion", "uid", "creationTimestamp", "deletionTimestamp",
            "deletionGracePeriodSeconds", "selfLink", "generation",
        ] {
            object["metadata", field] = nil
        }
        object["metadata", "uid"] = .string(ObjectUID.make())
        object["metadata", "creationTimestamp"] = .string(WallClock.now())
        object = kind.defaulted(object)
        kind.prepareForCreate(&object)
        if kind.resource == .services { ServiceRules.prepareForCreate(&object) }
        establish(kind, &object)
        settle(kind, &object)
        return object
    }

    private func validateNew(_ kind: Kind, _ object: JSONValue) throws {
        let errors = kind.validateCreate(object)
        guard errors.isEmpty else {
            throw StatusError.invalid(
                kind.resource, name: object["metadata", "name"]?.string ?? "", errors)
        }
    }

    /// The part of a creation that needs the newest state: runs in the store's transaction.
    func insert(
        _ kind: Kind, _ object: JSONValue, in transaction: inout StoreTransaction, isDryRun: Bool
    ) throws -> StoredObject {
        let name = object["metadata", "name"]?.string ?? ""
        let namespace = object["metadata", "namespace"]?.string
        let key = key(kind, namespace: namespace, name: name)
        if kind.resource.isNamespaced {
            try checkNamespace(namespace ?? "", kind, name: name, in: transaction)
        }
        guard transaction.get(key) == nil else {
            throw StatusError.alreadyExists(kind.resource, name: name)
        }
        return try put(
            kind, key, object, replacing: nil, in: &transaction, isDryRun: isDryRun)
    }

    private func checkNamespace(
        _ namespace: String, _ kind: Kind, name: String, in transaction: StoreTransaction
    ) throws {
        let key = StoreKey(resource: Resource.namespaces.qualifiedName, name: namespace)
        guard let stored = transaction.get(key) else {
            throw StatusError.notFound(.namespaces, name: namespace)
        }
        guard try decodedNamespaces.json(stored)["metadata", "deletionTimestamp"] != nil else {
            return
        }
        var error = StatusError.forbidden(
            "\(kind.resource.qualifiedName) \"\(name)\" is forbidden: unable to create new content "
                + "in namespace \(namespace) because it is being terminated")
        error.details = [
            "name": .string(name), "kind": .string(kind.resource.plural),
            "causes": [
                [
                    "reason": "NamespaceTerminating",
                    "message": .string("namespace \(namespace) is being terminated"),
                    "field": "metadata.namespace",
                ]
            ],
        ]
        throw error
    }

    private static func generatedName(_ prefix: String) -> String {
        // Kubernetes cuts the prefix so that the whole fits a label.
        String(prefix.prefix(58)) + randomSuffix()
    }

    /// Five characters that read as no word.
    static func randomSuffix() -> String {
        var name = ""
        for _ in 0..<5 { name.append(nameAlphabet[Int.random(in: nameAlphabet.indices)]) }
        return name
    }

    // MARK: - The store

    /// Runs a transaction and speaks its failures as Status errors.
    func commit<Value: Sendable>(
        isDryRun: Bool,
        _ body: @Sendable @escaping (inout StoreTransaction) throws -> Value
    ) async throws -> Value {
        do {
            return try await store.write(dryRun: isDryRun, body)
        } catch let error as StoreError {
            allocations.invalidate()
            throw Self.status(error)
        }
    }

    static func status(_ error: StoreError) -> StatusError {
        switch error {
        case .diskFull:
            StatusError(code: 507, reason: "InsufficientStorage", message: error.description)
        case .overloaded: .tooManyRequests()
        case .compacted, .overflow: .expired(error.description)
        case .closed:
            StatusError(code: 503, reason: "ServiceUnavailable", message: error.description)
        default: .internalError(error.description)
        }
    }
}

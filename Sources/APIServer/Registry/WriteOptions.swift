import JSON
import KubernetesAPI
import Store

/// What accompanies a write.
struct WriteOptions: Sendable {
    /// What happens to fields that the schema does not know (KEP-2885).
    enum FieldValidation: String, Sendable {
        case ignore = "Ignore"
        case warn = "Warn"
        case strict = "Strict"
    }

    var user: UserInfo
    var isDryRun = false
    var fieldManager = ""
    var fieldValidation = FieldValidation.ignore
    /// Apply takes over fields of other managers.
    var isForced = false

    /// The control plane's own writes. They name no manager: what controllers set is nobody's to
    /// conflict with, and objects stay small.
    static let internalWrite = WriteOptions(user: .controlPlane)

    init(user: UserInfo, fieldManager: String = "") {
        self.user = user
        self.fieldManager = fieldManager
    }

    /// Reads the query of a request.
    /// - Throws: 400 for values that Kubernetes refuses.
    init(user: UserInfo, query: QueryItems, userAgent: String) throws {
        self.user = user
        let dryRuns = query.values("dryRun").filter { !$0.isEmpty }
        for value in dryRuns where value != "All" {
            throw StatusError.badRequest(
                "dryRun: Unsupported value: \"\(value)\": supported values: \"All\"")
        }
        isDryRun = !dryRuns.isEmpty
        let named = query["fieldManager"] ?? ""
        fieldManager =
            named.isEmpty
            ? String(userAgent.prefix { $0 != "/" && $0 != " " }.prefix(128)) : named
        if let text = query["fieldValidation"], !text.isEmpty {
            guard let value = FieldValidation(rawValue: text) else {
                throw StatusError.badRequest(
                    "fieldValidation: Unsupported value: \"\(text)\": supported values: "
                        + "\"Ignore\", \"Warn\", \"Strict\"")
            }
            fieldValidation = value
        } else {
            fieldValidation = .warn
        }
        isForced = query.flag("force")
    }
}

/// The outcome of a write.
struct WriteResult: Sendable {
    /// The object as stored, or as a dry run would have stored it.
    var object: StoredObject
    var isCreated = false
    var warnings: [String] = []
}

/// `metav1.DeleteOptions`.
struct DeleteOptions: Sendable, Hashable {
    var gracePeriodSeconds: Int64?
    var propagationPolicy: String?
    var uid: String?
    var resourceVersion: String?
    var isDryRun = false

    init() {}

    /// Reads the body and the query; the body wins.
    /// - Throws: 400 for values that Kubernetes refuses.
    init(json: JSONValue?, query: QueryItems = QueryItems()) throws {
        gracePeriodSeconds =
            json?["gracePeriodSeconds"]?.integer
            ?? query["gracePeriodSeconds"].flatMap { Int64($0) }
        propagationPolicy = json?["propagationPolicy"]?.string ?? query["propagationPolicy"]
        let orphans =
            json?["orphanDependents"]?.bool
            ?? query["orphanDependents"].map { $0 == "true" }
        if propagationPolicy == nil, let orphans {
            propagationPolicy = orphans ? "Orphan" : "Background"
        }
        uid = json?["preconditions", "uid"]?.string
        resourceVersion = json?["preconditions", "resourceVersion"]?.string
        let dryRuns = (json?["dryRun"]?.array ?? []).compactMap(\.string) + query.values("dryRun")
        isDryRun = dryRuns.contains("All")
        if let policy = propagationPolicy,
            !["Orphan", "Background", "Foreground"].contains(policy)
        {
            throw StatusError(
                code: 422, reason: "Invalid",
                message: "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: "
                    + "Unsupported value: \"\(policy)\": supported values: \"Foreground\", "
                    + "\"Background\", \"Orphan\", \"nil\"")
        }
    }
}

import FoundationEssentials
import Informer
import JSON
import KubernetesAPI

/// Fills in Secrets of type `kubernetes.io/service-account-token`: a token that holds as long as
/// the Secret is there, the authority's certificate, and the namespace. A Secret whose service
/// account is not there, or no longer the same, is deleted.
final class TokenSecretController: Controller {
    /// Signs the token that a Secret holds for a service account.
    typealias Sign = @Sendable (_ secret: ObjectMeta, _ account: ObjectMeta) throws -> String

    let name = "serviceaccount-token"
    static let type = "kubernetes.io/service-account-token"
    static let accountName = "kubernetes.io/service-account.name"
    static let accountUID = "kubernetes.io/service-account.uid"

    private let cluster: Cluster
    private let sign: Sign
    private let rootCertificatePEM: String
    private let queue: WorkQueue<ObjectKey>
    private let secrets: Source<Object>
    private let accounts: Source<ObjectMetaOnly>

    init(_ cluster: Cluster, rootCertificatePEM: String, sign: @escaping Sign) {
        self.cluster = cluster
        self.sign = sign
        self.rootCertificatePEM = rootCertificatePEM
        queue = WorkQueue("serviceaccount-token", logger: cluster.logger)
        secrets = Source(
            .secrets, client: cluster.client,
            options: ListOptions(fieldSelector: "type=\(Self.type)"), logger: cluster.logger)
        accounts = Source(.serviceAccounts, client: cluster.client, logger: cluster.logger)
        secrets.onChange { [weak self] change in self?.queue.add(change.key) }
        accounts.onChange { [weak self] change in
            // A new account changes nothing for Secrets that were there: theirs was another.
            guard let self, change.old != nil else { return }
            for secret in secrets.objects(inNamespace: change.key.namespace)
            where secret.metadata.annotations[Self.accountName] == change.key.name {
                queue.add(secret.key)
            }
        }
    }

    var counters: WorkQueueCounters { queue.counters }
    var sources: [any AnySource] { [secrets, accounts] }

    func run() async {
        await queue.run(workers: 1) { [self] key in try await reconcile(key) }
    }

    private func reconcile(_ key: ObjectKey) async throws {
        guard let secret = secrets.get(key), secret.metadata.deletionTimestamp == nil else {
            return
        }
        guard let account = try await account(of: secret) else {
            try await delete(secret)
            return
        }
        var object = secret.json
        object["metadata", "annotations", Self.accountUID] = .string(account.uid)
        let wanted = [
            ("ca.crt", Self.base64(rootCertificatePEM)),
            ("namespace", Self.base64(key.namespace)),
        ]
        for (name, value) in wanted where object["data", name]?.string != value {
            if object["data"]?.object == nil { object["data"] = [:] }
            object["data", name] = .string(value)
        }
        if (object["data", "token"]?.string ?? "").isEmpty {
            object["data", "token"] = .string(Self.base64(try sign(secret.metadata, account)))
        }
        guard object != secret.json else { return }
        let written = try await cluster.client.update(.secrets, object, subresource: nil)
        try await secrets.waitUntilSeen(written["metadata", "resourceVersion"]?.string)
    }

    /// The account that a Secret is for; asked of the server where the cache does not know it, for a
    /// manifest may hold both.
    private func account(of secret: Object) async throws -> ObjectMeta? {
        let annotations = secret.metadata.annotations
        let name = annotations[Self.accountName] ?? ""
        let namespace = secret.metadata.namespace
        var found = accounts.get(ObjectKey(namespace: namespace, name: name))?.metadata
        if found == nil {
            do {
                found = ObjectMeta(
                    json: try await cluster.client.get(
                        .serviceAccounts, namespace: namespace, name: name))
            } catch let error as StatusError where error.isNotFound {
                return nil
            }
        }
        let uid = annotations[Self.accountUID] ?? ""
        return uid.isEmpty || uid == found?.uid ? found : nil
    }

    private func delete(_ secret: Object) async throws {
        do {
            try await cluster.client.delete(
                .secrets, namespace: secret.metadata.namespace, name: secret.metadata.name,
                options: ["preconditions": ["uid": .string(secret.metadata.uid)]])
        } catch let error as StatusError where error.isNotFound || error.isConflict {
            return
        }
    }

    private static func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }
}

/// An object of which nothing but its metadata is kept.
struct ObjectMetaOnly: KubernetesObject, Hashable {
    var metadata: ObjectMeta

    init(json: JSONValue) { metadata = ObjectMeta(json: json) }
}

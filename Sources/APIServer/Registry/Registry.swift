import Glibc
import Informer
import JSON
import KubernetesAPI
import Logging
import Store
import Synchronization

/// Every operation on stored objects, for HTTP and for the control plane alike: decoding is done,
/// what follows is defaults, validation, admission and the store's transaction.
final class Registry: Sendable {
    let store: Store
    let allocations: ServiceAllocations
    let access: Authorizer
    let snapshots = ListSnapshots()
    let decodedNamespaces = DecodedObjects()
    let logger: Logger
    private let catalog: Mutex<Catalog>

    private struct Catalog: Sendable {
        var kinds: KindRegistry
        /// The resources that have several versions.
        var shared: Set<String> = []
        /// Counts the changes, for whoever keeps something made of the kinds.
        var generation = 0
    }

    init(
        store: Store, kinds: KindRegistry, allocations: ServiceAllocations, access: Authorizer,
        logger: Logger
    ) {
        self.store = store
        self.access = access
        self.allocations = allocations
        self.logger = logger
        catalog = Mutex(Catalog(kinds: kinds, shared: Self.shared(kinds)))
    }

    /// The kinds served now; CustomResourceDefinitions add to them.
    var kinds: KindRegistry { catalog.withLock { $0.kinds } }

    /// Grows whenever the kinds change.
    var kindsGeneration: Int { catalog.withLock { $0.generation } }

    func changeKinds(_ change: (inout KindRegistry) -> Void) {
        catalog.withLock { catalog in
            change(&catalog.kinds)
            catalog.shared = Self.shared(catalog.kinds)
            catalog.generation += 1
        }
    }

    /// True where the stored form may be another than the kind's: other versions of the resource
    /// are served, too, or the objects are those of another resource.
    func isShared(_ kind: Kind) -> Bool {
        kind.storedForm != nil
            || catalog.withLock { $0.shared.contains(kind.resource.qualifiedName) }
    }

    private static func shared(_ kinds: KindRegistry) -> Set<String> {
        var seen: Set<String> = []
        let own = kinds.all.filter { $0.storedForm == nil }.map(\.resource.qualifiedName)
        return Set(own.filter { !seen.insert($0).inserted })
    }

    // MARK: - Keys

    func key(_ kind: Kind, namespace: String?, name: String) -> StoreKey {
        StoreKey(
            resource: kind.storedName,
            namespace: kind.resource.isNamespaced ? namespace ?? "" : "", name: name)
    }

    // MARK: - Reading

    func get(_ kind: Kind, namespace: String?, name: String) throws -> StoredObject {
        guard let object = store.get(key(kind, namespace: namespace, name: name)) else {
            throw StatusError.notFound(kind.resource, name: name)
        }
        return object
    }

    /// One page of a collection.
    struct Page: Sendable {
        var objects: [StoredObject]
        var revision: Int64
        /// Where the next page begins; empty on the last one.
        var continueToken = ""
        var remainingCount: Int?
    }

    /// - Parameters:
    ///   - limit: 0 for everything.
    ///   - token: what the page before gave, or an empty string.
    func list(
        _ kind: Kind, namespace: String?, filter: ObjectFilter, limit: Int = 0, token: String = ""
    ) throws -> Page {
        let resource = kind.storedName
        let scope = kind.resource.isNamespaced ? namespace : nil
        var (objects, revision) = store.list(resource: resource, namespace: scope)
        let whole = objects
        if !token.isEmpty {
            let start = try ContinueToken(parsing: token)
            revision = start.revision
            objects =
                snapshots.objects(resource: resource, namespace: scope, revision: revision)
                ?? objects
            let after = StoreKey(resource: resource, namespace: start.namespace, name: start.name)
            objects = Array(objects[objects.partitioningIndex { $0.key > after }...])
        }
        if !filter.isEmpty { objects = objects.filter(filter.matches) }
        guard limit > 0, objects.count > limit else {
            return Page(objects: objects, revision: revision)
        }
        if token.isEmpty {
            snapshots.keep(resource: resource, namespace: scope, revision: revision, whole)
        }
        let page = Array(objects.prefix(limit))
        let last = page[page.count - 1].key
        let next = ContinueToken(revision: revision, namespace: last.namespace, name: last.name)
        return Page(
            objects: page, revision: revision, continueToken: next.text,
            remainingCount: filter.isEmpty ? objects.count - limit : nil)
    }
}

extension Array {
    /// The first index whose element meets `predicate`, where all after it do, too.
    func partitioningIndex(_ predicate: (Element) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if predicate(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

/// Where a list goes on: the revision of its first page and the last key delivered. Its pages show
/// one moment as long as `ListSnapshots` keeps it; after that objects may change between pages, as
/// they do in Kubernetes for an expired token, and none is left out that was there all along.
struct ContinueToken: Hashable, Sendable {
    var revision: Int64
    var namespace: String
    var name: String

    init(revision: Int64, namespace: String, name: String) {
        self.revision = revision
        self.namespace = namespace
        self.name = name
    }

    init(parsing text: String) throws {
        guard let bytes = ServiceAccountTokens.decode(text.utf8),
            let json = try? JSONValue(parsing: bytes), let revision = json["rv"]?.integer,
            let name = json["name"]?.string
        else { throw StatusError.badRequest("continue key is not valid") }
        self.init(revision: revision, namespace: json["ns"]?.string ?? "", name: name)
    }

    var text: String {
        let json: JSONValue = [
            "rv": .integer(revision), "ns": .string(namespace), "name": .string(name),
        ]
        return ServiceAccountTokens.base64URL(json.serializedBytes)
    }
}

/// Times as `metav1.Time` writes them.
enum WallClock {
    static func now() -> String { Timestamp.now.description }

    static func text(seconds: Int64) -> String { Timestamp(seconds: seconds).description }
}

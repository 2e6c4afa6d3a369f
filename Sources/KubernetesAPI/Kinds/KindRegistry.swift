/// The kinds that are served. A value: adding the kind of a CustomResourceDefinition makes a new
/// one.
public struct KindRegistry: Sendable {
    /// Every kind, in the order of discovery.
    public private(set) var all: [Kind] = []
    private var byPath: [Path: Int] = [:]
    private var byAPIKind: [APIKind: Int] = [:]

    private struct Path: Hashable {
        let group: String
        let version: String
        let plural: String
    }

    private struct APIKind: Hashable {
        let apiVersion: String
        let kind: String
    }

    /// The kinds that Portolan brings.
    public static let builtIn = KindRegistry(BuiltInKinds.all())

    /// Makes a registry of `kinds`.
    public init(_ kinds: [Kind]) {
        for kind in kinds { add(kind) }
    }

    /// The kind at `/apis/GROUP/VERSION/PLURAL`; nil where there is none.
    public subscript(group group: String, version version: String, plural plural: String) -> Kind? {
        byPath[Path(group: group, version: version, plural: plural)].map { all[$0] }
    }

    /// The kind of a resource; nil where it is not served.
    public subscript(resource: Resource) -> Kind? {
        self[group: resource.group, version: resource.version, plural: resource.plural]
    }

    /// The kind that an object with this `apiVersion` and `kind` has; nil where there is none.
    public subscript(apiVersion apiVersion: String, kind kind: String) -> Kind? {
        byAPIKind[APIKind(apiVersion: apiVersion, kind: kind)].map { all[$0] }
    }

    /// The kinds whose objects are stored as `qualifiedName`, one a version.
    public func kinds(qualifiedName: String) -> [Kind] {
        all.filter { $0.resource.qualifiedName == qualifiedName }
    }

    /// The groups with their versions, in the order of discovery; the core group is empty.
    public var groups: [(group: String, versions: [String])] {
        var groups: [(group: String, versions: [String])] = []
        for kind in all {
            let resource = kind.resource
            if let index = groups.firstIndex(where: { $0.group == resource.group }) {
                if !groups[index].versions.contains(resource.version) {
                    groups[index].versions.append(resource.version)
                }
            } else {
                groups.append((resource.group, [resource.version]))
            }
        }
        return groups
    }

    /// The kinds of one group and version.
    public func kinds(group: String, version: String) -> [Kind] {
        all.filter { $0.resource.group == group && $0.resource.version == version }
    }

    /// Adds a kind, or replaces the one at its path.
    public mutating func add(_ kind: Kind) {
        let resource = kind.resource
        let path = Path(
            group: resource.group, version: resource.version, plural: resource.plural)
        let apiKind = APIKind(apiVersion: resource.apiVersion, kind: resource.kind)
        if let index = byPath[path] {
            all[index] = kind
            byAPIKind[apiKind] = index
        } else {
            all.append(kind)
            byPath[path] = all.count - 1
            byAPIKind[apiKind] = all.count - 1
        }
    }

    /// Removes every version of the resource `plural.group`.
    public mutating func remove(qualifiedName: String) {
        let kept = all.filter { $0.resource.qualifiedName != qualifiedName }
        self = KindRegistry(kept)
    }
}

import JSON
import KubernetesAPI

/// Endpoints as their controllers keep them. Those that a controller wrote can be computed again,
/// so only a digest of their addresses is kept; those written by hand are kept whole.
struct EndpointsRecord: KubernetesObject, Hashable {
    var metadata: ObjectMeta
    /// The hash of `subsets`, good within this process.
    var digest: Int
    /// The object; nil where the endpoints controller keeps it.
    var json: JSONValue?

    init(json: JSONValue) {
        metadata = ObjectMeta(json: json)
        digest = Self.digest(of: json["subsets"])
        let manager = metadata.labels[EndpointsController.managedByLabel]
        self.json = manager == EndpointsController.manager ? .none : .some(json)
    }

    /// The digest of a list of subsets; absent and empty are the same.
    static func digest(of subsets: JSONValue?) -> Int { (subsets?.array ?? []).hashValue }
}

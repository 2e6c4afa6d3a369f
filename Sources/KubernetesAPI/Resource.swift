/// A kind of object the API serves: its group, version, plural name in paths, and scope.
public struct Resource: Hashable, Sendable, CustomStringConvertible {
    /// The API group; empty for the core group.
    public let group: String
    /// The version, such as `v1`.
    public let version: String
    /// The plural name in paths, such as `endpointslices`.
    public let plural: String
    /// The kind, such as `EndpointSlice`.
    public let kind: String
    /// True where objects live in a namespace.
    public let isNamespaced: Bool

    /// Makes a resource; `group` is empty for the core group.
    public init(
        group: String = "", version: String = "v1", plural: String, kind: String,
        isNamespaced: Bool = true
    ) {
        self.group = group
        self.version = version
        self.plural = plural
        self.kind = kind
        self.isNamespaced = isNamespaced
    }

    /// The `apiVersion` of its objects: `v1` or `group/version`.
    public var apiVersion: String { group.isEmpty ? version : "\(group)/\(version)" }

    /// `plural` or `plural.group`, as kubectl and error messages spell it.
    public var qualifiedName: String { group.isEmpty ? plural : "\(plural).\(group)" }

    /// The qualified name with the version.
    public var description: String { "\(qualifiedName)/\(version)" }

    /// The URL path of a collection, object or subresource.
    /// - Parameters:
    ///   - namespace: nil for a cluster-scoped resource or a list over all namespaces.
    ///   - name: nil for the collection.
    public func path(namespace: String?, name: String? = nil, subresource: String? = nil) -> String
    {
        var path = group.isEmpty ? "/api/\(version)" : "/apis/\(group)/\(version)"
        if isNamespaced, let namespace { path += "/namespaces/\(namespace)" }
        path += "/\(plural)"
        if let name { path += "/\(name)" }
        if let subresource { path += "/\(subresource)" }
        return path
    }
}

// MARK: - The resources that Portolan's own components use

extension Resource {
    /// The resource `namespaces`.
    public static let namespaces = Resource(
        plural: "namespaces", kind: "Namespace", isNamespaced: false)
    /// The resource `nodes`.
    public static let nodes = Resource(plural: "nodes", kind: "Node", isNamespaced: false)
    /// The resource `pods`.
    public static let pods = Resource(plural: "pods", kind: "Pod")
    /// The resource `services`.
    public static let services = Resource(plural: "services", kind: "Service")
    /// The endpoints.
    public static let endpoints = Resource(plural: "endpoints", kind: "Endpoints")
    /// The resource `configmaps`.
    public static let configMaps = Resource(plural: "configmaps", kind: "ConfigMap")
    /// The resource `secrets`.
    public static let secrets = Resource(plural: "secrets", kind: "Secret")
    /// The resource `serviceaccounts`.
    public static let serviceAccounts = Resource(
        plural: "serviceaccounts", kind: "ServiceAccount")
    /// The resource `events`.
    public static let events = Resource(plural: "events", kind: "Event")
    /// The resource `endpointslices`.
    public static let endpointSlices = Resource(
        group: "discovery.k8s.io", plural: "endpointslices", kind: "EndpointSlice")
    /// The resource `leases`.
    public static let leases = Resource(
        group: "coordination.k8s.io", plural: "leases", kind: "Lease")
    /// The resource `deployments`.
    public static let deployments = Resource(
        group: "apps", plural: "deployments", kind: "Deployment")
    /// The resource `replicasets`.
    public static let replicaSets = Resource(
        group: "apps", plural: "replicasets", kind: "ReplicaSet")
    /// The resource `daemonsets`.
    public static let daemonSets = Resource(group: "apps", plural: "daemonsets", kind: "DaemonSet")
    /// The resource `ipaddresspools`.
    public static let ipAddressPools = Resource(
        group: "metallb.io", version: "v1beta1", plural: "ipaddresspools", kind: "IPAddressPool")
    /// The resource `l2advertisements`.
    public static let l2Advertisements = Resource(
        group: "metallb.io", version: "v1beta1", plural: "l2advertisements",
        kind: "L2Advertisement")
}

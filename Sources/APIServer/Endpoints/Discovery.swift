import JSON
import KubernetesAPI
import NIOHTTP1

/// The documents by which clients find what is served: the legacy ones, group by group, and the
/// aggregated one (KEP-3352), made of the same table.
struct Discovery: Sendable {
    let kinds: KindRegistry

    private static let aggregateVersions = ["v2", "v2beta1"]

    /// The document at `path`; nil where there is none.
    func reply(path: String, headers: HTTPHeaders) -> APIReply? {
        let parts = path.split(separator: "/").map(String.init)
        switch (parts.first, parts.count) {
        case ("api", 1), ("apis", 1):
            if let version = Self.aggregateVersion(headers) {
                return aggregated(isCore: parts[0] == "api", version: version)
            }
            return APIReply(json: parts[0] == "api" ? coreVersions : groupList)
        case ("api", 2): return resourceList(group: "", version: parts[1])
        case ("apis", 2): return group(parts[1]).map { APIReply(json: $0) }
        case ("apis", 3): return resourceList(group: parts[1], version: parts[2])
        default: return nil
        }
    }

    /// The version of aggregated discovery that `Accept` names before plain JSON, if any.
    private static func aggregateVersion(_ headers: HTTPHeaders) -> String? {
        for range in MediaRange.list(headers) where range.isJSON {
            guard range.parameters["as"] == "APIGroupDiscoveryList" else { return nil }
            if let version = range.parameters["v"], aggregateVersions.contains(version),
                range.parameters["g"] == "apidiscovery.k8s.io"
            {
                return version
            }
        }
        return nil
    }

    // MARK: - Groups

    private struct Group {
        var name: String
        var versions: [String]
    }

    private var groups: [Group] {
        var groups = kinds.groups.map { Group(name: $0.group, versions: $0.versions) }
        for virtual in VirtualResource.all
        where !groups.contains(where: { $0.name == virtual.group }) {
            groups.append(Group(name: virtual.group, versions: [virtual.version]))
        }
        return groups
    }

    private var coreVersions: JSONValue {
        [
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        ]
    }

    private var groupList: JSONValue {
        [
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": .array(groups.filter { !$0.name.isEmpty }.map(Self.json)),
        ]
    }

    private func group(_ name: String) -> JSONValue? {
        guard let group = groups.first(where: { $0.name == name }), !name.isEmpty else {
            return nil
        }
        var value: JSONValue = ["kind": "APIGroup", "apiVersion": "v1"]
        for (key, member) in Self.json(group).object ?? [:] { value[key] = member }
        return value
    }

    private static func json(_ group: Group) -> JSONValue {
        let versions: [JSONValue] = group.versions.map {
            ["groupVersion": .string("\(group.name)/\($0)"), "version": .string($0)]
        }
        return [
            "name": .string(group.name), "versions": .array(versions),
            "preferredVersion": versions.first ?? .null,
        ]
    }

    // MARK: - Resources

    private func resourceList(group: String, version: String) -> APIReply? {
        let resources = DiscoveredResource.all(kinds, group: group, version: version)
        guard !resources.isEmpty else { return nil }
        return APIReply(json: [
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": .string(group.isEmpty ? version : "\(group)/\(version)"),
            "resources": .array(
                resources.flatMap { resource in
                    [resource.legacyJSON]
                        + resource.subresources.map {
                            $0.legacyJSON(of: resource)
                        }
                }),
        ])
    }

    private func aggregated(isCore: Bool, version: String) -> APIReply {
        let items: [JSONValue] = groups.filter { $0.name.isEmpty == isCore }.map { group in
            var metadata: JSONValue = ["creationTimestamp": .null]
            if !group.name.isEmpty {
                metadata = ["name": .string(group.name), "creationTimestamp": .null]
            }
            return [
                "metadata": metadata,
                "versions": .array(
                    group.versions.map { groupVersion in
                        [
                            "version": .string(groupVersion),
                            "resources": .array(
                                DiscoveredResource.all(
                                    kinds, group: group.name, version: groupVersion
                                ).map(\.aggregatedJSON)), "freshness": "Current",
                        ]
                    }),
            ]
        }
        let document: JSONValue = [
            "kind": "APIGroupDiscoveryList",
            "apiVersion": .string("apidiscovery.k8s.io/\(version)"), "metadata": [:],
            "items": .array(items),
        ]
        let type = "application/json;g=apidiscovery.k8s.io;v=\(version);as=APIGroupDiscoveryList"
        return APIReply(bytes: document.serializedBytes, contentType: type)
    }
}

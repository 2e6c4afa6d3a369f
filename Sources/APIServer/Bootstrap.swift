import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes
import Store

/// The objects that a cluster has from its first moment: namespaces, roles, the API's own Service.
/// What exists already is left as its users made it, but for the API's endpoints.
struct Bootstrap: Sendable {
    let registry: Registry
    let configuration: APIServer.Configuration

    private static let namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"]

    func run() async throws {
        var objects = Self.namespaces.map { name -> (Resource, JSONValue) in
            (.namespaces, ["metadata": ["name": .string(name)]])
        }
        objects += BootstrapRoles.clusterRoles.map { (BootstrapRoles.clusterRoleResource, $0) }
        objects += BootstrapRoles.clusterRoleBindings.map {
            (BootstrapRoles.clusterRoleBindingResource, $0)
        }
        // All at once, so that they share one sync of the store.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (resource, object) in objects {
                group.addTask { try await ensure(resource, object) }
            }
            try await group.waitForAll()
        }
        try await publishRanges()
        try await publishAPI()
    }

    private func ensure(_ resource: Resource, _ object: JSONValue) async throws {
        guard let kind = registry.kinds[resource] else { return }
        let name = object["metadata", "name"]?.string ?? ""
        let namespace = object["metadata", "namespace"]?.string
        let key = registry.key(kind, namespace: namespace, name: name)
        guard registry.store.get(key) == nil else { return }
        do {
            _ = try await registry.create(
                kind, namespace: namespace, SentObject(json: object), options: .internalWrite)
        } catch let error as StatusError where error.isAlreadyExists {
            // Controllers in the same process make the namespaces as well: who comes first wins.
        }
    }

    private func replace(_ resource: Resource, _ object: JSONValue) async throws {
        guard let kind = registry.kinds[resource] else { return }
        let name = object["metadata", "name"]?.string ?? ""
        let namespace = object["metadata", "namespace"]?.string
        let key = registry.key(kind, namespace: namespace, name: name)
        guard registry.store.get(key) != nil else {
            return try await ensure(resource, object)
        }
        _ = try await registry.update(
            kind, namespace: namespace, name: name, SentObject(json: object),
            options: .internalWrite)
    }

    // MARK: - ServiceCIDRs

    /// The default ServiceCIDR shows the ranges of the command line. A second family may be added
    /// to it at a later start; other ranges than before are reported: addresses of the old ones
    /// are in use.
    private func publishRanges() async throws {
        let wanted = ServiceAddressObjects.defaultServiceCIDR(configuration.serviceCIDRs)
        guard let kind = registry.kinds[.serviceCIDRs] else { return }
        let name = ServiceAddressObjects.defaultName
        let key = registry.key(kind, namespace: nil, name: name)
        let object = try registry.store.get(key)?.decoded()
        guard let held = object?["spec", "cidrs"]?.array else {
            return try await ensure(.serviceCIDRs, wanted)
        }
        let ranges = wanted["spec", "cidrs"]?.array ?? []
        if held == ranges { return try await forgetOtherRanges() }
        if ranges.starts(with: held) { return try await replace(.serviceCIDRs, wanted) }
        let (old, new) = (
            JSONValue.array(held).serializedText, JSONValue.array(ranges).serializedText
        )
        let message = """
            ServiceCIDR \(name) has \(old), but the server was started with \(new): addresses \
            still come from the former. Start with the same ranges, or create a ServiceCIDR with \
            the new ones
            """
        registry.logger.warning("\(message)")
        let recorder = EventRecorder(
            client: InProcessClient(registry: registry),
            component: "kubernetes-service-cidr-controller", logger: registry.logger)
        await recorder.record(
            .warning, reason: APIServer.otherRangesReason, message: message,
            regarding: ObjectReference(
                .serviceCIDRs, ObjectKey(name: name),
                uid: object?["metadata", "uid"]?.string ?? ""))
    }

    /// Takes back what an earlier start had to say about the ranges.
    private func forgetOtherRanges() async throws {
        guard let kind = registry.kinds[.events] else { return }
        let events = registry.store.list(resource: kind.storedName, namespace: "default").objects
        for event in events
        where try event.decoded()["reason"]?.string == APIServer.otherRangesReason {
            _ = try await registry.delete(
                kind, namespace: "default", name: event.key.name, options: DeleteOptions())
        }
    }

    // MARK: - default/kubernetes

    private func publishAPI() async throws {
        let name: JSONValue = "kubernetes"
        let labels: JSONValue = ["component": "apiserver", "provider": "kubernetes"]
        var spec: JSONValue = [
            "type": "ClusterIP",
            "ports": [["name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443]],
        ]
        spec["ports"] = [
            [
                "name": "https", "port": 443, "protocol": "TCP",
                "targetPort": .integer(Int64(configuration.advertisePort)),
            ]
        ]
        if let address = configuration.serviceCIDRs.first?.address(at: 1) {
            spec["clusterIP"] = .string(address.description)
        }
        try await ensure(
            .services,
            [
                "metadata": ["name": name, "namespace": "default", "labels": labels],
                "spec": spec,
            ])
        let address = JSONValue.string(configuration.advertiseAddress.description)
        let port: JSONValue = [
            "name": "https", "port": .integer(Int64(configuration.advertisePort)),
            "protocol": "TCP",
        ]
        try await replace(
            .endpoints,
            [
                "metadata": [
                    "name": name, "namespace": "default",
                    "labels": ["endpointslice.kubernetes.io/skip-mirror": "true"],
                ], "subsets": [["addresses": [["ip": address]], "ports": [port]]],
            ])
        try await replace(
            .endpointSlices,
            [
                "metadata": [
                    "name": name, "namespace": "default",
                    "labels": ["kubernetes.io/service-name": "kubernetes"],
                ],
                "addressType": .string(configuration.advertiseAddress.family.rawValue),
                "endpoints": [["addresses": [address], "conditions": ["ready": true]]],
                "ports": [port],
            ])
    }
}

import Informer
import JSON
import KubernetesAPI
import NetworkTypes

/// Publishes the DNS servers of the ready nodes as endpoints of `kube-system/kube-dns`, which has
/// no selector: the servers are no pods.
final class ClusterDNSController: Controller {
    let name = "cluster-dns"
    static let manager = "portolan"
    static let serviceKey = ObjectKey(namespace: "kube-system", name: "kube-dns")
    private let cluster: Cluster
    private let queue: WorkQueue<ObjectKey>

    init(_ cluster: Cluster) {
        self.cluster = cluster
        queue = WorkQueue("cluster-dns", logger: cluster.logger)
        let key = Self.serviceKey
        cluster.nodes.onChange { [weak self] change in
            let isSame =
                change.old?.node.isReady == change.new?.node.isReady
                && change.old?.node.internalAddresses == change.new?.node.internalAddresses
            if !isSame { self?.queue.add(key) }
        }
        cluster.services.onChange { [weak self] change in
            if change.key == key { self?.queue.add(key) }
        }
        cluster.endpointSlices.onChange { [weak self] change in
            let labels = (change.new ?? change.old)?.metadata.labels
            if labels?[SliceRecord.managedByLabel] == Self.manager { self?.queue.add(key) }
        }
    }

    var counters: WorkQueueCounters { queue.counters }

    func run() async {
        await queue.run(workers: 1) { [self] key in
            guard let service = cluster.services.get(key), service.selector == nil else { return }
            let existing = cluster.endpointSlices.objects(SliceRecord.entry(key))
                .filter { $0.metadata.labels[SliceRecord.managedByLabel] == Self.manager }
            let nodes = cluster.nodes.objects.map(\.node)
            let plan = Self.plan(service: service, nodes: nodes, existing: existing)
            try await cluster.apply(plan, generateName: "\(key.name)-")
            try await writeEndpoints(service, nodes)
        }
    }

    /// The slices for the nodes' servers, against those that are there.
    static func plan(service: Service, nodes: [Node], existing: [SliceRecord]) -> SlicePlan {
        var desired: [SlicePacker.Group: [SliceEndpoint]] = [:]
        let ports = ports(of: service)
        for node in nodes.sorted(by: { $0.key < $1.key }) where node.isReady {
            for address in addresses(of: node) {
                var endpoint = SliceEndpoint(address: address.description, isReady: true)
                endpoint.isServing = true
                endpoint.isTerminating = false
                endpoint.nodeName = node.metadata.name
                endpoint.zone = node.zone
                endpoint.target = .init(
                    kind: "Node", namespace: "", name: node.metadata.name, uid: node.metadata.uid)
                let group = SlicePacker.Group(addressType: address.family.rawValue, ports: ports)
                desired[group, default: []].append(endpoint)
            }
        }
        var template = ObjectMeta(name: "", namespace: service.metadata.namespace)
        template.labels = service.sliceLabels(managedBy: manager)
        return SlicePacker(
            template: template, owner: .controller(.services, service.metadata),
            placeholderTypes: ["IPv4"]
        ).plan(desired: desired, existing: existing)
    }

    private static func ports(of service: Service) -> [SlicePort] {
        service.ports.map { port in
            var number = port.port
            if case .number(let target) = port.targetPort { number = target }
            return SlicePort(name: port.name, transport: port.transport, port: number)
        }.sorted()
    }

    /// The primary address of each family.
    private static func addresses(of node: Node) -> [IPAddress] {
        IPAddress.Family.allCases.compactMap { family in
            node.internalAddresses.first { $0.family == family }
        }
    }

    /// The v1 form for `kubectl get endpoints`; labelled so that it is not mirrored again.
    private func writeEndpoints(_ service: Service, _ nodes: [Node]) async throws {
        let addresses = nodes.filter(\.isReady).sorted { $0.key < $1.key }
            .compactMap { node -> JSONValue? in
                node.internalAddresses.first { $0.family == .ipv4 }.map {
                    ["ip": .string($0.description), "nodeName": .string(node.metadata.name)]
                }
            }
        let ports = Self.ports(of: service).map { port -> JSONValue in
            [
                "name": .string(port.name), "port": .integer(Int64(port.port)),
                "protocol": .string(port.transport.rawValue),
            ]
        }
        let subsets: JSONValue =
            addresses.isEmpty ? [] : [["addresses": .array(addresses), "ports": .array(ports)]]
        let present = cluster.endpoints.get(service.key)
        if present?.digest == EndpointsRecord.digest(of: subsets) { return }
        var object =
            present?.json
            ?? [
                "apiVersion": "v1", "kind": "Endpoints",
                "metadata": [
                    "name": .string(service.metadata.name),
                    "namespace": .string(service.metadata.namespace),
                ],
            ]
        var labels = service.metadata.labels
        labels["endpointslice.kubernetes.io/skip-mirror"] = "true"
        object["metadata", "labels"] = JSONValue(labels)
        object["subsets"] = subsets
        let written =
            present == nil
            ? try await cluster.client.create(.endpoints, object)
            : try await cluster.client.update(.endpoints, object, subresource: nil)
        try await cluster.endpoints.waitUntilSeen(written["metadata", "resourceVersion"]?.string)
    }
}

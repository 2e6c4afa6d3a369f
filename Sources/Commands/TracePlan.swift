import KubernetesAPI
import NetworkTypes
import ServiceProxy

/// The objects that `trace` speaks of.
struct TraceObjects: Sendable {
    var nodes: [Node] = []
    var pods: [Pod] = []
    var services: [Service] = []
    var slices: [EndpointSlice] = []
}

/// Where a trace begins, at which node, and every address it goes to: decided from the objects
/// alone, before any kernel is read.
struct TracePlan: Sendable {
    /// Where the connections come from.
    enum Origin: Hashable, Sendable {
        /// A program on the node.
        case node
        /// A pod, by its addresses.
        case pod(ObjectKey, [IPAddress])
        /// Something outside the cluster.
        case outside(IPAddress)
    }

    /// One address to follow a connection to.
    struct Destination: Hashable, Sendable {
        /// What kind of address of the Service it is; empty where no Service is known.
        var title: String
        var address: IPAddress
        var port: ProtocolPort
        /// The Service's own port; nil where no Service is known.
        var servicePort: ServicePort?
    }

    var origin: Origin
    /// The node whose tables are asked.
    var node: Node
    /// nil where the target is an address that no Service has.
    var service: Service?
    var destinations: [Destination]
    /// Why there is nothing to follow, or what was left out.
    var remarks: [String] = []

    /// Decides.
    /// - Parameters:
    ///   - source: a pod, an address, or nil for the node itself.
    ///   - nodeName: the node asked for; nil lets the source decide, else it is the first node.
    /// - Throws: `CommandFailure` that names what is unknown, and what there is.
    init(
        source: String?, target: TraceTarget, nodeName: String?, namespace: String,
        objects: TraceObjects
    ) throws {
        let origin = try Self.origin(source, namespace, objects)
        self.origin = origin
        let node = try Self.node(nodeName, origin, objects)
        self.node = node
        switch target {
        case .address(let address, let port):
            let owner = objects.services.first { service in
                Self.destinations(of: service, service.ports, at: node, origin).contains {
                    $0.address == address && $0.port == port
                }
            }
            service = owner
            let found = owner.map { Self.destinations(of: $0, $0.ports, at: node, origin) } ?? []
            destinations = [
                found.first { $0.address == address && $0.port == port }
                    ?? Destination(title: "", address: address, port: port, servicePort: nil)
            ]
        case .service(let key, let reference):
            let service = try Self.service(key, objects)
            self.service = service
            let ports = try Self.ports(reference, of: service)
            destinations = Self.destinations(of: service, ports, at: node, origin)
            remarks = Self.remarks(on: service)
        }
    }

    // MARK: - Who and where

    private static func origin(
        _ source: String?, _ namespace: String, _ objects: TraceObjects
    ) throws -> Origin {
        guard let source else { return .node }
        if let address = IPAddress(source) {
            if objects.nodes.contains(where: { $0.internalAddresses.contains(address) }) {
                return .node
            }
            let pod = objects.pods.first { !$0.isFinished && $0.podIPs.contains(address) }
            return pod.map { .pod($0.key, $0.podIPs) } ?? .outside(address)
        }
        let key = try ObjectKey(argument: source, namespace: namespace)
        guard let pod = objects.pods.first(where: { $0.key == key }) else {
            throw CommandFailure(
                "there is no Pod \(key): kubectl get pods --all-namespaces lists them, and "
                    + "NAMESPACE/POD names one of another namespace")
        }
        guard !pod.nodeName.isEmpty, !pod.podIPs.isEmpty, !pod.isFinished else {
            throw CommandFailure(
                "Pod \(key) sends nothing: it is \(pod.phase)"
                    + (pod.podIPs.isEmpty ? " and has no address" : ""))
        }
        return pod.usesHostNetwork ? .node : .pod(key, pod.podIPs)
    }

    private static func node(
        _ name: String?, _ origin: Origin, _ objects: TraceObjects
    ) throws -> Node {
        let nodes = objects.nodes.sorted { $0.key < $1.key }
        var wanted = name
        if wanted == nil, case .pod(let key, _) = origin {
            wanted = objects.pods.first { $0.key == key }?.nodeName
        }
        guard let wanted else {
            guard let first = nodes.first else { throw CommandFailure("the cluster has no nodes") }
            return first
        }
        // `--node 2` is short for the name that ends so.
        guard
            let node = nodes.first(where: { $0.metadata.name == wanted })
                ?? nodes.first(where: { $0.metadata.name.hasSuffix("-node-\(wanted)") })
        else {
            throw CommandFailure(
                "there is no Node \"\(wanted)\": the nodes are "
                    + nodes.map(\.metadata.name).joined(separator: ", "))
        }
        return node
    }

    private static func service(_ key: ObjectKey, _ objects: TraceObjects) throws -> Service {
        if let service = objects.services.first(where: { $0.key == key }) { return service }
        let elsewhere = objects.services.filter { $0.key.name == key.name }.map { "\($0.key)" }
        throw CommandFailure(
            "there is no Service \(key)"
                + (elsewhere.isEmpty
                    ? ": kubectl get services --all-namespaces lists them"
                    : "; there is \(elsewhere.sorted().joined(separator: ", "))"))
    }

    private static func ports(
        _ reference: TraceTarget.PortReference?, of service: Service
    ) throws -> [ServicePort] {
        guard let reference else { return service.ports }
        let found = service.ports.filter(reference.matches)
        guard found.isEmpty else { return found }
        let there = service.ports.map { port in
            "\(port.protocolPort)" + (port.name.isEmpty ? "" : " (\(port.name))")
        }
        throw CommandFailure(
            "Service \(service.key) has no port \(reference): it has "
                + (there.isEmpty ? "none" : there.joined(separator: ", ")))
    }

    // MARK: - Addresses

    private static func destinations(
        of service: Service, _ ports: [ServicePort], at node: Node, _ origin: Origin
    ) -> [Destination] {
        guard service.type != .externalName, !service.isHeadless else { return [] }
        var found: [Destination] = []
        for port in ports {
            func add(_ title: String, _ addresses: [IPAddress], _ number: UInt16) {
                let key = ProtocolPort(port.transport, number)
                found += addresses.map {
                    Destination(title: title, address: $0, port: key, servicePort: port)
                }
            }
            let isExternal =
                service.type != .clusterIP || !service.externalIPs.isEmpty
            // From outside nobody routes to a cluster IP where there is another way in.
            if case .outside = origin, isExternal {
            } else {
                add("cluster IP", service.clusterIPs, port.port)
            }
            add("external IP", service.externalIPs, port.port)
            if service.type == .loadBalancer {
                add(
                    "load-balancer address",
                    service.ingress.filter(\.isVirtualIP).compactMap(\.address), port.port)
            }
            if port.nodePort != 0 { add("node port", node.internalAddresses, port.nodePort) }
        }
        let families = origin.families(at: node)
        return found.filter { families.contains($0.address.family) }
    }

    private static func remarks(on service: Service) -> [String] {
        var remarks: [String] = []
        if service.type == .externalName {
            remarks.append(
                "It is an ExternalName Service: DNS answers \(service.externalName), and no packet "
                    + "meets a proxy.")
        } else if service.isHeadless {
            remarks.append(
                "It is headless: DNS answers with its endpoints' own addresses, and no packet "
                    + "meets a proxy.")
        }
        if let other = service.metadata.labels["service.kubernetes.io/service-proxy-name"] {
            remarks.append("Its label leaves it to another proxy, \(other).")
        }
        if service.type == .loadBalancer, service.ingress.isEmpty {
            remarks.append("It has no load-balancer address yet.")
        }
        for ingress in service.ingress where service.type == .loadBalancer {
            if !ingress.hostname.isEmpty {
                remarks.append("Its load balancer is \(ingress.hostname), which is not followed.")
            } else if !ingress.isVirtualIP, let address = ingress.address {
                remarks.append(
                    "Packets to \(address) go out to the load balancer (ipMode Proxy), which is "
                        + "not followed.")
            }
        }
        return remarks
    }
}

extension TracePlan.Origin {
    /// The families it can send in.
    func families(at node: Node) -> Set<IPAddress.Family> {
        switch self {
        case .node: Set(node.internalAddresses.map(\.family))
        case .pod(_, let addresses): Set(addresses.map(\.family))
        case .outside(let address): [address.family]
        }
    }

    /// The source of a packet of the family; nil where there is none.
    func source(_ family: IPAddress.Family, at node: Node) -> PathTrace.Source? {
        switch self {
        case .node: node.internalAddresses.first { $0.family == family }.map { .node($0) }
        case .pod(_, let addresses):
            addresses.first { $0.family == family }.map { .address($0) }
        case .outside(let address): address.family == family ? .address(address) : nil
        }
    }
}

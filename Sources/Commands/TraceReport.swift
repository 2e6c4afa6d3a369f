import KubernetesAPI
import NetworkTypes
import ServiceProxy

/// What `trace` prints: the traces of a plan's destinations, with the names of pods, and why
/// endpoints that exist are not among those reached.
struct TraceReport: Sendable {
    var plan: TracePlan
    var objects: TraceObjects

    /// The report as lines of text.
    /// - Parameter tables: the tables of the plan's node.
    func lines(_ tables: NodeTables) -> [String] {
        var lines = [heading] + plan.remarks
        for destination in plan.destinations {
            guard let source = plan.origin.source(destination.address.family, at: plan.node) else {
                lines += ["", "\(destination.address): the source has no address of that family."]
                continue
            }
            let trace = PathTrace(
                from: source, to: destination.address, destination.port, in: tables,
                serviceName: plan.service.map { "\($0.key)" }, endpointName: podName)
            let title = destination.title.isEmpty ? "" : "\(destination.title) "
            lines += ["", "\(title)\(destination.address) port \(destination.port)"]
            lines += (trace.sentences + unused(destination, trace)).map { "  \($0)" }
        }
        return lines
    }

    private var heading: String {
        let origin =
            switch plan.origin {
            case .node: "From the node \(plan.node.metadata.name) itself"
            case .pod(let key, _): "From pod \(key), at node \(plan.node.metadata.name)"
            case .outside(let address):
                "From \(address), outside the cluster, at node \(plan.node.metadata.name)"
            }
        guard let service = plan.service else { return "\(origin):" }
        var policies = ["\(service.type.rawValue)"]
        if service.internalTrafficPolicy == .local {
            policies.append("internal traffic policy Local")
        }
        if service.externalTrafficPolicy == .local {
            policies.append("external traffic policy Local")
        }
        if let distribution = service.trafficDistribution {
            policies.append("traffic distribution \(distribution)")
        }
        return "\(origin), to Service \(service.key) (\(policies.joined(separator: ", "))):"
    }

    private func podName(_ address: IPAddress) -> String? {
        objects.pods.first { !$0.isFinished && $0.podIPs.contains(address) }
            .map { "pod \($0.key) on \($0.nodeName)" }
    }

    // MARK: - Endpoints that are not reached

    private func unused(_ destination: TracePlan.Destination, _ trace: PathTrace) -> [String] {
        guard let service = plan.service, let port = destination.servicePort else { return [] }
        let family = destination.address.family
        let reached = Set(trace.chances.map(\.address))
        var lines: [String: String] = [:]
        for slice in objects.slices
        where slice.serviceKey == service.key && slice.addressType == family.rawValue
            && slice.ports.contains(where: {
                $0.name == port.name && $0.transport == port.transport
            })
        {
            for endpoint in slice.endpoints {
                guard let address = endpoint.addresses.first, !reached.contains(address) else {
                    continue
                }
                let name = podName(address).map { " (\($0))" } ?? ""
                lines["\(address)"] = "Not used: \(address)\(name): \(reason(endpoint, trace))."
            }
        }
        return lines.sorted { $0.key < $1.key }.map(\.value)
    }

    private func reason(_ endpoint: EndpointSlice.Endpoint, _ trace: PathTrace) -> String {
        if endpoint.isTerminating {
            return endpoint.isServing ? "it is terminating" : "it is terminating and does not serve"
        }
        if !endpoint.isReady { return "it is not ready" }
        if case .dropped = trace.outcome { return "nothing gets there" }
        if case .untouched = trace.outcome { return "the node's tables do not lead there" }
        if case .answeredHere = trace.outcome {
            return "only where nothing on this node listens at the address"
        }
        if let node = endpoint.nodeName, node != plan.node.metadata.name,
            plan.service?.internalTrafficPolicy == .local
                || plan.service?.externalTrafficPolicy == .local
        {
            return "it is on \(node), and the traffic policy is Local"
        }
        if !endpoint.zoneHints.isEmpty || !endpoint.nodeHints.isEmpty {
            let hints = (endpoint.nodeHints + endpoint.zoneHints).joined(separator: ", ")
            return "its topology hints give it to \(hints)"
        }
        return "the tables do not lead there: session affinity, or a change not programmed yet"
    }
}

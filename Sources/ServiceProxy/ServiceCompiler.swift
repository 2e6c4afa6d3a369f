import KubernetesAPI
import NetworkTypes

/// What a proxy knows of the node it runs on.
struct NodeContext: Hashable, Sendable {
    var nodeName: String
    /// `topology.kubernetes.io/zone`
    var zone: String?
    /// Service addresses that something on the node itself answers (the node's own DNS): the proxy
    /// leaves them alone while it listens there, and leads to other nodes' else.
    var locallyServedAddresses: Set<IPAddress> = []
}

/// Turns a Service with its slices into what the kernel should hold.
struct ServiceCompiler: Sendable {
    var node: NodeContext
    /// Whether rules can ask the kernel if something listens at an address; without that, addresses
    /// which the node answers itself are left to it always.
    var findsSockets = true

    /// Services of another proxy carry this label.
    static let proxyNameLabel = "service.kubernetes.io/service-proxy-name"
    /// Slices of headless Services carry this label.
    static let headlessLabel = "service.kubernetes.io/headless"
    /// The annotation that was there before `spec.loadBalancerSourceRanges`.
    static let sourceRangesAnnotation = "service.beta.kubernetes.io/load-balancer-source-ranges"

    /// Computes the rules of one Service, or nil where a proxy has nothing to do for it.
    /// - Parameter previous: what was computed before; endpoints keep their slots where they can,
    ///   so that a change touches as few elements as there are changes.
    func compile(
        _ service: Service, slices: some Sequence<EndpointSlice>, previous: ProxyRules? = nil
    ) -> ProxyRules? {
        guard service.type != .externalName, !service.isHeadless, !service.clusterIPs.isEmpty,
            service.metadata.labels[Self.proxyNameLabel] == nil
        else { return nil }
        let slices = slices.filter { $0.metadata.labels[Self.headlessLabel] == nil }
        var rules = ProxyRules(
            key: service.key,
            precedence: .init(
                creationTimestamp: service.metadata.creationTimestamp, key: service.key),
            ports: [], hairpinAddresses: [], healthCheck: nil,
            portsWithoutLocalEndpoints: .init())
        var localAddresses: Set<IPAddress> = []
        var localEndpoints: Set<IPAddress> = []
        for family in IPAddress.Family.allCases
        where service.clusterIPs.contains(where: { $0.family == family }) {
            let slices = slices.filter { $0.addressType == family.rawValue }
            for port in service.ports {
                let selection = EndpointSelection(
                    candidates(of: port, in: slices), service: service, node: node)
                let before = previous?.ports.first {
                    $0.family == family && $0.port == port.protocolPort
                }
                let portRules = compile(port, family, selection, service, before)
                for backend in portRules.hairpinBackends { localAddresses.insert(backend.address) }
                for backend in selection.local { localEndpoints.insert(backend.address) }
                count(gapsOf: selection, service, &rules.portsWithoutLocalEndpoints)
                rules.ports.append(portRules)
            }
        }
        rules.hairpinAddresses = localAddresses.sorted()
        if service.healthCheckNodePort != 0, service.type == .loadBalancer,
            service.externalTrafficPolicy == .local
        {
            rules.healthCheck = .init(
                port: service.healthCheckNodePort, localEndpointCount: localEndpoints.count)
        }
        return rules
    }

    // MARK: - One port

    private func compile(
        _ port: ServicePort, _ family: IPAddress.Family, _ selection: EndpointSelection,
        _ service: Service, _ previous: PortRules?
    ) -> PortRules {
        // Who stands in for this node must not be this node, so its endpoints have slots apart.
        let isServedHere = !node.locallyServedAddresses.isDisjoint(with: service.clusterIPs)
        let slots = SlotAssignment(
            local: isServedHere && selection.local.isEmpty
                ? selection.cluster.filter(selection.onThisNode.contains) : selection.local,
            cluster: selection.cluster, previous: previous?.slots ?? [])
        var rules = PortRules(
            family: family, port: port.protocolPort, name: port.name, slots: slots.slots,
            retained: port.transport == .udp
                ? Set(selection.serving).subtracting(slots.slots).sorted() : [],
            hairpinBackends: [], frontends: [])
        let builder = FrontendBuilder(
            service: service, selection: selection, local: slots.localRange,
            cluster: slots.clusterRange)
        for address in service.clusterIPs where address.family == family {
            let frontend = Frontend.address(address, port.protocolPort)
            guard node.locallyServedAddresses.contains(address) else {
                rules.frontends.append(builder.clusterIP(frontend))
                continue
            }
            // Without an endpoint elsewhere nothing is better than to leave it to the node.
            guard findsSockets, slots.elsewhereRange.count > 0 else { continue }
            rules.frontends.append(builder.served(frontend, slots.elsewhereRange))
            if port.transport == .udp {
                rules.retained.append(Backend(address: address, port: port.port))
            }
        }
        var seen = Set(rules.frontends.map(\.frontend))
        for address in service.externalIPs where address.family == family {
            let frontend = Frontend.address(address, port.protocolPort)
            if seen.insert(frontend).inserted {
                rules.frontends.append(builder.external(frontend, role: .externalIP))
            }
        }
        if service.type == .loadBalancer {
            let sources = allowedSources(of: service, family)
            for ingress in service.ingress where ingress.isVirtualIP {
                guard let address = ingress.address, address.family == family else { continue }
                let frontend = Frontend.address(address, port.protocolPort)
                guard seen.insert(frontend).inserted else { continue }
                rules.frontends.append(
                    builder.external(frontend, role: .loadBalancer, allowedSources: sources))
            }
        }
        if port.nodePort != 0, service.type == .nodePort || service.type == .loadBalancer {
            let nodePort = ProtocolPort(port.transport, port.nodePort)
            rules.frontends.append(
                builder.external(.nodePort(family, nodePort), role: .nodePort))
        }
        rules.hairpinBackends =
            rules.frontends.contains { $0.shortCircuit != nil }
            ? slots.slots.sorted() : selection.onThisNode.filter(slots.slots.contains)
        return rules
    }

    /// The endpoints that slices give for a port. A slice's port belongs to the Service port of
    /// its name; where an address is in two slices, the entry that is ready counts.
    private func candidates(of port: ServicePort, in slices: [EndpointSlice]) -> [Candidate] {
        var candidates: [Candidate] = []
        for slice in slices {
            for slicePort in slice.ports
            where slicePort.name == port.name && slicePort.transport == port.transport
                && slicePort.port != 0
            {
                for endpoint in slice.endpoints {
                    guard let address = endpoint.addresses.first else { continue }
                    let backend = Backend(address: address, port: slicePort.port)
                    candidates.append(Candidate(backend: backend, endpoint: endpoint))
                }
            }
        }
        // The ready one first, so that it is the one kept.
        candidates.sort {
            ($0.backend, $0.endpoint.isReady ? 0 : 1) < ($1.backend, $1.endpoint.isReady ? 0 : 1)
        }
        var last: Backend?
        candidates.removeAll { candidate in
            defer { last = candidate.backend }
            return candidate.backend == last
        }
        return candidates
    }

    /// The sources of one family that `loadBalancerSourceRanges` or its annotation allow; nil where
    /// neither restricts this family.
    private func allowedSources(of service: Service, _ family: IPAddress.Family) -> [Prefix]? {
        var texts = service.loadBalancerSourceRanges
        if texts.isEmpty, let annotation = service.metadata.annotations[Self.sourceRangesAnnotation]
        {
            texts = annotation.split(separator: ",").map { $0.filter { $0 != " " } }
        }
        let prefixes = Set(texts.compactMap { Prefix($0) }.filter { $0.family == family })
        // The kernel's interval sets refuse overlaps; a prefix within another says nothing new.
        let widest = prefixes.filter { prefix in
            !prefixes.contains { $0.length < prefix.length && $0.contains(prefix.address) }
        }
        return widest.isEmpty ? nil : widest.sorted()
    }

    private func count(
        gapsOf selection: EndpointSelection, _ service: Service,
        _ gaps: inout ProxyRules.LocalGaps
    ) {
        guard selection.hasEndpoints, selection.local.isEmpty else { return }
        if service.internalTrafficPolicy == .local { gaps.internalCount += 1 }
        if service.isExternallyReachable, service.externalTrafficPolicy == .local {
            gaps.externalCount += 1
        }
    }
}

/// Chooses the treatment of a Service's frontends.
struct FrontendBuilder {
    var service: Service
    var selection: EndpointSelection
    var local: SlotRange
    var cluster: SlotRange

    /// A cluster IP: the internal policy holds.
    func clusterIP(_ frontend: Frontend) -> FrontendRules {
        let isLocal = service.internalTrafficPolicy == .local
        let dispatch =
            if !selection.hasEndpoints {
                Dispatch.without(.reject, kind: frontend.kind)
            } else if isLocal, local.count == 0 {
                Dispatch.without(.drop, kind: frontend.kind)
            } else {
                self.dispatch(.cluster, isLocal ? local : cluster, frontend.kind)
            }
        return FrontendRules(role: .clusterIP, frontend: frontend, dispatch: dispatch)
    }

    /// A cluster IP that the node answers itself, and endpoints of other nodes where it does not.
    func served(_ frontend: Frontend, _ elsewhere: SlotRange) -> FrontendRules {
        let dispatch = Dispatch(
            kind: frontend.kind, treatment: .served, range: elsewhere, affinityTimeoutSeconds: nil)
        return FrontendRules(role: .clusterIP, frontend: frontend, dispatch: dispatch)
    }

    /// An address or port for the world outside: the external policy holds.
    func external(
        _ frontend: Frontend, role: FrontendRules.Role, allowedSources: [Prefix]? = nil
    ) -> FrontendRules {
        var rules = FrontendRules(
            role: role, frontend: frontend,
            dispatch: .without(.reject, kind: frontend.kind), allowedSources: allowedSources)
        guard selection.hasEndpoints else { return rules }
        guard service.externalTrafficPolicy == .local else {
            rules.dispatch = dispatch(.external, cluster, frontend.kind)
            return rules
        }
        rules.dispatch = dispatch(.local, local, frontend.kind)
        rules.shortCircuit = dispatch(.direct, cluster, frontend.kind)
        return rules
    }

    private func dispatch(
        _ treatment: Dispatch.Treatment, _ range: SlotRange, _ kind: FrontendKind
    ) -> Dispatch {
        Dispatch(
            kind: kind, treatment: treatment, range: range,
            affinityTimeoutSeconds:
                range.count > 0 ? service.sessionAffinityTimeoutSeconds : nil)
    }
}

extension Service {
    /// True where something outside the cluster can reach the Service, so that an external traffic
    /// policy means something.
    var isExternallyReachable: Bool {
        type == .nodePort || type == .loadBalancer || !externalIPs.isEmpty
    }
}

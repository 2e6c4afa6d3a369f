import KubernetesAPI
import NFTables
import NetworkTypes

@testable import ServiceProxy

/// What a packet should meet, said straight from the objects, without slots, maps or chains. Knows
/// nothing of the ruleset: it is what the ruleset is measured against.
struct PacketModel {
    enum Fate: Hashable {
        case untouched
        case refused
        case dropped
        case sent(to: Set<Backend>, isMasqueraded: Bool)
    }

    var node: NodeContext
    var options: RulesetOptions
    var nodeAddresses: Set<IPAddress>
    /// Whether something on the node listens at its locally served addresses.
    var isListening = true
    var services: [Service]
    var slices: [EndpointSlice]

    func fate(of packet: Packet) -> Fate {
        guard
            let transport = TransportProtocol.allCases.first(where: {
                $0.number == packet.protocolNumber
            })
        else { return .untouched }
        let port = ProtocolPort(transport, packet.destinationPort)
        let isPod = options.podCIDRs.contains { $0.contains(packet.source) }
        let isOwn = nodeAddresses.contains(packet.source)
        // The oldest Service has an address that several claim.
        let services = self.services
            .filter { $0.type != .externalName && !$0.isHeadless }
            .filter { $0.metadata.labels[ServiceCompiler.proxyNameLabel] == nil }
            .sorted {
                ($0.metadata.creationTimestamp, $0.key) < ($1.metadata.creationTimestamp, $1.key)
            }
        for service in services {
            for servicePort in service.ports where servicePort.protocolPort == port {
                if service.clusterIPs.contains(packet.destination) {
                    guard node.locallyServedAddresses.contains(packet.destination) else {
                        return internalFate(service, servicePort, packet, isPod: isPod)
                    }
                    let standIns = standIns(service, servicePort, packet.family)
                    guard !standIns.isEmpty else { continue }
                    return isListening || isOwn
                        ? .untouched
                        : .sent(to: standIns, isMasqueraded: options.masqueradesAll || !isPod)
                }
                let isExternalIP = service.externalIPs.contains(packet.destination)
                let isIngress =
                    service.type == .loadBalancer
                    && service.ingress.contains {
                        $0.isVirtualIP && $0.address == packet.destination
                    }
                guard
                    isExternalIP || isIngress,
                    service.clusterIPs.contains(where: { $0.family == packet.family })
                else { continue }
                if isIngress, !isExternalIP {
                    let ranges = service.loadBalancerSourceRanges.compactMap { Prefix($0) }
                        .filter { $0.family == packet.family }
                    if !ranges.isEmpty, !ranges.contains(where: { $0.contains(packet.source) }) {
                        return .dropped
                    }
                }
                return externalFate(service, servicePort, packet, isPod: isPod, isOwn: isOwn)
            }
        }
        if options.serviceCIDRs.contains(where: { $0.contains(packet.destination) }) {
            return node.locallyServedAddresses.contains(packet.destination) ? .untouched : .refused
        }
        guard nodeAddresses.contains(packet.destination), !packet.destination.isLoopback else {
            return .untouched
        }
        for service in services where service.type == .nodePort || service.type == .loadBalancer {
            for servicePort in service.ports
            where servicePort.nodePort == port.port && servicePort.transport == port.transport
                && service.clusterIPs.contains(where: { $0.family == packet.family })
            {
                return externalFate(service, servicePort, packet, isPod: isPod, isOwn: isOwn)
            }
        }
        return .untouched
    }

    private func internalFate(
        _ service: Service, _ port: ServicePort, _ packet: Packet, isPod: Bool
    ) -> Fate {
        let all = usable(service, port, packet.family) { _ in true }
        if all.isEmpty { return .refused }
        let isLocal = service.internalTrafficPolicy == .local
        let chosen =
            isLocal ? usable(service, port, packet.family) { $0.nodeName == node.nodeName } : all
        if chosen.isEmpty { return .dropped }
        return .sent(to: chosen, isMasqueraded: options.masqueradesAll || !isPod)
    }

    private func externalFate(
        _ service: Service, _ port: ServicePort, _ packet: Packet, isPod: Bool, isOwn: Bool
    ) -> Fate {
        let all = usable(service, port, packet.family) { _ in true }
        if all.isEmpty { return .refused }
        guard service.externalTrafficPolicy == .local else {
            return .sent(to: all, isMasqueraded: true)
        }
        if isPod { return .sent(to: all, isMasqueraded: false) }
        if isOwn { return .sent(to: all, isMasqueraded: true) }
        let local = usable(service, port, packet.family) { $0.nodeName == node.nodeName }
        return local.isEmpty ? .dropped : .sent(to: local, isMasqueraded: false)
    }

    /// The endpoints of other nodes that answer in this one's place.
    private func standIns(
        _ service: Service, _ port: ServicePort, _ family: IPAddress.Family
    ) -> Set<Backend> {
        guard service.internalTrafficPolicy == .cluster || service.isExternallyReachable else {
            return []
        }
        return usable(service, port, family) { _ in true }
            .subtracting(usable(service, port, family) { $0.nodeName == node.nodeName })
    }

    private func usable(
        _ service: Service, _ port: ServicePort, _ family: IPAddress.Family,
        _ isWanted: (EndpointSlice.Endpoint) -> Bool
    ) -> Set<Backend> {
        var ready: Set<Backend> = []
        var last: Set<Backend> = []
        for slice in slices
        where slice.serviceKey == service.key && slice.addressType == family.rawValue {
            for slicePort in slice.ports
            where slicePort.name == port.name
                && slicePort.transport == port.transport
            {
                for endpoint in slice.endpoints where isWanted(endpoint) {
                    guard let address = endpoint.addresses.first else { continue }
                    let backend = Backend(address: address, port: slicePort.port)
                    if endpoint.isReady { ready.insert(backend) }
                    if endpoint.isServing, endpoint.isTerminating { last.insert(backend) }
                }
            }
        }
        return ready.isEmpty ? last : ready
    }
}

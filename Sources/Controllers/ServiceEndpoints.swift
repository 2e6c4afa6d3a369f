import Informer
import KubernetesAPI
import NetworkTypes

/// Which endpoints a Service with a selector has: a pure function of the Service, the pods that its
/// selector matches and the nodes they run on.
struct ServiceEndpoints {
    let service: Service
    /// The node by name; nil for an unknown one.
    let node: (String) -> Node?

    /// The families for which the Service gets slices.
    var families: [IPAddress.Family] {
        if !service.ipFamilies.isEmpty { return service.ipFamilies }
        var families: [IPAddress.Family] = []
        for address in service.clusterIPs where !families.contains(address.family) {
            families.append(address.family)
        }
        return families.isEmpty ? [.ipv4] : families
    }

    /// The endpoints, grouped as slices have to be.
    func groups(pods: [PodSummary]) -> [SlicePacker.Group: [SliceEndpoint]] {
        var groups: [SlicePacker.Group: [SliceEndpoint]] = [:]
        for pod in pods where isEligible(pod) {
            let ports = ports(of: pod)
            for family in families {
                guard let address = pod.podIPs.first(where: { $0.family == family }) else {
                    continue
                }
                let group = SlicePacker.Group(addressType: family.rawValue, ports: ports)
                groups[group, default: []].append(endpoint(pod, address))
            }
        }
        return groups
    }

    /// Finished pods, pods without an address and pods whose node is gone are no endpoints.
    func isEligible(_ pod: PodSummary) -> Bool {
        guard !pod.isFinished, !pod.podIPs.isEmpty else { return false }
        return pod.nodeName.isEmpty || service.publishNotReadyAddresses
            || node(pod.nodeName) != nil
    }

    /// The Service's ports as this pod serves them; a name that the pod does not have is left out.
    func ports(of pod: PodSummary) -> [SlicePort] {
        service.ports.compactMap { port in
            let number: UInt16? =
                switch port.targetPort {
                case .number(let number): number
                case .name(let name): pod.containerPort(named: name, port.transport)
                }
            return number.map {
                SlicePort(
                    name: port.name, transport: port.transport, port: $0,
                    appProtocol: port.appProtocol)
            }
        }.sorted()
    }

    private func endpoint(_ pod: PodSummary, _ address: IPAddress) -> SliceEndpoint {
        let isServing = pod.isReady
        let isReady = service.publishNotReadyAddresses || (isServing && !pod.isTerminating)
        var endpoint = SliceEndpoint(address: address.description, isReady: isReady)
        endpoint.isServing = isServing
        endpoint.isTerminating = pod.isTerminating
        endpoint.hostname = hostname(of: pod)
        endpoint.nodeName = pod.nodeName.isEmpty ? nil : pod.nodeName
        endpoint.zone = node(pod.nodeName)?.zone
        endpoint.target = .init(
            kind: "Pod", namespace: pod.metadata.namespace, name: pod.metadata.name,
            uid: pod.metadata.uid)
        if isReady { addHints(to: &endpoint) }
        return endpoint
    }

    /// The DNS host name, where the pod asks for one under this Service's name.
    func hostname(of pod: PodSummary) -> String? {
        guard !pod.hostname.isEmpty, pod.subdomain == service.metadata.name,
            pod.metadata.namespace == service.metadata.namespace
        else { return nil }
        return pod.hostname
    }

    /// KEP-4444 and KEP-3015: own zone, under PreferSameNode own node as well. A topology
    /// annotation takes the place of the field, as in Kubernetes.
    private func addHints(to endpoint: inout SliceEndpoint) {
        let annotations = service.metadata.annotations
        guard annotations["service.kubernetes.io/topology-mode"] == nil,
            annotations["service.kubernetes.io/topology-aware-hints"] == nil
        else { return }
        switch service.trafficDistribution {
        case "PreferClose", "PreferSameZone":
            endpoint.zoneHints = [endpoint.zone].compactMap(\.self)
        case "PreferSameNode":
            endpoint.zoneHints = [endpoint.zone].compactMap(\.self)
            endpoint.nodeHints = [endpoint.nodeName].compactMap(\.self)
        default: break
        }
    }
}

extension Service {
    /// Label of slices and Endpoints of headless Services, which proxies skip.
    static let headlessLabel = "service.kubernetes.io/headless"

    /// The Service's labels as its slices carry them.
    func sliceLabels(managedBy manager: String) -> [String: String] {
        var labels = metadata.labels
        labels[SliceRecord.serviceNameLabel] = metadata.name
        labels[SliceRecord.managedByLabel] = manager
        labels[Self.headlessLabel] = isHeadless ? "" : nil
        return labels
    }

    /// The pair of the selector under which services are indexed: a pod can match only if it
    /// carries it.
    var selectorIndexEntries: [String] {
        guard type != .externalName, let pair = selector?.min(by: { $0.key < $1.key }) else {
            return []
        }
        return ["selector:\(metadata.namespace)/\(pair.key)=\(pair.value)"]
    }

    /// True where the selector, if there is one, matches `labels`.
    func selects(_ labels: [String: String]) -> Bool {
        selector?.allSatisfy { labels[$0.key] == $0.value } ?? false
    }
}

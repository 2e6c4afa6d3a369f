public import DNS
public import KubernetesAPI
import NetworkTypes

extension LookupExplanation.Cluster {
    /// What the objects of an API server and the Corefile's settings mean to a lookup. Services and
    /// namespaces that have no records by these settings are left out.
    /// - Parameter namespaces: their labels by name.
    public init(
        settings: ClusterSettings, namespaces: [String: [String: String]], services: [Service],
        slices: [EndpointSlice], pods: [Pod]
    ) {
        let records = settings.records
        let exposed = namespaces.filter { records.exposes($0.key, labels: $0.value) }
        var byService: [ObjectKey: [EndpointSlice]] = [:]
        for slice in slices {
            if let key = slice.serviceKey { byService[key, default: []].append(slice) }
        }
        var byAddress: [IPAddress: [ServiceKey]] = [:]
        for pod in pods where !pod.usesHostNetwork && !pod.isFinished {
            for address in pod.podIPs {
                byAddress[address, default: []].append(ServiceKey(pod.key))
            }
        }
        var hosts: [DNSName: [IPAddress]] = [:]
        for route in settings.routes { hosts.merge(route.hosts.addresses) { first, _ in first } }
        let rules = settings.routes.flatMap(\.rewrites)
        self.init(
            zone: settings.domain, namespaces: Set(exposed.keys),
            services: services.compactMap { service in
                records.exposes(
                    service.metadata.namespace, labels: namespaces[service.metadata.namespace])
                    && records.selects(service.metadata.labels)
                    ? records.input(service, byService[service.key] ?? []) : nil
            },
            slices: Dictionary(
                byService.map { (ServiceKey($0.key), $0.value.map(\.metadata.name)) },
                uniquingKeysWith: { first, _ in first }),
            podRecords: settings.podRecords, pods: byAddress, staticAddresses: hosts,
            forwards: settings.routes.filter { !$0.upstreams.isEmpty || $0.resolverFile != nil }
                .map { route in
                    let servers = route.upstreams.map(\.description)
                    let file = route.resolverFile.map { ["the name servers of \($0)"] } ?? []
                    return Forward(
                        suffix: route.suffix, servers: (servers + file).joined(separator: ", "))
                },
            rewrite: { name in
                rules.lazy.compactMap { $0.apply(name) }.first { $0 != name }
            })
    }
}

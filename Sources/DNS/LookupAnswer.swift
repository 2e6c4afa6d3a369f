import NetworkTypes

/// What the server says to one name, with its reason: one step of a `LookupExplanation`. It
/// decides over objects what `Zone` decides over rendered bytes; a test holds them against each
/// other.
struct LookupAnswer {
    typealias Cluster = LookupExplanation.Cluster
    typealias Result = LookupExplanation.Result

    let result: Result

    init(_ name: DNSName, _ type: RecordType, _ cluster: Cluster) {
        result = Self.answer(name, type, cluster)
    }

    private static func answer(
        _ name: DNSName, _ type: RecordType, _ cluster: Cluster
    ) -> Result {
        if let addresses = cluster.staticAddresses[name] {
            let wanted = addresses.filter { Self.type(of: $0) == type }
            return wanted.isEmpty
                ? .noData(reason: "the hosts of the Corefile have no \(type) for it")
                : .found(
                    records: wanted.map { "\(type) \($0)" }, object: "hosts of the Corefile")
        }
        if let address = name.reverseAddress { return reverse(name, address, type, cluster) }
        guard let rest = name.lowercased.replacing(cluster.zone.lowercased, by: .root) else {
            return forwarded(name, cluster)
        }
        let labels = rest.labels.map { String(decoding: $0, as: UTF8.self) }
        switch labels.last {
        case nil: return .noData(reason: "it is the cluster domain itself")
        case "svc": return service(name, Array(labels.dropLast()), type, cluster)
        case "pod": return pod(Array(labels.dropLast()), type, cluster)
        case "dns-version" where labels.count == 1:
            return type == .txt
                ? .found(records: ["TXT 1.1.0"], object: "the specification's version")
                : .noData(reason: "it has a TXT record only")
        default:
            return .missing(
                reason: "names in \(cluster.zone) end in svc or pod before the cluster domain")
        }
    }

    private static func forwarded(_ name: DNSName, _ cluster: Cluster) -> Result {
        let route = cluster.forwards.filter { name.isWithin($0.suffix) }
            .max { $0.suffix.labelCount < $1.suffix.labelCount }
        guard let route else {
            return cluster.forwards.isEmpty
                ? .forwarded(to: "")
                : .missing(reason: "the Corefile forwards no such name: it is refused")
        }
        return .forwarded(
            to: route.suffix == .root
                ? route.servers : "\(route.servers), for names below \(route.suffix)")
    }

    // MARK: - Services

    private static func service(
        _ name: DNSName, _ labels: [String], _ type: RecordType, _ cluster: Cluster
    ) -> Result {
        guard let namespace = labels.last else {
            return .noData(reason: "it is the parent of all Services")
        }
        let services = cluster.services.filter { $0.namespace == namespace }
        guard cluster.namespaces.contains(namespace) || !services.isEmpty else {
            return .missing(reason: "there is no namespace \(namespace)")
        }
        guard labels.count > 1 else { return .noData(reason: "it is a namespace") }
        let serviceName = labels[labels.count - 2]
        guard let found = services.first(where: { $0.name == serviceName }) else {
            let elsewhere = cluster.services.filter { $0.name == serviceName }.map(\.namespace)
            let hint =
                elsewhere.isEmpty
                ? "" : "; there is one in \(elsewhere.sorted().joined(separator: ", "))"
            return .missing(
                reason: "there is no Service \(serviceName) in namespace \(namespace)\(hint)")
        }
        return records(name, type, of: found, isService: labels.count == 2, cluster)
    }

    private static func records(
        _ name: DNSName, _ type: RecordType, of service: ServiceRecordInput, isService: Bool,
        _ cluster: Cluster
    ) -> Result {
        let rendered = ServiceRecords(service, zone: cluster.zone, timeToLiveSeconds: 30)
        guard let entry = rendered.names.first(where: { $0.name == name }) else {
            return .missing(reason: reason(service, isService: isService))
        }
        let object = object(service, isService: isService, cluster)
        if let set = entry.sets.first(where: { $0.type == type }) {
            return .found(records: set.data.map { "\(type) \(text($0, type))" }, object: object)
        }
        if let alias = entry.sets.first(where: { $0.type == .cname }), let target = alias.data.first
        {
            return .found(
                records: ["CNAME \(text(target, .cname)), then upstream"], object: object)
        }
        let types = entry.sets.map(\.type.description).joined(separator: ", ")
        return .noData(
            reason: "Service \(service.key) has no \(type) record here"
                + (types.isEmpty ? "" : ", only \(types)"))
    }

    /// The Service; with its slices where the records are those of endpoints.
    private static func object(
        _ service: ServiceRecordInput, isService: Bool, _ cluster: Cluster
    ) -> String {
        let slices = cluster.slices[service.key] ?? []
        guard service.isHeadless || !isService, !slices.isEmpty else {
            return "Service \(service.key)"
        }
        return "Service \(service.key), EndpointSlice \(slices.sorted().joined(separator: ", "))"
    }

    private static func reason(_ service: ServiceRecordInput, isService: Bool) -> String {
        let label = "Service \(service.key)"
        guard isService else {
            return service.readyEndpoints.isEmpty
                ? "\(label) has no ready endpoint" : "\(label) has no such endpoint or named port"
        }
        if service.externalName != nil {
            return "\(label) has an externalName that is an address or no name"
        }
        if service.isHeadless {
            return service.endpoints.isEmpty
                ? "\(label) is headless and has no endpoints: its selector matches no pod"
                : "\(label) is headless and none of its \(service.endpoints.count) endpoints is ready"
        }
        return "\(label) has no cluster IP yet"
    }

    // MARK: - Pods and reverse names

    private static func pod(
        _ labels: [String], _ type: RecordType, _ cluster: Cluster
    ) -> Result {
        guard let namespace = labels.last else {
            return .noData(reason: "it is the parent of all pods")
        }
        guard cluster.namespaces.contains(namespace) else {
            return .missing(reason: "there is no namespace \(namespace)")
        }
        guard labels.count == 2 else {
            return labels.count == 1
                ? .noData(reason: "it is a namespace")
                : .missing(reason: "pod names have an address and a namespace only")
        }
        guard cluster.podRecords != .disabled else {
            return .missing(reason: "pod records are disabled (kubernetes: pods disabled)")
        }
        let dotted = String(labels[0].map { $0 == "-" ? "." : $0 })
        let colons = String(labels[0].map { $0 == "-" ? ":" : $0 })
        guard let address = IPAddress(dotted) ?? IPAddress(colons) else {
            return .missing(reason: "\(labels[0]) spells no address")
        }
        var object = "the name itself (pods insecure)"
        if cluster.podRecords == .verified {
            let owner = cluster.pods[address]?.first { $0.namespace == namespace }
            guard let owner else {
                return .missing(
                    reason: "no running pod in namespace \(namespace) has the address \(address) "
                        + "(pods verified)")
            }
            object = "Pod \(owner)"
        }
        guard type == Self.type(of: address) else {
            return .noData(reason: "the address is of the other family")
        }
        return .found(records: ["\(type) \(address)"], object: object)
    }

    private static func reverse(
        _ name: DNSName, _ address: IPAddress, _ type: RecordType, _ cluster: Cluster
    ) -> Result {
        for service in cluster.services {
            let rendered = ServiceRecords(service, zone: cluster.zone, timeToLiveSeconds: 30)
            let targets = rendered.reverse.filter { $0.address == address }.map(\.target)
            guard !targets.isEmpty else { continue }
            guard type == .ptr else { return .noData(reason: "reverse names have PTR records") }
            return .found(
                records: targets.map { "PTR \($0)" }, object: "Service \(service.key)")
        }
        return forwarded(name, cluster)
    }

    // MARK: - Words

    private static func type(of address: IPAddress) -> RecordType {
        address.family == .ipv4 ? .a : .aaaa
    }

    private static func text(_ data: [UInt8], _ type: RecordType) -> String {
        switch type {
        case .a, .aaaa: return IPAddress(networkBytes: data)?.description ?? ""
        case .cname, .ptr: return DNSName(wire: data)?.description ?? ""
        case .srv where data.count > 6:
            let port = Int(data[4]) << 8 | Int(data[5])
            return "port \(port) of \(DNSName(wire: Array(data[6...]))?.description ?? "")"
        default: return "\(data.count) octets"
        }
    }
}

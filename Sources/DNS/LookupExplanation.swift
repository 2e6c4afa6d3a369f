import NetworkTypes

/// What a lookup from a pod does, step by step, and why a name does not exist: the text behind
/// `portolan dns lookup NAME [TYPE] --from POD`. A pure function of what the cluster holds.
public struct LookupExplanation: Equatable, Sendable {
    /// What the explanation is made from.
    public struct Cluster: Sendable {
        /// The cluster domain.
        public var zone: DNSName
        /// Every namespace.
        public var namespaces: Set<String>
        /// Every Service with its endpoints.
        public var services: [ServiceRecordInput]
        /// How pod records are answered.
        public var podRecords: PodRecordMode
        /// The domains searched after the cluster's own.
        public var hostSearchDomains: [DNSName]

        /// Makes a cluster's content.
        public init(
            zone: DNSName, namespaces: Set<String>, services: [ServiceRecordInput],
            podRecords: PodRecordMode = .insecure, hostSearchDomains: [DNSName] = []
        ) {
            self.zone = zone
            self.namespaces = namespaces
            self.services = services
            self.podRecords = podRecords
            self.hostSearchDomains = hostSearchDomains
        }
    }

    /// One name that the resolver in the pod asks for.
    public struct Step: Equatable, Sendable {
        /// The name.
        public var name: DNSName
        /// What happens.
        public var result: Result
    }

    /// What one name gives.
    public enum Result: Equatable, Sendable {
        /// Records, and the object they come from.
        case found(records: [String], object: String)
        /// The name exists without records of the type.
        case noData(reason: String)
        /// The name does not exist.
        case missing(reason: String)
        /// The name is asked upstream.
        case forwarded
    }

    /// The steps, in order; the last one ends the lookup.
    public var steps: [Step]
    /// Advice where the lookup is likely not what was meant.
    public var hints: [String]

    /// Explains what a pod in `namespace`, with `ndots` as its resolv.conf has it, gets for `name`.
    /// - Returns: nil where `name` is not a DNS name.
    public init?(
        _ name: String, type: RecordType = .a, namespace: String, ndots: Int = 5,
        in cluster: Cluster
    ) {
        guard let asked = DNSName(name) else { return nil }
        steps = []
        hints = []
        let isAbsolute = name.hasSuffix(".")
        let zone = cluster.zone
        let searched =
            (["\(namespace).svc", "svc"].compactMap {
                DNSName(labels: $0.split(separator: ".").map(String.init), parent: zone)
            } + [zone] + cluster.hostSearchDomains).compactMap { asked.replacing(.root, by: $0) }
        let hasEnoughDots = asked.labelCount - 1 >= ndots
        var candidates = searched
        if isAbsolute {
            candidates = [asked]
        } else if hasEnoughDots {
            candidates.insert(asked, at: 0)
        } else {
            candidates.append(asked)
        }
        for candidate in candidates {
            let result = Self.answer(candidate, type, cluster)
            steps.append(Step(name: candidate, result: result))
            if case .found = result { break }
            if case .forwarded = result, candidate == candidates.last { break }
        }
        addHints(asked, isAbsolute: isAbsolute, ndots: ndots, cluster)
    }

    private mutating func addHints(
        _ asked: DNSName, isAbsolute: Bool, ndots: Int, _ cluster: Cluster
    ) {
        let text = asked.description
        let isFound = steps.contains { if case .found = $0.result { true } else { false } }
        if !isFound, !asked.isWithin(cluster.zone), text.contains(".svc."),
            asked.labelCount >= 4
        {
            hints.append(
                "the cluster domain here is \(cluster.zone); the name ends in another one")
        }
        if !isAbsolute, asked.labelCount > 1, asked.labelCount - 1 < ndots,
            case .forwarded? = steps.last?.result, steps.count > 1
        {
            hints.append(
                "ndots:\(ndots) makes the resolver try \(steps.count - 1) other names first; "
                    + "a dot at the end, or a lower ndots, spares them")
        }
    }

    // MARK: - One name

    private static func answer(
        _ name: DNSName, _ type: RecordType, _ cluster: Cluster
    ) -> Result {
        if let address = name.reverseAddress { return reverse(address, type, cluster) }
        guard let rest = name.lowercased.replacing(cluster.zone.lowercased, by: .root) else {
            return .forwarded
        }
        let labels = rest.labels.map { String(decoding: $0, as: UTF8.self) }
        switch labels.last {
        case nil: return .noData(reason: "it is the cluster domain itself")
        case "svc": return service(name, Array(labels.dropLast()), type, cluster)
        case "pod": return pod(Array(labels.dropLast()), type, cluster)
        case "dns-version" where labels.count == 1:
            return .found(records: ["TXT 1.1.0"], object: "the specification's version")
        default:
            return .missing(
                reason: "names in \(cluster.zone) end in svc or pod before the cluster domain")
        }
    }

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
        let object = "Service \(service.key)"
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
            reason: "\(object) has no \(type) record here"
                + (types.isEmpty ? "" : ", only \(types)"))
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
        switch cluster.podRecords {
        case .disabled: return .missing(reason: "pod records are disabled")
        case .verified:
            return .missing(reason: "pod records are verified; ask the server itself")
        case .insecure: break
        }
        let dotted = String(labels[0].map { $0 == "-" ? "." : $0 })
        let colons = String(labels[0].map { $0 == "-" ? ":" : $0 })
        guard let address = IPAddress(dotted) ?? IPAddress(colons) else {
            return .missing(reason: "\(labels[0]) spells no address")
        }
        let wanted: RecordType = address.family == .ipv4 ? .a : .aaaa
        guard type == wanted else { return .noData(reason: "the address is of the other family") }
        return .found(records: ["\(type) \(address)"], object: "the name itself (pods insecure)")
    }

    private static func reverse(
        _ address: IPAddress, _ type: RecordType, _ cluster: Cluster
    ) -> Result {
        for service in cluster.services {
            let rendered = ServiceRecords(service, zone: cluster.zone, timeToLiveSeconds: 30)
            let targets = rendered.reverse.filter { $0.address == address }.map(\.target)
            guard !targets.isEmpty else { continue }
            guard type == .ptr else { return .noData(reason: "reverse names have PTR records") }
            return .found(
                records: targets.map { "PTR \($0)" }, object: "Service \(service.key)")
        }
        return .forwarded
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

extension LookupExplanation: CustomStringConvertible {
    /// One line a step, then the hints.
    public var description: String {
        var lines: [String] = []
        for step in steps {
            switch step.result {
            case .found(let records, let object):
                lines.append("\(step.name) → \(records.joined(separator: ", ")) (\(object))")
            case .noData(let reason): lines.append("\(step.name) → no such record: \(reason)")
            case .missing(let reason): lines.append("\(step.name) → NXDOMAIN: \(reason)")
            case .forwarded: lines.append("\(step.name) → asked upstream")
            }
        }
        return (lines + hints.map { "hint: " + $0 }).joined(separator: "\n")
    }
}

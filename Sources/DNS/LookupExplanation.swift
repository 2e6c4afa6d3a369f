public import NetworkTypes

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
        /// The EndpointSlices of each Service, by name.
        public var slices: [ServiceKey: [String]]
        /// How pod records are answered.
        public var podRecords: PodRecordMode
        /// The pods of each address, for verified pod records.
        public var pods: [IPAddress: [ServiceKey]]
        /// Addresses that the configuration gives to names (`hosts`).
        public var staticAddresses: [DNSName: [IPAddress]]
        /// Where names outside the cluster are asked.
        public var forwards: [Forward]
        /// The name that is looked up in place of one that was asked (`rewrite name`).
        public var rewrite: @Sendable (DNSName) -> DNSName?

        /// Servers for the names below one domain.
        public struct Forward: Equatable, Sendable {
            /// The domain; the root for all others.
            public var suffix: DNSName
            /// The servers, as the configuration names them.
            public var servers: String

            /// Makes an entry.
            public init(suffix: DNSName, servers: String) {
                self.suffix = suffix
                self.servers = servers
            }
        }

        /// Makes a cluster's content.
        public init(
            zone: DNSName, namespaces: Set<String>, services: [ServiceRecordInput],
            slices: [ServiceKey: [String]] = [:], podRecords: PodRecordMode = .insecure,
            pods: [IPAddress: [ServiceKey]] = [:], staticAddresses: [DNSName: [IPAddress]] = [:],
            forwards: [Forward] = [],
            rewrite: @escaping @Sendable (DNSName) -> DNSName? = { _ in nil }
        ) {
            self.zone = zone
            self.namespaces = namespaces
            self.services = services
            self.slices = slices
            self.podRecords = podRecords
            self.pods = pods
            self.staticAddresses = staticAddresses
            self.forwards = forwards
            self.rewrite = rewrite
        }
    }

    /// What the pod's resolv.conf says.
    public struct Resolver: Equatable, Sendable {
        /// The search domains in order.
        public var searchDomains: [DNSName]
        /// A name with fewer dots is tried with the search domains first.
        public var ndots: Int
        /// The servers that are asked in place of the cluster's; nil for the cluster's.
        public var foreignServers: String?

        /// Makes a resolver.
        public init(searchDomains: [DNSName], ndots: Int, foreignServers: String? = nil) {
            self.searchDomains = searchDomains
            self.ndots = ndots
            self.foreignServers = foreignServers
        }

        /// What a pod of `namespace` has under `dnsPolicy: ClusterFirst`.
        public init(namespace: String, zone: DNSName) {
            let domains = [[namespace, "svc"], ["svc"], []].compactMap {
                DNSName(labels: $0, parent: zone)
            }
            self.init(searchDomains: domains, ndots: 5)
        }
    }

    /// One name that the resolver in the pod asks for.
    public struct Step: Equatable, Sendable {
        /// The name.
        public var name: DNSName
        /// The name that the configuration puts in its place.
        public var rewritten: DNSName?
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
        /// The name is asked elsewhere.
        case forwarded(to: String)
    }

    /// The steps, in order; the last one ends the lookup.
    public private(set) var steps: [Step] = []
    /// Advice where the lookup is likely not what was meant.
    public private(set) var hints: [String] = []

    /// Explains what a pod with `resolver` gets for `name`. The order of names is the C library's:
    /// search domains first for a name with fewer than `ndots` dots, last for the others, never
    /// for one that ends in a dot (resolv.conf(5)).
    /// - Returns: nil where `name` is not a DNS name.
    public init?(
        _ name: String, type: RecordType = .a, resolver: Resolver, in cluster: Cluster
    ) {
        guard let asked = DNSName(name) else { return nil }
        let isAbsolute = name.hasSuffix(".")
        let searched = resolver.searchDomains.compactMap { asked.replacing(.root, by: $0) }
        let hasEnoughDots = asked.labelCount - 1 >= resolver.ndots
        let candidates =
            isAbsolute ? [asked] : hasEnoughDots ? [asked] + searched : searched + [asked]
        for candidate in candidates {
            var step = Step(name: candidate, result: .noData(reason: ""))
            if let servers = resolver.foreignServers {
                step.result = .forwarded(to: servers)
            } else {
                step.rewritten = cluster.rewrite(candidate)
                step.result = LookupAnswer(step.rewritten ?? candidate, type, cluster).result
            }
            steps.append(step)
            if case .found = step.result { break }
            if case .forwarded = step.result, candidate == asked { break }
        }
        addHints(asked, isAbsolute: isAbsolute, resolver, cluster)
    }

    private mutating func addHints(
        _ asked: DNSName, isAbsolute: Bool, _ resolver: Resolver, _ cluster: Cluster
    ) {
        if let servers = resolver.foreignServers {
            hints.append(
                "this pod asks \(servers) and not the cluster's DNS, so names of Services do not "
                    + "exist for it: see its dnsPolicy and dnsConfig")
            return
        }
        let text = asked.description
        let isFound = steps.contains { if case .found = $0.result { true } else { false } }
        if !isFound, !asked.isWithin(cluster.zone), text.contains(".svc."),
            asked.labelCount >= 4
        {
            hints.append(
                "the cluster domain here is \(cluster.zone); the name ends in another one")
        }
        let isForwardedLast = if case .forwarded? = steps.last?.result { true } else { false }
        if !isAbsolute, asked.labelCount > 1, isForwardedLast, steps.count > 1 {
            hints.append(
                "ndots:\(resolver.ndots) makes the resolver try \(steps.count - 1) other names "
                    + "first; a dot at the end, or a lower ndots, spares them")
        }
        let isRelativeOutside = asked.labelCount - 1 >= resolver.ndots && !isAbsolute
        if isRelativeOutside, !isFound, asked.labelCount <= 2 {
            hints.append(
                "ndots:\(resolver.ndots) makes the resolver try the name as it is first; names "
                    + "of Services in this pod's namespace are found after that only")
        }
    }
}

extension LookupExplanation: CustomStringConvertible {
    /// One line a step, then the hints.
    public var description: String {
        var lines: [String] = []
        for step in steps {
            let name =
                step.rewritten.map { "\(step.name) (rewritten to \($0))" } ?? "\(step.name)"
            switch step.result {
            case .found(let records, let object):
                lines.append("\(name) → \(records.joined(separator: ", ")) (\(object))")
            case .noData(let reason): lines.append("\(name) → no such record: \(reason)")
            case .missing(let reason): lines.append("\(name) → NXDOMAIN: \(reason)")
            case .forwarded(let servers):
                lines.append("\(name) → asked upstream" + (servers.isEmpty ? "" : ": \(servers)"))
            }
        }
        return (lines + hints.map { "hint: " + $0 }).joined(separator: "\n")
    }
}

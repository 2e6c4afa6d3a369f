public import DNS
public import NetworkTypes

/// What a server does, as values; a new one can be put in place while it runs.
public struct ServerConfiguration: Sendable {
    /// Where it listens, over UDP and TCP both.
    public var listenAddresses: [SocketAddress]
    /// How many threads answer, each with sockets of its own.
    public var threadCount: Int
    /// The first processor threads are bound to; nil leaves them to the kernel.
    public var firstProcessor: Int?
    /// The cluster's zone; nil for a plain forwarder.
    public var zone: Zone?
    /// Where names outside the zone go, by suffix; the longest that matches wins.
    public var routes: [ForwardRoute]
    /// Bounds on connections and waiting questions.
    public var limits: ServerLimits
    /// Whether search paths of known pods are completed here.
    public var completesSearchPaths: Bool
    /// The search domains that follow the cluster's own in pods' resolv.conf.
    public var hostSearchDomains: [DNSName]
    /// Bounds answers to strangers; nil does not.
    public var rateLimit: RateLimit?
    /// The name answered for NSID; nil leaves it out.
    public var serverID: String?
    /// Whether each query is written to the log.
    public var logsQueries: Bool
    /// DNS over TLS; nil serves none.
    public var tls: TLSService?

    /// Makes a configuration; only the addresses have no default.
    public init(
        listenAddresses: [SocketAddress], threadCount: Int = 1, firstProcessor: Int? = nil,
        zone: Zone? = nil, routes: [ForwardRoute] = [], limits: ServerLimits = ServerLimits(),
        completesSearchPaths: Bool = false, hostSearchDomains: [DNSName] = [],
        rateLimit: RateLimit? = nil, serverID: String? = nil, logsQueries: Bool = false,
        tls: TLSService? = nil
    ) {
        self.listenAddresses = listenAddresses
        self.threadCount = threadCount
        self.firstProcessor = firstProcessor
        self.zone = zone
        self.routes = routes
        self.limits = limits
        self.completesSearchPaths = completesSearchPaths
        self.hostSearchDomains = hostSearchDomains
        self.rateLimit = rateLimit
        self.serverID = serverID
        self.logsQueries = logsQueries
        self.tls = tls
    }
}

/// Bounds of one thread. What is over a bound is refused and counted.
public struct ServerLimits: Sendable {
    /// TCP connections, and TLS connections; at the bound, the one idle longest is closed.
    public var connections = 512
    /// Questions of one connection that wait for an upstream.
    public var pipelinedQueries = 128
    /// How long a connection may be idle (RFC 7766, 6.2.3).
    public var idleSeconds = 10
    /// Questions that wait for upstreams; CoreDNS' `max_concurrent`.
    public var concurrentForwards = 1000
    /// Clients that wait for one question.
    public var waitersPerQuestion = 256
    /// How long one upstream has for an answer before the next is asked.
    public var attemptSeconds = 1

    /// The defaults.
    public init() {}
}

/// One block of names and how they are answered.
public struct ForwardRoute: Equatable, Sendable {
    /// The names' suffix; the root for all.
    public var suffix: DNSName
    /// Servers to ask.
    public var upstreams: [Upstream]
    /// A resolv.conf whose name servers are asked in place of `upstreams`, read again when it
    /// changes.
    public var resolverFile: String?
    /// Names that the route does not forward (`except`).
    public var exceptions: [DNSName]
    /// How answers are kept; nil keeps none.
    public var cache: CachePolicy?
    /// Addresses by name, asked before anything else (`hosts`).
    public var hosts: HostsTable
    /// How names are rewritten before they are looked up.
    public var rewrites: [NameRewrite]
    /// How upstreams are chosen.
    public var policy: UpstreamPolicy
    /// Failures in a row after which an upstream is out, until a probe succeeds; 0 never.
    public var maximumFailures: Int

    /// Makes a route.
    public init(
        suffix: DNSName = .root, upstreams: [Upstream] = [], resolverFile: String? = nil,
        exceptions: [DNSName] = [], cache: CachePolicy? = CachePolicy(),
        hosts: HostsTable = HostsTable(), rewrites: [NameRewrite] = [],
        policy: UpstreamPolicy = .random, maximumFailures: Int = 2
    ) {
        self.suffix = suffix
        self.upstreams = upstreams
        self.resolverFile = resolverFile
        self.exceptions = exceptions
        self.cache = cache
        self.hosts = hosts
        self.rewrites = rewrites
        self.policy = policy
        self.maximumFailures = maximumFailures
    }
}

/// A server that is asked for names outside the zone.
public struct Upstream: Hashable, Sendable, CustomStringConvertible {
    /// Where it listens.
    public var address: SocketAddress
    /// Whether it is asked over TCP only (`force_tcp`).
    public var forcesTCP: Bool
    /// How it is asked over TLS; nil asks over UDP and TCP.
    public var tls: UpstreamTLS?

    /// Makes an upstream.
    public init(_ address: SocketAddress, forcesTCP: Bool = false, tls: UpstreamTLS? = nil) {
        self.address = address
        self.forcesTCP = forcesTCP
        self.tls = tls
    }

    /// The address, as CoreDNS' `to` label has it.
    public var description: String { (tls == nil ? "" : "tls://") + address.description }
}

/// How an upstream is picked; the names are those of CoreDNS' `policy`.
public enum UpstreamPolicy: String, Sendable {
    case random
    case roundRobin = "round_robin"
    case sequential
}

/// How long answers are kept. The defaults are CoreDNS'.
public struct CachePolicy: Equatable, Sendable {
    /// The longest an answer is kept, in seconds.
    public var maximumSeconds: UInt32 = 3600
    /// The shortest, in seconds.
    public var minimumSeconds: UInt32 = 5
    /// The longest a denial is kept.
    public var maximumDenialSeconds: UInt32 = 1800
    /// How long SERVFAIL is kept.
    public var failureSeconds: UInt32 = 5
    /// How long past its time an answer may be given while upstreams fail (RFC 8767).
    public var staleSeconds: UInt32 = 3600
    /// How often an answer must have been asked for to be fetched anew before it runs out; 0 never.
    public var prefetchAmount: UInt32 = 2
    /// At which share of its time left an answer is fetched anew, in percent.
    public var prefetchPercentage: UInt32 = 10

    /// The defaults.
    public init() {}
}

/// `rewrite name`: one rule.
public struct NameRewrite: Equatable, Sendable {
    /// What is compared.
    public enum Match: Equatable, Sendable {
        case exact(DNSName)
        case suffix(DNSName)
        case prefix(String)
        case substring(String)
    }

    /// What a name must have.
    public var match: Match
    /// What takes its place.
    public var replacement: String

    /// Makes a rule.
    public init(match: Match, replacement: String) {
        self.match = match
        self.replacement = replacement
    }

    /// The name to look up in place of `name`; nil where the rule does not apply.
    public func apply(_ name: DNSName) -> DNSName? {
        switch match {
        case .exact(let wanted): return name == wanted ? DNSName(replacement) : nil
        case .suffix(let suffix):
            guard let target = DNSName(replacement) else { return nil }
            return name.replacing(suffix, by: target)
        case .prefix(let prefix):
            let text = name.description.lowercased()
            return text.hasPrefix(prefix)
                ? DNSName(replacement + text.dropFirst(prefix.count)) : nil
        case .substring(let part):
            let text = name.description.lowercased()
            guard !part.isEmpty, let range = text.firstRange(of: part) else { return nil }
            return DNSName(text[..<range.lowerBound] + replacement + text[range.upperBound...])
        }
    }
}

/// Static addresses by name, as /etc/hosts has them.
public struct HostsTable: Equatable, Sendable {
    /// Addresses of each name.
    public var addresses: [DNSName: [IPAddress]] = [:]
    /// Whether names that are not here go on to the next step.
    public var fallsThrough = true
    /// The TTL of answers.
    public var timeToLiveSeconds: UInt32 = 3600

    /// An empty table.
    public init() {}

    /// Reads one line, `address name…`, without a comment; false where it is malformed.
    public mutating func add(line: [Substring]) -> Bool {
        guard let first = line.first, let address = IPAddress(first), line.count > 1 else {
            return false
        }
        for text in line.dropFirst() {
            guard let name = DNSName(text) else { return false }
            addresses[name, default: []].append(address)
        }
        return true
    }

    /// Names of an address, for PTR questions.
    public func names(of address: IPAddress) -> [DNSName] {
        addresses.filter { $0.value.contains(address) }.map(\.key)
    }
}

/// Response rate limiting: UDP answers to one network a second, so that a forged source address is
/// not flooded through this server.
public struct RateLimit: Sendable, Equatable {
    /// Answers a second to one IPv4 /24 or IPv6 /56.
    public var responsesPerSecond: Int
    /// Every how many refused answers one is sent truncated, so that a real client can come by TCP.
    public var slip: Int
    /// Networks that are never limited: pods, nodes, loopback.
    public var exempt: [Prefix]
    /// Whether private, shared, loopback and link-local addresses are never limited (RFC 1918,
    /// 6598, 4193, 4291): an attacker far away cannot be reached there.
    public var exemptsPrivateAddresses: Bool

    /// Makes a limit.
    public init(
        responsesPerSecond: Int = 1000, slip: Int = 2, exempt: [Prefix] = [],
        exemptsPrivateAddresses: Bool = true
    ) {
        self.exemptsPrivateAddresses = exemptsPrivateAddresses
        self.responsesPerSecond = responsesPerSecond
        self.slip = slip
        self.exempt = exempt
    }
}

public import DNS
public import NetworkTypes

/// What a Corefile means for this server. What it asks for and this server does another way, or
/// not at all, is named in `warnings`.
public struct ClusterSettings: Sendable {
    /// The cluster domain.
    public var domain: DNSName
    /// Further domains of the kubernetes plugin, under which the same names are answered.
    public var furtherDomains: [DNSName] = []
    /// The reverse zones of the kubernetes plugin.
    public var reverseZones: [DNSName] = [.inAddrArpa, .ip6Arpa]
    /// `ttl` of the kubernetes plugin.
    public var timeToLiveSeconds: UInt32 = 30
    /// `pods` of the kubernetes plugin.
    public var podRecords: PodRecordMode = .insecure
    /// The zones of the kubernetes plugin's `fallthrough`; the root where it stands alone.
    public var fallthroughZones: [DNSName] = [.inAddrArpa, .ip6Arpa]
    /// The kubernetes plugin's options on what has records.
    public var records = RecordRules()
    /// Whether a kubernetes plugin has been read.
    var hasKubernetes = false
    /// One a server block that forwards or has hosts.
    public var routes: [ForwardRoute]
    /// `max_concurrent` of forward.
    public var concurrentForwards = 1000
    /// Whether there is a `log`.
    public var logsQueries = false
    /// The certificate of DNS over TLS, without addresses; nil serves none.
    public var tls: TLSService?
    /// The port of DNS over TLS.
    public var tlsPort = TLSService.port
    /// Addresses of `bind`, which are listened at beside the node's own.
    public var bindAddresses: [IPAddress] = []
    /// What is not done as the file says, with its line.
    public var warnings: [String] = []

    /// What kubeadm's Corefile means.
    public init(domain: DNSName) {
        self.domain = domain
        var cache = CachePolicy()
        cache.maximumSeconds = 30
        cache.maximumDenialSeconds = 30
        routes = [ForwardRoute(resolverFile: "/etc/resolv.conf", cache: cache)]
    }

    /// Reads a Corefile.
    /// - Throws: `CorefileError` with the line of what cannot be understood.
    public init(corefile: String, defaultDomain: DNSName) throws(CorefileError) {
        self.init(domain: defaultDomain)
        routes = []
        let file = try Corefile(parsing: corefile)
        guard !file.servers.isEmpty else {
            throw CorefileError(line: 1, message: "there is no server block")
        }
        for server in file.servers { try readServer(server) }
    }

    /// Whether a zone made for `other` would answer the same.
    func hasSameZone(as other: ClusterSettings) -> Bool {
        domain == other.domain && furtherDomains == other.furtherDomains
            && reverseZones == other.reverseZones && records == other.records
            && timeToLiveSeconds == other.timeToLiveSeconds && podRecords == other.podRecords
            && fallthroughZones == other.fallthroughZones
    }

    mutating func warn(_ directive: Corefile.Directive, _ text: String) {
        warnings.append("line \(directive.line): \(text)")
    }

    // MARK: - Server blocks

    private mutating func readServer(_ server: Corefile.Directive) throws(CorefileError) {
        // What the whole block has, and where each `forward` of it leads.
        var route = ForwardRoute(cache: nil)
        var forwards: [ForwardRoute] = []
        let isTLS = server.words.contains { readTLSKey($0) }
        if isTLS, !server.block.contains(where: { $0.name == "tls" }) {
            throw CorefileError(
                line: server.line, message: "a tls:// server block needs tls CERT KEY")
        }
        for plugin in server.block {
            switch plugin.name {
            case "kubernetes": try readKubernetes(plugin, in: server)
            case "forward":
                var forward = ForwardRoute()
                try readForward(plugin, &forward)
                forwards.append(forward)
            case "cache": route.cache = try readCache(plugin)
            case "hosts": try readHosts(plugin, &route)
            case "rewrite": try readRewrite(plugin, &route)
            case "loadbalance":
                if let policy = plugin.arguments.first, policy != "round_robin" {
                    warn(plugin, "loadbalance \(policy) is served as round_robin")
                }
            case "log": logsQueries = true
            case "errors", "health", "ready", "prometheus", "loop", "reload", "lameduck",
                "any", "minimal", "bufsize":
                break
            case "autopath": break
            case "bind": readBind(plugin)
            case "tls":
                guard isTLS else {
                    warn(plugin, "tls is ignored: the block's zones do not begin with tls://")
                    continue
                }
                try readTLS(plugin)
            case "template":
                warn(plugin, "template is not supported and left out")
            default:
                throw CorefileError(
                    line: plugin.line,
                    message: "plugin \(plugin.name) is not supported; take it out, or keep CoreDNS")
            }
        }
        for zone in try zones(server) {
            route.suffix = zone
            for fresh in Self.routes(of: route, forwards) {
                // What is asked over TLS has the answers of the plain block of that zone.
                if isTLS, routes.contains(where: { $0.suffix == fresh.suffix }) { continue }
                routes.append(fresh)
            }
        }
    }

    /// The routes of a block: one for each `forward`, whose own zone may be within the block's, and
    /// one for the block where it has hosts or rewrites and forwards less than all of its names.
    private static func routes(
        of block: ForwardRoute, _ forwards: [ForwardRoute]
    ) -> [ForwardRoute] {
        var result: [ForwardRoute] = []
        for forward in forwards {
            guard
                let suffix = [forward.suffix, block.suffix].first(where: {
                    $0.isWithin(forward.suffix) && $0.isWithin(block.suffix)
                })
            else { continue }
            var route = forward
            route.suffix = suffix
            (route.cache, route.hosts, route.rewrites) = (block.cache, block.hosts, block.rewrites)
            // As with CoreDNS, the first one takes the names that several could.
            if !result.contains(where: { $0.suffix == suffix }) { result.append(route) }
        }
        let isWhole = result.contains { $0.suffix == block.suffix }
        if !isWhole, !block.hosts.addresses.isEmpty || !block.rewrites.isEmpty {
            result.append(block)
        }
        return result
    }

    /// The zones of a block, `dns://` and ports taken off.
    mutating func zones(_ server: Corefile.Directive) throws(CorefileError) -> [DNSName] {
        var result: [DNSName] = []
        for word in server.words {
            for part in word.split(separator: ",") {
                var text = String(part)
                let isTLS = text.hasPrefix("tls://")
                if isTLS { text.removeFirst(6) }
                for scheme in ["https://", "grpc://", "quic://"] where text.hasPrefix(scheme) {
                    warn(server, "\(scheme) is served as plain DNS")
                    text.removeFirst(scheme.count)
                }
                if text.hasPrefix("dns://") { text.removeFirst(6) }
                if Prefix(text) == nil, let colon = text.lastIndex(of: ":") {
                    let port = text[text.index(after: colon)...]
                    if port != "53", !isTLS { warn(server, "port \(port) is served on port 53") }
                    text = String(text[..<colon])
                }
                result += try Self.zones(text.isEmpty ? "." : text, line: server.line)
            }
        }
        return result
    }

    // MARK: - Plugins

    private mutating func readBind(_ plugin: Corefile.Directive) {
        for word in plugin.arguments {
            if let address = IPAddress(word) {
                if !bindAddresses.contains(address) { bindAddresses.append(address) }
            } else {
                warn(plugin, "bind \(word) is ignored: only addresses are listened at")
            }
        }
        for option in plugin.block { warn(option, "\(option.name) of bind is ignored") }
    }

    private mutating func readForward(
        _ plugin: Corefile.Directive, _ route: inout ForwardRoute
    ) throws(CorefileError) {
        let words = Array(plugin.arguments)
        guard words.count >= 2 else {
            throw CorefileError(
                line: plugin.line, message: "forward needs a zone and at least one server")
        }
        guard let zone = try Self.zones(words[0], line: plugin.line).first else { return }
        route.suffix = zone
        for text in words.dropFirst() {
            if text.hasPrefix("/") {
                route.resolverFile = text
                continue
            }
            var host = text
            if host.hasPrefix("dns://") { host.removeFirst(6) }
            if host.hasPrefix("tls://") {
                route.upstreams.append(try readTLSUpstream(host, plugin))
                continue
            }
            guard let address = SocketAddress(host) else {
                throw CorefileError(
                    line: plugin.line, message: "\"\(text)\" is no address; names are not allowed")
            }
            route.upstreams.append(Upstream(address))
        }
        guard route.upstreams.count <= Route.maximumUpstreams else {
            throw CorefileError(line: plugin.line, message: "forward takes at most 15 servers")
        }
        for option in plugin.block { try readForwardOption(option, &route) }
    }

    private mutating func readForwardOption(
        _ option: Corefile.Directive, _ route: inout ForwardRoute
    ) throws(CorefileError) {
        switch option.name {
        case "except": route.exceptions += option.arguments.compactMap { DNSName($0) }
        case "force_tcp":
            for index in route.upstreams.indices { route.upstreams[index].forcesTCP = true }
        case "max_concurrent": concurrentForwards = try number(option, 1...100_000)
        case "max_fails": route.maximumFailures = try number(option, 0...1_000_000)
        case "policy":
            guard let policy = option.arguments.first.flatMap(UpstreamPolicy.init(rawValue:)) else {
                throw CorefileError(
                    line: option.line, message: "policy is random, round_robin or sequential")
            }
            route.policy = policy
        case "prefer_udp", "health_check", "expire", "failover", "next",
            "failfast_all_unhealthy_upstreams":
            if option.name != "prefer_udp" {
                warn(option, "\(option.name) of forward is ignored")
            }
        case "tls", "tls_servername": try readForwardTLS(option, &route)
        default:
            throw CorefileError(
                line: option.line, message: "forward has no option \(option.name)")
        }
    }

    private mutating func readCache(
        _ plugin: Corefile.Directive
    ) throws(CorefileError) -> CachePolicy {
        var policy = CachePolicy()
        policy.staleSeconds = 3600
        policy.prefetchAmount = 0
        if let first = plugin.arguments.first, let value = UInt32(first) {
            policy.maximumSeconds = value
            policy.maximumDenialSeconds = value
        }
        for option in plugin.block {
            let numbers = option.arguments.compactMap { UInt32(Self.trimmingUnit($0)) }
            switch option.name {
            case "success":
                if numbers.count > 1 { policy.maximumSeconds = numbers[1] }
                if numbers.count > 2 { policy.minimumSeconds = numbers[2] }
            case "denial":
                if numbers.count > 1 { policy.maximumDenialSeconds = numbers[1] }
            case "prefetch":
                policy.prefetchAmount = numbers.first ?? 2
                if let last = option.arguments.last, last.hasSuffix("%"),
                    let percent = UInt32(last.dropLast())
                {
                    policy.prefetchPercentage = percent
                }
            case "serve_stale": policy.staleSeconds = try duration(option, defaultSeconds: 3600)
            case "servfail": policy.failureSeconds = try duration(option, defaultSeconds: 5)
            case "disable", "keepttl":
                warn(option, "\(option.name) of cache is ignored")
            default:
                throw CorefileError(
                    line: option.line, message: "cache has no option \(option.name)")
            }
        }
        return policy
    }

    private mutating func readHosts(
        _ plugin: Corefile.Directive, _ route: inout ForwardRoute
    ) throws(CorefileError) {
        route.hosts.fallsThrough = false
        if let file = plugin.arguments.first, file.hasPrefix("/") {
            warn(plugin, "hosts reads its entries from this file only, not from \(file)")
        }
        for entry in plugin.block {
            switch entry.name {
            case "fallthrough": route.hosts.fallsThrough = true
            case "ttl": route.hosts.timeToLiveSeconds = try seconds(entry, limit: 65535)
            case "no_reverse", "reload": break
            default:
                guard route.hosts.add(line: entry.words.map { $0[...] }) else {
                    throw CorefileError(
                        line: entry.line, message: "a hosts entry is an address and names")
                }
            }
        }
    }

    private mutating func readRewrite(
        _ plugin: Corefile.Directive, _ route: inout ForwardRoute
    ) throws(CorefileError) {
        var words = Array(plugin.arguments)
        if let mode = words.first, mode == "stop" || mode == "continue" { words.removeFirst() }
        guard words.first == "name" else {
            warn(plugin, "only rewrite name is supported; this rule is left out")
            return
        }
        words.removeFirst()
        if words.count == 2 { words.insert("exact", at: 0) }
        guard words.count >= 3 else {
            throw CorefileError(
                line: plugin.line, message: "rewrite name needs a name and its replacement")
        }
        let match: NameRewrite.Match
        switch words[0] {
        case "exact": match = .exact(try name(words[1], plugin))
        case "suffix": match = .suffix(try name(words[1], plugin))
        case "prefix": match = .prefix(words[1].lowercased())
        case "substring": match = .substring(words[1].lowercased())
        default:
            warn(plugin, "rewrite name \(words[0]) is not supported; this rule is left out")
            return
        }
        route.rewrites.append(NameRewrite(match: match, replacement: words[2]))
    }

    // MARK: - Words

    private func name(
        _ text: String, _ directive: Corefile.Directive
    ) throws(CorefileError) -> DNSName {
        guard let name = DNSName(text) else {
            throw CorefileError(line: directive.line, message: "\"\(text)\" is not a name")
        }
        return name
    }

    private func number(
        _ option: Corefile.Directive, _ range: ClosedRange<Int>
    ) throws(CorefileError) -> Int {
        guard let value = option.arguments.first.flatMap({ Int($0) }), range.contains(value) else {
            throw CorefileError(
                line: option.line,
                message:
                    "\(option.name) is a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    func seconds(
        _ option: Corefile.Directive, limit: Int
    ) throws(CorefileError) -> UInt32 { UInt32(try number(option, 0...limit)) }

    /// A Go duration of one unit (`5s`, `1m`, `2h`), or seconds.
    private func duration(
        _ option: Corefile.Directive, defaultSeconds: UInt32
    ) throws(CorefileError) -> UInt32 {
        guard let text = option.arguments.first(where: { $0.first?.isNumber == true }) else {
            return defaultSeconds
        }
        guard let value = UInt32(Self.trimmingUnit(text)) else {
            throw CorefileError(
                line: option.line, message: "\"\(text)\" is no duration such as 30s, 5m or 1h")
        }
        switch text.last {
        case "m": return value.multipliedReportingOverflow(by: 60).partialValue
        case "h": return value.multipliedReportingOverflow(by: 3600).partialValue
        default: return value
        }
    }

    private static func trimmingUnit(_ text: String) -> Substring {
        text.last?.isLetter == true ? text.dropLast() : text[...]
    }
}

import DNS
import KubernetesAPI
import NetworkTypes

/// What a Corefile says in `kubernetes`.
extension ClusterSettings {
    /// Reads the plugin and its options. One zone is served, so a second plugin adds its zones to
    /// those of the first, and its options hold for all.
    mutating func readKubernetes(
        _ plugin: Corefile.Directive, in server: Corefile.Directive
    ) throws(CorefileError) {
        let isFirst = !hasKubernetes
        if !isFirst {
            warn(plugin, "options of this kubernetes hold for those above as well")
        }
        hasKubernetes = true
        try readZones(plugin, server, isFirst: isFirst)
        podRecords = .disabled
        timeToLiveSeconds = 5
        records = RecordRules()
        if isFirst { fallthroughZones = [] }
        for option in plugin.block { try readKubernetesOption(option) }
        guard records.namespaces == nil || records.namespaceLabels == nil else {
            throw CorefileError(
                line: plugin.line,
                message: "kubernetes takes namespaces or namespace_labels, not both")
        }
    }

    /// The zones behind the plugin's name, or where there are none, those of its server block.
    private mutating func readZones(
        _ plugin: Corefile.Directive, _ server: Corefile.Directive, isFirst: Bool
    ) throws(CorefileError) {
        let own = Array(plugin.arguments)
        var names = own.isEmpty ? try zones(server) : []
        for text in own { names += try Self.zones(text, line: plugin.line) }
        if names.contains(.root) {
            warn(plugin, "kubernetes is not served for the root: \(domain) and its addresses are")
            names = names.filter { $0 != .root } + [.inAddrArpa, .ip6Arpa]
        }
        let reverse = names.filter { $0.isWithin(.inAddrArpa) || $0.isWithin(.ip6Arpa) }
        let forward = names.filter { !reverse.contains($0) }
        if isFirst {
            domain = forward.first ?? domain
            furtherDomains = Array(forward.dropFirst())
            reverseZones = reverse
        } else {
            let known = [domain] + furtherDomains
            furtherDomains += forward.filter { !known.contains($0) }
            reverseZones += reverse.filter { !reverseZones.contains($0) }
        }
    }

    private mutating func readKubernetesOption(
        _ option: Corefile.Directive
    ) throws(CorefileError) {
        switch option.name {
        case "pods":
            guard let mode = option.arguments.first.flatMap(PodRecordMode.init(rawValue:)) else {
                throw CorefileError(
                    line: option.line, message: "pods is disabled, insecure or verified")
            }
            podRecords = mode
        case "ttl": timeToLiveSeconds = try seconds(option, limit: 3600)
        case "fallthrough":
            var names: [DNSName] = option.arguments.isEmpty ? [.root] : []
            for text in option.arguments { names += try Self.zones(text, line: option.line) }
            fallthroughZones += names
        case "noendpoints": records.hasEndpoints = false
        case "endpoint_pod_names": records.namesEndpointsAfterPods = true
        case "ignore":
            guard option.arguments.first == "empty_service" else {
                throw CorefileError(line: option.line, message: "ignore takes empty_service")
            }
            records.ignoresEmptyServices = true
        case "namespaces":
            guard !option.arguments.isEmpty else {
                throw CorefileError(line: option.line, message: "namespaces needs names")
            }
            records.namespaces = (records.namespaces ?? []).union(option.arguments)
        case "labels": records.labels = try selector(option)
        case "namespace_labels": records.namespaceLabels = try selector(option)
        default: try warnOfKubernetesOption(option)
        }
    }

    /// Options that cannot mean anything here, each with the reason.
    private mutating func warnOfKubernetesOption(
        _ option: Corefile.Directive
    ) throws(CorefileError) {
        let reason: String
        switch option.name {
        case "endpoint", "tls", "kubeconfig", "apiserver_qps", "apiserver_burst",
            "apiserver_max_inflight":
            reason = "the API server is reached as the agent's command line says"
        case "upstream": reason = "targets of ExternalName are asked as any other name"
        case "resyncperiod", "startup_timeout":
            reason = "lists and watches follow the agent's own times"
        case "multicluster": reason = "ServiceImports are not answered"
        case "transfer": reason = "the zone is not handed out"
        default:
            throw CorefileError(
                line: option.line, message: "kubernetes has no option \(option.name)")
        }
        warn(option, "\(option.name) of kubernetes is ignored: \(reason)")
    }

    private func selector(_ option: Corefile.Directive) throws(CorefileError) -> LabelSelector {
        guard !option.arguments.isEmpty else {
            throw CorefileError(
                line: option.line, message: "\(option.name) needs a label selector")
        }
        do {
            return try LabelSelector(parsing: option.arguments.joined(separator: " "))
        } catch {
            throw CorefileError(line: option.line, message: "\(option.name): \(error)")
        }
    }

    /// The zones that one word means: a name, or the reverse zones that an address range fills up.
    static func zones(_ text: String, line: Int) throws(CorefileError) -> [DNSName] {
        if text.contains("/"), let range = Prefix(text) { return reverseZones(of: range) }
        guard let name = DNSName(text) else {
            throw CorefileError(line: line, message: "\"\(text)\" is not a zone")
        }
        return [name]
    }

    /// The reverse zones of a range: one where its length is at a label's border (eight bits in
    /// IPv4, four in IPv6), otherwise those of the longer prefixes that fill it, 128 at most.
    static func reverseZones(of range: Prefix) -> [DNSName] {
        let (bitsPerLabel, labelCount) = range.family == .ipv4 ? (8, 4) : (4, 32)
        let kept = (range.length + bitsPerLabel - 1) / bitsPerLabel
        let length = kept * bitsPerLabel
        return (0..<(1 << (length - range.length))).compactMap { index in
            var bytes = range.address.networkBytes
            // The bits between the two lengths are in one octet.
            if length > range.length {
                bytes[(length - 1) / 8] |= UInt8(index << (7 - (length - 1) % 8))
            }
            guard let address = IPAddress(networkBytes: bytes) else { return nil }
            var name = DNSName(reverse: address)
            for _ in kept..<labelCount { name = name.parent }
            return name
        }
    }
}

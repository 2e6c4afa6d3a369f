public import JSON
import NetworkTypes

extension KubeProxyConfiguration {
    /// Reads a KubeProxyConfiguration that was parsed.
    /// - Throws: `KubeProxyConfigurationError` for another kind, and for a value of a field that
    ///   takes effect which it cannot have.
    public init(json: JSONValue) throws(KubeProxyConfigurationError) {
        self.init()
        guard let members = json.object else {
            throw KubeProxyConfigurationError(field: "", message: "must be an object")
        }
        let kind = json["kind"]?.string ?? ""
        guard kind == "KubeProxyConfiguration" else {
            throw KubeProxyConfigurationError(
                field: "kind", message: "is \"\(kind)\" and must be KubeProxyConfiguration")
        }
        let version = json["apiVersion"]?.string ?? ""
        guard version == "kubeproxy.config.k8s.io/v1alpha1" else {
            throw KubeProxyConfigurationError(
                field: "apiVersion",
                message: "is \"\(version)\" and must be kubeproxy.config.k8s.io/v1alpha1")
        }
        for (name, value) in members { try read(name, value) }
    }

    private mutating func read(
        _ name: String, _ value: JSONValue
    ) throws(KubeProxyConfigurationError) {
        switch name {
        case "kind", "apiVersion": break
        case "mode": try readMode(value)
        case "detectLocalMode":
            // That is what it is here, so whoever writes it gets it.
            if value.string != "ClusterCIDR" {
                warn(name, value, "has no effect: pods are told by clusterCIDR")
            }
        case "clusterCIDR": clusterCIDRs = try Self.prefixes(value, "clusterCIDR")
        case "nodePortAddresses": try readNodePortAddresses(value)
        case "healthzBindAddress": healthBindAddress = Self.text(value)
        case "metricsBindAddress": metricsBindAddress = Self.text(value)
        case "ipvs": try readIPVS(value)
        case "nftables": try readNFTables(value)
        case "conntrack": try readConntrack(value)
        case "bindAddress", "bindAddressHardFail", "clientConnection", "detectLocal",
            "configSyncPeriod", "enableProfiling", "featureGates",
            "hostnameOverride", "iptables", "logging", "oomScoreAdj", "portRange",
            "showHiddenMetricsForVersion", "winkernel", "windowsRunAsService", "udpIdleTimeout":
            warn(name, value, Self.reasons[name] ?? "has no equal in this proxy")
        default: warnings.append("\(name) is not a field of KubeProxyConfiguration")
        }
    }

    private static let reasons = [
        "bindAddress": "has no effect: nothing listens there",
        "clientConnection": "has no effect: the agent's own kubeconfig holds",
        "detectLocal": "has no effect: pods are told by clusterCIDR",
        "iptables": "has no effect: rules are nftables'",
        "hostnameOverride": "has no effect: the agent is told its node's name",
        "configSyncPeriod": "has no effect: changes are watched",
        "winkernel": "has no effect on Linux",
    ]

    /// Warns of a field that says something other than its zero value.
    private mutating func warn(_ path: String, _ value: JSONValue, _ reason: String) {
        if case .object(let members) = value {
            for (name, member) in members { warn("\(path).\(name)", member, reason) }
            return
        }
        let zeros: Set<JSONValue> = [
            .null, .bool(false), .integer(0), "", "0", "0s", .array([]), "0.0.0.0",
        ]
        guard !zeros.contains(value) else { return }
        warnings.append("\(path) \(reason)")
    }

    private mutating func readMode(_ value: JSONValue) throws(KubeProxyConfigurationError) {
        mode = value.string ?? ""
        switch mode {
        case "", "nftables": break
        case "ipvs":
            warnings.append(
                "mode ipvs: nftables stands in for it; Services work the same, ipvsadm lists none")
        case "iptables":
            warnings.append("mode iptables: nftables stands in for it; Services work the same")
        default:
            throw KubeProxyConfigurationError(
                field: "mode",
                message: "is \"\(mode)\"; supported values: \"\", \"iptables\", \"ipvs\", "
                    + "\"nftables\"")
        }
    }

    private mutating func readNodePortAddresses(
        _ value: JSONValue
    ) throws(KubeProxyConfigurationError) {
        let texts = (value.array ?? []).compactMap(\.string)
        guard !texts.isEmpty else { return }
        if texts == ["primary"] {
            nodePortAddresses = .primary
            return
        }
        var prefixes: [Prefix] = []
        for text in texts {
            guard let prefix = Prefix(text) else {
                throw KubeProxyConfigurationError(
                    field: "nodePortAddresses",
                    message: "has \"\(text)\"; each must be a CIDR, or \"primary\" alone")
            }
            prefixes.append(prefix)
        }
        nodePortAddresses = .within(prefixes)
    }

    private mutating func readIPVS(_ value: JSONValue) throws(KubeProxyConfigurationError) {
        for (name, member) in value.object ?? [:] {
            switch name {
            case "strictARP": isARPStrict = try Self.bool(member, "ipvs.strictARP")
            case "syncPeriod", "minSyncPeriod", "scheduler", "excludeCIDRs", "tcpTimeout",
                "tcpFinTimeout", "udpTimeout":
                warn("ipvs.\(name)", member, "has no effect until there is an IPVS backend")
            default: warnings.append("ipvs.\(name) is not a field of KubeProxyConfiguration")
            }
        }
    }

    private mutating func readNFTables(_ value: JSONValue) throws(KubeProxyConfigurationError) {
        for (name, member) in value.object ?? [:] {
            switch name {
            case "masqueradeAll": masqueradesAll = try Self.bool(member, "nftables.masqueradeAll")
            case "masqueradeBit":
                if member.isNull { break }
                guard let bit = member.int, (0...31).contains(bit) else {
                    throw KubeProxyConfigurationError(
                        field: "nftables.masqueradeBit", message: "must be a number from 0 to 31")
                }
                masqueradeBit = bit
            case "syncPeriod":
                let seconds = try Self.seconds(member, "nftables.syncPeriod")
                syncPeriodSeconds = seconds > 0 ? seconds : nil
            case "minSyncPeriod":
                warn("nftables.\(name)", member, "has no effect: changes are made at once")
            default: warnings.append("nftables.\(name) is not a field of KubeProxyConfiguration")
            }
        }
    }

    private mutating func readConntrack(_ value: JSONValue) throws(KubeProxyConfigurationError) {
        let timeouts = [
            "tcpEstablishedTimeout": "nf_conntrack_tcp_timeout_established",
            "tcpCloseWaitTimeout": "nf_conntrack_tcp_timeout_close_wait",
            "udpTimeout": "nf_conntrack_udp_timeout",
            "udpStreamTimeout": "nf_conntrack_udp_timeout_stream",
        ]
        for (name, member) in value.object ?? [:] {
            if let parameter = timeouts[name] {
                let seconds = try Self.seconds(member, "conntrack.\(name)")
                if seconds > 0 { conntrackSysctls["net/netfilter/" + parameter] = seconds }
            } else if name == "tcpBeLiberal" {
                isTCPLiberal =
                    member.isNull ? nil : try Self.bool(member, "conntrack.tcpBeLiberal")
            } else if name == "maxPerCore" || name == "min" {
                guard !member.isNull else { continue }
                guard let count = member.int, (0...1 << 30).contains(count) else {
                    throw KubeProxyConfigurationError(
                        field: "conntrack.\(name)", message: "must be a number, 0 or more")
                }
                if name == "min" {
                    conntrackMinimum = count
                } else {
                    conntrackMaximumPerCore = count
                }
            } else {
                warnings.append("conntrack.\(name) is not a field of KubeProxyConfiguration")
            }
        }
    }

    // MARK: - Values

    private static func text(_ value: JSONValue) -> String? {
        value.string.flatMap { $0.isEmpty ? nil : $0 }
    }

    private static func bool(
        _ value: JSONValue, _ field: String
    ) throws(KubeProxyConfigurationError) -> Bool {
        if value.isNull { return false }
        guard let bool = value.bool else {
            throw KubeProxyConfigurationError(field: field, message: "must be true or false")
        }
        return bool
    }

    private static func prefixes(
        _ value: JSONValue, _ field: String
    ) throws(KubeProxyConfigurationError) -> [Prefix] {
        var prefixes: [Prefix] = []
        for text in (value.string ?? "").split(separator: ",") {
            guard let prefix = Prefix(text.filter { $0 != " " }) else {
                throw KubeProxyConfigurationError(
                    field: field, message: "has \"\(text)\", which is not a CIDR")
            }
            prefixes.append(prefix)
        }
        return prefixes
    }

    /// Reads a duration of Go's, such as `24h0m0s` or `500ms`, rounded up to seconds.
    private static func seconds(
        _ value: JSONValue, _ field: String
    ) throws(KubeProxyConfigurationError) -> Int {
        if value.isNull || value == .integer(0) { return 0 }
        var total = 0.0
        var rest = (value.string ?? "?")[...]
        let units = [
            ("ms", 0.001), ("µs", 0.000001), ("ns", 1e-9), ("h", 3600), ("m", 60), ("s", 1),
        ]
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isNumber || $0 == "." }
            let tail = rest.dropFirst(digits.count)
            guard let number = Double(digits),
                let unit = units.first(where: { tail.hasPrefix($0.0) })
            else {
                if rest == "0" { return 0 }
                throw KubeProxyConfigurationError(
                    field: field, message: "must be a duration such as 30s or 24h0m0s")
            }
            total += number * unit.1
            rest = tail.dropFirst(unit.0.count)
        }
        guard total >= 0, total < 1e9 else { return 0 }
        return Int(total.rounded(.up))
    }
}

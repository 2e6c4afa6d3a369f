import JSON
public import KubernetesAPI
public import NetworkTypes

/// The files that the node writes for a pod. Pure.
public enum PodFiles {
    /// The text of a pod's `/etc/resolv.conf`, for those that explain what its resolver does.
    /// - Parameters:
    ///   - domain: the cluster domain, such as `cluster.local`.
    ///   - nodeResolvConf: the text of the node's own file, which `dnsPolicy: Default` takes over.
    public static func resolvConf(
        of pod: Pod, clusterDNS address: IPAddress, domain: String, nodeResolvConf: String
    ) -> String {
        resolvConf(
            PodSpecification(pod),
            ClusterDNS(address: address, domain: domain, machineResolvConf: nodeResolvConf))
    }

    /// What the cluster's DNS is.
    struct ClusterDNS: Sendable {
        var address: IPAddress
        /// `cluster.local`
        var domain: String
        /// The machine's own resolv.conf.
        var machineResolvConf: String
    }

    /// `/etc/resolv.conf` by the pod's `dnsPolicy` and `dnsConfig`, as kubelet writes it.
    static func resolvConf(_ pod: PodSpecification, _ dns: ClusterDNS) -> String {
        var servers: [String] = []
        var searches: [String] = []
        var options: [String] = []
        let machine = dns.machineResolvConf.split(separator: "\n").map {
            $0.split(whereSeparator: \.isWhitespace).map(String.init)
        }
        func machineValues(_ keyword: String) -> [String] {
            machine.filter { $0.first == keyword }.flatMap { $0.dropFirst() }
        }
        let isClusterFirst =
            pod.dnsPolicy == "ClusterFirstWithHostNet"
            || (pod.dnsPolicy == "ClusterFirst" && !pod.usesHostNetwork)
        if isClusterFirst {
            servers = [dns.address.description]
            searches = [
                "\(pod.key.namespace).svc.\(dns.domain)", "svc.\(dns.domain)", dns.domain,
            ]
            options = ["ndots:5"]
        } else if pod.dnsPolicy != "None" {
            servers = machineValues("nameserver")
            searches = machineValues("search")
            options = machineValues("options")
        }
        let more = pod.json["spec", "dnsConfig"]
        func append(_ values: [String], to list: inout [String]) {
            for value in values where !list.contains(value) { list.append(value) }
        }
        append((more?["nameservers"]?.array ?? []).compactMap(\.string), to: &servers)
        append((more?["searches"]?.array ?? []).compactMap(\.string), to: &searches)
        for option in more?["options"]?.array ?? [] {
            guard let name = option["name"]?.string else { continue }
            options.removeAll { $0 == name || $0.hasPrefix(name + ":") }
            options.append(option["value"]?.string.map { "\(name):\($0)" } ?? name)
        }
        var text = ""
        if !searches.isEmpty { text += "search \(searches.joined(separator: " "))\n" }
        for server in servers { text += "nameserver \(server)\n" }
        if !options.isEmpty { text += "options \(options.joined(separator: " "))\n" }
        return text
    }

    /// `/etc/hosts` with the pod's own names and its `hostAliases`.
    static func hosts(_ pod: PodSpecification, address: IPAddress, domain: String) -> String {
        var text = """
            # Kubernetes-managed hosts file.
            127.0.0.1\tlocalhost
            ::1\tlocalhost ip6-localhost ip6-loopback

            """
        if pod.subdomain.isEmpty {
            text += "\(address)\t\(pod.hostname)\n"
        } else {
            let full = "\(pod.hostname).\(pod.subdomain).\(pod.key.namespace).svc.\(domain)"
            text += "\(address)\t\(full)\t\(pod.hostname)\n"
        }
        for alias in pod.json["spec", "hostAliases"]?.array ?? [] {
            guard let ip = alias["ip"]?.string else { continue }
            let names = (alias["hostnames"]?.array ?? []).compactMap(\.string)
            text += "\(ip)\t\(names.joined(separator: "\t"))\n"
        }
        return text
    }

    /// Who runs in a container: the security context's numbers, else the image's user, looked up in
    /// the image's passwd and group files.
    /// - Throws: `ContainerConfigError` for a name that the image does not know, and for root where
    ///   `runAsNonRoot` forbids it.
    static func user(
        _ container: ContainerSpecification, _ pod: PodSpecification, imageUser: String,
        passwd: String, group: String
    ) throws -> ContainerUser {
        func setting(_ field: String) -> JSONValue? {
            container.json["securityContext", field] ?? pod.securityContext[field]
        }
        let users = passwd.split(separator: "\n").map {
            $0.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        }
        let groups = group.split(separator: "\n").map {
            $0.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        }
        let parts = imageUser.split(separator: ":", maxSplits: 1).map(String.init)
        var user = ContainerUser(uid: 0, gid: 0, additionalGids: [])
        if let uid = setting("runAsUser")?.integer {
            user.uid = uid
        } else if let name = parts.first {
            guard let uid = Int64(name) ?? id(of: name, users) else {
                throw ContainerConfigError("the image has no user \"\(name)\"")
            }
            user.uid = uid
        }
        let entry = users.first { $0.count > 3 && $0[2] == String(user.uid) }
        if let gid = setting("runAsGroup")?.integer {
            user.gid = gid
        } else if parts.count > 1 {
            guard let gid = Int64(parts[1]) ?? id(of: parts[1], groups) else {
                throw ContainerConfigError("the image has no group \"\(parts[1])\"")
            }
            user.gid = gid
        } else {
            user.gid = entry.flatMap { Int64($0[3]) } ?? 0
        }
        if setting("runAsNonRoot")?.bool == true, user.uid == 0 {
            throw ContainerConfigError(
                "container has runAsNonRoot and image will run as root: set runAsUser")
        }
        if let name = entry?.first {
            user.additionalGids = groups.filter {
                $0.count > 3 && $0[3].split(separator: ",").contains(Substring(name))
            }.compactMap { Int64($0[2]) }
        }
        let supplemental = (pod.securityContext["supplementalGroups"]?.array ?? [])
            .compactMap(\.integer)
        for gid in supplemental + [pod.securityContext["fsGroup"]?.integer].compactMap(\.self)
        where !user.additionalGids.contains(gid) {
            user.additionalGids.append(gid)
        }
        return user
    }

    private static func id(of name: String, _ entries: [[String]]) -> Int64? {
        entries.first { $0.count > 2 && $0[0] == name }.flatMap { Int64($0[2]) }
    }
}

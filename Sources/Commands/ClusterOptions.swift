import ArgumentParser
import NetworkTypes

/// What names a standalone cluster on this machine; `up`, `down` and `status` share it.
struct IdentityOptions: ParsableArguments {
    @Option(help: "Keys every namespace, link, route and table, so that several can run.")
    var name = "portolan"

    @Option(help: "Where objects, certificates and logs are kept.")
    var dataDir = "/var/lib/portolan"

    func validate() throws {
        let allowed = "abcdefghijklmnopqrstuvwxyz0123456789-"
        guard (1...32).contains(name.utf8.count), name.allSatisfy(allowed.contains),
            let first = name.first, first.isLetter, name.last != "-"
        else {
            throw ValidationError(
                "--name \"\(name)\" must be 1 to 32 lower-case letters, digits or '-', "
                    + "begin with a letter and not end with '-'")
        }
        guard dataDir.hasPrefix("/") else {
            throw ValidationError("--data-dir \"\(dataDir)\" must be an absolute path")
        }
    }
}

/// The shape of a standalone cluster.
struct ClusterOptions: ParsableArguments {
    @Option(help: "How many virtual nodes, 1 to 50.")
    var nodes = 2

    @Option(help: "Where the admin kubeconfig is written; DATA-DIR/admin.kubeconfig by default.")
    var kubeconfig: String?

    @Option(help: "The port of the API server.")
    var apiPort: UInt16 = 6443

    @Option(help: "The network that joins the nodes and this machine, which is its first address.")
    var lanCidr = "172.30.0.0/24"

    @Option(
        help: "The range of ClusterIPs; with a comma and a second, IPv6 range for two families.")
    var serviceClusterIpRange = "10.96.0.0/16"

    @Option(help: "The range of nodePorts, FIRST-LAST.")
    var serviceNodePortRange = "30000-32767"

    @Option(help: "The range of pod addresses; each node gets a /24 of it.")
    var podCidr = "10.244.0.0/16"

    @Option(help: "The DNS domain of the cluster.")
    var clusterDomain = "cluster.local"

    @Option(help: "Who gives LoadBalancer Services their addresses: builtin or none.")
    var loadBalancer: LoadBalancerImplementation = .builtin

    @Flag(help: "Answer nodePorts and load-balancer ports on this machine's 127.0.0.1, too.")
    var localhost = false

    @Flag(
        inversion: .prefixedNo,
        help: "Take pods' connections to cluster IPs from link to link, past all rules.")
    var fastPath = true

    /// Reads every range and checks that they fit each other.
    /// - Throws: `ValidationError` naming the flag and the remedy.
    func topology(name: String) throws -> Topology {
        guard (1...50).contains(nodes) else {
            throw ValidationError("--nodes \(nodes) must be from 1 to 50")
        }
        let lan = try prefix("--lan-cidr", lanCidr, lengths: 16...25)
        let (services, secondary) = try serviceRanges()
        let pods = try prefix("--pod-cidr", podCidr, lengths: 8...22)
        let named = [
            ("--lan-cidr", lan), ("--service-cluster-ip-range", services), ("--pod-cidr", pods),
        ]
        for (index, left) in named.enumerated() {
            for right in named[(index + 1)...] where left.1.overlaps(right.1) {
                throw ValidationError(
                    "\(left.0) \(left.1) and \(right.0) \(right.1) overlap: choose other ranges")
            }
        }
        guard nodes <= 1 << (24 - pods.length) else {
            throw ValidationError("--pod-cidr \(pods) has no /24 for each of \(nodes) nodes")
        }
        return try Topology(
            name: name, nodeCount: nodes, lan: lan, services: services,
            secondaryServices: secondary, pods: pods, nodePorts: nodePortRange(), apiPort: apiPort,
            clusterDomain: clusterDomain)
    }

    private func serviceRanges() throws -> (primary: Prefix, secondary: Prefix?) {
        let flag = "--service-cluster-ip-range"
        let parts = serviceClusterIpRange.split(
            separator: ",", omittingEmptySubsequences: false)
        let primary = try prefix(flag, String(parts.first ?? ""), lengths: 12...27)
        guard parts.count > 1 else { return (primary, nil) }
        // Kubernetes allows at most 20 bits for addresses of a range.
        guard parts.count == 2, let secondary = Prefix(parts[1]), secondary.family == .ipv6,
            (108...124).contains(secondary.length)
        else {
            throw ValidationError(
                "\(flag) \"\(serviceClusterIpRange)\" may have one more range, of IPv6 and with a "
                    + "length from /108 to /124, such as 10.96.0.0/16,fd00:10:96::/112")
        }
        return (primary, secondary)
    }

    private func nodePortRange() throws -> ClosedRange<UInt16> {
        let parts = serviceNodePortRange.split(separator: "-").compactMap { UInt16($0) }
        guard parts.count == 2, parts[0] >= 1, parts[0] <= parts[1] else {
            throw ValidationError(
                "--service-node-port-range \"\(serviceNodePortRange)\" must be FIRST-LAST, "
                    + "such as 30000-32767")
        }
        return parts[0]...parts[1]
    }

    private func prefix(
        _ flag: String, _ text: String, lengths: ClosedRange<Int>
    ) throws -> Prefix {
        guard let prefix = Prefix(text), prefix.family == .ipv4 else {
            throw ValidationError("\(flag) \"\(text)\" must be an IPv4 range such as 10.96.0.0/16")
        }
        guard lengths.contains(prefix.length) else {
            throw ValidationError(
                "\(flag) \(prefix) must have a length from /\(lengths.lowerBound) to "
                    + "/\(lengths.upperBound)")
        }
        return prefix
    }
}

/// Who gives LoadBalancer Services their addresses.
enum LoadBalancerImplementation: String, ExpressibleByArgument, CaseIterable, Sendable {
    case builtin
    case none
}

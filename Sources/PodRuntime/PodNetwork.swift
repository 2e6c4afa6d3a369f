import NFTables
import Netlink
import NetworkTypes

/// The network of a node's pods. Each pod has a namespace and a point-to-point link: inside it is
/// `eth0` with one /32 address and a default route via a link-local gateway, outside is a link with a
/// /32 route to it. Both ends know each other's hardware address from the start, so no ARP is asked
/// in a pod, and what arp_ignore says on the node does not matter.
struct PodNetwork: Sendable {
    /// The prefix of namespaces' names, and of the table.
    var namePrefix: String
    /// The node's address on the LAN, the source of what it sends to pods itself.
    var lanAddress: IPAddress
    /// The node's namespace.
    var node = NodeNamespace()

    /// The gateway each pod sees; no link has it, since it is never asked for by ARP.
    static let gateway = IPAddress.v4(0xA9FE_0101)
    /// The hardware address of every node-side link; each link sees only its own peer.
    static let nodeSideAddress = MACAddress(0xEEEE_EEEE_EEEE)

    /// The name of a pod's namespace.
    func namespaceName(_ shortID: String) -> String { "\(namePrefix)-pod-\(shortID)" }
    /// The path of a pod's namespace.
    func namespacePath(_ shortID: String) -> String {
        NetworkNamespace.directory + "/" + namespaceName(shortID)
    }
    /// The node's end of a pod's link; 15 characters, the longest a link's name can be.
    func linkName(_ shortID: String) -> String { "pod" + shortID }

    /// The hardware address of a pod's link: 0a:58 and the address, as CNI's bridge plugin has it.
    static func linkAddress(of address: IPAddress) -> MACAddress {
        MACAddress(
            0x0A58_0000_0000 | UInt64(truncatingIfNeeded: address.numericValue & 0xFFFF_FFFF))
    }

    /// Makes a pod's network. What an interrupted try left is made anew.
    func setUp(_ shortID: String, address: IPAddress) throws {
        tearDown(shortID)
        let name = namespaceName(shortID)
        try NetworkNamespace.create(name)
        let namespace = try NetworkNamespace.open(name)
        let node = try node.run { try RouteSocket() }
        let podAddress = Self.linkAddress(of: address)
        let link = try node.createVeth(
            linkName(shortID), peer: "eth0", peerNamespace: namespace,
            address: Self.nodeSideAddress, peerAddress: podAddress)
        try NetworkNamespace.withThread(in: namespace) {
            try Sysctl.write("net/ipv4/ip_unprivileged_port_start", "0")
            let pod = try RouteSocket()
            try pod.setUp("lo")
            let eth0 = try pod.requireLink("eth0").index
            try pod.perform([
                .addAddress(LinkAddress(address, prefixLength: 32, linkIndex: eth0)),
                .setUp(index: eth0),
                .setNeighbour(
                    Neighbour(Self.gateway, linkAddress: Self.nodeSideAddress, linkIndex: eth0)),
                .addRoute(
                    Route(to: Prefix(host: Self.gateway), linkIndex: eth0), isReplacing: true),
            ])
            if let all = Prefix("0.0.0.0/0") {
                try pod.perform(
                    .addRoute(
                        Route(to: all, via: Self.gateway, linkIndex: eth0), isReplacing: true))
            }
        }
        try node.perform([
            .setUp(index: link.index),
            .setNeighbour(Neighbour(address, linkAddress: podAddress, linkIndex: link.index)),
            .addRoute(
                Route(
                    to: Prefix(host: address), linkIndex: link.index, preferredSource: lanAddress),
                isReplacing: true),
        ])
    }

    /// Takes a pod's network away; absent is fine. Deleting the link takes its routes along.
    func tearDown(_ shortID: String) {
        _ = try? node.run { try RouteSocket() }.deleteLink(linkName(shortID))
        try? NetworkNamespace.delete(namespaceName(shortID))
    }

    /// True where a pod's namespace and link are there.
    func isSetUp(_ shortID: String) -> Bool {
        guard NetworkNamespace.exists(namespaceName(shortID)) else { return false }
        let link = try? node.run { try RouteSocket() }.link(linkName(shortID))
        return (link ?? nil) != nil
    }
}

/// The network namespace of a node: the process's own, as in `portolan node`, or one by name.
struct NodeNamespace: Sendable {
    /// nil for the process's own.
    var name: String?

    /// The path of the namespace, for containers that share it; nil for the process's own.
    var path: String? { name.map { NetworkNamespace.directory + "/" + $0 } }

    /// Runs `body` in the namespace. Blocking.
    func run<Result>(_ body: @escaping () throws -> Result) throws -> Result {
        guard let name else { return try body() }
        return try NetworkNamespace.withThread(in: NetworkNamespace.open(name), body)
    }
}

/// What the node's kernel has to know for its pods: forwarding, and that pods' traffic to the
/// outside bears the node's address.
struct PodNetworkRules: Sendable {
    /// The table's name is this and `-pods`.
    var namePrefix: String
    /// All pods of the cluster.
    var clusterPodCIDR: Prefix

    /// The table, of the node's namespace.
    var table: Table { Table(.ip, namePrefix + "-pods") }

    /// The table made anew: what pods send to anywhere but pods leaves with the node's address. A
    /// packet that the proxy has already marked and masqueraded never gets here twice, since a
    /// connection is translated once.
    var transaction: Transaction {
        var transaction = Transaction()
        transaction.destroy(table)
        transaction.add(table)
        // 110: after the proxy's own source translation at 100.
        transaction.add(
            Chain("postrouting", in: table, hook: ChainHook(.nat, .postrouting, priority: 110)))
        transaction.add(
            Rule(
                "postrouting", in: table,
                [
                    .match(.ipSource, in: clusterPodCIDR),
                    .match(.ipDestination, in: clusterPodCIDR, isInverted: true),
                    .match(.outputName, .interfaceName("eth0")),
                    .masquerade([]),
                ], comment: "pods to outside the cluster"))
        return transaction
    }

    /// Sets the kernel parameters and the table in the calling thread's namespace.
    func apply(_ backend: some NFTablesBackend) throws {
        try Sysctl.write("net/ipv4/ip_forward", "1")
        // Replies may come back by another way than requests went (Local, other nodes).
        try Sysctl.write("net/ipv4/conf/all/rp_filter", "0")
        try Sysctl.write("net/ipv4/conf/default/rp_filter", "0")
        try backend.apply(transaction)
    }
}

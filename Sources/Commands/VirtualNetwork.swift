import Glibc
import NFTables
import Netlink
import NetworkTypes

/// The LAN of a standalone cluster: a bridge in a namespace of its own, the machine and each node
/// joined to it by a veth. Building is idempotent, so that `up` after a crash completes what is
/// there; tearing down needs the name alone.
struct VirtualNetwork: Sendable {
    let topology: Topology

    private static let bridge = "lan0"
    /// A node's link to the LAN, inside its namespace.
    static let nodeLink = "eth0"

    /// Makes what is missing of namespaces, links, addresses and routes.
    /// - Throws: `CommandFailure` naming the step that failed.
    func build() throws {
        let lan = try namespace(topology.lanNamespace)
        let lanSocket = try RouteSocket(in: lan)
        try buildBridge(lanSocket)
        try joinMachine(lan, lanSocket)
        for node in topology.nodes { try join(node, lan, lanSocket) }
        for name in Self.nodeNamespaces(of: topology.name)
        where !topology.nodes.contains(where: { $0.name == name }) {
            try? NetworkNamespace.delete(name)  // a node of an earlier, larger cluster
        }
    }

    /// Removes every link and namespace of a cluster; what is missing is no error.
    static func tearDown(name: String) throws {
        let socket = try RouteSocket()
        _ = try socket.deleteLink(Topology.linkName("\(name)-lan"))
        for namespace in nodeNamespaces(of: name) + ["\(name)-lan"]
        where NetworkNamespace.exists(namespace) {
            try NetworkNamespace.delete(namespace)
        }
    }

    /// The namespaces `NAME-node-NUMBER` that exist.
    static func nodeNamespaces(of name: String) -> [String] {
        let prefix = "\(name)-node-"
        return NetworkNamespace.names().filter {
            $0.hasPrefix(prefix) && Int($0.dropFirst(prefix.count)) != nil
        }
    }

    private func namespace(_ name: String) throws -> NamespaceDescriptor {
        if !NetworkNamespace.exists(name) { try NetworkNamespace.create(name) }
        let descriptor = try NetworkNamespace.open(name)
        try RouteSocket(in: descriptor).setUp("lo")
        return descriptor
    }

    private func buildBridge(_ socket: RouteSocket) throws {
        if try socket.link(Self.bridge) == nil { try socket.createBridge(Self.bridge) }
        try socket.setUp(Self.bridge)
    }

    private func joinMachine(_ lan: NamespaceDescriptor, _ lanSocket: RouteSocket) throws {
        let machine = try RouteSocket()
        let link = topology.machineLink
        if try machine.link(link) == nil || lanSocket.link("machine") == nil {
            _ = try machine.deleteLink(link)
            _ = try machine.createVeth(link, peer: "machine", peerNamespace: lan)
        }
        try enslave("machine", lanSocket)
        try machine.setUp(link)
        try machine.addAddress(
            topology.machineAddress, prefixLength: topology.lan.length, to: link)
    }

    private func join(
        _ node: Topology.NodePlan, _ lan: NamespaceDescriptor, _ lanSocket: RouteSocket
    ) throws {
        let namespace = try namespace(node.name)
        let socket = try RouteSocket(in: namespace)
        let port = "node-\(node.number)"
        if try socket.link(Self.nodeLink) == nil || lanSocket.link(port) == nil {
            _ = try lanSocket.deleteLink(port)
            _ = try lanSocket.createVeth(port, peer: Self.nodeLink, peerNamespace: namespace)
        }
        try enslave(port, lanSocket)
        try socket.setUp(Self.nodeLink)
        try socket.addAddress(
            node.address, prefixLength: topology.lan.length, to: Self.nodeLink)
        try LocalAddresses.addToLoopback(topology.dnsAddress, socket)
        let link = try socket.requireLink(Self.nodeLink)
        try socket.perform(
            .addRoute(
                Route(
                    to: try defaultDestination(), via: topology.machineAddress,
                    linkIndex: link.index),
                isReplacing: true))
        try NetworkNamespace.withThread(in: namespace) {
            try Sysctl.write("net/ipv4/ip_forward", "1")
            // Loose: a packet for a pod may come in over the LAN from any address.
            try Sysctl.write("net/ipv4/conf/all/rp_filter", "2")
        }
    }

    private func enslave(_ port: String, _ socket: RouteSocket) throws {
        let bridge = try socket.requireLink(Self.bridge)
        let link = try socket.requireLink(port)
        try socket.perform(.enslave(index: link.index, masterIndex: bridge.index))
    }

    private func defaultDestination() throws -> Prefix {
        guard let prefix = Prefix(.v4(0), length: 0) else {
            throw CommandFailure("0.0.0.0/0 is no prefix")
        }
        return prefix
    }
}

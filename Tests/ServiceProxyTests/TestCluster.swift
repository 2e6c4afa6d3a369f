import KubernetesAPI
import Logging
import NFTables
import Netlink
import NetworkTypes
import TestSupport

@testable import ServiceProxy

/// Two nodes, three pods and a client outside, each in a namespace, with routing as a standalone
/// Portolan has it: pods on point-to-point links, nodes on one LAN.
///
///     client 172.30.0.1 ─┐            ┌─ node-1 172.30.0.11 ─┬─ pod a1 10.244.0.2
///                        ├─ bridge ───┤                      └─ pod a2 10.244.0.3
///                                     └─ node-2 172.30.0.12 ─── pod b1 10.244.1.2
///
/// IPv6 addresses are the same with fd00:30::, fd00:244::.
struct TestCluster {
    let client: TestNamespace
    let nodes: [TestNamespace]
    let pods: [String: TestNamespace]
    let servers: [EchoServer]
    let engines: [ProxyEngine]

    static let podPort: UInt16 = 8080

    /// - Parameters:
    ///   - proxied: how many of the nodes get a proxy.
    ///   - usesFastPath: whether pods' links get programs.
    init(
        _ network: NetworkFixture, proxied: Int = 2,
        options: RulesetOptions = makeOptions(locallyServed: ["10.96.0.10"]),
        usesFastPath: Bool = false
    ) throws {
        let lan = try network.namespace("lan")
        try Self.skipDuplicateDetection(lan)
        try network.bridge("br0", in: lan)
        client = try network.namespace("client")
        try Self.skipDuplicateDetection(client)
        try Self.attach(client, network, lan, "1")
        try Self.allowForwarding(client)
        var nodes: [TestNamespace] = []
        for index in 1...2 {
            let node = try network.namespace("node\(index)")
            try Self.skipDuplicateDetection(node)
            try Self.attach(node, network, lan, "1\(index)")
            try Self.allowForwarding(node)
            nodes.append(node)
        }
        self.nodes = nodes
        var pods: [String: TestNamespace] = [:]
        var servers: [EchoServer] = []
        for (name, nodeIndex, number) in [("a1", 0, 2), ("a2", 0, 3), ("b1", 1, 2)] {
            let pod = try network.namespace(name)
            try Self.skipDuplicateDetection(pod)
            try Self.connect(pod, name, to: nodes[nodeIndex], nodeIndex, number)
            servers.append(
                try EchoServer(
                    name, in: pod, port: Self.podPort, families: [.ipv4, .ipv6]))
            pods[name] = pod
        }
        self.pods = pods
        self.servers = servers
        for (index, node) in nodes.enumerated() {
            let other = 2 - index
            try node.check(
                "ip", "route", "add", "10.244.\(1 - index).0/24", "via", "172.30.0.1\(other)")
            try node.check(
                "ip", "-6", "route", "add", "fd00:244::\(1 - index):0/112", "via",
                "fd00:30::1\(other)")
            try node.check("ip", "route", "add", "default", "via", "172.30.0.1")
            try node.check("ip", "-6", "route", "add", "default", "via", "fd00:30::1")
            try client.check(
                "ip", "route", "add", "10.244.\(index).0/24", "via", "172.30.0.1\(index + 1)")
            try client.check(
                "ip", "-6", "route", "add", "fd00:244::\(index):0/112", "via",
                "fd00:30::1\(index + 1)")
        }
        engines = try (0..<proxied).map {
            try Self.engine(for: nodes[$0], $0, options, usesFastPath)
        }
    }

    /// A proxy for a node that knows nothing yet, as after a restart.
    static func engine(
        for node: TestNamespace, _ index: Int,
        _ options: RulesetOptions = makeOptions(locallyServed: ["10.96.0.10"]),
        _ usesFastPath: Bool = false
    ) throws -> ProxyEngine {
        ProxyEngine(
            options: options, families: [.ipv4, .ipv6],
            node: NodeContext(
                nodeName: "node-\(index + 1)", zone: "zone-\(index + 1)",
                locallyServedAddresses: options.locallyServedAddresses),
            backend: try NFTablesKernel(in: node.descriptor),
            flows: try ConntrackSocket(in: node.descriptor),
            fastPath: usesFastPath
                ? try FastPath(
                    tableName: options.tableName, families: [.ipv4, .ipv6], in: node.descriptor,
                    logger: Logger(label: "test"))
                : nil)
    }

    /// Gives all proxies a Service and its slices, and brings the kernels to them.
    func apply(_ service: Service, _ slices: EndpointSlice...) throws {
        for engine in engines {
            engine.note(service.key, service: service)
            for slice in slices { engine.note(slice.key, slice: slice) }
            try engine.flush()
            try engine.accelerate()
        }
    }

    func pod(_ name: String) throws -> TestNamespace {
        guard let pod = pods[name] else { throw TestFailure("no pod \(name)") }
        return pod
    }

    /// A slice with all three pods.
    static func everyPod(
        of service: String, transport: String = "TCP", family: String = "IPv4"
    ) throws -> EndpointSlice {
        let prefix = family == "IPv4" ? "10.244." : "fd00:244::"
        let separator = family == "IPv4" ? "." : ":"
        return try makeSlice(
            of: service, family, port: Int(podPort), transport: transport, family: family,
            [
                TestEndpoint("\(prefix)0\(separator)2", "node-1"),
                TestEndpoint("\(prefix)0\(separator)3", "node-1"),
                TestEndpoint("\(prefix)1\(separator)2", "node-2"),
            ])
    }

    // MARK: - Network

    private static func attach(
        _ namespace: TestNamespace, _ network: NetworkFixture, _ lan: TestNamespace, _ host: String
    ) throws {
        try network.attach(
            namespace, "172.30.0.\(host)", prefixLength: 24, to: "br0", in: lan)
        try namespace.check("ip", "addr", "add", "fd00:30::\(host)/64", "dev", "eth0", "nodad")
        let port = "p" + String(namespace.name.dropFirst(network.prefix.count)).prefix(14)
        try lan.check("ip", "link", "set", String(port), "up")
    }

    /// Link-local addresses are of use at once: until then a node cannot ask for a pod's link address.
    private static func skipDuplicateDetection(_ namespace: TestNamespace) throws {
        for links in ["all", "default"] {
            try namespace.sysctl("net/ipv6/conf/\(links)/accept_dad", "0")
        }
    }

    private static func allowForwarding(_ namespace: TestNamespace) throws {
        try namespace.sysctl("net/ipv4/ip_forward", "1")
        try namespace.sysctl("net/ipv6/conf/all/forwarding", "1")
    }

    private static func connect(
        _ pod: TestNamespace, _ name: String, to node: TestNamespace, _ nodeIndex: Int,
        _ number: Int
    ) throws {
        let (v4, v6) = ("10.244.\(nodeIndex).\(number)", "fd00:244::\(nodeIndex):\(number)")
        let (gateway4, gateway6) = ("10.244.\(nodeIndex).1", "fd00:244::\(nodeIndex):1")
        let route = try node.route()
        try route.createVeth("pod-\(name)", peer: "eth0", peerNamespace: pod.descriptor)
        try route.setUp("pod-\(name)")
        try pod.route().setUp("eth0")
        try node.check("ip", "addr", "add", "\(gateway4)/32", "dev", "pod-\(name)")
        try node.check("ip", "addr", "add", "\(gateway6)/128", "dev", "pod-\(name)", "nodad")
        try node.check("ip", "route", "add", "\(v4)/32", "dev", "pod-\(name)")
        try node.check("ip", "-6", "route", "add", "\(v6)/128", "dev", "pod-\(name)")
        try pod.check("ip", "addr", "add", "\(v4)/32", "dev", "eth0")
        try pod.check("ip", "addr", "add", "\(v6)/128", "dev", "eth0", "nodad")
        for (flag, gateway) in [("-4", gateway4), ("-6", gateway6)] {
            try pod.check("ip", flag, "route", "add", gateway, "dev", "eth0")
            try pod.check("ip", flag, "route", "add", "default", "via", gateway)
        }
    }
}

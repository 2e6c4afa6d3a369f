import Glibc
import Netlink
import TestSupport
import Testing

/// `portolan agent` on a machine that is no virtual node, with the rights its manifest gives and no
/// other, against an API server that happens to be a standalone cluster's.
@Suite(.offPool)
struct AgentTests {
    @Test func servesANodeOfAnyCluster() throws {
        try StandaloneFixture.run(["--load-balancer", "none"]) { cluster in
            try cluster.deployWebserver()
            try cluster.kubectl("apply", "-f", Examples.path("hostname-svc-clusterip.yaml"))
            let outside = try OutsideNode(cluster)
            defer { outside.remove() }
            let service = try cluster.kubectl(
                "get", "service", "hostname-svc-clusterip", "-o", "jsonpath={.spec.clusterIP}")
            let name = "hostname-svc-clusterip.default.svc.cluster.local"

            let agent = try outside.start(kubeconfig: outside.kubeconfig)
            try eventually("the kernel has the Service", withinSeconds: 30) {
                guard agent.isRunning else { throw TestFailure(agent.errorOutputSoFar) }
                return try outside.run("curl", "-sS", "--max-time", "2", "http://\(service):8080")
                    .hasPrefix("Hello")
            }
            try eventually("DNS answers at the cluster's address") {
                try outside.run("dig", "+short", "+time=1", "@\(outside.dnsAddress)", name)
                    == service
            }
            // This agent is the one that gives load balancers their addresses.
            try cluster.kubectl("apply", "-f", Examples.path("metallb-config.yaml"))
            try cluster.kubectl("apply", "-f", Examples.path("hostname-svc-lb.yaml"))
            try eventually("the load balancer has an address", withinSeconds: 30) {
                try cluster.kubectl(
                    "get", "service", "hostname-svc-lb", "-o",
                    "jsonpath={.status.loadBalancer.ingress[0].ip}"
                ).hasPrefix("10.1.0.")
            }
            let holder = try cluster.kubectl(
                "get", "lease", "-n", "kube-system", "portolan-load-balancer", "-o",
                "jsonpath={.spec.holderIdentity}")
            #expect(holder.hasPrefix(outside.nodeName))

            kill(agent.processID, SIGTERM)
            #expect(try agent.finish(timeoutSeconds: 20).exitCode == 0)
            #expect(!agent.errorOutputSoFar.contains("orbidden"), "\(agent.errorOutputSoFar)")
            // Rules outlive the agent; its DNS address does not, so that others can answer for it.
            #expect(
                try outside.run("curl", "-sS", "--max-time", "10", "http://\(service):8080")
                    .hasPrefix("Hello"))
            #expect(try !outside.run("ip", "address", "show", "lo").contains(outside.dnsAddress))

            // Started anew while the API server is away, it answers from what it kept.
            let lonely = try outside.start(kubeconfig: outside.kubeconfig(apiPort: 1))
            try eventually("DNS answers from disk", withinSeconds: 30) {
                try outside.run("dig", "+short", "+time=1", "@\(outside.dnsAddress)", name)
                    == service
            }
            kill(lonely.processID, SIGTERM)
            _ = try lonely.finish(timeoutSeconds: 40)
            try noticesAnotherCluster(outside, cluster.servicePrefix)
            try obeysAFile(outside)
            try takesTheFastPath(outside, cluster, to: service)
            try cleansUp(outside)
        }
    }

    /// With `--fast-path`, connections of a pod that another's plug-in has set up pass the rules.
    private func takesTheFastPath(
        _ outside: OutsideNode, _ cluster: StandaloneFixture, to service: String
    ) throws {
        let pods = try cluster.kubectl(
            "get", "node", cluster.nodeName(1), "-o", "jsonpath={.spec.podCIDR}"
        ).split(separator: ".").prefix(2).joined(separator: ".")
        let pod = try outside.addPod("\(pods).200.5")
        for node in 1...2 {
            _ = try cluster.onNode(
                node, "ip", "route", "add", "\(pods).200.5", "via", "\(cluster.lan).50")
        }
        let agent = try outside.start(
            kubeconfig: outside.kubeconfig,
            arguments: ["--fast-path", "--pod-cidr", "\(pods).0.0/16"])
        func metrics() throws -> String {
            try outside.run("curl", "-sS", "--max-time", "10", "http://127.0.0.1:10249/metrics")
        }
        try eventually("the pod's link has the fast path", withinSeconds: 30) {
            guard agent.isRunning else { throw TestFailure(agent.errorOutputSoFar) }
            let text = try metrics()
            return text.contains("\nportolan_proxy_fast_path_links 1\n")
                && !text.contains("\nportolan_proxy_fast_path_services 0\n")
        }
        func connections() throws -> Int {
            let line = try metrics().split(separator: "\n").first {
                $0.contains(#"service="hostname-svc-clusterip",port="8080/TCP",address="clu"#)
            }
            return try #require(line?.split(separator: " ").last.flatMap { Int($0) })
        }
        let before = try connections()
        let answer = try Command.check(
            ["curl", "-sS", "--max-time", "10", "http://\(service):8080"], in: pod
        ).output
        #expect(answer.hasPrefix("Hello"), "\(answer)")
        #expect(try connections() == before + 1)
        let tracked = try outside.run("conntrack", "-L", "-p", "tcp")
        #expect(!tracked.contains("src=\(pods).200.5 dst=\(service)"), "\(tracked)")
        kill(agent.processID, SIGTERM)
        #expect(try agent.finish(timeoutSeconds: 40).exitCode == 0)
    }

    /// What outlives an agent goes when it is told to.
    private func cleansUp(_ outside: OutsideNode) throws {
        #expect(try outside.run("nft", "list", "tables").contains("table ip portolan"))
        _ = try outside.run(
            "ip", "address", "add", "\(outside.dnsAddress)/32", "dev", "lo", "scope", "host")
        let end = try outside.start(kubeconfig: outside.kubeconfig, arguments: ["--cleanup"])
            .finish(timeoutSeconds: 30)
        #expect(end.exitCode == 0, "\(end.errorOutput)")
        #expect(try !outside.run("nft", "list", "tables").contains("portolan"))
        #expect(try !outside.run("ip", "address", "show", "lo").contains(outside.dnsAddress))
    }

    /// What it kept is not so any more: it says so, and the next start is right.
    private func noticesAnotherCluster(_ outside: OutsideNode, _ servicePrefix: String) throws {
        let file = outside.keptFile
        try Command.check([
            "sed", "-i", "s/\(outside.dnsAddress)/\(servicePrefix).0.77/", file,
        ])
        let mistaken = try outside.start(kubeconfig: outside.kubeconfig)
        let end = try mistaken.finish(timeoutSeconds: 60)
        #expect(end.exitCode == 1)
        #expect(end.errorOutput.contains("is not as it was"), "\(end.errorOutput)")
        #expect(try Command.check(["cat", file]).output.contains("\"\(outside.dnsAddress)\""))
    }

    /// A file of the administrator's holds in place of the cluster's ConfigMap.
    private func obeysAFile(_ outside: OutsideNode) throws {
        let file = try outside.write(
            "proxy.yaml",
            """
            apiVersion: kubeproxy.config.k8s.io/v1alpha1
            kind: KubeProxyConfiguration
            conntrack: {udpTimeout: 45s, tcpBeLiberal: false}
            nodePortAddresses: [192.0.2.0/24]
            """)
        let agent = try outside.start(
            kubeconfig: outside.kubeconfig, arguments: ["--proxy-config", file])
        try eventually("what the file says holds", withinSeconds: 30) {
            guard agent.isRunning else { throw TestFailure(agent.errorOutputSoFar) }
            return try outside.run("sysctl", "-n", "net.netfilter.nf_conntrack_udp_timeout")
                == "45"
                && outside.run("nft", "list", "table", "ip", "portolan")
                    .contains("ct state invalid")
        }
        kill(agent.processID, SIGTERM)
        #expect(try agent.finish(timeoutSeconds: 40).exitCode == 0)
    }

    @Test func saysWhatItLacks() throws {
        let agent = try BuiltProduct.path("portolan")
        let slip = "/tmp/portolan-agent-\(getpid()).yaml"
        defer { unlink(slip) }
        try Command.check(
            ["tee", slip],
            input: "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
                + "mode: userspace\n")
        let cases: [(arguments: [String], message: String)] = [
            (["--kubeconfig", "/nonexistent"], "give --node-name, or set NODE_NAME"),
            (["--node-name", "a", "--kubeconfig", "/nonexistent"], "/nonexistent"),
            (["--node-name", "a"], "not in a pod (KUBERNETES_SERVICE_HOST is unset)"),
            (
                ["--node-name", "a", "--proxy-config", "/nonexistent"],
                "--proxy-config /nonexistent cannot be read"
            ),
            (["--node-name", "a", "--proxy-config", slip], "mode"),
        ]
        for (arguments, message) in cases {
            let result = try Command.run(
                [agent, "agent", "--data-dir", "/tmp/portolan-agent-\(getpid())"] + arguments)
            #expect(result.exitCode != 0)
            #expect(result.errorOutput.contains(message), "\(result.errorOutput)")
        }
        try Command.check(["rm", "-rf", "/tmp/portolan-agent-\(getpid())"])
    }
}

/// A network namespace on a standalone cluster's LAN, with a Node object and an account for it.
private final class OutsideNode {
    let nodeName = "outside"
    let dnsAddress: String
    private let cluster: StandaloneFixture
    private let namespace: String
    private let directory: String
    private let authority: String
    private let token: String
    /// What the agent knows of its cluster before it asks.
    var keptFile: String { "\(directory)/agent.json" }

    init(_ cluster: StandaloneFixture) throws {
        self.cluster = cluster
        namespace = "\(cluster.name)-outside"
        directory = "\(cluster.dataDirectory)/outside"
        dnsAddress = "\(cluster.servicePrefix).0.10"
        authority = try cluster.kubectl(
            "config", "view", "--raw", "-o",
            "jsonpath={.clusters[0].cluster.certificate-authority-data}")
        try Self.applyManifest(cluster)
        token = try cluster.kubectl("create", "token", "portolan-agent", "-n", "kube-system")
        let address = "\(cluster.lan).50"
        try cluster.kubectl(
            "create", "-f", "-", input: "{apiVersion: v1, kind: Node, metadata: {name: outside}}")
        try cluster.kubectl(
            "patch", "node", "outside", "--subresource=status", "--type=merge", "-p",
            #"{"status":{"addresses":[{"type":"InternalIP","address":"\#(address)"}]}}"#)
        try Command.check(["mkdir", "-p", directory])
        let lan = "\(cluster.name)-lan"
        var steps = [
            "netns add \(namespace)",
            "-n \(lan) link add outside type veth peer name eth0 netns \(namespace)",
            "-n \(lan) link set outside master lan0 up", "-n \(namespace) link set lo up",
            "-n \(namespace) address add \(address)/24 dev eth0",
            "-n \(namespace) link set eth0 up",
            "-n \(namespace) route add default via \(cluster.machineAddress)",
        ]
        // What a cluster's network plug-in would do.
        let nodes = try cluster.kubectl(
            "get", "nodes", "-o",
            "jsonpath={range .items[*]}{.spec.podCIDR} {.status.addresses[0].address}{\"\\n\"}{end}"
        )
        for line in nodes.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count == 2, fields[1] != address else { continue }
            steps.append("-n \(namespace) route add \(fields[0]) via \(fields[1])")
        }
        for step in steps {
            try Command.check(["ip"] + step.split(separator: " ").map(String.init))
        }
    }

    /// Applies the rights of the manifest, and has its DaemonSet looked at, which would need an
    /// image.
    private static func applyManifest(_ cluster: StandaloneFixture) throws {
        let here = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
        let path = here.joined(separator: "/") + "/packaging/portolan-agent.yaml"
        let text = try Command.check(["cat", path]).output
        let documents = text.components(separatedBy: "\n---\n")
        try #require(documents.count > 5)
        for document in documents {
            let isDaemonSet = document.contains("kind: DaemonSet")
            try cluster.kubectl(
                "apply", "--validate=strict", isDaemonSet ? "--dry-run=server" : "--dry-run=none",
                "-f", "-", input: document)
        }
    }

    var kubeconfig: String { get throws { try kubeconfig(apiPort: cluster.apiPort) } }

    /// Writes a kubeconfig of the agent's account; returns its path.
    func kubeconfig(apiPort: Int) throws -> String {
        let path = "\(directory)/kubeconfig-\(apiPort)"
        let text = """
            apiVersion: v1
            kind: Config
            current-context: c
            contexts: [{name: c, context: {cluster: c, user: u}}]
            clusters:
            - name: c
              cluster:
                server: https://\(cluster.machineAddress):\(apiPort)
                certificate-authority-data: \(authority)
            users: [{name: u, user: {token: \(token)}}]
            """
        try Command.check(["tee", path], input: text)
        return path
    }

    /// Writes a file for the agent; returns its path.
    func write(_ name: String, _ text: String) throws -> String {
        try Command.check(["tee", "\(directory)/\(name)"], input: text)
        return "\(directory)/\(name)"
    }

    func start(kubeconfig: String, arguments: [String] = []) throws -> RunningCommand {
        try RunningCommand(
            [
                try BuiltProduct.path("portolan"), "agent", "--kubeconfig", kubeconfig,
                "--data-dir", directory,
            ] + arguments, in: try NetworkNamespace.open(namespace),
            environment: ["NODE_NAME": nodeName])
    }

    /// Sets up a pod's network as a plug-in would, on a link of its own.
    /// - Returns: its namespace.
    func addPod(_ address: String) throws -> NamespaceDescriptor {
        let pod = "\(namespace)-pod"
        for step in [
            "netns add \(pod)",
            "-n \(namespace) link add pod0 type veth peer name eth0 netns \(pod)",
            "-n \(namespace) link set pod0 up", "-n \(pod) link set eth0 up",
            "-n \(namespace) address add 169.254.1.1/32 dev pod0",
            "-n \(namespace) route add \(address) dev pod0",
            "-n \(pod) address add \(address)/32 dev eth0",
            "-n \(pod) route add 169.254.1.1 dev eth0",
            "-n \(pod) route add default via 169.254.1.1",
        ] {
            try Command.check(["ip"] + step.split(separator: " ").map(String.init))
        }
        _ = try run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        return try NetworkNamespace.open(pod)
    }

    func run(_ command: String...) throws -> String {
        try Command.check(command, in: try NetworkNamespace.open(namespace)).trimmedOutput
    }

    func remove() {
        for name in ["\(namespace)-pod", namespace] {
            _ = try? Command.run(["ip", "netns", "delete", name])
        }
    }
}

extension String {
    fileprivate func components(separatedBy separator: String) -> [String] {
        var parts: [String] = []
        var rest = self[...]
        while let range = rest.firstRange(of: separator) {
            parts.append(String(rest[..<range.lowerBound]))
            rest = rest[range.upperBound...]
        }
        return parts + [String(rest)]
    }
}

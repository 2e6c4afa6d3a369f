import TestSupport
import Testing

/// The story a person follows the first time they meet Services, step by step on one cluster with
/// the stock kubectl. Serial: MetalLB's example pool, 10.1.0.2–10.1.0.100, exists once a machine.
@Suite(.serialized)
struct WalkthroughSerialTests {
    @Test(.timeLimit(.minutes(10)))
    func everyStepWorksAsWritten() throws {
        try StandaloneFixture.run { cluster in
            let walk = Walkthrough(cluster: cluster)
            try walk.step1PodsRunOnEveryNode()
            try walk.step2ClusterIP()
            try walk.step3Endpoints()
            try walk.step4DeletedServiceRefuses()
            try walk.step5NodePort()
            try walk.step6LoadBalancerIsPendingWithAReason()
            try walk.step7AddressFromAPool()
            try walk.step8TrafficPolicy()
            try walk.step9ExternalName()
            try walk.step10KubeProxyConfiguration()
            try walk.step11MetalLBManifests()
            try walk.step13DownAndUpAgain()
            try walk.step12DeleteTakesAllAway()
        }
    }
}

/// The steps of the walkthrough, numbered as there.
struct Walkthrough {
    let cluster: StandaloneFixture

    func step1PodsRunOnEveryNode() throws {
        try cluster.deployWebserver()
        let nodes = try cluster.kubectl(
            "get", "pods", "-l", "app=webserver", "-o", "jsonpath={.items[*].spec.nodeName}")
        #expect(Set(nodes.split(separator: " ")).count == 2)
        let table = try cluster.kubectl("get", "pods", "--no-headers")
        #expect(table.split(separator: "\n").count == 3)
        for line in table.split(separator: "\n") {
            #expect(line.contains("1/1") && line.contains("Running"))
        }
    }

    func step2ClusterIP() throws {
        try cluster.kubectl("apply", "-f", Examples.path("hostname-svc-clusterip.yaml"))
        try cluster.runDebugPod()
        let row = try cluster.kubectl("get", "svc", "hostname-svc-clusterip", "--no-headers")
        #expect(row.contains("8080/TCP"))
        let address = try clusterIP("hostname-svc-clusterip")
        let byAddress = try cluster.answeringPods {
            try cluster.inPod("debug", "curl -sS --max-time 5 \(address):8080")
        }
        #expect(byAddress.count == 3)
        for name in ["", ".default", ".default.svc.cluster.local"] {
            let answer = try cluster.inPod(
                "debug", "curl -sS --max-time 5 hostname-svc-clusterip\(name):8080")
            #expect(answer.hasPrefix("Hello, I am hostname-deployment-"))
        }
    }

    func step3Endpoints() throws {
        let addresses = try cluster.kubectl(
            "get", "pods", "-l", "app=webserver", "-o", "jsonpath={.items[*].status.podIP}"
        ).split(separator: " ")
        #expect(addresses.count == 3)
        let endpoints = try cluster.kubectl("get", "endpoints", "hostname-svc-clusterip")
        let slices = try cluster.kubectl("get", "endpointslices")
        for address in addresses {
            #expect(endpoints.contains("\(address):80"))
            #expect(slices.contains(address))
        }
        // The manifest names the machine of a default cluster; this one has ranges of its own.
        let manifest = try Command.check(
            [
                "sed", "s/172.30.0.1/\(cluster.machineAddress)/",
                Examples.path("endpoints-by-hand.yaml"),
            ]
        ).output
        let server = try RunningCommand([
            "python3", "-c", Self.outsideServer, cluster.machineAddress, "18080",
        ])
        defer { server.stop() }
        try cluster.kubectl("apply", "-f", "-", input: manifest)
        try eventually("the server outside answers through its Service") {
            try cluster.inPod("debug", "curl -sS --max-time 2 outside-svc") == "outside"
        }
    }

    func step4DeletedServiceRefuses() throws {
        let address = try clusterIP("hostname-svc-clusterip")
        try cluster.kubectl("delete", "svc", "hostname-svc-clusterip")
        try eventually("connections are refused") {
            let result = try cluster.tryKubectl(
                "exec", "debug", "--", "curl", "-sS", "--max-time", "2", "\(address):8080")
            return result.exitCode == 7  // curl: could not connect, as against 28, timed out
        }
        let answer = try cluster.inPod(
            "debug", "dig +noall +comments hostname-svc-clusterip.default.svc.cluster.local")
        #expect(answer.contains("NXDOMAIN"))
    }

    func step5NodePort() throws {
        try cluster.kubectl("apply", "-f", Examples.path("hostname-svc-nodeport.yaml"))
        let port = try nodePort("hostname-svc-nodeport")
        #expect((30000...32767).contains(port))
        for node in 1...2 {
            try eventually("node \(node) answers at \(port)") {
                try cluster.curl("\(cluster.nodeAddress(node)):\(port)").hasPrefix("Hello")
            }
            let names = try cluster.answeringPods {
                try cluster.curl("\(cluster.nodeAddress(node)):\(port)")
            }
            #expect(names.count == 3)
        }
        #expect(
            try cluster.inPod("debug", "curl -sS --max-time 5 hostname-svc-nodeport:8080")
                .hasPrefix("Hello"))
        try cluster.kubectl("apply", "-f", Examples.path("hostname-svc-nodeport-fixed.yaml"))
        #expect(try nodePort("hostname-svc-nodeport-fixed") == 31000)
        let sticky = try cluster.answeringPods(20) {
            try cluster.curl("\(cluster.nodeAddress(1)):31000")
        }
        #expect(sticky.count == 1)
        let second = try cluster.tryKubectl(
            "create", "service", "nodeport", "second", "--tcp=80", "--node-port=31000")
        #expect(second.exitCode != 0)
        #expect(
            second.errorOutput.contains(
                "spec.ports[0].nodePort: Invalid value: 31000: provided port is already allocated"))
        try localNodePort(port)
    }

    private func localNodePort(_ port: Int) throws {
        let patch = #"{"spec":{"externalTrafficPolicy":"Local"}}"#
        try cluster.kubectl("patch", "svc", "hostname-svc-nodeport", "-p", patch)
        try eventually("pods see the client's own address") {
            try (1...2).allSatisfy { node in
                try cluster.curl("\(cluster.nodeAddress(node)):\(port)")
                    .hasSuffix("you are \(cluster.machineAddress)")
            }
        }
        try cluster.kubectl("scale", "deployment/hostname-deployment", "--replicas=1")
        try eventually("one pod is left", withinSeconds: 60) {
            try cluster.kubectl("get", "pods", "-l", "app=webserver", "--no-headers")
                .split(separator: "\n").count == 1
        }
        let node = try cluster.kubectl(
            "get", "pods", "-l", "app=webserver", "-o", "jsonpath={.items[0].spec.nodeName}")
        try eventually("only the node with a pod answers") {
            try (1...2).allSatisfy { number in
                let result = try Command.run([
                    "curl", "-sS", "--max-time", "1", "\(cluster.nodeAddress(number)):\(port)",
                ])
                return (result.exitCode == 0) == (cluster.nodeName(number) == node)
            }
        }
        try cluster.kubectl(
            "patch", "svc", "hostname-svc-nodeport", "-p",
            #"{"spec":{"externalTrafficPolicy":"Cluster"}}"#)
        try cluster.kubectl("scale", "deployment/hostname-deployment", "--replicas=3")
        try cluster.kubectl("rollout", "status", "deployment/hostname-deployment", "--timeout=60s")
    }

    func step6LoadBalancerIsPendingWithAReason() throws {
        try cluster.kubectl("apply", "-f", Examples.path("hostname-svc-lb.yaml"))
        let row = try cluster.kubectl("get", "svc", "hostname-svc-lb", "--no-headers")
        #expect(row.contains("<pending>") && row.contains("80:3"))
        try eventually("describe says why it is pending") {
            let text = try cluster.kubectl("describe", "svc", "hostname-svc-lb")
            return text.contains("Warning") && text.contains("IPAddressPool")
        }
        let port = try nodePort("hostname-svc-lb")
        try eventually("its nodePort answers all the same") {
            try cluster.curl("\(cluster.nodeAddress(2)):\(port)").hasPrefix("Hello")
        }
        let status = try Command.check([
            try StandaloneFixture.portolan, "status", "--name", cluster.name, "--data-dir",
            cluster.dataDirectory,
        ]).output
        #expect(status.contains("PENDING") && status.contains("default/hostname-svc-lb"))
    }

    func step7AddressFromAPool() throws {
        try cluster.kubectl("create", "namespace", "metallb-system")
        try cluster.kubectl(
            "create", "secret", "generic", "-n", "metallb-system", "memberlist",
            "--from-literal=secretkey=c2VjcmV0IG9mIHRoZSB0ZXN0")
        try cluster.kubectl("apply", "-f", Examples.path("metallb-config.yaml"))
        try eventually("the Service gets an address of the pool") {
            try address("hostname-svc-lb").hasPrefix("10.1.0.")
        }
        let given = try address("hostname-svc-lb")
        try eventually("the world outside reaches \(given)") {
            try cluster.curl(given).hasPrefix("Hello")
        }
        #expect(try cluster.answeringPods { try cluster.curl(given) }.count == 3)
    }

    func step8TrafficPolicy() throws {
        let shared = try address("hostname-svc-lb")
        let seen = try cluster.curl(shared)
        #expect(!seen.hasSuffix("you are \(cluster.machineAddress)"))
        try cluster.kubectl("apply", "-f", Examples.path("hostname-svc-lb-local.yaml"))
        try eventually("the Local Service gets an address") {
            try !address("hostname-svc-lb-local").isEmpty
        }
        let own = try address("hostname-svc-lb-local")
        try eventually("pods see the client's own address") {
            try cluster.curl(own).hasSuffix("you are \(cluster.machineAddress)")
        }
        let policy = try cluster.kubectl("get", "svc", "hostname-svc-nodeport", "-o", "yaml")
        #expect(policy.contains("externalTrafficPolicy: Cluster"))
    }

    func step9ExternalName() throws {
        try cluster.kubectl("apply", "-f", Examples.path("externalname-svc.yaml"))
        try eventually("the name is a CNAME") {
            try cluster.inPod(
                "debug", "dig +short externalname-svc.default.svc.cluster.local CNAME"
            ) == "my.database.com."
        }
    }

    func step10KubeProxyConfiguration() throws {
        let kubectl = "\(StandaloneFixture.kubectl) --kubeconfig \(cluster.kubeconfig)"
        let pipeline =
            "\(kubectl) get configmap kube-proxy -n kube-system -o yaml"
            + " | sed -e 's/strictARP: false/strictARP: true/' | \(kubectl)"
        let diff = try Command.run(
            ["sh", "-c", "\(pipeline) diff -f - -n kube-system"],
            environment: ["HOME": cluster.dataDirectory])
        #expect(diff.exitCode == 1)
        #expect(diff.output.contains("strictARP: true"))
        let changes = diff.output.split(separator: "\n").filter {
            ($0.hasPrefix("+") || $0.hasPrefix("-")) && !$0.hasPrefix("+++") && !$0.hasPrefix("---")
        }
        #expect(changes.count == 2, "\(diff.output)")
        try Command.check(
            ["sh", "-c", "\(pipeline) apply -f - -n kube-system"],
            environment: ["HOME": cluster.dataDirectory])
        try eventually("strictARP holds on every node") {
            try (1...2).allSatisfy { node in
                try cluster.onNode(node, "cat", "/proc/sys/net/ipv4/conf/all/arp_ignore") == "1"
                    && cluster.onNode(node, "cat", "/proc/sys/net/ipv4/conf/all/arp_announce")
                        == "2"
            }
        }
    }

    func step11MetalLBManifests() throws {
        for file in ["namespace.yaml", "metallb.yaml"] {
            let result = try cluster.tryKubectl(
                "apply", "-f", Examples.path("metallb-0.12.1/\(file)"))
            #expect(result.exitCode == 0, "\(result.errorOutput)")
        }
        #expect(try cluster.kubectl("get", "podsecuritypolicies", "-o", "name").contains("speaker"))
        try cluster.kubectl(
            "delete", "-f", Examples.path("metallb-0.12.1/metallb.yaml"), "--timeout=60s")
    }

    func step12DeleteTakesAllAway() throws {
        try cluster.kubectl("delete", "pod", "debug", "--now")
        let result = try cluster.tryKubectl(
            "delete", "--ignore-not-found", "--timeout=60s", "-f", Examples.path(""))
        #expect(result.exitCode == 0, "\(result.errorOutput)")
        try eventually("pods and Services are gone", withinSeconds: 60) {
            let pods = try cluster.kubectl("get", "pods", "-o", "name")
            let services = try cluster.kubectl("get", "svc", "-o", "name")
            return pods.isEmpty && services == "service/kubernetes"
        }
        try eventually("the kernel has no element of them") {
            try !cluster.onNode(1, "nft", "list", "ruleset").contains("31000")
        }
    }

    func step13DownAndUpAgain() throws {
        let before = try addresses()
        try cluster.down()
        let namespaces = try Command.check(["ip", "netns", "list"]).output
        #expect(!namespaces.contains("\(cluster.name)-"))
        #expect(!(try Command.check(["ip", "-o", "link"]).output.contains("\(cluster.name)-")))
        #expect(!(try Command.check(["nft", "list", "tables"]).output.contains(cluster.name)))
        #expect(!(try Command.check(["ip", "route"]).output.contains(cluster.lan)))
        try cluster.up()
        #expect(try addresses() == before)
        try cluster.kubectl("rollout", "status", "deployment/hostname-deployment", "--timeout=60s")
        let given = try address("hostname-svc-lb")
        try eventually("traffic flows again", withinSeconds: 30) {
            try cluster.curl(given).hasPrefix("Hello")
        }
    }

    // MARK: Questions

    private func clusterIP(_ service: String) throws -> String {
        try cluster.kubectl("get", "svc", service, "-o", "jsonpath={.spec.clusterIP}")
    }

    private func nodePort(_ service: String) throws -> Int {
        Int(try cluster.kubectl("get", "svc", service, "-o", "jsonpath={.spec.ports[0].nodePort}"))
            ?? 0
    }

    private func address(_ service: String) throws -> String {
        try cluster.kubectl(
            "get", "svc", service, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
    }

    private func addresses() throws -> String {
        try cluster.kubectl(
            "get", "svc", "-A", "-o",
            "jsonpath={range .items[*]}{.metadata.name} {.spec.clusterIP} "
                + "{.spec.ports[*].nodePort} {.status.loadBalancer.ingress[*].ip}{'\\n'}{end}")
    }

    /// A web server outside the cluster that answers `outside`.
    private static let outsideServer = """
        import http.server, sys
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "7")
                self.end_headers()
                self.wfile.write(b"outside")
            def log_message(self, *arguments): pass
        http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
        """
}

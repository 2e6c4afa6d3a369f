import Informer
import JSON
import KubernetesAPI
import Netlink
import NetworkTypes
import TestSupport
import Testing

@testable import PodRuntime

/// The pure parts by tables.
@Suite struct TableTests {
    @Test(arguments: [
        ("1", Int64(1000)), ("250m", 250), ("1.5", 1500), ("64Mi", 67_108_864_000),
        ("2G", 2_000_000_000_000), ("1e3", 1_000_000), ("0.1", 100),
    ])
    func readsQuantities(text: String, thousandths: Int64) {
        #expect(Quantity(text)?.thousandths == thousandths)
    }

    @Test(arguments: ["", "x", "1 Gi", "Mi", "1Mix", "--1", "1e99"])
    func refusesQuantities(text: String) { #expect(Quantity(text) == nil) }

    @Test(arguments: [
        ("nginx", "docker.io/library/nginx:latest"), ("a/b:1", "docker.io/a/b:1"),
        ("localhost/x", "localhost/x:latest"), ("h:5000/x:2", "h:5000/x:2"),
        ("r.io/a/b@sha256:00", "r.io/a/b@sha256:00"), ("", nil), ("a//b", nil), ("a b", nil),
        ("../x", nil), ("a:b;c", nil),
    ])
    func readsImageNames(text: String, full: String?) {
        #expect(ImageReference(text)?.description == full)
    }

    @Test(arguments: [
        "portolan/hostname", "portolan/hostname:v2", "docker.io/portolan/hostname",
    ])
    func knowsBuiltInImages(text: String) {
        #expect(ImageReference(text)?.builtIn == .hostname)
    }

    @Test(arguments: [
        ("$(A)", "1"), ("x$(A)y$(B)", "x1y2"), ("$(C)", "$(C)"), ("$$(A)", "$(A)"), ("$", "$"),
        ("$A", "$A"), ("$(A", "$(A"), ("100%", "100%"),
    ])
    func expandsVariables(text: String, expected: String) {
        #expect(ContainerEnvironment.expand(text) { ["A": "1", "B": "2"][$0] } == expected)
    }

    // MARK: - Addresses

    @Test func givesAddressesOutInTurn() throws {
        let prefix = try #require(Prefix("10.244.1.0/29"))
        var addresses = PodAddresses(prefix: prefix)
        let first = (0..<5).compactMap { addresses.allocate(uid: "p\($0)")?.description }
        #expect(first == (2...6).map { "10.244.1.\($0)" })
        #expect(addresses.allocate(uid: "p5") == nil)
        #expect(addresses.allocate(uid: "p1")?.description == "10.244.1.3")
        addresses.release(uid: "p1")
        addresses.release(uid: "p3")
        #expect(
            addresses.allocate(uid: "p6", preferred: IPAddress("10.244.1.5"))?.description
                == "10.244.1.5")
        // Taken, the broadcast address, the network's own, another network's.
        for text in ["10.244.1.5", "10.244.1.7", "10.244.1.0", "10.9.9.9"] {
            addresses.release(uid: "p7")
            let address = addresses.allocate(uid: "p7", preferred: IPAddress(text))
            #expect(address?.description == "10.244.1.3", "\(text)")
        }
    }

    // MARK: - Bundles

    private func bundle(_ more: JSONValue, image: ImageConfiguration = ImageConfiguration())
        throws -> JSONValue
    {
        var container: JSONValue = ["name": "main", "image": "x"]
        for (name, value) in more.object ?? [:] { container[name] = value }
        let pod = try Pod(json: [
            "metadata": ["name": "p", "namespace": "default", "uid": "u"],
            "spec": ["containers": [container]],
        ])
        let spec = PodSpecification(pod)
        return try Bundle(
            container: spec.containers[0], pod: spec, image: image,
            environment: [("A", "1")],
            mounts: [
                BundleMount(source: "/v/a", destination: "/data/in", isReadOnly: true),
                BundleMount(source: "/v/b", destination: "/data", isReadOnly: false),
            ],
            networkNamespacePath: "/run/netns/n", ipcNamespacePath: "/ipc",
            utsNamespacePath: "/uts", cgroupPath: "/portolan/c",
            user: ContainerUser(uid: 0, gid: 0, additionalGids: [])
        ).configuration()
    }

    @Test func laysBundlesOut() throws {
        let json = try bundle([
            "command": ["run", "$(A)"], "args": ["x"], "workingDir": "/w",
            "resources": ["limits": ["cpu": "500m", "memory": "64Mi"]],
            "securityContext": ["readOnlyRootFilesystem": true],
        ])
        #expect(json["process", "args"] == ["run", "1", "x"])
        #expect(json["process", "cwd"] == "/w")
        #expect(json["root", "readonly"] == true)
        #expect(
            json["linux", "resources", "cpu"] == ["shares": 512, "quota": 50000, "period": 100_000])
        #expect(json["linux", "resources", "memory"] == ["limit": 67_108_864])
        let namespaces = (json["linux", "namespaces"]?.array ?? []).compactMap {
            $0["type"]?.string
        }
        #expect(Set(namespaces) == ["mount", "cgroup", "pid", "network", "ipc", "uts"])
        let mounts = (json["mounts"]?.array ?? []).compactMap { $0["destination"]?.string }
        #expect(mounts.last == "/data/in", "a mount inside another comes after it")
        #expect(!mounts.contains("/sys/fs/cgroup"), "runc 1.1 fails with it on hybrid cgroups")
        #expect(json["process", "capabilities", "bounding"]?.array?.count == 14)
    }

    @Test func mergesCommandsWithTheImages() throws {
        let image = ImageConfiguration(entrypoint: ["e"], command: ["c"])
        let table: [(JSONValue, [String])] = [
            ([:], ["e", "c"]), (["args": ["a"]], ["e", "a"]), (["command": ["k"]], ["k"]),
            (["command": ["k"], "args": ["a"]], ["k", "a"]),
        ]
        for (more, expected) in table {
            let arguments = try bundle(more, image: image)["process", "args"]?.array
            #expect(arguments?.compactMap(\.string) == expected)
        }
        #expect(throws: ContainerConfigError.self) { try bundle([:]) }
    }

    @Test func givesAndTakesCapabilities() throws {
        func capabilities(_ change: JSONValue) throws -> [String] {
            let json = try bundle([
                "command": ["x"], "securityContext": ["capabilities": change],
            ])
            return (json["process", "capabilities", "bounding"]?.array ?? []).compactMap(\.string)
        }
        #expect(try capabilities(["drop": ["ALL"], "add": ["NET_ADMIN"]]) == ["CAP_NET_ADMIN"])
        #expect(try !capabilities(["drop": ["NET_RAW"]]).contains("CAP_NET_RAW"))
        #expect(try capabilities(["add": ["SYS_TIME"]]).contains("CAP_SYS_TIME"))
    }

    // MARK: - Files

    @Test func writesResolvConfByPolicy() throws {
        let dns = PodFiles.ClusterDNS(
            address: .v4(0x0A60_000A), domain: "cluster.local",
            machineResolvConf: "search example\nnameserver 9.9.9.9\noptions edns0\n")
        func text(_ spec: JSONValue) throws -> String {
            let pod = try Pod(json: [
                "metadata": ["name": "p", "namespace": "ns", "uid": "u"], "spec": spec,
            ])
            return PodFiles.resolvConf(PodSpecification(pod), dns)
        }
        let cluster = """
            search ns.svc.cluster.local svc.cluster.local cluster.local
            nameserver 10.96.0.10
            options ndots:5

            """
        let machine = "search example\nnameserver 9.9.9.9\noptions edns0\n"
        #expect(try text([:]) == cluster)
        #expect(try text(["hostNetwork": true]) == machine)
        #expect(
            try text(["hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"]) == cluster)
        #expect(try text(["dnsPolicy": "Default"]) == machine)
        let none: JSONValue = [
            "dnsPolicy": "None",
            "dnsConfig": [
                "nameservers": ["1.1.1.1"], "options": [["name": "ndots", "value": "2"]],
            ],
        ]
        #expect(try text(none) == "nameserver 1.1.1.1\noptions ndots:2\n")
    }

    @Test func choosesUsers() throws {
        let passwd = "root:x:0:0::/root:\nweb:x:33:34::/:\n"
        let group = "root:x:0:\nextra:x:50:web\n"
        func user(_ context: JSONValue, image: String = "") throws -> ContainerUser {
            let pod = try Pod(json: [
                "metadata": ["name": "p"],
                "spec": ["containers": [["name": "c", "securityContext": context]]],
            ])
            let spec = PodSpecification(pod)
            return try PodFiles.user(
                spec.containers[0], spec, imageUser: image, passwd: passwd, group: group)
        }
        #expect(try user([:]).uid == 0)
        #expect(
            try user([:], image: "web") == ContainerUser(uid: 33, gid: 34, additionalGids: [50]))
        #expect(try user([:], image: "7:8").gid == 8)
        #expect(try user(["runAsUser": 33, "runAsGroup": 1], image: "9").gid == 1)
        #expect(throws: ContainerConfigError.self) { try user([:], image: "nobody") }
        #expect(throws: ContainerConfigError.self) { try user(["runAsNonRoot": true]) }
    }

    // MARK: - Logs

    private let log = Array(
        """
        2026-01-01T00:00:00.000000001+00:00 stdout F one
        2026-01-01T00:00:01.000000000+00:00 stdout P tw
        2026-01-01T00:00:01.000000001+00:00 stdout F o
        2026-01-01T00:00:02.000000000+00:00 stderr F three

        """.utf8)

    @Test func readsLogsInAnyPieces() throws {
        for size in [1, 2, 7, 50, 1000] {
            var lines = LogLines(LogOptions())
            var output: [UInt8] = []
            var rest = log[...]
            while !rest.isEmpty {
                output += lines.read(Array(rest.prefix(size)))
                rest = rest.dropFirst(size)
            }
            #expect(String(decoding: output, as: UTF8.self) == "one\ntwo\nthree\n")
        }
        var since = LogLines(LogOptions(since: Timestamp("2026-01-01T00:00:02Z")))
        #expect(String(decoding: since.read(log), as: UTF8.self) == "three\n")
        var stamped = LogLines(LogOptions(hasTimestamps: true, limitBytes: 60))
        #expect(
            String(decoding: stamped.read(log), as: UTF8.self)
                == "2026-01-01T00:00:00.000000001+00:00 one\n2026-01-01T00:00:01.")
        #expect(stamped.isFull)
    }

    @Test(arguments: [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (9, "one\ntwo\nthree\n")])
    func findsTheTail(count: Int, expected: String) {
        var lines = LogLines(LogOptions())
        let offset = LogLines.tailOffset(count, of: log)
        #expect(String(decoding: lines.read(Array(log[offset...])), as: UTF8.self) == expected)
    }

    // MARK: - Requests

    @Test func readsRequests() throws {
        let request = try #require(
            NodeRequest(target: "/exec/ns/pod/c?command=sh&command=a+b%26&tty=1&x"))
        #expect(request.path == ["exec", "ns", "pod", "c"])
        #expect(request.values("command") == ["sh", "a b&"])
        #expect(request.isSet("tty") && !request.isSet("input"))
        for target in ["/a/../b", "/a/%2e%2e/b", "/a/b%2Fc", "/%zz", "/a?x=%f"] {
            #expect(NodeRequest(target: target) == nil, "\(target)")
        }
        let logs = try #require(
            NodeRequest(target: "/l?tailLines=5&sinceTime=2026-01-01T00:00:00Z"))
        #expect(try logs.logOptions().tailLines == 5)
        let broken = try #require(NodeRequest(target: "/l?tailLines=x"))
        #expect(throws: NodeRequestError.self) { try broken.logOptions() }
    }

    @Test func answersPipelinedRequests() {
        var connection = HostnameConnection(body: "hi\n")
        let request = Array(
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n".utf8)
        for byte in request { connection.receive([byte], isEnding: false) }
        let text = String(decoding: connection.output, as: UTF8.self)
        #expect(text.split(separator: "hi\n").count == 2)
        #expect(!connection.closesAfterOutput)
        connection.receive(Array("GET / HTTP/1.0\r\n\r\n".utf8)[...], isEnding: false)
        #expect(connection.closesAfterOutput)
        var broken = HostnameConnection(body: "hi\n")
        broken.receive(Array("nonsense\r\n\r\n".utf8)[...], isEnding: false)
        #expect(String(decoding: broken.output, as: UTF8.self).hasPrefix("HTTP/1.1 400"))
    }

    @Test func routesToOtherNodes() throws {
        let nodes = try (1...3).map { number in
            try Node(json: [
                "metadata": ["name": .string("n\(number)")],
                "spec": ["podCIDRs": [.string("10.244.\(number).0/24")]],
                "status": [
                    "addresses": [
                        ["type": "InternalIP", "address": .string("172.30.0.1\(number)")]
                    ]
                ],
            ])
        }
        let routes = NodeRoutes.wanted(nodes, besides: "n2", linkIndex: 4)
        #expect(
            Dictionary(
                uniqueKeysWithValues: routes.map {
                    ($0.key.description, $0.value.gateway?.description)
                })
                == ["10.244.1.0/24": "172.30.0.11", "10.244.3.0/24": "172.30.0.13"])
    }

    @Test func namesServicesInTheEnvironment() throws {
        let service = try Service(json: [
            "metadata": ["name": "web-a", "namespace": "ns"],
            "spec": [
                "clusterIP": "10.96.0.7",
                "ports": [["name": "http-x", "port": 80, "protocol": "TCP"]],
            ],
        ])
        let variables = ServiceEnvironment.variables(
            [service], namespace: "ns", enablesLinks: true)
        let map = Dictionary(uniqueKeysWithValues: variables.map { ($0.name, $0.value) })
        #expect(map["WEB_A_SERVICE_HOST"] == "10.96.0.7")
        #expect(map["WEB_A_SERVICE_PORT_HTTP_X"] == "80")
        #expect(map["WEB_A_PORT"] == "tcp://10.96.0.7:80")
        #expect(map["WEB_A_PORT_80_TCP_ADDR"] == "10.96.0.7")
        #expect(
            ServiceEnvironment.variables([service], namespace: "ns", enablesLinks: false).isEmpty)
    }
}

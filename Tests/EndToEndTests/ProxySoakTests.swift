import Glibc
import JSON
import KubernetesAPI
import NFTables
import Netlink
import NetworkTypes
import TestSupport
import Testing

@testable import ServiceProxy

/// Random changes by kubectl while the nodes' processes are killed: whenever the dust has settled,
/// each node's kernel holds what the objects say, and nothing else has been touched.
@Suite(.offPool) struct ProxySoakTests {
    /// `make soak` kills some hundreds of times.
    private static let rounds = getenv("PORTOLAN_SOAK") == nil ? 4 : 200

    @Test func theKernelIsWhatTheObjectsSayAfterKills() throws {
        try StandaloneFixture.run { cluster in
            var changes = RandomChanges(seed: 11, nodes: [1, 2].map(cluster.nodeName))
            for node in 1...2 { _ = try cluster.onNode(node, "nft", "add table ip somebody-elses") }
            for round in 0..<Self.rounds {
                // Before, between and after the writes; a third of the rounds at no node at all.
                let moment = changes.number(4)
                if moment == 0 { killNodes(cluster, &changes) }
                let manifests = changes.manifests(round)
                try cluster.kubectl("apply", "-f", "-", input: manifests)
                if moment == 1 { killNodes(cluster, &changes) }
                for victim in changes.victims() {
                    try cluster.kubectl(
                        "delete", "--ignore-not-found", "--wait=false", victim.0, victim.1)
                }
                try cluster.kubectl("apply", "-f", "-", input: changes.sentinels(round))
                if moment == 2 { killNodes(cluster, &changes) }
                try waitUntilProgrammed(cluster)
                for node in 1...2 {
                    let found = try disagreements(cluster, node)
                    #expect(found.isEmpty, "round \(round), node \(node): \(found)")
                }
            }
            for node in 1...2 {
                #expect(try cluster.onNode(node, "nft", "list tables").contains("somebody-elses"))
                let metrics = try cluster.curl("\(cluster.nodeAddress(node)):10249/metrics")
                #expect(metrics.contains("\nportolan_proxy_audit_differences_total 0\n"))
            }
        }
    }

    private func killNodes(_ cluster: StandaloneFixture, _ changes: inout RandomChanges) {
        for process in cluster.nodeProcesses where changes.number(3) > 0 { kill(process, SIGKILL) }
    }

    /// What a watch brings comes in order: when a node has programmed the last objects written, it
    /// has seen every change before them.
    private func waitUntilProgrammed(_ cluster: StandaloneFixture) throws {
        func revision(_ kind: String) throws -> String {
            try cluster.kubectl(
                "get", kind, "sentinel", "-o", "jsonpath={.metadata.resourceVersion}")
        }
        let query =
            "services=\(try revision("service"))"
            + "&endpointSlices=\(try revision("endpointslice"))&timeoutMilliseconds=2000"
        for node in 1...2 {
            try eventually("node \(node) has programmed everything", withinSeconds: 60) {
                let url = "http://\(cluster.nodeAddress(node)):10256/programmed?\(query)"
                return try Command.run([
                    "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", url,
                ]).output == "200"
            }
        }
    }

    // MARK: - Kernel and objects

    private func list(_ cluster: StandaloneFixture, _ kind: String) throws -> [JSONValue] {
        let text = try cluster.kubectl("get", kind, "--all-namespaces", "-o", "json")
        return try JSONValue(parsing: text)["items"]?.array ?? []
    }

    /// What differs between a node's kernel and rules computed afresh from the objects.
    private func disagreements(_ cluster: StandaloneFixture, _ node: Int) throws -> [String] {
        let name = cluster.nodeName(node)
        let kernel = try NFTablesKernel(in: NetworkNamespace.open(name))
        guard let range = Prefix("\(cluster.servicePrefix).0.0/16"),
            let dns = IPAddress("\(cluster.servicePrefix).0.10")
        else { throw TestFailure("no ranges") }
        var options = RulesetOptions(
            tableName: cluster.name, serviceCIDRs: [range], podCIDRs: [],
            locallyServedAddresses: [dns], masqueradeBit: 1 << 14, masqueradesAll: false,
            nodePortPrefixes: nil)
        options.dropsInvalidPackets = false
        var planner = RulesetPlanner(options, families: [.ipv4, .ipv6])
        var found: [String] = []
        for family in planner.families {
            let reading = try KernelReading(planner.ruleset(family), from: kernel)
            planner.adopt(reading.numbers, family)
        }
        let compiler = ServiceCompiler(
            node: NodeContext(nodeName: name, locallyServedAddresses: [dns]))
        let slices = try list(cluster, "endpointslices").map(EndpointSlice.init(json:))
        var ignored = PlannedChanges()
        for object in try list(cluster, "services") {
            let service = try Service(json: object)
            let rules = compiler.compile(
                service, slices: slices.filter { $0.serviceKey == service.key })
            planner.set(rules, for: service.key, &ignored)
        }
        // A treatment that is needed and has no chain in the kernel is a difference by itself. Some
        // were needed only until an older Service took the address that two claim.
        _ = planner.forgetUnusedTreatments()
        found += ignored.newTreatments.filter { planner.numbers($0.0)[$0.1] != nil }
            .map { "no chain \($0.1.chainName)" }
        for family in planner.families {
            let reading = try KernelReading(planner.ruleset(family), from: kernel)
            found += compare(reading, planner, family)
        }
        return found
    }

    /// Endpoints may stand in other slots than a fresh computation gives them; what the rules draw
    /// from must be the same.
    private func compare(
        _ reading: KernelReading, _ planner: RulesetPlanner, _ family: IPAddress.Family
    ) -> [String] {
        var found: [String] = []
        var slots: [Value: [UInt32: Value]] = [:]
        var actual: [ElementID: Value] = [:]
        for (id, value) in reading.elements {
            guard id.set == .endpoints || id.set == .nodePortEndpoints else {
                actual[id] = value
                continue
            }
            let end = id.key.byteCount - 4
            slots[Value(bytes: id.key.bytes.prefix(end)), default: [:]][id.key.number(at: end)] =
                value
        }
        for (id, value) in planner.allElements() where id.family == family {
            if id.set == .endpoints || id.set == .nodePortEndpoints { continue }
            if actual.removeValue(forKey: id) != value { found.append("\(id.set) \(id.key)") }
        }
        found += actual.keys.map { "\($0.set) \($0.key) is too much" }
        for (key, rules) in planner.services {
            for (port, frontend) in rules.frontends
            where frontend.frontend.family == family && planner.owners[frontend.frontend] == key {
                let there = slots.removeValue(forKey: frontend.frontend.key) ?? [:]
                let ranges = frontend.dispatches.map(\.range)
                if there.count != (ranges.allSatisfy { $0.count == 0 } ? 0 : port.slots.count) {
                    found.append("\(key) \(frontend.frontend): \(there.count) slots")
                }
                for range in ranges {
                    let drawn = Set(range.indexes.compactMap { there[UInt32($0)] })
                    if drawn != Set(port.slots[range.indexes].map(\.value)) {
                        found.append("\(key) \(frontend.frontend): other endpoints")
                    }
                }
            }
        }
        return found + slots.keys.map { "endpoints of \($0) are too many" }
    }
}

/// Random Services without selector, and slices for them by hand.
private struct RandomChanges {
    private var state: UInt64
    private let nodes: [String]
    private static let serviceCount = 8

    init(seed: UInt64, nodes: [String]) {
        state = seed
        self.nodes = nodes
    }

    /// A number below `bound` (SplitMix64).
    mutating func number(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((value ^ (value >> 31)) % UInt64(bound))
    }

    /// One to six objects to apply, as a list in JSON.
    mutating func manifests(_ round: Int) -> String {
        var items: [JSONValue] = []
        for _ in 0...number(6) {
            let index = number(Self.serviceCount)
            items.append(number(3) == 0 ? service(index, round) : slice(index, number(2)))
        }
        return list(items)
    }

    /// What is deleted in this round: mostly nothing.
    mutating func victims() -> [(String, String)] {
        switch number(3) {
        case 0: [("service", "s\(number(Self.serviceCount))")]
        case 1: [("endpointslice", "s\(number(Self.serviceCount))-\(number(2))")]
        default: []
        }
    }

    /// A Service and a slice that are new in every round.
    func sentinels(_ round: Int) -> String {
        var service: JSONValue = ["apiVersion": "v1", "kind": "Service"]
        service["metadata"] = ["name": "sentinel", "labels": ["round": .string("\(round)")]]
        service["spec"] = ["ports": [["port": 80]]]
        var slice: JSONValue = ["apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"]
        slice["metadata"] = [
            "name": "sentinel",
            "labels": ["kubernetes.io/service-name": "sentinel", "round": .string("\(round)")],
        ]
        slice["addressType"] = "IPv4"
        slice["ports"] = [["name": "", "port": 80]]
        slice["endpoints"] = [["addresses": ["192.0.2.1"]]]
        return list([service, slice])
    }

    private func list(_ items: [JSONValue]) -> String {
        let list: JSONValue = ["apiVersion": "v1", "kind": "List", "items": .array(items)]
        return list.serializedText
    }

    /// The type follows from the name, so that an update never has to drop fields.
    private mutating func service(_ index: Int, _ round: Int) -> JSONValue {
        let type = ["ClusterIP", "NodePort", "LoadBalancer"][index % 3]
        var spec: JSONValue = ["type": .string(type)]
        spec["ports"] = [
            ["name": "", "port": 80, "protocol": .string(index.isMultiple(of: 2) ? "TCP" : "UDP")]
        ]
        spec["internalTrafficPolicy"] = number(3) == 0 ? "Local" : "Cluster"
        if index % 3 > 0 { spec["externalTrafficPolicy"] = number(2) == 0 ? "Local" : "Cluster" }
        spec["sessionAffinity"] = number(3) == 0 ? "ClientIP" : "None"
        if number(3) == 0 { spec["externalIPs"] = ["192.0.2.7"] }
        var object: JSONValue = ["apiVersion": "v1", "kind": "Service"]
        object["metadata"] = ["name": .string("s\(index)")]
        object["spec"] = spec
        return object
    }

    private mutating func slice(_ index: Int, _ part: Int) -> JSONValue {
        var object: JSONValue = ["apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"]
        object["metadata"] = [
            "name": .string("s\(index)-\(part)"),
            "labels": ["kubernetes.io/service-name": .string("s\(index)")],
        ]
        object["addressType"] = "IPv4"
        object["ports"] = [
            [
                "name": "", "port": 8080,
                "protocol": .string(index.isMultiple(of: 2) ? "TCP" : "UDP"),
            ]
        ]
        var endpoints: [JSONValue] = []
        for last in 0..<number(6) {
            let isReady = number(4) > 0
            endpoints.append([
                "addresses": [.string("192.0.2.\(10 + part * 20 + last + number(3) * 6)")],
                "nodeName": .string(nodes[number(nodes.count)]),
                "conditions": [
                    "ready": .bool(isReady), "serving": .bool(isReady || number(2) == 0),
                    "terminating": .bool(!isReady),
                ],
            ])
        }
        object["endpoints"] = .array(endpoints)
        return object
    }
}

import AddressPools
import JSON
import KubernetesAPI
import NetworkTypes
import Speaker
import Testing

func node(
    _ name: String, labels: [String: String] = [:], isNetworkUnavailable: Bool = false,
    address: String = "172.30.0.11"
) throws -> Node {
    let unavailable = isNetworkUnavailable ? "True" : "False"
    return try Node(json: [
        "metadata": ["name": .string(name), "labels": JSONValue(labels)],
        "status": [
            "addresses": [["type": "InternalIP", "address": .string(address)]],
            "conditions": [
                ["type": "Ready", "status": "True"],
                ["type": "NetworkUnavailable", "status": .string(unavailable)],
            ],
        ],
    ])
}

func service(
    _ name: String, _ addresses: String..., isLocal: Bool = false,
    labels: [String: String] = [:], created: String = "2026-01-01T00:00:00Z"
) throws -> Service {
    try Service(json: [
        "metadata": [
            "name": .string(name), "namespace": "default", "labels": JSONValue(labels),
            "creationTimestamp": .string(created), "uid": .string("uid-" + name),
        ],
        "spec": [
            "type": "LoadBalancer", "clusterIP": "10.96.0.9",
            "externalTrafficPolicy": isLocal ? "Local" : "Cluster",
            "ports": [["port": 80]],
        ],
        "status": [
            "loadBalancer": ["ingress": .array(addresses.map { JSONValue(["ip": $0]) })]
        ],
    ])
}

@Suite struct ElectionTests {
    private func inputs(
        nodes names: [String], services: [Service],
        advertisement: L2Advertisement = L2Advertisement(name: "all")
    ) throws -> ElectionInputs {
        var inputs = ElectionInputs()
        let range = try AddressRange(parsing: "10.1.0.0/16")
        inputs.configuration.pools = [AddressPool(name: "p", ranges: [range])]
        inputs.configuration.l2Advertisements = [advertisement]
        for name in names {
            inputs.nodes[name] = try node(name)
            inputs.speakers[name] = [SpeakerInterface(name: "eth0", prefixes: [])]
        }
        for service in services {
            inputs.services[service.key] = service
            inputs.servingNodes[service.key] = Set(names)
        }
        return inputs
    }

    private func addresses(_ count: Int) throws -> [Service] {
        try (0..<count).map { index in
            let created = "2026-01-01T00:\(10 + index / 60 % 50):\(10 + index % 50)Z"
            return try service(
                "s\(index)", "10.1.\(index / 250).\(index % 250)", created: created)
        }
    }

    private func owners(_ inputs: ElectionInputs) -> [IPAddress: String] {
        Election(inputs).decisions.compactMapValues(\.owner)
    }

    @Test func everySpeakerComesToTheSameDecision() throws {
        let inputs = try inputs(nodes: ["a", "b", "c"], services: try addresses(40))
        #expect(Election(inputs) == Election(inputs))
        #expect(owners(inputs).count == 40)
    }

    @Test(arguments: [2, 3, 5, 16]) func noNodeHasMoreThanAQuarterAboveItsShare(count: Int) throws {
        let names = (0..<count).map { "node-\($0)" }
        let owners = owners(try inputs(nodes: names, services: try addresses(200)))
        let loads = Dictionary(grouping: owners.values) { $0 }.mapValues(\.count)
        #expect(loads.count == count)
        #expect((loads.values.max() ?? 0) <= (200 * 5 + 4 * count - 1) / (4 * count))
    }

    @Test func aNewAddressMovesNoOlderOne() throws {
        let all = try addresses(80)
        var before: [IPAddress: String] = [:]
        let ordered = all.sorted { $0.metadata.creationTimestamp < $1.metadata.creationTimestamp }
        for count in stride(from: 5, through: 80, by: 5) {
            let now = owners(
                try inputs(nodes: ["a", "b", "c"], services: Array(ordered.prefix(count))))
            for (address, owner) in before { #expect(now[address] == owner) }
            before = now
        }
    }

    @Test func theLossOfANodeMovesFewOthers() throws {
        let services = try addresses(120)
        let before = owners(try inputs(nodes: ["a", "b", "c", "d"], services: services))
        let after = owners(try inputs(nodes: ["a", "b", "c"], services: services))
        let kept = before.filter { $0.value != "d" }
        let moved = kept.count { after[$0.key] != $0.value }
        #expect(moved <= kept.count / 5)
        #expect(after.count == 120)
    }

    @Test func localNeedsAnEndpointOnTheNode() throws {
        let local = try service("web", "10.1.0.1", isLocal: true)
        var inputs = try inputs(nodes: ["a", "b"], services: [local])
        inputs.servingNodes[local.key] = ["b"]
        let election = Election(inputs)
        let address = try #require(IPAddress("10.1.0.1"))
        #expect(election.decisions[address]?.owner == "b")
        #expect(election.reason(address, local.key, node: "a") == .noLocalEndpoints)
        #expect(election.reason(address, local.key, node: "b") == .announced)
    }

    @Test func saysWhyNot() throws {
        let web = try service("web", "10.1.0.1")
        let address = try #require(IPAddress("10.1.0.1"))
        func reason(_ change: (inout ElectionInputs) throws -> Void) throws -> AnnouncementReason {
            var inputs = try inputs(nodes: ["a"], services: [web])
            try change(&inputs)
            return Election(inputs).reason(address, web.key, node: "a")
        }
        #expect(try reason { _ in } == .announced)
        #expect(try reason { $0.servingNodes[web.key] = [] } == .noEndpoints)
        #expect(try reason { $0.configuration.pools = [] } == .ipNotAllowed)
        #expect(
            try reason { $0.configuration.l2Advertisements = [] } == .noMatchingAdvertisement)
        #expect(try reason { $0.speakers = [:] } == .speakerNotLive)
        #expect(
            try reason { $0.nodes["a"] = try node("a", isNetworkUnavailable: true) }
                == .nodeNetworkUnavailable)
        #expect(
            try reason {
                $0.configuration.l2Advertisements = [
                    L2Advertisement(name: "x", interfaces: ["eth7"])
                ]
            } == .noInterface)
        #expect(try reason { $0.services = [:] } == .noAddress)
    }

    @Test func excludedNodesAnnounceOnlyWhereAllAreExcluded() throws {
        let web = try service("web", "10.1.0.1")
        let address = try #require(IPAddress("10.1.0.1"))
        let label = ["node.kubernetes.io/exclude-from-external-load-balancers": ""]
        var inputs = try inputs(nodes: ["a", "b"], services: [web])
        inputs.nodes["a"] = try node("a", labels: label)
        #expect(Election(inputs).decisions[address]?.owner == "b")
        #expect(
            Election(inputs).reason(address, web.key, node: "a") == .nodeLabeledExcludeBalancers)
        inputs.nodes["b"] = try node("b", labels: label)
        let all = Election(inputs).decisions[address]
        #expect(all?.owner != nil && all?.isEveryNodeExcluded == true)
    }

    @Test func nodesInTheSubnetComeFirst() throws {
        let web = try service("web", "10.1.0.1")
        let address = try #require(IPAddress("10.1.0.1"))
        var inputs = try inputs(nodes: ["a", "b", "c"], services: [web])
        let prefix = try #require(Prefix("10.1.0.0/24"))
        inputs.speakers["c"] = [SpeakerInterface(name: "eth0", prefixes: [prefix])]
        #expect(Election(inputs).decisions[address]?.owner == "c")
        #expect(Election(inputs).reason(address, web.key, node: "a") == .notInSubnet)
    }

    @Test func preferredNodesComeBeforeBalance() throws {
        let preference = L2Advertisement.PreferredNode(
            weight: 10, selector: LabelSelector(matchLabels: ["fast": "yes"]))
        let advertisement = L2Advertisement(name: "x", preferredNodes: [preference])
        var inputs = try inputs(
            nodes: ["a", "b", "c"], services: try addresses(12), advertisement: advertisement)
        inputs.nodes["b"] = try node("b", labels: ["fast": "yes"])
        #expect(Set(owners(inputs).values) == ["b"])
    }

    @Test func sharersOfAnAddressHaveOneOwner() throws {
        let web = try service("web", "10.1.0.1")
        let mail = try service("mail", "10.1.0.1")
        let election = Election(try inputs(nodes: ["a", "b"], services: [web, mail]))
        let address = try #require(IPAddress("10.1.0.1"))
        let owner = try #require(election.decisions[address]?.owner)
        #expect(election.reason(address, web.key, node: owner) == .announced)
        #expect(election.reason(address, mail.key, node: owner) == .announced)
    }
}

import AddressPools
import JSON
import KubernetesAPI
import NetworkTypes
import Testing

private let layer2Head = "address-pools:\n- name: a\n  protocol: layer2\n"
private let bgpHead = "address-pools:\n- name: a\n  protocol: bgp\n"
private let onePool =
    "address-pools:\n- {name: a, protocol: layer2, addresses: [10.0.0.0/24]}\n"

@Suite struct ConfigMapTests {
    @Test func readsTheConfigMapOfTheTutorials() throws {
        let text = """
            address-pools:
            - name: default
              protocol: layer2
              addresses:
              - 10.1.0.2-10.1.0.100
            """
        let configuration = try LoadBalancerConfiguration(configMapText: text, objects: [])
        let pool = try #require(configuration.pools.first)
        #expect(pool.name == "default")
        #expect(pool.autoAssign && !pool.avoidBuggyIPs)
        #expect(pool.ranges == [try AddressRange(parsing: "10.1.0.2-10.1.0.100")])
        #expect(
            configuration.l2Advertisements == [L2Advertisement(name: "default", pools: ["default"])]
        )
        #expect(configuration.warnings.isEmpty)
        #expect(configuration.prefixes.count == 8)
    }

    @Test func readsEveryField() throws {
        let text = """
            peers:
            - my-asn: 64500
              peer-asn: 64501
              peer-address: 10.0.0.1
              source-address: 10.0.0.9
              peer-port: 1179
              hold-time: 2m
              keepalive-time: 40s
              router-id: 10.0.0.9
              password: secret
              bfd-profile: quick
              ebgp-multihop: true
              node-selectors:
              - match-labels: {rack: "1"}
                match-expressions:
                - {key: kind, operator: NotIn, values: [edge]}
            address-pools:
            - name: web
              protocol: bgp
              addresses: [198.51.100.0/24, "2001:db8::/64"]
              auto-assign: false
              avoid-buggy-ips: true
              bgp-advertisements:
              - aggregation-length: 26
                aggregation-length-v6: 80
                localpref: 100
                communities: [no-advertise, 64512:7, "large:64512:1:2"]
            bgp-communities:
              no-advertise: 65535:65282
            bfd-profiles:
            - name: quick
              receive-interval: 35
              transmit-interval: 36
              detect-multiplier: 4
              echo-interval: 37
              echo-mode: true
              passive-mode: true
              minimum-ttl: 200
            """
        let configuration = try LoadBalancerConfiguration(configMapText: text, objects: [])
        let pool = try #require(configuration.pools.first)
        #expect(!pool.autoAssign && pool.avoidBuggyIPs)
        #expect(configuration.l2Advertisements.isEmpty)
        let peer = try #require(configuration.bgp.peers.first)
        #expect(peer.myASN == 64500 && peer.peerASN == 64501 && peer.peerPort == 1179)
        #expect(peer.holdTimeSeconds == 120 && peer.keepaliveTimeSeconds == 40)
        #expect(peer.bfdProfile == "quick" && peer.ebgpMultiHop && peer.password == "secret")
        #expect(peer.nodeSelectors.first?.matches(["rack": "1"]) == true)
        #expect(peer.nodeSelectors.first?.matches(["rack": "1", "kind": "edge"]) == false)
        let advertisement = try #require(configuration.bgp.advertisements.first)
        #expect(advertisement.aggregationLength == 26 && advertisement.aggregationLengthV6 == 80)
        #expect(advertisement.localPreference == 100)
        #expect(
            advertisement.communities
                == [.standard(65535, 65282), .standard(64512, 7), .large(64512, 1, 2)])
        let profile = try #require(configuration.bgp.bfdProfiles.first)
        #expect(profile.receiveIntervalMilliseconds == 35 && profile.detectMultiplier == 4)
        #expect(profile.echoMode && profile.passiveMode && profile.minimumTTL == 200)
        let warning = try #require(configuration.warnings.first)
        #expect(warning.source == .configMap)
        #expect(warning.message.contains("BGP is read but not yet acted on"))
    }

    @Test(arguments: [
        (
            "address-pools:\n- protocol: layer2\n  addresses: [10.0.0.0/24]",
            "line 2: address-pools[0]: field \"name\" is required"
        ),
        (
            "address-pools:\n- name: a\n  protocol: layer3\n  addresses: [10.0.0.0/24]",
            "line 3: address-pools[0].protocol: \"layer3\" is neither"
        ),
        (
            layer2Head + "  adresses: [10.0.0.0/24]",
            "line 4: address-pools[0].adresses: unknown field; did you mean \"addresses\"?"
        ),
        (
            layer2Head + "  addresses:\n  - 10.0.0.0/24\n  - 10.0.1.7",
            "line 6: address-pools[0].addresses[1]: \"10.0.1.7\" has no length"
        ),
        (
            layer2Head + "  addresses: [10.0.0.0/24]\n  auto-assign: maybe",
            "line 5: address-pools[0].auto-assign: must be true or false"
        ),
        ("address-pools: 7", "line 1: address-pools: must be a list"),
        ("address-pools:\n- name: a\n  protocol: [", "line"),
        (
            onePool + "- {name: b, protocol: layer2, addresses: [10.0.0.128/25]}",
            "10.0.0.128/25 of pool \"b\" overlaps 10.0.0.0/24 of pool \"a\""
        ),
        (
            onePool + "- {name: a, protocol: layer2, addresses: [10.0.1.0/24]}",
            "pool \"a\" is already defined"
        ),
        (
            "peers:\n- {my-asn: 1, peer-asn: 2, peer-address: 10.0.0.1, hold-time: 1s}",
            "peers[0].hold-time: must be 0s or from 3s"
        ),
        (
            "peers:\n- {my-asn: 1, peer-asn: 2, peer-address: x}",
            "peers[0].peer-address: \"x\" is no IP address"
        ),
        (
            bgpHead
                + "  addresses: [10.0.0.0/24]\n  bgp-advertisements:\n  - aggregation-length: 16",
            "line 6: address-pools[0].bgp-advertisements[0].aggregation-length: 16 reaches"
        ),
    ])
    func namesLineAndField(text: String, expected: String) {
        #expect {
            try LoadBalancerConfiguration(configMapText: text, objects: [])
        } throws: { error in
            let description = "\(error)"
            let isNamed = description.contains(expected)
            if !isNamed { Issue.record("got: \(description)") }
            return isNamed && description.contains("ConfigMap metallb-system/config: ")
        }
    }

    @Test func showsEveryFaultAtOnce() throws {
        let text = "address-pools:\n- {name: a, protocol: x, addresses: [y]}\npears: []"
        let error = try #require(throws: ConfigurationError.self) {
            try LoadBalancerConfiguration(configMapText: text, objects: [])
        }
        #expect(error.entries.count == 3)
    }

    @Test func anEmptyTextIsAnEmptyConfiguration() throws {
        let configuration = try LoadBalancerConfiguration(configMapText: "", objects: [])
        #expect(configuration.pools.isEmpty)
    }
}

@Suite struct PoolObjectTests {
    static func object(
        _ kind: String, _ name: String, labels: [String: String] = [:], _ spec: JSONValue
    ) -> Object {
        Object(json: [
            "apiVersion": "metallb.io/v1beta1", "kind": .string(kind),
            "metadata": [
                "name": .string(name), "namespace": "metallb-system", "labels": JSONValue(labels),
            ],
            "spec": spec,
        ])
    }

    @Test func readsPoolAndAdvertisement() throws {
        let pool = Self.object(
            "IPAddressPool", "gold", labels: ["tier": "gold"],
            [
                "addresses": ["10.2.0.0/24", "10.3.0.1-10.3.0.9"], "autoAssign": false,
                "avoidBuggyIPs": true,
                "serviceAllocation": [
                    "priority": 5, "namespaces": ["shop"],
                    "namespaceSelectors": [["matchLabels": ["team": "a"]]],
                    "serviceSelectors": [
                        ["matchExpressions": [["key": "x", "operator": "Exists"]]]
                    ],
                ],
            ])
        let advertisement = Self.object(
            "L2Advertisement", "gold",
            [
                "ipAddressPools": ["other"],
                "ipAddressPoolSelectors": [["matchLabels": ["tier": "gold"]]],
                "nodeSelectors": [["matchLabels": ["rack": "1"]]], "interfaces": ["eth0"],
                "serviceSelectors": [["matchLabels": ["app": "web"]]],
                "preferredNodeSelectors": [
                    ["weight": 70, "preference": ["matchLabels": ["fast": "yes"]]]
                ],
            ])
        let configuration = try LoadBalancerConfiguration(
            configMapText: nil, objects: [advertisement, pool])
        let read = try #require(configuration.pool(named: "gold"))
        #expect(!read.autoAssign && read.avoidBuggyIPs && read.ranges.count == 2)
        let rule = try #require(read.serviceAllocation)
        #expect(rule.admits(labels: ["x": ""], namespace: "shop", namespaceLabels: [:]))
        #expect(rule.admits(labels: ["x": ""], namespace: "b", namespaceLabels: ["team": "a"]))
        #expect(!rule.admits(labels: [:], namespace: "shop", namespaceLabels: [:]))
        #expect(!rule.admits(labels: ["x": ""], namespace: "b", namespaceLabels: [:]))
        let found = configuration.l2Advertisements(for: read, serviceLabels: ["app": "web"])
        #expect(found.count == 1)
        #expect(found.first?.preference(nodeLabels: ["fast": "yes"]) == 70)
        #expect(configuration.l2Advertisements(for: read, serviceLabels: [:]).isEmpty)
        #expect(
            configuration.warnings.map(\.message) == [
                "there is no pool \"other\": create it or correct spec.ipAddressPools"
            ])
    }

    @Test func mergesBothKindsAndRejectsOverlapBetweenThem() throws {
        let text = "address-pools:\n- {name: a, protocol: layer2, addresses: [10.0.0.0/24]}"
        let apart = Self.object("IPAddressPool", "b", ["addresses": ["10.0.1.0/24"]])
        let both = try LoadBalancerConfiguration(configMapText: text, objects: [apart])
        #expect(both.pools.map(\.name) == ["a", "b"])
        let over = Self.object("IPAddressPool", "b", ["addresses": ["10.0.0.9-10.0.0.9"]])
        let error = try #require(throws: ConfigurationError.self) {
            try LoadBalancerConfiguration(configMapText: text, objects: [over])
        }
        #expect(error.description.contains("overlaps 10.0.0.0/24 of pool \"a\""))
    }

    @Test func readsBGPKindsAndSaysThatTheyWait() throws {
        let objects = [
            Self.object(
                "BGPPeer", "tor",
                ["myASN": 64500, "peerASN": 64501, "peerAddress": "10.0.0.1", "holdTime": "90s"]),
            Self.object(
                "BGPAdvertisement", "adv", ["localPref": 7, "communities": ["named", "1:2"]]),
            Self.object("BFDProfile", "fast", ["receiveInterval": 20]),
            Self.object(
                "Community", "c", ["communities": [["name": "named", "value": "64512:9"]]]),
        ]
        let configuration = try LoadBalancerConfiguration(configMapText: nil, objects: objects)
        #expect(
            configuration.bgp.advertisements.first?.communities == [
                .standard(64512, 9), .standard(1, 2),
            ])
        #expect(
            configuration.warnings.map(\.source.kind) == [
                "BFDProfile", "BGPAdvertisement", "BGPPeer",
            ])
    }
}

import JSON
import KubernetesAPI
import NetworkTypes
import Testing

@testable import ServiceProxy

/// From a Service and its slices to what the kernel should hold.
@Suite struct ServiceCompilerTests {
    private let compiler = ServiceCompiler(
        node: NodeContext(nodeName: "node-1", zone: "east"))

    private func compile(
        _ spec: JSONValue, _ endpoints: [TestEndpoint], status: JSONValue = [:],
        labels: [String: String] = [:], annotations: [String: String] = [:]
    ) throws -> ProxyRules? {
        var full: JSONValue = ["clusterIP": "10.96.0.7", "type": "ClusterIP"]
        full["ports"] = [["port": 80, "targetPort": 8080]]
        for (key, value) in spec.object ?? [:] { full[key] = value }
        let service = try makeService(
            "web", full, status: status, labels: labels, annotations: annotations)
        return compiler.compile(service, slices: [try makeSlice(of: "web", port: 8080, endpoints)])
    }

    /// `role treatment offset+count` of every frontend, and what it is short-circuited to.
    private func summary(_ rules: ProxyRules?) -> [String] {
        (rules?.frontends ?? []).map { _, frontend in
            let range = frontend.dispatch.range
            var text = "\(frontend.role.rawValue): \(frontend.dispatch.treatment)"
            text += " \(range.offset)+\(range.count)"
            if let other = frontend.shortCircuit?.range {
                text += " | \(other.offset)+\(other.count)"
            }
            return text
        }
    }

    private let near = TestEndpoint("10.244.0.2", "node-1")
    private let far = TestEndpoint("10.244.1.2", "node-2")
    private let external: JSONValue = [
        "type": "NodePort", "ports": [["port": 80, "targetPort": 8080, "nodePort": 31000]],
    ]

    @Test func policies() throws {
        var local = external
        local["externalTrafficPolicy"] = "Local"
        let cases: [(JSONValue, [TestEndpoint], [String])] = [
            ([:], [near, far], ["cluster IP: cluster 0+2"]),
            ([:], [], ["cluster IP: reject 0+0"]),
            (["internalTrafficPolicy": "Local"], [near, far], ["cluster IP: cluster 0+1"]),
            (["internalTrafficPolicy": "Local"], [far], ["cluster IP: drop 0+0"]),
            (["internalTrafficPolicy": "Local"], [], ["cluster IP: reject 0+0"]),
            (external, [near, far], ["cluster IP: cluster 0+2", "node port: external 0+2"]),
            (external, [], ["cluster IP: reject 0+0", "node port: reject 0+0"]),
            (local, [near, far], ["cluster IP: cluster 0+2", "node port: local 0+1 | 0+2"]),
            (local, [far], ["cluster IP: cluster 0+1", "node port: local 0+0 | 0+1"]),
            (local, [], ["cluster IP: reject 0+0", "node port: reject 0+0"]),
        ]
        for (spec, endpoints, expected) in cases {
            #expect(summary(try compile(spec, endpoints)) == expected, "\(spec)")
        }
    }

    @Test func servingAndTerminatingEndpointsAreTheLastResort() throws {
        let dying = TestEndpoint(
            "10.244.0.3", "node-1", ready: false, serving: true, terminating: true)
        let dead = TestEndpoint(
            "10.244.0.4", "node-1", ready: false, serving: false, terminating: true)
        let starting = TestEndpoint("10.244.0.5", "node-1", ready: false, serving: false)
        var local = external
        local["externalTrafficPolicy"] = "Local"
        let cases: [([TestEndpoint], [String], [String])] = [
            ([near, dying, dead, starting], ["10.244.0.2"], ["0+1", "0+1 | 0+1"]),
            ([dying, dead, starting], ["10.244.0.3"], ["0+1", "0+1 | 0+1"]),
            // Judged separately: the node's own fall back while the cluster has ready ones.
            ([far, dying], ["10.244.0.3", "10.244.1.2"], ["1+1", "0+1 | 1+1"]),
            ([dead, starting], [], ["0+0", "0+0"]),
        ]
        for (endpoints, slots, ranges) in cases {
            let rules = try #require(try compile(local, endpoints))
            #expect(rules.ports[0].slots.map { "\($0.address)" } == slots)
            let found = summary(rules).map {
                $0.split(separator: " ").drop { $0.first?.isNumber != true }
            }
            #expect(found.map { $0.joined(separator: " ") } == ranges)
        }
    }

    @Test func hintsHoldOnlyWhereAllHaveOneAndOneMatches() throws {
        func endpoint(_ last: Int, zones: [String] = [], nodes: [String] = []) -> TestEndpoint {
            TestEndpoint("10.244.0.\(last)", "node-2", zones: zones, nodes: nodes)
        }
        let cases: [([TestEndpoint], [Int])] = [
            ([endpoint(1, zones: ["east"]), endpoint(2, zones: ["west"])], [1]),
            ([endpoint(1, zones: ["east"]), endpoint(2)], [1, 2]),
            ([endpoint(1, zones: ["north"]), endpoint(2, zones: ["west"])], [1, 2]),
            (
                [
                    endpoint(1, zones: ["east"], nodes: ["node-1"]),
                    endpoint(2, zones: ["east"], nodes: ["node-2"]),
                ], [1]
            ),
            (
                [
                    endpoint(1, zones: ["east"], nodes: ["node-3"]),
                    endpoint(2, zones: ["west"], nodes: ["node-2"]),
                ], [1]
            ),
        ]
        for (endpoints, expected) in cases {
            let rules = try #require(try compile([:], endpoints))
            #expect(
                rules.ports[0].slots.map { "\($0.address)" } == expected.map { "10.244.0.\($0)" })
        }
    }

    @Test func whatAProxyLeavesAlone() throws {
        #expect(try compile(["type": "ExternalName", "externalName": "a.b"], [near]) == nil)
        #expect(try compile(["clusterIP": "None"], [near]) == nil)
        #expect(
            try compile([:], [near], labels: ["service.kubernetes.io/service-proxy-name": "x"])
                == nil)
        var own = ServiceCompiler(
            node: NodeContext(
                nodeName: "node-1", zone: nil,
                locallyServedAddresses: [try #require(IPAddress("10.96.0.7"))]))
        var spec = external
        spec["clusterIP"] = "10.96.0.7"
        let rules = own.compile(
            try makeService("dns", spec), slices: [try makeSlice(of: "dns", port: 53, [near])])
        #expect(summary(rules) == ["node port: external 0+1"])
        // Another node's stands in for it, and this node's own is not asked again.
        let both = own.compile(
            try makeService("dns", spec), slices: [try makeSlice(of: "dns", port: 53, [near, far])])
        #expect(summary(both) == ["cluster IP: served 1+1", "node port: external 0+2"])
        #expect(both?.ports[0].slots.map { "\($0.address)" } == [near.address, far.address])
        own.findsSockets = false
        let without = own.compile(
            try makeService("dns", spec), slices: [try makeSlice(of: "dns", port: 53, [near, far])])
        #expect(summary(without) == ["node port: external 0+2"])
    }

    @Test func loadBalancerAddresses() throws {
        let status: JSONValue = [
            "loadBalancer": [
                "ingress": [
                    ["ip": "10.1.0.2", "ipMode": "VIP"], ["ip": "10.1.0.3", "ipMode": "Proxy"],
                    ["hostname": "lb.example"],
                ]
            ]
        ]
        var spec: JSONValue = ["type": "LoadBalancer", "externalIPs": ["10.9.0.1"]]
        spec["loadBalancerSourceRanges"] = [" 10.0.0.0/8 ", "10.1.0.0/16", "fd00::/8"]
        let rules = try #require(try compile(spec, [near], status: status))
        #expect(
            summary(rules) == [
                "cluster IP: cluster 0+1", "external IP: external 0+1",
                "load-balancer address: external 0+1",
            ])
        // The narrower range lies in the wider one; the other family's says nothing here.
        #expect(
            rules.ports[0].frontends.map(\.allowedSources) == [nil, nil, [Prefix("10.0.0.0/8")]])
        spec["loadBalancerSourceRanges"] = []
        let annotated = try #require(
            try compile(
                spec, [near], status: status,
                annotations: [ServiceCompiler.sourceRangesAnnotation: "10.2.0.0/16, 10.3.0.0/16"]))
        #expect(annotated.ports[0].frontends[2].allowedSources?.count == 2)
    }

    @Test func namedPortsDifferPerSlice() throws {
        var spec: JSONValue = ["clusterIP": "10.96.0.7"]
        spec["ports"] = [
            ["name": "http", "port": 80, "targetPort": "web"],
            ["name": "admin", "port": 81, "targetPort": 9000],
        ]
        let rules = try #require(
            compiler.compile(
                try makeService("web", spec),
                slices: [
                    try makeSlice(
                        of: "web", "a", port: 8080, portName: "http",
                        [TestEndpoint("10.244.0.2")]),
                    try makeSlice(
                        of: "web", "b", port: 8081, portName: "http",
                        [TestEndpoint("10.244.0.3"), TestEndpoint("10.244.0.2")]),
                    try makeSlice(of: "web", "c", port: 1, portName: "other", [far]),
                ]))
        #expect(
            rules.ports.map { $0.slots.map(\.description) } == [
                ["10.244.0.2:8080", "10.244.0.2:8081", "10.244.0.3:8081"], [],
            ])
    }

    @Test func endpointsKeepTheirSlots() {
        func backends(_ numbers: ClosedRange<Int>) -> [Backend] { set(Array(numbers)) }
        func set(_ numbers: [Int]) -> [Backend] {
            numbers.map { Backend(address: .v4(UInt32($0)), port: 80) }.sorted()
        }
        let first = SlotAssignment(local: [], cluster: backends(1...10), previous: [])
        #expect(first.slots.map { Int($0.address.numericValue) } == Array(1...10))
        let replaced = SlotAssignment(
            local: [], cluster: set([1, 2, 3, 4, 99, 6, 7, 8, 9, 10]), previous: first.slots)
        #expect(
            replaced.slots.map { Int($0.address.numericValue) } == [1, 2, 3, 4, 99, 6, 7, 8, 9, 10])
        let smaller = SlotAssignment(
            local: [], cluster: set([1, 2, 4, 5, 6, 7, 8, 9, 10]), previous: first.slots)
        #expect(smaller.slots.map { Int($0.address.numericValue) } == [1, 2, 10, 4, 5, 6, 7, 8, 9])
        let mixed = SlotAssignment(
            local: set([1, 2, 11]), cluster: backends(1...4), previous: [])
        #expect(mixed.slots.map { Int($0.address.numericValue) } == [11, 1, 2, 3, 4])
        #expect(mixed.localRange == SlotRange(offset: 0, count: 3))
        #expect(mixed.clusterRange == SlotRange(offset: 1, count: 4))
    }

    @Test func healthChecksCountLocalEndpoints() throws {
        var spec: JSONValue = ["type": "LoadBalancer", "externalTrafficPolicy": "Local"]
        spec["healthCheckNodePort"] = 32000
        let rules = try #require(try compile(spec, [near, far]))
        #expect(rules.healthCheck == .init(port: 32000, localEndpointCount: 1))
        spec["externalTrafficPolicy"] = "Cluster"
        #expect(try compile(spec, [near, far])?.healthCheck == nil)
    }

    @Test func chainNamesAreReadBack() {
        for kind in FrontendKind.allCases {
            for treatment in Dispatch.Treatment.allCases {
                var dispatch = Dispatch.without(treatment, kind: kind)
                #expect(
                    Dispatch(chainName: dispatch.chainName)?.treatment == treatment, "\(dispatch)")
                guard ![.reject, .drop, .guarded].contains(treatment) else { continue }
                dispatch.range = SlotRange(offset: 3, count: 17)
                #expect(Dispatch(chainName: dispatch.chainName) == dispatch)
                dispatch.affinityTimeoutSeconds = 10800
                #expect(Dispatch(chainName: dispatch.chainName) == dispatch)
            }
        }
        for name in [
            "prerouting", "to-cluster-1", "to-what-1-2", "to-cluster-1-2-3-4", "to-local-01-2",
        ] {
            #expect(Dispatch(chainName: name) == nil)
        }
    }
}

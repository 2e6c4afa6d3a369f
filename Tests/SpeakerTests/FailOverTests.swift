import AddressPools
import Informer
import JSON
import KubernetesAPI
import Logging
import Netlink
import NetworkTypes
import Speaker
import TestSupport
import Testing

/// A LAN of namespaces with two nodes and a client, an API in memory, the address controller, and
/// a speaker on each node.
private struct Lab {
    let api = MemoryAPI()
    let nodes: [TestNamespace]
    let client: TestNamespace
    static let pool = "10.1.0.2-10.1.0.100"
    static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    init(_ network: NetworkFixture) throws {
        let lan = try network.namespace("lan")
        try network.bridge("br0", in: lan)
        client = try network.namespace("client")
        nodes = try ["n1", "n2"].map { try network.namespace($0) }
        try network.attach(client, "172.31.9.1", prefixLength: 24, to: "br0", in: lan)
        for (index, node) in nodes.enumerated() {
            try network.attach(
                node, "172.31.9.\(11 + index)", prefixLength: 24, to: "br0", in: lan)
        }
        // As a router on the pool's network would have it.
        try client.check("ip", "route", "add", "10.1.0.0/24", "dev", "eth0")
    }

    func name(_ index: Int) -> String { "node-\(index + 1)" }

    func populate() async throws {
        for index in nodes.indices {
            _ = try await api.create(
                .nodes,
                [
                    "metadata": ["name": .string(name(index))],
                    "status": [
                        "addresses": [
                            ["type": "InternalIP", "address": .string("172.31.9.\(11 + index)")]
                        ],
                        "conditions": [["type": "Ready", "status": "True"]],
                    ],
                ])
        }
        let text = "address-pools:\n- {name: default, protocol: layer2, addresses: [\(Self.pool)]}"
        _ = try await api.create(
            .configMaps,
            [
                "metadata": ["name": "config", "namespace": "metallb-system"],
                "data": ["config": .string(text)],
            ])
    }

    func createService(_ name: String) async throws {
        _ = try await api.create(
            .endpointSlices,
            [
                "metadata": [
                    "name": .string(name + "-1"), "namespace": "default",
                    "labels": ["kubernetes.io/service-name": .string(name)],
                ],
                "addressType": "IPv4",
                "endpoints": [
                    [
                        "addresses": ["10.244.0.2"], "nodeName": "node-1",
                        "conditions": ["ready": true, "serving": true],
                    ]
                ],
            ])
        _ = try await api.create(
            .services,
            [
                "metadata": [
                    "name": .string(name), "namespace": "default",
                    "creationTimestamp": .string(Timestamp.now.description),
                ],
                "spec": [
                    "type": "LoadBalancer", "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"],
                    "ports": [["port": 80]],
                ],
            ])
    }

    func speaker(_ index: Int) throws -> SpeakerAgent {
        let address = try #require(IPAddress("172.31.9.\(11 + index)"))
        var configuration = SpeakerAgent.Configuration(nodeName: name(index), lanAddress: address)
        configuration.namespace = nodes[index].descriptor
        return try SpeakerAgent(client: api, configuration: configuration, logger: Self.logger)
    }

    func address(_ service: String) async throws -> IPAddress? {
        let object = try await api.get(.services, namespace: "default", name: service)
        return try Service(json: object).ingress.first?.address
    }

    /// The hardware address that answers for `address`, as arping on the client sees it.
    func answerer(_ address: IPAddress) throws -> MACAddress? {
        let result = try client.run("arping", "-c", "1", "-w", "1", "-I", "eth0", "\(address)")
        let words = result.output.split { " \n()[]".contains($0) }
        return words.lazy.compactMap { MACAddress($0) }.first
    }

    func hardware(_ index: Int) throws -> MACAddress? {
        try nodes[index].route().requireLink("eth0").address
    }
}

@Suite(.offPool) struct FailOverTests {
    @Test func addressIsGivenAnsweredAndTakenOver() async throws {
        try await NetworkFixture.run { network in
            let lab = try Lab(network)
            try await lab.populate()
            let controller = LoadBalancerController(client: lab.api, logger: Lab.logger)
            let speakers = try [lab.speaker(0), lab.speaker(1)]
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await controller.run() }
                for speaker in speakers { group.addTask { try await speaker.run() } }
                defer { group.cancelAll() }
                try await lab.createService("web")
                try await settled("an address") { try await lab.address("web") != nil }
                let address = try #require(try await lab.address("web"))
                #expect(address == IPAddress("10.1.0.2"))
                try await settled("one announcer") {
                    speakers.filter { $0.announced == [address] }.count == 1
                }
                let owner = try #require(speakers.firstIndex { $0.announced == [address] })
                #expect(try lab.answerer(address) == lab.hardware(owner))
                let other = 1 - owner
                let key = ObjectKey(namespace: "default", name: "web")
                #expect(speakers[other].reasons[key] == [address: .notOwner])
                // A crash: the other node answers, and the client's warm entry follows the
                // announcement without a question.
                try lab.client.check("bash", "-c", "echo > /dev/udp/\(address)/9")
                speakers[owner].halt()
                try await settled("the other node announces") {
                    speakers[other].announced == [address]
                }
                #expect(try lab.answerer(address) == lab.hardware(other))
                let entry = try lab.client.route().neighbours().first { $0.address == address }
                #expect(try entry?.linkAddress == lab.hardware(other))
                let reasons = lab.api.objects(.events).map { $0["reason"]?.string ?? "" }
                #expect(reasons.contains("IPAllocated"))
                #expect(reasons.contains("nodeAssigned"))
                let labels =
                    "service=\"default/web\",protocol=\"layer2\",node=\"\(lab.name(other))\""
                let metric = "metallb_speaker_announced{\(labels),ip=\"\(address)\"} 1"
                #expect(speakers[other].metricsText().contains(metric))
            }
        }
    }

    @Test func aStopInOrderHandsOverAtOnce() async throws {
        try await NetworkFixture.run { network in
            let lab = try Lab(network)
            try await lab.populate()
            let controller = LoadBalancerController(client: lab.api, logger: Lab.logger)
            let speakers = try [lab.speaker(0), lab.speaker(1)]
            let work = Task { await controller.run() }
            let runs = speakers.map { speaker in Task { try await speaker.run() } }
            defer {
                work.cancel()
                for run in runs { run.cancel() }
            }
            for index in 0..<6 { try await lab.createService("web-\(index)") }
            let all = Set((0..<6).map { IPAddress.v4(0x0A01_0002 + UInt32($0)) })
            try await settled("every address announced once") {
                speakers[0].announced.union(speakers[1].announced) == all
                    && speakers[0].announced.isDisjoint(with: speakers[1].announced)
            }
            // Bounded load: neither node has more than 5/4 of its share.
            #expect(speakers.allSatisfy { $0.announced.count <= 4 })
            runs[0].cancel()
            try await settled("the rest taken over") {
                speakers[1].announced == all
            }
            for address in all {
                try await settled("the heir alone answers") {
                    try lab.answerer(address) == lab.hardware(1)
                }
            }
        }
    }

    @Test func aServiceThatGoesIsNotAnsweredForAnyMore() async throws {
        try await NetworkFixture.run { network in
            let lab = try Lab(network)
            try await lab.populate()
            let controller = LoadBalancerController(client: lab.api, logger: Lab.logger)
            let speaker = try lab.speaker(0)
            let work = Task { await controller.run() }
            let run = Task { try await speaker.run() }
            defer {
                work.cancel()
                run.cancel()
            }
            try await lab.api.delete(.nodes, namespace: nil, name: "node-2", options: nil)
            try await lab.createService("web")
            try await settled("an announcement") { !speaker.announced.isEmpty }
            let address = try #require(speaker.announced.first)
            try await settled("the pool's mark") {
                let object = try await lab.api.get(.services, namespace: "default", name: "web")
                return ObjectMeta(json: object).annotations["metallb.io/ip-allocated-from-pool"]
                    == "default"
            }
            #expect(try lab.answerer(address) == lab.hardware(0))
            try await lab.api.delete(.services, namespace: "default", name: "web", options: nil)
            try await settled("silence") { speaker.announced.isEmpty }
            #expect(try lab.answerer(address) == nil)
        }
    }
}

import Glibc
import JSON
import KubernetesAPI
import NetworkTypes
import TestSupport
import Testing

@testable import ServiceProxy

/// More of what Services promise, with real packets: SCTP, both families at once, addresses shared
/// by port, restarts, what is counted.
@Suite(.offPool) struct KernelSemanticsTests {
    private static let port: JSONValue = .integer(Int64(TestCluster.podPort))

    private func service(
        _ name: String, _ extra: JSONValue, port: Int = 80, transport: String = "TCP",
        status: JSONValue = [:]
    ) throws -> Service {
        var spec: JSONValue = ["clusterIP": "10.96.1.1"]
        var entry: JSONValue = ["targetPort": Self.port, "protocol": .string(transport)]
        entry["port"] = .integer(Int64(port))
        if let nodePort = extra["nodePort"] { entry["nodePort"] = nodePort }
        spec["ports"] = .array([entry])
        for (key, value) in extra.object ?? [:] where key != "nodePort" { spec[key] = value }
        return try makeService(name, spec, status: status)
    }

    private func servers(_ replies: [Reply]) -> Set<String> { Set(replies.compactMap(\.server)) }

    private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    @Test(arguments: [IPAddress.Family.ipv4, .ipv6])
    func sctpIsTranslatedBothWays(family: IPAddress.Family) throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network)
            let isIPv4 = family == .ipv4
            let virtual = try address(isIPv4 ? "10.96.1.1" : "fd00:96::1")
            let (client, server) =
                isIPv4
                ? ("10.244.0.2", "10.244.1.2") : ("fd00:244::0:2", "fd00:244::1:2")
            let web = try service(
                "web", ["clusterIP": .string("\(virtual)"), "clusterIPs": [.string("\(virtual)")]],
                transport: "SCTP")
            try cluster.apply(
                web,
                makeSlice(
                    of: "web", port: 8080, transport: "SCTP", family: family.rawValue,
                    [TestEndpoint(server, "node-2")]))
            let number = TransportProtocol.sctp.number
            let pod = try RawSocket(in: cluster.pod("a1"), family, protocolNumber: number)
            let peer = try RawSocket(in: cluster.pod("b1"), family, protocolNumber: number)
            let first = SCTPPacket(sourcePort: 5000, destinationPort: 80, chunk: .initiation)
            try pod.send(first.bytes, to: virtual)
            let (bytes, sender) = try peer.receive()
            // The destination is translated, the checksum made good, the pod's own address kept.
            #expect(sender == (try address(client)))
            var expected = first
            expected.destinationPort = 8080
            #expect(SCTPPacket(bytes) == expected)
            let answer = SCTPPacket(
                sourcePort: 8080, destinationPort: 5000, chunk: .initiationAcknowledgement,
                verificationTag: first.initiateTag, initiateTag: 9)
            try peer.send(answer.bytes, to: sender)
            let (back, from) = try pod.receive()
            #expect(from == virtual)
            var translated = answer
            translated.sourcePort = 80
            #expect(SCTPPacket(back) == translated)
            // Another port of the address is refused, and counted.
            var other = first
            other.destinationPort = 81
            try pod.send(other.bytes, to: virtual)
            #expect(try cluster.engines[0].counters().endings["unallocated"] == 1)
        }
    }

    @Test func twoServicesShareAnAddressByPort() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network)
            let status: JSONValue = ["loadBalancer": ["ingress": [["ip": "10.1.0.2"]]]]
            for (name, port, last) in [("web", 80, 2), ("admin", 81, 3)] {
                try cluster.apply(
                    service(
                        name,
                        ["type": "LoadBalancer", "clusterIP": .string("10.96.1.\(last)")],
                        port: port, status: status),
                    makeSlice(
                        of: name, port: 8080, [TestEndpoint("10.244.0.\(last)", "node-1")]))
            }
            try cluster.client.addRoute(to: "10.1.0.0/24", via: "172.30.0.11")
            #expect(servers(try cluster.client.ask("10.1.0.2", 80, count: 10)) == ["a1"])
            #expect(servers(try cluster.client.ask("10.1.0.2", 81, count: 10)) == ["a2"])
            // One goes; the other stays.
            for engine in cluster.engines {
                engine.note(ObjectKey(namespace: "default", name: "web"), service: nil)
                try engine.flush()
            }
            #expect(servers(try cluster.client.ask("10.1.0.2", 81, count: 10)) == ["a2"])
        }
    }

    @Test func aDualStackLoadBalancerInBothFamilies() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network)
            let addresses: JSONValue = ["10.96.1.1", "fd00:96::1"]
            var spec: JSONValue = ["type": "LoadBalancer", "externalTrafficPolicy": "Local"]
            spec["clusterIPs"] = addresses
            spec["nodePort"] = 31000
            spec["loadBalancerSourceRanges"] = ["172.30.0.0/24", "fd00:30::1/128", "fd00:244::/64"]
            let web = try service(
                "web", spec,
                status: [
                    "loadBalancer": ["ingress": [["ip": "10.1.0.2"], ["ip": "fd00:1::2"]]]
                ])
            try cluster.apply(
                web, TestCluster.everyPod(of: "web"),
                TestCluster.everyPod(of: "web", family: "IPv6"))
            try cluster.client.addRoute(to: "10.1.0.0/24", via: "172.30.0.11")
            try cluster.client.addRoute(to: "fd00:1::/64", via: "fd00:30::11")
            // Pods reach all endpoints, with their own address, and themselves by hairpin.
            for (virtual, own) in [("10.96.1.1", "10.244.0.2"), ("fd00:96::1", "fd00:244::2")] {
                let replies = try cluster.pod("a1").ask(virtual, 80, count: 60)
                #expect(servers(replies) == ["a1", "a2", "b1"], "\(replies)")
                for reply in replies {
                    #expect((reply.client == own) == (reply.server != "a1"), "\(reply)")
                }
            }
            // The world outside: the node's own endpoints only, which see the client.
            for (outside, client) in [("10.1.0.2", "172.30.0.1"), ("fd00:1::2", "fd00:30::1")] {
                let replies = try cluster.client.ask(outside, 80, count: 40)
                #expect(servers(replies) == ["a1", "a2"], "\(replies)")
                #expect(replies.allSatisfy { $0.client == client })
            }
            for node in ["172.30.0.12", "fd00:30::12"] {
                let replies = try cluster.client.ask(node, 31000, count: 10)
                #expect(servers(replies) == ["b1"], "\(replies)")
            }
            // Source ranges hold in their own family: pods' IPv4 addresses are in none.
            #expect(
                try cluster.pod("a1").ask("10.1.0.2", 80, timeoutMilliseconds: 300) == [.timeout])
            #expect(servers(try cluster.pod("a1").ask("fd00:1::2", 80, count: 40)).count == 3)
            #expect(try cluster.engines[0].counters().endings["source-not-allowed"] ?? 0 > 0)
        }
    }

    @Test func nodePortsAnswerOnlyAtTheAddressesAllowed() throws {
        try NetworkFixture.run { network in
            let options = makeOptions(
                nodePortPrefixes: ["172.30.0.0/24", "fd00:30::/64"].compactMap { Prefix($0) })
            let cluster = try TestCluster(network, options: options)
            try cluster.apply(
                service("web", ["type": "NodePort", "nodePort": 31000]),
                TestCluster.everyPod(of: "web"))
            #expect(try cluster.client.ask("172.30.0.11", 31000)[0].server != nil)
            // The pods' gateway is an address of the node, but not one of those.
            #expect(try cluster.pod("a1").ask("10.244.0.1", 31000) == [.refused])
            #expect(try cluster.pod("a1").ask("172.30.0.11", 31000)[0].server != nil)
        }
    }

    @Test func connectionsOutliveTheirEndpointsReadinessAndTheProxy() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network)
            let web = try service("web", [:])
            try cluster.apply(
                web, makeSlice(of: "web", port: 8080, [TestEndpoint("10.244.0.2", "node-1")]))
            let socket = try cluster.pod("b1").withThread { try openSocket(.ipv4, .tcp) }
            defer { close(socket) }
            let connected = SocketAddress(try address("10.96.1.1"), 80)
                .withPointer { connect(socket, $0, $1) }
            try #require(connected == 0)
            // The endpoint terminates and another takes over; new proxies find the tables.
            let slice = try makeSlice(
                of: "web", port: 8080,
                [
                    TestEndpoint(
                        "10.244.0.2", "node-1", ready: false, serving: true, terminating: true),
                    TestEndpoint("10.244.0.3", "node-1"),
                ])
            for (index, node) in cluster.nodes.enumerated() {
                let engine = try TestCluster.engine(for: node, index)
                engine.note(web.key, service: web)
                engine.note(slice.key, slice: slice)
                try engine.flush()
                // Then it is gone from the slice altogether.
                let last = try makeSlice(
                    of: "web", port: 8080, [TestEndpoint("10.244.0.3", "node-1")])
                engine.note(last.key, slice: last)
                try engine.flush()
                #expect(try engine.audit() == 0)
            }
            #expect(servers(try cluster.pod("b1").ask("10.96.1.1", 80, count: 10)) == ["a2"])
            #expect(request(on: socket).hasPrefix("a1 "))
        }
    }

    /// Sends a request on a connected socket; returns the answer's body.
    private func request(on socket: Int32) -> String {
        var timeout = timeval(tv_sec: 4, tv_usec: 0)
        setsockopt(
            socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var text = "GET / HTTP/1.0\r\n\r\n"
        text.withUTF8 { _ = send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        var buffer = [UInt8](repeating: 0, count: 2048)
        let count = recv(socket, &buffer, buffer.count, 0)
        guard count > 0 else { return "errno \(errno)" }
        let answer = String(decoding: buffer[..<count], as: UTF8.self)
        return String(answer.split(separator: "\r\n").last ?? "")
    }

    @Test func aRestartForgetsClientsOfEndpointsThatWentMeanwhile() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1)
            let web = try service(
                "web", ["type": "NodePort", "sessionAffinity": "ClientIP", "nodePort": 31000])
            try cluster.apply(web, TestCluster.everyPod(of: "web"))
            let pod = try cluster.pod("a2")
            let asked = [(pod, "10.96.1.1", UInt16(80)), (cluster.client, "172.30.0.11", 31000)]
            for (source, virtual, port) in asked {
                let chosen = try #require(try source.ask(virtual, port)[0].server)
                let rest = [("a1", "10.244.0.2"), ("a2", "10.244.0.3"), ("b1", "10.244.1.2")]
                    .filter { $0.0 != chosen }
                let slice = try makeSlice(
                    of: "web", "IPv4", port: 8080, rest.map { TestEndpoint($0.1, "node-1") })
                // A proxy that was killed between the transaction and the forgetting.
                let engine = try TestCluster.engine(for: cluster.nodes[0], 0)
                engine.note(web.key, service: web)
                engine.note(slice.key, slice: slice)
                try engine.flush()
                #expect(engine.statistics.forgottenClientCount >= 1)
                let after = servers(try source.ask(virtual, port, count: 10))
                #expect(after.count == 1 && !after.contains(chosen), "\(after) \(chosen)")
                // The clients of endpoints that are there are remembered still.
                let again = try TestCluster.engine(for: cluster.nodes[0], 0)
                again.note(web.key, service: web)
                again.note(slice.key, slice: slice)
                try again.flush()
                #expect(servers(try source.ask(virtual, port, count: 10)) == after)
            }
        }
    }

    @Test func invalidPacketsAreCountedAndDroppedOnlyWhereAsked() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1)
            let engine = cluster.engines[0]
            try engine.flush()
            let socket = try RawSocket(in: cluster.pod("a1"), .ipv4, protocolNumber: 6)
            // SYN and FIN at once: connection tracking can make nothing of it.
            let nonsense: [UInt8] = [
                0x13, 0x88, 0x1F, 0x90, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x03, 4, 0, 0, 0, 0, 0,
            ]
            try socket.send(nonsense, to: try address("10.244.1.2"))
            let lenient = try cluster.nodes[0].withThread { try engine.counters() }
            #expect(lenient.invalidPackets == 1)
            #expect(lenient.endings["invalid"] == 0)
            var options = makeOptions(locallyServed: ["10.96.0.10"])
            options.dropsInvalidPackets = true
            engine.note(options: options)
            try engine.flush()
            try socket.send(nonsense, to: try address("10.244.1.2"))
            let strict = try cluster.nodes[0].withThread { try engine.counters() }
            #expect(strict.invalidPackets == 2)
            #expect(strict.endings["invalid"] == 1)
        }
    }

    @Test func connectionsAreCountedByServiceAndRefusalsByReason() throws {
        try NetworkFixture.run { network in
            let cluster = try TestCluster(network, proxied: 1)
            let engine = cluster.engines[0]
            let web = try service("web", ["type": "NodePort", "nodePort": 31000])
            let empty = try service("empty", ["clusterIP": "10.96.1.2"])
            let local = try service(
                "local", ["clusterIP": "10.96.1.3", "internalTrafficPolicy": "Local"])
            for service in [web, empty, local] { engine.note(service.key, service: service) }
            let slices = [
                try TestCluster.everyPod(of: "web"),
                try makeSlice(of: "local", port: 8080, [TestEndpoint("10.244.1.2", "node-2")]),
            ]
            for slice in slices { engine.note(slice.key, slice: slice) }
            try engine.flush()
            _ = try cluster.pod("a1").ask("10.96.1.1", 80, count: 3)
            _ = try cluster.client.ask("172.30.0.11", 31000, count: 2)
            _ = try cluster.pod("a1").ask("10.96.1.2", 80, count: 4)
            _ = try cluster.pod("a1").ask("10.96.1.3", 80, timeoutMilliseconds: 200)
            _ = try cluster.pod("a1").ask("10.96.7.7", 80, count: 5)
            let counters = try engine.counters()
            func connections(_ name: String, _ role: String) -> UInt64? {
                counters.connections.first { $0.service.name == name && $0.role == role }?.packets
            }
            #expect(connections("web", "cluster IP") == 3)
            #expect(connections("web", "node port") == 2)
            #expect(connections("empty", "cluster IP") == 4)
            #expect(counters.endings["no-endpoints"] == 4)
            #expect(counters.endings["no-local-endpoints"] == 1)
            #expect(counters.endings["unallocated"] == 5)
        }
    }
}

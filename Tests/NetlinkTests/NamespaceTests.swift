import Netlink
import NetworkTypes
import TestSupport
import Testing

/// Namespaces, links, addresses, routes and neighbours in the real kernel, with iproute2 as oracle.
struct NamespaceTests {
    @Test func namespacesAreIproute2s() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("one")
            #expect(NetworkNamespace.exists(namespace.name))
            #expect(NetworkNamespace.names().contains(namespace.name))
            let names = try Command.check(["ip", "netns", "list"]).output
            #expect(names.contains(namespace.name))
            let inside = try Command.check(["ip", "netns", "exec", namespace.name, "ip", "link"])
            #expect(inside.output.contains("lo: <LOOPBACK,UP"))
            let error = try #require(throws: NetlinkError.self) {
                try NetworkNamespace.create(namespace.name)
            }
            #expect(error.isAlreadyExists)
            let missing = try #require(throws: NetlinkError.self) {
                try NetworkNamespace.open(network.prefix + "missing")
            }
            #expect(missing.isNotFound)
            #expect(throws: NetlinkError.self) { try NetworkNamespace.create("../escape") }
        }
    }

    @Test func linksAndAddresses() throws {
        try NetworkFixture.run { network in
            let left = try network.namespace("left")
            let right = try network.namespace("right")
            let route = try left.route()
            let mac = try #require(MACAddress("02:00:00:00:00:01"))
            let link = try route.createVeth(
                "a0", peer: "b0", peerNamespace: right.descriptor, address: mac,
                peerAddress: MACAddress("02:00:00:00:00:02"), mtuByteCount: 1400)
            #expect(link.kind == "veth" && link.address == mac && link.mtuByteCount == 1400)
            #expect(!link.isUp)
            try route.setUp("a0")
            let other = try right.route()
            try other.setUp("b0")
            try eventually("the carrier") { try route.requireLink("a0").hasCarrier }
            let address = try #require(IPAddress("10.9.0.1"))
            let address6 = try #require(IPAddress("fd00::1"))
            try route.addAddress(address, prefixLength: 24, to: "a0")
            try route.addAddress(address6, prefixLength: 64, to: "a0")
            let listed = try route.addresses().filter { $0.linkIndex == link.index }
            #expect(listed.contains { $0.address == address && $0.prefixLength == 24 })
            #expect(listed.contains { $0.address == address6 && !$0.isTentative })
            let shown = try left.check("ip", "-o", "address", "show", "a0").output
            #expect(shown.contains("10.9.0.1/24") && shown.contains("fd00::1/64"))

            let bridge = try route.createBridge("br0")
            try route.perform([
                .changeLink(
                    index: link.index, isUp: true, name: nil, masterIndex: bridge.index,
                    address: nil, mtuByteCount: 1300, namespace: nil),
                .setUp(index: bridge.index),
            ])
            let port = try route.requireLink("a0")
            #expect(port.masterIndex == bridge.index && port.mtuByteCount == 1300)
            #expect(try Set(route.links().map(\.name)) == ["lo", "a0", "br0"])
            #expect(try route.deleteLink("a0"))
            #expect(try !route.deleteLink("a0"))
            #expect(try other.link("b0") == nil)
        }
    }

    @Test func routesRulesAndNeighbours() throws {
        try NetworkFixture.run { network in
            let left = try network.namespace("left")
            let right = try network.namespace("right")
            try network.connect(left, "10.9.0.1", right, "10.9.0.2", prefixLength: 24)
            let route = try left.route()
            let link = try route.requireLink("eth0")
            let gateway = try #require(IPAddress("10.9.0.2"))
            let far = try #require(Prefix("10.244.1.0/24"))
            let pod = try #require(Prefix("10.244.0.7/32"))
            let host = try #require(IPAddress("10.9.0.1"))
            let routes = [
                Route(to: far, via: gateway, linkIndex: link.index),
                Route(to: pod, linkIndex: link.index, preferredSource: host),
                Route(
                    to: try #require(Prefix("10.3.0.0/16")), via: IPAddress("169.254.1.1"),
                    linkIndex: link.index, table: 1000, isOnLink: true),
                Route(to: try #require(Prefix("10.4.0.0/16")), kind: .unreachable),
            ]
            try route.perform(routes.map { .addRoute($0, isReplacing: false) })
            try route.perform(routes.map { .addRoute($0, isReplacing: true) })
            let ours = try route.routes(.ipv4).filter {
                $0.protocolNumber == Route.portolanProtocol
            }
            #expect(ours.contains(routes[0]) && ours.contains(routes[1]))
            #expect(ours.contains(routes[2]))
            #expect(ours.contains { $0.kind == .unreachable })
            let shown = try left.check("ip", "route", "show", "table", "all").output
            #expect(shown.contains("10.244.1.0/24 via 10.9.0.2 dev eth0 proto 111"))
            #expect(shown.contains("10.244.0.7 dev eth0 proto 111 scope link src 10.9.0.1"))
            #expect(
                shown.contains("10.3.0.0/16 via 169.254.1.1 dev eth0 table 1000 proto 111 onlink"))
            try route.perform(.deleteRoute(routes[0]))
            #expect(try !route.routes(.ipv4).contains(routes[0]))

            let rule = RoutingRule(
                .ipv4, priority: 90, table: 1000, source: far, mark: 0x10, markMask: 0xF0)
            try route.perform(.addRule(rule))
            #expect(try route.rules(.ipv4).contains(rule))
            #expect(
                try left.check("ip", "rule").output
                    .contains("90:\tfrom 10.244.1.0/24 fwmark 0x10/0xf0 lookup 1000"))
            try route.perform(.deleteRule(rule))

            let neighbour = Neighbour(
                gateway, linkAddress: MACAddress("02:00:00:00:00:09"), linkIndex: link.index)
            try route.perform(.setNeighbour(neighbour))
            #expect(try route.neighbours().contains(neighbour))
            try route.perform(.deleteNeighbour(neighbour))
        }
    }

    @Test func errorsNameTheObject() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("errors")
            let route = try namespace.route()
            try route.createBridge("br0")
            let error = try #require(throws: NetlinkError.self) { try route.createBridge("br0") }
            #expect(error.description == "create bridge br0: File exists")
            let nowhere = Route(
                to: try #require(Prefix("10.0.0.0/8")), via: IPAddress("192.0.2.1"))
            let unreachable = try #require(throws: NetlinkError.self) {
                try route.perform(.addRoute(nowhere, isReplacing: false))
            }
            // The kernel's own words, from the extended acknowledgement.
            #expect(unreachable.message == "Nexthop has invalid gateway")
            // Those that can be done are done, and each refusal is told.
            let requests: [RouteRequest] =
                (0..<200).map {
                    .createLink("d\($0)", .bridge, address: nil, mtuByteCount: nil)
                } + [.deleteLink(name: "absent"), .deleteLink(name: "d7")]
            let failures = try route.attempt(requests)
            #expect(failures.map(\.request) == [.deleteLink(name: "absent")])
            #expect(try route.links().count == 2 + 199)
        }
    }

    @Test func monitorTellsOfChanges() throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("watch")
            let monitor = try namespace.withThread { try RouteMonitor([.links, .addresses]) }
            #expect(try monitor.events().isEmpty)
            let route = try namespace.route()
            try route.createBridge("br0")
            let address = try #require(IPAddress("10.0.0.1"))
            try route.addAddress(address, prefixLength: 24, to: "br0")
            try route.deleteLink("br0")
            var seen: [String] = []
            for event in try monitor.events() {
                switch event {
                case .link(let link, let isDeleted): seen.append("\(link.name) \(isDeleted)")
                case .address(let address, let isDeleted):
                    seen.append("\(address.address) \(isDeleted)")
                default: break
                }
            }
            while case let events = try monitor.events(), !events.isEmpty {
                for event in events {
                    if case .link(let link, true) = event { seen.append("\(link.name) true") }
                    if case .address(let address, false) = event {
                        seen.append("\(address.address) false")
                    }
                }
            }
            #expect(seen.contains("br0 false"))
            #expect(seen.contains("10.0.0.1 false"))
            #expect(seen.contains("br0 true"))
        }
    }

    @Test func sysctlsAreTheNamespaces() throws {
        try NetworkFixture.run { network in
            let one = try network.namespace("one")
            let two = try network.namespace("two")
            try one.sysctl("net/ipv4/ip_forward", "1")
            try two.sysctl("net/ipv4/ip_forward", "0")
            #expect(try one.withThread { try Sysctl.read("net/ipv4/ip_forward") } == "1")
            #expect(try two.withThread { try Sysctl.read("net/ipv4/ip_forward") } == "0")
            #expect(throws: NetlinkError.self) { try Sysctl.write("net/ipv4/no_such", "1") }
        }
    }

    @Test func threadsReturnAndThrow() throws {
        #expect(try NetworkNamespace.runOnThread { 42 } == 42)
        #expect(throws: TestFailure.self) {
            try NetworkNamespace.runOnThread { throw TestFailure("as meant") }
        }
    }
}

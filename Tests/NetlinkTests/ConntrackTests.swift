import Glibc
import Netlink
import NetworkTypes
import TestSupport
import Testing

struct ConntrackTests {
    /// Sends a datagram from each source port to each destination port, so that flows are tracked.
    static func sendDatagrams(
        _ namespace: TestNamespace, to ports: [UInt16], family: Int32 = AF_INET
    ) throws {
        try namespace.withThread {
            let descriptor = socket(family, Int32(SOCK_DGRAM.rawValue), 0)
            defer { close(descriptor) }
            for port in ports {
                var code = 0
                if family == AF_INET {
                    var address = sockaddr_in()
                    address.sin_family = sa_family_t(AF_INET)
                    address.sin_port = port.bigEndian
                    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
                    code = withUnsafePointer(to: &address) { pointer in
                        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                            sendto(
                                descriptor, "x", 1, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size)
                            )
                        }
                    }
                } else {
                    var address = sockaddr_in6()
                    address.sin6_family = sa_family_t(AF_INET6)
                    address.sin6_port = port.bigEndian
                    address.sin6_addr = in6addr_loopback
                    code = withUnsafePointer(to: &address) { pointer in
                        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                            sendto(
                                descriptor, "x", 1, 0, $0,
                                socklen_t(MemoryLayout<sockaddr_in6>.size))
                        }
                    }
                }
                guard code == 1 else { throw TestFailure("sendto failed: \(errno)") }
            }
        }
    }

    /// A DNAT rule, so that the original and the reply tuple differ.
    static let ruleset = """
        table inet t {
            chain out {
                type nat hook output priority -100;
                ip daddr 127.0.0.1 udp dport 5000-5099 dnat ip to 127.0.0.2:6000
                ct state new counter
            }
        }
        """

    @Test(arguments: [IPAddress.Family.ipv4, .ipv6])
    func deletesWhatMatches(family: IPAddress.Family) throws {
        try NetworkFixture.run { network in
            let namespace = try network.namespace("ct")
            try namespace.check("nft", "-f", "-", input: Self.ruleset)
            let conntrack = try ConntrackSocket(in: namespace.descriptor)
            #expect(try conntrack.count() == 0)
            try Self.sendDatagrams(
                namespace, to: Array(5000..<5100) + [7000],
                family: family == .ipv4 ? AF_INET : AF_INET6)
            let loopback = try #require(IPAddress(family == .ipv4 ? "127.0.0.1" : "::1"))
            let all = try conntrack.flows(ConntrackFilter(family))
            #expect(all.count == 101)
            #expect(try conntrack.count() == 101)
            let one = try conntrack.flows(
                ConntrackFilter(
                    family, transport: .udp, originalDestination: loopback,
                    originalDestinationPort: 5007))
            #expect(one.map(\.original.destinationPort) == [5007])
            #expect(try conntrack.flows(ConntrackFilter(family, transport: .tcp)).isEmpty)
            let flow = try #require(one.first)
            #expect(flow.original.destination == loopback && flow.original.protocolNumber == 17)
            if family == .ipv4 {
                let endpoint = try #require(IPAddress("127.0.0.2"))
                #expect(flow.reply.source == endpoint && flow.reply.sourcePort == 6000)
                #expect(flow.status & 32 != 0)
                let filter = ConntrackFilter(
                    .ipv4, transport: .udp, replySource: endpoint, replySourcePort: 6000)
                #expect(
                    try conntrack.deleteFlows(filter) { $0.original.destinationPort < 5050 } == 50)
                #expect(try conntrack.count() == 51)
            }
            #expect(try conntrack.delete([flow]) == (family == .ipv4 ? 0 : 1))
            let other: IPAddress.Family = family == .ipv4 ? .ipv6 : .ipv4
            #expect(try conntrack.deleteFlows(ConntrackFilter(other)) == 0)
            _ = try conntrack.deleteFlows(ConntrackFilter(family))
            #expect(try conntrack.count() == 0)
        }
    }
}

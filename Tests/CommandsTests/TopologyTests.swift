import ArgumentParser
import NetworkTypes
import Testing

@testable import Commands

/// Names and addresses of a cluster, from flags.
@Suite
struct TopologyTests {
    @Test func defaultsAreThoseOfTheContract() throws {
        let topology = try ClusterOptions.parse([]).topology(name: "portolan")
        #expect(topology.machineAddress == IPAddress("172.30.0.1"))
        #expect(topology.nodes.map(\.name) == ["portolan-node-1", "portolan-node-2"])
        #expect(topology.nodes.map(\.address.description) == ["172.30.0.11", "172.30.0.12"])
        #expect(topology.nodes.map(\.podCIDR.description) == ["10.244.0.0/24", "10.244.1.0/24"])
        #expect(topology.dnsAddress == IPAddress("10.96.0.10"))
        #expect(topology.apiServiceAddress == IPAddress("10.96.0.1"))
        #expect(topology.nodePorts == 30000...32767)
        #expect(topology.machineLink == "portolan-lan")
        #expect(topology.lanNamespace == "portolan-lan")
    }

    @Test(arguments: [
        (["--nodes", "0"], "--nodes 0"),
        (["--nodes", "51"], "--nodes 51"),
        (["--lan-cidr", "fd00::/64"], "--lan-cidr"),
        (["--lan-cidr", "172.30.0.0/30"], "--lan-cidr"),
        (["--pod-cidr", "nonsense"], "--pod-cidr"),
        (["--pod-cidr", "10.96.0.0/12"], "overlap"),
        (["--pod-cidr", "10.244.0.0/22", "--nodes", "5"], "no /24"),
        (["--service-node-port-range", "32767-30000"], "--service-node-port-range"),
        (["--service-node-port-range", "30000"], "FIRST-LAST"),
        (["--service-cluster-ip-range", "10.96.0.0/16,10.97.0.0/16"], "of IPv6"),
        (["--service-cluster-ip-range", "10.96.0.0/16,fd00::/64"], "/108"),
        (["--service-cluster-ip-range", "10.96.0.0/16,fd00::/112,fd01::/112"], "one more range"),
    ])
    func refusesWhatDoesNotFit(_ flags: [String], _ words: String) throws {
        let options = try ClusterOptions.parse(flags)
        let error = #expect(throws: (any Error).self) { try options.topology(name: "portolan") }
        #expect("\(error.map { "\($0)" } ?? "")".contains(words))
    }

    @Test func aSecondRangeOfServicesIsIPv6() throws {
        let flags = ["--service-cluster-ip-range", "10.97.0.0/16,fd00:10:97::/112"]
        let topology = try ClusterOptions.parse(flags).topology(name: "portolan")
        #expect(topology.services == Prefix("10.97.0.0/16"))
        #expect(topology.secondaryServices == Prefix("fd00:10:97::/112"))
        #expect(
            try ClusterOptions.parse([]).topology(name: "portolan").secondaryServices == nil)
    }

    @Test func linkNamesFitTheKernelAndStayDistinct() {
        #expect(Topology.linkName("portolan-lan") == "portolan-lan")
        let names = (0..<500).map { Topology.linkName("a-rather-long-name-\($0)-lan") }
        #expect(names.allSatisfy { $0.utf8.count <= 15 })
        #expect(Set(names).count == names.count)
    }

    @Test(arguments: [
        "", "Upper", "-a", "a-", "1a", "with space", String(repeating: "a", count: 33),
    ])
    func refusesNames(_ name: String) {
        #expect(throws: (any Error).self) { try IdentityOptions.parse(["--name", name]) }
    }
}

import ArgumentParser
import NetworkTypes
import Testing

@testable import Commands

/// What keeps `up` from starting: the judgement, given facts.
@Suite
struct PreflightTests {
    private func facts(_ change: (inout Preflight.Facts) -> Void = { _ in }) -> Preflight.Facts {
        var facts = Preflight.Facts(
            isRoot: true, kernelRelease: "6.1.0-18-amd64", missingTools: [], nftablesFailure: nil,
            apiPortFailure: nil, networks: [])
        change(&facts)
        return facts
    }

    private func problem(_ change: (inout Preflight.Facts) -> Void = { _ in }) throws -> String? {
        let topology = try ClusterOptions.parse([]).topology(name: "portolan")
        return Preflight.problem(facts(change), topology)
    }

    @Test func nothingIsWrong() throws {
        #expect(try problem() == nil)
        let elsewhere = try #require(Prefix("192.168.0.0/16"))
        #expect(try problem { $0.networks = [(elsewhere, "eth0")] } == nil)
    }

    @Test func eachProblemIsOneLineWithItsRemedy() throws {
        let lan = try #require(Prefix("172.30.0.64/26"))
        let pods = try #require(Prefix("10.0.0.0/8"))
        let cases: [(change: (inout Preflight.Facts) -> Void, words: [String])] = [
            ({ $0.isRoot = false }, ["root", "sudo"]),
            ({ $0.kernelRelease = "5.10.0" }, ["5.10.0", "5.13"]),
            ({ $0.missingTools = ["runc"] }, ["runc", "apt-get install runc"]),
            ({ $0.missingTools = ["ip"] }, ["apt-get install iproute2"]),
            ({ $0.nftablesFailure = "no such protocol" }, ["nftables", "no such protocol"]),
            ({ $0.apiPortFailure = "Address already in use" }, ["6443", "--api-port"]),
            ({ $0.networks = [(lan, "br0")] }, ["--lan-cidr", "172.30.0.64/26", "br0"]),
            ({ $0.networks = [(pods, "tun0")] }, ["overlaps", "10.0.0.0/8", "tun0"]),
        ]
        for (change, words) in cases {
            let text = try #require(try problem(change))
            #expect(!text.contains("\n"))
            for word in words { #expect(text.contains(word), "\(text)") }
        }
    }

    @Test(arguments: [("5.13.0", true), ("5.12.19", false), ("6.0.0-rc1", true), ("4.19.0", false)])
    func kernelVersionsCompareByNumber(_ release: String, _ isFine: Bool) throws {
        #expect((try problem { $0.kernelRelease = release } == nil) == isFine)
    }
}

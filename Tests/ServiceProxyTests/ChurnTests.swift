import Glibc
import JSON
import KubernetesAPI
import Logging
import NFTables
import Netlink
import NetworkTypes
import TestSupport
import Testing

@testable import ServiceProxy

/// Random changes against the real kernel, with proxies that end and start anew between them: what
/// the kernel holds must be what the objects say, and `nft` must be able to print it.
@Suite(.offPool) struct ChurnTests {
    /// `make soak` asks for more than `make test`.
    private static let rounds = getenv("PORTOLAN_SOAK") == nil ? 60 : 5000

    @Test func theKernelAgreesAfterChurnAndRestarts() throws {
        try NetworkFixture.run { network in
            let node = try network.namespace("node")
            let kernel = try NFTablesKernel(in: node.descriptor)
            let flows = try ConntrackSocket(in: node.descriptor)
            try node.check("nft", "add table ip somebody-elses")
            var world = RandomWorld(seed: 7)
            world.usesAffinity = true
            func start() throws -> ProxyEngine {
                try ProxyEngine(
                    options: world.options, families: [.ipv4, .ipv6], node: world.node,
                    backend: kernel, flows: flows,
                    fastPath: FastPath(
                        tableName: world.options.tableName, families: [.ipv4, .ipv6],
                        in: node.descriptor, logger: Logger(label: "test")))
            }
            var engine = try start()
            for round in 0..<Self.rounds {
                world.mutate(engine)
                if round.isMultiple(of: 15) {
                    // A proxy that was killed: nothing was flushed, and the next one reads all.
                    engine = try start()
                    for (key, service) in world.services { engine.note(key, service: service) }
                    for (key, slice) in world.slices { engine.note(key, slice: slice) }
                }
                try engine.flush()
                try engine.accelerate()
                if round % 10 == 9 { #expect(try engine.audit() == 0, "round \(round)") }
            }
            #expect(try engine.audit() == 0)
            #expect(engine.statistics.fastPathFailureCount == 0)
            let listing = try node.check("nft", "-j", "list", "ruleset").output
            for set in [
                engine.planner.ruleset(.ipv4).services, engine.planner.ruleset(.ipv6).services,
            ] {
                let expected = engine.planner.allElements().keys.filter {
                    $0.set == .services && $0.family == (set.table.family == .ip ? .ipv4 : .ipv6)
                }
                #expect(try kernel.elements(of: set).count == expected.count)
            }
            #expect(listing.contains("somebody-elses"))
            try node.withThread { try ProxyAgent.removeTables(named: world.options.tableName) }
            #expect(try kernel.tables() == [Table(.ip, "somebody-elses")])
        }
    }
}

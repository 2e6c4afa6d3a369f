import Glibc
import NFTables
import Netlink
import NetworkTypes

/// What the machine itself gets so that nodes and pods reach the world outside, and the world
/// reaches load balancers: forwarding, masquerade in a table of Portolan's own, and an on-link
/// route for each address pool that lies outside the LAN, as a router on that network would have.
struct MachineNetwork: Sendable {
    let topology: Topology
    let backend: any NFTablesBackend

    private static let forwarding = "net/ipv4/ip_forward"
    /// Where the value of ip_forward is kept that the machine had before the first cluster.
    private static var savedForwarding: String { "\(RunDirectory.root)/ip_forward.before" }

    /// Turns forwarding on and puts the table in place, in one transaction.
    func build() throws {
        try RunDirectory.alone {
            let before = try Sysctl.read(Self.forwarding)
            guard before != "1" else { return }
            try FileSystem.writePrivate(Self.savedForwarding, Array(before.utf8))
            try Sysctl.write(Self.forwarding, "1")
        }
        let table = Table(.ip, topology.machineTable)
        let chain = Chain(
            "postrouting", in: table, hook: ChainHook(.nat, .postrouting, priority: 100))
        var transaction = Transaction()
        transaction.destroy(table)
        transaction.add(table)
        transaction.add(chain)
        transaction.add(
            Rule(
                "postrouting", in: table,
                [
                    .match(.ipSource, in: topology.lan),
                    .match(.ipDestination, in: topology.lan, isInverted: true),
                    .match(.outputName, not: .interfaceName(topology.machineLink)),
                    .masquerade([]),
                ]))
        try backend.apply(transaction)
    }

    /// Takes the table away, and puts forwarding back where no other cluster needs it.
    static func tearDown(name: String, backend: any NFTablesBackend) throws {
        var transaction = Transaction()
        transaction.destroy(Table(.ip, "\(name)-machine"))
        try backend.apply(transaction)
        // Whoever starts meanwhile either holds its lock already, or reads what is put back here.
        try RunDirectory.alone {
            guard RunDirectory.runningNames().allSatisfy({ $0 == name }),
                let saved = FileSystem.read(savedForwarding)
            else { return }
            try Sysctl.write(forwarding, String(decoding: saved, as: UTF8.self))
            FileSystem.removeFile(savedForwarding)
        }
    }

    /// Makes the routes to address pools equal to `pools`: those inside the LAN need none.
    /// - Returns: the pools whose route was refused, with the reason.
    func setPoolRoutes(_ pools: Set<Prefix>) throws -> [(Prefix, String)] {
        let socket = try RouteSocket()
        let link = try socket.requireLink(topology.machineLink)
        let wanted = pools.filter { $0.family == .ipv4 && !topology.lan.overlaps($0) }
        let present = Set(
            try socket.routes(.ipv4)
                .filter {
                    $0.linkIndex == link.index && $0.protocolNumber == Route.portolanProtocol
                }
                .map(\.destination))
        func route(_ prefix: Prefix) -> Route {
            Route(
                to: prefix, linkIndex: link.index, preferredSource: topology.machineAddress)
        }
        let requests =
            present.subtracting(wanted).map { RouteRequest.deleteRoute(route($0)) }
            + wanted.subtracting(present).map { .addRoute(route($0), isReplacing: false) }
        return try socket.attempt(requests).compactMap { failure in
            switch failure.request {
            case .addRoute(let route, _): (route.destination, "\(failure.failure)")
            default: nil
            }
        }
    }
}

import Netlink
import NetworkTypes

/// Addresses of the network namespace that this process is in.
enum LocalAddresses {
    /// Puts the DNS address on `lo`, with host scope: with a wider one the kernel would take it as
    /// the source of masqueraded packets, for links to pods have no address of their own.
    static func addToLoopback(_ address: IPAddress, _ socket: RouteSocket? = nil) throws {
        let socket = try socket ?? RouteSocket()
        try socket.perform(.addAddress(try loopbackAddress(address, socket)))
    }

    /// Takes it off; where it is not there, nothing is to do.
    static func removeFromLoopback(_ address: IPAddress) {
        guard let socket = try? RouteSocket(), let entry = try? loopbackAddress(address, socket)
        else { return }
        try? socket.perform(.deleteAddress(entry))
    }

    private static func loopbackAddress(
        _ address: IPAddress, _ socket: RouteSocket
    ) throws -> LinkAddress {
        let hostScope: UInt8 = 254
        return LinkAddress(
            address, prefixLength: address.family.bitCount,
            linkIndex: try socket.requireLink("lo").index, scope: hostScope)
    }

    /// The name of the link that has the address.
    /// - Throws: `CommandFailure` where none has.
    static func link(of address: IPAddress) throws -> String {
        let socket = try RouteSocket()
        let entry = try socket.addresses().first { $0.address == address }
        guard let entry, let link = try socket.links().first(where: { $0.index == entry.linkIndex })
        else {
            throw CommandFailure(
                "no link of this machine has the node's address \(address): run the agent in the "
                    + "node's network namespace (hostNetwork), or give --address and --interface")
        }
        return link.name
    }
}

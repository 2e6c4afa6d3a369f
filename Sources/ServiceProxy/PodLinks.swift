import Netlink
import NetworkTypes

/// Which links of the node lead to pods, and which pods.
struct PodLinks: Hashable, Sendable {
    /// Links by number, with the number of the namespace at their other end.
    var links: [Int32: Int32] = [:]
    /// Pods that have a link of their own, with its number.
    var pods: [IPAddress: Int32] = [:]
}

extension PodLinks {
    /// Tells pods' links from the node's own by what the kernel has of them, whoever made them: one
    /// end of a veth pair whose other end is in another namespace, without a network of its own
    /// and without a gateway behind it. A pod has the link to itself where a route to its address
    /// alone leads there; behind a bridge there is no such route.
    init(links: [Link], addresses: [LinkAddress], routes: [Route]) {
        let uplinks = Set(
            addresses.filter(\.isOfNetwork).map(\.linkIndex)
                + routes.filter { $0.gateway != nil }.compactMap(\.linkIndex))
        for link in links where link.kind == "veth" && link.isUp && !uplinks.contains(link.index) {
            if let number = link.peerNamespaceNumber { self.links[link.index] = number }
        }
        let unbridged = Set(links.filter { $0.masterIndex == nil }.map(\.index))
            .intersection(self.links.keys)
        // The kernel makes such a route for an IPv6 address of the node's own, too.
        let own = Set(addresses.map(\.address))
        for route in routes where route.isToOneAddress && !own.contains(route.destination.address) {
            if let link = route.linkIndex, unbridged.contains(link) {
                pods[route.destination.address] = link
            }
        }
    }
}

extension LinkAddress {
    /// True where others than the link's two ends may share the address' network.
    fileprivate var isOfNetwork: Bool {
        !address.isLinkLocalUnicast && prefixLength < address.family.bitCount - 1
    }
}

extension Route {
    fileprivate var isToOneAddress: Bool {
        kind == .unicast && gateway == nil && table == Route.mainTable
            && destination.length == destination.family.bitCount
    }
}

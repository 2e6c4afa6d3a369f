import CLinux
import Glibc
public import NetworkTypes

/// One change to links, addresses, routes, neighbours or rules. Several go out in one send.
public enum RouteRequest: Hashable, Sendable {
    case createLink(String, LinkKind, address: MACAddress?, mtuByteCount: UInt32?)
    case deleteLink(name: String)
    /// Changes what is not nil. A master of 0 takes the link out of its bridge; the namespace is a
    /// descriptor.
    case changeLink(
        index: Int32, isUp: Bool?, name: String?, masterIndex: Int32?, address: MACAddress?,
        mtuByteCount: UInt32?, namespace: Int32?)
    /// No error where it is there. IPv6 addresses skip duplicate detection: they are ours.
    case addAddress(LinkAddress)
    case deleteAddress(LinkAddress)
    /// Adds a route; `isReplacing` puts it in the place of one with the same destination.
    case addRoute(Route, isReplacing: Bool)
    case deleteRoute(Route)
    /// Adds or replaces a neighbour.
    case setNeighbour(Neighbour)
    case deleteNeighbour(Neighbour)
    case addRule(RoutingRule)
    case deleteRule(RoutingRule)
    /// Makes a link's place for classifiers.
    case addClassifierHook(linkIndex: Int32)
    /// Adds a classifier, or replaces the one of its priority.
    case setClassifier(Classifier, program: Int32)
    case deleteClassifier(Classifier)

    /// Sets a link up or down.
    public static func setUp(index: Int32, _ isUp: Bool = true) -> RouteRequest {
        .changeLink(
            index: index, isUp: isUp, name: nil, masterIndex: nil, address: nil,
            mtuByteCount: nil, namespace: nil)
    }

    /// Makes a link a port of a bridge, and sets it up.
    public static func enslave(index: Int32, masterIndex: Int32) -> RouteRequest {
        .changeLink(
            index: index, isUp: true, name: nil, masterIndex: masterIndex, address: nil,
            mtuByteCount: nil, namespace: nil)
    }

    // MARK: - Encoding

    /// Appends the request as one message.
    func encode(into buffer: MessageBuffer) {
        let request = UInt16(NLM_F_REQUEST) | UInt16(NLM_F_ACK)
        let create = request | UInt16(NLM_F_CREATE)
        let exclusive = create | UInt16(NLM_F_EXCL)
        let replace = create | UInt16(NLM_F_REPLACE)
        switch self {
        case .createLink(let name, let kind, let address, let mtu):
            buffer.beginMessage(type: UInt16(RTM_NEWLINK), flags: exclusive)
            encodeNewLink(name, kind, address, mtu, into: buffer)
        case .deleteLink(let name):
            buffer.beginMessage(type: UInt16(RTM_DELLINK), flags: request)
            buffer.putStruct(ifinfomsg())
            buffer.putString(IFLA_IFNAME, name)
        case .changeLink(let index, let isUp, let name, let master, let address, let mtu, let fd):
            buffer.beginMessage(type: UInt16(RTM_NEWLINK), flags: request)
            var header = ifinfomsg()
            header.ifi_index = index
            if let isUp {
                header.ifi_change = PORTOLAN_IFF_UP
                header.ifi_flags = isUp ? PORTOLAN_IFF_UP : 0
            }
            buffer.putStruct(header)
            if let name { buffer.putString(IFLA_IFNAME, name) }
            if let master { buffer.put32(IFLA_MASTER, UInt32(bitPattern: master)) }
            if let address { buffer.putBytes(IFLA_ADDRESS, address.networkBytes) }
            if let mtu { buffer.put32(IFLA_MTU, mtu) }
            if let fd { buffer.put32(IFLA_NET_NS_FD, UInt32(bitPattern: fd)) }
        case .addAddress(let address):
            buffer.beginMessage(type: UInt16(RTM_NEWADDR), flags: replace)
            encodeAddress(address, into: buffer)
        case .deleteAddress(let address):
            buffer.beginMessage(type: UInt16(RTM_DELADDR), flags: request)
            encodeAddress(address, into: buffer)
        case .addRoute(let route, let isReplacing):
            buffer.beginMessage(
                type: UInt16(RTM_NEWROUTE), flags: isReplacing ? replace : exclusive)
            encodeRoute(route, isDeletion: false, into: buffer)
        case .deleteRoute(let route):
            buffer.beginMessage(type: UInt16(RTM_DELROUTE), flags: request)
            encodeRoute(route, isDeletion: true, into: buffer)
        case .setNeighbour(let neighbour):
            buffer.beginMessage(type: UInt16(RTM_NEWNEIGH), flags: replace)
            encodeNeighbour(neighbour, into: buffer)
        case .deleteNeighbour(let neighbour):
            buffer.beginMessage(type: UInt16(RTM_DELNEIGH), flags: request)
            encodeNeighbour(neighbour, into: buffer)
        case .addRule(let rule):
            buffer.beginMessage(type: UInt16(RTM_NEWRULE), flags: exclusive)
            encodeRule(rule, into: buffer)
        case .deleteRule(let rule):
            buffer.beginMessage(type: UInt16(RTM_DELRULE), flags: request)
            encodeRule(rule, into: buffer)
        case .addClassifierHook(let index):
            buffer.beginMessage(type: UInt16(RTM_NEWQDISC), flags: exclusive)
            Classifier.encodeHook(linkIndex: index, into: buffer)
        case .setClassifier(let classifier, let program):
            buffer.beginMessage(type: UInt16(RTM_NEWTFILTER), flags: create)
            classifier.encode(program: program, into: buffer)
        case .deleteClassifier(let classifier):
            buffer.beginMessage(type: UInt16(RTM_DELTFILTER), flags: request)
            classifier.encode(program: nil, into: buffer)
        }
    }

    private func encodeNewLink(
        _ name: String, _ kind: LinkKind, _ address: MACAddress?, _ mtu: UInt32?,
        into buffer: MessageBuffer
    ) {
        buffer.putStruct(ifinfomsg())
        buffer.putString(IFLA_IFNAME, name)
        if let address { buffer.putBytes(IFLA_ADDRESS, address.networkBytes) }
        if let mtu { buffer.put32(IFLA_MTU, mtu) }
        buffer.nest(IFLA_LINKINFO) {
            switch kind {
            case .bridge: buffer.putString(IFLA_INFO_KIND, "bridge")
            case .dummy: buffer.putString(IFLA_INFO_KIND, "dummy")
            case .veth(let peer, let peerAddress, let peerNamespace):
                buffer.putString(IFLA_INFO_KIND, "veth")
                buffer.nest(IFLA_INFO_DATA) {
                    buffer.nest(1) {  // VETH_INFO_PEER
                        buffer.putStruct(ifinfomsg())
                        buffer.putString(IFLA_IFNAME, peer)
                        if let peerAddress {
                            buffer.putBytes(IFLA_ADDRESS, peerAddress.networkBytes)
                        }
                        if let mtu { buffer.put32(IFLA_MTU, mtu) }
                        if let peerNamespace {
                            buffer.put32(IFLA_NET_NS_FD, UInt32(bitPattern: peerNamespace))
                        }
                    }
                }
            }
        }
    }

    private func encodeAddress(_ address: LinkAddress, into buffer: MessageBuffer) {
        var header = ifaddrmsg()
        header.ifa_family = address.address.family.number
        header.ifa_prefixlen = UInt8(clamping: address.prefixLength)
        header.ifa_scope = address.scope
        header.ifa_index = UInt32(bitPattern: address.linkIndex)
        if address.address.family == .ipv6 { header.ifa_flags = UInt8(IFA_F_NODAD) }
        buffer.putStruct(header)
        let bytes = address.address.networkBytes
        buffer.putBytes(IFA_LOCAL, bytes)
        buffer.putBytes(IFA_ADDRESS, bytes)
    }

    private func encodeRoute(_ route: Route, isDeletion: Bool, into buffer: MessageBuffer) {
        var header = rtmsg()
        header.rtm_family = route.destination.family.number
        header.rtm_dst_len = UInt8(clamping: route.destination.length)
        header.rtm_table = route.table < 256 ? UInt8(route.table) : 0
        header.rtm_type = route.kind.rawValue
        header.rtm_protocol = route.protocolNumber
        header.rtm_scope = UInt8(truncatingIfNeeded: RT_SCOPE_UNIVERSE.rawValue)
        if route.kind == .local {
            header.rtm_scope = UInt8(truncatingIfNeeded: RT_SCOPE_HOST.rawValue)
        } else if route.gateway == nil, route.kind == .unicast {
            header.rtm_scope = UInt8(truncatingIfNeeded: RT_SCOPE_LINK.rawValue)
        }
        if isDeletion { header.rtm_scope = UInt8(truncatingIfNeeded: RT_SCOPE_NOWHERE.rawValue) }
        if route.isOnLink { header.rtm_flags = UInt32(RTNH_F_ONLINK) }
        buffer.putStruct(header)
        if route.destination.length > 0 {
            buffer.putBytes(RTA_DST, route.destination.address.networkBytes)
        }
        buffer.put32(RTA_TABLE, route.table)
        if let gateway = route.gateway {
            if gateway.family == route.destination.family {
                buffer.putBytes(RTA_GATEWAY, gateway.networkBytes)
            } else {
                let family = UInt16(gateway.family.number)
                let prefix = [UInt8(truncatingIfNeeded: family), UInt8(family >> 8)]
                buffer.putBytes(RTA_VIA, prefix + gateway.networkBytes)
            }
        }
        if let index = route.linkIndex { buffer.put32(RTA_OIF, UInt32(bitPattern: index)) }
        if let source = route.preferredSource {
            buffer.putBytes(RTA_PREFSRC, source.networkBytes)
        }
        if route.metric != 0 { buffer.put32(RTA_PRIORITY, route.metric) }
    }

    private func encodeNeighbour(_ neighbour: Neighbour, into buffer: MessageBuffer) {
        var header = ndmsg()
        header.ndm_family = neighbour.address.family.number
        header.ndm_ifindex = neighbour.linkIndex
        header.ndm_state = neighbour.state
        header.ndm_flags = neighbour.isProxy ? UInt8(NTF_PROXY) : 0
        buffer.putStruct(header)
        buffer.putBytes(NDA_DST, neighbour.address.networkBytes)
        if let linkAddress = neighbour.linkAddress {
            buffer.putBytes(NDA_LLADDR, linkAddress.networkBytes)
        }
    }

    private func encodeRule(_ rule: RoutingRule, into buffer: MessageBuffer) {
        var header = fib_rule_hdr()
        header.family = rule.family.number
        header.src_len = UInt8(clamping: rule.source?.length ?? 0)
        header.dst_len = UInt8(clamping: rule.destination?.length ?? 0)
        header.table = rule.table < 256 ? UInt8(rule.table) : 0
        header.action = UInt8(FR_ACT_TO_TBL)
        buffer.putStruct(header)
        buffer.put32(FRA_TABLE, rule.table)
        buffer.put32(FRA_PRIORITY, rule.priority)
        if let source = rule.source { buffer.putBytes(FRA_SRC, source.address.networkBytes) }
        if let destination = rule.destination {
            buffer.putBytes(FRA_DST, destination.address.networkBytes)
        }
        if let mark = rule.mark { buffer.put32(FRA_FWMARK, mark) }
        if let mask = rule.markMask { buffer.put32(FRA_FWMASK, mask) }
    }
}

extension RouteRequest: CustomStringConvertible {
    /// What is done to which object, for errors.
    public var description: String {
        switch self {
        case .createLink(let name, let kind, _, _):
            switch kind {
            case .bridge: "create bridge \(name)"
            case .dummy: "create dummy link \(name)"
            case .veth(let peer, _, _): "create the veth pair \(name) and \(peer)"
            }
        case .deleteLink(let name): "delete link \(name)"
        case .changeLink(let index, _, _, _, _, _, _): "change link \(index)"
        case .addAddress(let address):
            "add address \(address.address)/\(address.prefixLength) to link \(address.linkIndex)"
        case .deleteAddress(let address):
            "delete address \(address.address)/\(address.prefixLength) from link"
                + " \(address.linkIndex)"
        case .addRoute(let route, _): "add a route to \(route.destination)"
        case .deleteRoute(let route): "delete the route to \(route.destination)"
        case .setNeighbour(let neighbour): "set neighbour \(neighbour.address)"
        case .deleteNeighbour(let neighbour): "delete neighbour \(neighbour.address)"
        case .addRule(let rule): "add routing rule \(rule.priority)"
        case .deleteRule(let rule): "delete routing rule \(rule.priority)"
        case .addClassifierHook(let index): "make link \(index) ready for classifiers"
        case .setClassifier(let classifier, _):
            "put the classifier \(classifier.name) at link \(classifier.linkIndex)"
        case .deleteClassifier(let classifier):
            "take the classifier \(classifier.name) from link \(classifier.linkIndex)"
        }
    }
}

extension IPAddress.Family {
    /// AF_INET or AF_INET6.
    var number: UInt8 { self == .ipv4 ? 2 : 10 }

    /// The family of an AF_* number.
    init?(number: UInt8) {
        switch number {
        case 2: self = .ipv4
        case 10: self = .ipv6
        default: return nil
        }
    }
}

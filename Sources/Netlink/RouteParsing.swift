import CLinux
import NetworkTypes

// What the kernel sends of links, addresses, routes and neighbours. Attributes that are missing or
// too short leave their field empty.

extension Link {
    /// Reads RTM_NEWLINK or RTM_DELLINK.
    init?(_ message: Message) {
        guard message.payload.count >= 16 else { return nil }
        index = Int32(bitPattern: message.payload.uint32(at: 4))
        let flags = message.payload.uint32(at: 8)
        isUp = flags & PORTOLAN_IFF_UP != 0
        hasCarrier = isUp && flags & PORTOLAN_IFF_LOWER_UP != 0
        isLoopback = flags & PORTOLAN_IFF_LOOPBACK != 0
        name = ""
        mtuByteCount = 0
        message.payload.forEachAttribute(from: 16) { type, payload in
            switch Int(type) {
            case IFLA_IFNAME: name = payload.string
            case IFLA_ADDRESS: address = MACAddress(networkBytes: payload.bytes)
            case IFLA_MTU: mtuByteCount = payload.uint32()
            case IFLA_MASTER: masterIndex = Int32(bitPattern: payload.uint32())
            case IFLA_LINK_NETNSID:
                peerNamespaceNumber = Int32(bitPattern: payload.uint32())
            case IFLA_LINKINFO: kind = payload.attribute(IFLA_INFO_KIND)?.string
            default: break
            }
        }
    }
}

extension LinkAddress {
    /// Reads RTM_NEWADDR or RTM_DELADDR.
    init?(_ message: Message) {
        let payload = message.payload
        // IFA_LOCAL is this side's address where the two differ (point-to-point links).
        let bytes = payload.attribute(IFA_LOCAL, from: 8) ?? payload.attribute(IFA_ADDRESS, from: 8)
        guard let bytes, let address = IPAddress(networkBytes: bytes.bytes) else { return nil }
        self.init(
            address, prefixLength: Int(payload.uint8(at: 1)),
            linkIndex: Int32(bitPattern: payload.uint32(at: 4)), scope: payload.uint8(at: 3),
            isTentative: Int(payload.uint8(at: 2)) & Int(IFA_F_TENTATIVE) != 0)
    }
}

extension Route {
    /// Reads RTM_NEWROUTE or RTM_DELROUTE; nil for families and kinds this module lacks, and for
    /// cached entries.
    init?(_ message: Message) {
        let payload = message.payload
        guard payload.count >= 12, let family = IPAddress.Family(number: payload.uint8()),
            let kind = Kind(rawValue: payload.uint8(at: 7)),
            Int(payload.uint32(at: 8)) & Int(RTM_F_CLONED) == 0
        else { return nil }
        var address = IPAddress(family: family, numericValue: 0)
        var route: (gateway: IPAddress?, link: Int32?, source: IPAddress?, metric: UInt32)
        route = (nil, nil, nil, 0)
        var table = UInt32(payload.uint8(at: 4))
        payload.forEachAttribute(from: 12) { type, value in
            switch UInt32(type) {
            case RTA_DST.rawValue: address = IPAddress(networkBytes: value.bytes) ?? address
            case RTA_GATEWAY.rawValue: route.gateway = IPAddress(networkBytes: value.bytes)
            case RTA_VIA.rawValue:
                route.gateway = IPAddress(networkBytes: value.dropFirst(2).bytes)
            case RTA_OIF.rawValue: route.link = Int32(bitPattern: value.uint32())
            case RTA_PREFSRC.rawValue: route.source = IPAddress(networkBytes: value.bytes)
            case RTA_PRIORITY.rawValue: route.metric = value.uint32()
            case RTA_TABLE.rawValue: table = value.uint32()
            default: break
            }
        }
        guard let destination = Prefix(address, length: Int(payload.uint8(at: 1))) else {
            return nil
        }
        self.init(
            to: destination, via: route.gateway, linkIndex: route.link,
            preferredSource: route.source, table: table, metric: route.metric, kind: kind,
            protocolNumber: payload.uint8(at: 5),
            isOnLink: Int(payload.uint32(at: 8)) & Int(RTNH_F_ONLINK) != 0)
    }
}

extension Neighbour {
    /// Reads RTM_NEWNEIGH or RTM_DELNEIGH; nil for bridges' forwarding entries.
    init?(_ message: Message) {
        let payload = message.payload
        guard IPAddress.Family(number: payload.uint8()) != nil,
            let address = payload.attribute(NDA_DST, from: 12).flatMap({
                IPAddress(networkBytes: $0.bytes)
            })
        else { return nil }
        self.init(
            address,
            linkAddress: payload.attribute(NDA_LLADDR, from: 12).flatMap {
                MACAddress(networkBytes: $0.bytes)
            },
            linkIndex: Int32(bitPattern: payload.uint32(at: 4)), state: payload.uint16(at: 8),
            isProxy: Int(payload.uint8(at: 10)) & Int(NTF_PROXY) != 0)
    }
}

extension RoutingRule {
    /// Reads RTM_NEWRULE.
    init?(_ message: Message) {
        let payload = message.payload
        guard let family = IPAddress.Family(number: payload.uint8()) else { return nil }
        func prefix(_ value: ByteView?, _ length: UInt8) -> Prefix? {
            guard let address = value.flatMap({ IPAddress(networkBytes: $0.bytes) }) else {
                return nil
            }
            return Prefix(address, length: Int(length))
        }
        self.init(
            family, priority: payload.attribute(FRA_PRIORITY, from: 12)?.uint32() ?? 0,
            table: payload.attribute(FRA_TABLE, from: 12)?.uint32() ?? UInt32(payload.uint8(at: 4)),
            source: prefix(payload.attribute(FRA_SRC, from: 12), payload.uint8(at: 2)),
            destination: prefix(payload.attribute(FRA_DST, from: 12), payload.uint8(at: 1)),
            mark: payload.attribute(FRA_FWMARK, from: 12)?.uint32(),
            markMask: payload.attribute(FRA_FWMASK, from: 12)?.uint32())
    }
}

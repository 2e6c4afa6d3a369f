/// The type of one field of a set's key or of a map's data, as `nft` names it.
///
/// The kernel only needs lengths; the type's number is stored with the set so that `nft list` can
/// print it. Concatenations combine the numbers, six bits each (nftables `datatype.h`).
public enum FieldType: UInt32, Hashable, Sendable, CaseIterable {
    /// `ipv4_addr`, 4 bytes.
    case ipv4Address = 7
    /// `ipv6_addr`, 16 bytes.
    case ipv6Address = 8
    /// `ether_addr`, 6 bytes.
    case etherAddress = 9
    /// `inet_proto`, 1 byte.
    case inetProtocol = 12
    /// `inet_service`, 2 bytes.
    case inetService = 13
    /// `mark`, 4 bytes in the machine's order; also for indexes and counts, which have no type of
    /// a length of their own.
    case mark = 19
    /// `iface_index`, 4 bytes.
    case interfaceIndex = 20
    /// `classid`, 4 bytes in the machine's order: the type of a packet's priority.
    case classID = 23
    /// `ct_state`, 4 bytes.
    case ctState = 26
    /// `fib_addrtype`, 4 bytes.
    case fibAddressType = 38
    /// `ifname`, 16 bytes.
    case interfaceName = 41

    /// The field's own length in bytes.
    public var byteCount: Int {
        switch self {
        case .ipv4Address, .mark, .interfaceIndex, .classID, .ctState, .fibAddressType: 4
        case .ipv6Address, .interfaceName: 16
        case .etherAddress: 6
        case .inetProtocol: 1
        case .inetService: 2
        }
    }

    /// The name in nft's language.
    public var name: String {
        switch self {
        case .ipv4Address: "ipv4_addr"
        case .ipv6Address: "ipv6_addr"
        case .etherAddress: "ether_addr"
        case .inetProtocol: "inet_proto"
        case .inetService: "inet_service"
        case .mark: "mark"
        case .interfaceIndex: "iface_index"
        case .classID: "classid"
        case .ctState: "ct_state"
        case .fibAddressType: "fib_addrtype"
        case .interfaceName: "ifname"
        }
    }

    /// True for numbers in the machine's byte order.
    var isHostOrder: Bool {
        switch self {
        case .mark, .interfaceIndex, .classID, .ctState, .fibAddressType, .interfaceName: true
        case .ipv4Address, .ipv6Address, .etherAddress, .inetProtocol, .inetService: false
        }
    }

    /// The length rounded up to whole registers.
    var paddedByteCount: Int { (byteCount + 3) & ~3 }
}

extension [FieldType] {
    /// The length of a value of these fields: the field's own for one, padded for several.
    var valueByteCount: Int {
        if count == 1, let first { return first.byteCount }
        return reduce(0) { $0 + $1.paddedByteCount }
    }

    /// The number nft stores as the set's key or data type.
    var datatypeNumber: UInt32 { reduce(0) { $0 << 6 | $1.rawValue } }

    /// Reads a datatype number back; nil where it names a type this module lacks.
    init?(datatypeNumber number: UInt32) {
        var types: [FieldType] = []
        var rest = number
        while rest != 0 {
            guard let type = FieldType(rawValue: rest & 0x3F) else { return nil }
            types.insert(type, at: 0)
            rest >>= 6
        }
        self = types
    }
}

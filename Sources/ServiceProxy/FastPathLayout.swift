import BPF
import NetworkTypes

/// Where packets and maps of one family have their fields, in bytes. Everything is in network
/// order, but for the numbers of links, times and counts.
///
/// | map | key | value |
/// |---|---|---|
/// | services | address, port, slot | an endpoint's address and port; of the last slot, their count |
/// | flows | source, destination, source port, destination port | `FlowEntry` |
/// | pods | address | the link that leads to the pod |
/// | sources | length, address | nothing: pods' addresses |
/// | counts | address, port, last slot | connections |
struct FastPathLayout: Sendable {
    /// The family of the packets.
    var family: IPAddress.Family

    /// The slot that holds the count of a Service's endpoints.
    static let headSlot: UInt16 = 0xFFFF
    /// A connection has an entry each way. The kernel takes 16 bytes for each that could be there,
    /// and more for those that are.
    static let flowCapacity: [IPAddress.Family: Int] = [.ipv4: 1 << 18, .ipv6: 1 << 15]
    static let leastServiceCapacity = 1 << 12
    static let largestServiceCapacity = 1 << 22

    /// Room for half as many entries again as there are, or more: a power of two.
    static func serviceCapacity(for count: Int) -> Int {
        var capacity = leastServiceCapacity
        while capacity < count * 3 / 2, capacity < largestServiceCapacity { capacity *= 2 }
        return capacity
    }

    static let podCapacity = 1 << 14

    // MARK: - Packets, from the Ethernet header on

    var addressSize: Int { family.bitCount / 8 }
    /// Source, destination and both ports lie side by side: IPv4 options and IPv6 extension
    /// headers are left to the stack.
    var keyOffset: Int { family == .ipv4 ? 26 : 22 }
    var portsOffset: Int { keyOffset + 2 * addressSize }
    var flagsOffset: Int { portsOffset + 13 }
    var checksumOffset: Int { portsOffset + 16 }
    /// How much of a packet is looked at.
    var headerSize: Int { portsOffset + 20 }
    /// ETH_P_IP or ETH_P_IPV6
    var etherType: UInt16 { family == .ipv4 ? 0x0800 : 0x86DD }

    // MARK: - Maps

    var serviceKeySize: Int { addressSize + 4 }
    var serviceValueSize: Int { addressSize + 4 }
    var flowKeySize: Int { 2 * addressSize + 4 }
    var flowValueSize: Int { addressSize + 16 }

    // Of a flow's value.
    var newPortsOffset: Int { addressSize }
    var linkOffset: Int { addressSize + 4 }
    var secondsOffset: Int { addressSize + 8 }
    var kindOffset: Int { addressSize + 12 }
    var stateOffset: Int { addressSize + 13 }

    private var suffix: String { family == .ipv4 ? "4" : "6" }

    func services(_ capacity: Int) -> BPFMap.Shape {
        .init(
            "services" + suffix, key: serviceKeySize, value: serviceValueSize, capacity: capacity)
    }
    var flows: BPFMap.Shape {
        .init(
            "flows" + suffix, key: flowKeySize, value: flowValueSize,
            capacity: Self.flowCapacity[family] ?? 1)
    }
    var pods: BPFMap.Shape {
        .init("pods" + suffix, key: addressSize, value: 4, capacity: Self.podCapacity)
    }
    var sources: BPFMap.Shape {
        .init(
            "sources" + suffix, .longestPrefix, key: 4 + addressSize, value: 4, capacity: 1024)
    }
    func counts(_ capacity: Int) -> BPFMap.Shape {
        .init("counts" + suffix, key: serviceKeySize, value: 8, capacity: capacity)
    }
    /// Links to pods, with the number by which the node knows the pod's namespace.
    static let links = BPFMap.Shape("links", key: 4, value: 4, capacity: podCapacity)

    // MARK: - Keys and values

    func serviceKey(_ address: IPAddress, _ port: UInt16, slot: UInt16) -> [UInt8] {
        address.networkBytes + [UInt8(port >> 8), UInt8(port & 0xFF)]
            + withUnsafeBytes(of: slot.littleEndian, Array.init)
    }

    /// The key that holds the count of a Service's endpoints.
    func headKey(_ address: IPAddress, _ port: UInt16) -> [UInt8] {
        serviceKey(address, port, slot: Self.headSlot)
    }

    func endpoint(_ backend: Backend) -> [UInt8] {
        backend.address.networkBytes
            + [UInt8(backend.port >> 8), UInt8(backend.port & 0xFF), 0, 0]
    }

    func head(count: Int) -> [UInt8] {
        let bytes = withUnsafeBytes(of: UInt32(clamping: count), Array.init)
        return bytes + [UInt8](repeating: 0, count: serviceValueSize - 4)
    }

    func source(_ prefix: Prefix) -> [UInt8] {
        withUnsafeBytes(of: UInt32(clamping: prefix.length), Array.init)
            + prefix.address.networkBytes
    }
}

/// One direction of a connection, as the kernel's map holds it.
struct FlowEntry: Hashable, Sendable {
    /// Which end is rewritten.
    enum Kind: UInt8, Sendable {
        /// From the client: the destination becomes the endpoint.
        case forward = 1
        /// To the client: the source becomes the Service.
        case reverse = 2
    }

    /// What was seen of a connection, as bits.
    struct State: OptionSet, Hashable, Sendable {
        let rawValue: UInt8
        static let clientEnded = State(rawValue: 1)
        static let serverEnded = State(rawValue: 2)
        static let reset = State(rawValue: 4)
        /// The client has sent more than its first packet.
        static let established = State(rawValue: 8)

        /// True where neither side will say more.
        var isClosed: Bool {
            contains(.reset) || isSuperset(of: [.clientEnded, .serverEnded])
        }
    }

    /// The packets' source, destination and ports, as they come.
    var key: ArraySlice<UInt8>
    var kind: Kind
    var state: State
    /// The address that takes the other's place.
    var address: ArraySlice<UInt8>
    /// Source and destination port, as they go on.
    var ports: ArraySlice<UInt8>
    /// The pod's link where packets go straight to; 0 where they go through the stack.
    var link: UInt32
    /// When a packet was last seen, in units of 2³⁰ ns of the monotonic clock.
    var seconds: UInt32

    /// Reads an entry; nil where its kind is none.
    init?(_ layout: FastPathLayout, key: ArraySlice<UInt8>, value: ArraySlice<UInt8>) {
        func number(_ offset: Int) -> UInt32 {
            value.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) }
        }
        guard value.count == layout.flowValueSize,
            let kind = Kind(rawValue: value[value.startIndex + layout.kindOffset])
        else { return nil }
        self.key = key
        self.kind = kind
        state = State(rawValue: value[value.startIndex + layout.stateOffset])
        address = value.prefix(layout.addressSize)
        ports = value.dropFirst(layout.newPortsOffset).prefix(4)
        link = number(layout.linkOffset)
        seconds = number(layout.secondsOffset)
    }

    /// The key of the other direction's entry.
    var partnerKey: [UInt8] {
        let size = address.count
        let swappedPorts = ports.suffix(2) + ports.prefix(2)
        return switch kind {
        case .forward: Array(address) + key.prefix(size) + swappedPorts
        case .reverse: Array(key.dropFirst(size).prefix(size)) + address + swappedPorts
        }
    }

    /// The pod that `link` leads to, where it leads anywhere: the endpoint, or the client.
    var pod: IPAddress? {
        switch kind {
        case .forward: IPAddress(networkBytes: address)
        case .reverse: IPAddress(networkBytes: key.dropFirst(address.count).prefix(address.count))
        }
    }

    /// How long an entry without packets stays. A closed one still answers what comes late, and
    /// keeps its ports from others while an end may be in TIME-WAIT (RFC 9293, 3.6.1).
    func isExpired(now: UInt32, isCrowded: Bool) -> Bool {
        let age = now >= seconds ? now - seconds : 0
        if state.isClosed { return age > (isCrowded ? 5 : 60) }
        if !state.contains(.established) { return age > 60 }
        let isHalfClosed = !state.isDisjoint(with: [.clientEnded, .serverEnded])
        return age > (isHalfClosed ? 3_600 : 86_400)
    }
}

import CLinux
import Glibc
public import NetworkTypes

/// One direction of a tracked connection.
public struct ConntrackTuple: Hashable, Sendable {
    /// The sender.
    public var source: IPAddress
    /// The receiver.
    public var destination: IPAddress
    /// The IP header's protocol.
    public var protocolNumber: UInt8
    /// Zero for protocols without ports.
    public var sourcePort: UInt16
    /// Zero for protocols without ports.
    public var destinationPort: UInt16
}

/// A tracked connection.
public struct ConntrackFlow: Hashable, Sendable {
    /// As the client sent the first packet.
    public var original: ConntrackTuple
    /// As answers are expected: after DNAT the source is the endpoint.
    public var reply: ConntrackTuple
    /// Bits of IPS_*: 2 reply seen, 4 assured, 16 SNAT, 32 DNAT.
    public var status: UInt32
    /// The connection's mark.
    public var mark: UInt32
    /// The kernel's number, to delete this flow and not one that took its place.
    public var id: UInt32
    /// The zone.
    public var zone: UInt16
}

/// What flows to read; nil means any.
public struct ConntrackFilter: Hashable, Sendable {
    /// The family; the kernel selects by it.
    public var family: IPAddress.Family
    /// The protocol; the kernel selects by it.
    public var transport: TransportProtocol?
    /// Where the client sent the first packet; the kernel selects by it where it is IPv4.
    public var originalDestination: IPAddress?
    /// To which port; the kernel selects by it where the protocol is given too.
    public var originalDestinationPort: UInt16?
    /// The endpoint that answers.
    public var replySource: IPAddress?
    /// The port it answers from.
    public var replySourcePort: UInt16?

    /// Describes flows.
    public init(
        _ family: IPAddress.Family, transport: TransportProtocol? = nil,
        originalDestination: IPAddress? = nil, originalDestinationPort: UInt16? = nil,
        replySource: IPAddress? = nil, replySourcePort: UInt16? = nil
    ) {
        self.family = family
        self.transport = transport
        self.originalDestination = originalDestination
        self.originalDestinationPort = originalDestinationPort
        self.replySource = replySource
        self.replySourcePort = replySourcePort
    }

    /// True where the flow is among those described.
    public func matches(_ flow: ConntrackFlow) -> Bool {
        func agrees<Value: Equatable>(_ wanted: Value?, _ value: Value) -> Bool {
            wanted.map { $0 == value } ?? true
        }
        return flow.original.source.family == family
            && agrees(transport?.number, flow.original.protocolNumber)
            && agrees(originalDestination, flow.original.destination)
            && agrees(originalDestinationPort, flow.original.destinationPort)
            && agrees(replySource, flow.reply.source)
            && agrees(replySourcePort, flow.reply.sourcePort)
    }
}

/// The connection tracking table of one network namespace (nfnetlink_conntrack).
public final class ConntrackSocket: Sendable {
    private let socket: NetlinkSocket
    private static let batchLimit = 64

    /// Opens a socket in the calling thread's namespace.
    public init() throws { socket = try NetlinkSocket(.netfilter) }

    /// Opens a socket in the namespace; it may be used from any thread.
    public init(in namespace: NamespaceDescriptor) throws {
        socket = try NetworkNamespace.withThread(in: namespace) { try NetlinkSocket(.netfilter) }
    }

    /// The flows that match. What the kernel can select is not copied at all.
    public func flows(_ filter: ConntrackFilter) throws -> [ConntrackFlow] {
        let buffer = MessageBuffer(capacity: 256)
        encodeDump(filter, into: buffer)
        let messages = try socket.dump(buffer, operation: "list tracked connections")
        return messages.compactMap(ConntrackFlow.init).filter(filter.matches)
    }

    /// Deletes flows; those that ended meanwhile are no error.
    /// - Returns: how many were deleted.
    @discardableResult
    public func delete(_ flows: [ConntrackFlow]) throws -> Int {
        let buffer = MessageBuffer()
        var deleted = 0
        var start = 0
        while start < flows.count {
            let batch = flows[start..<min(start + Self.batchLimit, flows.count)]
            buffer.removeAll()
            for flow in batch { Self.encodeDelete(flow, into: buffer) }
            let failures = try socket.request(buffer)
            deleted += batch.count - failures.count
            for failure in failures where failure.errorNumber != ENOENT {
                throw NetlinkError(
                    failure.errorNumber, "delete a tracked connection", message: failure.message)
            }
            start += batch.count
        }
        return deleted
    }

    /// Deletes the flows that match the filter and, where given, the predicate.
    /// - Returns: how many were deleted.
    @discardableResult
    public func deleteFlows(
        _ filter: ConntrackFilter, where predicate: (ConntrackFlow) -> Bool = { _ in true }
    ) throws -> Int {
        try delete(flows(filter).filter(predicate))
    }

    /// How many flows are tracked.
    public func count() throws -> Int {
        let buffer = MessageBuffer(capacity: 64)
        Self.begin(IPCTNL_MSG_CT_GET_STATS, family: 0, flags: 0, into: buffer)
        let reply = try socket.get(buffer, operation: "count tracked connections")
        return Int(reply.payload.attribute(1, from: 4)?.uint32BigEndian() ?? 0)
    }

    // MARK: - Encoding

    private static func begin(
        _ type: cntl_msg_types, family: UInt8, flags: Int32, into buffer: MessageBuffer
    ) {
        let subsystem = UInt16(NFNL_SUBSYS_CTNETLINK) << 8
        buffer.beginMessage(
            type: subsystem | UInt16(type.rawValue), flags: UInt16(NLM_F_REQUEST | flags))
        buffer.putStruct(nfgenmsg(nfgen_family: family, version: 0, res_id: 0))
    }

    /// The kernel compares the parts of CTA_TUPLE_ORIG that CTA_FILTER names (Linux 5.8).
    private func encodeDump(_ filter: ConntrackFilter, into buffer: MessageBuffer) {
        Self.begin(IPCTNL_MSG_CT_GET, family: filter.family.number, flags: 0, into: buffer)
        var selected: UInt32 = 0
        // The kernel's comparison of IPv6 addresses is inverted (ctnetlink_filter_match_tuple): it
        // leaves out what was asked for, so those are only compared here.
        let destination = filter.family == .ipv4 ? filter.originalDestination : nil
        if destination != nil { selected |= 1 << 1 }  // CTA_FILTER_F_CTA_IP_DST
        if filter.transport != nil {
            selected |= 1 << 3  // CTA_FILTER_F_CTA_PROTO_NUM
            if filter.originalDestinationPort != nil { selected |= 1 << 5 }  // …_PROTO_DST_PORT
        }
        guard selected != 0 else { return }
        buffer.nest(CTA_TUPLE_ORIG) {
            if let destination {
                buffer.nest(CTA_TUPLE_IP) {
                    buffer.putBytes(CTA_IP_V4_DST, destination.networkBytes)
                }
            }
            if let transport = filter.transport {
                buffer.nest(CTA_TUPLE_PROTO) {
                    buffer.put8(CTA_PROTO_NUM, transport.number)
                    if let port = filter.originalDestinationPort {
                        buffer.put16BigEndian(CTA_PROTO_DST_PORT, port)
                    }
                }
            }
        }
        buffer.nest(CTA_FILTER) {
            buffer.put32(1, selected)  // CTA_FILTER_ORIG_FLAGS
            buffer.put32(2, 0)  // CTA_FILTER_REPLY_FLAGS
        }
    }

    private static func encodeDelete(_ flow: ConntrackFlow, into buffer: MessageBuffer) {
        let tuple = flow.original
        begin(
            IPCTNL_MSG_CT_DELETE, family: tuple.source.family.number, flags: NLM_F_ACK,
            into: buffer)
        let isIPv4 = tuple.source.family == .ipv4
        buffer.nest(CTA_TUPLE_ORIG) {
            buffer.nest(CTA_TUPLE_IP) {
                buffer.putBytes(isIPv4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, tuple.source.networkBytes)
                buffer.putBytes(
                    isIPv4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, tuple.destination.networkBytes)
            }
            buffer.nest(CTA_TUPLE_PROTO) {
                buffer.put8(CTA_PROTO_NUM, tuple.protocolNumber)
                buffer.put16BigEndian(CTA_PROTO_SRC_PORT, tuple.sourcePort)
                buffer.put16BigEndian(CTA_PROTO_DST_PORT, tuple.destinationPort)
            }
        }
        buffer.put32BigEndian(CTA_ID, flow.id)
        if flow.zone != 0 { buffer.put16BigEndian(CTA_ZONE, flow.zone) }
    }
}

// MARK: - Parsing

extension ConntrackFlow {
    /// Reads IPCTNL_MSG_CT_NEW; nil where a tuple is missing.
    init?(_ message: Message) {
        let payload = message.payload.dropFirst(4)
        guard let original = payload.attribute(CTA_TUPLE_ORIG).flatMap(ConntrackTuple.init),
            let reply = payload.attribute(CTA_TUPLE_REPLY).flatMap(ConntrackTuple.init)
        else { return nil }
        self.init(
            original: original, reply: reply,
            status: payload.attribute(CTA_STATUS)?.uint32BigEndian() ?? 0,
            mark: payload.attribute(CTA_MARK)?.uint32BigEndian() ?? 0,
            id: payload.attribute(CTA_ID)?.uint32BigEndian() ?? 0,
            zone: payload.attribute(CTA_ZONE)?.uint16BigEndian() ?? 0)
    }
}

extension ConntrackTuple {
    init?(_ payload: ByteView) {
        guard let addresses = payload.attribute(CTA_TUPLE_IP),
            let transport = payload.attribute(CTA_TUPLE_PROTO),
            let source = addresses.attribute(CTA_IP_V4_SRC) ?? addresses.attribute(CTA_IP_V6_SRC),
            let destination =
                addresses.attribute(CTA_IP_V4_DST) ?? addresses.attribute(CTA_IP_V6_DST),
            let sourceAddress = IPAddress(networkBytes: source.bytes),
            let destinationAddress = IPAddress(networkBytes: destination.bytes)
        else { return nil }
        self.init(
            source: sourceAddress, destination: destinationAddress,
            protocolNumber: transport.attribute(CTA_PROTO_NUM)?.uint8() ?? 0,
            sourcePort: transport.attribute(CTA_PROTO_SRC_PORT)?.uint16BigEndian() ?? 0,
            destinationPort: transport.attribute(CTA_PROTO_DST_PORT)?.uint16BigEndian() ?? 0)
    }
}

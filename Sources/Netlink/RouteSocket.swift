import CLinux
import Glibc
public import NetworkTypes

/// Links, addresses, routes, neighbours and rules of one network namespace (rtnetlink).
public final class RouteSocket: Sendable {
    private let socket: NetlinkSocket
    /// How many requests go out in one send, so that the answers fit the receive buffer.
    private static let batchLimit = 64

    /// Opens a socket in the calling thread's namespace.
    public init() throws { socket = try NetlinkSocket(.route) }

    /// Opens a socket in the namespace; it may be used from any thread.
    public init(in namespace: NamespaceDescriptor) throws {
        socket = try NetworkNamespace.withThread(in: namespace) { try NetlinkSocket(.route) }
    }

    // MARK: - Changes

    /// Makes the changes in order, several to a system call. The kernel makes each that it can.
    /// - Throws: `NetlinkError` for the first that was refused.
    public func perform(_ requests: [RouteRequest]) throws {
        for (request, failure) in try attempt(requests) {
            throw NetlinkError(
                failure.errorNumber, request.description, message: failure.message)
        }
    }

    /// Makes one change.
    public func perform(_ request: RouteRequest) throws { try perform([request]) }

    /// Makes the changes in order and returns those that were refused, with the reason.
    public func attempt(
        _ requests: [RouteRequest]
    ) throws -> [(request: RouteRequest, failure: MessageFailure)] {
        var failures: [(request: RouteRequest, failure: MessageFailure)] = []
        let buffer = MessageBuffer()
        var start = 0
        while start < requests.count {
            let batch = requests[start..<min(start + Self.batchLimit, requests.count)]
            buffer.removeAll()
            for request in batch { request.encode(into: buffer) }
            for failure in try socket.request(buffer) {
                failures.append((batch[start + failure.messageIndex], failure))
            }
            start += batch.count
        }
        return failures
    }

    /// Creates a pair of links, the peer in another namespace where one is given.
    /// - Returns: the first link; the peer is found in its namespace.
    @discardableResult
    public func createVeth(
        _ name: String, peer: String, peerNamespace: NamespaceDescriptor? = nil,
        address: MACAddress? = nil, peerAddress: MACAddress? = nil, mtuByteCount: UInt32? = nil
    ) throws -> Link {
        let kind = LinkKind.veth(
            peer: peer, peerAddress: peerAddress, peerNamespace: peerNamespace?.rawValue)
        // The descriptor must stay open until the kernel has read its number.
        try withExtendedLifetime(peerNamespace) {
            try perform(.createLink(name, kind, address: address, mtuByteCount: mtuByteCount))
        }
        return try requireLink(name)
    }

    /// Creates a bridge.
    @discardableResult
    public func createBridge(_ name: String, address: MACAddress? = nil) throws -> Link {
        try perform(.createLink(name, .bridge, address: address, mtuByteCount: nil))
        return try requireLink(name)
    }

    /// Sets the link of the name up.
    public func setUp(_ name: String) throws {
        try perform(.setUp(index: requireLink(name).index))
    }

    /// Deletes the link of the name; false where there is none.
    @discardableResult
    public func deleteLink(_ name: String) throws -> Bool {
        for (request, failure) in try attempt([.deleteLink(name: name)]) {
            if failure.errorNumber == ENODEV { return false }
            throw NetlinkError(
                failure.errorNumber, request.description, message: failure.message)
        }
        return true
    }

    /// Adds an address to the link of the name.
    public func addAddress(_ address: IPAddress, prefixLength: Int, to name: String) throws {
        let index = try requireLink(name).index
        try perform(
            .addAddress(LinkAddress(address, prefixLength: prefixLength, linkIndex: index)))
    }

    // MARK: - Reading

    /// The link of the name, or nil.
    public func link(_ name: String) throws -> Link? {
        let buffer = MessageBuffer(capacity: 128)
        buffer.beginMessage(type: UInt16(RTM_GETLINK), flags: 0)
        buffer.putStruct(ifinfomsg())
        buffer.putString(IFLA_IFNAME, name)
        do {
            return Link(try socket.get(buffer, operation: "read link \(name)"))
        } catch let error as NetlinkError where error.errorNumber == ENODEV {
            return nil
        }
    }

    /// The link of the name.
    /// - Throws: `NetlinkError` with ENODEV where there is none.
    public func requireLink(_ name: String) throws -> Link {
        guard let link = try link(name) else { throw NetlinkError(ENODEV, "find link \(name)") }
        return link
    }

    /// All links.
    public func links() throws -> [Link] {
        try dump(RTM_GETLINK, ifinfomsg(), "list links").compactMap(Link.init)
    }

    /// All addresses of both families.
    public func addresses() throws -> [LinkAddress] {
        try dump(RTM_GETADDR, ifaddrmsg(), "list addresses").compactMap(LinkAddress.init)
    }

    /// The routes of all tables.
    public func routes(_ family: IPAddress.Family) throws -> [Route] {
        var header = rtmsg()
        header.rtm_family = family.number
        return try dump(RTM_GETROUTE, header, "list routes").compactMap(Route.init)
    }

    /// The neighbours of both families, without proxied ones.
    public func neighbours() throws -> [Neighbour] {
        try dump(RTM_GETNEIGH, ndmsg(), "list neighbours").compactMap(Neighbour.init)
    }

    /// The rules that choose routing tables.
    public func rules(_ family: IPAddress.Family) throws -> [RoutingRule] {
        var header = fib_rule_hdr()
        header.family = family.number
        return try dump(RTM_GETRULE, header, "list routing rules").compactMap(RoutingRule.init)
    }

    /// The BPF classifiers at a link, in the order in which they see packets.
    public func classifiers(
        linkIndex: Int32, _ direction: Classifier.Direction
    ) throws -> [Classifier] {
        let header = Classifier.header(linkIndex: linkIndex, direction)
        return try dump(RTM_GETTFILTER, header, "list classifiers of link \(linkIndex)")
            .compactMap { Classifier($0, direction) }
    }

    private func dump(
        _ type: Int, _ header: some BitwiseCopyable, _ operation: String
    ) throws -> [Message] {
        let buffer = MessageBuffer(capacity: 128)
        buffer.beginMessage(type: UInt16(type), flags: 0)
        buffer.putStruct(header)
        return try socket.dump(buffer, operation: operation)
    }
}

// MARK: - Monitor

/// A change to a namespace's network that someone made.
public enum RouteEvent: Hashable, Sendable {
    case link(Link, isDeleted: Bool)
    case address(LinkAddress, isDeleted: Bool)
    case neighbour(Neighbour, isDeleted: Bool)
    case route(Route, isDeleted: Bool)
    /// Events were lost: read everything anew.
    case overrun

    init?(_ message: Message) {
        switch Int(message.type) {
        case RTM_NEWLINK, RTM_DELLINK:
            guard let link = Link(message) else { return nil }
            self = .link(link, isDeleted: Int(message.type) == RTM_DELLINK)
        case RTM_NEWADDR, RTM_DELADDR:
            guard let address = LinkAddress(message) else { return nil }
            self = .address(address, isDeleted: Int(message.type) == RTM_DELADDR)
        case RTM_NEWNEIGH, RTM_DELNEIGH:
            guard let neighbour = Neighbour(message) else { return nil }
            self = .neighbour(neighbour, isDeleted: Int(message.type) == RTM_DELNEIGH)
        case RTM_NEWROUTE, RTM_DELROUTE:
            guard let route = Route(message) else { return nil }
            self = .route(route, isDeleted: Int(message.type) == RTM_DELROUTE)
        default: return nil
        }
    }
}

/// Tells of changes to links, addresses, neighbours and routes. Open it before reading the present
/// state, so that no change falls between.
public final class RouteMonitor: Sendable {
    /// What to be told of.
    public struct Subjects: OptionSet, Sendable {
        /// Bits of RTMGRP_*.
        public let rawValue: UInt32
        /// Makes subjects from the kernel's bits.
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// Links made, changed, deleted.
        public static let links = Subjects(rawValue: 0x1)
        /// Entries of the neighbour tables.
        public static let neighbours = Subjects(rawValue: 0x4)
        /// Addresses of both families.
        public static let addresses = Subjects(rawValue: 0x110)
        /// Routes of both families.
        public static let routes = Subjects(rawValue: 0x440)
    }

    private let socket: NetlinkSocket

    /// Opens a monitor in the calling thread's namespace.
    public init(_ subjects: Subjects, isNonBlocking: Bool = true) throws {
        socket = try NetlinkSocket(
            .route, groups: subjects.rawValue, isNonBlocking: isNonBlocking)
    }

    /// Opens a monitor in the namespace; it may be used from any thread.
    public init(_ subjects: Subjects, in namespace: NamespaceDescriptor) throws {
        socket = try NetworkNamespace.withThread(in: namespace) {
            try NetlinkSocket(.route, groups: subjects.rawValue, isNonBlocking: true)
        }
    }

    /// Readable, for epoll, when there are events.
    public var descriptor: Int32 { socket.descriptor }

    /// The events there are; empty where a non-blocking monitor has none.
    public func events() throws -> [RouteEvent] {
        do {
            return (try socket.receiveNotifications() ?? []).compactMap(RouteEvent.init)
        } catch let error as NetlinkError where error.errorNumber == ENOBUFS {
            return [.overrun]
        }
    }
}

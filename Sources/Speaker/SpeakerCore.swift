public import ARP
public import AddressPools
public import KubernetesAPI
public import NetworkTypes

/// The whole of a speaker but for its sockets and its clock: objects, frames, datagrams and moments
/// go in; frames, datagrams and events to send come out, in order.
public struct SpeakerCore: Sendable {
    /// What to do.
    public enum Action: Hashable, Sendable {
        /// Send a frame out of the interface.
        case frame([UInt8])
        /// Send a heartbeat.
        case datagram([UInt8], to: IPAddress)
        /// Record an event.
        case event(Event)
        /// The Services whose addresses are announced here may be others now.
        case announcementsChanged
    }

    /// An event about a Service.
    public struct Event: Hashable, Sendable {
        /// The Service.
        public var service: ObjectKey
        /// `Warning`, or else `Normal`.
        public var isWarning: Bool
        /// One word, as MetalLB has it where MetalLB has one.
        public var reason: String
        /// The sentence for people.
        public var message: String
    }

    /// Who and where this speaker is.
    public struct Identity: Hashable, Sendable {
        /// The node's name.
        public var nodeName: String
        /// The interface it announces on.
        public var interface: SpeakerInterface
        /// That interface's hardware address.
        public var hardware: MACAddress
        /// Drawn at random at each start; never 0.
        public var boot: UInt64

        /// Makes an identity.
        public init(
            nodeName: String, interface: SpeakerInterface, hardware: MACAddress, boot: UInt64
        ) {
            self.nodeName = nodeName
            self.interface = interface
            self.hardware = hardware
            self.boot = boot
        }
    }

    /// Who and where this speaker is.
    public let identity: Identity
    /// The election in force.
    public private(set) var election = Election()
    /// Answers for the addresses that are announced here.
    public private(set) var responder: AddressResponder
    /// Who else lives.
    public private(set) var membership: Membership

    private var inputs = ElectionInputs()
    private var slices: [ObjectKey: Shared<EndpointSlice>] = [:]
    private var slicesOfService: [ObjectKey: Set<ObjectKey>] = [:]
    private var schedules: [IPAddress: AnnouncementSchedule] = [:]
    private var rivals: [IPAddress: Rival] = [:]
    private var announcedServices: Set<ObjectKey> = []
    private var warnedServices: Set<ObjectKey> = []
    private var isStarted = false
    private var isAside = false
    private var isLeaving = false

    private struct Rival {
        var sinceMilliseconds: Int64
        var lastClaimMilliseconds: Int64
        var lastEventMilliseconds: Int64?
    }

    /// Makes a core that knows of nothing yet.
    public init(_ identity: Identity, timing: Membership.Timing = Membership.Timing()) {
        self.identity = identity
        responder = AddressResponder(hardware: identity.hardware)
        membership = Membership(
            name: identity.nodeName, boot: identity.boot, interfaces: [identity.interface],
            timing: timing)
    }

    /// The addresses that are announced here.
    public var announced: Set<IPAddress> { responder.announced }

    /// Why each address of each Service is announced here or not.
    public func reasons() -> [ObjectKey: [IPAddress: AnnouncementReason]] {
        inputs.services.mapValues { service in
            let addresses = service.ingress.compactMap(\.address)
            return Dictionary(
                addresses.map { address in
                    (
                        address,
                        isAside
                            ? .steppedAside
                            : election.reason(address, service.key, node: identity.nodeName)
                    )
                }, uniquingKeysWith: { first, _ in first })
        }
    }

    /// The metadata of a Service with an address, for its uid in events.
    func metadata(of key: ObjectKey) -> ObjectMeta? { inputs.services[key]?.metadata }

    /// The Services with the addresses of theirs that are announced here.
    public var announcements: [ObjectKey: [IPAddress]] {
        var result: [ObjectKey: [IPAddress]] = [:]
        for (address, decision) in election.decisions where announced.contains(address) {
            for service in decision.services
            where election.reason(address, service, node: identity.nodeName) == .announced {
                result[service, default: []].append(address)
            }
        }
        return result.mapValues { $0.sorted() }
    }
}

// MARK: - Objects

extension SpeakerCore {
    /// Begins to announce: every kind has been listed once.
    public mutating func start(nowMilliseconds now: Int64) -> [Action] {
        isStarted = true
        return tick(nowMilliseconds: now) + settle(now)
    }

    /// Takes in a Service; nil where it is gone.
    public mutating func update(
        _ key: ObjectKey, service: Service?, nowMilliseconds now: Int64
    ) -> [Action] {
        let kept = service.flatMap { service in
            service.type == .loadBalancer && service.ingress.contains { $0.address != nil }
                ? service : nil
        }
        guard inputs.services[key] != kept else { return [] }
        inputs.services[key] = kept
        inputs.servingNodes[key] = kept == nil ? nil : servingNodes(key)
        return settle(now)
    }

    /// Takes in an EndpointSlice; nil where it is gone.
    public mutating func update(
        _ key: ObjectKey, slice: EndpointSlice?, nowMilliseconds now: Int64
    ) -> [Action] {
        update(key, sharedSlice: slice.map(Shared.init), nowMilliseconds: now)
    }

    /// Takes in a slice that others keep as well; nil where it is gone.
    public mutating func update(
        _ key: ObjectKey, sharedSlice slice: Shared<EndpointSlice>?, nowMilliseconds now: Int64
    ) -> [Action] {
        var owners: Set<ObjectKey> = []
        if let owner = slices[key]?.value.serviceKey {
            owners.insert(owner)
            slicesOfService[owner]?.remove(key)
            if slicesOfService[owner]?.isEmpty == true { slicesOfService[owner] = nil }
        }
        slices[key] = slice
        if let owner = slice?.value.serviceKey {
            owners.insert(owner)
            slicesOfService[owner, default: []].insert(key)
        }
        var isChanged = false
        for owner in owners where inputs.services[owner] != nil {
            let fresh = servingNodes(owner)
            if inputs.servingNodes[owner] != fresh { isChanged = true }
            inputs.servingNodes[owner] = fresh
        }
        return isChanged ? settle(now) : []
    }

    /// Takes in a Node; nil where it is gone.
    public mutating func update(
        node name: String, _ node: Node?, nowMilliseconds now: Int64
    ) -> [Action] {
        guard inputs.nodes[name] != node else { return [] }
        inputs.nodes[name] = node
        let family = identity.interface.prefixes.first?.family ?? .ipv4
        let addresses = inputs.nodes.compactMapValues { node in
            node.internalAddresses.first { $0.family == family }
        }
        membership.setPeers(addresses)
        return settle(now)
    }

    /// Takes in a valid configuration.
    public mutating func update(
        configuration: LoadBalancerConfiguration, nowMilliseconds now: Int64
    ) -> [Action] {
        guard inputs.configuration != configuration else { return [] }
        inputs.configuration = configuration
        return settle(now)
    }

    /// Takes in the secret that heartbeats are signed with.
    public mutating func setKey(_ key: HeartbeatKey) { membership.setKey(key) }

    /// Leaves announcing to MetalLB's own speaker, or takes it up again.
    public mutating func setAside(_ aside: Bool, nowMilliseconds now: Int64) -> [Action] {
        guard aside != isAside else { return [] }
        isAside = aside
        return settle(now)
    }

    /// Only Services with an address are looked at, so that the others' endpoints cost nothing.
    private func servingNodes(_ key: ObjectKey) -> Set<String> {
        var nodes: Set<String> = []
        for slice in slicesOfService[key] ?? [] {
            for endpoint in slices[slice]?.value.endpoints ?? []
            where endpoint.isReady || endpoint.isServing {
                nodes.insert(endpoint.nodeName ?? "")
            }
        }
        return nodes
    }
}

// MARK: - Frames, datagrams and time

extension SpeakerCore {
    /// Looks at a frame from the interface.
    public mutating func receive(
        frame: Span<UInt8>, nowMilliseconds now: Int64
    ) -> [Action] {
        switch responder.receive(frame) {
        case .ignore: return []
        case .send(let bytes): return [.frame(bytes)]
        case .conflict(let address, let rival): return contest(address, rival, now)
        }
    }

    /// Looks at a datagram from another speaker.
    public mutating func receive(
        datagram: [UInt8], nowMilliseconds now: Int64
    ) -> [Action] {
        let (reply, isChanged) = membership.receive(datagram, nowMilliseconds: now)
        let replies = reply.map { [Action.datagram($0.bytes, to: $0.address)] } ?? []
        return replies + (isChanged ? settle(now) : [])
    }

    /// The moment to call `tick` at the latest.
    public var nextMilliseconds: Int64 {
        schedules.values.compactMap(\.nextMilliseconds).reduce(membership.nextMilliseconds, min)
    }

    /// Sends what is due.
    public mutating func tick(nowMilliseconds now: Int64) -> [Action] {
        guard isStarted else { return [] }
        let (sends, isChanged) = membership.tick(nowMilliseconds: now)
        var actions = sends.map { Action.datagram($0.bytes, to: $0.address) }
        if isChanged { actions += settle(now) }
        for address in schedules.keys.sorted() {
            guard schedules[address]?.takeDue(nowMilliseconds: now) == true else { continue }
            actions += responder.announcement(of: address).map(Action.frame)
            if schedules[address]?.nextMilliseconds == nil { schedules[address] = nil }
        }
        return actions
    }

    /// Says farewell. Requests for an address are still answered until another speaker announces
    /// it, so that nobody notices.
    public mutating func leave() -> [Action] {
        isLeaving = true
        schedules = [:]
        return membership.leave().map { .datagram($0.bytes, to: $0.address) }
    }

    /// Elects anew and acts on the difference.
    private mutating func settle(_ now: Int64) -> [Action] {
        guard isStarted, !isLeaving else { return [] }
        let ready = Set(inputs.nodes.values.filter(\.isReady).map(\.metadata.name))
        inputs.speakers = membership.live(ready: ready, nowMilliseconds: now)
        let fresh = Election(inputs)
        let owned = fresh.decisions.filter { $0.value.owner == identity.nodeName }
        let mine = isAside ? [] : Set(owned.keys)
        guard fresh != election || mine != announced else { return [] }
        election = fresh
        let taken = mine.subtracting(announced)
        responder.announce(mine)
        schedules = schedules.filter { mine.contains($0.key) }
        rivals = rivals.filter { mine.contains($0.key) }
        var actions: [Action] = []
        for address in taken.sorted() {
            // The probe brings out a host that had the address before us; the announcement goes
            // out behind it, since waiting for an answer would cost a fail-over its speed.
            actions.append(.frame(responder.probe(for: address)))
            actions += responder.announcement(of: address).map(Action.frame)
            var schedule = AnnouncementSchedule(startMilliseconds: now)
            _ = schedule.takeDue(nowMilliseconds: now)
            schedules[address] = schedule
        }
        actions += events()
        actions.append(.announcementsChanged)
        return actions
    }

    private mutating func events() -> [Action] {
        var actions: [Action] = []
        let current = announcements
        for key in current.keys.sorted() where !announcedServices.contains(key) {
            let texts = (current[key] ?? []).map(\.description).joined(separator: ", ")
            actions.append(
                .event(
                    Event(
                        service: key, isWarning: false, reason: "nodeAssigned",
                        message: "announcing \(texts) from node \"\(identity.nodeName)\" with "
                            + "protocol \"layer2\"")))
        }
        announcedServices = Set(current.keys)
        var warned: Set<ObjectKey> = []
        for (address, decision) in election.decisions
        where decision.isEveryNodeExcluded && announced.contains(address) {
            warned.formUnion(decision.services)
        }
        for key in warned.subtracting(warnedServices).sorted() {
            actions.append(
                .event(
                    Event(
                        service: key, isWarning: true, reason: "AllNodesExcluded",
                        message: "every node is labelled "
                            + "node.kubernetes.io/exclude-from-external-load-balancers: announcing "
                            + "all the same; take the label off the nodes that may announce")))
        }
        warnedServices = warned
        return actions
    }

    /// A take-over makes two nodes claim an address for a moment. A rival that goes on is another
    /// host with our address, or a speaker that we cannot hear: defend, as RFC 5227, 2.4 (c) has
    /// it, and say so.
    private mutating func contest(
        _ address: IPAddress, _ hardware: MACAddress, _ now: Int64
    ) -> [Action] {
        if isLeaving {
            // The heir has announced itself: an answer of ours would now lead astray.
            responder.announce(announced.subtracting([address]))
            return []
        }
        let fresh = Rival(sinceMilliseconds: now, lastClaimMilliseconds: now)
        var rival = rivals[address] ?? fresh
        if now - rival.lastClaimMilliseconds > Self.defendMilliseconds { rival = fresh }
        rival.lastClaimMilliseconds = now
        defer { rivals[address] = rival }
        guard now - rival.sinceMilliseconds >= Self.contestMilliseconds else { return [] }
        if let last = rival.lastEventMilliseconds, now - last < Self.defendMilliseconds {
            return []
        }
        rival.lastEventMilliseconds = now
        let services = election.decisions[address]?.services ?? []
        let events = services.map { key in
            Action.event(
                Event(
                    service: key, isWarning: true, reason: "AddressConflict",
                    message: "\(hardware) also answers for \(address), which node "
                        + "\"\(identity.nodeName)\" announces: take the address out of the pool, "
                        + "or off that host"))
        }
        return responder.announcement(of: address).map(Action.frame) + events
    }

    private static let contestMilliseconds: Int64 = 1_000
    /// DEFEND_INTERVAL of RFC 5227, so that two hosts do not shout at each other.
    private static let defendMilliseconds: Int64 = 10_000
}

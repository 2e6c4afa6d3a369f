public import NetworkTypes

/// Which other speakers live. Pure: datagrams and moments go in, datagrams and changes come out.
///
/// A speaker counts as live while it is heard with proof that it has heard us lately. That rules
/// out recordings, and links that work in one direction only.
public struct Membership: Sendable {
    /// A datagram to another speaker.
    public struct Outgoing: Hashable, Sendable {
        /// The signed bytes.
        public var bytes: [UInt8]
        /// The other node's address.
        public var address: IPAddress
    }

    /// How often to speak and when to give somebody up.
    public struct Timing: Hashable, Sendable {
        /// Between heartbeats.
        public var intervalMilliseconds: Int64 = 150
        /// Silence after which a speaker counts as dead.
        public var deadMilliseconds: Int64 = 600
        /// After the start, nodes that the API calls ready count as live for so long unheard.
        public var graceMilliseconds: Int64 = 700

        /// The usual timing.
        public init() {}
    }

    /// What is counted.
    public struct Counters: Hashable, Sendable {
        /// Datagrams sent.
        public var sent: UInt64 = 0
        /// Datagrams heeded.
        public var received: UInt64 = 0
        /// Datagrams with a wrong code.
        public var unauthenticated: UInt64 = 0
        /// Datagrams that were no heartbeats, or not well-formed.
        public var malformed: UInt64 = 0
        /// Datagrams heard before, or of an older boot.
        public var replayed: UInt64 = 0
        /// Speakers given up after silence.
        public var deaths: UInt64 = 0
    }

    private struct Peer: Sendable {
        var address: IPAddress
        /// What was last heard; zero for nothing.
        var boot: UInt64 = 0
        var counter: UInt64 = 0
        /// Boots before that one, newest last: they are over for good.
        var formerBoots: [UInt64] = []
        /// When it was last heard with proof; nil for never, or since it left or died.
        var liveMilliseconds: Int64?
        var wasEverLive = false
        var interfaces: [SpeakerInterface] = []
        var lastReplyMilliseconds: Int64?
        /// Datagrams sent to it, the number of the last one.
        var sent: UInt64 = 0
    }

    /// A proof counts if it names one of our last datagrams, which is a few seconds' worth.
    private static let proofWindow: UInt64 = 64
    /// More restarts than a proof can outlive.
    private static let formerBootLimit = 16
    private static let replyPauseMilliseconds: Int64 = 20

    private let name: String
    private let boot: UInt64
    private let timing: Timing
    private var interfaces: [SpeakerInterface]
    private var keys: [HeartbeatKey] = []
    private var peers: [String: Peer] = [:]
    private var startMilliseconds: Int64?
    private var nextSendMilliseconds: Int64 = 0
    private var isLeaving = false
    /// The counts so far.
    public private(set) var counters = Counters()

    /// Makes a membership of one.
    /// - Parameter boot: drawn at random at each start; never 0.
    public init(
        name: String, boot: UInt64, interfaces: [SpeakerInterface], timing: Timing = Timing()
    ) {
        self.name = name
        self.boot = max(boot, 1)
        self.interfaces = interfaces
        self.timing = timing
    }

    /// Uses `key` from now on. The one before is still understood, since others learn of the
    /// change a little later.
    public mutating func setKey(_ key: HeartbeatKey) {
        guard keys.first != key else { return }
        keys = [key] + keys.prefix(1)
    }

    /// Says where this speaker announces.
    public mutating func setInterfaces(_ fresh: [SpeakerInterface]) { interfaces = fresh }

    /// Says who else there is, by node name.
    public mutating func setPeers(_ addresses: [String: IPAddress]) {
        for name in peers.keys where addresses[name] == nil { peers[name] = nil }
        for (name, address) in addresses where name != self.name {
            peers[name, default: Peer(address: address)].address = address
        }
    }

    /// The live speakers with their interfaces, this one included unless it is leaving.
    /// - Parameter ready: the nodes that the API calls ready, heeded only just after the start.
    public func live(ready: Set<String>, nowMilliseconds now: Int64) -> [String: [SpeakerInterface]]
    {
        var live: [String: [SpeakerInterface]] = isLeaving ? [:] : [name: interfaces]
        let isGrace = startMilliseconds.map { now < $0 + timing.graceMilliseconds } ?? true
        for (name, peer) in peers {
            if peer.liveMilliseconds != nil {
                live[name] = peer.interfaces
            } else if isGrace, !peer.wasEverLive, ready.contains(name) {
                // Nothing is known of it yet, except that nodes tend to be alike.
                live[name] = interfaces
            }
        }
        return live
    }

    /// The moment to call `tick` at the latest.
    public var nextMilliseconds: Int64 {
        let deaths = peers.values.compactMap { peer in
            peer.liveMilliseconds.map { $0 + timing.deadMilliseconds }
        }
        let grace = startMilliseconds.map { $0 + timing.graceMilliseconds } ?? .max
        return (deaths + [nextSendMilliseconds, max(grace, nextSendMilliseconds)]).min() ?? .max
    }

    /// Sends what is due and gives up who was silent too long.
    /// - Returns: the datagrams, and true where the set of the live may have changed.
    public mutating func tick(nowMilliseconds now: Int64) -> (sends: [Outgoing], isChanged: Bool) {
        var isChanged = false
        if startMilliseconds == nil {
            startMilliseconds = now
            isChanged = true
        }
        for (name, peer) in peers {
            guard let heard = peer.liveMilliseconds, now - heard >= timing.deadMilliseconds else {
                continue
            }
            peers[name]?.liveMilliseconds = nil
            counters.deaths += 1
            isChanged = true
        }
        if let start = startMilliseconds, now >= start + timing.graceMilliseconds,
            now - timing.intervalMilliseconds < start + timing.graceMilliseconds
        {
            isChanged = true
        }
        guard now >= nextSendMilliseconds else { return ([], isChanged) }
        nextSendMilliseconds = now + timing.intervalMilliseconds
        return (heartbeats(), isChanged)
    }

    /// Takes in a datagram.
    /// - Returns: an answer where the sender has not heard us yet, and true where the set of the
    ///   live may have changed.
    public mutating func receive(
        _ bytes: [UInt8], nowMilliseconds now: Int64
    ) -> (reply: Outgoing?, isChanged: Bool) {
        let heartbeat: Heartbeat
        do throws(Heartbeat.DecodingError) {
            heartbeat = try Heartbeat(bytes, keys: keys)
        } catch {
            if error == .unauthenticated {
                counters.unauthenticated += 1
            } else {
                counters.malformed += 1
            }
            return (nil, false)
        }
        guard heartbeat.name != name, var peer = peers[heartbeat.name] else { return (nil, false) }
        let isProven =
            heartbeat.heardBoot == boot && heartbeat.heardCounter <= peer.sent
            && peer.sent - heartbeat.heardCounter < Self.proofWindow
        let isNewer = heartbeat.boot == peer.boot && heartbeat.counter > peer.counter
        // A boot that is new to us is believed once it proves that it hears us; until then it only
        // gets an answer, and the boot we know stays known.
        let isOver = peer.formerBoots.contains(heartbeat.boot)
        guard isNewer || (heartbeat.boot != peer.boot && !isOver) else {
            counters.replayed += 1
            return (nil, false)
        }
        counters.received += 1
        let before = peer
        if isProven {
            if peer.boot != heartbeat.boot, peer.boot != 0 {
                peer.formerBoots = peer.formerBoots.suffix(Self.formerBootLimit - 1) + [peer.boot]
            }
            peer.boot = heartbeat.boot
            peer.counter = heartbeat.counter
            peer.liveMilliseconds = heartbeat.isLeaving ? nil : now
            peer.wasEverLive = true
            peer.interfaces = heartbeat.interfaces
        } else if isNewer {
            peer.counter = heartbeat.counter
        }
        var reply: Outgoing?
        let isPaused =
            peer.lastReplyMilliseconds.map { now - $0 < Self.replyPauseMilliseconds } ?? false
        if !isProven, !heartbeat.isLeaving, !isPaused {
            peer.lastReplyMilliseconds = now
            reply = message(to: &peer, heard: (heartbeat.boot, heartbeat.counter))
        } else if isProven, before.boot != heartbeat.boot, !heartbeat.isLeaving {
            // First proof of a boot: answer at once, so that it has one from us as well.
            reply = message(to: &peer, heard: (heartbeat.boot, heartbeat.counter))
        }
        peers[heartbeat.name] = peer
        let isChanged =
            (before.liveMilliseconds == nil) != (peer.liveMilliseconds == nil)
            || before.interfaces != peer.interfaces || before.wasEverLive != peer.wasEverLive
        return (reply, isChanged)
    }

    /// Says farewell: the others take over without waiting for silence.
    public mutating func leave() -> [Outgoing] {
        isLeaving = true
        return heartbeats()
    }

    private mutating func heartbeats() -> [Outgoing] {
        var sends: [Outgoing] = []
        for name in peers.keys.sorted() {
            guard var peer = peers[name] else { continue }
            if let send = message(to: &peer, heard: (peer.boot, peer.counter)) {
                sends.append(send)
            }
            peers[name] = peer
        }
        return sends
    }

    private mutating func message(
        to peer: inout Peer, heard: (boot: UInt64, counter: UInt64)
    ) -> Outgoing? {
        guard let key = keys.first else { return nil }
        peer.sent += 1
        counters.sent += 1
        let heartbeat = Heartbeat(
            name: name, boot: boot, counter: peer.sent, heardBoot: heard.boot,
            heardCounter: heard.counter, isLeaving: isLeaving, interfaces: interfaces)
        return Outgoing(bytes: heartbeat.encode(key), address: peer.address)
    }
}

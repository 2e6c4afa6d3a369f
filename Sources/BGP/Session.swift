public import NetworkTypes

/// A session with one peer that this side opens: RFC 4271 §8 without passive opening, and so
/// without collision detection. It does nothing itself: each event gives the actions to do, in
/// order.
public struct Session: Sendable {
    /// What the session is to be.
    public struct Configuration: Hashable, Sendable {
        /// This side's AS number.
        public var localAS: UInt32
        /// The AS number that the peer must have (RFC 4271 §6.2).
        public var peerAS: UInt32
        /// This side's BGP Identifier, an IPv4 address (RFC 4271 §4.2).
        public var identifier: IPAddress
        /// The hold time to propose, in seconds: 0, or 3 and more (RFC 4271 §4.2).
        public var holdTimeSeconds: UInt16
        /// The families to offer (RFC 4760 §8).
        public var families: [IPAddress.Family]

        /// A configuration; 90 s is RFC 4271 §10's suggested hold time.
        public init(
            localAS: UInt32, peerAS: UInt32, identifier: IPAddress, holdTimeSeconds: UInt16 = 90,
            families: [IPAddress.Family] = [.ipv4, .ipv6]
        ) {
            self.localAS = localAS
            self.peerAS = peerAS
            self.identifier = identifier
            self.holdTimeSeconds = holdTimeSeconds
            self.families = families
        }
    }

    /// The states of RFC 4271 §8.2.2 that an active opening passes.
    public enum State: String, Hashable, Sendable {
        /// Not started, or waiting for the retry timer; connecting; waiting for the peer's OPEN;
        /// waiting for its KEEPALIVE; exchanging routes.
        case idle, connect, openSent, openConfirm, established
    }

    /// The timers of RFC 4271 §8.1.3.
    public enum Timer: String, Hashable, Sendable {
        /// Until the next connection, until the peer counts as lost, until the next KEEPALIVE.
        case connectRetry, hold, keepalive
    }

    /// What happened (RFC 4271 §8.1).
    public enum Event: Hashable, Sendable {
        /// The operator starts or stops the session.
        case start, stop
        /// The TCP connection is there; it failed or was closed.
        case connected, disconnected
        /// A message came.
        case received(BGPMessage)
        /// Bytes came that are no message.
        case malformed(BGPError)
        /// A timer that was started ran out.
        case expired(Timer)
    }

    /// What is to be done.
    public enum Action: Hashable, Sendable {
        /// Open a TCP connection to the peer's port 179.
        case connect
        /// Send a message.
        case send(BGPMessage)
        /// Start a timer, or start it anew.
        case startTimer(Timer, seconds: Int)
        /// Stop a timer.
        case stopTimer(Timer)
        /// Close the TCP connection, after what was sent.
        case close
        /// The session is established with a peer: send it the routes.
        case sessionUp(peer: Open)
        /// An opening or an established session ended.
        case sessionDown(DownReason)
        /// The peer's routes changed.
        case received(Update)
    }

    /// Why a session ended.
    public enum DownReason: Hashable, Sendable {
        /// The operator stopped it.
        case stopped
        /// The connection failed or was closed.
        case disconnected
        /// This side sent the NOTIFICATION.
        case sent(BGPError)
        /// The peer sent the NOTIFICATION.
        case received(BGPError)
    }

    /// The longest wait before a connection is tried again, in seconds.
    public static let maximumRetrySeconds = 120
    /// The wait for the peer's OPEN, in seconds (RFC 4271 §8.2.2 suggests 4 minutes).
    public static let openWaitSeconds = 240

    /// The configuration.
    public let configuration: Configuration
    /// The state.
    public private(set) var state = State.idle
    /// The negotiated hold time in seconds: the smaller of both (RFC 4271 §4.2); 0 for none.
    public private(set) var holdTimeSeconds = 0
    private var peer: Open?
    private var retrySeconds = 1
    private var isStarted = false

    /// A session that waits for its start.
    public init(_ configuration: Configuration) { self.configuration = configuration }

    /// Takes an event and returns what to do, in order. An event that cannot matter in the
    /// state, such as a timer that ran out while it was being stopped, gives no actions.
    public mutating func handle(_ event: Event) -> [Action] {
        switch event {
        case .start:
            guard !isStarted else { return [] }
            isStarted = true
            state = .connect
            return [.connect]
        case .stop: return stop()
        case .connected:
            guard state == .connect else { return [] }
            state = .openSent
            return [
                .send(.open(ownOpen)), .startTimer(.hold, seconds: Self.openWaitSeconds),
            ]
        case .disconnected: return state == .idle ? [] : end(.disconnected)
        case .malformed(let error): return isConnected ? refuse(error) : []
        case .expired(let timer): return expired(timer)
        case .received(let message): return isConnected ? received(message) : []
        }
    }
}

// MARK: - Events

extension Session {
    private var isConnected: Bool { state != .idle && state != .connect }

    private var ownOpen: Open {
        Open(
            autonomousSystem: configuration.localAS,
            holdTimeSeconds: configuration.holdTimeSeconds,
            identifier: configuration.identifier,
            capabilities: configuration.families.map { .unicast($0) }
                + [.fourOctetAS(configuration.localAS)])
    }

    private mutating func stop() -> [Action] {
        guard isStarted else { return [] }
        isStarted = false
        retrySeconds = 1
        guard state != .idle else { return [.stopTimer(.connectRetry)] }
        // Cease, administrative shutdown (RFC 4486 §4).
        let cease = BGPError(code: 6, subcode: 2)
        let farewell: [Action] = isConnected ? [.send(.notification(cease))] : []
        return farewell + end(.stopped)
    }

    private mutating func expired(_ timer: Timer) -> [Action] {
        switch timer {
        case .connectRetry:
            guard isStarted, state == .idle else { return [] }
            state = .connect
            return [.connect]
        case .hold:
            return isConnected ? refuse(BGPError(code: 4, subcode: 0)) : []
        case .keepalive:
            guard state == .openConfirm || state == .established else { return [] }
            return [.send(.keepalive)] + keepaliveTimer
        }
    }

    private mutating func received(_ message: BGPMessage) -> [Action] {
        switch (state, message) {
        case (_, .notification(let error)): return end(.received(error))
        case (.openSent, .open(let open)): return opened(open)
        case (.openConfirm, .keepalive):
            guard let peer else { return [] }
            state = .established
            retrySeconds = 1
            return holdTimer + [.sessionUp(peer: peer)]
        case (.established, .keepalive): return holdTimer
        case (.established, .update(let update)): return holdTimer + [.received(update)]
        default:
            // A message that the state does not allow (RFC 6608 §3).
            let subcode: UInt8 = state == .openSent ? 1 : state == .openConfirm ? 2 : 3
            return refuse(BGPError(code: 5, subcode: subcode))
        }
    }

    private mutating func opened(_ open: Open) -> [Action] {
        guard open.autonomousSystem == configuration.peerAS else { return refuse(.open(2)) }
        let isInternal = configuration.peerAS == configuration.localAS
        guard !isInternal || open.identifier != configuration.identifier else {
            return refuse(.open(3))  // RFC 6286 §2.2.
        }
        // The codec writes four-octet AS paths only, so the peer must read them. The data is the
        // capability that is missing (RFC 5492 §5).
        guard open.capabilities.contains(.fourOctetAS(open.autonomousSystem)) else {
            let missing = Capability.fourOctetAS(configuration.localAS)
            return refuse(.open(7, [missing.code, 4] + missing.value))
        }
        peer = open
        holdTimeSeconds = Int(min(open.holdTimeSeconds, configuration.holdTimeSeconds))
        state = .openConfirm
        let timers = holdTimeSeconds == 0 ? [.stopTimer(.hold)] : holdTimer + keepaliveTimer
        return [.send(.keepalive)] + timers
    }

    private var holdTimer: [Action] {
        holdTimeSeconds == 0 ? [] : [.startTimer(.hold, seconds: holdTimeSeconds)]
    }

    /// A third of the hold time (RFC 4271 §4.4).
    private var keepaliveTimer: [Action] {
        holdTimeSeconds == 0 ? [] : [.startTimer(.keepalive, seconds: holdTimeSeconds / 3)]
    }

    private mutating func refuse(_ error: BGPError) -> [Action] {
        [.send(.notification(error))] + end(.sent(error))
    }

    private mutating func end(_ reason: DownReason) -> [Action] {
        state = .idle
        peer = nil
        holdTimeSeconds = 0
        let actions: [Action] = [
            .stopTimer(.hold), .stopTimer(.keepalive), .close, .sessionDown(reason),
        ]
        guard isStarted else { return actions }
        let wait = retrySeconds
        retrySeconds = min(retrySeconds * 2, Self.maximumRetrySeconds)
        return actions + [.startTimer(.connectRetry, seconds: wait)]
    }
}

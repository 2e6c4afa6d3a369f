public import NetworkTypes

/// Asks a link whether an address is taken before it is used (RFC 5227, 2.1). The waits are
/// parameters, because RFC 5227's (up to 7 s in all) suit a booting host and not a fail-over.
public enum DuplicateDetection: ~Copyable, Sendable {
    /// Probes are going out.
    case probing(Probing)
    /// The last probe is out and nobody has answered yet.
    case listening(IPAddress, untilMilliseconds: Int64)
    /// Nobody answered.
    case free(IPAddress)
    /// Somebody has the address, or wants it at the same time.
    case taken(IPAddress, rival: MACAddress)

    /// What is left to ask.
    public struct Probing: Hashable, Sendable {
        var address: IPAddress
        var left: Int
        var nextMilliseconds: Int64
        var timing: Timing
    }

    /// How often to ask and how long to wait.
    public struct Timing: Hashable, Sendable {
        /// PROBE_NUM of RFC 5227.
        public var probeCount: Int
        /// Between probes.
        public var pauseMilliseconds: Int64
        /// After the last one.
        public var listenMilliseconds: Int64

        /// Makes a timing.
        public init(probeCount: Int = 3, pauseMilliseconds: Int64, listenMilliseconds: Int64) {
            self.probeCount = max(1, probeCount)
            self.pauseMilliseconds = pauseMilliseconds
            self.listenMilliseconds = listenMilliseconds
        }

        /// For a wired link with hosts that answer at once.
        public static let fast = Timing(pauseMilliseconds: 100, listenMilliseconds: 200)
    }

    /// What to do now.
    public enum Action: Hashable, Sendable {
        /// Send a probe, and come back at that moment.
        case probe(IPAddress, againMilliseconds: Int64)
        /// Come back at that moment.
        case wait(untilMilliseconds: Int64)
        /// It is decided.
        case done
    }

    /// Begins to ask for `address`.
    public init(_ address: IPAddress, timing: Timing = .fast, nowMilliseconds now: Int64) {
        self = .probing(
            Probing(
                address: address, left: timing.probeCount, nextMilliseconds: now, timing: timing)
        )
    }

    /// Goes on at a moment.
    public mutating func advance(nowMilliseconds now: Int64) -> Action {
        switch consume self {
        case .probing(var probing):
            guard now >= probing.nextMilliseconds else {
                let next = probing.nextMilliseconds
                self = .probing(probing)
                return .wait(untilMilliseconds: next)
            }
            let address = probing.address
            probing.left -= 1
            guard probing.left > 0 else {
                let end = now + probing.timing.listenMilliseconds
                self = .listening(address, untilMilliseconds: end)
                return .probe(address, againMilliseconds: end)
            }
            probing.nextMilliseconds = now + probing.timing.pauseMilliseconds
            let next = probing.nextMilliseconds
            self = .probing(probing)
            return .probe(address, againMilliseconds: next)
        case .listening(let address, let end):
            guard now >= end else {
                self = .listening(address, untilMilliseconds: end)
                return .wait(untilMilliseconds: end)
            }
            self = .free(address)
            return .done
        case .free(let address):
            self = .free(address)
            return .done
        case .taken(let address, let rival):
            self = .taken(address, rival: rival)
            return .done
        }
    }

    /// Takes in a frame of another host: any that speaks for the address, or another's probe for
    /// it (RFC 5227, 2.1.1), settles the matter.
    public mutating func receive(_ frame: ARPFrame, hardware: MACAddress) {
        guard frame.senderHardware != hardware else { return }
        let claimed = frame.senderAddress
        let probed: IPAddress? = frame.isProbe ? frame.targetAddress : nil
        switch consume self {
        case .probing(let probing):
            let isTaken = claimed == probing.address || probed == probing.address
            self =
                isTaken
                ? .taken(probing.address, rival: frame.senderHardware) : .probing(probing)
        case .listening(let address, let end):
            self =
                claimed == address || probed == address
                ? .taken(address, rival: frame.senderHardware)
                : .listening(address, untilMilliseconds: end)
        case .free(let address): self = .free(address)
        case .taken(let address, let rival): self = .taken(address, rival: rival)
        }
    }
}

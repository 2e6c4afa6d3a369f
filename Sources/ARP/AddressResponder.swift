public import NetworkTypes

/// Answers for addresses that no interface has: the pure half of a speaker on one interface. A
/// frame goes in, what to do comes out.
public struct AddressResponder: Sendable {
    /// What to do about a frame.
    public enum Action: Hashable, Sendable {
        /// Nothing concerns us.
        case ignore
        /// Send these bytes.
        case send([UInt8])
        /// Another host claims an address that is announced here.
        case conflict(IPAddress, rival: MACAddress)
    }

    /// What is counted of an address.
    public struct Counters: Hashable, Sendable {
        /// Requests and solicitations for it.
        public var requestsReceived: UInt64 = 0
        /// Answers to them.
        public var responsesSent: UInt64 = 0
        /// Frames that announced it unasked.
        public var gratuitousSent: UInt64 = 0
        /// Claims of others to it.
        public var conflicts: UInt64 = 0
    }

    /// The interface's hardware address, which every answer carries.
    public var hardware: MACAddress
    /// The addresses to answer for.
    public private(set) var announced: Set<IPAddress>
    /// The counts by address, for the addresses that are announced now.
    public private(set) var counters: [IPAddress: Counters] = [:]
    /// Frames that are not well-formed.
    public private(set) var malformedCount: UInt64 = 0

    /// Makes a responder for an interface.
    public init(hardware: MACAddress, announced: Set<IPAddress> = []) {
        self.hardware = hardware
        self.announced = announced
    }

    /// Answers for these addresses from now on, and forgets what was counted of others.
    public mutating func announce(_ addresses: Set<IPAddress>) {
        announced = addresses
        counters = counters.filter { addresses.contains($0.key) }
    }

    /// Looks at a frame as it came from the interface.
    public mutating func receive(_ bytes: Span<UInt8>) -> Action {
        guard bytes.count >= 14 else {
            malformedCount += 1
            return .ignore
        }
        do throws(FrameError) {
            switch readUInt16(bytes, 12) {
            case ARPFrame.etherType: return receive(try ARPFrame(bytes))
            case NeighborFrame.etherType: return receive(try NeighborFrame(bytes))
            default: return .ignore
            }
        } catch {
            if error != .otherProtocol { malformedCount += 1 }
            return .ignore
        }
    }

    private mutating func receive(_ frame: ARPFrame) -> Action {
        // A packet socket also sees what its own host sends.
        guard frame.source != hardware, frame.senderHardware != hardware else { return .ignore }
        if announced.contains(frame.senderAddress) {
            counters[frame.senderAddress, default: Counters()].conflicts += 1
            return .conflict(frame.senderAddress, rival: frame.senderHardware)
        }
        guard frame.operation == .request, announced.contains(frame.targetAddress) else {
            return .ignore
        }
        countAnswer(frame.targetAddress)
        return .send(ARPFrame.reply(to: frame, hardware: hardware).bytes)
    }

    private mutating func receive(_ frame: NeighborFrame) -> Action {
        guard frame.source != hardware, announced.contains(frame.target) else { return .ignore }
        switch frame.message {
        case .advertisement:
            guard frame.linkLayerAddress != hardware else { return .ignore }
            counters[frame.target, default: Counters()].conflicts += 1
            return .conflict(frame.target, rival: frame.linkLayerAddress ?? frame.source)
        case .solicitation:
            countAnswer(frame.target)
            return .send(
                NeighborFrame.advertisement(answering: frame, hardware: hardware).bytes)
        }
    }

    private mutating func countAnswer(_ address: IPAddress) {
        counters[address, default: Counters()].requestsReceived += 1
        counters[address, default: Counters()].responsesSent += 1
    }

    /// The frames that tell a link whose `address` is now: for IPv4 both forms in use, since some
    /// devices learn from requests alone and others from replies.
    public mutating func announcement(of address: IPAddress) -> [[UInt8]] {
        let frames =
            switch address {
            case .v4:
                [
                    ARPFrame.announcement(of: address, hardware: hardware).bytes,
                    ARPFrame.gratuitousReply(of: address, hardware: hardware).bytes,
                ]
            case .v6: [NeighborFrame.announcement(of: address, hardware: hardware).bytes]
            }
        counters[address, default: Counters()].gratuitousSent += UInt64(frames.count)
        return frames
    }

    /// The frame that asks whether somebody else has `address`, without laying claim to it.
    public func probe(for address: IPAddress) -> [UInt8] {
        switch address {
        case .v4: ARPFrame.probe(for: address, hardware: hardware).bytes
        case .v6: NeighborFrame.probe(for: address, hardware: hardware).bytes
        }
    }
}

/// When an address that was taken over is announced: at once, then each 1.1 s as MetalLB does, then
/// with growing pauses up to half a minute, for switches and routers that missed the first ones.
public struct AnnouncementSchedule: Hashable, Sendable {
    /// Milliseconds after the take-over, in order.
    public static let offsetsMilliseconds: [Int64] = [
        0, 1_100, 2_200, 3_300, 4_400, 5_500, 8_000, 12_000, 18_000, 30_000,
    ]

    private let startMilliseconds: Int64
    private var nextIndex = 0

    /// Begins a schedule at a moment of any clock that only grows.
    public init(startMilliseconds: Int64) { self.startMilliseconds = startMilliseconds }

    /// The moment of the next announcement; nil once all are made.
    public var nextMilliseconds: Int64? {
        Self.offsetsMilliseconds.indices.contains(nextIndex)
            ? startMilliseconds + Self.offsetsMilliseconds[nextIndex] : nil
    }

    /// True where an announcement is due at `now`; those that were missed count as one.
    public mutating func takeDue(nowMilliseconds now: Int64) -> Bool {
        var isDue = false
        while let next = nextMilliseconds, next <= now {
            isDue = true
            nextIndex += 1
        }
        return isDue
    }
}

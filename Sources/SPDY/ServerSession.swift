/// The server's side of a SPDY/3.1 session, without I/O: bytes in, events and bytes out.
///
/// Kubernetes' clients and servers share one library that neither keeps nor announces the windows
/// of the draft's section 2.6.8: the connection's own back-pressure bounds what is under way, and
/// so it does here.
public struct ServerSession: ~Copyable {
    /// Streams that may be open at once; more are refused.
    public static let streamLimit = 512

    /// What the client has done.
    public enum Event: Hashable, Sendable {
        /// A stream is open; it has been accepted.
        case opened(id: UInt32, headers: [SPDYHeader])
        case data(id: UInt32, bytes: [UInt8])
        /// The client says no more on the stream.
        case finished(id: UInt32)
        /// The stream is gone.
        case reset(id: UInt32)
        /// The client will open no more streams.
        case goAway
    }

    private struct StreamState {
        var isInputOpen: Bool
        var isOutputOpen: Bool
    }

    private var decoder: FrameDecoder
    private let encoder: FrameEncoder
    private var streams: [UInt32: StreamState] = [:]
    private var lastID: UInt32 = 0
    /// What is to be sent.
    private var output: [UInt8] = []

    /// Makes a session that has seen nothing.
    /// - Throws: where zlib has no memory.
    public init() throws(SPDYError) {
        let (decoder, encoder) = (try HeaderInflater(), try HeaderDeflater())
        self.decoder = FrameDecoder(decoder)
        self.encoder = FrameEncoder(encoder)
    }

    /// True where a stream takes data.
    public func isWritable(_ id: UInt32) -> Bool { streams[id]?.isOutputOpen ?? false }

    // MARK: - From the client

    /// Takes bytes in.
    /// - Throws: what ends the session.
    public mutating func receive(
        _ bytes: some Collection<UInt8>
    ) throws(SPDYError) -> [Event] {
        decoder.append(bytes)
        var events: [Event] = []
        while let frame = try decoder.next() { try handle(frame, &events) }
        return events
    }

    private mutating func handle(
        _ frame: SPDYFrame, _ events: inout [Event]
    ) throws(SPDYError) {
        switch frame {
        case .synStream(let id, _, _, let isLast, let isOneWay, let headers):
            try open(id, isLast: isLast, isOneWay: isOneWay, headers, &events)
        case .data(let id, let isLast, let bytes): receiveData(id, isLast, bytes, &events)
        case .headers(let id, true, _): finishInput(id, &events)
        case .reset(let id, _):
            if streams.removeValue(forKey: id) != nil { events.append(.reset(id: id)) }
        case .ping(let id):
            // Odd ones are the client's questions; even ones would answer ours.
            if id % 2 == 1 { encoder.encode(.ping(id: id), into: &output) }
        case .goAway: events.append(.goAway)
        case .headers, .synReply, .settings, .windowUpdate, .unknown: break
        }
    }

    private mutating func open(
        _ id: UInt32, isLast: Bool, isOneWay: Bool, _ headers: [SPDYHeader],
        _ events: inout [Event]
    ) throws(SPDYError) {
        guard id % 2 == 1, id > lastID else {
            throw .malformed("stream \(id) after stream \(lastID)")
        }
        lastID = id
        guard streams.count < Self.streamLimit else {
            encoder.encode(.reset(id: id, status: .refusedStream), into: &output)
            return
        }
        streams[id] = StreamState(isInputOpen: true, isOutputOpen: !isOneWay)
        if !isOneWay {
            encoder.encode(.synReply(id: id, isLast: false, headers: []), into: &output)
        }
        events.append(.opened(id: id, headers: headers))
        if isLast { finishInput(id, &events) }
    }

    private mutating func receiveData(
        _ id: UInt32, _ isLast: Bool, _ bytes: [UInt8], _ events: inout [Event]
    ) {
        guard let stream = streams[id] else {
            // One that was reset here may still get what was under way: that is no fault.
            if id > lastID {
                encoder.encode(.reset(id: id, status: .invalidStream), into: &output)
            }
            return
        }
        guard stream.isInputOpen else {
            reset(id, .streamAlreadyClosed)
            events.append(.reset(id: id))
            return
        }
        if !bytes.isEmpty { events.append(.data(id: id, bytes: bytes)) }
        if isLast { finishInput(id, &events) }
    }

    private mutating func finishInput(_ id: UInt32, _ events: inout [Event]) {
        guard var stream = streams[id], stream.isInputOpen else { return }
        stream.isInputOpen = false
        streams[id] = stream.isOutputOpen ? stream : nil
        events.append(.finished(id: id))
    }

    // MARK: - To the client

    /// Sends data on a stream, and with `isLast` ends its output. Nothing where it takes none.
    public mutating func send(_ bytes: [UInt8], on id: UInt32, isLast: Bool = false) {
        guard var stream = streams[id], stream.isOutputOpen else { return }
        encoder.encode(.data(id: id, isLast: isLast, bytes: bytes), into: &output)
        guard isLast else { return }
        stream.isOutputOpen = false
        streams[id] = stream.isInputOpen ? stream : nil
    }

    /// Ends a stream in both directions.
    public mutating func reset(_ id: UInt32, _ status: SPDYFrame.ResetStatus) {
        guard streams.removeValue(forKey: id) != nil else { return }
        encoder.encode(.reset(id: id, status: status), into: &output)
    }

    /// Says that no more streams are accepted.
    public mutating func goAway() {
        encoder.encode(.goAway(lastGoodID: lastID, status: 0), into: &output)
    }

    /// Takes what is to be sent.
    public mutating func takeOutput() -> [UInt8] {
        defer { output = [] }
        return output
    }
}

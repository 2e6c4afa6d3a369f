/// One name and value of a SPDY header block; several values have NUL bytes between them.
public struct SPDYHeader: Hashable, Sendable {
    /// In lower case, as the draft asks for.
    public var name: String
    /// The value or values.
    public var value: String

    /// Makes a header.
    public init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

/// A frame of SPDY/3.1 (draft 3.1, section 2.2), its headers inflated.
public enum SPDYFrame: Hashable, Sendable {
    /// Opens a stream (2.6.1). A unidirectional one gets no data back.
    case synStream(
        id: UInt32, associatedTo: UInt32, priority: UInt8, isLast: Bool, isUnidirectional: Bool,
        headers: [SPDYHeader])
    /// Accepts a stream (2.6.2).
    case synReply(id: UInt32, isLast: Bool, headers: [SPDYHeader])
    /// Ends a stream in both directions (2.6.3).
    case reset(id: UInt32, status: ResetStatus)
    /// Settings (2.6.4), none of which matters here.
    case settings
    /// Asks for an echo, or is one (2.6.5).
    case ping(id: UInt32)
    /// No more streams are accepted (2.6.6).
    case goAway(lastGoodID: UInt32, status: UInt32)
    /// More headers of a stream (2.6.7).
    case headers(id: UInt32, isLast: Bool, headers: [SPDYHeader])
    /// Room for more data (2.6.8).
    case windowUpdate(id: UInt32, byteCount: UInt32)
    /// A control frame of another type, which is to be ignored (2.2.1).
    case unknown(type: UInt16)
    /// Data of a stream (2.2.2); a long frame is given out in pieces, `isLast` only on its last.
    case data(id: UInt32, isLast: Bool, bytes: [UInt8])

    /// Why a stream is reset (2.6.3).
    public struct ResetStatus: RawRepresentable, Hashable, Sendable {
        /// The number on the wire.
        public let rawValue: UInt32
        /// Makes a status of its number.
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// A rule was broken.
        public static let protocolError = ResetStatus(rawValue: 1)
        /// There is no such stream.
        public static let invalidStream = ResetStatus(rawValue: 2)
        /// The stream was refused before it was looked at.
        public static let refusedStream = ResetStatus(rawValue: 3)
        /// Whoever opened the stream wants it no more.
        public static let cancel = ResetStatus(rawValue: 5)
        /// The sender failed.
        public static let internalError = ResetStatus(rawValue: 6)
        /// The stream takes nothing more.
        public static let streamAlreadyClosed = ResetStatus(rawValue: 9)
    }

    /// The numbers of control frames.
    enum ControlType {
        static let synStream: UInt16 = 1
        static let synReply: UInt16 = 2
        static let reset: UInt16 = 3
        static let settings: UInt16 = 4
        static let ping: UInt16 = 6
        static let goAway: UInt16 = 7
        static let headers: UInt16 = 8
        static let windowUpdate: UInt16 = 9
    }

    static let version: UInt16 = 3
    /// FLAG_FIN of streams and data.
    static let lastFlag: UInt8 = 1
    static let unidirectionalFlag: UInt8 = 2
    /// The length of every frame's header.
    static let headerByteCount = 8
    /// The longest payload of a frame: its length has 24 bits.
    static let payloadLimit = 1 << 24 - 1
}

/// Why a peer's bytes are no SPDY/3.1 that is understood. The session ends: after a control frame
/// that cannot be read, the state of header compression is lost.
public enum SPDYError: Error, Hashable, CustomStringConvertible {
    /// A control frame of a version other than 3.
    case version(UInt16)
    /// A control frame longer than `FrameDecoder.controlLimit`.
    case tooLong(Int)
    /// A frame whose fields contradict its length, or break a rule.
    case malformed(String)
    /// Headers that do not inflate, or to more than `HeaderInflater.limit`.
    case compression(String)

    /// One line for a log.
    public var description: String {
        switch self {
        case .version(let version): "SPDY version \(version): only 3 is spoken"
        case .tooLong(let length): "a SPDY control frame of \(length) bytes is too long"
        case .malformed(let detail): "a malformed SPDY frame: \(detail)"
        case .compression(let detail): "SPDY headers cannot be read: \(detail)"
        }
    }
}

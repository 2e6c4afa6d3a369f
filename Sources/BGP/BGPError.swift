/// Why a message or a session is refused, as the NOTIFICATION to send (RFC 4271 §6).
public struct BGPError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The error code (RFC 4271 §4.5).
    public let code: UInt8
    /// The error subcode; 0 when the code has none that fits (RFC 4271 §4.5).
    public let subcode: UInt8
    /// The data field, which §6 defines for each subcode.
    public let data: [UInt8]

    /// An error with a code, a subcode and the data that §6 asks for.
    public init(code: UInt8, subcode: UInt8, data: [UInt8] = []) {
        self.code = code
        self.subcode = subcode
        self.data = data
    }

    /// The code, the subcode and the code's name.
    public var description: String {
        let names = [
            "message header error", "OPEN message error", "UPDATE message error",
            "hold timer expired", "finite state machine error", "cease",
        ]
        let index = Int(code) - 1
        let name = names.indices.contains(index) ? names[index] : "unknown error"
        return "BGP \(name) (\(code)/\(subcode))"
    }

    /// The marker is not all ones (RFC 4271 §6.1).
    static let notSynchronized = BGPError(code: 1, subcode: 1)

    /// The length field cannot be right for the message's type (RFC 4271 §6.1).
    static func badLength(_ length: Int) -> BGPError {
        let field = UInt16(clamping: length)
        return BGPError(code: 1, subcode: 2, data: [UInt8(field >> 8), UInt8(field & 0xFF)])
    }

    /// The type is not one of RFC 4271 §4.1's (§6.1).
    static func badType(_ type: UInt8) -> BGPError { BGPError(code: 1, subcode: 3, data: [type]) }

    /// An OPEN is refused (RFC 4271 §6.2).
    static func open(_ subcode: UInt8, _ data: [UInt8] = []) -> BGPError {
        BGPError(code: 2, subcode: subcode, data: data)
    }

    /// An UPDATE is refused (RFC 4271 §6.3).
    static func update(_ subcode: UInt8, _ data: [UInt8] = []) -> BGPError {
        BGPError(code: 3, subcode: subcode, data: data)
    }
}

/// What a forwarder does with bytes from upstream, without sockets: whether they answer what was
/// asked, and what of them goes to the client.
public enum ForwardedAnswer {
    /// The message in `bytes` where it answers `question`, asked under `id`; nil for everything
    /// else (RFC 5452, 9.1: it must be a response, with the ID and the whole question).
    public static func accept(
        _ bytes: Span<UInt8>, id: UInt16, question: DNSQuestion
    ) -> DNSMessage? {
        guard let message = try? DNSMessage(decoding: bytes),
            message.flags & HeaderFlags.response != 0, message.id == id,
            message.questions == [question]
        else { return nil }
        return message
    }

    /// The answer for a client without its OPT: the client's ID, flags and spelling of the question
    /// over the records of `answer`, or SERVFAIL where there is none. What does not fit is cut to
    /// the question, with TC.
    /// - Parameters:
    ///   - limit: the octets that may be sent, `reserve` of them kept for the OPT.
    public static func reply(
        _ answer: DNSMessage?, id: UInt16, queryFlags: UInt16, question: DNSQuestion, limit: Int,
        reserve: Int
    ) -> (bytes: [UInt8], code: UInt16) {
        let kept = HeaderFlags.recursionDesired | HeaderFlags.checkingDisabled
        var response = answer ?? DNSMessage(id: 0, flags: ResponseCode.serverFailure.rawValue)
        response.id = id
        let code = response.flags & HeaderFlags.responseCodeMask
        response.flags =
            HeaderFlags.response | HeaderFlags.recursionAvailable | queryFlags & kept
            | response.flags & (HeaderFlags.authenticData | HeaderFlags.authoritative) | code
        response.questions = [question]
        response.additionals.removeAll { $0.type == .opt }
        var bytes = MessageEncoder.encode(response)
        if bytes.count + reserve > limit {
            response.answers = []
            response.authorities = []
            response.additionals = []
            response.flags |= HeaderFlags.truncated
            bytes = MessageEncoder.encode(response)
        }
        return (bytes, code)
    }
}

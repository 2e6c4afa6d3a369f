import DNS
import NetworkTypes

extension Worker {
    /// Answers from hosts tables and through rewrites, in routes that have them. nil lets the
    /// ordinary path go on.
    func answerSlowly(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>, _ origin: Origin,
        _ writer: inout ResponseWriter
    ) -> Int? {
        let bytes = Array(
            UnsafeBufferPointer(start: message + WireSize.header, count: query.nameLength))
        guard let name = DNSName(wire: bytes) else { return nil }
        let question = DNSQuestion(name: name, type: RecordType(rawValue: query.type))
        if configuration.logsQueries { queryLog?(question, clientAddress(origin)) }
        guard let route = route(for: name) ?? routes.last else { return nil }
        if let answer = hostsAnswer(question, route.configuration.hosts) {
            return send(answer, query, message, origin, &writer, .hosts)
        }
        for rule in route.configuration.rewrites {
            guard let target = rule.apply(name), target != name else { continue }
            deferRewrite(question, target, query, message, origin)
            return 0
        }
        return nil
    }

    /// What a hosts table says; nil where it says nothing and lets others speak.
    func hostsAnswer(_ question: DNSQuestion, _ hosts: HostsTable) -> DNSMessage? {
        guard !hosts.addresses.isEmpty else { return nil }
        var message = DNSMessage(
            id: 0, flags: HeaderFlags.authoritative, questions: [question])
        if question.type == .ptr, let address = question.name.reverseAddress {
            let names = hosts.names(of: address)
            guard !names.isEmpty else { return nil }
            message.answers = names.map {
                ResourceRecord(
                    name: question.name, type: .ptr,
                    timeToLiveSeconds: hosts.timeToLiveSeconds, data: $0.wire)
            }
            return message
        }
        guard let addresses = hosts.addresses[question.name] else {
            guard !hosts.fallsThrough else { return nil }
            message.flags |= ResponseCode.nameError.rawValue
            return message
        }
        let wanted: IPAddress.Family? =
            question.type == .a ? .ipv4 : question.type == .aaaa ? .ipv6 : nil
        message.answers = addresses.filter { $0.family == wanted }.map {
            ResourceRecord(
                name: question.name, type: question.type,
                timeToLiveSeconds: hosts.timeToLiveSeconds, data: $0.networkBytes)
        }
        return message
    }

    /// Writes a decoded answer at once.
    private func send(
        _ answer: DNSMessage, _ query: ParsedQuery, _ message: UnsafePointer<UInt8>,
        _ origin: Origin, _ writer: inout ResponseWriter, _ source: AnswerSource
    ) -> Int {
        let code = answer.responseCode
        writer.begin(
            query, message, code: code,
            setting: answer.flags & HeaderFlags.authoritative | HeaderFlags.recursionAvailable)
        var plain = answer
        plain.flags = 0
        let bytes = MessageEncoder.encode(plain)
        bytes.withUnsafeBytes { buffer in
            guard let base = buffer.baseAddress, bytes.count >= query.questionEnd else { return }
            _ = writer.append(
                sections: base + query.questionEnd, count: bytes.count - query.questionEnd,
                answerCount: answer.answers.count, authorityCount: answer.authorities.count,
                additionalCount: answer.additionals.count)
        }
        return finish(&writer, query, message, origin, code, source)
    }
}

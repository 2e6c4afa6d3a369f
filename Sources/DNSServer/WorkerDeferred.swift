import CLinux
import DNS
import Glibc
import NetworkTypes

/// A client whose answer comes later: what it asked and where the answer goes.
struct WaitingClient {
    enum Destination {
        case datagram(descriptor: Int32, name: sockaddr_storage, length: socklen_t)
        case connection(index: Int, generation: UInt32)
    }

    let destination: Destination
    let message: [UInt8]
    let query: ParsedQuery
    let question: DNSQuestion
    let opt: ResponseOPT?
    let limit: Int
}

extension Worker {
    // MARK: - Clients that wait

    private func wait(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>, _ origin: Origin
    ) -> WaitingClient? {
        let name = Array(
            UnsafeBufferPointer(start: message + WireSize.header, count: query.nameLength))
        guard let wireName = DNSName(wire: name) else { return nil }
        let destination: WaitingClient.Destination
        switch origin {
        case .datagram(let index, let listener):
            destination = .datagram(
                descriptor: listeners[listener].datagrams, name: batch.name(index).pointee,
                length: batch.nameLength(index))
        case .connection(let index):
            guard let connection = connections[index] else { return nil }
            connection.waiting += 1
            destination = .connection(index: index, generation: connection.generation)
        }
        return WaitingClient(
            destination: destination,
            message: Array(UnsafeBufferPointer(start: message, count: query.questionEnd)),
            query: query,
            question: DNSQuestion(name: wireName, type: RecordType(rawValue: query.type)),
            opt: query.hasEDNS ? makeOPT(query, message, origin) : nil,
            limit: origin.limit(query))
    }

    /// Sends `answer` to a client that waited; SERVFAIL where there is none.
    private func reply(_ client: WaitingClient, _ answer: DNSMessage?, _ source: AnswerSource) {
        let (bytes, code) = ForwardedAnswer.reply(
            answer, id: client.query.id, queryFlags: client.query.flags,
            question: client.question, limit: client.limit, reserve: client.opt?.size ?? 0)
        bytes.withUnsafeBufferPointer { encoded in
            guard let base = encoded.baseAddress else { return }
            memcpy(streamOutput, base, encoded.count)
        }
        var length = bytes.count
        if let opt = client.opt {
            var writer = ResponseWriter(resuming: streamOutput, length: length)
            writer.appendOPT(opt, code: ResponseCode(rawValue: code))
            length = writer.length
        }
        metrics.count(ResponseCode(rawValue: code), source, length: length)
        deliver(UnsafeBufferPointer(start: streamOutput, count: length), client)
    }

    private func deliver(_ bytes: UnsafeBufferPointer<UInt8>, _ client: WaitingClient) {
        switch client.destination {
        case .datagram(let descriptor, var name, let length):
            // The listener may have been closed meanwhile, and its number be another file's.
            guard listeners.contains(where: { $0.datagrams == descriptor }) else { return }
            let sent = withUnsafePointer(to: &name) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(descriptor, bytes.baseAddress, bytes.count, 0, $0, length)
                }
            }
            if sent < 0 { metrics.add(.sendFailures, 1) }
        case .connection(let index, let generation):
            deliver(bytes, toConnectionAt: index, generation: generation)
        }
    }

    // MARK: - Forwarding

    /// Asks upstream for a client; returns the length of an answer at once only where that is
    /// impossible.
    func forward(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>, _ origin: Origin,
        _ writer: inout ResponseWriter
    ) -> Int {
        if let client = wait(query, message, origin) {
            let key = exchangeKey(client.question, query)
            if ask(key, then: { [unowned self] in reply(client, $0, .forward) }) { return 0 }
            unwait(client)
            let hasRoute = route(for: client.question.name) != nil
            if hasRoute, let stale = staleAnswer(key) {
                metrics.add(.cacheStale, 1)
                var answer = stale
                answer.flags &= ~HeaderFlags.authoritative
                if case .connection = origin {
                } else {
                    reply(client, answer, .cache)
                    return 0
                }
            }
            let code: ResponseCode = hasRoute ? .serverFailure : .refused
            writer.begin(query, message, code: code, setting: HeaderFlags.recursionAvailable)
            return finish(&writer, query, message, origin, code, .forward)
        }
        writer.begin(query, message, code: .serverFailure, setting: 0)
        return finish(&writer, query, message, origin, .serverFailure, .none)
    }

    private func unwait(_ client: WaitingClient) {
        if case .connection(let index, _) = client.destination {
            connections[index]?.waiting -= 1
        }
    }

    private func exchangeKey(_ question: DNSQuestion, _ query: ParsedQuery) -> ExchangeKey {
        ExchangeKey(
            question: question, dnssecOK: query.dnssecOK,
            checkingDisabled: query.flags & HeaderFlags.checkingDisabled != 0)
    }

    /// Fetches an answer anew before it runs out, if it is asked for often enough.
    func considerPrefetch(_ answer: CachedAnswer, _ query: ParsedQuery, age: UInt32) {
        let name = Array(UnsafeBufferPointer(start: lowercased, count: query.nameLength))
        guard let wireName = DNSName(wire: name), let route = route(for: wireName),
            let policy = route.configuration.cache, policy.prefetchAmount > 0,
            answer.hits >= policy.prefetchAmount
        else { return }
        let left = UInt64(answer.lifetimeSeconds - age) * 100
        guard left <= UInt64(answer.lifetimeSeconds) * UInt64(policy.prefetchPercentage) else {
            return
        }
        let question = DNSQuestion(name: wireName, type: RecordType(rawValue: query.type))
        let key = exchangeKey(question, query)
        guard exchangeIndex[key] == nil else { return }
        if ask(key, then: { _ in }) { metrics.add(.cachePrefetches, 1) }
    }

    // MARK: - Questions of our own

    /// The answer that zone or cache have for `question`; nil where it must be asked upstream.
    func localAnswer(
        _ question: DNSQuestion, allowingStale: Bool = false
    ) -> (message: DNSMessage, outcome: ZoneOutcome)? {
        let bytes = MessageEncoder.encode(
            DNSMessage.query(id: 0, question, datagramLimit: nil))
        let room = WireSize.largestMessage
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: room + 4096 + 264) { area in
            guard let output = area.baseAddress else { return nil }
            let name = output + room + 4096
            var query = ParsedQuery()
            var writer = ResponseWriter(output: output, limit: room, reserve: 0)
            let outcome = bytes.withUnsafeBufferPointer { buffer -> ZoneOutcome? in
                guard let base = buffer.baseAddress,
                    parser.parse(buffer, lowercased: name, into: &query) == .query
                else { return nil }
                if let zone = configuration.zone {
                    enterTable(zone)
                    defer { leaveTable(zone) }
                    rotation &+= 1
                    let outcome = zone.answer(
                        query, base, lowercased: name, setting: 0, rotation: rotation,
                        into: &writer)
                    if outcome != .outside { return outcome }
                }
                let key = AnswerKey(
                    type: query.type, dnssecOK: false, checkingDisabled: false)
                guard let kept = cache.find(query, name, key) else { return nil }
                let now = UInt32(truncatingIfNeeded: nowNanoseconds / 1_000_000_000)
                let age = now &- kept.storedSeconds
                guard age < kept.lifetimeSeconds || allowingStale else { return nil }
                kept.write(query, base, nowSeconds: now, into: &writer)
                return .outside
            }
            guard let outcome else { return nil }
            let written = UnsafeBufferPointer(start: output, count: writer.length)
            return (try? DNSMessage(decoding: written.span)).map { ($0, outcome) }
        }
    }

    /// An answer that has run out, but not longer ago than the route allows (RFC 8767).
    func staleAnswer(_ key: ExchangeKey) -> DNSMessage? {
        guard let policy = route(for: key.question.name)?.configuration.cache,
            policy.staleSeconds > 0, !key.dnssecOK, !key.checkingDisabled
        else { return nil }
        guard let local = localAnswer(key.question, allowingStale: true),
            local.outcome == .outside, local.message.responseCode != .serverFailure,
            isWithinStaleTime(key, policy)
        else { return nil }
        return local.message
    }

    private func isWithinStaleTime(_ key: ExchangeKey, _ policy: CachePolicy) -> Bool {
        let wire = key.question.name.lowercased.wire
        var query = ParsedQuery()
        query.hash = parser.nameHash.hash(wire)
        query.nameLength = wire.count
        let answerKey = AnswerKey(
            type: key.question.type.rawValue, dnssecOK: false, checkingDisabled: false)
        let found = wire.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.flatMap { cache.find(query, $0, answerKey) }
        }
        guard let found else { return false }
        let now = UInt32(truncatingIfNeeded: nowNanoseconds / 1_000_000_000)
        return now &- found.storedSeconds <= found.lifetimeSeconds &+ policy.staleSeconds
    }

    /// Finds the answer to `question` wherever it is, following aliases within the zone; at most
    /// `depth` of them.
    func resolve(
        _ question: DNSQuestion, depth: Int = 8, then completion: @escaping (DNSMessage?) -> Void
    ) {
        if let local = localAnswer(question) {
            guard local.outcome == .alias, depth > 0, let target = local.message.aliasTarget else {
                completion(local.message)
                return
            }
            let next = DNSQuestion(name: target, type: question.type)
            resolve(next, depth: depth - 1) { answer in
                completion(local.message.following(answer))
            }
            return
        }
        let key = ExchangeKey(question: question, dnssecOK: false, checkingDisabled: false)
        if !ask(key, then: completion) { completion(nil) }
    }

    // MARK: - Aliases and search paths

    /// Finds the records of an ExternalName's target for a client; false where the CNAME alone is
    /// the answer.
    func deferAlias(
        _ query: ParsedQuery, _ message: UnsafeBufferPointer<UInt8>, _ origin: Origin,
        _ writer: inout ResponseWriter
    ) -> Bool {
        let written = UnsafeBufferPointer(start: writer.output, count: writer.length)
        guard let bytes = message.baseAddress,
            let alias = try? DNSMessage(decoding: written.span), let target = alias.aliasTarget,
            let client = wait(query, bytes, origin)
        else { return false }
        let question = DNSQuestion(name: target, type: client.question.type)
        resolve(question) { [unowned self] answer in
            reply(client, alias.following(answer), .kubernetes)
        }
        return true
    }

    /// Goes on with a pod's search path for it: its query for `name.<its namespace>.svc.<zone>`
    /// found nothing, so `name.svc.<zone>`, `name.<zone>`, the host's domains and `name` follow,
    /// and the first that exists is the answer, behind a CNAME.
    ///
    /// Only for addresses that a running pod has now, and only where the name ends in that pod's
    /// own first search domain: should an address pass to a pod of another namespace before this
    /// server hears of it, its queries end differently and are answered as they are.
    func deferSearchPath(
        _ query: ParsedQuery, _ message: UnsafeBufferPointer<UInt8>, _ origin: Origin, _ zone: Zone
    ) -> Bool {
        guard let address = clientAddress(origin), let bytes = message.baseAddress,
            let namespace = zone.clientNamespace(address)
        else { return false }
        let name = Array(
            UnsafeBufferPointer(start: bytes + WireSize.header, count: query.nameLength))
        let zoneName = zone.configuration.name
        guard let asked = DNSName(wire: name),
            let services = DNSName(labels: ["svc"], parent: zoneName),
            let first = namespace.replacing(.root, by: services), asked.isWithin(first),
            let base = asked.replacing(first, by: .root), base != .root
        else { return false }
        let suffixes = [services, zoneName] + configuration.hostSearchDomains + [.root]
        let candidates = suffixes.compactMap { base.replacing(.root, by: $0) }
        guard let client = wait(query, bytes, origin) else { return false }
        trySearchPath(candidates[...], client, zone)
        return true
    }

    private func trySearchPath(
        _ candidates: ArraySlice<DNSName>, _ client: WaitingClient, _ zone: Zone
    ) {
        guard let candidate = candidates.first else {
            // Nothing anywhere: the zone's own denial of the name that was asked.
            reply(client, localAnswer(client.question)?.message, .kubernetes)
            return
        }
        let question = DNSQuestion(name: candidate, type: client.question.type)
        resolve(question) { [unowned self] answer in
            guard let answer, answer.responseCode == .noError else {
                trySearchPath(candidates.dropFirst(), client, zone)
                return
            }
            metrics.add(.searchPathsCompleted, 1)
            let alias = ResourceRecord(
                name: client.question.name, type: .cname,
                timeToLiveSeconds: zone.configuration.timeToLiveSeconds, data: candidate.wire)
            let start = DNSMessage(
                id: 0, flags: HeaderFlags.authoritative, questions: [client.question],
                answers: [alias])
            reply(client, start.following(answer), .autopath)
        }
    }

    /// Looks `target` up in place of the name that was asked, and answers under the name asked.
    func deferRewrite(
        _ question: DNSQuestion, _ target: DNSName, _ query: ParsedQuery,
        _ message: UnsafePointer<UInt8>, _ origin: Origin
    ) {
        guard let client = wait(query, message, origin) else { return }
        resolve(DNSQuestion(name: target, type: question.type)) { [unowned self] answer in
            guard var answer else {
                reply(client, nil, .forward)
                return
            }
            for index in answer.answers.indices where answer.answers[index].name == target {
                answer.answers[index].name = question.name
            }
            reply(client, answer, .forward)
        }
    }

    // MARK: - The reader's place

    /// Marks the thread as a reader of the zone's table; nested calls count.
    @inline(__always)
    func enterTable(_ zone: Zone) {
        tableDepth += 1
        if tableDepth == 1, let reader { zone.table.epochs.online(reader) }
    }

    /// Ends what `enterTable` began.
    @inline(__always)
    func leaveTable(_ zone: Zone) {
        tableDepth -= 1
        if tableDepth == 0, let reader { zone.table.epochs.offline(reader) }
    }
}

extension DNSMessage {
    /// The target of a CNAME that is the last answer.
    var aliasTarget: DNSName? {
        guard let last = answers.last, last.type == .cname else { return nil }
        return DNSName(wire: last.data)
    }

    /// This alias with what its target gave behind it. Where the target has no records, or nobody
    /// could say, the alias stands alone with NOERROR, as CoreDNS has it: the name in the cluster
    /// does exist.
    func following(_ answer: DNSMessage?) -> DNSMessage {
        var combined = self
        guard let answer, !answer.answers.isEmpty else {
            if answer?.responseCode == .noError {
                combined.authorities = answer?.authorities ?? []
            }
            return combined
        }
        combined.answers += answer.answers
        combined.authorities = answer.authorities
        combined.additionals = answer.additionals
        let mask = HeaderFlags.responseCodeMask
        combined.flags = combined.flags & ~mask | answer.flags & mask
        return combined
    }
}

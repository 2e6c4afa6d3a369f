import CLinux
import DNS
import Glibc
import NetworkTypes

/// Where a query came from, while it is being answered.
enum Origin {
    /// The datagram at this place of the batch, from the listener at `listener`.
    case datagram(Int, listener: Int)
    /// The connection at this place.
    case connection(Int)
}

extension Worker {
    /// Answers what waits at a listener, batch by batch; a bound keeps others from starving.
    func drainDatagrams(_ listener: Int) {
        guard listener < listeners.count else { return }
        let descriptor = listeners[listener].datagrams
        let zone = configuration.zone
        for _ in 0..<32 {
            let count = batch.receive(descriptor)
            guard count > 0 else { return }
            answerBatch(count, listener, zone)
            let lost = batch.send(descriptor)
            if lost > 0 { metrics.add(.sendFailures, UInt64(lost)) }
            let end = currentNanoseconds()
            metrics.observeDurations(end &- nowNanoseconds, count: UInt64(count))
            nowNanoseconds = end
            if count < DatagramBatch.capacity { return }
        }
    }

    private func answerBatch(_ count: Int, _ listener: Int, _ zone: Zone?) {
        if let zone { enterTable(zone) }
        let held = zone.map(Unmanaged.passUnretained)
        for index in 0..<count {
            let length = answer(
                batch.message(index), .datagram(index, listener: listener), held,
                batch.output(index))
            if length > 0, admits(index, batch.output(index), length) {
                batch.enqueue(index, length: limitedLength(index, length))
            }
        }
        if let zone { leaveTable(zone) }
    }

    /// Answers one query into `output`. 0 means that nothing is to be sent now.
    @inline(__always)
    func answer(
        _ message: UnsafeBufferPointer<UInt8>, _ origin: Origin, _ zone: Unmanaged<Zone>?,
        _ output: UnsafeMutablePointer<UInt8>
    ) -> Int {
        var query = ParsedQuery()
        let verdict = parser.parse(message, lowercased: lowercased, into: &query)
        guard verdict == .query, let bytes = message.baseAddress else {
            return refuse(verdict, query, message, output)
        }
        metrics.count(query.type, isStream: origin.isStream, requestLength: message.count)
        if query.hasEDNS || query.questionClass != internetClass {
            if let length = answerEDNS(query, bytes, origin, output) { return length }
        }
        var writer = ResponseWriter(
            output: output, limit: origin.limit(query),
            reserve: query.hasEDNS ? optSize(query) : 0)
        if needsSlowPath, let length = answerSlowly(query, bytes, origin, &writer) {
            return length
        }
        guard let zone else { return answerOutside(query, bytes, origin, &writer) }
        rotation &+= 1
        let flags = routes.isEmpty ? 0 : HeaderFlags.recursionAvailable
        // The batch's caller holds the zone; a reference of our own would be counted per query.
        let outcome = zone._withUnsafeGuaranteedRef {
            $0.answer(
                query, bytes, lowercased: lowercased, setting: flags, rotation: rotation,
                into: &writer)
        }
        switch outcome {
        case .answered(let code):
            return finish(&writer, query, bytes, origin, code, .kubernetes)
        case .missing:
            if configuration.completesSearchPaths,
                deferSearchPath(query, message, origin, zone.takeUnretainedValue())
            {
                return 0
            }
            return finish(&writer, query, bytes, origin, .nameError, .kubernetes)
        case .alias:
            if deferAlias(query, message, origin, &writer) { return 0 }
            return finish(&writer, query, bytes, origin, .noError, .kubernetes)
        case .outside:
            return answerOutside(query, bytes, origin, &writer)
        }
    }

    /// Adds OPT where the query had one, counts, and returns the answer's length.
    @inline(__always)
    func finish(
        _ writer: inout ResponseWriter, _ query: ParsedQuery, _ message: UnsafePointer<UInt8>,
        _ origin: Origin, _ code: ResponseCode, _ source: AnswerSource
    ) -> Int {
        if query.hasEDNS { writer.appendOPT(makeOPT(query, message, origin), code: code) }
        metrics.count(code, source, length: writer.length)
        return writer.length
    }

    // MARK: - Refusals and EDNS

    private func refuse(
        _ verdict: QueryVerdict, _ query: ParsedQuery, _ message: UnsafeBufferPointer<UInt8>,
        _ output: UnsafeMutablePointer<UInt8>
    ) -> Int {
        guard case .refuse(let code) = verdict, let bytes = message.baseAddress else {
            metrics.add(.dropped, 1)
            return 0
        }
        metrics.count(query.type, isStream: false, requestLength: message.count)
        var writer = ResponseWriter(output: output, limit: WireSize.plainDatagram, reserve: 0)
        writer.begin(query, bytes, code: code, setting: 0)
        metrics.count(code, .none, length: writer.length)
        return writer.length
    }

    /// Answers what EDNS or the class alone decide: an unknown version (RFC 6891, 6.1.3), a bad
    /// cookie from a client that is being limited, a class other than the Internet's.
    private func answerEDNS(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>, _ origin: Origin,
        _ output: UnsafeMutablePointer<UInt8>
    ) -> Int? {
        var code = ResponseCode.noError
        if query.ednsVersion != 0 { code = .badVersion }
        if query.questionClass != internetClass, code == .noError { code = .refused }
        guard code != .noError else { return nil }
        var writer = ResponseWriter(
            output: output, limit: WireSize.plainDatagram, reserve: optSize(query))
        writer.begin(query, message, code: code, setting: 0)
        return finish(&writer, query, message, origin, code, .none)
    }

    /// The octets that `makeOPT` will take.
    func optSize(_ query: ParsedQuery) -> Int {
        WireSize.emptyOPT + (query.cookieOffset > 0 ? 28 : 0)
            + (query.wantsServerID ? 4 + serverIDBytes.count : 0)
    }

    private var serverIDBytes: String.UTF8View { (configuration.serverID ?? "").utf8 }

    /// The OPT of an answer: DO as it came, a fresh server cookie for a client that sent one.
    func makeOPT(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>, _ origin: Origin
    ) -> ResponseOPT {
        var opt = ResponseOPT(dnssecOK: query.dnssecOK)
        if query.cookieOffset > 0 {
            let client = UnsafeRawPointer(message + query.cookieOffset)
                .loadUnaligned(as: UInt64.self)
            opt.cookie = cookie.make(
                client: client, address: clientAddress(origin) ?? .v4(0),
                nowSeconds: SystemClock.unixSeconds())
        }
        if query.wantsServerID { opt.serverID = configuration.serverID }
        if query.wantsPadding, case .connection(let index) = origin {
            opt.isPadded = connections[index]?.isEncrypted ?? false
        }
        return opt
    }

    /// Whether the query carries a cookie that this server gave that address.
    func hasValidCookie(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>, _ origin: Origin
    ) -> Bool {
        guard query.cookieLength == 24 else { return false }
        let raw = UnsafeRawPointer(message + query.cookieOffset)
        return cookie.isValid(
            client: raw.loadUnaligned(as: UInt64.self),
            middle: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
            hash: raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self),
            address: clientAddress(origin) ?? .v4(0), nowSeconds: SystemClock.unixSeconds())
    }

    // MARK: - Clients

    /// The client's address.
    func clientAddress(_ origin: Origin) -> IPAddress? {
        switch origin {
        case .datagram(let index, _): SocketAddress(batch.name(index))?.address
        case .connection(let index): connections[index]?.peer.address
        }
    }

    // MARK: - Names outside the zone

    /// Answers from the cache, or begins to ask upstream and returns 0.
    private func answerOutside(
        _ query: ParsedQuery, _ message: UnsafePointer<UInt8>, _ origin: Origin,
        _ writer: inout ResponseWriter
    ) -> Int {
        let key = AnswerKey(
            type: query.type, dnssecOK: query.dnssecOK,
            checkingDisabled: query.flags & HeaderFlags.checkingDisabled != 0)
        if let answer = cache.find(query, lowercased, key) {
            let now = UInt32(truncatingIfNeeded: nowNanoseconds / 1_000_000_000)
            let age = now &- answer.storedSeconds
            if age < answer.lifetimeSeconds {
                metrics.add(answer.answerCount > 0 ? .cacheHits : .cacheDenialHits, 1)
                answer.hits &+= 1
                answer.write(query, message, nowSeconds: now, into: &writer)
                let code = answer.code
                if age &* 10 >= answer.lifetimeSeconds &* 8 {
                    considerPrefetch(answer, query, age: age)
                }
                return finish(&writer, query, message, origin, code, .cache)
            }
        }
        let type = RecordType(rawValue: query.type)
        guard !routes.isEmpty, type != .axfr, type != .ixfr, !isReturnedProbe(query) else {
            writer.begin(query, message, code: .refused, setting: 0)
            return finish(&writer, query, message, origin, .refused, .none)
        }
        if type == .any {
            writer.begin(
                query, message, code: .noError, setting: HeaderFlags.recursionAvailable)
            writer.appendMinimalAny(timeToLiveSeconds: 3600)
            return finish(&writer, query, message, origin, .noError, .none)
        }
        metrics.add(.cacheMisses, 1)
        return forward(query, message, origin, &writer)
    }
}

extension Origin {
    /// Whether the answer goes over TCP.
    @inline(__always) var isStream: Bool {
        if case .connection = self { true } else { false }
    }

    /// The most octets an answer may have.
    @inline(__always)
    func limit(_ query: ParsedQuery) -> Int {
        isStream
            ? WireSize.largestMessage : min(query.datagramLimit, WireSize.largestDatagram)
    }
}

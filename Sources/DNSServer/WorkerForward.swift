import CLinux
import DNS
import Glibc

extension Worker {
    // MARK: - Asking

    /// Begins or joins an exchange for `question`; `completion` gets the answer, or nil where no
    /// upstream gave one. False where it cannot be asked: no route, or too many waiting.
    func ask(
        _ key: ExchangeKey, then completion: @escaping (DNSMessage?) -> Void
    ) -> Bool {
        if let index = exchangeIndex[key], let exchange = exchanges[index] {
            guard exchange.waiters.count < configuration.limits.waitersPerQuestion else {
                metrics.add(.forwardRejects, 1)
                return false
            }
            exchange.waiters.append(completion)
            return true
        }
        guard let route = route(for: key.question.name) else { return false }
        route.refresh(nowNanoseconds: nowNanoseconds)
        guard exchangeCount < configuration.limits.concurrentForwards else {
            metrics.add(.forwardRejects, 1)
            return false
        }
        let exchange = Exchange(key, route: route, now: nowNanoseconds)
        guard exchange.current != nil else {
            metrics.add(.forwardAllDown, 1)
            return false
        }
        exchange.waiters = [completion]
        let index = place(exchange)
        exchangeIndex[key] = index
        sendAttempt(index, exchange)
        return true
    }

    private func place(_ exchange: Exchange) -> Int {
        exchangeCount += 1
        if let index = freeExchanges.popLast() {
            exchanges[index] = exchange
            return index
        }
        exchanges.append(exchange)
        return exchanges.count - 1
    }

    /// The route with the longest suffix of `name`, unless it excepts the name.
    func route(for name: DNSName) -> Route? {
        for route in routes where name.isWithin(route.configuration.suffix) {
            if route.configuration.exceptions.contains(where: { name.isWithin($0) }) { continue }
            return route
        }
        return nil
    }

    /// Puts routes in place, longest suffix first. Where they are what they were, upstreams' health
    /// and the cache stay.
    func adoptRoutes(_ fresh: [ForwardRoute]) {
        let sorted = fresh.sorted { $0.suffix.labelCount > $1.suffix.labelCount }
        guard sorted != routes.map(\.configuration) else { return }
        routes = sorted.map { Route($0, upstreamBoard) }
        cache.removeAll()
        startLoopProbe()
    }

    /// Sends the current attempt; where that fails at once, the next one's time comes at once.
    func sendAttempt(_ index: Int, _ exchange: Exchange) {
        guard let state = exchange.current else { return }
        closeDescriptor(exchange)
        exchange.sentNanoseconds = nowNanoseconds
        exchange.deadlineNanoseconds =
            nowNanoseconds + UInt64(max(1, configuration.limits.attemptSeconds)) * 1_000_000_000
        schedule(exchange.deadlineNanoseconds)
        if state.upstream.tls != nil {
            sendOverStream(index, exchange, state)
            return
        }
        exchange.id = UInt16.random(in: 0...UInt16.max)
        let bytes = MessageEncoder.encode(query(for: exchange))
        if state.upstream.forcesTCP {
            startStream(index, exchange, bytes)
            return
        }
        exchange.step = .datagram
        do {
            // A socket of its own gives each attempt a random port, and takes packets of no other
            // address (RFC 5452, 4.5 and 9.2).
            exchange.descriptor = try Sockets.connected(state.upstream.address, stream: false)
            state.metrics.countFreshConnection(.udp)
        } catch {
            exchange.deadlineNanoseconds = nowNanoseconds
            schedule(nowNanoseconds)
            return
        }
        poller.watch(exchange.descriptor, PollToken(.exchange, index), PORTOLAN_EPOLLIN)
        if send(exchange.descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) < 0 {
            exchange.deadlineNanoseconds = nowNanoseconds
            schedule(nowNanoseconds)
        }
    }

    /// What is sent for an exchange, with its current ID.
    func query(for exchange: Exchange) -> DNSMessage {
        var query = DNSMessage.query(
            id: exchange.id, exchange.key.question, dnssecOK: exchange.key.dnssecOK)
        if exchange.key.checkingDisabled { query.flags |= HeaderFlags.checkingDisabled }
        return query
    }

    /// Asks the current upstream over TCP.
    private func startStream(_ index: Int, _ exchange: Exchange, _ bytes: [UInt8]) {
        guard let state = exchange.current else { return }
        closeDescriptor(exchange)
        exchange.step = .connecting
        exchange.input = []
        exchange.output = [UInt8(bytes.count >> 8), UInt8(bytes.count & 255)] + bytes
        do {
            exchange.descriptor = try Sockets.connected(state.upstream.address, stream: true)
            state.metrics.countFreshConnection(.tcp)
        } catch {
            exchange.deadlineNanoseconds = nowNanoseconds
            schedule(nowNanoseconds)
            return
        }
        poller.watch(
            exchange.descriptor, PollToken(.exchange, index), PORTOLAN_EPOLLOUT | PORTOLAN_EPOLLIN)
    }

    // MARK: - Answers

    /// Takes what came for one exchange.
    func receive(exchangeAt index: Int, _ events: UInt32) {
        guard index < exchanges.count, let exchange = exchanges[index] else { return }
        switch exchange.step {
        case .datagram:
            let count = recv(exchange.descriptor, streamOutput, WireSize.largestMessage, 0)
            if count < 0 {
                if errno != EAGAIN, errno != EINTR { fail(index, exchange) }
                return
            }
            takeAnswer(UnsafeBufferPointer(start: streamOutput, count: count), index, exchange)
        case .connecting, .stream:
            receiveStream(index, exchange, events)
        case .shared:
            // Its bytes come by `receive(streamAt:)`.
            break
        }
    }

    private func receiveStream(_ index: Int, _ exchange: Exchange, _ events: UInt32) {
        if events & PORTOLAN_EPOLLERR != 0 {
            fail(index, exchange)
            return
        }
        if exchange.step == .connecting, events & PORTOLAN_EPOLLOUT != 0 {
            let sent = send(
                exchange.descriptor, exchange.output, exchange.output.count,
                Int32(MSG_NOSIGNAL))
            guard sent == exchange.output.count else {
                // A query of some hundred octets always fits an empty socket buffer.
                fail(index, exchange)
                return
            }
            exchange.step = .stream
            poller.watch(exchange.descriptor, PollToken(.exchange, index), PORTOLAN_EPOLLIN)
        }
        guard events & PORTOLAN_EPOLLIN != 0 else { return }
        let count = recv(exchange.descriptor, streamOutput, WireSize.largestMessage, 0)
        if count < 0, errno == EAGAIN || errno == EINTR { return }
        guard count > 0 else {
            fail(index, exchange)
            return
        }
        exchange.input.append(
            contentsOf: UnsafeBufferPointer(start: streamOutput, count: count))
        guard exchange.input.count >= 2 else { return }
        let length = Int(exchange.input[0]) << 8 | Int(exchange.input[1])
        guard exchange.input.count - 2 >= length else { return }
        let frame = Array(exchange.input[2..<(2 + length)])
        frame.withUnsafeBufferPointer { takeAnswer($0, index, exchange) }
    }

    /// Looks at a message from upstream. What does not belong to the question is counted and left:
    /// the true answer may still come (RFC 5452, 9).
    func takeAnswer(
        _ bytes: UnsafeBufferPointer<UInt8>, _ index: Int, _ exchange: Exchange
    ) {
        guard
            let message = ForwardedAnswer.accept(
                bytes.span, id: exchange.id, question: exchange.key.question)
        else {
            metrics.add(.forwardMismatches, 1)
            if exchange.step == .stream { fail(index, exchange) }
            return
        }
        guard let state = exchange.current else { return }
        state.failures = 0
        state.isDown = false
        if !exchange.isProbe {
            state.metrics.observe(
                message.responseCode, nanoseconds: nowNanoseconds &- exchange.sentNanoseconds)
        }
        if message.isTruncated, exchange.step == .datagram {
            startStream(index, exchange, MessageEncoder.encode(query(for: exchange)))
            return
        }
        switch message.responseCode {
        case .noError, .nameError:
            complete(index, exchange, message)
        default:
            exchange.failure = message
            // Another upstream may know; the same one would say the same.
            if exchange.attempt + 1 < exchange.candidates.count {
                next(index, exchange)
            } else {
                complete(index, exchange, message)
            }
        }
    }

    /// The current attempt has failed: counts that and tries the next.
    func fail(_ index: Int, _ exchange: Exchange) {
        if let state = exchange.current {
            state.failures += 1
            let limit = exchange.route.configuration.maximumFailures
            if exchange.isProbe { state.metrics.countProbeFailure() }
            if limit > 0, state.failures >= limit, !state.isDown {
                state.isDown = true
                state.nextProbeNanoseconds = nowNanoseconds + UpstreamState.probeIntervalNanoseconds
                schedule(state.nextProbeNanoseconds)
            }
        }
        next(index, exchange)
    }

    private func next(_ index: Int, _ exchange: Exchange) {
        exchange.attempt += 1
        let isLate =
            nowNanoseconds &- exchange.startNanoseconds >= Exchange.totalNanoseconds
        guard !exchange.isProbe, exchange.attempt < Exchange.maximumAttempts, !isLate else {
            complete(index, exchange, exchange.failure)
            return
        }
        let isWrapped = exchange.attempt >= exchange.candidates.count
        if isWrapped, nowNanoseconds &- exchange.sentNanoseconds < 100_000_000 {
            // Every upstream refused at once (nobody listens there): ask again after a moment, so
            // that one that is being restarted is found.
            closeDescriptor(exchange)
            exchange.deadlineNanoseconds = nowNanoseconds + 200_000_000
            exchange.attempt -= 1
            exchange.startNanosecondsOfPause = nowNanoseconds
            schedule(exchange.deadlineNanoseconds)
            return
        }
        sendAttempt(index, exchange)
    }

    /// Ends an exchange: keeps the answer and tells everybody who waits.
    private func complete(_ index: Int, _ exchange: Exchange, _ message: DNSMessage?) {
        closeDescriptor(exchange)
        exchanges[index] = nil
        freeExchanges.append(index)
        exchangeCount -= 1
        if exchangeIndex[exchange.key] == index { exchangeIndex[exchange.key] = nil }
        var result = message
        if exchange.isProbe {
            exchange.current?.isProbing = false
        } else if let message, message.responseCode != .serverFailure {
            keep(message, exchange)
        } else if let stale = staleAnswer(exchange.key) {
            metrics.add(.cacheStale, 1)
            result = stale
        } else if let message {
            keep(message, exchange)
        }
        for waiter in exchange.waiters { waiter(result) }
    }

    private func keep(_ message: DNSMessage, _ exchange: Exchange) {
        guard let policy = exchange.route.configuration.cache,
            let lifetime = cacheLifetimeSeconds(message, policy)
        else { return }
        let question = exchange.key.question
        let key = AnswerKey(
            type: question.type.rawValue, dnssecOK: exchange.key.dnssecOK,
            checkingDisabled: exchange.key.checkingDisabled)
        let hash = parser.nameHash.hash(question.name.lowercased.wire)
        let seconds = UInt32(truncatingIfNeeded: nowNanoseconds / 1_000_000_000)
        guard
            let answer = CachedAnswer.make(
                message, hash: hash, key: key, lifetimeSeconds: lifetime, nowSeconds: seconds)
        else { return }
        cache.insert(answer, nowSeconds: seconds)
        metrics.set(.cacheEvictions, cache.evictions)
        metrics.set(.cacheSuccessEntries, UInt64(cache.successCount))
        metrics.set(.cacheDenialEntries, UInt64(cache.denialCount))
    }

    private func closeDescriptor(_ exchange: Exchange) {
        leaveStream(exchange)
        if exchange.descriptor >= 0 { poller.close(exchange.descriptor) }
        exchange.descriptor = -1
    }

    // MARK: - Time

    /// Goes on with exchanges whose upstream took too long.
    func checkExchanges() {
        guard exchangeCount > 0 else { return }
        for index in exchanges.indices {
            guard let exchange = exchanges[index] else { continue }
            guard exchange.deadlineNanoseconds <= nowNanoseconds else {
                schedule(exchange.deadlineNanoseconds)
                continue
            }
            if let place = exchange.stream, let stream = upstreamStreams[place],
                stream.lastAnswerNanoseconds < exchange.sentNanoseconds
            {
                // Nothing came since the question went out: whoever is there no longer answers.
                closeStream(place, nowNanoseconds)
            } else if exchange.startNanosecondsOfPause != nil {
                exchange.startNanosecondsOfPause = nil
                exchange.attempt += 1
                sendAttempt(index, exchange)
            } else {
                fail(index, exchange)
            }
        }
    }

    /// Probes upstreams that are down with a question for the root's name servers.
    func checkUpstreams() {
        for route in routes {
            for state in route.upstreams where state.isDown {
                if state.isProbing { continue }
                if state.nextProbeNanoseconds > nowNanoseconds {
                    schedule(state.nextProbeNanoseconds)
                    continue
                }
                state.isProbing = true
                state.nextProbeNanoseconds = nowNanoseconds + UpstreamState.probeIntervalNanoseconds
                schedule(state.nextProbeNanoseconds)
                let key = ExchangeKey(
                    question: DNSQuestion(name: .root, type: .ns), dnssecOK: false,
                    checkingDisabled: false)
                let exchange = Exchange(key, route: route, now: nowNanoseconds)
                exchange.isProbe = true
                exchange.candidates = [state]
                sendAttempt(place(exchange), exchange)
            }
        }
    }

    /// Forgets an exchange without telling anybody; the thread is ending.
    func abandon(exchangeAt index: Int) {
        guard let exchange = exchanges[index] else { return }
        closeDescriptor(exchange)
        exchanges[index] = nil
        exchangeCount -= 1
    }
}

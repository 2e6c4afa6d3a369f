import CLinux
import DNS
import Glibc

/// A connection to an upstream that many questions share, in the order in which they come and
/// answered in any order (RFC 7766, 6.2.1; RFC 7858, 3.4).
final class UpstreamStream {
    let descriptor: Int32
    let state: UpstreamState
    /// The questions on their way, by message ID.
    var pending: [UInt16: Int] = [:]
    var input: [UInt8] = []
    var output: [UInt8] = []
    var lastUseNanoseconds: UInt64
    /// When the last answer came; 0 before the first.
    var lastAnswerNanoseconds: UInt64 = 0

    /// How long a connection is kept without a question (CoreDNS' `expire`).
    static let idleNanoseconds: UInt64 = 10_000_000_000
    /// Bytes that wait to be sent: beyond this a question fails.
    static let outputLimit = 256 << 10

    init(_ descriptor: Int32, _ state: UpstreamState, now: UInt64) {
        self.descriptor = descriptor
        self.state = state
        lastUseNanoseconds = now
    }
}

extension Worker {
    /// Sends the current attempt over the upstream's TLS connection, opening one where there is
    /// none.
    func sendOverStream(_ index: Int, _ exchange: Exchange, _ state: UpstreamState) {
        guard let place = streamIndex(state), let stream = upstreamStreams[place] else {
            exchange.deadlineNanoseconds = nowNanoseconds
            schedule(nowNanoseconds)
            return
        }
        guard stream.output.count < UpstreamStream.outputLimit, stream.pending.count < 1 << 15
        else {
            metrics.add(.forwardRejects, 1)
            exchange.deadlineNanoseconds = nowNanoseconds
            schedule(nowNanoseconds)
            return
        }
        repeat {
            exchange.id = UInt16.random(in: 0...UInt16.max)
        } while stream.pending[
            exchange.id] != nil
        // How long an encrypted query is says much about its name (RFC 8467, 4.1).
        let bytes = MessageEncoder.encode(
            query(for: exchange).padded(toMultipleOf: Padding.queryBlock))
        exchange.step = .shared
        exchange.stream = place
        stream.pending[exchange.id] = index
        stream.output += [UInt8(bytes.count >> 8), UInt8(bytes.count & 255)] + bytes
        stream.lastUseNanoseconds = nowNanoseconds
        flushStream(place, stream)
    }

    private func streamIndex(_ state: UpstreamState) -> Int? {
        if let known = upstreamStreams.firstIndex(where: { $0?.state === state }) {
            state.metrics.countReusedConnection()
            return known
        }
        guard let tls = state.upstream.tls,
            let descriptor = try? TLSDialer.connect(state.upstream.address, tls).take()
        else { return nil }
        state.metrics.countFreshConnection(.tls)
        let stream = UpstreamStream(descriptor, state, now: nowNanoseconds)
        let place: Int
        if let free = upstreamStreams.firstIndex(where: { $0 == nil }) {
            place = free
            upstreamStreams[free] = stream
        } else {
            place = upstreamStreams.count
            upstreamStreams.append(stream)
        }
        poller.watch(descriptor, PollToken(.upstream, place), PORTOLAN_EPOLLIN)
        schedule(nowNanoseconds + UpstreamStream.idleNanoseconds)
        return place
    }

    private func flushStream(_ place: Int, _ stream: UpstreamStream) {
        while !stream.output.isEmpty {
            let sent = send(
                stream.descriptor, stream.output, stream.output.count, Int32(MSG_NOSIGNAL))
            if sent > 0 {
                stream.output.removeFirst(sent)
            } else if errno == EAGAIN {
                break
            } else if errno != EINTR {
                closeStream(place, nowNanoseconds)
                return
            }
        }
        let interest = PORTOLAN_EPOLLIN | (stream.output.isEmpty ? 0 : PORTOLAN_EPOLLOUT)
        poller.watch(stream.descriptor, PollToken(.upstream, place), interest)
    }

    /// Takes what came on a shared connection.
    func receive(streamAt place: Int, _ events: UInt32) {
        guard place < upstreamStreams.count, let stream = upstreamStreams[place] else { return }
        if events & PORTOLAN_EPOLLOUT != 0 { flushStream(place, stream) }
        guard events & ~PORTOLAN_EPOLLOUT != 0, upstreamStreams[place] === stream else { return }
        let count = recv(stream.descriptor, streamOutput, WireSize.largestMessage, 0)
        if count < 0, errno == EAGAIN || errno == EINTR { return }
        guard count > 0 else {
            closeStream(place, nowNanoseconds)
            return
        }
        stream.input.append(contentsOf: UnsafeBufferPointer(start: streamOutput, count: count))
        takeFrames(stream)
    }

    private func takeFrames(_ stream: UpstreamStream) {
        var start = 0
        while stream.input.count - start >= 2 {
            let length = Int(stream.input[start]) << 8 | Int(stream.input[start + 1])
            guard stream.input.count - start - 2 >= length else { break }
            let frame = Array(stream.input[(start + 2)..<(start + 2 + length)])
            start += 2 + length
            guard length >= WireSize.header,
                let index = stream.pending[UInt16(frame[0]) << 8 | UInt16(frame[1])],
                let exchange = exchanges[index]
            else {
                metrics.add(.forwardMismatches, 1)
                continue
            }
            stream.lastAnswerNanoseconds = nowNanoseconds
            frame.withUnsafeBufferPointer { takeAnswer($0, index, exchange) }
        }
        stream.input.removeFirst(start)
    }

    /// The exchange no longer waits at its shared connection.
    func leaveStream(_ exchange: Exchange) {
        guard let place = exchange.stream else { return }
        exchange.stream = nil
        upstreamStreams[place]?.pending[exchange.id] = nil
    }

    /// Closes a shared connection. Servers end idle connections when they like, also in the moment
    /// of a question, so each question on its way is asked once more on a fresh one before that
    /// counts as a failure (RFC 7766, 6.2.4).
    func closeStream(_ place: Int, _ now: UInt64) {
        guard let stream = upstreamStreams[place] else { return }
        poller.close(stream.descriptor)
        upstreamStreams[place] = nil
        let hasAnswered = stream.lastAnswerNanoseconds > 0
        for index in stream.pending.values {
            guard let exchange = exchanges[index] else { continue }
            exchange.stream = nil
            if hasAnswered, !exchange.wasAskedAgain {
                exchange.wasAskedAgain = true
                sendAttempt(index, exchange)
            } else {
                fail(index, exchange)
            }
        }
    }

    /// Closes shared connections that nobody uses.
    func checkStreams() {
        for place in upstreamStreams.indices {
            guard let stream = upstreamStreams[place] else { continue }
            let end = stream.lastUseNanoseconds + UpstreamStream.idleNanoseconds
            if stream.pending.isEmpty, end <= nowNanoseconds {
                closeStream(place, nowNanoseconds)
            } else {
                schedule(max(end, nowNanoseconds + 1_000_000_000))
            }
        }
    }
}

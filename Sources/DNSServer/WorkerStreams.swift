import CLinux
import DNS
import Glibc

/// One TCP connection: bytes of queries in, bytes of answers out, in any order (RFC 7766).
final class StreamConnection {
    let descriptor: Int32
    let peer: SocketAddress
    let generation: UInt32
    /// Whether it comes over TLS, by somebody who encrypts.
    let isEncrypted: Bool
    var input: [UInt8] = []
    var output: [UInt8] = []
    /// Octets of `output` that are sent.
    var outputStart = 0
    /// Queries that wait for an upstream.
    var waiting = 0
    var lastActivityNanoseconds: UInt64
    /// Whether the peer has closed its side.
    var isHalfClosed = false
    /// Whether its queries are being answered right now, so that answers only queue up.
    var isAnswering = false
    /// What the poller watches for.
    var interest: UInt32 = 0

    /// Answers that wait to be sent: beyond this nothing more is read.
    static let outputLimit = 256 << 10

    init(
        _ descriptor: Int32, peer: SocketAddress, isEncrypted: Bool, generation: UInt32, now: UInt64
    ) {
        self.descriptor = descriptor
        self.peer = peer
        self.isEncrypted = isEncrypted
        self.generation = generation
        lastActivityNanoseconds = now
    }

    var pendingOutput: Int { output.count - outputStart }

    /// Puts one answer, with its length before it (RFC 1035, 4.2.2), on the list to send.
    func append(_ answer: UnsafeBufferPointer<UInt8>) {
        output.append(UInt8(truncatingIfNeeded: answer.count >> 8))
        output.append(UInt8(truncatingIfNeeded: answer.count))
        output.append(contentsOf: answer)
    }
}

extension Worker {
    /// Takes new connections; at the bound, the one that has been idle longest makes room.
    func acceptConnections(_ listener: Int) {
        guard listener < listeners.count else { return }
        for _ in 0..<64 {
            var storage = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let descriptor = withUnsafeMutablePointer(to: &storage) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    accept(listeners[listener].streams, $0, &length)
                }
            }
            guard descriptor >= 0 else { return }
            _ = portolan_set_nonblocking(descriptor)
            guard let peer = SocketAddress(&storage) else {
                close(descriptor)
                continue
            }
            Sockets.setOption(descriptor, Int32(IPPROTO_TCP), PORTOLAN_TCP_NODELAY, 1)
            add(descriptor, peer, isEncrypted: false)
        }
    }

    /// Serves a connection that somebody else has accepted and decrypts.
    func adopt(connection: OwnedDescriptor, peer: SocketAddress) {
        add(connection.take(), peer, isEncrypted: true)
    }

    private func add(_ descriptor: Int32, _ peer: SocketAddress, isEncrypted: Bool) {
        if connectionCount >= configuration.limits.connections { closeIdlest() }
        generation &+= 1
        let connection = StreamConnection(
            descriptor, peer: peer, isEncrypted: isEncrypted, generation: generation,
            now: nowNanoseconds)
        let index: Int
        if let free = connections.firstIndex(where: { $0 == nil }) {
            index = free
            connections[free] = connection
        } else {
            index = connections.count
            connections.append(connection)
        }
        connectionCount += 1
        metrics.set(.connections, UInt64(connectionCount))
        updateInterest(index, connection)
        schedule(nowNanoseconds + UInt64(configuration.limits.idleSeconds) * 1_000_000_000)
    }

    private func closeIdlest() {
        metrics.add(.connectionsClosedAtBound, 1)
        var oldest: Int?
        for index in connections.indices {
            guard let connection = connections[index] else { continue }
            let best = oldest.flatMap { connections[$0] }
            if best.map({ connection.lastActivityNanoseconds < $0.lastActivityNanoseconds }) ?? true
            {
                oldest = index
            }
        }
        if let oldest { closeConnection(oldest) }
    }

    /// Reads, answers and writes what is ready on one connection.
    func serve(connectionAt token: PollToken, _ events: UInt32) {
        let index = token.index
        guard index < connections.count, let connection = connections[index],
            connection.generation == token.generation
        else { return }
        if events & (PORTOLAN_EPOLLERR | PORTOLAN_EPOLLHUP) != 0 {
            closeConnection(index)
            return
        }
        if events & PORTOLAN_EPOLLIN != 0, !fill(connection) {
            closeConnection(index)
            return
        }
        connection.lastActivityNanoseconds = nowNanoseconds
        answerFrames(index, connection)
        flush(index, connection)
    }

    /// Reads what is there; false where the connection failed.
    private func fill(_ connection: StreamConnection) -> Bool {
        let count = recv(connection.descriptor, streamOutput, WireSize.largestMessage, 0)
        if count < 0 { return errno == EAGAIN || errno == EINTR }
        if count == 0 {
            connection.isHalfClosed = true
            return true
        }
        connection.input.append(
            contentsOf: UnsafeBufferPointer(start: streamOutput, count: count))
        return true
    }

    /// Answers whole queries in the input, as long as there is room for their answers.
    private func answerFrames(_ index: Int, _ connection: StreamConnection) {
        let zone = configuration.zone
        if let zone { enterTable(zone) }
        connection.isAnswering = true
        defer {
            connection.isAnswering = false
            if let zone { leaveTable(zone) }
        }
        var start = 0
        while connection.input.count - start >= 2 {
            guard connection.waiting < configuration.limits.pipelinedQueries,
                connection.pendingOutput < StreamConnection.outputLimit
            else {
                metrics.add(.pipelineStalls, 1)
                break
            }
            let length = Int(connection.input[start]) << 8 | Int(connection.input[start + 1])
            guard connection.input.count - start - 2 >= length else { break }
            // A copy, because answering may close this or touch other connections.
            let frame = Array(connection.input[(start + 2)..<(start + 2 + length)])
            start += 2 + length
            if talkers != nil { countTalker(connection.peer.address) }
            let before = SystemClock.monotonicNanoseconds()
            let answerLength = frame.withUnsafeBufferPointer {
                answer(
                    $0, .connection(index), zone.map(Unmanaged.passUnretained), streamOutput)
            }
            if answerLength > 0 {
                connection.append(UnsafeBufferPointer(start: streamOutput, count: answerLength))
            }
            metrics.observeDurations(SystemClock.monotonicNanoseconds() &- before, count: 1)
        }
        if start > 0 { connection.input.removeFirst(start) }
    }

    /// Sends what waits, and goes on reading when there is room again.
    func flush(_ index: Int, _ connection: StreamConnection) {
        while connection.pendingOutput > 0 {
            let sent = connection.output.withUnsafeBytes { bytes in
                send(
                    connection.descriptor, bytes.baseAddress.map { $0 + connection.outputStart },
                    connection.pendingOutput, Int32(MSG_NOSIGNAL))
            }
            if sent < 0 {
                if errno == EINTR { continue }
                if errno != EAGAIN {
                    closeConnection(index)
                    return
                }
                break
            }
            connection.outputStart += sent
        }
        if connection.pendingOutput == 0 {
            connection.output.removeAll(keepingCapacity: connection.output.count < 8192)
            connection.outputStart = 0
        }
        if connection.isHalfClosed, connection.waiting == 0, connection.pendingOutput == 0 {
            closeConnection(index)
            return
        }
        updateInterest(index, connection)
    }

    private func updateInterest(_ index: Int, _ connection: StreamConnection) {
        var interest: UInt32 = 0
        let hasRoom =
            connection.waiting < configuration.limits.pipelinedQueries
            && connection.pendingOutput < StreamConnection.outputLimit
        if hasRoom, !connection.isHalfClosed { interest |= PORTOLAN_EPOLLIN }
        if connection.pendingOutput > 0 { interest |= PORTOLAN_EPOLLOUT }
        if interest != connection.interest || interest == 0 {
            connection.interest = interest
            let token = PollToken(.connection, index, generation: connection.generation)
            poller.watch(connection.descriptor, token, interest)
        }
    }

    /// Sends a late answer, if the connection is still the one that asked.
    func deliver(
        _ answer: UnsafeBufferPointer<UInt8>, toConnectionAt index: Int, generation: UInt32
    ) {
        guard index < connections.count, let connection = connections[index],
            connection.generation == generation
        else { return }
        connection.waiting -= 1
        connection.append(answer)
        connection.lastActivityNanoseconds = nowNanoseconds
        guard !connection.isAnswering else { return }
        flush(index, connection)
        // Queries that came while too many were waiting can go on now.
        if connections[index] === connection, connection.input.count >= 2 {
            answerFrames(index, connection)
            flush(index, connection)
        }
    }

    /// Closes one connection; late answers to it are dropped.
    func closeConnection(_ index: Int) {
        guard let connection = connections[index] else { return }
        poller.close(connection.descriptor)
        connections[index] = nil
        connectionCount -= 1
        metrics.set(.connections, UInt64(connectionCount))
    }

    /// Closes connections that have been idle too long, and says when to look again.
    func checkConnections() {
        guard connectionCount > 0 else { return }
        let limit = UInt64(configuration.limits.idleSeconds) * 1_000_000_000
        for index in connections.indices {
            guard let connection = connections[index] else { continue }
            let end = connection.lastActivityNanoseconds + limit
            if end <= nowNanoseconds {
                closeConnection(index)
            } else {
                schedule(end)
            }
        }
    }
}

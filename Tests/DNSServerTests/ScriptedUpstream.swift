import DNS
import DNSServer
import Glibc
import NetworkTypes
import Synchronization
import TestSupport

/// An upstream over UDP that answers from a table on a thread of its own, and counts questions.
final class ScriptedUpstream: Sendable {
    /// What it says to a name.
    enum Answer: Sendable {
        case address(IPAddress, timeToLiveSeconds: UInt32)
        case missing(timeToLiveSeconds: UInt32)
        case empty(timeToLiveSeconds: UInt32)
    }

    private struct State {
        var answers: [DNSName: Answer] = [:]
        var isFailing = false
        var asked = 0
        var isStopping = false
    }

    private let server: RawServer
    private let state = Mutex(State())
    private let thread = Mutex<pthread_t?>(nil)
    var address: SocketAddress { server.address }

    init() throws {
        server = try RawServer()
        let box = Unmanaged.passRetained(self)
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument {
                    Unmanaged<ScriptedUpstream>.fromOpaque(argument).takeRetainedValue().serve()
                }
                return nil
            }, box.toOpaque())
        guard result == 0 else { throw TestFailure("cannot start a thread") }
        self.thread.withLock { $0 = thread }
    }

    /// Ends the thread.
    func stop() throws {
        state.withLock { $0.isStopping = true }
        // Any datagram wakes it.
        try RawClient(address).send([0])
        if let thread = thread.withLock({ $0 }) { pthread_join(thread, nil) }
    }

    func set(_ name: DNSName, _ answer: Answer) { state.withLock { $0.answers[name] = answer } }

    func setFailing(_ isFailing: Bool) { state.withLock { $0.isFailing = isFailing } }

    /// Questions so far; the probes for loops and for health are not counted.
    var asked: Int { state.withLock { $0.asked } }

    private func serve() {
        while true {
            let packet = server.receive()
            if state.withLock({ $0.isStopping }) { return }
            guard let packet, let query = try? DNSMessage(decoding: packet.bytes.span),
                let question = query.questions.first
            else { continue }
            server.send(MessageEncoder.encode(answer(query, question)), to: packet.client)
        }
    }

    private func answer(_ query: DNSMessage, _ question: DNSQuestion) -> DNSMessage {
        var message = DNSMessage(id: query.id, flags: 0x8180, questions: [question])
        let (found, isFailing) = state.withLock { state in
            if question.type != .hinfo, question.name != .root { state.asked += 1 }
            return (state.answers[question.name], state.isFailing)
        }
        if isFailing {
            message.flags |= ResponseCode.serverFailure.rawValue
            return message
        }
        switch found ?? .missing(timeToLiveSeconds: 60) {
        case .address(let address, let seconds):
            let type: RecordType = address.family == .ipv4 ? .a : .aaaa
            guard question.type == type else {
                message.authorities = [soa(seconds)]
                break
            }
            message.answers = [
                ResourceRecord(
                    name: question.name, type: type, timeToLiveSeconds: seconds,
                    data: address.networkBytes)
            ]
        case .missing(let seconds):
            message.flags |= ResponseCode.nameError.rawValue
            message.authorities = [soa(seconds)]
        case .empty(let seconds): message.authorities = [soa(seconds)]
        }
        return message
    }

    private func soa(_ seconds: UInt32) -> ResourceRecord {
        let numbers = [1, 7200, 1800, 86400, seconds].flatMap { (number: UInt32) in
            [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> UInt32($0)) }
        }
        return ResourceRecord(
            name: .root, type: .soa, timeToLiveSeconds: seconds, data: [0, 0] + numbers)
    }
}

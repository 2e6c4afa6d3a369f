import DNS
import Synchronization

/// Finds out whether questions that go upstream come back: a random name is asked, and whoever
/// is asked for it knows that there is a loop (as CoreDNS' `loop` does). All threads share one.
final class LoopDetector: Sendable {
    private struct State {
        var name: DNSName?
        var isLooping = false
    }

    private let state = Mutex(State())

    /// Draws a fresh name to ask for and forgets what was found.
    func begin() -> DNSName? {
        let labels = (0..<2).map { _ in String(UInt64.random(in: 0...UInt64.max)) }
        let name = DNSName(labels: labels)
        state.withLock { $0 = State(name: name) }
        return name
    }

    /// Looks whether `name` is the one that was sent out.
    func notice(_ name: DNSName) -> Bool {
        state.withLock { state in
            guard name == state.name else { return false }
            state.isLooping = true
            return true
        }
    }

    /// Whether the name came back.
    var isLooping: Bool { state.withLock { $0.isLooping } }
}

extension Worker {
    /// Sends a random name upstream. An upstream that is one of the server's own addresses is left
    /// out at once; for one that leads back by a detour, the name comes back.
    func startLoopProbe() {
        guard number == 0, let route = routes.first(where: { $0.configuration.suffix == .root })
        else { return }
        for state in route.upstreams
        where listeners.contains(where: { $0.address == state.upstream.address }) {
            state.isLooping = true
            metrics.add(.loops, 1)
        }
        guard !route.candidates().isEmpty, let name = loops.begin() else { return }
        let key = ExchangeKey(
            question: DNSQuestion(name: name, type: .hinfo), dnssecOK: false,
            checkingDisabled: false)
        _ = ask(key) { [unowned self] _ in
            guard loops.isLooping else { return }
            // Which upstream led back is not known; with several, one that does not would have
            // answered, so all that were asked are suspect.
            for state in route.upstreams { state.isLooping = true }
            metrics.add(.loops, 1)
        }
    }

    /// Whether a query is the probe that came back; it is then refused, which ends the loop.
    func isReturnedProbe(_ query: ParsedQuery) -> Bool {
        guard query.type == RecordType.hinfo.rawValue else { return false }
        let bytes = Array(UnsafeBufferPointer(start: lowercased, count: query.nameLength))
        return DNSName(wire: bytes).map(loops.notice) ?? false
    }
}

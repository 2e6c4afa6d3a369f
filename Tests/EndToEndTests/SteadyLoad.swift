import Glibc
import Netlink
import NetworkTypes
import Synchronization
import TestSupport

/// Asks one address for `GET /` at a steady rate, each time over a connection of its own, from a
/// thread in a network namespace, until it is stopped; keeps what went wrong.
final class SteadyLoad: Sendable {
    private struct State {
        var isStopping = false
        var hasEnded = false
        var requestCount = 0
        var failures: [String] = []
    }

    private let address: String
    private let port: UInt16
    private let state = Mutex(State())

    /// How long one request may take, in seconds.
    private static let timeoutSeconds = 5
    /// Failures beyond this are only counted by the requests that lack an answer.
    private static let failureLimit = 50

    /// Starts asking.
    /// - Parameter namespace: where the client is; nil for the machine itself.
    init(
        _ address: String, port: UInt16, perSecond rate: Int, in namespace: NamespaceDescriptor?
    ) throws {
        self.address = address
        self.port = port
        let pause = UInt64(1_000_000_000 / rate)
        let code = startDetachedThread { [self] in
            do {
                if let namespace { try NetworkNamespace.enterCurrentThread(namespace) }
                run(pauseNanoseconds: pause)
            } catch {
                state.withLock { $0.failures.append("cannot enter the namespace: \(error)") }
            }
            state.withLock { $0.hasEnded = true }
        }
        guard code == 0 else { throw TestFailure("no thread: errno \(code)") }
    }

    var requestCount: Int { state.withLock { $0.requestCount } }

    /// Stops asking; returns what went wrong since the start.
    func stop() throws -> [String] {
        state.withLock { $0.isStopping = true }
        try eventually("the client of \(address) ends") { state.withLock { $0.hasEnded } }
        return state.withLock { $0.failures }
    }

    private func run(pauseNanoseconds: UInt64) {
        var due = now()
        while !state.withLock({ $0.isStopping }) {
            let failure = ask()
            state.withLock { state in
                state.requestCount += 1
                if let failure, state.failures.count < Self.failureLimit {
                    state.failures.append("\(address):\(port) \(failure)")
                }
            }
            // The rate is kept where a request took longer than its turn.
            due += pauseNanoseconds
            let current = now()
            if due > current {
                var pause = timespec(tv_sec: 0, tv_nsec: Int(min(due - current, 999_999_999)))
                nanosleep(&pause, nil)
            } else if current - due > 1_000_000_000 {
                due = current
            }
        }
    }

    /// Asks once; returns what went wrong.
    private func ask() -> String? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        guard descriptor >= 0 else { return "socket: errno \(errno)" }
        defer { close(descriptor) }
        var timeout = timeval(tv_sec: Self.timeoutSeconds, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, size)
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = port.bigEndian
        inet_pton(AF_INET, address, &target.sin_addr)
        let status = withUnsafePointer(to: &target) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else { return "connect: \(String(cString: strerror(errno)))" }
        let request = Array("GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n".utf8)
        guard write(descriptor, request, request.count) == request.count else {
            return "write: \(String(cString: strerror(errno)))"
        }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0 { return "read: \(String(cString: strerror(errno)))" }
            if count == 0 { break }
            answer += buffer[..<count]
        }
        let text = String(decoding: answer, as: UTF8.self)
        return text.hasPrefix("HTTP/1.1 200") && text.contains("Hello, I am ")
            ? nil : "answer: \(text.prefix(60))"
    }

    private func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

private final class ThreadBody: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @Sendable @escaping () -> Void) { self.body = body }
}

private func startDetachedThread(_ body: @Sendable @escaping () -> Void) -> Int32 {
    var thread = pthread_t()
    let pointer = Unmanaged.passRetained(ThreadBody(body))
    let code = pthread_create(
        &thread, nil,
        { argument in
            if let argument {
                Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body()
            }
            return nil
        }, pointer.toOpaque())
    if code == 0 { pthread_detach(thread) } else { pointer.release() }
    return code
}

import Glibc

/// An IPv4 address and port.
struct Endpoint: Sendable {
    private var storage = sockaddr_in()

    /// Reads `10.0.0.1:80`.
    init?(_ text: String) {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let port = UInt16(parts[1]) else { return nil }
        storage.sin_family = sa_family_t(AF_INET)
        storage.sin_port = port.bigEndian
        guard inet_pton(AF_INET, String(parts[0]), &storage.sin_addr) == 1 else { return nil }
    }

    func withPointer(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        withUnsafePointer(to: storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}

/// Answers one HTTP request of every connection and closes it, until it is killed.
struct ShortServer {
    private static let answer = Array(
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n".utf8)
    private let endpoints: [Endpoint]
    private static let threadCount = 2

    init(_ endpoints: some Sequence<Endpoint>) { self.endpoints = Array(endpoints) }

    func run() {
        let listeners = endpoints.map(listen)
        onThreads(listeners.count * Self.threadCount) { index in
            let listener = listeners[index / Self.threadCount]
            var request = [UInt8](repeating: 0, count: 2048)
            while true {
                let connection = accept(listener, nil, nil)
                guard connection >= 0 else { continue }
                if recv(connection, &request, request.count, 0) > 0 {
                    send(connection, Self.answer, Self.answer.count, Int32(MSG_NOSIGNAL))
                }
                close(connection)
            }
        }
    }

    private func listen(_ endpoint: Endpoint) -> Int32 {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var one: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        guard endpoint.withPointer({ bind(listener, $0, $1) }) == 0,
            Glibc.listen(listener, 4096) == 0
        else {
            print("cannot listen: errno \(errno)")
            exit(1)
        }
        return listener
    }
}

/// Connects, sends a request, reads the answer to its end, and starts anew. The ways are taken in
/// turn, some hundredths of a second each, so that what else the machine does slows all alike.
struct ShortClient {
    private let endpoints: [Endpoint]
    private let rotationCount: Int
    private static let threadCount = 4
    /// Connections a thread makes before all turn to the next way.
    private static let blockSize = 64
    private static let request = Array(
        "GET / HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n".utf8)

    init(_ endpoints: some Sequence<Endpoint>, rotationCount: Int) {
        self.endpoints = Array(endpoints)
        self.rotationCount = rotationCount
    }

    /// - Returns: a line of JSON: connections a second by each way, and the failures.
    func run() -> String {
        let endpoints = self.endpoints
        let rotationCount = self.rotationCount
        // Thread 0 alone writes the times; threads write only their own failures, and all have
        // ended before they are read.
        nonisolated(unsafe) let seconds = UnsafeMutableBufferPointer<Double>.allocate(
            capacity: endpoints.count)
        seconds.initialize(repeating: 0)
        nonisolated(unsafe) let failures = UnsafeMutableBufferPointer<Int>.allocate(
            capacity: Self.threadCount)
        failures.initialize(repeating: 0)
        let barrier = Barrier(Self.threadCount)
        onThreads(Self.threadCount) { thread in
            for rotation in 0..<rotationCount {
                for turn in endpoints.indices {
                    // Each rotation begins elsewhere: no way always follows the same one.
                    let index = (turn + rotation) % endpoints.count
                    barrier.wait()
                    let start = now()
                    for _ in 0..<Self.blockSize where !Self.connectOnce(endpoints[index]) {
                        failures[thread] += 1
                    }
                    barrier.wait()
                    if thread == 0 { seconds[index] += now() - start }
                }
            }
        }
        let count = Double(rotationCount * Self.threadCount * Self.blockSize)
        let rates = seconds.map { "\(Int(count / $0))" }.joined(separator: ",")
        return "{\"connectionsPerSecond\":[\(rates)],\"failures\":\(failures.reduce(0, +))}"
    }

    /// False where anything failed.
    private static func connectOnce(_ endpoint: Endpoint) -> Bool {
        let connection = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(connection) }
        var timeout = timeval(tv_sec: 2, tv_usec: 0)
        setsockopt(
            connection, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        guard endpoint.withPointer({ connect(connection, $0, $1) }) == 0,
            send(connection, request, request.count, Int32(MSG_NOSIGNAL)) == request.count
        else { return false }
        var answer = [UInt8](repeating: 0, count: 512)
        var total = 0
        while true {
            let count = recv(connection, &answer, answer.count, 0)
            guard count > 0 else { return count == 0 && total > 0 }
            total += count
        }
    }
}

import CLinux
import Glibc
import Informer
import KubernetesAPI
import NetworkTypes
import Synchronization

/// The web server of the image `portolan/hostname`: it answers each request with the pod's and the
/// node's name and the client's address. One thread, one epoll, no framework, so that a pod starts
/// at once and takes little memory.
///
/// On SIGTERM it stops listening, answers what is in flight, and ends.
public final class HostnameServer {
    /// The longest head of a request, in bytes; a longer one is refused with 431.
    static let headLimit = 16 * 1024
    /// Connections at once; further ones are closed.
    static let connectionLimit = 8192
    /// How long a connection may be silent, in seconds.
    static let idleSeconds = 120.0
    /// How long requests in flight may take once the server is asked to end, in seconds.
    static let drainSeconds = 5.0
    /// How long a connection that was just made may take to send its request then, in seconds.
    static let newConnectionSeconds = 0.2

    private let podName: String
    private let nodeName: String
    private let listener: Int32
    private let epoll: Int32
    private var connections: [Int32: HostnameConnection] = [:]
    private var drainDeadline: Timestamp?
    /// The eventfd that the handler of SIGTERM writes to.
    private static let stopDescriptor = Atomic<Int32>(-1)

    /// Listens on all addresses.
    /// - Parameter port: 0 for any free one.
    /// - Throws: where the port is taken.
    public init(podName: String, nodeName: String, port: UInt16) throws {
        self.podName = podName
        self.nodeName = nodeName
        listener = try Self.listen(port)
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw SystemError("epoll_create1") }
        let stop = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        guard stop >= 0 else { throw SystemError("eventfd") }
        Self.stopDescriptor.store(stop, ordering: .sequentiallyConsistent)
        try add(listener, PORTOLAN_EPOLLIN)
        try add(stop, PORTOLAN_EPOLLIN)
    }

    deinit {
        for descriptor in connections.keys { close(descriptor) }
        close(listener)
        close(epoll)
    }

    /// Runs the server as the container's process: names and port from the environment, until
    /// SIGTERM or SIGINT.
    public static func runFromEnvironment() throws {
        func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
        let port = variable("PORT") ?? "80"
        guard let number = UInt16(port), number > 0 else {
            throw RuntimeError(description: "PORT is \"\(port)\": use a number from 1 to 65535")
        }
        let server = try HostnameServer(
            podName: variable("POD_NAME") ?? variable("HOSTNAME") ?? "unknown",
            nodeName: variable("NODE_NAME") ?? "unknown", port: number)
        // The first process of a container has no default action for signals: it must ask for them.
        for number in [SIGTERM, SIGINT] { signal(number) { _ in HostnameServer.requestStop() } }
        signal(SIGPIPE, SIG_IGN)
        try server.run()
    }

    /// Asks the server of this process to end. Safe in a signal handler.
    static func requestStop() {
        var one: UInt64 = 1
        write(stopDescriptor.load(ordering: .relaxed), &one, 8)
    }

    /// The port it listens on.
    public var port: UInt16 {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(listener, $0, &length)
            }
        }
        return UInt16(bigEndian: address.sin_port)
    }

    // MARK: - Loop

    /// Serves until it is asked to stop.
    public func run() throws {
        var events = [epoll_event](repeating: epoll_event(), count: 256)
        while true {
            let wait: Int32 = drainDeadline == nil ? 10_000 : 20
            let count = epoll_wait(epoll, &events, Int32(events.count), wait)
            if count < 0 && errno != EINTR { throw SystemError("epoll_wait") }
            for index in 0..<max(0, Int(count)) { handle(events[index]) }
            let now = Timestamp.now
            if let drainDeadline {
                for (descriptor, connection) in connections where !connection.isBusy(at: now) {
                    drop(descriptor)
                }
                if connections.isEmpty || now > drainDeadline { return }
            } else {
                for (descriptor, connection) in connections
                where now.secondsSince(connection.lastActive) > Self.idleSeconds {
                    drop(descriptor)
                }
            }
        }
    }

    private func handle(_ event: epoll_event) {
        let descriptor = event.data.fd
        if descriptor == listener {
            accept()
        } else if descriptor == Self.stopDescriptor.load(ordering: .relaxed) {
            guard drainDeadline == nil else { return }
            // What already waits to be accepted is in flight, too.
            accept()
            epoll_ctl(epoll, EPOLL_CTL_DEL, listener, nil)
            shutdown(listener, Int32(SHUT_RDWR))
            drainDeadline = .now.adding(seconds: Self.drainSeconds)
        } else if connections[descriptor] != nil {
            if event.events & (PORTOLAN_EPOLLERR | PORTOLAN_EPOLLHUP) != 0 {
                drop(descriptor)
                return
            }
            if event.events & PORTOLAN_EPOLLIN != 0 { receive(descriptor) }
            if connections[descriptor] != nil { send(descriptor) }
        }
    }

    private func accept() {
        while true {
            var address = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let flags = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            let descriptor = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    portolan_accept4(listener, $0, &length, flags)
                }
            }
            guard descriptor >= 0 else {
                if errno == EINTR || errno == ECONNABORTED { continue }
                return
            }
            guard connections.count < Self.connectionLimit else {
                close(descriptor)
                continue
            }
            var one: Int32 = 1
            setsockopt(
                descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one,
                socklen_t(MemoryLayout<Int32>.size))
            let client = IPAddress.v4(UInt32(bigEndian: address.sin_addr.s_addr))
            connections[descriptor] = HostnameConnection(
                body: "Hello, I am \(podName) on \(nodeName); you are \(client)\n")
            if (try? add(descriptor, PORTOLAN_EPOLLIN)) == nil { drop(descriptor) }
        }
    }

    private func receive(_ descriptor: Int32) {
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0 {
                if errno == EINTR { continue }
                if errno != EAGAIN { drop(descriptor) }
                return
            }
            if count == 0 {
                // The client has said all; what it asked for is still sent.
                if connections[descriptor]?.closeAfterOutput() == true { drop(descriptor) }
                return
            }
            connections[descriptor]?.receive(buffer[..<count], isEnding: drainDeadline != nil)
            if connections[descriptor]?.isOutputLarge == true { return }
        }
    }

    private func send(_ descriptor: Int32) {
        guard var connection = connections[descriptor] else { return }
        while !connection.output.isEmpty {
            let count = connection.output.withUnsafeBytes {
                write(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN { break }
                drop(descriptor)
                return
            }
            connection.sent(count)
        }
        connections[descriptor] = connection
        if connection.output.isEmpty, connection.closesAfterOutput {
            drop(descriptor)
            return
        }
        let wanted =
            connection.output.isEmpty ? PORTOLAN_EPOLLIN : PORTOLAN_EPOLLIN | PORTOLAN_EPOLLOUT
        if wanted != connection.interest {
            connections[descriptor]?.interest = wanted
            var event = epoll_event()
            event.events = wanted
            event.data.fd = descriptor
            epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event)
        }
    }

    private func drop(_ descriptor: Int32) {
        connections[descriptor] = nil
        // A child that is being started may still hold a copy, which would keep the watch.
        epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, nil)
        close(descriptor)
    }

    private func add(_ descriptor: Int32, _ interest: UInt32) throws {
        var event = epoll_event()
        event.events = interest
        event.data.fd = descriptor
        guard epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0 else {
            throw SystemError("epoll_ctl")
        }
    }

    private static func listen(_ port: UInt16) throws -> Int32 {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_INET, type | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw SystemError("socket") }
        var one: Int32 = 1
        setsockopt(
            descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0, Glibc.listen(descriptor, 4096) == 0 else {
            let error = SystemError("listen on port \(port)")
            close(descriptor)
            throw error
        }
        return descriptor
    }
}

/// One client's connection: takes bytes in, and has the bytes to send. Pure but for the clock.
struct HostnameConnection {
    private let body: String
    private var input: [UInt8] = []
    /// Bytes of a request's body that are still to come.
    private var bodyBytesLeft = 0
    private(set) var output: [UInt8] = []
    private(set) var closesAfterOutput = false
    private(set) var lastActive = Timestamp.now
    private var hasServed = false
    var interest = PORTOLAN_EPOLLIN

    /// Requests may be pipelined up to this many bytes of answers.
    private static let outputLimit = 256 * 1024

    /// - Parameter body: what every request is answered with.
    init(body: String) { self.body = body }

    /// True where no more is read before the output has gone.
    var isOutputLarge: Bool { output.count > Self.outputLimit }

    /// True while a request is in flight, or a new connection may still send its first.
    func isBusy(at now: Timestamp) -> Bool {
        if !output.isEmpty || !input.isEmpty || bodyBytesLeft > 0 { return true }
        let age = now.secondsSince(lastActive)
        return !hasServed && age < HostnameServer.newConnectionSeconds
    }

    /// The client has closed its side.
    /// - Returns: true where nothing is left to send.
    mutating func closeAfterOutput() -> Bool {
        closesAfterOutput = true
        return output.isEmpty
    }

    /// Takes note of bytes that were sent.
    mutating func sent(_ count: Int) { output.removeFirst(count) }

    /// Takes bytes of the client in and answers every request that is whole.
    mutating func receive(_ bytes: ArraySlice<UInt8>, isEnding: Bool) {
        lastActive = .now
        guard !closesAfterOutput else { return }
        input += bytes
        while !closesAfterOutput {
            if bodyBytesLeft > 0 {
                let count = min(bodyBytesLeft, input.count)
                input.removeFirst(count)
                bodyBytesLeft -= count
                if bodyBytesLeft > 0 { return }
            }
            guard let end = headEnd else {
                if input.count > HostnameServer.headLimit {
                    answer("431 Request Too Large", close: true)
                }
                return
            }
            let head = String(decoding: input[..<end], as: UTF8.self)
            input.removeFirst(end)
            handle(head, isEnding: isEnding)
        }
    }

    /// Where the head of the first request ends, with its empty line; nil while it is not whole.
    private var headEnd: Int? {
        guard input.count >= 4 else { return nil }
        for index in 3..<input.count
        where input[index] == 10 && input[index - 1] == 13 && input[index - 2] == 10
            && input[index - 3] == 13
        {
            return index + 1
        }
        return nil
    }

    private mutating func handle(_ head: String, isEnding: Bool) {
        let lines = head.split(separator: "\r\n")
        let request = (lines.first ?? "").split(separator: " ")
        guard request.count == 3, request[2].hasPrefix("HTTP/1.") else {
            answer("400 Bad Request", close: true)
            return
        }
        var keepsOpen = request[2] == "HTTP/1.1"
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let value = line[line.index(after: colon)...].lowercased()
            switch line[..<colon].lowercased() {
            case "connection":
                if value.contains("close") { keepsOpen = false }
                if value.contains("keep-alive") { keepsOpen = true }
            case "content-length": bodyBytesLeft = max(0, Int(trimmed(value)) ?? 0)
            // The end of a chunked body is not looked for: the answer is sent, then all is closed.
            case "transfer-encoding": keepsOpen = false
            default: break
            }
        }
        hasServed = true
        answer("200 OK", close: !keepsOpen || isEnding, hasBody: request[0] != "HEAD")
    }

    private mutating func answer(_ status: String, close: Bool, hasBody: Bool = true) {
        let text = status.hasPrefix("200") ? body : status + "\n"
        let connection = close ? "close" : "keep-alive"
        output += Array(
            ("HTTP/1.1 \(status)\r\nContent-Type: text/plain; charset=utf-8\r\n"
                + "Content-Length: \(text.utf8.count)\r\nConnection: \(connection)\r\n\r\n"
                + (hasBody ? text : "")).utf8)
        if close {
            closesAfterOutput = true
            input = []
            bodyBytesLeft = 0
        }
    }
}

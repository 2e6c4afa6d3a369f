import CLinux
import Glibc

/// A very small HTTP/1.1 listener for `/metrics` and health: one thread, one connection at a time,
/// one request a connection, bounded in size and time.
///
/// Safe to share: its fields do not change after init but for `stop`, which only shuts the socket
/// down and joins the thread.
final class MetricsEndpoint: @unchecked Sendable {
    /// What a path gives.
    struct Page: Sendable {
        var status: Int
        var body: String
    }

    private let descriptor: Int32
    private var thread = pthread_t()
    private let respond: @Sendable (String) -> Page?

    /// A request head longer than this is refused.
    private static let headLimit = 8192
    /// How long a client has for its request and for taking the answer.
    private static let timeoutSeconds = 5

    /// Listens at `address`; `respond` gives the page of a path, nil for 404.
    init(
        _ address: SocketAddress, _ respond: @escaping @Sendable (String) -> Page?
    ) throws(SocketError) {
        self.respond = respond
        descriptor = try Sockets.streamListener(address)
        let flags = fcntl(descriptor, F_GETFL, 0)
        _ = portolan_set_blocking(descriptor, flags)
        let box = Unmanaged.passRetained(self)
        let result = pthread_create(
            &thread, nil,
            { argument in
                if let argument {
                    Unmanaged<MetricsEndpoint>.fromOpaque(argument).takeRetainedValue().serve()
                }
                return nil
            }, box.toOpaque())
        if result != 0 {
            box.release()
            close(descriptor)
            throw SocketError("start a thread for metrics")
        }
    }

    /// The port it listens on.
    var port: UInt16 { Sockets.localPort(descriptor) }

    /// Ends the thread and closes the socket.
    func stop() {
        shutdown(descriptor, Int32(SHUT_RDWR))
        pthread_join(thread, nil)
        close(descriptor)
    }

    private func serve() {
        while true {
            let client = accept(descriptor, nil, nil)
            if client < 0 {
                if errno == EINTR || errno == ECONNABORTED { continue }
                return
            }
            serve(client)
            close(client)
        }
    }

    private func serve(_ client: Int32) {
        var timeout = timeval(tv_sec: Self.timeoutSeconds, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &timeout, size)
        setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &timeout, size)
        var head: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1024)
        let end = Array("\r\n\r\n".utf8)
        while head.count < Self.headLimit, head.suffix(4) != end[...] {
            let count = recv(client, &chunk, chunk.count, 0)
            guard count > 0 else { return }
            head += chunk[..<count]
        }
        let line = head.prefix { $0 != 13 }.split(separator: UInt8(ascii: " "))
        guard line.count == 3, line[0].elementsEqual("GET".utf8) else {
            send(client, Page(status: 405, body: "only GET is served here\n"))
            return
        }
        let path = line[1].prefix { $0 != UInt8(ascii: "?") }
        let page = respond(String(decoding: path, as: UTF8.self))
        send(client, page ?? Page(status: 404, body: "not found\n"))
    }

    private func send(_ client: Int32, _ page: Page) {
        let reason = page.status == 200 ? "OK" : "Error"
        let text =
            "HTTP/1.1 \(page.status) \(reason)\r\nContent-Type: text/plain; version=0.0.4\r\n"
            + "Content-Length: \(page.body.utf8.count)\r\nConnection: close\r\n\r\n" + page.body
        let bytes = Array(text.utf8)
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                Glibc.send(
                    client, buffer.baseAddress.map { $0 + sent }, bytes.count - sent,
                    Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }
}

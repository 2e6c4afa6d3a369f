import CLinux
import Glibc
import Informer
import NetworkTypes

/// What a client's streams are joined to.
protocol StreamSession: Sendable {
    /// Runs to the end, and tells the client how it ended.
    func run(_ streams: WebSocketStreams) async throws
}

/// One connection to a port of a pod, made inside the pod's network, so that programs that listen
/// on its loopback alone are reached as well.
struct PortForwardSession: StreamSession {
    let namespace: NodeNamespace
    let port: UInt16

    /// Seconds that the connection may take to stand.
    private static let connectSeconds = 10.0
    private static let chunkByteCount = 32 * 1024

    func run(_ streams: WebSocketStreams) async throws {
        let (namespace, port) = (namespace, port)
        let socket = try await Blocking.run {
            try namespace.run {
                try connectedSocket(
                    .v4(0x7F00_0001), port,
                    deadline: .now.adding(seconds: Self.connectSeconds))
            }
        }
        streams.open(.output)
        let pump = Task {
            for await message in streams.messages {
                switch message {
                case .input(let bytes):
                    _ = try? await Blocking.run {
                        try ContainerSession.writeWaiting(socket, bytes)
                    }
                    streams.consumed(bytes.count)
                case .endOfInput: shutdown(socket, Int32(SHUT_WR))
                case .resize: break
                }
            }
            shutdown(socket, Int32(SHUT_RDWR))
        }
        try await ContainerSession.onThread { Self.copy(from: socket, to: streams) }
        pump.cancel()
        await pump.value
        close(socket)
        streams.finish(exitCode: 0)
    }

    /// Sends what the pod says until it has said all, or the client is gone. Blocking.
    private static func copy(from socket: Int32, to streams: WebSocketStreams) {
        var buffer = [UInt8](repeating: 0, count: chunkByteCount)
        while true {
            var entry = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
            if poll(&entry, 1, -1) < 0 && errno != EINTR { return }
            let count = recv(socket, &buffer, buffer.count, 0)
            if count < 0 && (errno == EINTR || errno == EAGAIN) { continue }
            guard count > 0 else { return }
            if (try? streams.sendBlocking(.output, buffer[..<count])) == nil { return }
        }
    }
}

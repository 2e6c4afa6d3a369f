import Glibc
import Informer
import KubernetesAPI
import NetworkTypes
import TestSupport

@testable import PodRuntime

/// A WebSocket client of a few lines, for the channel protocol of commands.
final class RawWebSocket {
    private let descriptor: Int32
    private var input: [UInt8] = []

    /// Connects and upgrades.
    /// - Throws: with the answer where the server refuses.
    init(port: Int, path: String, protocolName: String = "v5.channel.k8s.io") throws {
        descriptor = try connectedSocket(
            .v4(0x7F00_0001), UInt16(port), deadline: .now.adding(seconds: 5))
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
        let request =
            "GET \(path) HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            + "Sec-WebSocket-Protocol: \(protocolName)\r\n\r\n"
        try Files.writeAll(descriptor, Array(request.utf8), path: "socket")
        var head = ""
        while !head.hasSuffix("\r\n\r\n") {
            head += String(decoding: [try byte()], as: UTF8.self)
        }
        guard head.hasPrefix("HTTP/1.1 101") else { throw TestFailure(head) }
    }

    deinit { close(descriptor) }

    /// Sends a message on a stream; clients mask what they send.
    func send(_ stream: UInt8, _ bytes: [UInt8]) throws {
        let payload = [stream] + bytes
        var frame: [UInt8] = [0x82]
        if payload.count < 126 {
            frame.append(0x80 | UInt8(payload.count))
        } else {
            frame += [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        }
        let mask: [UInt8] = [1, 2, 3, 4]
        frame += mask
        for (index, byte) in payload.enumerated() { frame.append(byte ^ mask[index % 4]) }
        try Files.writeAll(descriptor, frame, path: "socket")
    }

    /// Reads to the end and returns what came on each stream.
    func readAll() throws -> [UInt8: [UInt8]] {
        var streams: [UInt8: [UInt8]] = [:]
        while let message = try message() {
            guard let stream = message.first else { continue }
            streams[stream, default: []] += message.dropFirst()
        }
        return streams
    }

    /// The next message, or nil where the server closes.
    func message() throws -> [UInt8]? {
        let first = try byte()
        var count = Int(try byte())
        if count == 126 { count = Int(try byte()) << 8 | Int(try byte()) }
        let payload = try (0..<count).map { _ in try byte() }
        return first & 0x0F == 8 ? nil : payload
    }

    private func byte() throws -> UInt8 {
        if input.isEmpty {
            guard waitFor(descriptor, Int16(POLLIN), .now.adding(seconds: 20)) else {
                throw TestFailure("the server says nothing")
            }
            input = [UInt8](repeating: 0, count: 65536)
            let count = read(descriptor, &input, input.count)
            guard count > 0 else { throw TestFailure("the connection is closed") }
            input = Array(input[..<count].reversed())
        }
        return input.removeLast()
    }
}

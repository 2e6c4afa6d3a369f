/// Lays frames out as bytes, for one direction of a session.
public struct FrameEncoder: ~Copyable {
    private let deflater: HeaderDeflater

    /// Makes an encoder.
    /// - Throws: where zlib has no memory.
    public init() throws(SPDYError) { self.init(try HeaderDeflater()) }

    init(_ deflater: HeaderDeflater) { self.deflater = deflater }

    /// Appends a frame. Data of more than 2²⁴ − 1 bytes makes several.
    public func encode(_ frame: SPDYFrame, into output: inout [UInt8]) {
        switch frame {
        case .synStream(let id, let associated, let priority, let isLast, let isOneWay, let headers):
            let flags =
                (isLast ? SPDYFrame.lastFlag : 0) | (isOneWay ? SPDYFrame.unidirectionalFlag : 0)
            let fields = Self.bytes(id) + Self.bytes(associated) + [priority << 5, 0]
            control(SPDYFrame.ControlType.synStream, flags, fields + block(headers), &output)
        case .synReply(let id, let isLast, let headers):
            control(
                SPDYFrame.ControlType.synReply, isLast ? SPDYFrame.lastFlag : 0,
                Self.bytes(id) + block(headers), &output)
        case .headers(let id, let isLast, let headers):
            control(
                SPDYFrame.ControlType.headers, isLast ? SPDYFrame.lastFlag : 0,
                Self.bytes(id) + block(headers), &output)
        case .reset(let id, let status):
            control(
                SPDYFrame.ControlType.reset, 0, Self.bytes(id) + Self.bytes(status.rawValue),
                &output)
        case .settings: control(SPDYFrame.ControlType.settings, 0, Self.bytes(0), &output)
        case .ping(let id): control(SPDYFrame.ControlType.ping, 0, Self.bytes(id), &output)
        case .goAway(let id, let status):
            control(
                SPDYFrame.ControlType.goAway, 0, Self.bytes(id) + Self.bytes(status), &output)
        case .windowUpdate(let id, let count):
            control(
                SPDYFrame.ControlType.windowUpdate, 0, Self.bytes(id) + Self.bytes(count), &output)
        case .unknown(let type): control(type, 0, [], &output)
        case .data(let id, let isLast, let bytes): data(id, isLast, bytes[...], &output)
        }
    }

    private func data(
        _ id: UInt32, _ isLast: Bool, _ bytes: ArraySlice<UInt8>, _ output: inout [UInt8]
    ) {
        var rest = bytes
        repeat {
            let part = rest.prefix(SPDYFrame.payloadLimit)
            rest = rest.dropFirst(part.count)
            let flags = isLast && rest.isEmpty ? UInt32(SPDYFrame.lastFlag) << 24 : 0
            output += Self.bytes(id & 0x7FFF_FFFF)
            output += Self.bytes(flags | UInt32(part.count))
            output += part
        } while !rest.isEmpty
    }

    private func control(
        _ type: UInt16, _ flags: UInt8, _ payload: [UInt8], _ output: inout [UInt8]
    ) {
        output += Self.bytes(1 << 31 | UInt32(SPDYFrame.version) << 16 | UInt32(type))
        output += Self.bytes(UInt32(flags) << 24 | UInt32(payload.count))
        output += payload
    }

    private func block(_ headers: [SPDYHeader]) -> [UInt8] {
        var bytes = Self.bytes(UInt32(headers.count))
        for header in headers {
            for text in [header.name, header.value] {
                bytes += Self.bytes(UInt32(text.utf8.count))
                bytes += Array(text.utf8)
            }
        }
        return deflater.deflate(bytes)
    }

    private static func bytes(_ word: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> $0) }
    }
}

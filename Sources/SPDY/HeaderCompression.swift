import CZlib

/// Inflates the header blocks of one direction of a session, in order: each builds on those before.
///
/// zlib's state refers to the stream by its address, so it lives outside Swift's values.
final class HeaderInflater {
    /// Bytes that one block may inflate to: a stream of Kubernetes has three short headers.
    static let limit = 64 * 1024
    private let stream: UnsafeMutablePointer<z_stream>

    init() throws(SPDYError) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        let size = Int32(MemoryLayout<z_stream>.size)
        guard inflateInit_(stream, ZLIB_VERSION, size) == Z_OK else {
            throw .compression("no memory")
        }
    }

    deinit {
        inflateEnd(stream)
        stream.deinitialize(count: 1)
        stream.deallocate()
    }

    func inflate(_ block: ArraySlice<UInt8>) throws(SPDYError) -> [UInt8] {
        var input = Array(block)
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        let code = input.withUnsafeMutableBufferPointer { input in
            stream.pointee.next_in = input.baseAddress
            stream.pointee.avail_in = UInt32(input.count)
            return pump(into: &output, by: &chunk)
        }
        guard code == Z_OK || code == Z_BUF_ERROR else {
            throw .compression("zlib's code is \(code)")
        }
        guard stream.pointee.avail_in == 0, output.count <= Self.limit else {
            throw .compression("a block inflates to more than \(Self.limit) bytes")
        }
        return output
    }

    private func pump(into output: inout [UInt8], by chunk: inout [UInt8]) -> Int32 {
        var code = Z_OK
        repeat {
            let room = UInt32(chunk.count)
            code = chunk.withUnsafeMutableBufferPointer { chunk in
                stream.pointee.next_out = chunk.baseAddress
                stream.pointee.avail_out = room
                let code = CZlib.inflate(stream, Z_SYNC_FLUSH)
                guard code == Z_NEED_DICT else { return code }
                return HeaderDictionary.bytes.withUnsafeBufferPointer {
                    inflateSetDictionary(stream, $0.baseAddress, UInt32($0.count))
                }
            }
            output += chunk.prefix(Int(room - stream.pointee.avail_out))
        } while code == Z_OK && output.count <= Self.limit
            && (stream.pointee.avail_in > 0 || stream.pointee.avail_out == 0)
        return code
    }
}

/// Deflates the header blocks of one direction of a session.
final class HeaderDeflater {
    private let stream: UnsafeMutablePointer<z_stream>

    init() throws(SPDYError) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        let size = Int32(MemoryLayout<z_stream>.size)
        // Small windows: a session's headers are few.
        let isReady =
            deflateInit2_(
                stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
                size) == Z_OK
            && HeaderDictionary.bytes.withUnsafeBufferPointer {
                deflateSetDictionary(stream, $0.baseAddress, UInt32($0.count))
            } == Z_OK
        guard isReady else { throw .compression("no memory") }
    }

    deinit {
        deflateEnd(stream)
        stream.deinitialize(count: 1)
        stream.deallocate()
    }

    func deflate(_ block: [UInt8]) -> [UInt8] {
        var input = block
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        input.withUnsafeMutableBufferPointer { input in
            stream.pointee.next_in = input.baseAddress
            stream.pointee.avail_in = UInt32(input.count)
            repeat {
                let room = UInt32(chunk.count)
                chunk.withUnsafeMutableBufferPointer { chunk in
                    stream.pointee.next_out = chunk.baseAddress
                    stream.pointee.avail_out = room
                    _ = CZlib.deflate(stream, Z_SYNC_FLUSH)
                }
                output += chunk.prefix(Int(room - stream.pointee.avail_out))
            } while stream.pointee.avail_out == 0
        }
        return output
    }
}

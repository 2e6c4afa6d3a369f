import Glibc
import KubernetesAPI
import NIOCore
import NIOPosix
import Store
import Synchronization

extension APIHandler {
    /// `/portolan/backup`: a store file with every object as of one revision, made while writes go
    /// on. One at a time: each takes as much disk as the store until it is read.
    func backup() -> APIResponse {
        guard !isBackingUp.exchange(true, ordering: .acquiringAndReleasing) else {
            return .ready(APIReply(.tooManyRequests()))
        }
        return .streaming { [self] stream in
            defer { isBackingUp.store(false, ordering: .releasing) }
            let store = registry.store
            let pool = NIOThreadPool.singleton
            let descriptor: Int32
            do {
                descriptor = try await pool.runIfActive { try store.openBackup() }
            } catch StoreError.diskFull {
                throw StatusError(
                    code: 507, reason: "InsufficientStorage",
                    message: "no room beside the store for a backup: free some and try again")
            }
            defer { close(descriptor) }
            try await stream.begin(contentType: "application/vnd.sqlite3")
            while true {
                let piece = try await pool.runIfActive { try Self.readPiece(descriptor) }
                guard piece.readableBytes > 0 else { return }
                try await stream.send(piece)
            }
        }
    }

    private static func readPiece(_ descriptor: Int32) throws -> ByteBuffer {
        var buffer = ByteBuffer()
        try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 256 * 1024) { bytes in
            let count = read(descriptor, bytes.baseAddress, 256 * 1024)
            guard count >= 0 else {
                throw StatusError.internalError("cannot read the backup: errno \(errno)")
            }
            return count
        }
        return buffer
    }
}

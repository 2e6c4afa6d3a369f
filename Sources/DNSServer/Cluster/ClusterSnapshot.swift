import DNS
import Glibc
import Logging

/// The zone on disk: read at start, so that names are answered before, and without, the API
/// server; written when it has changed, at most every few seconds.
extension DNSAgent {
    /// The time between two looks whether the zone has changed.
    private static let snapshotInterval = Duration.seconds(5)
    /// The largest snapshot that is read: 1 GiB.
    private static let largestSnapshot = 1 << 30

    /// Fills the zone from the snapshot; true where that worked.
    func restoreSnapshot() -> Bool {
        guard let path = configuration.snapshotPath else { return false }
        guard let bytes = readBytes(path: path, limit: Self.largestSnapshot) else { return false }
        do {
            try controller.zone.restore(bytes)
            logger.info("answering \(controller.zone.nameCount) names from the snapshot")
            return true
        } catch {
            logger.warning("the snapshot at \(path) is left aside: \(error)")
            return false
        }
    }

    /// Writes the zone to disk beside the old snapshot and takes its place: a crash in between
    /// leaves the old one.
    func writeSnapshot() {
        guard let path = configuration.snapshotPath, controller.isSynced else { return }
        let bytes = controller.zone.snapshot()
        let temporary = path + ".new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            logger.warning("the snapshot cannot be written: \(String(cString: strerror(errno)))")
            return
        }
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                write(descriptor, buffer.baseAddress.map { $0 + written }, bytes.count - written)
            }
            guard count > 0 || errno == EINTR else { break }
            written += max(0, count)
        }
        let isComplete = written == bytes.count && fsync(descriptor) == 0
        close(descriptor)
        if !isComplete || rename(temporary, path) != 0 {
            logger.warning("the snapshot cannot be written: \(String(cString: strerror(errno)))")
            unlink(temporary)
        }
    }

    /// Writes a snapshot whenever the zone has changed since the last one, until cancelled.
    func keepSnapshots() async {
        guard configuration.snapshotPath != nil else { return }
        var seen: UInt64 = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.snapshotInterval)
            let count = controller.changeCount
            guard count != seen, controller.isSynced, !Task.isCancelled else { continue }
            seen = count
            writeSnapshot()
        }
    }
}

/// Reads a file of at most `limit` bytes; nil where it can't be read or is larger.
private func readBytes(path: String, limit: Int) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var information = stat()
    guard fstat(descriptor, &information) == 0, information.st_size <= limit else { return nil }
    let size = Int(information.st_size)
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
        while count < size, let base = buffer.baseAddress {
            let got = read(descriptor, base + count, size - count)
            if got <= 0 { break }
            count += got
        }
    }
}

import DNS
import Glibc
import Logging
import Synchronization

/// The zone and the configuration on disk: read at start, so that names are answered before, and
/// without, the API server; written when they have changed, at most every few seconds.
extension DNSAgent {
    /// The time between two looks whether the zone has changed.
    private static let snapshotInterval = Duration.seconds(5)
    /// The largest snapshot that is read: 1 GiB.
    private static let largestSnapshot = 1 << 30

    /// Puts the last good Corefile in place: the zone's TTL and the routes are what they were.
    func restoreSettings() {
        guard let path = configuration.snapshotPath,
            let corefile = readText(path: path + ".corefile", limit: Corefile.sizeLimit),
            !corefile.isEmpty
        else { return }
        feedDetails(for: corefile)
        applySettings(corefile)
    }

    /// Puts the zone of the snapshot in place; true where that worked.
    func restoreSnapshot() -> Bool {
        guard let path = configuration.snapshotPath,
            let memory = Self.readSnapshot(path: path, limit: Self.largestSnapshot)
        else { return false }
        let settings = settings.withLock { $0 }
        do {
            let zone = try Zone.restored(
                from: memory, configuration: Self.zoneConfiguration(settings, configuration))
            try server.reconfigure(Self.serverConfiguration(settings, configuration, zone: zone))
            controller.adopt(zone, rules: settings.records)
            logger.info("answering \(zone.nameCount) names from the snapshot")
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
        replaceFile(path) { descriptor in
            try controller.zone.writeSnapshot { try Self.write($0, to: descriptor) }
        }
    }

    /// Keeps a Corefile that was put in place; nil, the default, keeps none.
    func keep(corefile: String?) {
        guard let path = configuration.snapshotPath else { return }
        guard let corefile else {
            unlink(path + ".corefile")
            return
        }
        replaceFile(path + ".corefile") { descriptor in
            try Array(corefile.utf8).withUnsafeBytes { try Self.write($0, to: descriptor) }
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

    // MARK: - Files

    private struct WriteFailure: Error {
        let number = errno
    }

    private func replaceFile(_ path: String, _ body: (Int32) throws -> Void) {
        let temporary = path + ".new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        var number = errno
        if descriptor >= 0 {
            defer { close(descriptor) }
            do {
                try body(descriptor)
                if fsync(descriptor) == 0, rename(temporary, path) == 0 { return }
                number = errno
            } catch {
                number = (error as? WriteFailure)?.number ?? EIO
            }
            unlink(temporary)
        }
        logger.warning("\(path) cannot be written: \(String(cString: strerror(number)))")
    }

    private static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) throws {
        var written = 0
        while written < bytes.count, let base = bytes.baseAddress {
            let count = Glibc.write(descriptor, base + written, bytes.count - written)
            guard count >= 0 || errno == EINTR else { throw WriteFailure() }
            written += max(0, count)
        }
    }

    /// Reads a file of at most `limit` bytes; nil where it can't be read or is larger.
    private static func readSnapshot(path: String, limit: Int) -> SnapshotMemory? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var information = stat()
        guard fstat(descriptor, &information) == 0, information.st_size <= limit,
            let memory = SnapshotMemory(byteCount: Int(information.st_size))
        else { return nil }
        var count = 0
        while count < memory.bytes.count, let base = memory.bytes.baseAddress {
            let got = read(descriptor, base + count, memory.bytes.count - count)
            if got < 0, errno == EINTR { continue }
            guard got > 0 else { return nil }
            count += got
        }
        return memory
    }
}

import Glibc

/// Backups are store files themselves: made beside the target, synced, then renamed into place.
public enum StoreBackup {
    /// Room between the revisions of a backup and those after its restoration, so that clients that
    /// saw later revisions are told to list again.
    static let restoredRevisionGap: Int64 = 1_000_000

    static func write(
        _ objects: [StoredObject], revision: Int64, to path: String
    ) throws(StoreError) {
        guard access(path, F_OK) != 0 else {
            throw .database("\(path) exists already: name a new file")
        }
        let temporary = path + ".partial"
        removeFiles(of: temporary)
        do throws(StoreError) {
            let database = try StoreDatabase(path: temporary)
            defer { database.close() }
            try database.commit(objects.map { (before: nil, after: $0) }, revision: revision)
        } catch {
            removeFiles(of: temporary)
            throw error
        }
        try sync(temporary)
        guard rename(temporary, path) == 0 else {
            throw .database("cannot rename \(temporary) to \(path): errno \(errno)")
        }
        removeFiles(of: temporary)
    }

    /// Puts the backup at `path` in place of the store at `target`, which no process may have open.
    /// Revisions go on well after those of both.
    /// - Throws: `StoreError`; the old store is untouched then.
    public static func restore(from path: String, to target: String) throws(StoreError) {
        guard access(path, R_OK) == 0 else {
            throw .database("cannot read \(path): errno \(errno)")
        }
        let backup = try StoreDatabase(path: path)
        let (objects, backupRevision) = try backup.load()
        backup.close()
        var revision = backupRevision
        if access(target, F_OK) == 0 {
            let old = try StoreDatabase(path: target)
            revision = max(revision, try old.load().revision)
            old.close()
        }
        let replacement = target + ".restored"
        removeFiles(of: replacement)
        try write(objects, revision: revision + restoredRevisionGap, to: replacement)
        for suffix in ["-wal", "-shm"] { unlink(target + suffix) }
        guard rename(replacement, target) == 0 else {
            throw .database("cannot rename \(replacement) to \(target): errno \(errno)")
        }
    }

    private static func removeFiles(of path: String) {
        for suffix in ["", "-wal", "-shm", "-journal"] { unlink(path + suffix) }
    }

    private static func sync(_ path: String) throws(StoreError) {
        let descriptor = open(path, O_RDONLY)
        guard descriptor >= 0 else { throw .database("cannot open \(path): errno \(errno)") }
        defer { Glibc.close(descriptor) }
        guard fsync(descriptor) == 0 else {
            throw .database("cannot sync \(path): errno \(errno)")
        }
    }
}

import Glibc

/// Backups are store files themselves: made beside the target, synced, then renamed into place.
public enum StoreBackup {
    /// Room between the revisions of a backup and those after its restoration, so that clients that
    /// saw later revisions are told to list again.
    static let restoredRevisionGap: Int64 = 1_000_000
    /// What is appended to the name of a store that a restoration has replaced.
    public static let replacedSuffix = ".replaced"

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

    /// What a backup holds.
    public struct Contents: Sendable, Hashable {
        /// The number of objects.
        public let objectCount: Int
        /// The revision as of which they were written.
        public let revision: Int64
    }

    /// Reads a whole backup and says what is in it.
    /// - Throws: `StoreError` for a file that is no backup, or a damaged one.
    public static func contents(of path: String) throws(StoreError) -> Contents {
        let (objects, revision) = try load(path)
        return Contents(objectCount: objects.count, revision: revision)
    }

    /// Puts the backup at `path` in place of the store at `target`, which no process may have open.
    /// Revisions go on well after those of both. The store that was there stays beside it, with
    /// `replacedSuffix`.
    /// - Throws: `StoreError`; the old store is untouched then.
    @discardableResult
    public static func restore(
        from path: String, to target: String
    ) throws(StoreError) -> Contents {
        let (objects, backupRevision) = try load(path)
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
        // A second name first, so that at no moment there is no store.
        unlink(target + replacedSuffix)
        if access(target, F_OK) == 0, link(target, target + replacedSuffix) != 0 {
            throw .database("cannot keep \(target) as \(target + replacedSuffix): errno \(errno)")
        }
        guard rename(replacement, target) == 0 else {
            throw .database("cannot rename \(replacement) to \(target): errno \(errno)")
        }
        return Contents(objectCount: objects.count, revision: backupRevision)
    }

    private static func load(
        _ path: String
    ) throws(StoreError) -> (objects: [StoredObject], revision: Int64) {
        try checkHeader(of: path)
        let backup = try StoreDatabase(path: path)
        defer { backup.close() }
        try backup.checkIntegrity()
        return try backup.load()
    }

    /// SQLite takes an empty file for a new database and any database for one that lacks tables:
    /// what is no store must not be taken for an empty one.
    private static func checkHeader(of path: String) throws(StoreError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw .database("cannot read \(path): \(String(cString: strerror(errno)))")
        }
        defer { Glibc.close(descriptor) }
        // "The Database Header" of SQLite's file format: the application's id is at offset 68.
        var header = [UInt8](repeating: 0, count: 100)
        guard Glibc.read(descriptor, &header, header.count) == header.count,
            header.starts(with: "SQLite format 3\0".utf8),
            header[68..<72].reduce(0, { $0 << 8 | Int($1) }) == StoreDatabase.applicationID
        else { throw .damaged(path: path, detail: "this is no backup of Portolan") }
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

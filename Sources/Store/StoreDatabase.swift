import FoundationEssentials
import GRDB
import Glibc

/// The SQLite file: one row an object, and the newest revision. In WAL mode with `synchronous=FULL`
/// each commit is on disk when it returns.
struct StoreDatabase: Sendable {
    /// The newest schema this program reads and writes.
    static let schemaVersion = 1
    /// `application_id` of the file header: "PtLn".
    static let applicationID = 0x5074_4C6E

    let path: String
    private let queue: DatabaseQueue

    /// Opens or makes the file, for this process alone.
    init(path: String) throws(StoreError) {
        self.path = path
        var configuration = Configuration()
        configuration.label = "store"
        configuration.prepareDatabase { database in
            // Exclusive: no other process may write, and the WAL index stays in memory.
            try database.execute(
                sql: """
                    PRAGMA locking_mode = EXCLUSIVE;
                    PRAGMA journal_mode = WAL;
                    PRAGMA synchronous = FULL;
                    PRAGMA wal_autocheckpoint = 4000;
                    PRAGMA journal_size_limit = 67108864;
                    """)
        }
        do {
            queue = try DatabaseQueue(path: path, configuration: configuration)
            try queue.writeWithoutTransaction { try Self.migrate($0, path: path) }
        } catch {
            throw Self.translate(error, path: path)
        }
    }

    func close() { try? queue.close() }

    // MARK: - Schema

    private static func migrate(_ database: Database, path: String) throws {
        let found = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
        guard found <= schemaVersion else {
            throw StoreError.newerSchema(path: path, found: found, supported: schemaVersion)
        }
        try database.inTransaction(.exclusive) {
            if found < 1 { try createFirstSchema(database) }
            try database.execute(
                sql: """
                    PRAGMA application_id = \(applicationID);
                    PRAGMA user_version = \(schemaVersion);
                    """)
            return .commit
        }
    }

    private static func createFirstSchema(_ database: Database) throws {
        // Keys are unique by construction (the writer checks them in memory), and rows are found by
        // id, so that a write costs no index.
        try database.execute(
            sql: """
                CREATE TABLE objects (
                    id INTEGER PRIMARY KEY,
                    resource TEXT NOT NULL,
                    namespace TEXT NOT NULL,
                    name TEXT NOT NULL,
                    revision INTEGER NOT NULL,
                    bytes BLOB NOT NULL
                ) STRICT;
                CREATE TABLE counters (
                    name TEXT PRIMARY KEY,
                    value INTEGER NOT NULL
                ) STRICT;
                INSERT INTO counters (name, value) VALUES ('revision', 1);
                """)
    }

    /// Marks the file as written by another version.
    func setSchemaVersionForTests(_ version: Int) throws {
        try queue.writeWithoutTransaction {
            try $0.execute(sql: "PRAGMA user_version = \(version)")
        }
    }

    // MARK: - Reading

    /// Every object, and the newest revision.
    func load() throws(StoreError) -> (objects: [StoredObject], revision: Int64) {
        do {
            return try queue.read { database in
                let revision =
                    try Int64.fetchOne(
                        database, sql: "SELECT value FROM counters WHERE name = 'revision'") ?? 1
                let rows = try Row.fetchCursor(
                    database,
                    sql: "SELECT id, resource, namespace, name, revision, bytes FROM objects")
                var objects: [StoredObject] = []
                var keys: Set<StoreKey> = []
                while let row = try rows.next() {
                    let key = StoreKey(resource: row[1], namespace: row[2], name: row[3])
                    let bytes = try row.withUnsafeData(atIndex: 5) { $0.map(Array.init) ?? [] }
                    guard keys.insert(key).inserted else {
                        throw StoreError.damaged(path: path, detail: "\(key) is there twice")
                    }
                    objects.append(
                        StoredObject(key: key, revision: row[4], rowID: row[0], bytes: bytes))
                }
                return (objects, revision)
            }
        } catch {
            throw Self.translate(error, path: path)
        }
    }

    /// Reads every page.
    /// - Throws: `.damaged` with what is wrong.
    func checkIntegrity() throws(StoreError) {
        do {
            let found = try queue.read {
                try String.fetchOne($0, sql: "PRAGMA integrity_check(1)") ?? "no answer"
            }
            guard found == "ok" else { throw StoreError.damaged(path: path, detail: found) }
        } catch {
            throw Self.translate(error, path: path)
        }
    }

    // MARK: - Writing

    /// Commits a batch; returns once it is on disk.
    func commit(
        _ changes: [(before: StoredObject?, after: StoredObject?)], revision: Int64
    ) throws(StoreError) {
        do {
            try queue.writeWithoutTransaction { database in
                try database.inTransaction(.immediate) {
                    for change in changes { try Self.write(change, to: database) }
                    try database.cachedStatement(
                        sql: "UPDATE counters SET value = ? WHERE name = 'revision'"
                    ).execute(arguments: [revision])
                    return .commit
                }
            }
        } catch {
            throw Self.translate(error, path: path)
        }
    }

    private static func write(
        _ change: (before: StoredObject?, after: StoredObject?), to database: Database
    ) throws {
        if let before = change.before, before.rowID != change.after?.rowID {
            try database.cachedStatement(sql: "DELETE FROM objects WHERE id = ?")
                .execute(arguments: [before.rowID])
        }
        guard let after = change.after else { return }
        if change.before?.rowID == after.rowID {
            try database.cachedStatement(
                sql: "UPDATE objects SET revision = ?, bytes = ? WHERE id = ?"
            ).execute(arguments: [after.revision, Data(after.bytes), after.rowID])
        } else {
            let key = after.key
            try database.cachedStatement(
                sql: """
                    INSERT INTO objects (id, resource, namespace, name, revision, bytes)
                    VALUES (?, ?, ?, ?, ?, ?)
                    """
            ).execute(arguments: [
                after.rowID, key.resource, key.namespace, key.name, after.revision,
                Data(after.bytes),
            ])
        }
    }

    // MARK: - Errors

    private static func translate(_ error: any Error, path: String) -> StoreError {
        if let error = error as? StoreError { return error }
        guard let error = error as? DatabaseError else { return .database("\(error)") }
        switch error.resultCode {
        case .SQLITE_FULL: return .diskFull
        case .SQLITE_IOERR where isFull(path): return .diskFull
        case .SQLITE_BUSY, .SQLITE_LOCKED: return .inUse(path: path)
        case .SQLITE_NOTADB, .SQLITE_CORRUPT:
            return .damaged(path: path, detail: error.message ?? "not a database")
        default: return .database(error.message ?? "SQLite error \(error.resultCode.rawValue)")
        }
    }

    /// SQLite reports a full disk as a plain I/O error in some places: ask the file system.
    private static func isFull(_ path: String) -> Bool {
        var status = statvfs()
        return statvfs(path, &status) == 0 && status.f_bavail < 64
    }
}

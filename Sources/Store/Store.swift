import Glibc
import Synchronization

/// The objects of the API in memory over one SQLite file. Reads never wait for the disk; writes are
/// grouped and answered once they are synced.
///
/// Revisions count all mutations of all resources, as etcd's do; an object's `resourceVersion` is
/// the revision of its last one.
public final class Store: Sendable {
    private let state: StoreState
    private let writer: StoreWriter
    private let path: String
    private let backupCount = Atomic(0)

    /// Opens the file at `path`, or makes it, and loads every object.
    /// - Throws: `.newerSchema`, `.inUse`, `.damaged`, or `.database`.
    public convenience init(path: String) throws(StoreError) {
        try self.init(path: path, limits: StoreState.Limits())
    }

    init(path: String, limits: StoreState.Limits) throws(StoreError) {
        self.path = path
        let database = try StoreDatabase(path: path)
        let (objects, revision) = try database.load()
        state = StoreState(objects: objects, revision: revision, limits: limits)
        writer = StoreWriter(
            state: state, database: database, lastRowID: objects.map(\.rowID).max() ?? 0)
        try writer.start()
    }

    deinit { close() }

    /// Commits the writes that wait, ends the watches and closes the file. Later writes fail.
    public func close() {
        writer.close()
        state.endWatches()
    }

    // MARK: - Reading

    /// The revision of the newest committed mutation.
    public var revision: Int64 { state.revision }

    /// The object at `key`, or nil.
    public func get(_ key: StoreKey) -> StoredObject? { state.get(key) }

    /// The objects of a resource, of one namespace or all, sorted by namespace and name, with the
    /// revision at which they were read.
    public func list(
        resource: String, namespace: String?
    ) -> (objects: [StoredObject], revision: Int64) {
        state.list(resource: resource, namespace: namespace)
    }

    /// The number of objects of each resource that has any.
    public var objectCounts: [String: Int] { state.counts() }

    // MARK: - Writing

    /// Runs `body` on the writer thread with the newest state; all its mutations commit atomically.
    /// Returns after they are synced. A body that throws, or a dry run, leaves nothing behind.
    /// - Parameter body: must not block: every other write waits for it.
    /// - Throws: what `body` throws; `StoreError.diskFull` and the like where the commit failed.
    public func write<Value: Sendable>(
        dryRun: Bool = false,
        _ body: @Sendable @escaping (inout StoreTransaction) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { caller in
            writer.submit(BodyJob(isDryRun: dryRun, body: body, caller: caller))
        }
    }

    // MARK: - Watching

    /// The changes of a resource after `revision`, beginning with those already made.
    /// - Throws: `.compacted` where events after `revision` are no longer kept.
    public func watch(
        resource: String, namespace: String?, from revision: Int64
    ) throws(StoreError) -> StoreWatch {
        try state.watch(resource: resource, namespace: namespace, from: revision)
    }

    /// Forgets the events before `revision`: watches from there on are refused.
    public func compact(before revision: Int64) { state.compact(through: revision - 1) }

    // MARK: - Backup

    /// Writes everything, as of one revision, to a new store file at `path`, while writes go on.
    /// - Throws: `StoreError`, also where `path` exists.
    public func backup(to path: String) throws {
        let (objects, revision) = state.everything()
        try StoreBackup.write(objects, revision: revision, to: path)
    }

    /// Writes everything, as of one revision, to a new store file that has no name any more, so
    /// that nothing is left of it once the descriptor is closed. Blocks while it writes.
    /// - Returns: the file's descriptor, which the caller closes.
    /// - Throws: `StoreError`.
    public func openBackup() throws -> Int32 {
        let number = backupCount.add(1, ordering: .relaxed).newValue
        let temporary = "\(path).backup-\(getpid())-\(number)"
        try backup(to: temporary)
        defer { unlink(temporary) }
        let descriptor = open(temporary, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw StoreError.database("cannot open \(temporary): errno \(errno)")
        }
        return descriptor
    }
}

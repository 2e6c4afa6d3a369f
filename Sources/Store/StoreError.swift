/// Why the store refused or could not do something.
public enum StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file was written by a newer Portolan.
    case newerSchema(path: String, found: Int, supported: Int)
    /// Another process has the file open.
    case inUse(path: String)
    /// The file is no store, or is damaged.
    case damaged(path: String, detail: String)
    /// The disk is full: this batch was undone; later writes are tried again.
    case diskFull
    /// SQLite failed in another way: this batch was undone.
    case database(String)
    /// Events after the asked revision are no longer kept: list again (HTTP 410).
    case compacted(asked: Int64, oldest: Int64)
    /// The watcher read too slowly and was ended: list again.
    case overflow(limit: Int)
    /// More writes are waiting than the queue holds.
    case overloaded(limit: Int)
    /// `create` of a key that exists.
    case alreadyExists(StoreKey)
    /// `update` or `delete` of a key that does not exist.
    case notFound(StoreKey)
    /// The store was closed.
    case closed

    /// A sentence with what to do, where something can be done.
    public var description: String {
        switch self {
        case .newerSchema(let path, let found, let supported):
            "\(path) has schema version \(found), this Portolan knows up to \(supported): "
                + "run the newer Portolan that wrote it"
        case .inUse(let path): "\(path) is in use by another process: stop that one first"
        case .damaged(let path, let detail):
            "\(path) cannot be read as a store (\(detail)): restore a backup of it"
        case .diskFull: "the disk of the data directory is full: make room and try again"
        case .database(let detail): "the store failed: \(detail)"
        case .compacted(let asked, let oldest):
            "too old resource version: \(asked) (\(oldest))"
        case .overflow(let limit): "the watcher fell \(limit) events behind and was ended"
        case .overloaded(let limit): "\(limit) writes are waiting already: try again later"
        case .alreadyExists(let key): "\(key) already exists"
        case .notFound(let key): "\(key) not found"
        case .closed: "the store is closed"
        }
    }
}

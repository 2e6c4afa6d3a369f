import JSON
import Store
import Synchronization

/// The parsed forms of a few objects that nearly every request looks at, such as its namespace and
/// its account. Parsing one costs more than the look.
final class DecodedObjects: Sendable {
    private struct Entry: Sendable {
        var revision: Int64
        var json: JSONValue
    }

    /// Objects kept at a time; with one more it begins anew.
    private static let limit = 256
    private let entries = Mutex<[StoreKey: Entry]>([:])

    /// The object parsed: as it is, not as it once was.
    /// - Throws: `JSONParseError`; the store wrote these bytes, so only damage can cause it.
    func json(_ object: StoredObject) throws -> JSONValue {
        let (key, revision) = (object.key, object.revision)
        if let known = entries.withLock({ $0[key] }), known.revision == revision {
            return known.json
        }
        let json = try object.decoded()
        entries.withLock { entries in
            if entries.count >= Self.limit { entries = [:] }
            entries[key] = Entry(revision: revision, json: json)
        }
        return json
    }
}

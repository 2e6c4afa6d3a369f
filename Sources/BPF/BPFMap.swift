import CLinux
import Glibc

/// A map in the kernel: keys and values of fixed sizes.
///
/// The kernel synchronizes access; the descriptor stays open as long as this object.
public final class BPFMap: Sendable {
    /// What a map is made as (enum bpf_map_type).
    public enum Kind: UInt32, Sendable {
        case hash = 1
        /// Keys are a length in bits (four bytes, the machine's order) and that many bits; the
        /// longest that matches is found.
        case longestPrefix = 11
    }

    /// Name, kind and sizes: two maps of equal shape can stand in for each other.
    public struct Shape: Hashable, Sendable {
        /// At most 15 letters, digits, `_` and `.`.
        public var name: String
        /// The kind.
        public var kind: Kind
        /// Bytes of a key.
        public var keyByteCount: Int
        /// Bytes of a value.
        public var valueByteCount: Int
        /// How many entries there can be. Memory is taken for those there are.
        public var capacity: Int

        /// Describes a map.
        public init(
            _ name: String, _ kind: Kind = .hash, key: Int, value: Int, capacity: Int
        ) {
            self.name = name
            self.kind = kind
            keyByteCount = key
            valueByteCount = value
            self.capacity = capacity
        }
    }

    /// What an update does where the key is or is not there (BPF_ANY, BPF_NOEXIST).
    public enum Mode: UInt64, Sendable {
        case set = 0
        case add = 1
    }

    /// The map's shape.
    public let shape: Shape
    /// The descriptor; closed when this object goes.
    public let descriptor: Int32
    private static let batchSize = 4096

    /// Makes a map.
    public init(_ shape: Shape) throws {
        self.shape = shape
        descriptor = portolan_bpf_create_map(
            shape.kind.rawValue, UInt32(shape.keyByteCount), UInt32(shape.valueByteCount),
            UInt32(shape.capacity), UInt32(BPF_F_NO_PREALLOC), shape.name)
        guard descriptor >= 0 else {
            throw BPFError("the kernel makes no BPF map \(shape.name)", errno)
        }
    }

    /// Opens a map that is there, by its number; nil where it is gone, or of a kind not known here.
    init?(number: UInt32) {
        let descriptor = portolan_bpf_open(Int32(BPF_MAP_GET_FD_BY_ID.rawValue), number)
        var info = bpf_map_info()
        guard descriptor >= 0 else { return nil }
        guard portolan_bpf_map_info(descriptor, &info) == 0, let kind = Kind(rawValue: info.type)
        else {
            close(descriptor)
            return nil
        }
        let name = withUnsafeBytes(of: info.name) {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        shape = Shape(
            name, kind, key: Int(info.key_size), value: Int(info.value_size),
            capacity: Int(info.max_entries))
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    // MARK: - One entry

    /// The value of a key, or nil.
    public func value(of key: [UInt8]) throws -> [UInt8]? {
        try read(Int32(BPF_MAP_LOOKUP_ELEM.rawValue), key)
    }

    /// Takes an entry out; what it was, or nil where there was none.
    public func take(_ key: [UInt8]) throws -> [UInt8]? {
        try read(Int32(BPF_MAP_LOOKUP_AND_DELETE_ELEM.rawValue), key)
    }

    /// Sets an entry.
    /// - Returns: false where `mode` is `add` and the key is there.
    /// - Throws: `BPFError`; `isFull` where there is no room.
    @discardableResult
    public func set(_ key: [UInt8], _ value: [UInt8], _ mode: Mode = .set) throws -> Bool {
        precondition(key.count == shape.keyByteCount && value.count == shape.valueByteCount)
        var value = value
        let result = value.withUnsafeMutableBytes {
            portolan_bpf_element(
                Int32(BPF_MAP_UPDATE_ELEM.rawValue), descriptor, key, $0.baseAddress,
                mode.rawValue)
        }
        if result == 0 { return true }
        if mode == .add, errno == EEXIST { return false }
        throw BPFError("the BPF map \(shape.name) refuses an entry", errno)
    }

    /// Deletes an entry; false where there was none.
    @discardableResult
    public func remove(_ key: [UInt8]) throws -> Bool {
        precondition(key.count == shape.keyByteCount)
        let result = portolan_bpf_element(
            Int32(BPF_MAP_DELETE_ELEM.rawValue), descriptor, key, nil, 0)
        if result == 0 { return true }
        if errno == ENOENT { return false }
        throw BPFError("the BPF map \(shape.name) keeps an entry", errno)
    }

    private func read(_ command: Int32, _ key: [UInt8]) throws -> [UInt8]? {
        precondition(key.count == shape.keyByteCount)
        var value = [UInt8](repeating: 0, count: shape.valueByteCount)
        let result = value.withUnsafeMutableBytes {
            portolan_bpf_element(command, descriptor, key, $0.baseAddress, 0)
        }
        if result == 0 { return value }
        if errno == ENOENT { return nil }
        throw BPFError("the BPF map \(shape.name) cannot be read", errno)
    }

    // MARK: - Many entries

    /// Sets entries, thousands to a system call. Keys and values lie side by side.
    public func set(keys: [UInt8], values: [UInt8]) throws {
        var (keys, values) = (keys, values)
        let total = keys.count / max(shape.keyByteCount, 1)
        precondition(values.count == total * shape.valueByteCount)
        guard total > 0 else { return }
        var count = UInt32(total)
        let result = keys.withUnsafeMutableBytes { keys in
            values.withUnsafeMutableBytes { values in
                portolan_bpf_batch(
                    Int32(BPF_MAP_UPDATE_BATCH.rawValue), descriptor, 1, nil, keys.baseAddress,
                    values.baseAddress, &count)
            }
        }
        guard result == 0 else {
            throw BPFError("the BPF map \(shape.name) refuses entries", errno)
        }
    }

    /// Every key, one system call each: for maps that are small, of any kind.
    public func keys() throws -> [[UInt8]] {
        var keys: [[UInt8]] = []
        var next = [UInt8](repeating: 0, count: shape.keyByteCount)
        while keys.count < shape.capacity {
            let result = next.withUnsafeMutableBytes { next in
                portolan_bpf_element(
                    Int32(BPF_MAP_GET_NEXT_KEY.rawValue), descriptor, keys.last,
                    next.baseAddress, 0)
            }
            if result != 0 {
                if errno == ENOENT { break }
                throw BPFError("the BPF map \(shape.name) cannot be listed", errno)
            }
            keys.append(next)
        }
        return keys
    }

    /// Calls `body` with stretches of entries, keys and values side by side, until there are no
    /// more. Entries that come or go meanwhile may be among them or not. For hashes only.
    public func forEachStretch(
        _ body: (_ keys: ArraySlice<UInt8>, _ values: ArraySlice<UInt8>) throws -> Void
    ) throws {
        // Other kinds' positions are as long as a key, and would not fit `position`.
        precondition(shape.kind == .hash)
        var keys = [UInt8](repeating: 0, count: Self.batchSize * shape.keyByteCount)
        var values = [UInt8](repeating: 0, count: Self.batchSize * shape.valueByteCount)
        var position: UInt64 = 0
        var isFirst = true
        while true {
            var count = UInt32(Self.batchSize)
            let result = keys.withUnsafeMutableBytes { keys in
                values.withUnsafeMutableBytes { values in
                    portolan_bpf_batch(
                        Int32(BPF_MAP_LOOKUP_BATCH.rawValue), descriptor, isFirst ? 1 : 0,
                        &position, keys.baseAddress, values.baseAddress, &count)
                }
            }
            let code = result == 0 ? 0 : errno
            guard code == 0 || code == ENOENT else {
                throw BPFError("the BPF map \(shape.name) cannot be listed", code)
            }
            isFirst = false
            if count > 0 {
                try body(
                    keys[..<(Int(count) * shape.keyByteCount)],
                    values[..<(Int(count) * shape.valueByteCount)])
            }
            if code == ENOENT { return }
        }
    }

    /// Deletes every entry.
    public func removeAll() throws {
        var keys: [[UInt8]] = []
        try forEachStretch { stretch, _ in keys.append(Array(stretch)) }
        for stretch in keys {
            for start in stride(from: 0, to: stretch.count, by: shape.keyByteCount) {
                try remove(Array(stretch[start..<(start + shape.keyByteCount)]))
            }
        }
    }

    /// Every entry, for maps that are small.
    public func entries() throws -> [[UInt8]: [UInt8]] {
        var entries: [[UInt8]: [UInt8]] = [:]
        let (keySize, valueSize) = (shape.keyByteCount, shape.valueByteCount)
        try forEachStretch { keys, values in
            for index in 0..<(keys.count / keySize) {
                entries[Array(keys[(index * keySize)..<((index + 1) * keySize)])] = Array(
                    values[(index * valueSize)..<((index + 1) * valueSize)])
            }
        }
        return entries
    }
}

import Synchronization

/// Tells when memory that was taken out of a table can be freed, without a lock or a reference
/// count on the readers' side (quiescent-state-based reclamation, as liburcu's QSBR flavour).
///
/// A reader is online while it may hold pointers out of the table, and passes a quiescent state
/// between batches of work, when it holds none. Memory retired at epoch *e* is freed once every
/// reader is offline or has been quiescent after *e*.
///
/// Safe to share: `cells` is allocated once and holds only atomics; `retired` is guarded by a lock.
public final class ReadEpochs: @unchecked Sendable {
    /// The most readers that can register.
    public static let maximumReaders = 64
    /// Cells are a cache line apart, so that readers do not slow each other.
    private static let stride = 8

    private let cells: UnsafeMutablePointer<Atomic<UInt>>
    private let epoch = Atomic<UInt>(1)
    private let registered = Mutex<[Bool]>(Array(repeating: false, count: maximumReaders))
    private let retired = Mutex<[Retired]>([])

    private struct Retired {
        let memory: UInt
        let epoch: UInt
    }

    /// What lies in here is freed with it as a whole, not piece by piece.
    private let restored: SnapshotMemory?

    init(restored: SnapshotMemory? = nil) {
        self.restored = restored
        let count = Self.maximumReaders * Self.stride
        cells = .allocate(capacity: count)
        for index in 0..<count { (cells + index).initialize(to: Atomic(0)) }
    }

    deinit {
        for item in retired.withLock({ $0 }) { free(item.memory) }
        cells.deinitialize(count: Self.maximumReaders * Self.stride)
        cells.deallocate()
    }

    /// A place for one reading thread; nil when all places are taken. Give it back with
    /// `unregister`.
    public func register() -> Int? {
        registered.withLock { places in
            guard let free = places.firstIndex(of: false) else { return nil }
            places[free] = true
            return free
        }
    }

    /// Gives a place back; its thread must hold nothing of the table any more.
    public func unregister(_ reader: Int) {
        offline(reader)
        registered.withLock { $0[reader] = false }
    }

    /// Says that `reader` may now follow pointers.
    @inline(__always)
    public func online(_ reader: Int) {
        cells[reader * Self.stride].store(
            epoch.load(ordering: .acquiring), ordering: .sequentiallyConsistent)
        // Orders the store above before every load from the table that follows it.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
    }

    /// Says that `reader` holds no pointers and will not until it is online again.
    @inline(__always)
    public func offline(_ reader: Int) {
        cells[reader * Self.stride].store(0, ordering: .releasing)
    }

    /// Frees `memory` once no reader can hold it. Call after unlinking it.
    func retire(_ memory: UnsafeMutableRawPointer) {
        let now = epoch.wrappingAdd(1, ordering: .sequentiallyConsistent).oldValue
        retired.withLock { $0.append(Retired(memory: UInt(bitPattern: memory), epoch: now)) }
    }

    /// Frees what no reader can hold any more; the writer calls it after each change.
    func reclaim() {
        var oldest = UInt.max
        for reader in 0..<Self.maximumReaders {
            let seen = cells[reader * Self.stride].load(ordering: .sequentiallyConsistent)
            if seen != 0 { oldest = min(oldest, seen) }
        }
        retired.withLock { list in
            var kept = 0
            for item in list {
                if item.epoch < oldest {
                    free(item.memory)
                } else {
                    list[kept] = item
                    kept += 1
                }
            }
            list.removeLast(list.count - kept)
        }
    }

    /// How many pieces of memory wait to be freed.
    public var retiredCount: Int { retired.withLock { $0.count } }

    /// Frees memory that no reader can hold; nothing happens to what a snapshot brought.
    func free(_ memory: UInt) {
        guard let pointer = UnsafeMutableRawPointer(bitPattern: memory) else { return }
        if let restored, restored.contains(pointer) { return }
        pointer.deallocate()
    }
}

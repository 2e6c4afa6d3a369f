import Glibc

/// The bytes of a snapshot, in one piece of memory that a restored zone goes on using: names are
/// answered from where they were read to.
///
/// Anonymous memory, not a mapping of the file: a file that somebody cuts would end the process
/// at the next answer (SIGBUS), and what was checked could change.
///
/// Safe to share: address and size never change; the bytes are written by whoever reads the file,
/// then by `Zone.restored`, and after that only read, as part of the zone's table.
public final class SnapshotMemory: @unchecked Sendable {
    /// Where the bytes are.
    public let bytes: UnsafeMutableRawBufferPointer

    /// Makes room for `byteCount` bytes; nil where there is no memory.
    public init?(byteCount: Int) {
        guard byteCount > 0 else { return nil }
        let memory = mmap(
            nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory, memory != MAP_FAILED else { return nil }
        // Fewer page faults while it is read in; a kernel without large pages says no, and that
        // is all right.
        _ = madvise(memory, byteCount, MADV_HUGEPAGE)
        bytes = UnsafeMutableRawBufferPointer(start: memory, count: byteCount)
    }

    deinit { munmap(bytes.baseAddress, bytes.count) }

    /// Whether `pointer` points into it.
    func contains(_ pointer: UnsafeMutableRawPointer) -> Bool {
        guard let base = bytes.baseAddress else { return false }
        return pointer >= base && pointer < base + bytes.count
    }
}

/// A checksum over words of eight octets in four lanes, so that it runs at memory's speed. It
/// finds cut files and flipped bits, not forgery.
struct SnapshotChecksum {
    private var lanes: (UInt64, UInt64, UInt64, UInt64) = (
        0x706F_7274_6F6C_616E, 0x9E37_79B9_7F4A_7C15, 0xA076_1D64_78BD_642F, 0xE703_7ED1_A0B4_28DB
    )
    private var byteCount = 0

    /// Adds bytes; their number is a multiple of 32 in all calls but the last.
    mutating func add(_ bytes: UnsafeRawBufferPointer) {
        var offset = 0
        while offset + 32 <= bytes.count {
            lanes.0 = NameHash.step(lanes.0, word(bytes, offset))
            lanes.1 = NameHash.step(lanes.1, word(bytes, offset + 8))
            lanes.2 = NameHash.step(lanes.2, word(bytes, offset + 16))
            lanes.3 = NameHash.step(lanes.3, word(bytes, offset + 24))
            offset += 32
        }
        while offset < bytes.count {
            lanes.0 = NameHash.step(lanes.0, UInt64(bytes[offset]) | 0x100)
            offset += 1
        }
        byteCount += bytes.count
    }

    /// The sum over everything added.
    var value: UInt64 {
        var state = NameHash.step(lanes.0, lanes.1)
        state = NameHash.step(state, lanes.2)
        state = NameHash.step(state, lanes.3)
        return NameHash.finish(state, length: byteCount)
    }

    @inline(__always)
    private func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
        bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }
}

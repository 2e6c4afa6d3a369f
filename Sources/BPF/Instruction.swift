/// A register of the BPF machine (RFC 9669, 2.3): r0 holds results, r1 to r5 arguments, r6 to r9
/// survive calls.
public enum Register: UInt8, Sendable {
    case r0, r1, r2, r3, r4, r5, r6, r7, r8, r9
    /// The end of the program's stack of 512 bytes; offsets from it are negative.
    case framePointer
}

/// How many bytes a load or store moves (RFC 9669, 5).
public enum Width: UInt8, Sendable {
    case word = 0x00
    case half = 0x08
    case byte = 0x10
    case doubleWord = 0x18
}

/// What a computation does with its 64 bits (RFC 9669, 4.1).
public enum Computation: UInt8, Sendable {
    case add = 0x00
    case subtract = 0x10
    case multiply = 0x20
    case or = 0x40
    case and = 0x50
    case shiftLeft = 0x60
    case shiftRight = 0x70
    case xor = 0xa0
    case move = 0xb0
}

/// When a jump is taken (RFC 9669, 4.3); comparisons are unsigned.
public enum Condition: UInt8, Sendable {
    case equal = 0x10
    case greater = 0x20
    case greaterOrEqual = 0x30
    /// Any of the bits is set.
    case anySet = 0x40
    case notEqual = 0x50
    case less = 0xa0
    case lessOrEqual = 0xb0
}

/// The kernel's functions that programs here call (enum bpf_func_id in linux/bpf.h).
public enum Helper: Int32, Sendable {
    case mapLookup = 1
    case mapUpdate = 2
    case mapDelete = 3
    case randomNumber = 7
    case replaceL3Checksum = 10
    case replaceL4Checksum = 11
    case checksumDifference = 28
    case pullData = 39
    case releaseSocket = 86
    case lookUpTCPSocket = 99
    case redirectToPeer = 155
    case coarseNanoseconds = 160
}

/// One instruction as the kernel takes it (struct bpf_insn).
public struct Instruction: Hashable, Sendable {
    /// Eight bytes: code, registers, offset, immediate.
    public var rawValue: UInt64

    init(
        _ code: UInt8, _ destination: Register = .r0, _ source: UInt8 = 0, offset: Int16 = 0,
        immediate: Int32 = 0
    ) {
        rawValue =
            UInt64(code) | UInt64(destination.rawValue | source << 4) << 8
            | UInt64(UInt16(bitPattern: offset)) << 16
            | UInt64(UInt32(bitPattern: immediate)) << 32
    }
}

import Testing

@testable import BPF

/// Programs and maps against the real kernel.
struct BPFTests {
    /// An IPv4 packet's Ethernet header and a payload: the least that the kernel runs programs on.
    private static let packet =
        [UInt8](repeating: 0, count: 12) + [0x08, 0x00]
        + [UInt8](repeating: 7, count: 40)

    @Test func instructionsAreAsTheKernelHasThem() throws {
        var code = Assembler()
        let end = code.label()
        code.move(.r0, -1)
        code.jump(.equal, .r1, 0, to: end)
        code.load(.word, .r2, from: .r1, 16)
        code.store(.half, .r2, to: .framePointer, -8)
        code.place(end)
        code.exit()
        // struct bpf_insn: code, registers, offset, immediate.
        #expect(
            try code.program().map(\.rawValue) == [
                0xFFFF_FFFF_0000_00B7,  // r0 = -1
                0x0000_0000_0002_0115,  // if r1 == 0, over two
                0x0000_0000_0010_1261,  // r2 = *(u32 *)(r1 + 16)
                0x0000_0000_FFF8_2A6B,  // *(u16 *)(r10 - 8) = r2
                0x0000_0000_0000_0095,  // exit
            ])
    }

    @Test func aJumpNeedsAPlaceAheadOfIt() throws {
        var code = Assembler()
        let label = code.label()
        code.jump(to: label)
        code.exit()
        #expect(throws: BPFError.self) { try code.program() }
        var backward = Assembler()
        let start = backward.label()
        backward.place(start)
        backward.jump(to: start)
        #expect(throws: BPFError.self) { try backward.program() }
    }

    @Test func aProgramCountsPacketsInAMap() throws {
        let map = try BPFMap(.init("counts", key: 4, value: 8, capacity: 4))
        try map.set([1, 0, 0, 0], [UInt8](repeating: 0, count: 8))
        var code = Assembler()
        let end = code.label()
        code.store(.word, number: 1, to: .framePointer, -4)
        code.load(.r1, map: map)
        code.move(.r2, .framePointer)
        code.compute(.add, .r2, -4)
        code.call(.mapLookup)
        code.jump(.equal, .r0, 0, to: end)
        code.move(.r1, 1)
        code.addAtomically(.r1, to: .r0, 0)
        code.place(end)
        code.move(.r0, BPFProgram.Verdict.unspecified.rawValue)
        code.exit()
        let program = try BPFProgram("test", code.program())
        for _ in 0..<3 {
            let (verdict, packet) = try program.run(on: Self.packet, link: 1)
            #expect(verdict == -1)
            #expect(packet == Self.packet)
        }
        #expect(try map.value(of: [1, 0, 0, 0]) == [3, 0, 0, 0, 0, 0, 0, 0])
    }

    @Test func aRefusedProgramGivesTheVerifiersReason() throws {
        var code = Assembler()
        // Nobody has set r3.
        code.move(.r0, .r3)
        code.exit()
        let program = try code.program()
        let error = #expect(throws: BPFError.self) { try BPFProgram("test", program) }
        #expect(error?.description.contains("R3 !read_ok") == true, "\(error as Any)")
    }

    @Test func mapsHoldWhatIsSet() throws {
        let map = try BPFMap(.init("map", key: 4, value: 2, capacity: 10_000))
        let keys = (0..<9_999).map { UInt32($0) }
        let bytes = keys.flatMap { withUnsafeBytes(of: $0, Array.init) }
        try map.set(keys: bytes, values: keys.flatMap { [UInt8($0 & 0xFF), 9] })
        #expect(try map.entries().count == 9_999)
        #expect(try map.value(of: [0x10, 0x27, 0, 0]) == nil)
        #expect(try map.value(of: [0x0E, 0x27, 0, 0]) == [0x0E, 9])
        #expect(try !map.set([0, 0, 0, 0], [1, 1], .add))
        #expect(try map.set([0x10, 0x27, 0, 0], [1, 1], .add))
        let error = #expect(throws: BPFError.self) {
            try map.set([0x11, 0x27, 0, 0], [1, 1])
        }
        #expect(error?.isFull == true)
        #expect(try map.take([0, 0, 0, 0]) == [0, 9])
        #expect(try map.take([0, 0, 0, 0]) == nil)
        #expect(try !map.remove([0, 0, 0, 0]))
        try map.removeAll()
        #expect(try map.entries().isEmpty)
    }

    @Test func theLongestPrefixIsFound() throws {
        let map = try BPFMap(.init("tries", .longestPrefix, key: 8, value: 4, capacity: 16))
        try map.set([8, 0, 0, 0, 10, 0, 0, 0], [8, 0, 0, 0])
        try map.set([16, 0, 0, 0, 10, 1, 0, 0], [16, 0, 0, 0])
        #expect(try map.value(of: [32, 0, 0, 0, 10, 1, 2, 3]) == [16, 0, 0, 0])
        #expect(try map.value(of: [32, 0, 0, 0, 10, 9, 2, 3]) == [8, 0, 0, 0])
        #expect(try map.value(of: [32, 0, 0, 0, 11, 9, 2, 3]) == nil)
        #expect(try Set(map.keys()) == [[8, 0, 0, 0, 10, 0, 0, 0], [16, 0, 0, 0, 10, 1, 0, 0]])
    }
}

import BPF
import NetworkTypes

/// The programs at the links of pods. A pod's first packet to a cluster IP chooses an endpoint, and
/// makes two entries in the map of flows; every other packet of the connection, either way, finds
/// its entry and is rewritten. Packets whose pods both have a link of their own go from link to
/// link; all others go on through the stack, which sees a connection to the endpoint's own address.
///
/// What is not found is left as it is: the tables of nftables have rules for every Service.
struct FastPathProgram {
    /// The maps of a family.
    struct Maps: Sendable {
        var layout: FastPathLayout
        var services: BPFMap
        var flows: BPFMap
        var pods: BPFMap
        var sources: BPFMap
        var counts: BPFMap
        var links: BPFMap
    }

    /// Which way the packets go that a program sees.
    enum Direction: Sendable {
        case fromPod
        case toPod
    }

    private let direction: Direction
    let seed: UInt64
    var code = Assembler()
    let pass: Assembler.Label

    // Offsets in struct __sk_buff (linux/bpf.h).
    private static let contextProtocol = 16
    static let contextLink = 40
    private static let contextData = 76
    private static let contextEnd = 80

    // The stack.
    static let key = -40
    static let reverseKey = -80
    static let value = -112
    static let serviceKey = -136
    static let scratch = -160

    // Flags of bpf_l4_csum_replace (linux/bpf.h). The second came with Linux 6.16: without it what a
    // network card has summed up of an IPv6 packet is spoilt.
    private static let pseudoHeader: Int32 = 0x10
    private static let isIPv6: Int32 = 0x80

    /// SYN, ACK, RST and FIN (RFC 9293, 3.1).
    private static let decidingFlags: Int32 = 0x17
    private static let syn: Int32 = 0x02

    /// - Parameter seed: what choices of endpoints depend on besides the packet.
    static func instructions(
        _ direction: Direction, _ families: [Maps], seed: UInt64
    ) throws -> [Instruction] {
        var program = FastPathProgram(direction, seed: seed)
        program.dispatch(families)
        return try program.code.program()
    }

    private init(_ direction: Direction, seed: UInt64) {
        self.direction = direction
        self.seed = seed
        pass = code.label()
    }

    private mutating func dispatch(_ families: [Maps]) {
        code.move(.r6, .r1)
        code.load(.word, .r7, from: .r6, Self.contextProtocol)
        for maps in families {
            let next = code.label()
            code.jump(
                .notEqual, .r7, Int32(maps.layout.etherType.bigEndian), to: next)
            handle(maps)
            code.place(next)
        }
        code.place(pass)
        code.move(.r0, BPFProgram.Verdict.unspecified.rawValue)
        code.exit()
    }

    // MARK: - Every packet

    /// r6 is the context, r9 the packet, r8 its TCP flags, r7 the flow's entry.
    private mutating func handle(_ maps: Maps) {
        let layout = maps.layout
        readHeaders(layout)
        code.load(.byte, .r8, from: .r9, layout.flagsOffset)
        copyKey(layout)
        lookUp(maps.flows, Self.key)
        let miss = code.label()
        let rewrite = code.label()
        code.jump(.equal, .r0, 0, to: direction == .fromPod ? miss : pass)
        code.move(.r7, .r0)
        code.load(.byte, .r2, from: .r7, layout.kindOffset)
        let reverse = code.label()
        code.jump(.equal, .r2, Int32(FlowEntry.Kind.reverse.rawValue), to: reverse)
        let choose = code.label()
        if direction == .fromPod {
            forward(maps, again: choose, rewrite)
        } else {
            code.jump(to: pass)
        }
        code.place(reverse)
        if direction == .fromPod {
            // The answer of a flow through the stack is rewritten where it leaves for the client.
            code.load(.word, .r2, from: .r7, layout.linkOffset)
            code.jump(.equal, .r2, 0, to: pass)
        }
        note(.serverEnded, maps)
        code.place(rewrite)
        self.rewrite(layout)
        guard direction == .fromPod else { return }
        code.place(miss)
        code.move(.r2, .r8)
        code.compute(.and, .r2, Self.decidingFlags)
        code.jump(.notEqual, .r2, Self.syn, to: pass)
        code.place(choose)
        self.choose(maps, rewrite: layout)
    }

    /// Leaves everything but TCP of this family, whole and without options, to the stack.
    private mutating func readHeaders(_ layout: FastPathLayout) {
        let whole = code.label()
        loadPacket(layout)
        code.jump(.lessOrEqual, .r2, .r3, to: whole)
        // Headers may lie in a fragment of the buffer; this brings them to its front.
        code.move(.r1, .r6)
        code.move(.r2, Int32(layout.headerSize))
        code.call(.pullData)
        loadPacket(layout)
        code.jump(.greater, .r2, .r3, to: pass)
        code.place(whole)
        if layout.family == .ipv4 {
            code.load(.byte, .r2, from: .r9, 14)
            code.jump(.notEqual, .r2, 0x45, to: pass)
            code.load(.byte, .r2, from: .r9, 23)
            code.jump(.notEqual, .r2, 6, to: pass)
            // More fragments, or an offset.
            code.load(.half, .r2, from: .r9, 20)
            code.compute(.and, .r2, Int32(UInt16(0x3FFF).bigEndian))
            code.jump(.notEqual, .r2, 0, to: pass)
        } else {
            code.load(.byte, .r2, from: .r9, 20)
            code.jump(.notEqual, .r2, 6, to: pass)
        }
    }

    /// r9 becomes the packet, r2 the end of its headers, r3 that of what can be read.
    private mutating func loadPacket(_ layout: FastPathLayout) {
        code.load(.word, .r9, from: .r6, Self.contextData)
        code.load(.word, .r3, from: .r6, Self.contextEnd)
        code.move(.r2, .r9)
        code.compute(.add, .r2, Int32(layout.headerSize))
    }

    private mutating func copyKey(_ layout: FastPathLayout) {
        copy(.r9, layout.keyOffset, to: Self.key, layout.flowKeySize)
    }

    /// Copies memory to the stack, by way of r2.
    mutating func copy(_ base: Register, _ offset: Int, to place: Int, _ byteCount: Int) {
        var done = 0
        while done < byteCount {
            let width: Width = byteCount - done >= 4 ? .word : .half
            code.load(width, .r2, from: base, offset + done)
            code.store(width, .r2, to: .framePointer, place + done)
            done += width == .word ? 4 : 2
        }
    }

    mutating func lookUp(_ map: BPFMap, _ key: Int) {
        setArguments(map, key)
        code.call(.mapLookup)
    }

    mutating func remove(_ map: BPFMap, _ key: Int) {
        setArguments(map, key)
        code.call(.mapDelete)
    }

    /// Makes a map and a key on the stack the first arguments of a call.
    mutating func setArguments(_ map: BPFMap, _ key: Int) {
        code.load(.r1, map: map)
        code.move(.r2, .framePointer)
        code.compute(.add, .r2, Int32(key))
    }

    /// A packet from the client. A first packet on the ports of a connection that was there before
    /// begins another; repeated, it stays with its endpoint.
    private mutating func forward(
        _ maps: Maps, again: Assembler.Label, _ rewrite: Assembler.Label
    ) {
        let layout = maps.layout
        let known = code.label()
        code.move(.r2, .r8)
        code.compute(.and, .r2, Self.decidingFlags)
        code.jump(.notEqual, .r2, Self.syn, to: known)
        let anew = code.label()
        code.load(.byte, .r2, from: .r7, layout.stateOffset)
        code.jump(.notEqual, .r2, 0, to: anew)
        now()
        code.load(.word, .r2, from: .r7, layout.secondsOffset)
        code.compute(.subtract, .r0, .r2)
        code.jump(.greater, .r0, 60, to: anew)
        code.jump(to: rewrite)
        code.place(anew)
        // Both go: the rules may serve the Service by now, and must not find it half served here.
        partnerKey(.forward, layout)
        remove(maps.flows, Self.reverseKey)
        remove(maps.flows, Self.key)
        code.jump(to: again)
        code.place(known)
        note(.clientEnded, maps)
        code.jump(to: rewrite)
    }

    /// r0 becomes the time.
    mutating func now() {
        code.call(.coarseNanoseconds)
        code.compute(.shiftRight, .r0, 30)
    }

    /// Notes in the entry at r7 that a packet came and what it says; both directions' entries are
    /// told of an end.
    private mutating func note(_ end: FlowEntry.State, _ maps: Maps) {
        let layout = maps.layout
        now()
        let sameTime = code.label()
        code.load(.word, .r2, from: .r7, layout.secondsOffset)
        code.jump(.equal, .r0, .r2, to: sameTime)
        code.store(.word, .r0, to: .r7, layout.secondsOffset)
        code.place(sameTime)
        let saysEnd = code.label()
        let done = code.label()
        code.jump(.anySet, .r8, 0x05, to: saysEnd)
        // Neither FIN nor RST.
        if end == .clientEnded {
            code.load(.byte, .r2, from: .r7, layout.stateOffset)
            code.jump(.anySet, .r2, Int32(FlowEntry.State.established.rawValue), to: done)
            code.compute(.or, .r2, Int32(FlowEntry.State.established.rawValue))
            code.store(.byte, .r2, to: .r7, layout.stateOffset)
        }
        code.jump(to: done)
        code.place(saysEnd)
        // r3: the bits that are new.
        code.move(.r3, Int32(FlowEntry.State.established.rawValue))
        let noFIN = code.label()
        code.move(.r4, .r8)
        code.compute(.and, .r4, 0x01)
        code.jump(.equal, .r4, 0, to: noFIN)
        code.compute(.or, .r3, Int32(end.rawValue))
        code.place(noFIN)
        // RST is already where its bit belongs.
        code.move(.r4, .r8)
        code.compute(.and, .r4, Int32(FlowEntry.State.reset.rawValue))
        code.compute(.or, .r3, .r4)
        code.store(.doubleWord, .r3, to: .framePointer, Self.scratch)
        code.load(.byte, .r2, from: .r7, layout.stateOffset)
        code.compute(.or, .r2, .r3)
        code.store(.byte, .r2, to: .r7, layout.stateOffset)
        partnerKey(end == .clientEnded ? .forward : .reverse, layout)
        lookUp(maps.flows, Self.reverseKey)
        code.jump(.equal, .r0, 0, to: done)
        code.load(.doubleWord, .r3, from: .framePointer, Self.scratch)
        code.load(.byte, .r2, from: .r0, layout.stateOffset)
        code.compute(.or, .r2, .r3)
        code.store(.byte, .r2, to: .r0, layout.stateOffset)
        code.place(done)
    }

    /// Writes the key of the other direction, as `FlowEntry.partnerKey` does, for the entry at r7.
    private mutating func partnerKey(_ kind: FlowEntry.Kind, _ layout: FastPathLayout) {
        let size = layout.addressSize
        for offset in stride(from: 0, to: size, by: 4) {
            code.load(.word, .r2, from: .r7, offset)
            code.load(
                .word, .r3, from: .framePointer,
                Self.key + offset + (kind == .forward ? 0 : size))
            let (first, second): (Register, Register) =
                kind == .forward ? (.r2, .r3) : (.r3, .r2)
            code.store(.word, first, to: .framePointer, Self.reverseKey + offset)
            code.store(.word, second, to: .framePointer, Self.reverseKey + size + offset)
        }
        copy(.r7, layout.newPortsOffset + 2, to: Self.reverseKey + 2 * size, 2)
        copy(.r7, layout.newPortsOffset, to: Self.reverseKey + 2 * size + 2, 2)
    }

    // MARK: - Rewriting

    /// Does again what a kernel that does not know `isIPv6` has refused, without it.
    private mutating func replaceChecksumAsOlderKernels(_ layout: FastPathLayout) {
        let done = code.label()
        code.jump(.equal, .r0, 0, to: done)
        code.move(.r1, .r6)
        code.move(.r2, Int32(layout.checksumOffset))
        code.move(.r3, 0)
        code.load(.doubleWord, .r4, from: .framePointer, Self.scratch)
        code.move(.r5, Self.pseudoHeader)
        code.call(.replaceL4Checksum)
        code.place(done)
    }

    /// Puts the address and ports at r7 into the packet at r9, and sends it where it belongs.
    mutating func rewrite(_ layout: FastPathLayout) {
        let size = layout.addressSize
        let source = code.label()
        let written = code.label()
        code.load(.byte, .r2, from: .r7, layout.kindOffset)
        code.jump(.equal, .r2, Int32(FlowEntry.Kind.reverse.rawValue), to: source)
        for isSource in [false, true] {
            if isSource { code.place(source) }
            let address = isSource ? 0 : size
            for offset in stride(from: 0, to: size, by: 4) {
                code.load(.word, .r2, from: .r7, offset)
                code.store(.word, .r2, to: .r9, layout.keyOffset + address + offset)
                code.load(.word, .r3, from: .framePointer, Self.key + address + offset)
                code.store(.word, .r3, to: .framePointer, Self.reverseKey + offset)
            }
            if !isSource { code.jump(to: written) }
        }
        code.place(written)
        code.load(.word, .r2, from: .r7, layout.newPortsOffset)
        code.store(.word, .r2, to: .r9, layout.portsOffset)
        // From here on the packet's old pointers are void. The old address is at `reverseKey`.
        if layout.family == .ipv4 {
            code.move(.r1, .r6)
            code.move(.r2, 24)
            code.load(.word, .r3, from: .framePointer, Self.reverseKey)
            code.load(.word, .r4, from: .r7, 0)
            code.move(.r5, 4)
            code.call(.replaceL3Checksum)
            code.load(.word, .r3, from: .framePointer, Self.reverseKey)
            code.load(.word, .r4, from: .r7, 0)
            code.move(.r5, Self.pseudoHeader | 4)
        } else {
            code.move(.r1, .framePointer)
            code.compute(.add, .r1, Int32(Self.reverseKey))
            code.move(.r2, 16)
            code.move(.r3, .r7)
            code.move(.r4, 16)
            code.move(.r5, 0)
            code.call(.checksumDifference)
            code.store(.doubleWord, .r0, to: .framePointer, Self.scratch)
            code.move(.r4, .r0)
            code.move(.r3, 0)
            code.move(.r5, Self.pseudoHeader | Self.isIPv6)
        }
        code.move(.r1, .r6)
        code.move(.r2, Int32(layout.checksumOffset))
        code.call(.replaceL4Checksum)
        if layout.family == .ipv6 { replaceChecksumAsOlderKernels(layout) }
        code.load(.word, .r3, from: .framePointer, Self.key + 2 * size)
        code.load(.word, .r4, from: .r7, layout.newPortsOffset)
        let samePorts = code.label()
        code.jump(.equal, .r3, .r4, to: samePorts)
        code.move(.r1, .r6)
        code.move(.r2, Int32(layout.checksumOffset))
        code.move(.r5, 4)
        code.call(.replaceL4Checksum)
        code.place(samePorts)
        if direction == .fromPod {
            code.load(.word, .r1, from: .r7, layout.linkOffset)
            code.jump(.equal, .r1, 0, to: pass)
            code.move(.r2, 0)
            code.call(.redirectToPeer)
            code.exit()
        } else {
            code.jump(to: pass)
        }
    }
}

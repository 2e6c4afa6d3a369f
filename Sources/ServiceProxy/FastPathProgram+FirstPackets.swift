import BPF
import NetworkTypes

// What happens to the first packet of a connection.
extension FastPathProgram {
    /// Chooses an endpoint for the first packet of a connection, whose key is on the stack.
    mutating func choose(_ maps: Maps, rewrite layout: FastPathLayout) {
        let size = layout.addressSize
        let direct = code.label()
        let build = code.label()
        copy(.framePointer, Self.key + size, to: Self.serviceKey, size)
        copy(.framePointer, Self.key + 2 * size + 2, to: Self.serviceKey + size, 2)
        code.store(.half, number: -1, to: .framePointer, Self.serviceKey + size + 2)
        lookUp(maps.services, Self.serviceKey)
        code.jump(.equal, .r0, 0, to: direct)
        code.load(.word, .r8, from: .r0, 0)
        // Only pods' sources may go on as they are; others must be masqueraded.
        code.store(.word, number: Int32(size * 8), to: .framePointer, Self.scratch)
        copy(.framePointer, Self.key, to: Self.scratch + 4, size)
        lookUp(maps.sources, Self.scratch)
        code.jump(.equal, .r0, 0, to: pass)
        hash(layout)
        // r0 × count / 2³²
        code.compute(.multiply, .r0, .r8)
        code.compute(.shiftRight, .r0, 32)
        code.store(.half, .r0, to: .framePointer, Self.serviceKey + size + 2)
        lookUp(maps.services, Self.serviceKey)
        code.jump(.equal, .r0, 0, to: pass)
        hairpin(layout)
        copy(.r0, 0, to: Self.reverseKey, size)
        copy(.r0, size, to: Self.reverseKey + 2 * size, 2)
        code.jump(to: build)
        code.place(direct)
        self.direct(maps)
        code.place(build)
        insert(maps)
        self.rewrite(layout)
    }

    /// r0 becomes 32 bits that depend on the key alone, so that a packet that is sent again gets
    /// the same endpoint.
    private mutating func hash(_ layout: FastPathLayout) {
        code.load(.r0, constant: seed)
        code.load(.r3, constant: 0x9E37_79B9_7F4A_7C15)
        for offset in stride(from: 0, to: layout.flowKeySize, by: 4) {
            code.load(.word, .r2, from: .framePointer, Self.key + offset)
            code.compute(.xor, .r0, .r2)
            code.compute(.multiply, .r0, .r3)
            code.move(.r2, .r0)
            code.compute(.shiftRight, .r2, 29)
            code.compute(.xor, .r0, .r2)
        }
        code.compute(.multiply, .r0, .r3)
        code.compute(.shiftRight, .r0, 32)
    }

    /// A pod that is its own Service's endpoint needs its source masqueraded, or it would answer
    /// itself past the node.
    private mutating func hairpin(_ layout: FastPathLayout) {
        let other = code.label()
        for offset in stride(from: 0, to: layout.addressSize, by: 4) {
            code.load(.word, .r2, from: .r0, offset)
            code.load(.word, .r3, from: .framePointer, Self.key + offset)
            code.jump(.notEqual, .r2, .r3, to: other)
        }
        code.jump(to: pass)
        code.place(other)
    }

    /// A connection to an address of its own, not a Service's. It is nothing of ours, unless the
    /// client has a connection by a Service to the same port of the same pod from the same port:
    /// their packets could not be told apart, so this one gets another port too.
    private mutating func direct(_ maps: Maps) {
        let layout = maps.layout
        let size = layout.addressSize
        copy(.framePointer, Self.key + size, to: Self.reverseKey, size)
        copy(.framePointer, Self.key, to: Self.reverseKey + size, size)
        copy(.framePointer, Self.key + 2 * size + 2, to: Self.reverseKey + 2 * size, 2)
        copy(.framePointer, Self.key + 2 * size, to: Self.reverseKey + 2 * size + 2, 2)
        lookUp(maps.flows, Self.reverseKey)
        code.jump(.equal, .r0, 0, to: pass)
    }

    /// Makes the entries of a connection to the endpoint at `reverseKey`, and leaves the client's
    /// at r7.
    private mutating func insert(_ maps: Maps) {
        let layout = maps.layout
        let size = layout.addressSize
        copy(.framePointer, Self.key, to: Self.reverseKey + size, size)
        copy(.framePointer, Self.key + 2 * size, to: Self.reverseKey + 2 * size + 2, 2)
        findLinks(maps)
        // The entry of answers: the Service's address and port, to the client's own port.
        copy(.framePointer, Self.key + size, to: Self.value, size)
        copy(.framePointer, Self.key + 2 * size + 2, to: Self.value + layout.newPortsOffset, 2)
        copy(.framePointer, Self.key + 2 * size, to: Self.value + layout.newPortsOffset + 2, 2)
        code.move(.r2, 0)
        let isThroughStack = code.label()
        code.jump(.equal, .r8, 0, to: isThroughStack)
        code.load(.word, .r2, from: .r6, Self.contextLink)
        code.place(isThroughStack)
        code.store(.word, .r2, to: .framePointer, Self.value + layout.linkOffset)
        now()
        code.store(.word, .r0, to: .framePointer, Self.value + layout.secondsOffset)
        code.store(
            .word, number: Int32(FlowEntry.Kind.reverse.rawValue), to: .framePointer,
            Self.value + layout.kindOffset)
        let inserted = code.label()
        claimPort(maps, inserted)
        code.place(inserted)
        // The entry of the client's packets.
        copy(.framePointer, Self.reverseKey, to: Self.value, size)
        copy(
            .framePointer, Self.reverseKey + 2 * size + 2, to: Self.value + layout.newPortsOffset, 2
        )
        copy(
            .framePointer, Self.reverseKey + 2 * size, to: Self.value + layout.newPortsOffset + 2, 2
        )
        code.store(.word, .r8, to: .framePointer, Self.value + layout.linkOffset)
        code.store(
            .word, number: Int32(FlowEntry.Kind.forward.rawValue), to: .framePointer,
            Self.value + layout.kindOffset)
        update(maps.flows, Self.key, mode: .set)
        let stays = code.label()
        code.jump(.equal, .r0, 0, to: stays)
        remove(maps.flows, Self.reverseKey)
        code.jump(to: pass)
        code.place(stays)
        code.store(.half, number: -1, to: .framePointer, Self.serviceKey + size + 2)
        lookUp(maps.counts, Self.serviceKey)
        let uncounted = code.label()
        code.jump(.equal, .r0, 0, to: uncounted)
        code.move(.r2, 1)
        code.addAtomically(.r2, to: .r0, 0)
        code.place(uncounted)
        code.move(.r7, .framePointer)
        code.compute(.add, .r7, Int32(Self.value))
    }

    /// r8 becomes the endpoint's link where both pods have one of their own, else 0.
    private mutating func findLinks(_ maps: Maps) {
        code.move(.r8, 0)
        let done = code.label()
        lookUp(maps.pods, Self.key)
        code.jump(.equal, .r0, 0, to: done)
        code.load(.word, .r2, from: .r0, 0)
        code.load(.word, .r3, from: .r6, Self.contextLink)
        // The address is another pod's: whoever uses it here gets nothing from it.
        code.jump(.notEqual, .r2, .r3, to: pass)
        lookUp(maps.pods, Self.reverseKey)
        code.jump(.equal, .r0, 0, to: done)
        code.load(.word, .r8, from: .r0, 0)
        code.place(done)
    }

    /// Inserts the entry of answers; where the client's port is taken towards this endpoint, by a
    /// connection of ours or one of the pod's own, under another port.
    private mutating func claimPort(_ maps: Maps, _ inserted: Assembler.Label) {
        let layout = maps.layout
        let size = layout.addressSize
        let taken = code.label()
        code.load(.word, .r2, from: .r6, Self.contextLink)
        code.store(.word, .r2, to: .framePointer, Self.scratch)
        lookUp(maps.links, Self.scratch)
        code.jump(.equal, .r0, 0, to: pass)
        code.load(.word, .r4, from: .r0, 0)
        code.move(.r1, .r6)
        code.move(.r2, .framePointer)
        code.compute(.add, .r2, Int32(Self.reverseKey))
        code.move(.r3, Int32(layout.flowKeySize))
        code.move(.r5, 0)
        code.call(.lookUpTCPSocket)
        let free = code.label()
        code.jump(.equal, .r0, 0, to: free)
        code.move(.r1, .r0)
        code.call(.releaseSocket)
        code.jump(to: taken)
        code.place(free)
        update(maps.flows, Self.reverseKey, mode: .add)
        code.jump(.equal, .r0, 0, to: inserted)
        code.place(taken)
        for _ in 0..<4 {
            code.call(.randomNumber)
            // From 32768 on: the high bit of the first byte.
            code.compute(.or, .r0, 0x80)
            code.store(.half, .r0, to: .framePointer, Self.reverseKey + 2 * size + 2)
            update(maps.flows, Self.reverseKey, mode: .add)
            code.jump(.equal, .r0, 0, to: inserted)
        }
        code.jump(to: pass)
    }

    private mutating func update(_ map: BPFMap, _ key: Int, mode: BPFMap.Mode) {
        setArguments(map, key)
        code.move(.r3, .framePointer)
        code.compute(.add, .r3, Int32(Self.value))
        code.move(.r4, Int32(mode.rawValue))
        code.call(.mapUpdate)
    }
}

import BPF

// What the kernel knows of connections, and when it forgets them.
extension FastPath {
    static let sweepPeriodNanoseconds: UInt64 = 10_000_000_000

    /// Forgets connections that ended, where it is time to.
    func sweepIfDue(now: UInt64) throws {
        // Before links are known all would seem to lead nowhere.
        guard knowsLinks, now >= lastSweepNanoseconds + Self.sweepPeriodNanoseconds else { return }
        try sweep(now: now)
    }

    /// Forgets connections that ended, were silent too long, or whose pod is gone.
    func sweep(now: UInt64) throws {
        lastSweepNanoseconds = now
        let seconds = UInt32(truncatingIfNeeded: now >> 30)
        let wasCrowded = statistics.flowCount
        statistics.flowCount = 0
        for maps in families {
            let isCrowded = wasCrowded > maps.flows.shape.capacity / 2
            try forEachFlow(maps) { entry in
                statistics.flowCount += 1
                let isExpired =
                    entry.kind == .forward && entry.isExpired(now: seconds, isCrowded: isCrowded)
                if isExpired || isStranded(entry) { try forget(entry, maps) }
            }
        }
    }

    /// True where packets would go to a link that is gone, or that is another pod's now.
    private func isStranded(_ entry: FlowEntry) -> Bool {
        guard entry.link != 0 else { return false }
        return entry.pod.flatMap { present.pods[$0] } != Int32(bitPattern: entry.link)
    }

    /// Both directions of a connection, unless it was begun anew meanwhile.
    private func forget(_ entry: FlowEntry, _ maps: FastPathProgram.Maps) throws {
        guard let value = try maps.flows.take(Array(entry.key)) else { return }
        if FlowEntry(maps.layout, key: entry.key, value: value[...]) != entry {
            try maps.flows.set(Array(entry.key), value, .add)
            return
        }
        try maps.flows.remove(entry.partnerKey)
        statistics.expiredFlowCount += 1
    }

    private func forEachFlow(
        _ maps: FastPathProgram.Maps, _ body: (FlowEntry) throws -> Void
    ) throws {
        let (keySize, valueSize) = (maps.layout.flowKeySize, maps.layout.flowValueSize)
        try maps.flows.forEachStretch { keys, values in
            for index in 0..<(keys.count / keySize) {
                let entry = FlowEntry(
                    maps.layout, key: keys[(index * keySize)..<((index + 1) * keySize)],
                    value: values[(index * valueSize)..<((index + 1) * valueSize)])
                if let entry { try body(entry) }
            }
        }
    }
}

import NetworkTypes

/// Gives each node a block of the cluster's pod range.
enum PodCIDRPlan {
    /// The block for a node: the one that its number asks for (`portolan-node-2` the second), so
    /// that addresses do not depend on which node registers first; else the lowest free one.
    /// - Returns: nil where the range is used up.
    static func block(
        of range: Prefix, length: Int, node name: String, taken: [Prefix]
    ) -> Prefix? {
        guard length >= range.length, length <= range.family.bitCount else { return nil }
        let bits = UInt64(range.family.bitCount - length)
        let count = UInt64(1) << UInt64(min(length - range.length, 32))
        func candidate(_ index: UInt64) -> Prefix? {
            guard index < count, bits < 64, index <= UInt64.max >> bits else { return nil }
            let block = range.address(at: index << bits).flatMap { Prefix($0, length: length) }
            return block.flatMap { block in
                taken.contains { $0.overlaps(block) } ? nil : block
            }
        }
        let digits = name.reversed().prefix { $0.isASCII && $0.isNumber }.reversed()
        if let number = UInt64(String(digits)), number > 0, let block = candidate(number - 1) {
            return block
        }
        // One of the first taken.count + 1 blocks is free, unless odd sizes cover several each.
        return (0..<min(count, 65_536)).lazy.compactMap(candidate).first
    }
}

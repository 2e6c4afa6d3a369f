public import NetworkTypes

/// The cluster addresses of one family. Which are used is derived from the stored Services and kept
/// up to date with each write: nothing else has to be stored.
public struct ClusterIPAllocator: Sendable {
    /// The ranges, that for new addresses first; all of one family.
    public private(set) var prefixes: [Prefix]
    /// The family of every range, also while there is none.
    public let family: IPAddress.Family?
    /// What Services have.
    private var used: Set<IPAddress> = []
    /// What no Service has, but an IPAddress object keeps.
    private var reserved: Set<IPAddress> = []

    /// Makes an allocator with nothing used.
    public init(prefixes: [Prefix]) {
        self.prefixes = prefixes
        family = prefixes.first?.family
    }

    /// The number of addresses in use.
    public var usedCount: Int { used.count }

    /// True for an address in use.
    public func isUsed(_ address: IPAddress) -> Bool {
        used.contains(address) || reserved.contains(address)
    }

    /// True where an address is used that lies in one of `ranges` and in none of `others`.
    public func isUsed(in ranges: [Prefix], outside others: [Prefix]) -> Bool {
        let isHeld: (IPAddress) -> Bool = { address in
            ranges.contains { $0.contains(address) } && !others.contains { $0.contains(address) }
        }
        return used.contains(where: isHeld) || reserved.contains(where: isHeld)
    }

    /// How many addresses of a range are in use.
    public func usedCount(in range: Prefix) -> Int {
        used.count(where: range.contains) + reserved.count(where: range.contains)
    }

    /// True for an address that a Service may have: in a range, and neither the network's nor, for
    /// IPv4, the broadcast address.
    public func isAllocatable(_ address: IPAddress) -> Bool {
        prefixes.contains { prefix in
            prefix.contains(address) && address != prefix.address
                && (prefix.family == .ipv6 || address != prefix.lastAddress)
        }
    }

    /// Marks an address as used; false where it was already.
    @discardableResult
    public mutating func insert(_ address: IPAddress) -> Bool {
        reserved.remove(address)
        return used.insert(address).inserted
    }

    /// Marks an address as free.
    public mutating func remove(_ address: IPAddress) { used.remove(address) }

    /// Keeps an address from Services, unless one has it.
    public mutating func reserve(_ address: IPAddress) {
        if !used.contains(address) { reserved.insert(address) }
    }

    /// Takes `reserve` back.
    public mutating func unreserve(_ address: IPAddress) { reserved.remove(address) }

    /// Marks everything as free.
    public mutating func removeAll() {
        used = []
        reserved = []
    }

    /// Replaces the ranges (ServiceCIDR objects changed); used addresses stay used.
    public mutating func replacePrefixes(_ prefixes: [Prefix]) { self.prefixes = prefixes }

    /// A free address: at random from the upper band of a range, then from its lower band, which is
    /// kept for addresses that are asked for by number (KEP-3070). Nil where all are used.
    public func free(using generator: inout some RandomNumberGenerator) -> IPAddress? {
        for prefix in prefixes {
            let count = prefix.addressCount
            let last = count == .max ? UInt64.max - 1 : count - 1
            let end = prefix.family == .ipv4 ? last : last + 1
            let band = Self.staticBand(size: count)
            if band < end, let address = free(prefix, max(1, band)..<end, &generator) {
                return address
            }
            if 1 < min(band, end), let address = free(prefix, 1..<min(band, end), &generator) {
                return address
            }
        }
        return nil
    }

    private func free(
        _ prefix: Prefix, _ offsets: Range<UInt64>,
        _ generator: inout some RandomNumberGenerator
    ) -> IPAddress? {
        guard !offsets.isEmpty else { return nil }
        let start = UInt64.random(in: offsets, using: &generator)
        let count = UInt64(offsets.count == Int.max ? Int.max : offsets.count)
        // Among one more address than are used, one is free.
        for step in 0..<min(count, UInt64(used.count + reserved.count) + 1) {
            let shifted = start - offsets.lowerBound + step
            let offset = offsets.lowerBound + (shifted >= count ? shifted - count : shifted)
            if let address = prefix.address(at: offset), !isUsed(address) {
                return address
            }
        }
        return nil
    }

    /// Addresses at the start of a range of `size` that are not given out at random at first.
    static func staticBand(size: UInt64) -> UInt64 {
        size <= 16 ? 0 : min(max(16, size / 16), 256)
    }
}

/// The node ports. The protocol plays no part: a number belongs to one Service.
public struct NodePortAllocator: Sendable {
    /// The ports that may be given out.
    public let range: ClosedRange<Int>
    private var used: Set<Int> = []

    /// Makes an allocator with nothing used; Kubernetes' own range is 30000–32767.
    public init(range: ClosedRange<Int> = 30000...32767) { self.range = range }

    /// The number of ports in use.
    public var usedCount: Int { used.count }

    /// True for a port in use.
    public func isUsed(_ port: Int) -> Bool { used.contains(port) }

    /// Marks a port as used; false where it was already.
    @discardableResult
    public mutating func insert(_ port: Int) -> Bool { used.insert(port).inserted }

    /// Marks a port as free.
    public mutating func remove(_ port: Int) { used.remove(port) }

    /// Marks every port as free.
    public mutating func removeAll() { used = [] }

    /// A free port outside `excluded`: at random from the upper band, then from the lower one
    /// (KEP-3668). Nil where all are used.
    public func free(
        excluding excluded: Set<Int> = [], using generator: inout some RandomNumberGenerator
    ) -> Int? {
        let band = Self.staticBand(size: range.count)
        let middle = range.lowerBound + band
        for part in [middle..<range.upperBound + 1, range.lowerBound..<middle] where !part.isEmpty {
            let start = Int.random(in: part, using: &generator)
            for step in 0..<part.count {
                let shifted = start - part.lowerBound + step
                let port = part.lowerBound + shifted % part.count
                if !used.contains(port), !excluded.contains(port) { return port }
            }
        }
        return nil
    }

    /// Ports at the start of a range of `size` that are not given out at random at first.
    static func staticBand(size: Int) -> Int { size <= 16 ? 0 : min(max(16, size / 32), 128) }
}

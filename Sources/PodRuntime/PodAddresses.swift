import NetworkTypes

/// The pod addresses of one node: which pod has which. Pure; the pods' state files hold it across
/// restarts.
struct PodAddresses: Sendable {
    /// The node's pod CIDR.
    let prefix: Prefix
    private var owners: [IPAddress: String] = [:]
    private var addresses: [String: IPAddress] = [:]
    /// Where the search for the next address begins, so that an address rests before it is reused.
    private var next: UInt64 = 0
    /// The network's own address, and the first, which stands for the node on its pods' side.
    static let reservedCount: UInt64 = 2

    /// Starts with no address taken.
    init(prefix: Prefix) { self.prefix = prefix }

    /// The number of addresses taken.
    var count: Int { owners.count }

    /// The address of a pod, or nil.
    func address(of uid: String) -> IPAddress? { addresses[uid] }

    /// Gives a pod an address: the one it has, the one it prefers where that is free, or the next.
    /// - Returns: nil where all are taken.
    mutating func allocate(uid: String, preferred: IPAddress? = nil) -> IPAddress? {
        if let address = addresses[uid] { return address }
        if let preferred, isUsable(preferred), owners[preferred] == nil {
            return take(preferred, uid)
        }
        // The last address of a prefix is its broadcast address.
        let end = prefix.addressCount - 1
        guard end > Self.reservedCount else { return nil }
        let usable = end - Self.reservedCount
        for step in 0..<usable {
            let index = Self.reservedCount + (next + step) % usable
            guard let address = prefix.address(at: index), owners[address] == nil else { continue }
            next = (index - Self.reservedCount + 1) % usable
            return take(address, uid)
        }
        return nil
    }

    /// Gives a pod's address back.
    mutating func release(uid: String) {
        if let address = addresses.removeValue(forKey: uid) { owners[address] = nil }
    }

    private func isUsable(_ address: IPAddress) -> Bool {
        guard prefix.contains(address), address != prefix.lastAddress else { return false }
        return UInt64(address.numericValue - prefix.address.numericValue) >= Self.reservedCount
    }

    private mutating func take(_ address: IPAddress, _ uid: String) -> IPAddress {
        owners[address] = uid
        addresses[uid] = address
        return address
    }
}

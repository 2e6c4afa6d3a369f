import NetworkTypes

/// Entries of the fast path's map of Services, keys and values side by side as the kernel takes
/// many at once.
struct ServiceEntries {
    private let layout: FastPathLayout
    private(set) var keys: [UInt8] = []
    private(set) var values: [UInt8] = []

    init(_ layout: FastPathLayout) { self.layout = layout }

    var count: Int { keys.count / layout.serviceKeySize }

    mutating func removeAll() {
        keys.removeAll(keepingCapacity: true)
        values.removeAll(keepingCapacity: true)
    }

    /// Appends the endpoints of a Service's address and port, and their count.
    mutating func append(_ address: IPAddress, _ port: UInt16, _ service: FastPathService) {
        for (slot, backend) in service.backends.enumerated() {
            Self.append(address, port, to: &keys)
            Self.append(UInt16(slot).littleEndian, to: &keys)
            Self.append(backend.address, backend.port, to: &values)
            Self.append(UInt16(0), to: &values)
        }
        Self.append(address, port, to: &keys)
        Self.append(FastPathLayout.headSlot, to: &keys)
        values += layout.head(count: service.backends.count)
    }

    private static func append(_ address: IPAddress, _ port: UInt16, to bytes: inout [UInt8]) {
        switch address {
        case .v4(let value): append(value.bigEndian, to: &bytes)
        case .v6(let value): append(value.bigEndian, to: &bytes)
        }
        append(port.bigEndian, to: &bytes)
    }

    private static func append(_ number: some FixedWidthInteger, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: number) { bytes.append(contentsOf: $0) }
    }

    /// The keys of the entries that hold counts.
    var headKeys: [[UInt8]] {
        stride(from: 0, to: keys.count, by: layout.serviceKeySize).compactMap { start in
            let key = keys[start..<(start + layout.serviceKeySize)]
            return key.suffix(2).allSatisfy { $0 == 0xFF } ? Array(key) : nil
        }
    }

    /// A number that depends on what the entries are, but not on their order.
    var digest: Int { Self.digest(keys[...], values[...], layout) }

    /// The same for entries that were read.
    static func digest(
        _ keys: ArraySlice<UInt8>, _ values: ArraySlice<UInt8>, _ layout: FastPathLayout
    ) -> Int {
        var sum = 0
        keys.withUnsafeBytes { keys in
            values.withUnsafeBytes { values in
                for index in 0..<(keys.count / layout.serviceKeySize) {
                    let (key, value) = (
                        index * layout.serviceKeySize, index * layout.serviceValueSize
                    )
                    var hasher = Hasher()
                    hasher.combine(
                        bytes: UnsafeRawBufferPointer(
                            rebasing: keys[key..<(key + layout.serviceKeySize)]))
                    hasher.combine(
                        bytes: UnsafeRawBufferPointer(
                            rebasing: values[value..<(value + layout.serviceValueSize)]))
                    sum &+= hasher.finalize()
                }
            }
        }
        return sum
    }
}

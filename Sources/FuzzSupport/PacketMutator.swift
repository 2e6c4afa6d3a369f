/// Makes packets of seeds by changing, cutting, doubling and pointing (as DNS compression does) at
/// random.
public struct PacketMutator: Sendable {
    /// The numbers that decide; whoever checks the packets may draw from them as well.
    public var numbers: RandomNumbers
    private let seeds: [[UInt8]]
    /// The most changes that one packet gets.
    private let changeLimit: Int

    /// Makes a mutator of at least one seed.
    public init(seed: UInt64, seeds: [[UInt8]], changeLimit: Int = 5) {
        numbers = RandomNumbers(seed: seed)
        self.seeds = seeds
        self.changeLimit = changeLimit
    }

    /// The next packet.
    public mutating func next() -> [UInt8] {
        var packet = seeds[numbers.next(below: seeds.count)]
        for _ in 0...numbers.next(below: changeLimit - 1) {
            guard !packet.isEmpty else { break }
            let place = numbers.next(below: packet.count)
            let octet = UInt8(numbers.next(below: 256))
            switch numbers.next(below: 9) {
            case 0: packet.removeLast(numbers.next(below: packet.count))
            case 1: packet.insert(octet, at: place)
            case 2: packet.remove(at: place)
            case 3: packet[place] = 0xC0 | octet & 1
            case 4: packet.append(contentsOf: packet[place...])
            case 5: packet[place] ^= 1 << (octet & 7)
            case 6: packet += [UInt8](repeating: octet, count: numbers.next(below: 1500))
            default: packet[place] = octet
            }
        }
        return packet
    }
}

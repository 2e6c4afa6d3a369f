import ARP

// Spans may not pass through the testing macros, so these take arrays.

func decodeARP(_ bytes: [UInt8]) throws -> ARPFrame { try ARPFrame(bytes.span) }

func decodeNeighbor(_ bytes: [UInt8]) throws -> NeighborFrame { try NeighborFrame(bytes.span) }

extension AddressResponder {
    mutating func receive(bytes: [UInt8]) -> Action { receive(bytes.span) }
}

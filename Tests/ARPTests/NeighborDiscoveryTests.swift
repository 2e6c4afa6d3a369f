import ARP
import NetworkTypes
import Testing

@Suite struct NeighborDiscoveryTests {
    static let ours = MACAddress(0x0242_AC1E_000B)

    /// fe80::1 asks for 2001:db8::2. The checksum was worked out by hand over the pseudo-header.
    static func solicitation() throws -> NeighborFrame {
        let target = try #require(IPAddress("2001:db8::2"))
        let group = NeighborFrame.solicitedNodeGroup(of: target)
        return NeighborFrame(
            destination: NeighborFrame.multicast(group), source: MACAddress(0x0242_AC1E_0001),
            sourceAddress: try #require(IPAddress("fe80::1")), destinationAddress: group,
            message: .solicitation, target: target,
            linkLayerAddress: MACAddress(0x0242_AC1E_0001))
    }

    @Test func laysOutASolicitation() throws {
        let bytes = try Self.solicitation().bytes
        let expected: [UInt8] = [
            0x33, 0x33, 0xFF, 0x00, 0x00, 0x02,  // Ethernet destination: group of ff02::1:ff00:2
            0x02, 0x42, 0xAC, 0x1E, 0x00, 0x01,  // Ethernet source
            0x86, 0xDD,  // EtherType: IPv6
            0x60, 0x00, 0x00, 0x00,  // version, traffic class, flow label
            0x00, 0x20,  // payload length: 32
            58, 255,  // next header: ICMPv6; hop limit
            0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01,  // source
            0xFF, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xFF, 0, 0, 0x02,  // destination
            135, 0,  // type: neighbour solicitation; code
            0xA2, 0x42,  // checksum
            0, 0, 0, 0,  // reserved
            0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02,  // target
            1, 1, 0x02, 0x42, 0xAC, 0x1E, 0x00, 0x01,  // option: source link-layer address
        ]
        #expect(bytes.prefix(56) == expected.prefix(56))
        #expect(bytes.dropFirst(58) == expected.dropFirst(58))
        #expect(bytes[56..<58] == Self.checksum(bytes)[...])
        #expect(try decodeNeighbor(bytes) == Self.solicitation())
    }

    /// RFC 1071 written down a second time, over a buffer with the pseudo-header in front.
    private static func checksum(_ frame: [UInt8]) -> [UInt8] {
        var message = Array(frame[54...])
        message[2] = 0
        message[3] = 0
        let pseudoHeader = Array(frame[22..<54]) + [0, 0, 0, UInt8(message.count), 0, 0, 0, 58]
        let buffer = pseudoHeader + message
        var sum = 0
        for index in stride(from: 0, to: buffer.count, by: 2) {
            sum += Int(buffer[index]) * 256 + Int(buffer[index + 1])
        }
        while sum > 0xFFFF { sum = sum % 65536 + sum / 65536 }
        let complement = 0xFFFF - sum
        return [UInt8(complement / 256), UInt8(complement % 256)]
    }

    @Test func answersWithSolicitedAndOverride() throws {
        let asked = try Self.solicitation()
        let answer = NeighborFrame.advertisement(answering: asked, hardware: Self.ours)
        #expect(answer.destination == asked.source)
        #expect(answer.destinationAddress == asked.sourceAddress)
        #expect(answer.bytes[54] == 136)
        #expect(answer.bytes[58] == 0x60)  // flags: Solicited, Override
        #expect(Array(answer.bytes[78..<86]) == [2, 1] + Self.ours.networkBytes)
        #expect(try decodeNeighbor(answer.bytes) == answer)
    }

    @Test func answersDuplicateAddressDetectionToAll() throws {
        let target = try #require(IPAddress("2001:db8::2"))
        let probe = NeighborFrame.probe(for: target, hardware: MACAddress(1))
        let answer = NeighborFrame.advertisement(answering: probe, hardware: Self.ours)
        #expect(answer.destinationAddress == NeighborFrame.allNodes)
        #expect(answer.destination == MACAddress("33:33:00:00:00:01"))
        #expect(answer.message == .advertisement(isSolicited: false, overrides: true))
    }

    @Test func refusesWhatARouterPassedOn() throws {
        var bytes = try Self.solicitation().bytes
        bytes[21] = 254
        #expect(throws: FrameError.invalid) { try decodeNeighbor(bytes) }
    }

    @Test func refusesAWrongChecksumAndOptionsWithoutLength() throws {
        var bytes = try Self.solicitation().bytes
        bytes[56] ^= 1
        #expect(throws: FrameError.invalid) { try decodeNeighbor(bytes) }
        bytes = try Self.solicitation().bytes
        bytes[79] = 0
        #expect(throws: FrameError.invalid) { try decodeNeighbor(bytes) }
    }

    @Test func refusesEveryShorterFrame() throws {
        let bytes = try Self.solicitation().bytes
        for count in 0..<bytes.count {
            #expect(throws: FrameError.self) { try decodeNeighbor(Array(bytes.prefix(count))) }
        }
    }
}

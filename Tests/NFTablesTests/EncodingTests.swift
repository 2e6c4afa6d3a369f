import Netlink
import NetworkTypes
import Testing

@testable import NFTables

/// Bytes on the wire, field by field. The expected ones were compared with what `nft --debug=mnl`
/// sends for the same objects.
struct EncodingTests {
    static let table = Table(.ip, "portolan")

    typealias Field = (name: String, bytes: [UInt8])

    static func header(_ type: UInt8, _ subsystem: UInt8, flags: UInt16, length: Int) -> [Field] {
        [
            ("nlmsg_len", [UInt8(length & 0xFF), UInt8(length >> 8), 0, 0]),
            ("nlmsg_type", [type, subsystem]),
            ("nlmsg_flags", [UInt8(flags & 0xFF), UInt8(flags >> 8)]),
            ("nlmsg_seq, nlmsg_pid", [0, 0, 0, 0, 0, 0, 0, 0]),
        ]
    }

    static let tableName: [Field] = [
        ("table: length 13, type 1", [13, 0, 1, 0]), ("portolan", Array("portolan".utf8)),
        ("zero, padding", [0, 0, 0, 0]),
    ]

    static func expect(_ transaction: Transaction, _ fields: [Field]) {
        let buffer = MessageBuffer()
        _ = TransactionEncoder(transaction, into: buffer)
        let bytes = buffer.bytes
        let begin: [Field] =
            header(0x10, 0, flags: 1, length: 20) + [("nfgenmsg: subsystem 10", [0, 0, 0, 10])]
        let end: [Field] =
            header(0x11, 0, flags: 1, length: 20) + [("nfgenmsg: subsystem 10", [0, 0, 0, 10])]
        var offset = 0
        for (name, expected) in begin + fields + end {
            let upper = min(offset + expected.count, bytes.count)
            #expect(Array(bytes[min(offset, upper)..<upper]) == expected, "\(name) at \(offset)")
            offset += expected.count
        }
        #expect(bytes.count == offset)
    }

    @Test func tableMessage() {
        var transaction = Transaction()
        transaction.add(Self.table)
        let fields: [Field] =
            Self.header(0, 10, flags: 0x405, length: 44)
            + [("nfgenmsg: NFPROTO_IPV4", [2, 0, 0, 0])]
            + Self.tableName
            + [("flags: length 8, type 2", [8, 0, 2, 0]), ("none", [0, 0, 0, 0])]
        Self.expect(transaction, fields)
    }

    @Test func verdictMapElement() throws {
        let set = NamedSet(
            "services", in: Self.table, key: [.ipv4Address, .inetProtocol, .inetService],
            content: .verdict)
        let address = try #require(IPAddress("10.96.0.1"))
        var transaction = Transaction()
        transaction.add(
            [
                Element(
                    Value(.address(address), .transport(.tcp), .port(443)), .verdict(.goto("n3")))
            ], to: set)
        let fields: [Field] =
            Self.header(12, 10, flags: 0x405, length: 104)
            + [("nfgenmsg: NFPROTO_IPV4", [2, 0, 0, 0])]
            + Self.tableName
            + [
                ("set: length 13, type 2", [13, 0, 2, 0]), ("services", Array("services".utf8)),
                ("zero, padding", [0, 0, 0, 0]),
                ("elements: length 52, type 3, nested", [52, 0, 3, 0x80]),
                ("element: length 48, type 1, nested", [48, 0, 1, 0x80]),
                ("key: length 20, type 1, nested", [20, 0, 1, 0x80]),
                ("value: length 16, type 1", [16, 0, 1, 0]),
                ("address", [10, 96, 0, 1]), ("protocol, padding", [6, 0, 0, 0]),
                ("port, padding", [1, 0xBB, 0, 0]),
                ("data: length 24, type 2, nested", [24, 0, 2, 0x80]),
                ("verdict: length 20, type 2, nested", [20, 0, 2, 0x80]),
                ("code: length 8, type 1", [8, 0, 1, 0]),
                ("NFT_GOTO", [0xFF, 0xFF, 0xFF, 0xFC]),
                ("chain: length 7, type 2", [7, 0, 2, 0]), ("n3", [0x6E, 0x33, 0, 0]),
            ]
        Self.expect(transaction, fields)
    }

    @Test func comparedRule() {
        var transaction = Transaction()
        transaction.add(
            Rule("in", in: Self.table, [.match(.tcp), .verdict(.drop)], comment: "x"))
        let fields: [Field] =
            Self.header(6, 10, flags: 0xC05, length: 184)
            + [("nfgenmsg: NFPROTO_IPV4", [2, 0, 0, 0])]
            + Self.tableName
            + [
                ("chain: length 7, type 2", [7, 0, 2, 0]), ("in", [0x69, 0x6E, 0, 0]),
                ("expressions: length 132, type 4, nested", [132, 0, 4, 0x80]),
                ("element: length 36, type 1, nested", [36, 0, 1, 0x80]),
                ("name: length 9, type 1", [9, 0, 1, 0]), ("meta", Array("meta".utf8)),
                ("zero, padding", [0, 0, 0, 0]), ("data: length 20, type 2", [20, 0, 2, 0x80]),
                ("key: length 8, type 2", [8, 0, 2, 0]), ("NFT_META_L4PROTO", [0, 0, 0, 16]),
                ("register: length 8, type 1", [8, 0, 1, 0]), ("NFT_REG32_00", [0, 0, 0, 8]),
                ("element: length 44, type 1, nested", [44, 0, 1, 0x80]),
                ("name: length 8, type 1", [8, 0, 1, 0]), ("cmp", [0x63, 0x6D, 0x70, 0]),
                ("data: length 32, type 2", [32, 0, 2, 0x80]),
                ("register: length 8, type 1", [8, 0, 1, 0]), ("NFT_REG32_00", [0, 0, 0, 8]),
                ("operator: length 8, type 2", [8, 0, 2, 0]), ("NFT_CMP_EQ", [0, 0, 0, 0]),
                ("value: length 12, type 3, nested", [12, 0, 3, 0x80]),
                ("length 5, type 1", [5, 0, 1, 0]), ("TCP, padding", [6, 0, 0, 0]),
                ("element: length 48, type 1, nested", [48, 0, 1, 0x80]),
                ("name: length 14, type 1", [14, 0, 1, 0]),
                ("immediate", Array("immediate".utf8)), ("zero, padding", [0, 0, 0]),
                ("data: length 28, type 2", [28, 0, 2, 0x80]),
                ("register: length 8, type 1", [8, 0, 1, 0]), ("NFT_REG_VERDICT", [0, 0, 0, 0]),
                ("data: length 16, type 2, nested", [16, 0, 2, 0x80]),
                ("verdict: length 12, type 2, nested", [12, 0, 2, 0x80]),
                ("code: length 8, type 1", [8, 0, 1, 0]), ("NF_DROP", [0, 0, 0, 0]),
                ("user data: length 8, type 7", [8, 0, 7, 0]),
                ("comment, length 2, x", [0, 2, 0x78, 0]),
            ]
        Self.expect(transaction, fields)
    }

    @Test func valuesPadFieldsOfConcatenations() throws {
        #expect(Value(.port(80)).bytes == [0, 80])
        #expect(Value(.port(80), .byte(1)).bytes == [0, 80, 0, 0, 1, 0, 0, 0])
        let address = try #require(IPAddress("2001:db8::1"))
        let long = Value(
            .address(address), .address(address), .transport(.udp), .port(53), .number(7))
        #expect(long.byteCount == 44)
        #expect(long.address(.ipv6, at: 16) == address)
        #expect(long.port(at: 36) == 53 && long.number(at: 40) == 7)
        #expect(Value(bytes: long.bytes) == long)
        // More than sixteen registers do not exist.
        #expect(Value(bytes: [UInt8](repeating: 1, count: 100)).byteCount == 64)
        #expect(Value(.interfaceName("eth0")).byteCount == 16)
    }

    /// Lists of any length are cut so that each attribute's length fits sixteen bits.
    @Test(arguments: [1, 1000, 20_000])
    func longListsAreCut(count: Int) throws {
        let set = NamedSet("s", in: Self.table, key: [.ipv4Address, .inetService])
        let elements = (0..<count).map { number in
            Element(Value(.address(.v4(UInt32(number))), .port(1)))
        }
        var transaction = Transaction()
        transaction.add(elements, to: set)
        let buffer = MessageBuffer()
        _ = TransactionEncoder(transaction, into: buffer)
        var keys: [UInt32] = []
        for message in Message.parse(ByteView(buffer.bytes)).dropFirst().dropLast() {
            message.payload.attribute(3, from: 4)?.forEachAttribute { _, element in
                let value = element.attribute(1)?.attribute(1)
                keys.append(value?.uint32BigEndian() ?? .max)
            }
        }
        #expect(keys == (0..<UInt32(count)).map { $0 })
    }
}

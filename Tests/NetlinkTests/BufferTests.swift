import Netlink
import Testing

struct BufferTests {
    @Test func messagesAndAttributes() throws {
        let buffer = MessageBuffer(capacity: 64)
        buffer.beginMessage(type: 0x10, flags: 5)
        buffer.put8(1, 0xAB)
        buffer.putString(2, "eth0")
        buffer.nest(3) {
            buffer.put32BigEndian(1, 0x0102_0304)
            buffer.put16(2, 0x0506)
        }
        buffer.beginMessage(type: 0x11, flags: 0)
        buffer.put64BigEndian(7, 0x0102_0304_0506_0708)
        buffer.endMessage()
        let expected: [(field: String, bytes: [UInt8])] = [
            ("nlmsg_len", [56, 0, 0, 0]),
            ("nlmsg_type", [0x10, 0]), ("nlmsg_flags", [5, 0]),
            ("nlmsg_seq", [0, 0, 0, 0]), ("nlmsg_pid", [0, 0, 0, 0]),
            ("attribute 1, length 5", [5, 0, 1, 0]), ("one byte, padding", [0xAB, 0, 0, 0]),
            ("attribute 2, length 9", [9, 0, 2, 0]),
            ("text", [0x65, 0x74, 0x68, 0x30]), ("zero, padding", [0, 0, 0, 0]),
            ("attribute 3, nested, length 20", [20, 0, 3, 0x80]),
            ("attribute 1, length 8", [8, 0, 1, 0]), ("network order", [1, 2, 3, 4]),
            ("attribute 2, length 6", [6, 0, 2, 0]), ("own order, padding", [6, 5, 0, 0]),
            ("second nlmsg_len", [28, 0, 0, 0]), ("type, flags", [0x11, 0, 0, 0]),
            ("seq", [0, 0, 0, 0]), ("pid", [0, 0, 0, 0]),
            ("attribute 7, length 12", [12, 0, 7, 0]), ("eight bytes", [1, 2, 3, 4, 5, 6, 7, 8]),
        ]
        let bytes = buffer.bytes
        var offset = 0
        for (field, part) in expected {
            #expect(Array(bytes[offset..<(offset + part.count)]) == part, "\(field)")
            offset += part.count
        }
        #expect(bytes.count == offset)

        let messages = Message.parse(ByteView(bytes))
        #expect(messages.map(\.type) == [0x10, 0x11])
        let first = try #require(messages.first)
        #expect(first.payload.attribute(2)?.string == "eth0")
        #expect(first.payload.attribute(3)?.attribute(1)?.uint32BigEndian() == 0x0102_0304)
        #expect(messages[1].payload.attribute(7)?.uint64BigEndian() == 0x0102_0304_0506_0708)
    }

    /// Cut anywhere, and with any byte changed, a message must still be read without harm.
    @Test func survivesDamage() {
        let buffer = MessageBuffer()
        buffer.beginMessage(type: 1, flags: 0)
        buffer.nest(1) { buffer.putString(2, "some text") }
        let bytes = buffer.bytes
        for length in bytes.indices {
            for value in [UInt8(0), 1, 3, 0x7F, 0xFF] {
                var damaged = Array(bytes[..<length])
                damaged.append(value)
                for message in Message.parse(ByteView(damaged)) {
                    _ = message.payload.attribute(1)?.attribute(2)?.string
                }
            }
        }
    }
}
